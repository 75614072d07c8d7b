//! RAUC bundles of the formats `verity` and `crypt`: read, verify, write. Pure: no sockets, no paths.

pub mod cms;
pub mod keyring;
pub mod manifest;
mod pem;
#[cfg(feature = "write")]
pub mod sign;
pub mod source;
pub mod verity;
