//! The secret stream of the JavaScript peers (`@hyperswarm/secret-stream` 6) over any ordered stream of bytes, UDX or TCP,
//! as machines without I/O: bytes in, messages out, and the other way round.
//!
//! On the wire everything is in frames, a length of three bytes, little endian, then the frame:
//!
//! 1. The messages of the Noise handshake, with an empty prologue. HyperDHT has its handshake in the DHT's messages
//!    instead; then the stream starts with step 2, see [`SecretStream::new`].
//! 2. From each side once, without waiting for the other's: the [`stream_id`] of its direction, then the 24-byte header of
//!    libsodium's secretstream.
//! 3. Messages, each 17 bytes longer than its content. An empty one keeps the connection alive.
//!
//! The end is the end of the raw stream, in each direction by itself; no message says it.
//!
//! ```
//! use hyper_swarm::noise::{Handshake, KeyPair};
//! use hyper_swarm::secret_stream::{Connecting, Options, Random};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let random = || Random { header: [5; 24], datagram_counter: [6; 8] }; // in earnest: random
//! let (mut to_bob, mut to_alice) = (Vec::new(), Vec::new());
//! let alice = Handshake::xx_initiator(&KeyPair::from_seed(&[1; 32]), b"", [2; 32])?;
//! let bob = Handshake::xx_responder(&KeyPair::from_seed(&[3; 32]), b"", [4; 32])?;
//! let mut alice = Connecting::new(alice, random(), Options::default(), &mut to_bob)?;
//! let mut bob = Connecting::new(bob, random(), Options::default(), &mut to_alice)?;
//! bob.receive(&mut to_bob.as_slice(), &mut to_alice)?;
//! to_bob.clear();
//! let mut alice = alice.receive(&mut to_alice.as_slice(), &mut to_bob)?.ok_or("not yet")?;
//! alice.sender.send(b"hello", &mut to_bob)?;
//!
//! let mut input = to_bob.as_slice();
//! let mut bob = bob.receive(&mut input, &mut to_alice)?.ok_or("not yet")?;
//! assert_eq!(bob.receiver.receive(&mut input)?.as_deref(), Some(&b"hello"[..]));
//! # Ok(())
//! # }
//! ```

pub(crate) mod cipher;
mod datagram;
mod frame;
mod idle;
mod ids;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::noise::{Handshake, NoiseError, PUBLIC_KEY_BYTES, Role, Session};
use cipher::{Cipher, HEADER_BYTES, MAC_BYTES, SEALED_BYTES, TAG_MESSAGE};
use frame::{Frame, Frames, LENGTH_BYTES, MAX_FRAME_BYTES};

pub use datagram::{DATAGRAM_OVERHEAD_BYTES, DatagramReceiver, DatagramSender};
pub use idle::{Due, Idle};
pub use ids::stream_id;

/// Longest message, in bytes: what the length of a frame can say.
pub const MAX_MESSAGE_BYTES: usize = MAX_FRAME_BYTES - SEALED_BYTES;

/// What a message is longer by on the wire, in bytes.
pub const OVERHEAD_BYTES: usize = LENGTH_BYTES + SEALED_BYTES;

/// Longest handshake frame that is accepted, in bytes. The peers' have at most 96; the rest is for payloads, which they
/// ignore. A stranger gets no more memory than this.
const MAX_HANDSHAKE_BYTES: usize = 1024;

const ID_BYTES: usize = 32;
const GREETING_BYTES: usize = ID_BYTES + HEADER_BYTES;

/// Why a stream is over. After any of them but `MessageLength` the raw stream is to be dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// See the source.
    #[error("the Noise handshake of a secret stream failed")]
    Handshake(#[source] NoiseError),
    /// A frame is shorter or longer than can be at this place.
    #[error("the peer announced a frame of {bytes} bytes where {min} to {max} are allowed")]
    FrameLength {
        /// Announced length, in bytes.
        bytes: usize,
        /// Least allowed length, in bytes.
        min: usize,
        /// Greatest allowed length, in bytes.
        max: usize,
    },
    /// The first frame after the handshake names another stream: another connection's bytes, or our own sent back.
    #[error("the peer's first frame after the handshake belongs to another stream")]
    OtherStream,
    /// A message was changed, left out or repeated on the way.
    #[error("a message is not authentic: it was changed, left out or repeated on the way")]
    NotAuthentic,
    /// The raw stream ended within a frame or before the stream was set up.
    #[error("the peer's stream broke off in the middle of a frame")]
    BrokeOff,
    /// [`SecretStream`] was handed out, there is nothing to receive here any more; a bug of the caller.
    #[error("the handshake of this stream is over: hand what comes in to the stream it returned")]
    AlreadyConnected,
    /// Our own message is too long; nothing was sent and the stream goes on.
    #[error(
        "a message of {bytes} bytes was to be sent, a stream carries at most {MAX_MESSAGE_BYTES} in one: split it"
    )]
    MessageLength {
        /// Its length, in bytes.
        bytes: usize,
    },
    /// 2^64 - 1 datagrams were sent; open a new stream.
    #[error("this stream has sent as many datagrams as its counter can number: open a new one")]
    NonceExhausted,
}

