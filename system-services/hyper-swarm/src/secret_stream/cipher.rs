//! libsodium's `crypto_secretstream_xchacha20poly1305`, without associated data (the peers use none), and its
//! `crypto_secretbox`. Own code over RustCrypto's primitives: decision 14 says why.

use chacha20::{ChaCha20, R20, hchacha};
use poly1305::Poly1305;
use poly1305::universal_hash::{KeyInit, UniversalHash};
use salsa20::XSalsa20;
use salsa20::cipher::{KeyIvInit, StreamCipher};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// Length of an authentication tag, in bytes.
pub(crate) const MAC_BYTES: usize = 16;
/// What a sealed message is longer by: the encrypted tag byte and the authentication tag.
pub(super) const SEALED_BYTES: usize = 1 + MAC_BYTES;
/// Length of the header that a stream starts with, in bytes.
pub(super) const HEADER_BYTES: usize = 24;
/// The tag of an ordinary message; the peers send no other.
pub(super) const TAG_MESSAGE: u8 = 0;
/// The bit that asks for a new key after this message; set in libsodium's `REKEY` and in its `FINAL`.
const TAG_REKEY: u8 = 2;

/// One direction of a stream. Both ends step it in the same way, so sealing and opening share it.
pub(super) struct Cipher {
    key: Zeroizing<[u8; 32]>,
    /// Counter of messages (four bytes, little endian, from 1), then eight bytes that every message changes.
    nonce: Zeroizing<[u8; 12]>,
}

impl Cipher {
    pub(super) fn new(key: &[u8; 32], header: &[u8; HEADER_BYTES]) -> Self {
        let mut input = [0; 16];
        input.copy_from_slice(&header[..16]);
        let subkey = Zeroizing::new(<[u8; 32]>::from(hchacha::<R20>(key.into(), &input.into())));
        let mut nonce = Zeroizing::new([0; 12]);
        nonce[4..].copy_from_slice(&header[16..]);
        let mut cipher = Self { key: subkey, nonce };
        cipher.set_counter(1);
        cipher
    }

    fn set_counter(&mut self, counter: u32) {
        self.nonce[..4].copy_from_slice(&counter.to_le_bytes());
    }

    fn counter(&self) -> u32 {
        let [a, b, c, d, ..] = *self.nonce;
        u32::from_le_bytes([a, b, c, d])
    }

    /// Encrypts `message` into `body`, which is as long, and returns the encrypted tag byte, which goes before it, and the
    /// authentication tag, which goes behind it.
    pub(super) fn seal(&mut self, tag: u8, message: &[u8], body: &mut [u8]) -> (u8, [u8; MAC_BYTES]) {
        let (mut stream, mac_key) = self.start();
        let mut block = [0; 64];
        block[0] = tag;
        stream.apply_keystream(&mut block);
        stream.apply_keystream_b2b(message, body);
        let mac = authenticate(&mac_key, &block, body);
        self.advance(tag, &mac);
        (block[0], mac)
    }

    /// Checks and decrypts `body` in place; `None`, and nothing is changed, if it is not authentic. Returns the tag.
    pub(super) fn open(&mut self, tag_byte: u8, body: &mut [u8], mac: &[u8; MAC_BYTES]) -> Option<u8> {
        let (mut stream, mac_key) = self.start();
        let mut block = [0; 64];
        block[0] = tag_byte;
        stream.apply_keystream(&mut block);
        let tag = std::mem::replace(&mut block[0], tag_byte);
        if !bool::from(authenticate(&mac_key, &block, body).ct_eq(mac)) {
            return None;
        }
        stream.apply_keystream(body);
        self.advance(tag, mac);
        Some(tag)
    }

    /// The key stream of the next message and the key of its authenticator, the stream's first block.
    fn start(&self) -> (ChaCha20, Zeroizing<[u8; 64]>) {
        let mut stream = ChaCha20::new(&(*self.key).into(), &(*self.nonce).into());
        let mut first = Zeroizing::new([0; 64]);
        stream.apply_keystream(&mut *first);
        (stream, first)
    }

    fn advance(&mut self, tag: u8, mac: &[u8; MAC_BYTES]) {
        for (nonce, mac) in self.nonce[4..].iter_mut().zip(mac) {
            *nonce ^= mac;
        }
        let counter = self.counter().wrapping_add(1);
        self.set_counter(counter);
        if tag & TAG_REKEY != 0 || counter == 0 {
            self.change_key();
        }
    }

