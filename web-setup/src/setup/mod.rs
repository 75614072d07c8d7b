//! The wizard: a pure machine, the draft on disk, the pages.

pub mod desk;
pub mod machine;
pub mod pages;
pub mod store;