/// Fresh random bytes for one stream.
#[derive(Clone)]
pub struct Random {
    /// The header of our direction. Never to be used twice with the same keys.
    pub header: [u8; HEADER_BYTES],
    /// Where the counter of our datagrams starts.
    pub datagram_counter: [u8; 8],
}

/// What a user may choose.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Longest message to accept, in bytes; at most [`MAX_MESSAGE_BYTES`], which is the default because the peers may send
    /// that much. It bounds the memory of the connection.
    pub max_message_bytes: usize,
    /// Whether empty messages are swallowed, as the peers do when they keep connections alive. Off by default, as theirs.
    pub skip_empty: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            max_message_bytes: MAX_MESSAGE_BYTES,
            skip_empty: false,
        }
    }
}

/// A stream whose Noise handshake runs over the raw stream.
pub struct Connecting {
    progress: Result<Box<Handshake>, StreamError>,
    frames: Frames,
    random: Random,
    options: Options,
}

impl Connecting {
    /// Starts with a handshake that has not said anything yet. What is to be sent is appended to `out`.
    ///
    /// # Errors
    /// [`StreamError::Handshake`] if the remote key of an IK handshake is not a point of the group.
    pub fn new(
        handshake: Handshake,
        random: Random,
        options: Options,
        out: &mut Vec<u8>,
    ) -> Result<Self, StreamError> {
        let mut handshake = Box::new(handshake);
        if handshake.is_our_turn() {
            speak(&mut handshake, out)?;
        }
        Ok(Self {
            progress: Ok(handshake),
            frames: Frames::default(),
            random,
            options,
        })
    }

