//! The update channel: which one, what it has for this box, and when something is done about it.
//!
//! The rules are those of the crate `channel` (pure); here are its surroundings: `choice` says which server, `look` reads
//! the index, `trust` keeps its revocation lists, `watch` remembers in between. The service asks and acts.

pub mod choice;
pub mod look;
pub mod trust;
pub mod watch;

pub use choice::{Choice, ChoiceError, Chosen};
pub use watch::{Known, View, Watch};

/// Name of the installations that the updater begins by itself, kept in the status of the slot.
pub const TRANSACTION: &str = "channel";
