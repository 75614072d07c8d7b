//! Relays for peers between which no direct way is found.

pub mod messages;
pub mod pairings;
#[cfg(test)]
mod tests;