    /// Takes bytes off `input` until the handshake is complete, and appends to `out` what is to be sent, also after an
    /// error. The stream is returned once; what is then left in `input` is for its receiver.
    ///
    /// # Errors
    /// Any [`StreamError`] but those of sending; the same again each time after that.
    pub fn receive(
        &mut self,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Option<SecretStream>, StreamError> {
        let mut handshake = std::mem::replace(&mut self.progress, Err(StreamError::AlreadyConnected))
            .inspect_err(|error| {
                self.progress = Err(*error);
            })?;
        match self.advance(&mut handshake, input, out) {
            Err(error) => {
                self.progress = Err(error);
                Err(error)
            }
            Ok(false) => {
                self.progress = Ok(handshake);
                Ok(None)
            }
            Ok(true) => {
                let session = handshake.finish().map_err(StreamError::Handshake)?;
                Ok(Some(SecretStream::new(&session, &self.random, self.options, out)))
            }
        }
    }

    /// Whether the handshake became complete.
    fn advance(
        &mut self,
        handshake: &mut Handshake,
        input: &mut &[u8],
        out: &mut Vec<u8>,
    ) -> Result<bool, StreamError> {
        while !handshake.is_complete() {
            let Some(Frame { first, rest }) = self.frames.next(input, 1..=MAX_HANDSHAKE_BYTES)? else {
                return Ok(false);
            };
            let message = [&[first][..], &rest].concat();
            handshake.read(&message).map_err(StreamError::Handshake)?;
            if handshake.is_our_turn() {
                speak(handshake, out)?;
            }
        }
        Ok(true)
    }
}

fn speak(handshake: &mut Handshake, out: &mut Vec<u8>) -> Result<(), StreamError> {
    let message = handshake.write(b"").map_err(StreamError::Handshake)?;
    put_length(message.len(), out);
    out.extend_from_slice(&message);
    Ok(())
}

/// The callers have checked that `bytes` fits into three bytes.
fn put_length(bytes: usize, out: &mut Vec<u8>) {
    out.extend_from_slice(&bytes.to_le_bytes()[..LENGTH_BYTES]);
}

/// A stream after its handshake. The halves share nothing and can be taken apart.
pub struct SecretStream {
    /// Our role in the handshake.
    pub role: Role,
    /// The other end's static key.
    pub remote_public_key: [u8; PUBLIC_KEY_BYTES],
    /// The handshake hash: the same at both ends, known to nobody else. Protocols above bind themselves to it.
    pub handshake_hash: [u8; 64],
    /// Seals what we say.
    pub sender: Sender,
    /// Opens what we hear.
    pub receiver: Receiver,
    /// Seals datagrams beside the stream.
    pub datagram_sender: DatagramSender,
    /// Opens datagrams beside the stream.
    pub datagram_receiver: DatagramReceiver,
}

impl SecretStream {
    /// The stream of a handshake that is complete, wherever it took place. Our first frame is appended to `out`; messages
    /// may be sent at once.
    #[must_use]
    pub fn new(session: &Session, random: &Random, options: Options, out: &mut Vec<u8>) -> Self {
        let (hash, role) = (&session.hash, session.role);
        put_length(GREETING_BYTES, out);
        out.extend_from_slice(&stream_id(hash, role));
        out.extend_from_slice(&random.header);
        let first = u64::from_le_bytes(random.datagram_counter);
        Self {
            role,
            remote_public_key: session.remote_public_key,
            handshake_hash: *hash,
            sender: Sender {
                cipher: Cipher::new(&session.tx, &random.header),
            },
            receiver: Receiver {
                stage: Stage::Greeting {
                    key: session.rx.clone(),
                    id: stream_id(hash, role.other()),
                },
                frames: Frames::default(),
                options,
            },
            datagram_sender: DatagramSender::new(ids::datagram_key(hash, role), first),
            datagram_receiver: DatagramReceiver::new(ids::datagram_key(hash, role.other())),
        }
    }
}

/// The half that sends.
pub struct Sender {
    cipher: Cipher,
}

impl Sender {
    /// Appends `message` to `out` as it goes on the wire, [`OVERHEAD_BYTES`] longer. Everything sealed must be sent, in
    /// order. An empty message keeps the connection alive.
    ///
    /// # Errors
    /// [`StreamError::MessageLength`]; then `out` is as it was.
    pub fn send(&mut self, message: &[u8], out: &mut Vec<u8>) -> Result<(), StreamError> {
        let bytes = message.len();
        if bytes > MAX_MESSAGE_BYTES {
            return Err(StreamError::MessageLength { bytes });
        }
        out.reserve(bytes + OVERHEAD_BYTES);
        put_length(bytes + SEALED_BYTES, out);
        let start = out.len();
        out.resize(start + 1 + bytes, 0);
        let mut mac = [0; MAC_BYTES];
        if let Some((first, body)) = out[start..].split_first_mut() {
            (*first, mac) = self.cipher.seal(TAG_MESSAGE, message, body);
        }
        out.extend_from_slice(&mac);
        Ok(())
    }
}

/// The half that receives.
pub struct Receiver {
    stage: Stage,
    frames: Frames,
    options: Options,
}

enum Stage {
    /// Waits for the first frame, which must name the other's direction.
    Greeting {
        key: Zeroizing<[u8; 32]>,
        id: [u8; ID_BYTES],
    },
    Open(Cipher),
    Failed(StreamError),
}

impl Receiver {
    /// Takes bytes off `input` until a message is complete. `None` means that all of it was taken and more is needed; a
    /// user that has enough simply keeps the rest of `input`.
    ///
    /// # Errors
    /// Any [`StreamError`] but those of sending; the same again each time after that.
    pub fn receive(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, StreamError> {
        let result = self.try_receive(input);
        if let Err(error) = result {
            self.stage = Stage::Failed(error);
            self.frames = Frames::default();
        }
        result
    }

    fn try_receive(&mut self, input: &mut &[u8]) -> Result<Option<Vec<u8>>, StreamError> {
        loop {
            match &mut self.stage {
                Stage::Failed(error) => return Err(*error),
                Stage::Greeting { key, id } => {
                    let Some(frame) = self.frames.next(input, GREETING_BYTES..=GREETING_BYTES)? else {
                        return Ok(None);
                    };
                    self.stage = Stage::Open(greeted(key, id, &frame)?);
                }
                Stage::Open(cipher) => {
                    let longest = self.options.max_message_bytes.min(MAX_MESSAGE_BYTES) + SEALED_BYTES;
                    let Some(frame) = self.frames.next(input, SEALED_BYTES..=longest)? else {
                        return Ok(None);
                    };
                    let message = opened(cipher, frame)?;
                    if !(message.is_empty() && self.options.skip_empty) {
                        return Ok(Some(message));
                    }
                }
            }
        }
    }

    /// Whether the other end's first frame has come: it takes part in this very connection.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Open(_))
    }

