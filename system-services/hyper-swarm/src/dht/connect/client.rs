//! Connecting to a server: find nodes that know a way to it, shake hands through one of them, and go the best way there is.

mod find;
mod punch;

use std::net::SocketAddrV4;
use std::time::Duration;

use hyper_core::crypto::{self, KeyPair};
use tokio::time::timeout;

use self::find::{Found, Search};
use self::punch::Punching;
use super::{
    ClientHandshake, ConnectError, PathKind, PeerConnection, RELAY_GRACE, RawStream, Seeking, Way, is_bogon,
    is_reserved, local_addresses, noise_keys, on_the_same_network, way,
};
use crate::connection;
use crate::dht::messages::{Firewall, NoisePayload, RelayThrough, UdxInfo};
use crate::dht::relay::{Meeting, meet};
use crate::dht::{Dht, SocketId};

/// Who can be reached waits so long for a server that cannot.
const PASSIVE_PATIENCE: Duration = Duration::from_secs(10);

/// How a connection is made.
#[derive(Clone, Debug)]
pub struct ConnectOptions {
    /// Nodes that may know a way to the server; they are asked first.
    pub relay_addresses: Vec<SocketAddrV4>,
    /// The relay that the server is to meet us at if there is no direct way.
    pub relay_through: Option<[u8; 32]>,
    /// So long the direct way alone is tried before a relay is used; it is tried on then. Default: [`RELAY_GRACE`].
    pub relay_grace: Duration,
    /// Whether the server is told our addresses on our own networks, and is looked for there when it is on the same.
    pub local_connection: bool,
    /// How the connection behaves.
    pub connection: connection::Options,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            relay_addresses: Vec::new(),
            relay_through: None,
            relay_grace: RELAY_GRACE,
            local_connection: true,
            connection: connection::Options::hyperdht(),
        }
    }
}

impl Dht {
    /// Connects to the server of a key, as `key_pair`. Dropping the future ends the attempt.
    ///
    /// # Errors
    /// [`ConnectError`].
    pub async fn connect(
        &self,
        server: [u8; 32],
        key_pair: &KeyPair,
        options: &ConnectOptions,
    ) -> Result<PeerConnection, ConnectError> {
        let keys = noise_keys(key_pair);
        let mut stream = RawStream::new(self).map_err(ConnectError::Stream)?;
        let ours = describe(self, &stream, options)?;
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(ConnectError::Random)?;
        let handshake = ClientHandshake::new(&keys, server, seed, &ours).map_err(ConnectError::Handshake)?;
        let search = Search {
            dht: self,
            server,
            target: crypto::hash(&[&server]),
            handshake: &handshake,
        };
        let found = search.run(&options.relay_addresses).await?;
        self.remember(server, &found);
        let (stream_id, session) = (found.stream.id, found.agreed.session.clone());
        let reach = Reach {
            dht: self.clone(),
            target: search.target,
            ours,
            found,
            local_connection: options.local_connection,
        };
        let way = reach.way(&mut stream, options.relay_grace).await?;
        Ok(stream.start(way, stream_id, &session, &options.connection)?)
    }

    fn remember(&self, server: [u8; 32], found: &Found) {
        let named = found.theirs.relay_addresses.clone().unwrap_or_default();
        let ways = if named.is_empty() { vec![found.node] } else { named };
        self.peers().set_ways(server, ways);
    }
}

/// What we say of ourselves.
fn describe(dht: &Dht, stream: &RawStream, options: &ConnectOptions) -> Result<NoisePayload, ConnectError> {
    let public = dht.remote_address();
    let local = match options.local_connection {
        true => local_addresses(dht.local_address()),
        false => Vec::new(),
    };
    let mut token = [0; 32];
    getrandom::fill(&mut token).map_err(ConnectError::Random)?;
    Ok(NoisePayload {
        firewall: match public {
            Some(_) => Firewall::Open,
            None => Firewall::Unknown,
        },
        addresses4: public.into_iter().chain(local).collect(),
        udx: Some(UdxInfo {
            reusable_socket: false,
            id: stream.id(),
            seq: 0,
        }),
        secret_stream: Some(1),
        relay_through: options
            .relay_through
            .map(|public_key| RelayThrough { public_key, token }),
        ..NoisePayload::default()
    })
}

/// A server that has answered.
struct Reach {
    dht: Dht,
    target: [u8; 32],
    ours: NoisePayload,
    found: Found,
    local_connection: bool,
}

impl Reach {
    /// The best way to the server.
    async fn way(
        self,
        stream: &mut RawStream,
        relay_grace: Duration,
    ) -> Result<way::Found<ConnectError>, ConnectError> {
        let (dht, stream_id) = (self.dht.clone(), stream.id());
        let theirs = self.found.theirs.relay_through.clone();
        let meeting = theirs.map(|relay| Meeting::new(relay, false)).or_else(|| {
            self.ours
                .relay_through
                .clone()
                .map(|relay| Meeting::new(relay, true))
        });
        let relayed = meeting
            .map(|meeting| async move { meet(&dht, &meeting, stream_id).await.map_err(ConnectError::Relay) });
        let direct: Seeking<_> = Box::pin(async move { self.direct().await });
        stream.way(direct, relayed, relay_grace).await
    }

    async fn direct(&self) -> Result<Way, ConnectError> {
        let found = &self.found;
        if !found.is_relayed {
            return self.by(self.dht.current_socket(), found.server_address, PathKind::Direct);
        }
        let holepunch = found.theirs.holepunch.as_ref();
        let holepunch = holepunch.filter(|holepunch| !holepunch.relays.is_empty());
        let is_elsewhere = found.server_address != found.node;
        if found.theirs.firewall == Firewall::Open || (is_elsewhere && holepunch.is_none()) {
            let public = found.theirs.addresses4.iter().find(|a| !is_bogon(a.ip()));
            let address = public.copied().unwrap_or(found.server_address);
            return self.by(self.dht.current_socket(), address, PathKind::Direct);
        }
        if self.ours.firewall == Firewall::Open {
            tokio::time::sleep(PASSIVE_PATIENCE).await;
            return Err(ConnectError::Silent);
        }
        let Some(holepunch) = holepunch else {
            return self.on_our_network().await.ok_or(ConnectError::NoWay);
        };
        let punching = Punching {
            dht: &self.dht,
            target: self.target,
            found,
            holepunch,
        };
        tokio::select! {
            Some(way) = self.on_our_network() => Ok(way),
            way = punching.run() => way,
        }
    }

    /// The server, if it is on our own network. Waits for ever if it is not, or does not answer there.
    async fn on_our_network(&self) -> Option<Way> {
        let found = &self.found;
        let is_same_host = found.client_address.ip() == found.server_address.ip();
        if !self.local_connection || !is_same_host {
            return None;
        }
        let theirs = found.theirs.addresses4.iter().copied();
        let theirs: Vec<_> = theirs.filter(|address| !is_reserved(address.ip())).collect();
        let ours = local_addresses(self.dht.local_address());
        let address = on_the_same_network(&ours, &theirs).or(theirs.first().copied())?;
        timeout(PASSIVE_PATIENCE, self.dht.ping(address))
            .await
            .ok()?
            .ok()?;
        self.by(SocketId::SERVER, address, PathKind::Direct).ok()
    }

    fn by(&self, socket: SocketId, address: SocketAddrV4, kind: PathKind) -> Result<Way, ConnectError> {
        Way::by(&self.dht, socket, address, kind).ok_or(ConnectError::NoWay)
    }
}
