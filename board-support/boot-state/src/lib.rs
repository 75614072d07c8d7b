//! Slot choice and try counters: the one piece of logic that decides what boots.
//!
//! The `bootstate` partition holds two copies of one sector ([`COPY_OFFSETS`]). Writing always replaces the copy
//! that is not the newest valid one, so a torn write leaves the other. Boot manager ([`Boot`]), updater
//! ([`State`]'s transitions with [`Bootstate::prepare`]) and the power-cut tests use the same code.
//!
//! Rules:
//! - Every slot that is tried loses a try, and that is on disk before it is tried.
//! - A slot that is being written has no tries and gets none until it is complete.
//! - When no slot that could run has tries left, all complete slots get new ones: *healed*. Never a silent end.
//! - With both copies lost, both slots are taken for complete with all tries, slot a first.
//!
//! `no_std`, no heap; all I/O is the caller's.

#![no_std]

mod boot;
mod sector;
mod slots;
mod store;

pub use boot::{Attempt, Boot, Hopeless, Step};
pub use sector::{SECTOR_LEN, SectorError, decode, encode};
pub use slots::{Inactive, MAX_TRIES, Refused, Running, Slot, SlotState, State};
pub use store::{Bootstate, COPY_OFFSETS, SectorWrite};