    /// The length of the message that is under way, as the peer has announced it, and how much of it is there, in bytes.
    #[must_use]
    pub fn incomplete(&self) -> Option<(usize, usize)> {
        let (announced, received) = self.frames.incomplete()?;
        Some((announced.saturating_sub(SEALED_BYTES), received))
    }

    /// Whether empty messages are swallowed from now on; to be switched on with keep-alive.
    pub fn set_skip_empty(&mut self, skip_empty: bool) {
        self.options.skip_empty = skip_empty;
    }

    /// To be asked when the raw stream has ended: whether that was between two messages.
    ///
    /// # Errors
    /// [`StreamError::BrokeOff`], or the error that was met before. (The peers do not look; what they lose is lost quietly.)
    pub fn end(&self) -> Result<(), StreamError> {
        match &self.stage {
            Stage::Failed(error) => Err(*error),
            Stage::Open(_) if !self.frames.is_within_frame() => Ok(()),
            Stage::Open(_) | Stage::Greeting { .. } => Err(StreamError::BrokeOff),
        }
    }
}

/// Checks the other end's first frame and makes the cipher of its direction.
fn greeted(key: &[u8; 32], id: &[u8; ID_BYTES], frame: &Frame) -> Result<Cipher, StreamError> {
    let mut greeting = [0; GREETING_BYTES];
    let (first, rest) = (frame.first, frame.rest.as_slice());
    for (to, from) in greeting.iter_mut().zip(std::iter::once(&first).chain(rest)) {
        *to = *from;
    }
    let (given, header) = greeting.split_at(ID_BYTES);
    let header = header.first_chunk().ok_or(StreamError::OtherStream)?;
    if !bool::from(given.ct_eq(id)) {
        return Err(StreamError::OtherStream);
    }
    Ok(Cipher::new(key, header))
}

fn opened(cipher: &mut Cipher, frame: Frame) -> Result<Vec<u8>, StreamError> {
    let Frame {
        first,
        rest: mut message,
    } = frame;
    let (body, mac) = message.split_last_chunk_mut().ok_or(StreamError::NotAuthentic)?;
    cipher.open(first, body, mac).ok_or(StreamError::NotAuthentic)?;
    let length = body.len();
    message.truncate(length);
    Ok(message)
}

/// For fuzzing: `bytes` is what a hostile peer says, first within the handshake, then after it, then with the framing and
/// keys right and only the messages its own. Must not panic, nor hold more than came in.
pub fn fuzz_secret_stream(bytes: &[u8]) {
    use crate::noise::KeyPair;
    let random = Random {
        header: [1; HEADER_BYTES],
        datagram_counter: [2; 8],
    };
    let keys = KeyPair::from_seed(&[3; 32]);
    let mut out = Vec::new();
    for handshake in [
        Handshake::xx_responder(&keys, b"", [4; 32]),
        Handshake::xx_initiator(&keys, b"", [4; 32]),
    ]
    .into_iter()
    .flatten()
    {
        if let Ok(mut connecting) = Connecting::new(handshake, random.clone(), Options::default(), &mut out) {
            let mut input = bytes;
            while let Ok(Some(mut stream)) = connecting.receive(&mut input, &mut out) {
                let _ = stream.receiver.receive(&mut input);
            }
        }
    }
    let session = |role: Role| Session {
        role,
        tx: Zeroizing::new([5; 32]),
        rx: Zeroizing::new([5; 32]),
        hash: [6; 64],
        remote_public_key: *keys.public_key(),
    };
    let mut greeting = Vec::new();
    let mut other = SecretStream::new(
        &session(Role::Initiator),
        &random,
        Options::default(),
        &mut greeting,
    );
    let mut stream = SecretStream::new(
        &session(Role::Responder),
        &random,
        Options::default(),
        &mut Vec::new(),
    );
    let _ = stream.datagram_receiver.open(bytes);
    let sealed = other.sender.send(bytes, &mut greeting).is_ok();
    let mut input = greeting.as_slice();
    let heard = stream.receiver.receive(&mut input);
    assert!(
        !sealed || heard.ok().flatten().as_deref() == Some(bytes),
        "what was sealed is what is opened"
    );
    let mut input = bytes;
    while let Ok(Some(_)) = stream.receiver.receive(&mut input) {}
}

#[cfg(test)]
pub(crate) mod tests;
