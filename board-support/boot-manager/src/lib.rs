//! What the boot manager does, apart from talking to the firmware: testable on any machine.
//!
//! [`run`] reads the partition table and the boot state, chooses a slot, writes the state, checks and unpacks the
//! slot's payload and hands it to the [`Platform`]. The UEFI side is in `main.rs` and the modules beside it.

#![no_std]

extern crate alloc;

mod disk;
mod gzip;
mod kernel;
mod run;

pub use disk::{Aligned, Disk, DiskError, OutOfMemory};
pub use gzip::{GzipError, unpack};
pub use kernel::{Kernel, KernelError, MAX_WHOLE_COMMAND_LINE};
pub use run::{Key, Platform, Stuck, run};
