//! From the initramfs to the verified root: the parts of `early-boot`.
//!
//! A library beside the program so that tests and fuzz targets reach the parsers: [`cmdline::parse`], [`modules::parse`].

pub mod boot;
pub mod bootstate;
pub mod cmdline;
pub mod data;
pub mod disks;
pub mod identity;
pub mod modules;
pub mod report;
pub mod reset;
pub mod root;
pub mod seed;
pub mod system;
#[cfg(feature = "test-hooks")]
mod test_hooks;
pub mod watch;
