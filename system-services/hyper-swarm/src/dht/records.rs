//! What nodes keep for each other: who is under a topic, and small values; and how to ask for it.

mod announcer;
mod cache;
mod client;
mod messages;
mod signing;
mod storage;

pub use announcer::{Announcer, Relay};
pub use client::{AnnounceOptions, FoundPeer, LookupReply, MutableValue, Replies};
pub use messages::{Announcement, LookupAnswer, MutableRecord, PeerRecord, Signature, fuzz_records};
pub use signing::{Place, Purpose};
pub use storage::{ERROR_SEQ_REUSED, ERROR_SEQ_TOO_LOW, Forward, Storage};
