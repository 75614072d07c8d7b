//! Buffers in which packets are moved many at a time.

use std::array;
use std::io::{self, IoSliceMut};
use std::ops::Range;

use quinn_udp::{RecvMeta, UdpSockRef};

use super::Carrier;

/// Buffers that one system call may fill.
const RECEIVE_BUFFERS: usize = 8;
/// The most that the kernel puts into one, as segments of the same length.
const RECEIVE_BUFFER_BYTES: usize = 1 << 16;
/// The most that one system call sends as segments of the same length: a UDP datagram's limit.
pub(super) const GROUP_BYTES: usize = 65_000;
/// What is gathered before it is sent.
pub(super) const BATCH_BYTES: usize = 2 * GROUP_BYTES;

/// For one turn of a socket's task.
#[derive(Debug)]
pub(in crate::udx) struct Scratch {
    pub(super) received: Received,
    pub(super) batch: Batch,
}

impl Default for Scratch {
    fn default() -> Self {
        Self {
            received: Received {
                bytes: vec![0; RECEIVE_BUFFERS * RECEIVE_BUFFER_BYTES],
                metas: vec![RecvMeta::default(); RECEIVE_BUFFERS].into(),
                count: 0,
            },
            batch: Batch::default(),
        }
    }
}

/// What one system call received.
#[derive(Debug)]
pub(super) struct Received {
    bytes: Vec<u8>,
    metas: Box<[RecvMeta]>,
    count: usize,
}

impl Received {
    pub(super) fn receive(&mut self, carrier: &Carrier) -> io::Result<usize> {
        let mut chunks = self.bytes.chunks_exact_mut(RECEIVE_BUFFER_BYTES);
        let mut slices: [IoSliceMut<'_>; RECEIVE_BUFFERS] =
            array::from_fn(|_| IoSliceMut::new(chunks.next().unwrap_or_default()));
        self.count = carrier
            .udp
            .recv(UdpSockRef::from(&carrier.io), &mut slices, &mut self.metas)?;
        Ok(self.count)
    }

    /// Each with the length of the datagrams in it and who sent them.
    pub(super) fn groups(&mut self) -> impl Iterator<Item = (&mut [u8], RecvMeta)> {
        self.bytes
            .chunks_exact_mut(RECEIVE_BUFFER_BYTES)
            .zip(self.metas.iter().copied())
            .take(self.count)
            .map(|(chunk, meta)| {
                let len = meta.len.min(chunk.len());
                (&mut chunk[..len], meta)
            })
    }
}

/// Packets for one peer, in groups that one system call each can send.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) groups: Vec<Group>,
    /// Where the last packet starts that was put in.
    open: usize,
}

/// Packets of the same length; only the last may be shorter.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub(super) range: Range<usize>,
    pub(super) segment_bytes: usize,
}

impl Batch {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.groups.clear();
        self.open = 0;
    }

    pub(super) fn is_full(&self) -> bool {
        self.bytes.len() >= BATCH_BYTES
    }

    /// What was appended to `bytes` since the last time is a packet.
    pub(super) fn close_packet(&mut self, max_segments: usize) {
        let (start, end) = (self.open, self.bytes.len());
        let len = end - start;
        self.open = end;
        if let Some(group) = self.groups.last_mut() {
            let bytes = group.range.len();
            let is_whole = bytes % group.segment_bytes == 0;
            let has_room = bytes / group.segment_bytes < max_segments && bytes + len <= GROUP_BYTES;
            if is_whole && has_room && len <= group.segment_bytes {
                group.range.end = end;
                return;
            }
        }
        self.groups.push(Group {
            range: start..end,
            segment_bytes: len,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_grouped_as_one_call_can_send_them() {
        let mut batch = Batch::default();
        for len in [1000, 1000, 1000, 400, 1000, 1200, 20, 20] {
            batch.bytes.resize(batch.bytes.len() + len, 0);
            batch.close_packet(3);
        }
        let groups: Vec<_> = batch
            .groups
            .iter()
            .map(|group| (group.range.clone(), group.segment_bytes))
            .collect();
        assert_eq!(
            groups,
            [
                (0..3000, 1000),
                (3000..3400, 400),
                (3400..4400, 1000),
                (4400..5620, 1200),
                (5620..5640, 20)
            ]
        );
        batch.clear();
        for _ in 0..100 {
            batch.bytes.resize(batch.bytes.len() + 1472, 0);
            batch.close_packet(64);
        }
        assert!(batch.groups.iter().all(|group| group.range.len() <= GROUP_BYTES));
        assert_eq!(batch.groups.len(), 3);
    }
}
