//! The updater: installs bundles into the slot that does not run, tries them, keeps them or goes back.
//!
//! `state` is the pure machine, `slots` its orders as transitions of the boot state, `journal` its memory, `engine` the
//! seam to what reads bundles and writes slots; `service` puts them together, `dbus` only translates.

pub mod access;
pub mod channel;
pub mod cli;
pub mod config;
pub mod dbus;
pub mod engine;
pub mod error;
pub mod facts;
pub mod firmware;
pub mod health;
pub mod install;
pub mod journal;
pub mod mark_good;
pub mod night;
pub mod power;
pub mod service;
pub mod slots;
pub mod state;
pub mod state_disk;
pub mod status;
