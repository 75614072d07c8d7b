//! A sorted key-value store (bee), large values (blobs) and a file system (drive) on the append-only logs of `hyper-core`,
//! wire-compatible with the JavaScript stack (hyperbee 2, hyperblobs 2, hyperdrive 13). Nothing here knows of the appliance.
//!
//! ```
//! use hyper_core::corestore::Corestore;
//! use hyper_drive::bee::{Bee, KeyRange};
//! use hyper_drive::drive::Drive;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let store = Corestore::in_memory()?; // `Corestore::open(folder)` keeps it
//!
//! let bee = Bee::new(store.get_by_name("contacts")?);
//! bee.put("ada", "+44 20 7946 0001").await?;
//! bee.put("bob", "+44 20 7946 0002").await?;
//! let mut entries = bee.range(KeyRange::ALL)?;
//! while let Some(entry) = entries.next().await? {
//!     println!("{} {:?}", entry.key_text()?, entry.value);
//! }
//!
//! let drive = Drive::open(&store)?;
//! drive.put("/notes/today.txt", b"buy milk").await?;
//! let before = drive.version();
//! drive.put("/notes/today.txt", b"bought milk").await?;
//! let old = drive.checkout(before)?.get("/notes/today.txt").await?;
//! assert_eq!(old.as_deref(), Some(&b"buy milk"[..]));
//! # Ok(())
//! # }
//! ```

pub mod bee;
pub mod blobs;
pub mod drive;
pub mod mirror;
