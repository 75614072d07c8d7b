//! Hyperswarm in Rust: encrypted streams over UDP between peers that find each other by topic, wire-compatible with the
//! JavaScript stack (hyperswarm 4, hyperdht 6, udx). Nothing here knows of the appliance.
//!
//! Peers of a core meet under its discovery key, and each connection replicates what both have open:
//!
//! ```no_run
//! use hyper_core::corestore::Corestore;
//! use hyper_swarm::dht::{Dht, DhtOptions};
//! use hyper_swarm::swarm::{JoinOptions, Swarm, SwarmOptions};
//!
//! # async fn example(folder: &std::path::Path, key: [u8; 32]) -> Result<(), Box<dyn std::error::Error>> {
//! let store = Corestore::open(folder)?;
//! let core = store.get_by_key(&key)?;
//! let dht = Dht::bind(DhtOptions::default()).await?; // the public one; `DhtOptions::loopback` for a private one
//! let (swarm, mut connections) = Swarm::start(dht, SwarmOptions::new(store.key_pair("swarm")))?;
//! let _topic = swarm.join(core.discovery_key(), JoinOptions::default()).await?; // left when it is dropped
//! let replicating = store.clone();
//! tokio::spawn(async move {
//!     while let Some(connection) = connections.recv().await {
//!         replicating.replicate(connection.peer.connection.link);
//!     }
//! });
//! println!("{} bytes", core.get(0).await?.len());
//! # Ok(())
//! # }
//! ```
//!
//! The parts can be used alone: [`udx`] (reliable streams over UDP), [`secret_stream`] and [`connection`] (encryption), [`dht`]
//! (lookups, records, hole punching), [`swarm`] (topics).

pub mod connection;
pub mod dht;
pub mod noise;
pub mod secret_stream;
pub mod swarm;
pub mod udx;
