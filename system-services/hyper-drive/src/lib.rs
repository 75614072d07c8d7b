//! A sorted key-value store (bee), large values (blobs) and a file system (drive) on the append-only logs of `hyper-core`,
//! wire-compatible with the JavaScript stack (hyperbee 2, hyperblobs 2, hyperdrive 13). Nothing here knows of the appliance.

pub mod bee;
pub mod blobs;
pub mod drive;
pub mod mirror;
