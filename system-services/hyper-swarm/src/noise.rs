//! Noise XX and IK as the JavaScript peers speak it: `Noise_<pattern>_Ed25519_ChaChaPoly_BLAKE2b`, where keys are ed25519
//! points (so that the key that signs is the key that shakes hands), Diffie-Hellman is a multiplication on the Edwards
//! curve, and the hash is BLAKE2b with 64 bytes.
//!
//! The pattern machine is `snow`; the primitives under it are ours to name (decision 14). Nothing here draws random
//! numbers: the seed of the ephemeral key is given.
//!
//! ```
//! use hyper_swarm::noise::{Handshake, KeyPair};
//!
//! # fn main() -> Result<(), hyper_swarm::noise::NoiseError> {
//! // In earnest the seeds come from the operating system's generator.
//! let mut alice = Handshake::xx_initiator(&KeyPair::from_seed(&[1; 32]), b"", [2; 32])?;
//! let mut bob = Handshake::xx_responder(&KeyPair::from_seed(&[3; 32]), b"", [4; 32])?;
//! bob.read(&alice.write(b"")?)?;
//! alice.read(&bob.write(b"")?)?;
//! bob.read(&alice.write(b"hello")?)?;
//! assert_eq!(alice.finish()?.hash, bob.finish()?.hash);
//! # Ok(())
//! # }
//! ```

mod keys;
mod suite;

use snow::params::{
    BaseChoice, CipherChoice, DHChoice, HandshakeChoice, HandshakeModifierList, HandshakePattern, HashChoice,
    NoiseParams,
};
use zeroize::Zeroizing;

pub use keys::{KeyPair, PUBLIC_KEY_BYTES};

/// Longest handshake message, in bytes: the Noise specification's limit (section 3).
pub const MAX_MESSAGE_BYTES: usize = 65_535;

/// What a message grows by at most beside its payload: an ephemeral key, an encrypted static key, and two tags.
const OVERHEAD_BYTES: usize = 2 * PUBLIC_KEY_BYTES + 2 * TAG_BYTES;
const TAG_BYTES: usize = 16;

/// Who spoke first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Sent the first handshake message.
    Initiator,
    /// Answered it.
    Responder,
}

impl Role {
    /// The other end's role.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Self::Initiator => Self::Responder,
            Self::Responder => Self::Initiator,
        }
    }
}

/// Why a handshake ended. None of them can be continued from: drop the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoiseError {
    /// The keys and the pattern do not fit together; a bug of the caller.
    #[error("the handshake cannot start: a key that its pattern needs is missing")]
    Setup,
    /// Read and write were called out of turn, or after the end or a failure; a bug of the caller.
    #[error(
        "the handshake has no such step now: it failed before, is complete, or the other side speaks next"
    )]
    OutOfTurn,
    /// More than [`MAX_MESSAGE_BYTES`], or fewer than the pattern's keys and tags need.
    #[error(
        "a handshake message of {bytes} bytes does not fit the pattern: the peer speaks another protocol"
    )]
    Length {
        /// Length of the message, in bytes.
        bytes: usize,
    },
    /// A key that is not the canonical encoding of a point of the prime-order group, as libsodium refuses it.
    #[error("the peer's key is not a point of the ed25519 group")]
    WeakKey,
    /// The tag of a key or payload is wrong: another prologue, another static key, or changed on the way.
    #[error(
        "a handshake message is not authentic: the peer expects another key, or it was changed on the way"
    )]
    NotAuthentic,
}

/// What a complete handshake leaves: enough to run a secret stream. HyperDHT's handshake, which runs over the DHT's
/// messages and not over the stream, ends in one too.
#[derive(Clone)]
pub struct Session {
    /// Our role in the handshake.
    pub role: Role,
    /// Key of what we send.
    pub tx: Zeroizing<[u8; 32]>,
    /// Key of what we receive.
    pub rx: Zeroizing<[u8; 32]>,
    /// The handshake hash, the same at both ends and never seen by anyone else.
    pub hash: [u8; 64],
    /// The other end's static key, authenticated.
    pub remote_public_key: [u8; PUBLIC_KEY_BYTES],
}

impl std::fmt::Debug for Session {
    // The keys stay out of logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("role", &self.role)
            .field("remote_public_key", &self.remote_public_key)
            .finish_non_exhaustive()
    }
}