    /// The key and the changing half of the nonce are encrypted with themselves.
    fn change_key(&mut self) {
        let mut stream = ChaCha20::new(&(*self.key).into(), &(*self.nonce).into());
        stream.apply_keystream(&mut *self.key);
        stream.apply_keystream(&mut self.nonce[4..]);
        self.set_counter(1);
    }
}

/// The authenticator over the tag's block, the ciphertext and their lengths.
fn authenticate(key: &[u8; 64], block: &[u8; 64], body: &[u8]) -> [u8; MAC_BYTES] {
    let mut mac = Poly1305::new(&key_of(key));
    mac.update(poly1305::Block::slice_as_chunks(block).0);
    let (blocks, rest) = poly1305::Block::slice_as_chunks(body);
    mac.update(blocks);
    // The padding should fill the last block, but libsodium pads by as much as the block holds (its formula has a sign
    // wrong, and is kept for compatibility), so that what follows need not start at a block.
    let mut tail = [0; 3 * 16];
    tail[..rest.len()].copy_from_slice(rest);
    let at = 2 * rest.len();
    // The length of the associated data, of which there is none, stays zero.
    tail[at + 8..at + 16].copy_from_slice(&(64 + body.len() as u64).to_le_bytes());
    mac.compute_unpadded(&tail[..at + 16]).into()
}

fn key_of(stream_block: &[u8]) -> poly1305::Key {
    let mut key = poly1305::Key::default();
    for (to, from) in key.iter_mut().zip(stream_block) {
        *to = *from;
    }
    key
}

/// `crypto_secretbox` in place: the authentication tag goes before `body`.
pub(crate) fn seal_box(key: &[u8; 32], nonce: &[u8; 24], body: &mut [u8]) -> [u8; MAC_BYTES] {
    let (mut stream, mac_key) = start_box(key, nonce);
    stream.apply_keystream(body);
    Poly1305::new(&key_of(&*mac_key)).compute_unpadded(body).into()
}

/// Opens in place what [`seal_box`] sealed; false, and nothing is changed, if it is not authentic.
pub(crate) fn open_box(key: &[u8; 32], nonce: &[u8; 24], mac: &[u8; MAC_BYTES], body: &mut [u8]) -> bool {
    let (mut stream, mac_key) = start_box(key, nonce);
    let expected = <[u8; MAC_BYTES]>::from(Poly1305::new(&key_of(&*mac_key)).compute_unpadded(body));
    let authentic = bool::from(expected.ct_eq(mac));
    if authentic {
        stream.apply_keystream(body);
    }
    authentic
}

/// Half of the first block is the authenticator's key, the message starts with the other half.
fn start_box(key: &[u8; 32], nonce: &[u8; 24]) -> (XSalsa20, Zeroizing<[u8; 32]>) {
    let mut stream = XSalsa20::new(&(*key).into(), &(*nonce).into());
    let mut first = Zeroizing::new([0; 32]);
    stream.apply_keystream(&mut *first);
    (stream, first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::noise::tests::{hex, vectors};
    use crate::secret_stream::tests::{digest, pattern};

    #[test]
    fn every_message_is_libsodiums_with_every_tag_and_when_the_counter_wraps() {
        for vector in vectors()["secretstream"].as_array().unwrap() {
            let key = hex(&vector["key"]).try_into().unwrap();
            let header = hex(&vector["header"]).try_into().unwrap();
            let mut ciphers = [Cipher::new(&key, &header), Cipher::new(&key, &header)];
            let counter = u32::try_from(vector["counter"].as_u64().unwrap()).unwrap();
            ciphers.iter_mut().for_each(|cipher| cipher.set_counter(counter));
            for message in vector["messages"].as_array().unwrap() {
                let length = usize::try_from(message["length"].as_u64().unwrap_or_default()).unwrap();
                let bytes = message["bytes"].as_str().map(|_| hex(&message["bytes"]));
                let length = bytes.as_ref().map_or(length, |bytes| bytes.len() - SEALED_BYTES);
                let tag = u8::try_from(message["tag"].as_u64().unwrap()).unwrap();
                let mut body = vec![0; length];
                let (tag_byte, mac) = ciphers[0].seal(tag, &pattern(length), &mut body);
                let sealed = [&[tag_byte][..], &body, &mac].concat();
                match bytes {
                    Some(bytes) => assert_eq!(sealed, bytes),
                    None => assert_eq!(digest(&sealed), hex(&message["hash"])),
                }
                assert_eq!(ciphers[1].open(tag_byte ^ 1, &mut body, &mac), None);
                assert_eq!(ciphers[1].open(tag_byte, &mut body, &mac), Some(tag));
                assert_eq!(body, pattern(length));
            }
        }
    }
}
