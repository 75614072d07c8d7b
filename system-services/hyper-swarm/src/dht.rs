//! HyperDHT: where peers find and reach each other. HyperDHT 6.34 over dht-rpc 6.27, wire-compatible.
//!
//! [`rpc`] is pure: messages, routing table, queries and the node as a machine without sockets and clock. [`Dht`] runs it.

pub mod connect;
mod driver;
mod handle;
pub mod holepunch;
pub mod messages;
pub mod nat;
mod options;
mod queries;
pub mod records;
pub mod relay;
pub mod router;
pub mod rpc;
pub mod server;
mod socket;

pub use connect::{ConnectError, ConnectOptions, PathKind, PeerConnection};
pub use driver::Probe;
pub use handle::{BindError, Dht, ExtraSocket};
pub use options::{BootstrapNode, DEFAULT_PORT, DhtOptions, InvalidBootstrapNode, public_bootstrap};
pub use queries::{NotStored, QueryError, QueryStream};
pub use records::{
    AnnounceOptions, Announcer, Forward, FoundPeer, LookupReply, MutableValue, PeerRecord, Relay, Replies,
};
pub use rpc::address::{NodeId, Target, node_id};
pub use rpc::command::Command;
pub use rpc::message::Token;
pub use rpc::node::{Answer, Incoming, NodeState, Outgoing, RequestError};
pub use rpc::query::{QueryOptions, Reply};
pub use rpc::requests::{SendOptions, SocketId};
pub use server::{Asker, FirewallRule, ListenError, Server, ServerOptions};
pub use socket::MAX_DATAGRAM_BYTES;

#[cfg(test)]
pub(crate) mod tests;
