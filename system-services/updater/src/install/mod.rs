//! Reads bundles and writes the inactive slot: the real [`crate::engine::Engine`].

pub mod devices;
pub mod https;
