//! Live peers: today's JavaScript stack on one side, ours on the other, in both directions.
//!
//! One program, run by `cargo xtask test`. Every test starts its own peers on loopback, or in network namespaces of its own.

mod bee;
mod connect;
mod core;
mod corestore;
mod dht;
mod drive;
mod harness;
mod nat;
mod program;
mod replicate;
mod stream;
mod swarm;
