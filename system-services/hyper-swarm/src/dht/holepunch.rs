//! Holepunching: two peers behind NATs send each other packets until both NATs let them through.

mod sealed;

pub use sealed::{NONCE_BYTES, Sealer};
