//! The Noise handshake (IK) within the DHT's messages: two of them, and what both ends know afterwards.

use hyper_core::crypto::{keyed_hash, namespace};
use hyper_core::messages::MalformedMessage;
use zeroize::Zeroizing;

use crate::dht::messages::{NoisePayload, ReadPayload};
use crate::noise::{Handshake, KeyPair, NoiseError, PUBLIC_KEY_BYTES, Session};

/// The namespace of what hyperdht hashes and signs; its members are numbered as the commands are.
const NAMESPACE: &[u8] = b"hyperswarm/dht";
const PEER_HANDSHAKE: u8 = 0;
const PEER_HOLEPUNCH: u8 = 1;

/// Why a handshake message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// See the source.
    #[error("the Noise handshake with the peer failed")]
    Noise(#[source] NoiseError),
    /// What the handshake carries is not what a peer says of itself.
    #[error("the peer's handshake is authentic and makes no sense")]
    Payload(#[source] MalformedMessage),
}

/// What a complete handshake leaves.
#[derive(Clone)]
pub struct Agreed {
    /// The keys of the secret stream.
    pub session: Session,
    /// The key that seals what is said about holepunching.
    pub holepunch_key: Zeroizing<[u8; 32]>,
}

impl Agreed {
    fn new(handshake: Handshake) -> Result<Self, HandshakeError> {
        let session = handshake.finish().map_err(HandshakeError::Noise)?;
        let holepunch = namespace(NAMESPACE, PEER_HOLEPUNCH);
        Ok(Self {
            holepunch_key: Zeroizing::new(keyed_hash(&session.hash, &[&holepunch])),
            session,
        })
    }
}

/// The client's side. Its request is the same for every node that is asked, and every reply is read from the start: a
/// node that forges one does not spoil those of the others.
pub struct ClientHandshake<'a> {
    keys: &'a KeyPair,
    server: [u8; PUBLIC_KEY_BYTES],
    ephemeral_seed: Zeroizing<[u8; 32]>,
    payload: Vec<u8>,
    request: Vec<u8>,
}

impl<'a> ClientHandshake<'a> {
    /// A handshake with `server`, which is told `payload`. `ephemeral_seed` must be fresh random bytes.
    ///
    /// # Errors
    /// The server's key is not a point of the group.
    pub fn new(
        keys: &'a KeyPair,
        server: [u8; PUBLIC_KEY_BYTES],
        ephemeral_seed: [u8; 32],
        payload: &NoisePayload,
    ) -> Result<Self, HandshakeError> {
        let mut client = Self {
            keys,
            server,
            ephemeral_seed: Zeroizing::new(ephemeral_seed),
            payload: payload.encode(),
            request: Vec::new(),
        };
        (_, client.request) = client.start()?;
        Ok(client)
    }

    /// The message for the server.
    #[must_use]
    pub fn request(&self) -> &[u8] {
        &self.request
    }

    /// Reads a reply.
    ///
    /// # Errors
    /// It is not the server's. Another one may be.
    pub fn read_reply(&self, reply: &[u8]) -> Result<(ReadPayload, Agreed), HandshakeError> {
        let (mut handshake, _) = self.start()?;
        let payload = handshake.read(reply).map_err(HandshakeError::Noise)?;
        let payload = NoisePayload::decode(&payload).map_err(HandshakeError::Payload)?;
        Ok((payload, Agreed::new(handshake)?))
    }

    fn start(&self) -> Result<(Handshake, Vec<u8>), HandshakeError> {
        let prologue = namespace(NAMESPACE, PEER_HANDSHAKE);
        let mut handshake = Handshake::ik_initiator(self.keys, &self.server, &prologue, *self.ephemeral_seed)
            .map_err(HandshakeError::Noise)?;
        let request = handshake.write(&self.payload).map_err(HandshakeError::Noise)?;
        Ok((handshake, request))
    }
}

/// The server's side, between request and reply.
pub struct ServerHandshake {
    handshake: Handshake,
    client: [u8; PUBLIC_KEY_BYTES],
    payload: ReadPayload,
}

impl ServerHandshake {
    /// Reads a client's request. `ephemeral_seed` must be fresh random bytes.
    ///
    /// # Errors
    /// The request is not for this server, or makes no sense.
    pub fn read_request(
        keys: &KeyPair,
        request: &[u8],
        ephemeral_seed: [u8; 32],
    ) -> Result<Self, HandshakeError> {
        let prologue = namespace(NAMESPACE, PEER_HANDSHAKE);
        let mut handshake =
            Handshake::ik_responder(keys, &prologue, ephemeral_seed).map_err(HandshakeError::Noise)?;
        let payload = handshake.read(request).map_err(HandshakeError::Noise)?;
        let client = handshake.remote_public_key();
        Ok(Self {
            client: client.ok_or(HandshakeError::Noise(NoiseError::OutOfTurn))?,
            payload: NoisePayload::decode(&payload).map_err(HandshakeError::Payload)?,
            handshake,
        })
    }

    /// Who asks.
    #[must_use]
    pub fn client(&self) -> &[u8; PUBLIC_KEY_BYTES] {
        &self.client
    }

    /// What it says of itself.
    #[must_use]
    pub fn payload(&self) -> &ReadPayload {
        &self.payload
    }

    /// The message for the client, and what both know from now on.
    ///
    /// # Errors
    /// The client's key is not a point of the group.
    pub fn reply(mut self, payload: &NoisePayload) -> Result<(Vec<u8>, Agreed), HandshakeError> {
        let reply = self
            .handshake
            .write(&payload.encode())
            .map_err(HandshakeError::Noise)?;
        Ok((reply, Agreed::new(self.handshake)?))
    }
}
