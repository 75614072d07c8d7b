//! Hypercore in Rust: append-only logs that are signed, replicated and verified block by block, wire-compatible with the
//! JavaScript stack (hypercore 11). Nothing here knows of the appliance.
//!
//! ```
//! use hyper_core::corestore::Corestore;
//! use hyper_core::link::Link;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let ours = Corestore::in_memory()?; // `Corestore::open(folder)` keeps it
//! let log = ours.get_by_name("log")?;
//! log.append(&["hello", "world"]).await?;
//!
//! // Who knows the key can read it, verified block by block. Links to other machines: `hyper-swarm`.
//! let theirs = Corestore::in_memory()?;
//! let copy = theirs.get_by_key(log.key())?;
//! let (here, there) = Link::pair();
//! ours.replicate(here);
//! theirs.replicate(there);
//! assert_eq!(copy.get(1).await?, b"world");
//! # Ok(())
//! # }
//! ```

pub mod bitfield;
pub mod core;
pub mod corestore;
pub mod crypto;
pub mod encryption;
pub mod flat_tree;
pub mod key;
pub mod link;
mod live;
pub mod manifest;
pub mod merkle;
pub mod messages;
pub mod mux;
pub mod replicate;
mod replicator;
pub mod session;
pub mod store;
