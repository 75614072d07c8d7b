//! The one door to the operating system: mounts, ioctls, programs, durable writes.
//!
//! Everything that needs a privilege or `unsafe` is here and nowhere else, in small functions that say in their error
//! what was attempted on what. Policy (which options, which order) stays with the callers.
#![allow(
    unsafe_code,
    reason = "ioctls without a safe wrapper, and chroot between fork and exec; each block says why it is sound"
)]

pub mod block;
pub mod device_mapper;
pub mod durable;
pub mod ext4;
pub mod host;
pub mod modules;
pub mod mount;
pub mod program;
pub mod random;
pub mod reboot;
pub mod root;
pub mod tree;
pub mod watchdog;

use std::io;

/// An operation that the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("{action}")]
pub struct Error {
    /// What was attempted, on what: `mount /dev/vda7 on /data`.
    pub action: String,
    /// What the kernel answered.
    #[source]
    pub source: io::Error,
}

impl Error {
    /// The kernel's error number, if it was the kernel that refused.
    pub fn errno(&self) -> Option<i32> {
        self.source.raw_os_error()
    }
}

/// Names the action of a failed call.
pub(crate) fn failed<E: Into<io::Error>>(action: impl Into<String>) -> impl FnOnce(E) -> Error {
    move |source| Error {
        action: action.into(),
        source: source.into(),
    }
}
