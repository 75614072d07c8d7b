//! HyperDHT: where peers find and reach each other.

pub mod connect;
pub mod holepunch;
pub mod messages;
pub mod relay;
