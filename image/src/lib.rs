//! Assembles the flashable image from a board, a profile and locked packages.
//!
//! No root, no loop device, no chroot: packages are read, not installed; file systems are written, not mounted.
//! The same inputs give the same bytes.

pub mod apt;
pub mod build;
pub mod bundle;
pub mod cache;
pub mod compile;
mod deb;
pub mod disk;
pub mod error;
mod fat;
pub mod keys;
pub mod lock;
mod modules;
pub mod packages;
pub mod profile;
pub mod program;
pub mod progress;
mod rootfs;
mod sbom;
mod token;
mod tree;
pub mod update_keys;
mod users;
pub mod verify;
