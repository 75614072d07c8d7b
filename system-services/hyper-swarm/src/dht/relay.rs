//! Relays for peers between which no direct way is found.

pub mod messages;
#[cfg(test)]
mod tests;
