//! Bytes that wait, moved in slices.

use std::collections::VecDeque;

/// Moves as many bytes off the front as there are and `out` holds.
pub(super) fn take_front(queue: &mut VecDeque<u8>, out: &mut [u8]) -> usize {
    let len = out.len().min(queue.len());
    let (front, back) = queue.as_slices();
    let from_front = len.min(front.len());
    out[..from_front].copy_from_slice(&front[..from_front]);
    out[from_front..len].copy_from_slice(&back[..len - from_front]);
    queue.drain(..len);
    len
}
