//! What the two ends say about holepunching goes through nodes that need not know: it is sealed with a key of the
//! handshake (libsodium's secretbox, the nonce in front).

use std::net::Ipv4Addr;

use hyper_core::crypto::keyed_hash;
use zeroize::Zeroizing;

use crate::dht::messages::HolepunchPayload;
use crate::secret_stream::cipher::{MAC_BYTES, open_box, seal_box};

/// Length of a nonce, in bytes.
pub const NONCE_BYTES: usize = 24;

/// One end's keys of one holepunch.
pub struct Sealer {
    key: Zeroizing<[u8; 32]>,
    token_key: Zeroizing<[u8; 32]>,
}

impl Sealer {
    /// With the key of the handshake, and a random one for the tokens that this end gives out.
    #[must_use]
    pub fn new(key: Zeroizing<[u8; 32]>, token_key: [u8; 32]) -> Self {
        Self {
            key,
            token_key: Zeroizing::new(token_key),
        }
    }

    /// Seals a payload. The nonce must be fresh random bytes.
    #[must_use]
    pub fn seal(&self, payload: &HolepunchPayload, nonce: [u8; NONCE_BYTES]) -> Vec<u8> {
        let mut body = payload.encode();
        let mac = seal_box(&self.key, &nonce, &mut body);
        [&nonce[..], &mac, &body].concat()
    }

    /// Opens a payload of the other end. `None`: it is not the other end's, or makes no sense.
    #[must_use]
    pub fn open(&self, sealed: &[u8]) -> Option<HolepunchPayload> {
        let (nonce, rest) = sealed.split_first_chunk::<NONCE_BYTES>()?;
        let (mac, body) = rest.split_first_chunk::<MAC_BYTES>()?;
        let mut body = body.to_vec();
        open_box(&self.key, nonce, mac, &mut body)
            .then(|| HolepunchPayload::decode(&body).ok())
            .flatten()
    }

    /// What the other end is to send back to prove that it is reached at this host.
    #[must_use]
    pub fn token(&self, host: &Ipv4Addr) -> [u8; 32] {
        keyed_hash(&self.token_key, &[host.to_string().as_bytes()])
    }
}
