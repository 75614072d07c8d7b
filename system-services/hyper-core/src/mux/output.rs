//! Frames for the peer: one a message, or many in a batch while corked.

use std::collections::VecDeque;

use compact_encoding::encoded_size_var_u64;

use super::MAX_FRAME_BYTES;
use super::input::{BATCH, CONTROL};
use crate::messages::codec::put_uint;

/// A batch of this size is sent although it is corked. The peer's own figure is 8 MiB; with less both ends work at the same time, and a
/// large block has a frame of its own, which needs no growing.
const FULL_BATCH_BYTES: usize = 64 << 10;

/// The most that a frame adds to a payload: three numbers, a batch's header and its change of channel.
pub(super) const FRAME_OVERHEAD_BYTES: usize = 64;

/// What waits to be sent.
#[derive(Debug, Default)]
pub(super) struct Output {
    corks: usize,
    batch: Vec<u8>,
    /// The channel of the last message in `batch`.
    batch_channel: u64,
    frames: VecDeque<Vec<u8>>,
    frame_bytes: usize,
}

impl Output {
    pub(super) fn cork(&mut self) {
        self.corks += 1;
    }

    pub(super) fn uncork(&mut self) {
        if self.corks == 1 {
            self.end_batch();
        }
        self.corks = self.corks.saturating_sub(1);
    }

    /// Queues a message; its payload comes in pieces.
    pub(super) fn push(&mut self, channel: u64, kind: u64, payload: &[&[u8]]) {
        let payload_bytes: usize = payload.iter().map(|piece| piece.len()).sum();
        if self.corks > 0 {
            let full = self.batch.len() >= FULL_BATCH_BYTES;
            if full || self.batch.len() + payload_bytes + FRAME_OVERHEAD_BYTES > MAX_FRAME_BYTES {
                self.end_batch();
            }
            self.batch.reserve(payload_bytes + FRAME_OVERHEAD_BYTES);
            self.start_entry(channel);
            put_uint(
                &mut self.batch,
                (encoded_size_var_u64(kind) + payload_bytes) as u64,
            );
            put_message(&mut self.batch, kind, payload);
        } else {
            let mut frame = Vec::with_capacity(payload_bytes + 18);
            put_uint(&mut frame, channel);
            put_message(&mut frame, kind, payload);
            self.queue(frame);
        }
    }

    /// The next frame, in order.
    pub(super) fn pop(&mut self) -> Option<Vec<u8>> {
        let frame = self.frames.pop_front()?;
        self.frame_bytes -= frame.len();
        Some(frame)
    }

    /// Bytes that wait, corked ones included.
    pub(super) fn bytes(&self) -> usize {
        self.frame_bytes + self.batch.len()
    }

    fn start_entry(&mut self, channel: u64) {
        if self.batch.is_empty() {
            put_uint(&mut self.batch, CONTROL);
            put_uint(&mut self.batch, BATCH);
            put_uint(&mut self.batch, channel);
        } else if self.batch_channel != channel {
            // An entry of no length: another channel follows.
            put_uint(&mut self.batch, 0);
            put_uint(&mut self.batch, channel);
        }
        self.batch_channel = channel;
    }

    fn end_batch(&mut self) {
        if !self.batch.is_empty() {
            let batch = std::mem::take(&mut self.batch);
            self.queue(batch);
        }
    }

    fn queue(&mut self, frame: Vec<u8>) {
        self.frame_bytes += frame.len();
        self.frames.push_back(frame);
    }
}

fn put_message(out: &mut Vec<u8>, kind: u64, payload: &[&[u8]]) {
    put_uint(out, kind);
    payload.iter().for_each(|piece| out.extend_from_slice(piece));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corked_flood_is_sent_in_frames_that_the_stream_below_can_carry() {
        let mut output = Output::default();
        let payload = vec![7; MAX_FRAME_BYTES - FRAME_OVERHEAD_BYTES];
        output.cork();
        for size in [payload.len(), 5 << 20, 5 << 20, 5 << 20, payload.len()] {
            output.push(1, 0, &[&payload[..size]]);
        }
        output.uncork();
        let frames: Vec<_> = std::iter::from_fn(|| output.pop())
            .map(|frame| frame.len())
            .collect();
        assert!(
            frames.len() >= 3 && frames.iter().all(|bytes| *bytes <= MAX_FRAME_BYTES),
            "{frames:?}"
        );
        assert_eq!(output.bytes(), 0);
    }

    #[test]
    fn nothing_corked_sends_nothing_and_corks_nest() {
        let mut output = Output::default();
        output.uncork();
        output.cork();
        output.uncork();
        assert!(output.pop().is_none());
        output.cork();
        output.cork();
        output.push(1, 2, &[b"x"]);
        output.uncork();
        assert!(output.pop().is_none());
        output.uncork();
        assert_eq!(output.pop(), Some(vec![0, 0, 1, 2, 2, b'x']));
    }
}
