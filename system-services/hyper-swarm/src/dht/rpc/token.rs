//! Tokens: given with responses, wanted back with requests that store something, so that nobody stores in another's name.

use std::net::Ipv4Addr;

use blake2::Blake2bMac;
use blake2::digest::consts::U32;
use blake2::digest::{FixedOutput, KeyInit, Update};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use super::message::Token;

/// Issues and checks tokens: a hash of the host, keyed with a secret that changes. No memory per host.
pub struct Tokens {
    previous: Zeroizing<[u8; 64]>,
    current: Zeroizing<[u8; 64]>,
}

impl Tokens {
    /// `secrets` are two times 64 random bytes.
    pub fn new(secrets: &[u8; 128]) -> Self {
        let (mut previous, mut current) = (Zeroizing::new([0; 64]), Zeroizing::new([0; 64]));
        previous.copy_from_slice(&secrets[..64]);
        current.copy_from_slice(&secrets[64..]);
        Self { previous, current }
    }

    /// The token for a host.
    pub fn issue(&self, host: Ipv4Addr) -> Token {
        keyed(&self.current, &host.octets())
    }

    /// Whether `token` was issued for this host since the change before the last.
    pub fn check(&self, token: &Token, host: Ipv4Addr) -> bool {
        let valid = [&self.current, &self.previous].map(|secret| keyed(secret, &host.octets()).ct_eq(token));
        (valid[0] | valid[1]).into()
    }

    /// Changes the secret: tokens from before the last change are void.
    pub fn rotate(&mut self) {
        let mut next = Zeroizing::new([0; 64]);
        next[..32].copy_from_slice(&keyed(&self.previous, b"next"));
        next[32..].copy_from_slice(&keyed(&self.current, b"next"));
        self.previous = std::mem::replace(&mut self.current, next);
    }
}

fn keyed(secret: &[u8; 64], bytes: &[u8]) -> [u8; 32] {
    let mut mac = <Blake2bMac<U32> as KeyInit>::new(secret.into());
    Update::update(&mut mac, bytes);
    mac.finalize_fixed().into()
}
