//! The UEFI side: entry, console, and what happens when nothing starts.

mod block;
mod initrd;
mod start;

use boot_manager::{Kernel, Key, Platform, run};
use core::fmt::{self, Write};
use core::time::Duration;
use uefi::runtime::ResetType;
use uefi::{Status, boot, runtime, system};

/// The public key, uncompressed SEC1; all zero when none was given at build time.
static KEY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/boot-key.sec1"));

/// Long enough to read the console, short enough that a box that nobody looks at tries again.
const WAIT_WHEN_STUCK: Duration = Duration::from_secs(60);

/// A line on the console. Without a working console there is nobody to tell.
fn say(line: fmt::Arguments<'_>) {
    system::with_stdout(|out| {
        let _ = writeln!(out, "{line}");
    });
}

struct Firmware;

impl Platform for Firmware {
    type StartError = Status;

    fn say(&mut self, line: fmt::Arguments<'_>) {
        say(line);
    }

    fn start(&mut self, kernel: Kernel) -> Result<(), Status> {
        start::start(kernel).map_err(|error| error.status())
    }
}

#[uefi::entry]
fn main() -> Status {
    // Reading a slow card may take longer than the firmware's five minutes; the try counter is our watchdog here.
    let _ = boot::set_watchdog_timer(0, 0, None);
    match block::own_disk() {
        Ok(mut disk) => match run(&mut disk, &mut Firmware, &Key::from_sec1(KEY)) {
            Ok(slot) => say(format_args!("The kernel of slot {slot} came back.")),
            Err(stuck) => say(format_args!("Hearth cannot start: {stuck}.")),
        },
        Err(problem) => say(format_args!("Hearth cannot start: {problem}.")),
    }
    say(format_args!(
        "What helps: check that the card or disk sits well. If this comes again, flash the image anew (the data\n\
         partition is lost then). Trying again in {} seconds.",
        WAIT_WHEN_STUCK.as_secs()
    ));
    restart_after(WAIT_WHEN_STUCK)
}

fn restart_after(wait: Duration) -> ! {
    boot::stall(wait);
    runtime::reset(ResetType::COLD, Status::ABORTED, None)
}

/// The box shall come back by itself: restart, do not switch off. (We never leave boot services: Linux does.)
#[panic_handler]
fn panicked(info: &core::panic::PanicInfo<'_>) -> ! {
    say(format_args!("Hearth boot manager: {info}"));
    restart_after(Duration::from_secs(10))
}
