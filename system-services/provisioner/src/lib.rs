//! The small privileged service behind `org.hearth.Provisioner1`: the few typed changes that need root.
//!
//! `state` is the pure machine, `service` asks it and carries out its orders, `dbus` only translates.

pub mod dbus;
pub mod diagnosis;
pub mod error;
pub mod ext4;
pub mod grow;
pub mod growth;
pub mod journal_tail;
pub mod limiter;
pub mod places;
pub mod power;
pub mod redact;
pub mod secrets;
pub mod service;
pub mod state;
pub mod store;
