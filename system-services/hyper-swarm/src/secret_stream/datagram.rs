//! Messages beside the stream: sent as UDX messages, neither ordered nor repeated when lost, sealed each by itself.
//! The nonce is a counter of eight bytes that starts at random, sent along, then 16 zero bytes.

use zeroize::Zeroizing;

use super::StreamError;
use super::cipher::{MAC_BYTES, open_box, seal_box};

const COUNTER_BYTES: usize = 8;

/// What a datagram is longer by than its message, in bytes.
pub const DATAGRAM_OVERHEAD_BYTES: usize = COUNTER_BYTES + MAC_BYTES;

/// Seals datagrams.
pub struct DatagramSender {
    key: Zeroizing<[u8; 32]>,
    counter: u64,
    first: u64,
}

impl DatagramSender {
    pub(super) fn new(key: Zeroizing<[u8; 32]>, first: u64) -> Self {
        Self {
            key,
            counter: first,
            first,
        }
    }

    #[cfg(test)]
    pub(super) fn set_counter(&mut self, counter: u64) {
        self.counter = counter;
    }

    /// Seals `message` into one datagram. Whether it fits the path is the transport's business.
    ///
    /// # Errors
    /// [`StreamError::NonceExhausted`] after 2^64 - 1 datagrams.
    pub fn seal(&mut self, message: &[u8]) -> Result<Vec<u8>, StreamError> {
        let counter = self.counter.wrapping_add(1);
        if counter == self.first {
            return Err(StreamError::NonceExhausted);
        }
        self.counter = counter;
        let mut datagram = Vec::with_capacity(message.len().saturating_add(DATAGRAM_OVERHEAD_BYTES));
        datagram.extend_from_slice(&counter.to_le_bytes());
        datagram.extend_from_slice(&[0; MAC_BYTES]);
        datagram.extend_from_slice(message);
        let (head, body) = datagram.split_at_mut(DATAGRAM_OVERHEAD_BYTES);
        let mac = seal_box(&self.key, &nonce(counter.to_le_bytes()), body);
        head[COUNTER_BYTES..].copy_from_slice(&mac);
        Ok(datagram)
    }
}

/// Opens datagrams. As the peers', it has no memory: the same datagram twice is opened twice.
pub struct DatagramReceiver {
    key: Zeroizing<[u8; 32]>,
}

impl DatagramReceiver {
    pub(super) fn new(key: Zeroizing<[u8; 32]>) -> Self {
        Self { key }
    }

    /// The message in `datagram`, or `None` if it is not authentic: such ones are dropped, anybody can send them.
    #[must_use]
    pub fn open(&self, datagram: &[u8]) -> Option<Vec<u8>> {
        let (counter, rest) = datagram.split_first_chunk::<COUNTER_BYTES>()?;
        let (mac, body) = rest.split_first_chunk::<MAC_BYTES>()?;
        let mut message = body.to_vec();
        open_box(&self.key, &nonce(*counter), mac, &mut message).then_some(message)
    }
}

fn nonce(counter: [u8; COUNTER_BYTES]) -> [u8; 24] {
    let mut nonce = [0; 24];
    nonce[..COUNTER_BYTES].copy_from_slice(&counter);
    nonce
}
