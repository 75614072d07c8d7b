//! What a stream is told at the start, and what it tells.

use std::time::Duration;

use crate::udx::packet::Seq;

/// How a stream starts. Both ends must agree on the first numbers; HyperDHT's are 0.
#[derive(Clone, Debug)]
pub struct Config {
    /// The number by which the peer addresses this end.
    pub local_id: u32,
    /// Number of our first packet.
    pub first_seq: Seq,
    /// Number of the peer's first packet.
    pub peers_first_seq: Seq,
    /// Most bytes that wait here to be read, and as many that came early. The peer's figure is 4 MiB.
    pub receive_window_bytes: u32,
    /// Most bytes that are written and not acknowledged.
    pub send_buffer_bytes: usize,
    /// How long nothing may be under way before the peer is asked for a sign of life. Its answer is not waited for.
    pub keep_alive: Option<Duration>,
}

impl Config {
    /// With the usual figures.
    #[must_use]
    pub fn new(local_id: u32) -> Self {
        Self {
            local_id,
            first_seq: Seq(0),
            peers_first_seq: Seq(0),
            receive_window_bytes: 4 << 20,
            send_buffer_bytes: 4 << 20,
            keep_alive: None,
        }
    }
}

/// What has happened. Each is told once until it was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Event {
    /// There is something to [`super::Stream::read`].
    Readable,
    /// [`super::Stream::write`] had refused bytes, and now takes some.
    Writable,
    /// There is something for [`super::Stream::read_message`].
    Message,
    /// The peer writes no more: when everything is read, that was all.
    PeerFinished,
    /// The stream is over. What had arrived in order may still be read.
    Closed(CloseReason),
}

/// Why a stream is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// Both ends have finished, and everything has arrived.
    Finished,
    /// This end destroyed it.
    Destroyed,
    /// The peer destroyed it.
    Reset,
    /// The peer does not answer.
    TimedOut,
}
