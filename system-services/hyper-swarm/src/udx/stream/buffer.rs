//! Bytes that wait, moved in slices.

use std::collections::VecDeque;

/// What an empty queue may keep allocated: many streams wait most of the time.
const KEPT_BYTES: usize = 64 << 10;

/// Moves as many bytes off the front as there are and `out` holds.
pub(super) fn take_front(queue: &mut VecDeque<u8>, out: &mut [u8]) -> usize {
    let len = out.len().min(queue.len());
    for (to, from) in split(out, slices(queue, 0, len)) {
        to.copy_from_slice(from);
    }
    drop_front(queue, len);
    len
}

fn drop_front(queue: &mut VecDeque<u8>, len: usize) {
    queue.drain(..len);
    if queue.is_empty() && queue.capacity() > KEPT_BYTES {
        *queue = VecDeque::new();
    }
}

/// `len` bytes from `at` on, which are there, in the two pieces that a ring may have.
fn slices(queue: &VecDeque<u8>, at: usize, len: usize) -> [&[u8]; 2] {
    let (front, back) = queue.as_slices();
    let end = at + len;
    let in_front = &front[at.min(front.len())..end.min(front.len())];
    let in_back = &back[at.saturating_sub(front.len())..end.saturating_sub(front.len())];
    [in_front, in_back]
}

fn split<'a>(out: &'a mut [u8], pieces: [&'a [u8]; 2]) -> [(&'a mut [u8], &'a [u8]); 2] {
    let (first, rest) = out.split_at_mut(pieces[0].len());
    let second = &mut rest[..pieces[1].len()];
    [(first, pieces[0]), (second, pieces[1])]
}

/// What was written, until it is acknowledged. Packets are places in it, so that no byte is copied before it goes out.
#[derive(Debug, Default)]
pub(super) struct SendBuffer {
    bytes: VecDeque<u8>,
    /// Where `bytes` starts, and what is cut into packets ends, counted from the stream's first byte.
    start: u64,
    cut: u64,
}

impl SendBuffer {
    pub(super) fn write(&mut self, bytes: &[u8]) {
        self.bytes.extend(bytes);
    }

    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// How much is in no packet yet.
    pub(super) fn unsent(&self) -> usize {
        self.bytes.len() - (self.cut - self.start) as usize
    }

    /// The next packet's payload, of at most `max` bytes: where it starts and how long it is.
    pub(super) fn cut(&mut self, max: usize) -> (u64, usize) {
        let (start, len) = (self.cut, self.unsent().min(max));
        self.cut += len as u64;
        (start, len)
    }

    /// The payload of a packet that is not released.
    pub(super) fn slices(&self, start: u64, len: usize) -> [&[u8]; 2] {
        slices(&self.bytes, start.saturating_sub(self.start) as usize, len)
    }

    /// The oldest bytes, which were cut, are not needed any more.
    pub(super) fn release(&mut self, len: usize) {
        self.start += len as u64;
        drop_front(&mut self.bytes, len);
    }
}
