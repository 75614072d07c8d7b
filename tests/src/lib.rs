//! End-to-end tests: QEMU, a real browser, power cuts.
//!
//! This library holds what the tests in `end_to_end/` share. They use public doors only: the disk image, the serial console,
//! HTTP. What they need is made by `cargo xtask test`, which names it in the environment; a test that lacks it fails.

pub mod appliance;
pub mod bounded;
pub mod browser;
pub mod disk;
pub mod hawkbit;
pub mod http;
pub mod machine;
pub mod private_bus;
pub mod random;
pub mod rauc;
pub mod replay;
pub mod setup;
pub mod shell;
pub mod update;
pub mod write_log;

/// How long a test waits for what takes this many seconds at most on a machine that does nothing else. Four emulated machines
/// share two processors, which other work may slow down: a limit tells a hang from a slow answer, it measures nothing.
pub const fn patience(seconds: u64) -> std::time::Duration {
    std::time::Duration::from_secs(seconds * 3)
}
