//! How a node is started.

use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::str::FromStr;
use std::time::Duration;

/// The port that HyperDHT's nodes take, or one of the next four if it is taken.
pub const DEFAULT_PORT: u16 = 49737;

/// How long a name may take to be resolved.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);

/// A node that is asked first: `HOST:PORT`, or `ADDRESS@HOST:PORT` where the address is good for now and the name for later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BootstrapNode {
    address: Option<Ipv4Addr>,
    name: Option<String>,
    port: u16,
}

/// Not a node to begin with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no DHT node: expected HOST:PORT with an IPv4 address or a name as host")]
pub struct InvalidBootstrapNode(String);

impl From<SocketAddrV4> for BootstrapNode {
    fn from(address: SocketAddrV4) -> Self {
        Self {
            address: Some(*address.ip()),
            name: None,
            port: address.port(),
        }
    }
}

impl FromStr for BootstrapNode {
    type Err = InvalidBootstrapNode;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let invalid = || InvalidBootstrapNode(text.to_owned());
        let (host, port) = text.rsplit_once(':').ok_or_else(invalid)?;
        let port = port.parse().ok().filter(|port| *port != 0).ok_or_else(invalid)?;
        let (address, name) = match host.split_once('@') {
            Some((address, name)) => (Some(address.parse().map_err(|_| invalid())?), Some(name)),
            None => match host.parse() {
                Ok(address) => (Some(address), None),
                Err(_) => (None, Some(host)),
            },
        };
        if name.is_some_and(|name| name.is_empty() || name.contains([':', '@', ' '])) {
            return Err(invalid());
        }
        let name = name.map(str::to_owned);
        Ok(Self { address, name, port })
    }
}

impl BootstrapNode {
    /// The address that it was given with, for now.
    fn given(&self) -> Option<SocketAddrV4> {
        self.address.map(|ip| SocketAddrV4::new(ip, self.port))
    }

    /// What its name stands for. None if the name cannot be resolved now.
    async fn look_up(&self) -> Vec<SocketAddrV4> {
        let Some(name) = &self.name else {
            return Vec::new();
        };
        let lookup = tokio::net::lookup_host((name.as_str(), self.port));
        match tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await {
            Ok(Ok(found)) => found.filter_map(only_ipv4).collect(),
            Ok(Err(error)) => {
                tracing::debug!(name, %error, "DHT node's name not resolved");
                Vec::new()
            }
            Err(_) => {
                tracing::debug!(name, "DHT node's name not resolved in time");
                Vec::new()
            }
        }
    }
}

fn only_ipv4(address: SocketAddr) -> Option<SocketAddrV4> {
    match address {
        SocketAddr::V4(address) => Some(address),
        SocketAddr::V6(_) => None,
    }
}

/// Bootstrap nodes whose names may have to be looked up.
#[derive(Debug)]
pub(super) struct Bootstrap {
    nodes: Vec<BootstrapNode>,
    addresses: Vec<SocketAddrV4>,
}

impl Bootstrap {
    /// The addresses that can be had now. Names are waited for only if there is no address.
    pub(super) async fn begin(nodes: Vec<BootstrapNode>) -> Self {
        let addresses = nodes.iter().filter_map(BootstrapNode::given).collect();
        let mut bootstrap = Self { nodes, addresses };
        if bootstrap.addresses.is_empty() {
            bootstrap.look_up().await;
        }
        bootstrap
    }

    /// What is known now.
    pub(super) fn addresses(&self) -> &[SocketAddrV4] {
        &self.addresses
    }

    /// Whether there are names that were not resolved yet.
    pub(super) fn is_incomplete(&self) -> bool {
        self.nodes.iter().any(|node| node.name.is_some())
    }

    /// Looks the names up that were not resolved yet, all at once.
    pub(super) async fn look_up(&mut self) {
        let mut lookups = tokio::task::JoinSet::new();
        for node in std::mem::take(&mut self.nodes) {
            lookups.spawn(async move { (node.look_up().await, node) });
        }
        while let Some(done) = lookups.join_next().await {
            let Ok((found, node)) = done else { continue };
            if found.is_empty() && node.name.is_some() {
                self.nodes.push(node);
            }
            for address in found {
                if !self.addresses.contains(&address) {
                    self.addresses.push(address);
                }
            }
        }
    }
}

