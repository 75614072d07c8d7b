//! What services say to each other: D-Bus names, typed settings, shared paths.
//!
//! Constants and types only. No service depends on another service's crate; they meet here.

pub mod boot_facts;
pub mod paths;
pub mod provisioner;
pub mod settings;
pub mod updater;
pub mod updater_version;
