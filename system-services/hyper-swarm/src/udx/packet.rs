//! UDX packets, version 1: a header of 20 bytes, perhaps an extension, then the payload. All numbers are little endian.
//!
//! | bytes | what |
//! |---|---|
//! | 0 | 255 |
//! | 1 | version, 1 |
//! | 2 | [`Flags`] |
//! | 3 | length of the extension between header and payload |
//! | 4–7 | the stream, by the number that the receiver gave it |
//! | 8–11 | receive window: how many bytes the sender would still take |
//! | 12–15 | sequence number of this packet, or of the next one if it takes none |
//! | 16–19 | sequence number that the sender waits for |
//!
//! Sequence numbers count packets, not bytes, and start where both sides agreed (HyperDHT's always at 0). Packets with DATA
//! or END take one, DESTROY takes the last. The extension holds the blocks of a SACK, or the zeros that make a packet long enough to probe the path.
//! The same UDP socket carries the DHT's messages: what is not UDX belongs to them, and so does what names no known stream.

mod seq;

use std::ops::BitOr;

pub use seq::Seq;

/// Length of the header, in bytes.
pub const HEADER_BYTES: usize = 20;

/// Most SACK blocks that a peer writes in one packet; of more, the rest is not looked at.
pub const MAX_SACK_BLOCKS: usize = 50;

const MAGIC: u8 = 255;
const VERSION: u8 = 1;
const SACK_BLOCK_BYTES: usize = 8;

/// What a packet is for. One without any only acknowledges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Flags(u8);

impl Flags {
    /// Nothing but an acknowledgement.
    pub const NONE: Self = Self(0);
    /// The payload is the stream's next bytes.
    pub const DATA: Self = Self(1);
    /// The stream ends after this packet.
    pub const END: Self = Self(2);
    /// Tells of packets that came although one before them is missing.
    pub const SACK: Self = Self(4);
    /// The payload is a message beside the stream, neither ordered nor repeated.
    pub const MESSAGE: Self = Self(8);
    /// The stream is gone at the sender, and shall be at the receiver.
    pub const DESTROY: Self = Self(16);
    /// Asks for an acknowledgement and carries nothing: keeps a way through a NAT open, or asks for a window.
    pub const HEARTBEAT: Self = Self(32);

    /// The flags of a byte. Bits that have no meaning yet are kept, as the peers ignore them.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// As they go on the wire.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether any of `flags` is set.
    #[must_use]
    pub const fn has(self, flags: Self) -> bool {
        self.0 & flags.0 != 0
    }

    /// Whether the packet takes a sequence number, and is to be acknowledged and sent again when lost.
    #[must_use]
    pub const fn is_sequenced(self) -> bool {
        self.has(Self(Self::DATA.0 | Self::END.0))
    }
}

impl BitOr for Flags {
    type Output = Self;

    fn bitor(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }
}

/// Why bytes are not a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Too short, or other first bytes: a message of the DHT, or of nobody.
    #[error("the datagram is not a UDX packet of version {VERSION}")]
    NotUdx,
    /// The extension is longer than the packet. Peers drop such a packet and go on.
    #[error("the packet says that its payload starts {offset} bytes after the header, and has {rest} there")]
    Extension {
        /// Announced length, in bytes.
        offset: u8,
        /// What follows the header, in bytes.
        rest: usize,
    },
}

/// The fields of a header that mean something to a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// What the packet is for.
    pub flags: Flags,
    /// The receiver's number of the stream.
    pub stream: u32,
    /// How many bytes the sender would still take.
    pub window: u32,
    /// Number of this packet, or of the next one if it takes none.
    pub seq: Seq,
    /// The number that the sender waits for: everything before it has arrived.
    pub ack: Seq,
}

impl Header {
    /// The header as it goes on the wire, before `extension_bytes` bytes of extension.
    #[must_use]
    pub fn encode(&self, extension_bytes: u8) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..4].copy_from_slice(&[MAGIC, VERSION, self.flags.bits(), extension_bytes]);
        let words = [self.stream, self.window, self.seq.0, self.ack.0];
        for (to, word) in bytes[4..].chunks_exact_mut(4).zip(words) {
            to.copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Appends an acknowledgement with `blocks` of what came out of order, oldest first. At most [`MAX_SACK_BLOCKS`] are
    /// taken. SACK is set if there are any, and is the only flag: an acknowledgement carries no data.
    pub fn encode_ack(&self, blocks: impl IntoIterator<Item = SackBlock>, out: &mut Vec<u8>) {
        let mut blocks = blocks.into_iter().take(MAX_SACK_BLOCKS).peekable();
        let flags = if blocks.peek().is_some() {
            Flags::SACK
        } else {
            Flags::NONE
        };
        out.extend_from_slice(&Self { flags, ..*self }.encode(0));
        for SackBlock { start, end } in blocks {
            out.extend_from_slice(&start.0.to_le_bytes());
            out.extend_from_slice(&end.0.to_le_bytes());
        }
    }
}

