//! RAUC bundles of the formats `verity` and `crypt`: read, verify, write. Pure: no sockets, no paths.

pub mod source;
