//! Holepunching: two peers behind NATs send each other packets until both NATs let them through.

mod plan;
mod puncher;
mod random_punch;
mod sealed;
#[cfg(test)]
mod tests;

pub use plan::{BIRTHDAY_SOCKETS, LOW_TTL, Plan, RandomPunches, Remote, Round, Rounds, Shot};
pub use puncher::{Hole, Puncher};
pub use random_punch::RandomPunch;
pub use sealed::{NONCE_BYTES, Sealer};
