//! What goes in and out of a mux, and what can be wrong.

use std::borrow::Cow;

use super::{MAX_FRAME_BYTES, MAX_NAME_BYTES, MAX_PAYLOAD_BYTES};
use crate::messages::MalformedMessage;

/// A channel of ours. Never used again, unlike the ids on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ChannelId(pub(super) u64);

/// How much a peer may make us keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Channels that the peer opened and that we have not answered. Further ones are rejected.
    pub waiting_channels: usize,
    /// Handshakes and messages of such channels: from so many bytes on, [`super::Mux::wants_input`] asks for a pause.
    /// The peer's figure is 32768.
    pub pause_bytes: usize,
    /// So many bytes of them at most. A handshake that does not fit is rejected, a message that does not fit ends the
    /// connection.
    pub buffered_bytes: usize,
    /// Rejections that wait to be sent. A peer that makes us queue more ends the connection.
    pub rejections: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            waiting_channels: 2048,
            pause_bytes: 32 << 10,
            buffered_bytes: 1 << 20,
            rejections: 65536,
        }
    }
}

/// What to open.
#[derive(Debug, Clone, Copy)]
pub struct ChannelSpec<'a> {
    /// The protocol's name.
    pub protocol: &'a str,
    /// Names under which the peer may open it as well.
    pub aliases: &'a [&'a str],
    /// Which of the protocol's channels; empty for none.
    pub id: &'a [u8],
    /// Refuse when a channel of this name is open already.
    pub unique: bool,
}

impl<'a> ChannelSpec<'a> {
    /// The only channel of a protocol.
    pub fn new(protocol: &'a str) -> Self {
        Self {
            protocol,
            aliases: &[],
            id: &[],
            unique: true,
        }
    }
}

/// What happened. Borrows from the frame where it can.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event<'a> {
    /// The peer opens a channel for which [`super::Mux::pair`] was called. Answer with [`super::Mux::open`] or
    /// [`super::Mux::reject`], now or later.
    Requested {
        /// The protocol's name, as the peer says it.
        protocol: &'a str,
        /// The channel's id; empty for none.
        id: &'a [u8],
    },
    /// Both ends are open.
    Opened {
        /// Which channel of ours.
        channel: ChannelId,
        /// The peer's handshake.
        handshake: Cow<'a, [u8]>,
    },
    /// A message of the peer.
    Message {
        /// Which channel of ours.
        channel: ChannelId,
        /// The message's number.
        kind: u64,
        /// Its bytes.
        payload: Cow<'a, [u8]>,
    },
    /// The peer's end is closed, and so is ours.
    Closed {
        /// Which channel of ours.
        channel: ChannelId,
        /// The peer never opened its end.
        rejected: bool,
    },
}

/// The peer breaks the protocol; the connection is of no use any more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MuxError {
    /// Bytes that are no mux frame.
    #[error(transparent)]
    Malformed(#[from] MalformedMessage),
    /// A frame that no stream of a peer carries.
    #[error("the peer sent a frame of {bytes} bytes, more than {MAX_FRAME_BYTES}")]
    FrameTooLong {
        /// Its length.
        bytes: usize,
    },
    /// A batch in a batch.
    #[error("the peer sent a batch within a batch")]
    NestedBatch,
    /// A protocol's name or an id beyond [`MAX_NAME_BYTES`].
    #[error("the peer opened a channel with a name of more than {MAX_NAME_BYTES} bytes")]
    NameTooLong,
    /// The id of a new channel is 0, in use, or not the next.
    #[error("the peer opened channel {channel}, which is in use or out of order")]
    InvalidOpen {
        /// The peer's id.
        channel: u64,
    },
    /// A rejection of what we did not open.
    #[error("the peer rejected our channel {channel}, which does not wait for it")]
    InvalidReject {
        /// Our id on the wire.
        channel: u64,
    },
    /// More messages for a channel that we have not accepted than [`Limits::buffered_bytes`].
    #[error("the peer sent more than {limit} bytes into channels before they were accepted")]
    TooMuchBuffered {
        /// The limit.
        limit: usize,
    },
    /// More channels to reject at a time than [`Limits::rejections`].
    #[error("the peer opened more than {limit} channels that nobody here knows")]
    TooManyRejections {
        /// The limit.
        limit: usize,
    },
}

/// Why a channel is not opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// There is one, and the new one was to be unique.
    #[error("a channel of this protocol and id is open already")]
    AlreadyOpen,
    /// Beyond [`MAX_NAME_BYTES`], or a handshake beyond half of [`MAX_PAYLOAD_BYTES`].
    #[error("the channel's name or handshake is too long")]
    TooLong,
}

/// Why a message is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// One of the ends has closed the channel.
    #[error("the channel is closed")]
    Closed,
    /// Beyond [`MAX_PAYLOAD_BYTES`].
    #[error("a message has at most {MAX_PAYLOAD_BYTES} bytes")]
    TooLong,
}
