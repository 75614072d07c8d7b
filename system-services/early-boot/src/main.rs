//! First program of the appliance: from the initramfs to the verified root.
//!
//! Runs as pid 1 of the initramfs (`/init`), statically linked. Ends by becoming systemd or by restarting the machine.

use std::process::ExitCode;

use early_boot::boot::{Boot, Failure};
use early_boot::report::Report;
use early_boot::system;

fn main() -> ExitCode {
    if std::process::id() != 1 {
        eprintln!("early-boot is the first program of an initramfs; it does nothing anywhere else");
        return ExitCode::FAILURE;
    }
    let mounted = system::mount_kernel_file_systems();
    // A panic in pid 1 is a kernel panic: say where it was and let the try counter act instead.
    std::panic::set_hook(Box::new(|panic| {
        Boot::new(Report::open()).fail(&Failure::new(format!("early-boot has a bug: {panic}")));
    }));
    let mut boot = Boot::new(Report::open());
    let failure = match mounted {
        Ok(()) => boot.run(),
        Err(error) => Failure::of(&error),
    };
    boot.fail(&failure)
}
