//! A frame from the peer, taken apart message by message without copying it.

use super::{MAX_FRAME_BYTES, MuxError};
use crate::messages::codec::Reader;

/// The id on the wire of the channel with which the muxes talk to each other.
pub(super) const CONTROL: u64 = 0;
/// On the control channel: several messages in one frame.
pub(super) const BATCH: u64 = 0;

/// One frame from the peer, as it is being read. [`Input::default`] is an empty one, for events that wait without a
/// frame.
#[derive(Debug, Default)]
pub struct Input<'a> {
    state: State<'a>,
}

#[derive(Debug, Default)]
enum State<'a> {
    #[default]
    Done,
    Frame(&'a [u8]),
    Batch {
        channel: u64,
        reader: Reader<'a>,
    },
}

/// A message as it is on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) struct Packet<'a> {
    /// The sender's id of the channel.
    pub(super) channel: u64,
    pub(super) kind: u64,
    pub(super) payload: &'a [u8],
}

impl<'a> Input<'a> {
    /// A whole frame, as the stream below cut it. An empty one holds nothing and is valid.
    pub fn new(frame: &'a [u8]) -> Self {
        let state = if frame.is_empty() {
            State::Done
        } else {
            State::Frame(frame)
        };
        Self { state }
    }

    /// The frame holds more than one message. The peer then corks until it has handled the last of them, so that its
    /// answers, too, are
    /// one frame; we do well to do the same.
    pub fn has_many(&self) -> bool {
        let State::Frame(frame) = self.state else {
            return false;
        };
        let mut reader = Reader::new("mux batch", frame);
        let mut first = || -> Result<bool, MuxError> {
            if (reader.uint("channel")?, reader.uint("type")?) != (CONTROL, BATCH) {
                return Ok(false);
            }
            reader.uint("channel")?;
            while !reader.is_empty() {
                if !reader.bytes("message")?.is_empty() {
                    return Ok(!reader.is_empty());
                }
                reader.uint("channel")?;
            }
            Ok(false)
        };
        first().unwrap_or(false)
    }

    /// The next message; `None` at the end of the frame.
    pub(super) fn next(&mut self) -> Result<Option<Packet<'a>>, MuxError> {
        if let State::Frame(frame) = self.state {
            self.state = State::Done;
            if frame.len() > MAX_FRAME_BYTES {
                return Err(MuxError::FrameTooLong { bytes: frame.len() });
            }
            let mut reader = Reader::new("mux frame", frame);
            let (channel, kind) = (reader.uint("channel")?, reader.uint("type")?);
            if (channel, kind) != (CONTROL, BATCH) {
                return Ok(Some(Packet {
                    channel,
                    kind,
                    payload: reader.take_rest(),
                }));
            }
            let channel = reader.uint("batch.channel")?;
            self.state = State::Batch { channel, reader };
        }
        let State::Batch { channel, reader } = &mut self.state else {
            return Ok(None);
        };
        while !reader.is_empty() {
            let message = reader.bytes("batch.message")?;
            if message.is_empty() {
                *channel = reader.uint("batch.channel")?;
                continue;
            }
            let mut inner = Reader::new("mux batch", message);
            let packet = Packet {
                channel: *channel,
                kind: inner.uint("type")?,
                payload: inner.take_rest(),
            };
            // The peer reads batches in batches, by recursion, and never writes them.
            if (packet.channel, packet.kind) == (CONTROL, BATCH) {
                return Err(MuxError::NestedBatch);
            }
            return Ok(Some(packet));
        }
        self.state = State::Done;
        Ok(None)
    }
}