/// Packets that came although one before them is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SackBlock {
    /// The first of them.
    pub start: Seq,
    /// The one after the last.
    pub end: Seq,
}

impl SackBlock {
    /// Whether the block speaks of packets that were sent (before `next`) and are not acknowledged yet (from `acked`).
    /// Any other is to be ignored: it may be old, or span two thousand million packets.
    #[must_use]
    pub fn is_within(self, acked: Seq, next: Seq) -> bool {
        let Self { start, end } = self;
        !start.is_before(acked) && start.is_before(end) && start.is_before(next) && !next.is_before(end)
    }
}

/// A packet that came in, borrowing its datagram.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The header.
    pub header: Header,
    /// What is between header and payload: SACK blocks, or padding of a path probe.
    pub extension: &'a [u8],
    /// The stream's bytes (DATA) or a message (MESSAGE); what other packets carry is of no meaning.
    pub payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// Reads a datagram.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn decode(datagram: &'a [u8]) -> Result<Self, PacketError> {
        let (header, rest) = datagram
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(PacketError::NotUdx)?;
        let [MAGIC, VERSION, flags, offset, ..] = *header else {
            return Err(PacketError::NotUdx);
        };
        let word = |at: usize| {
            let mut word = [0; 4];
            word.copy_from_slice(&header[at..at + 4]);
            u32::from_le_bytes(word)
        };
        let header = Header {
            flags: Flags::from_bits(flags),
            stream: word(4),
            window: word(8),
            seq: Seq(word(12)),
            ack: Seq(word(16)),
        };
        let (extension, payload) =
            rest.split_at_checked(usize::from(offset))
                .ok_or(PacketError::Extension {
                    offset,
                    rest: rest.len(),
                })?;
        Ok(Self {
            header,
            extension,
            payload,
        })
    }

    /// The SACK blocks, at most [`MAX_SACK_BLOCKS`]. They fill the extension; where there is none, they are everything after
    /// the header, which is how acknowledgements without data are written. Ask [`SackBlock::is_within`] for each.
    pub fn sack_blocks(&self) -> impl Iterator<Item = SackBlock> + 'a {
        let area = match (self.header.flags.has(Flags::SACK), self.extension) {
            (false, _) => &[],
            (true, []) => self.payload,
            (true, extension) => extension,
        };
        area.chunks_exact(SACK_BLOCK_BYTES)
            .take(MAX_SACK_BLOCKS)
            .map(|block| {
                let word = |at: usize| {
                    let mut word = [0; 4];
                    word.copy_from_slice(&block[at..at + 4]);
                    Seq(u32::from_le_bytes(word))
                };
                SackBlock {
                    start: word(0),
                    end: word(4),
                }
            })
    }
}

/// Changes the stream's number in a packet that is passed on, as a relay does; everything else stays as it is, also what
/// [`Packet::decode`] would refuse.
///
/// # Errors
/// [`PacketError::NotUdx`]; then nothing was changed.
pub fn readdress(datagram: &mut [u8], stream: u32) -> Result<(), PacketError> {
    let header = datagram
        .first_chunk_mut::<HEADER_BYTES>()
        .ok_or(PacketError::NotUdx)?;
    if header[..2] != [MAGIC, VERSION] {
        return Err(PacketError::NotUdx);
    }
    header[4..8].copy_from_slice(&stream.to_le_bytes());
    Ok(())
}

/// For fuzzing: any datagram must decode without a panic, and what decodes must encode to the same bytes.
pub fn fuzz_packet(bytes: &[u8]) {
    let Ok(packet) = Packet::decode(bytes) else { return };
    let offset = u8::try_from(packet.extension.len()).unwrap_or_default();
    let again = [
        &packet.header.encode(offset)[..],
        packet.extension,
        packet.payload,
    ]
    .concat();
    assert_eq!(again, bytes, "what decodes encodes to the same");
    let blocks = packet.sack_blocks().count();
    assert!(blocks <= MAX_SACK_BLOCKS && blocks * SACK_BLOCK_BYTES <= bytes.len());
    let mut readdressed = bytes.to_vec();
    assert_eq!(readdress(&mut readdressed, packet.header.stream), Ok(()));
    assert_eq!(readdressed, bytes, "the same number changes nothing");
}

#[cfg(test)]
mod tests;
