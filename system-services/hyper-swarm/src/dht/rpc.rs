//! dht-rpc 6: requests and responses between the nodes of a Kademlia network, and the queries made of them.

pub mod address;
pub mod command;
pub mod congestion;
pub mod health;
pub mod limits;
pub mod message;
pub mod nat_sampler;
pub mod node;
pub mod query;
pub mod random;
pub mod requests;
pub mod table;
pub mod token;