/// One run of a Noise pattern.
pub struct Handshake {
    /// `None` once a step failed: what is left inside after a failure is no state to go on from.
    state: Option<Box<snow::HandshakeState>>,
    role: Role,
}

impl Handshake {
    /// XX from the side that starts: three messages, the static keys are exchanged within. `ephemeral_seed` must be fresh
    /// random bytes each time; both sides must give the same `prologue`.
    ///
    /// # Errors
    /// [`NoiseError::Setup`] (cannot happen with a [`KeyPair`]).
    pub fn xx_initiator(
        keys: &KeyPair,
        prologue: &[u8],
        ephemeral_seed: [u8; 32],
    ) -> Result<Self, NoiseError> {
        let pattern = HandshakePattern::XX;
        Self::new(Role::Initiator, pattern, keys, None, prologue, ephemeral_seed)
    }

    /// XX from the side that waits; see [`Handshake::xx_initiator`].
    ///
    /// # Errors
    /// [`NoiseError::Setup`] (cannot happen with a [`KeyPair`]).
    pub fn xx_responder(
        keys: &KeyPair,
        prologue: &[u8],
        ephemeral_seed: [u8; 32],
    ) -> Result<Self, NoiseError> {
        let pattern = HandshakePattern::XX;
        Self::new(Role::Responder, pattern, keys, None, prologue, ephemeral_seed)
    }

    /// IK from the side that starts: two messages; the responder's key is known. A `remote` that is no point of the group
    /// is found at the first [`write`](Self::write).
    ///
    /// # Errors
    /// [`NoiseError::Setup`] (cannot happen with a [`KeyPair`]).
    pub fn ik_initiator(
        keys: &KeyPair,
        remote: &[u8; PUBLIC_KEY_BYTES],
        prologue: &[u8],
        ephemeral_seed: [u8; 32],
    ) -> Result<Self, NoiseError> {
        let pattern = HandshakePattern::IK;
        Self::new(
            Role::Initiator,
            pattern,
            keys,
            Some(remote),
            prologue,
            ephemeral_seed,
        )
    }

    /// IK from the side that waits; see [`Handshake::ik_initiator`].
    ///
    /// # Errors
    /// [`NoiseError::Setup`] (cannot happen with a [`KeyPair`]).
    pub fn ik_responder(
        keys: &KeyPair,
        prologue: &[u8],
        ephemeral_seed: [u8; 32],
    ) -> Result<Self, NoiseError> {
        let pattern = HandshakePattern::IK;
        Self::new(Role::Responder, pattern, keys, None, prologue, ephemeral_seed)
    }

    fn new(
        role: Role,
        pattern: HandshakePattern,
        keys: &KeyPair,
        remote: Option<&[u8; PUBLIC_KEY_BYTES]>,
        prologue: &[u8],
        ephemeral_seed: [u8; 32],
    ) -> Result<Self, NoiseError> {
        let resolver = suite::Resolver::new(ephemeral_seed);
        let build = || {
            let mut builder = snow::Builder::with_resolver(params(pattern), Box::new(resolver))
                .local_private_key(keys.scalar())?
                .prologue(prologue)?;
            if let Some(remote) = remote {
                builder = builder.remote_public_key(remote)?;
            }
            match role {
                Role::Initiator => builder.build_initiator(),
                Role::Responder => builder.build_responder(),
            }
        };
        let state = build().map_err(|_| NoiseError::Setup)?;
        Ok(Self {
            state: Some(Box::new(state)),
            role,
        })
    }

    /// Our role.
    #[must_use]
    pub fn role(&self) -> Role {
        self.role
    }

    /// Whether [`write`](Self::write) is the next step.
    #[must_use]
    pub fn is_our_turn(&self) -> bool {
        self.state
            .as_ref()
            .is_some_and(|s| s.is_my_turn() && !s.is_handshake_finished())
    }