/// The nodes of the public DHT.
pub fn public_bootstrap() -> Vec<BootstrapNode> {
    let nodes = [
        ([88, 99, 3, 86], "node1.hyperdht.org"),
        ([142, 93, 90, 113], "node2.hyperdht.org"),
        ([138, 68, 147, 8], "node3.hyperdht.org"),
    ];
    let node = |(address, name): ([u8; 4], &str)| BootstrapNode {
        address: Some(address.into()),
        name: Some(name.to_owned()),
        port: DEFAULT_PORT,
    };
    nodes.map(node).into()
}

/// How a node is started.
#[derive(Debug, Clone)]
pub struct DhtOptions {
    /// Nodes that are asked first. Empty: the node waits to be found.
    pub bootstrap: Vec<BootstrapNode>,
    /// `false`: others shall store with it and name it at once; `true`: never; `None`: when it was stable for 20 minutes and
    /// strangers reach it.
    pub ephemeral: Option<bool>,
    /// Whether strangers may be kept away by a firewall or a NAT until the opposite is shown.
    pub firewalled: bool,
    /// Whether that is looked at when the node begins (as it should be), or only when it was stable for 20 minutes.
    pub quick_firewall: bool,
    /// The interface.
    pub host: Ipv4Addr,
    /// The port of the server socket: it, or one of the next four, or any. 0: any.
    pub port: u16,
    /// Whether another port is taken when those are not free.
    pub any_port: bool,
    /// Under which address others reach it, for who knows that.
    pub address: Option<SocketAddrV4>,
}

impl Default for DhtOptions {
    fn default() -> Self {
        Self {
            bootstrap: public_bootstrap(),
            ephemeral: None,
            firewalled: true,
            quick_firewall: true,
            host: Ipv4Addr::UNSPECIFIED,
            port: DEFAULT_PORT,
            any_port: true,
            address: None,
        }
    }
}

impl DhtOptions {
    /// A node of a private DHT on this machine.
    pub fn loopback(bootstrap: impl IntoIterator<Item = SocketAddrV4>) -> Self {
        Self {
            bootstrap: bootstrap.into_iter().map(BootstrapNode::from).collect(),
            host: Ipv4Addr::LOCALHOST,
            port: 0,
            ..Self::default()
        }
    }

    /// A node that others begin with: reachable at `address`, known as a node from the beginning.
    pub fn bootstrapper(address: SocketAddrV4) -> Self {
        Self {
            bootstrap: Vec::new(),
            ephemeral: Some(false),
            firewalled: false,
            port: address.port(),
            any_port: false,
            address: Some(address),
            ..Self::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_read_as_addresses_names_or_both() {
        let node: BootstrapNode = "127.0.0.1:49737".parse().unwrap();
        assert_eq!(node, SocketAddrV4::new(Ipv4Addr::LOCALHOST, 49737).into());
        let node: BootstrapNode = "88.99.3.86@node1.hyperdht.org:49737".parse().unwrap();
        assert_eq!(node, public_bootstrap()[0]);
        for text in [
            "",
            "host",
            "host:",
            "host:0",
            "host:65536",
            ":1",
            "1.2.3@name:1",
            "1.2.3.4@:1",
            "a b:1",
            "::1:5",
        ] {
            assert!(text.parse::<BootstrapNode>().is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up_and_those_that_say_nothing_are_kept_for_later() {
        let nodes = ["localhost:4", "nowhere.invalid:5"].map(|text| text.parse().unwrap());
        let bootstrap = Bootstrap::begin(nodes.into()).await;
        assert_eq!(bootstrap.addresses(), [SocketAddrV4::new(Ipv4Addr::LOCALHOST, 4)]);
        assert!(bootstrap.is_incomplete());
        let mut bootstrap = Bootstrap::begin(vec!["1.2.3.4@localhost:4".parse().unwrap()]).await;
        assert_eq!(bootstrap.addresses().len(), 1, "the name is not waited for");
        bootstrap.look_up().await;
        assert_eq!(bootstrap.addresses().len(), 2);
        assert!(!bootstrap.is_incomplete());
    }
}
