//! What goes out, and when.

use std::time::Instant;

use super::{CloseReason, MAX_QUESTIONS, State, Stream};
use crate::udx::packet::{Flags, Header};

impl Stream {
    /// Appends the next datagram for the peer to `out`, if one may go now; else `false`.
    pub fn poll_transmit(&mut self, now: Instant, out: &mut Vec<u8>) -> bool {
        let Some(stream) = self.remote_id else {
            return false;
        };
        let is_there = match self.state {
            State::Open => self.transmit_open(stream, now, out),
            State::Destroying => {
                self.state = State::Closed;
                out.extend_from_slice(&self.header(stream, Flags::DESTROY).encode(0));
                true
            }
            State::Lingering { .. } if self.owes_ack => self.ack(stream, out),
            State::Lingering { .. } | State::Closed => false,
        };
        if is_there {
            self.sent_at = now;
        }
        is_there
    }

    fn transmit_open(&mut self, stream: u32, now: Instant, out: &mut Vec<u8>) -> bool {
        // Only a packet without data tells of gaps.
        if self.owes_ack && self.receiver.has_gap() {
            return self.ack(stream, out);
        }
        if let Some(message) = self.messages_out.pop_front() {
            out.extend_from_slice(&self.header(stream, Flags::MESSAGE).encode(0));
            out.extend_from_slice(&message);
            return true;
        }
        let ack = self.receiver.next();
        if let Some(sent) = self.sender.transmit(now) {
            self.owes_ack = false;
            let header = Header {
                flags: sent.flags,
                stream,
                window: self.receiver.advertise(),
                seq: sent.seq,
                ack,
            };
            let padding = [0; u8::MAX as usize];
            out.extend_from_slice(&header.encode(sent.padding));
            out.extend_from_slice(&padding[..usize::from(sent.padding)]);
            for piece in sent.payload {
                out.extend_from_slice(piece);
            }
            return true;
        }
        if self.owes_ack {
            return self.ack(stream, out);
        }
        let asks = std::mem::take(&mut self.owes_heartbeat);
        if asks {
            out.extend_from_slice(&self.header(stream, Flags::HEARTBEAT).encode(0));
        }
        asks
    }

    fn header(&mut self, stream: u32, flags: Flags) -> Header {
        Header {
            flags,
            stream,
            window: self.receiver.advertise(),
            seq: self.sender.next_seq(),
            ack: self.receiver.next(),
        }
    }

    fn ack(&mut self, stream: u32, out: &mut Vec<u8>) -> bool {
        self.owes_ack = false;
        let header = self.header(stream, Flags::NONE);
        header.encode_ack(self.receiver.blocks(), out);
        true
    }

    /// When [`Stream::handle_timeout`] is to be called, if at all; perhaps it has passed.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        match self.state {
            State::Open if self.remote_id.is_some() => {
                let times = [
                    self.sender.timers.next(),
                    self.sender.paced_until(),
                    self.question_at,
                    self.keep_alive_at(),
                ];
                times.into_iter().flatten().min()
            }
            State::Lingering { until } => Some(until),
            State::Open | State::Destroying | State::Closed => None,
        }
    }

    fn keep_alive_at(&self) -> Option<Instant> {
        let interval = self.keep_alive.filter(|_| self.sender.outstanding.len() == 0)?;
        Some(self.sent_at + interval)
    }

    /// Does what is due at `now`; too early or too often does no harm.
    pub fn handle_timeout(&mut self, now: Instant) {
        match self.state {
            State::Lingering { until } if until <= now => self.state = State::Closed,
            State::Open if self.remote_id.is_some() => {
                let asked_in_vain = self.handle_question(now);
                if self.sender.on_timer(now).is_err() || asked_in_vain {
                    self.close(CloseReason::TimedOut, State::Closed);
                }
                self.owes_heartbeat |= self.keep_alive_at().is_some_and(|at| at <= now);
            }
            _ => {}
        }
    }

    /// Asks for a window. `true`: the peer was asked often enough.
    fn handle_question(&mut self, now: Instant) -> bool {
        if self.question_at.take_if(|at| *at <= now).is_none() {
            return false;
        }
        self.owes_heartbeat = true;
        self.questions += 1;
        let rto = self.sender.rtt.rto();
        let wait = rto.saturating_mul(1 << self.questions.min(5));
        self.question_at = Some(now + wait.min(crate::udx::rtt::MAX_RTO));
        self.questions > MAX_QUESTIONS
    }
}