    /// Whether [`finish`](Self::finish) is the next step.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.state.as_ref().is_some_and(|s| s.is_handshake_finished())
    }

    /// The other end's static key, as soon as it is known: with IK the responder has it after the first message, which
    /// is when it may still say no.
    #[must_use]
    pub fn remote_public_key(&self) -> Option<[u8; PUBLIC_KEY_BYTES]> {
        self.state.as_ref()?.get_remote_static()?.try_into().ok()
    }

    /// The next message, carrying `payload` (which the first message of XX leaves in the clear).
    ///
    /// # Errors
    /// [`NoiseError::OutOfTurn`]; [`NoiseError::Length`] when the payload is too long; [`NoiseError::WeakKey`].
    pub fn write(&mut self, payload: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let bytes = payload.len().saturating_add(OVERHEAD_BYTES);
        if bytes > MAX_MESSAGE_BYTES {
            return Err(NoiseError::Length { bytes });
        }
        let mut message = vec![0; bytes];
        let length = self.step(bytes, |state| state.write_message(payload, &mut message))?;
        message.truncate(length);
        Ok(message)
    }

    /// Takes the other end's next message and returns its payload.
    ///
    /// # Errors
    /// Everything in [`NoiseError`] but `Setup`. After an error every further step is refused.
    pub fn read(&mut self, message: &[u8]) -> Result<Vec<u8>, NoiseError> {
        let bytes = message.len();
        if bytes > MAX_MESSAGE_BYTES {
            self.state = None;
            return Err(NoiseError::Length { bytes });
        }
        let mut payload = vec![0; bytes];
        let length = self.step(bytes, |state| state.read_message(message, &mut payload))?;
        payload.truncate(length);
        Ok(payload)
    }

    /// Runs one step; a failure is final, because the pattern machine keeps half of a failed step.
    fn step(
        &mut self,
        bytes: usize,
        step: impl FnOnce(&mut snow::HandshakeState) -> Result<usize, snow::Error>,
    ) -> Result<usize, NoiseError> {
        let mut state = self.state.take().ok_or(NoiseError::OutOfTurn)?;
        let length = step(&mut state).map_err(|error| match error {
            snow::Error::Input => NoiseError::Length { bytes },
            snow::Error::Dh => NoiseError::WeakKey,
            snow::Error::Decrypt => NoiseError::NotAuthentic,
            _ => NoiseError::OutOfTurn,
        })?;
        self.state = Some(state);
        Ok(length)
    }

    /// The keys of the complete handshake.
    ///
    /// # Errors
    /// [`NoiseError::OutOfTurn`] before the last message was written or read.
    pub fn finish(self) -> Result<Session, NoiseError> {
        let mut state = self.state.ok_or(NoiseError::OutOfTurn)?;
        if !state.is_handshake_finished() {
            return Err(NoiseError::OutOfTurn);
        }
        let remote = state.get_remote_static().and_then(|key| key.try_into().ok());
        let hash = state
            .get_handshake_hash()
            .try_into()
            .map_err(|_| NoiseError::OutOfTurn)?;
        let (first, second) = state.dangerously_get_raw_split();
        let (first, second) = (Zeroizing::new(first), Zeroizing::new(second));
        let (tx, rx) = match self.role {
            Role::Initiator => (first, second),
            Role::Responder => (second, first),
        };
        let remote_public_key = remote.ok_or(NoiseError::OutOfTurn)?;
        Ok(Session {
            role: self.role,
            tx,
            rx,
            hash,
            remote_public_key,
        })
    }
}

/// The name is what is hashed, the choices only ask our resolver, which answers the Edwards curve for 25519.
fn params(pattern: HandshakePattern) -> NoiseParams {
    let modifiers = HandshakeModifierList { list: Vec::new() };
    NoiseParams::new(
        format!("Noise_{}_{}_ChaChaPoly_BLAKE2b", pattern.as_str(), keys::NAME),
        BaseChoice::Noise,
        HandshakeChoice { pattern, modifiers },
        DHChoice::Curve25519,
        CipherChoice::ChaChaPoly,
        HashChoice::Blake2b,
    )
}

/// For fuzzing: `bytes` is what a hostile peer says in each of the four roles. Must not panic; nothing can come of it
/// but an error, or an answer to a first message.
pub fn fuzz_handshake(bytes: &[u8]) {
    let keys = KeyPair::from_seed(&[7; 32]);
    let (first, rest) = bytes.split_at(bytes.len().min(96));
    let handshakes = [
        Handshake::xx_responder(&keys, b"", [8; 32]),
        Handshake::ik_responder(&keys, b"", [8; 32]),
        Handshake::xx_initiator(&keys, b"", [8; 32]),
        Handshake::ik_initiator(&keys, keys.public_key(), b"", [8; 32]),
    ];
    for mut handshake in handshakes.into_iter().flatten() {
        for message in [bytes, first, rest] {
            if handshake.is_our_turn() {
                let _ = handshake.write(b"");
            }
            let _ = handshake.read(message);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
