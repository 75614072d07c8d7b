//! Finding a server: the handshake goes through nodes that know it, the first answer counts.

use std::collections::{HashSet, VecDeque};
use std::net::SocketAddrV4;

use tokio::task::JoinSet;

use crate::dht::connect::{Agreed, ClientHandshake, ConnectError};
use crate::dht::messages::{ErrorCode, HandshakeMessage, Mode, NoisePayload, ReadPayload, UdxInfo};
use crate::dht::{Command, Dht, Outgoing, QueryOptions};

/// Nodes that are asked at the same time, besides one that was known before.
const LANES: usize = 2;
/// A node that does not answer a query is asked again so often.
const RETRIES: u32 = 3;

/// A server's answer, and how it came.
#[derive(Clone)]
pub(super) struct Found {
    /// What the server says of itself.
    pub(super) theirs: NoisePayload,
    /// Its stream.
    pub(super) stream: UdxInfo,
    pub(super) agreed: Agreed,
    /// The node that was asked.
    pub(super) node: SocketAddrV4,
    /// The server's address, as the node saw it.
    pub(super) server_address: SocketAddrV4,
    /// Ours, as the node saw it.
    pub(super) client_address: SocketAddrV4,
    /// The node is not the server.
    pub(super) is_relayed: bool,
}

/// A reply to a handshake.
struct Answer {
    message: HandshakeMessage,
    node: SocketAddrV4,
    client_address: SocketAddrV4,
}

pub(super) struct Search<'a> {
    pub(super) dht: &'a Dht,
    pub(super) server: [u8; 32],
    pub(super) target: [u8; 32],
    pub(super) handshake: &'a ClientHandshake<'a>,
}

impl Search<'_> {
    /// Asks nodes until the server answers through one.
    pub(super) async fn run(&self, named: &[SocketAddrV4]) -> Result<Found, ConnectError> {
        let mut known: VecDeque<_> = self.known(named).into();
        let mut tried: HashSet<SocketAddrV4> = HashSet::new();
        let mut lanes = JoinSet::new();
        let options = QueryOptions {
            retries: RETRIES,
            ..QueryOptions::default()
        };
        let mut query = self.dht.find_target(self.target, options);
        let mut is_querying = true;
        let most = LANES + usize::from(!known.is_empty());
        loop {
            while lanes.len() < most
                && let Some(node) = known.pop_front()
            {
                if tried.insert(node) {
                    lanes.spawn(ask(
                        self.dht.clone(),
                        self.target,
                        self.handshake.request().to_vec(),
                        node,
                    ));
                }
            }
            tokio::select! {
                reply = query.next(), if is_querying && lanes.len() < most => match reply {
                    Some(reply) => known.push_back(reply.from),
                    None => is_querying = false,
                },
                Some(answer) = lanes.join_next() => {
                    if let Ok(Some(answer)) = answer
                        && let Some(found) = self.read(answer)?
                    {
                        return Ok(found);
                    }
                }
                else => break,
            }
        }
        match tried.is_empty() {
            true => Err(ConnectError::NotFound(self.server)),
            false => Err(ConnectError::Unreachable(self.server)),
        }
    }

    /// Nodes that are likely to know the server: as the caller says, as this node itself does, as they did the last time.
    fn known(&self, named: &[SocketAddrV4]) -> Vec<SocketAddrV4> {
        if let Some(here) = self.dht.announced(&self.target) {
            return vec![here];
        }
        match named {
            [] => self.dht.peers().ways(&self.server),
            named => named.to_vec(),
        }
    }

    /// Reads an answer. `None`: it is not the server's, whoever made it.
    fn read(&self, answer: Answer) -> Result<Option<Found>, ConnectError> {
        let (payload, agreed) = match self.handshake.read_reply(&answer.message.noise) {
            Ok(read) => read,
            Err(error) => {
                tracing::debug!(node = %answer.node, %error, "not the answer of the server");
                return Ok(None);
            }
        };
        let ReadPayload::Known(theirs) = payload else {
            return Err(ConnectError::OtherVersion(self.server));
        };
        let refused = |code| ConnectError::Refused {
            peer: self.server,
            code,
        };
        if theirs.error != ErrorCode::None {
            return Err(refused(theirs.error));
        }
        let stream = theirs.udx.ok_or(refused(ErrorCode::Aborted))?;
        Ok(Some(Found {
            theirs: *theirs,
            stream,
            agreed,
            node: answer.node,
            server_address: answer.message.peer_address.unwrap_or(answer.node),
            client_address: answer.client_address,
            is_relayed: answer.message.peer_address.is_some(),
        }))
    }
}

/// Sends the handshake to a node. `None`: it does not know the server, or the server does not answer.
async fn ask(dht: Dht, target: [u8; 32], noise: Vec<u8>, node: SocketAddrV4) -> Option<Answer> {
    let message = HandshakeMessage {
        mode: Mode::FromClient,
        noise,
        peer_address: None,
        relay_address: None,
    };
    let mut request = Outgoing::new(node, Command::PeerHandshake);
    request.target = Some(target);
    request.value = Some(message.encode());
    let reply = dht.request(request).await.ok()?;
    let message = HandshakeMessage::decode(&reply.value?).ok()?;
    (message.mode == Mode::Reply && !message.noise.is_empty()).then_some(Answer {
        message,
        node,
        client_address: reply.to,
    })
}
