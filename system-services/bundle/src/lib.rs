//! RAUC bundles of the formats `verity` and `crypt`: read, verify, write. Pure: no sockets, no paths.

pub mod chunks;
pub mod cms;
pub mod container;
pub mod crypt;
pub mod keyring;
pub mod manifest;
pub mod payload;
mod pem;
#[cfg(feature = "write")]
pub mod sign;
pub mod source;
pub mod verity;
#[cfg(feature = "write")]
pub mod write;
