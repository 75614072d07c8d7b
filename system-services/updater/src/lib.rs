//! The updater: installs bundles into the slot that does not run, tries them, keeps them or goes back.
//!
//! `state` is the pure machine, `slots` its orders as transitions of the boot state, `engine` the seam to what reads
//! bundles and writes slots.

pub mod engine;
pub mod facts;
pub mod health;
pub mod mark_good;
pub mod slots;
pub mod state;
pub mod state_disk;
pub mod status;
