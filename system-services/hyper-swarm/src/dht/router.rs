//! What a node does with a `PEER_HANDSHAKE` or `PEER_HOLEPUNCH` request: serve it, pass it on towards the server, or pass
//! the answer back. Pure: what is known of the target and who asks come in, what to send comes out.
//!
//! The way of a handshake: client → node → server → node → client; when the client's node does not know the server itself,
//! a second node stands between node and server, and the server answers the first one directly.

#[cfg(test)]
mod tests;

use std::net::SocketAddrV4;

use super::messages::{HandshakeMessage, HolepunchMessage, Mode};

/// What a node knows of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    /// Its server runs here.
    Here,
    /// It was announced here from this address.
    Announced(SocketAddrV4),
    /// Nothing.
    Unknown,
}

impl Route {
    fn relay(self) -> Option<SocketAddrV4> {
        match self {
            Self::Announced(relay) => Some(relay),
            Self::Here | Self::Unknown => None,
        }
    }
}

/// What to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Send {
    /// The same request (its transaction, command and target) with this value, to this address.
    Request {
        /// The value.
        value: Vec<u8>,
        /// Where to.
        to: SocketAddrV4,
    },
    /// A reply with this value and neither nodes nor token, to this address.
    Reply {
        /// The value.
        value: Vec<u8>,
        /// Where to.
        to: SocketAddrV4,
    },
    /// A reply to the asker without value, with the nodes that are closer: they may know.
    CloserNodes,
}

/// What to do with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<T> {
    /// Nothing: no peer of ours sends this.
    Ignore,
    /// Send this.
    Send(Send),
    /// Ask the server, and send what it says the way that this tells.
    Serve(T),
}

/// A handshake that a server is to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeHandshake {
    /// The client's Noise message.
    pub noise: Vec<u8>,
    /// The client's address: as a node between saw it, or as we see it.
    pub client: SocketAddrV4,
    /// The client has asked us directly.
    pub direct: bool,
    back: Back,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Back {
    ToClient,
    Through(SocketAddrV4),
}

/// What is to be done with a handshake that came from `from`.
#[must_use]
pub fn handshake(message: HandshakeMessage, from: SocketAddrV4, route: Route) -> Step<ServeHandshake> {
    let HandshakeMessage {
        mode,
        noise,
        peer_address,
        relay_address,
    } = message;
    if route == Route::Here {
        let back = match (mode, relay_address) {
            (Mode::FromClient, _) => Back::ToClient,
            (Mode::FromRelay, _) => Back::Through(from),
            (Mode::FromSecondRelay, Some(relay)) => Back::Through(relay),
            _ => return Step::Ignore,
        };
        return Step::Serve(ServeHandshake {
            noise,
            client: peer_address.unwrap_or(from),
            direct: peer_address.is_none(),
            back,
        });
    }
    let pass_on = |mode, peer_address, relay_address, to| {
        let message = HandshakeMessage {
            mode,
            noise,
            peer_address,
            relay_address,
        };
        let value = message.encode();
        Step::Send(match mode {
            Mode::Reply => Send::Reply { value, to },
            _ => Send::Request { value, to },
        })
    };
    match mode {
        Mode::FromClient => match relay_address.or(route.relay()) {
            Some(to) => pass_on(Mode::FromRelay, Some(from), None, to),
            None => Step::Send(Send::CloserNodes),
        },
        Mode::FromRelay => match route.relay() {
            Some(to) => pass_on(Mode::FromSecondRelay, peer_address, Some(from), to),
            None => Step::Ignore,
        },
        Mode::FromServer => match peer_address {
            Some(to) => pass_on(Mode::Reply, Some(from), None, to),
            None => Step::Ignore,
        },
        Mode::FromSecondRelay | Mode::Reply => Step::Ignore,
    }
}

impl ServeHandshake {
    /// What to send when the server has answered with `noise`; `from` is who asked.
    #[must_use]
    pub fn answer(&self, noise: Vec<u8>, from: SocketAddrV4) -> Send {
        let message = |mode, peer_address| HandshakeMessage {
            mode,
            noise,
            peer_address,
            relay_address: None,
        };
        match self.back {
            Back::ToClient => Send::Reply {
                value: message(Mode::Reply, None).encode(),
                to: from,
            },
            Back::Through(to) => Send::Request {
                value: message(Mode::FromServer, (!self.direct).then_some(self.client)).encode(),
                to,
            },
        }
    }
}

/// A step of a holepunch that a server is to answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServeHolepunch {
    /// The server's number of the handshake.
    pub id: u64,
    /// What is sealed.
    pub payload: Vec<u8>,
    /// The client's address, as the node between saw it.
    pub client: SocketAddrV4,
}

/// What is to be done with a step of a holepunch that came from `from`.
#[must_use]
pub fn holepunch(message: HolepunchMessage, from: SocketAddrV4, route: Route) -> Step<ServeHolepunch> {
    let HolepunchMessage {
        mode,
        id,
        payload,
        peer_address,
    } = message;
    let value = |mode| {
        let peer_address = Some(from);
        HolepunchMessage {
            mode,
            id,
            payload: payload.clone(),
            peer_address,
        }
        .encode()
    };
    match (mode, peer_address) {
        (Mode::FromClient, _) => match peer_address.or(route.relay()) {
            Some(to) => Step::Send(Send::Request {
                value: value(Mode::FromRelay),
                to,
            }),
            None => Step::Ignore,
        },
        (Mode::FromRelay, Some(client)) if route == Route::Here => {
            Step::Serve(ServeHolepunch { id, payload, client })
        }
        (Mode::FromServer, Some(to)) => Step::Send(Send::Reply {
            value: value(Mode::Reply),
            to,
        }),
        _ => Step::Ignore,
    }
}

impl ServeHolepunch {
    /// What to send when the server has answered with a sealed `payload`; `from` is who asked.
    #[must_use]
    pub fn answer(&self, payload: Vec<u8>, from: SocketAddrV4) -> Send {
        let message = HolepunchMessage {
            mode: Mode::FromServer,
            id: 0,
            payload,
            peer_address: Some(self.client),
        };
        Send::Request {
            value: message.encode(),
            to: from,
        }
    }
}
