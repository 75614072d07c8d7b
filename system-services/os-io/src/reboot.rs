//! Restart and power-off, straight through the kernel: for a program that is pid 1.

use rustix::system::RebootCommand;

use crate::{Error, failed};

/// Restarts the machine. Returns only if the kernel refused.
pub fn restart() -> Error {
    now(RebootCommand::Restart, "restart")
}

/// Powers the machine off. Returns only if the kernel refused.
pub fn power_off() -> Error {
    now(RebootCommand::PowerOff, "power off")
}

fn now(command: RebootCommand, action: &str) -> Error {
    rustix::fs::sync();
    match rustix::system::reboot(command) {
        Ok(()) => Error {
            action: action.into(),
            source: std::io::Error::other("the kernel came back"),
        },
        Err(error) => failed(action)(error),
    }
}
