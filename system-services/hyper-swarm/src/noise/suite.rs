//! The primitives that `snow` runs the pattern with: the Edwards curve, BLAKE2b-512 and ChaCha20-Poly1305 (IETF), all from
//! the crates that the rest of the stack uses too.

use blake2::{Blake2b512, Digest};
use chacha20poly1305::aead::AeadInOut;
use chacha20poly1305::{ChaCha20Poly1305, KeyInit};
use snow::params::{CipherChoice, DHChoice, HashChoice};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use zeroize::Zeroizing;

use super::TAG_BYTES;
use super::keys::{self, KeyPair, PUBLIC_KEY_BYTES};

/// Answers our primitives for the choices of [`super::params`].
pub(super) struct Resolver {
    ephemeral_seed: Zeroizing<[u8; 32]>,
}

impl Resolver {
    pub(super) fn new(ephemeral_seed: [u8; 32]) -> Self {
        Self {
            ephemeral_seed: Zeroizing::new(ephemeral_seed),
        }
    }
}

impl CryptoResolver for Resolver {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Given(Some(self.ephemeral_seed.clone()))))
    }

    fn resolve_dh(&self, _: &DHChoice) -> Option<Box<dyn Dh>> {
        Some(Box::new(Edwards(KeyPair::from_scalar(Zeroizing::new([0; 32])))))
    }

    fn resolve_hash(&self, _: &HashChoice) -> Option<Box<dyn Hash>> {
        Some(Box::new(Blake2b(Blake2b512::new())))
    }

    fn resolve_cipher(&self, _: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Some(Box::new(ChaChaPoly(Zeroizing::new([0; 32]))))
    }
}

/// "Randomness" that was given beforehand and is good for one key.
struct Given(Option<Zeroizing<[u8; 32]>>);

impl Random for Given {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), snow::Error> {
        let seed = self.0.take().ok_or(snow::Error::Rng)?;
        if dest.len() != seed.len() {
            return Err(snow::Error::Rng);
        }
        dest.copy_from_slice(&*seed);
        Ok(())
    }
}

struct Edwards(KeyPair);

impl Dh for Edwards {
    fn name(&self) -> &'static str {
        keys::NAME
    }

    fn pub_len(&self) -> usize {
        PUBLIC_KEY_BYTES
    }

    fn priv_len(&self) -> usize {
        32
    }

    /// Only ever called with [`KeyPair::scalar`]; the trait has no error to answer.
    fn set(&mut self, privkey: &[u8]) {
        let mut scalar = Zeroizing::new([0; 32]);
        for (to, from) in scalar.iter_mut().zip(privkey) {
            *to = *from;
        }
        self.0 = KeyPair::from_scalar(scalar);
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), snow::Error> {
        let mut seed = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut *seed)?;
        self.0 = KeyPair::from_seed(&seed);
        Ok(())
    }

    fn pubkey(&self) -> &[u8] {
        self.0.public_key()
    }

    fn privkey(&self) -> &[u8] {
        self.0.scalar()
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), snow::Error> {
        // The buffer of a key is longer than ours are.
        let key = pubkey.first_chunk().ok_or(snow::Error::Dh)?;
        let shared = keys::shared_point(self.0.scalar(), key).ok_or(snow::Error::Dh)?;
        out.first_chunk_mut::<32>()
            .ok_or(snow::Error::Dh)?
            .copy_from_slice(&*shared);
        Ok(())
    }
}

struct Blake2b(Blake2b512);

impl Hash for Blake2b {
    fn name(&self) -> &'static str {
        "BLAKE2b"
    }

    fn block_len(&self) -> usize {
        128
    }

    fn hash_len(&self) -> usize {
        64
    }

    fn reset(&mut self) {
        self.0 = Blake2b512::new();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let digest = std::mem::replace(&mut self.0, Blake2b512::new()).finalize();
        for (to, from) in out.iter_mut().zip(digest) {
            *to = from;
        }
    }
}

struct ChaChaPoly(Zeroizing<[u8; 32]>);

/// Noise's nonce: four zero bytes, then the counter, little endian.
fn nonce(counter: u64) -> [u8; 12] {
    let mut nonce = [0; 12];
    nonce[4..].copy_from_slice(&counter.to_le_bytes());
    nonce
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        *self.0 = *key;
    }

    /// `out` has room for the message with all its tags; were it not so, nothing would be written and the peer would
    /// refuse what is sent.
    fn encrypt(&self, counter: u64, ad: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let length = plaintext.len() + TAG_BYTES;
        let Some((body, rest)) = out.split_at_mut_checked(plaintext.len()) else {
            return length.min(out.len());
        };
        body.copy_from_slice(plaintext);
        let cipher = ChaCha20Poly1305::new(&(*self.0).into());
        if let (Ok(tag), Some(to)) = (
            cipher.encrypt_inout_detached(&nonce(counter).into(), ad, body.into()),
            rest.first_chunk_mut::<TAG_BYTES>(),
        ) {
            to.copy_from_slice(&tag);
        }
        length
    }

    fn decrypt(
        &self,
        counter: u64,
        ad: &[u8],
        ciphertext: &[u8],
        out: &mut [u8],
    ) -> Result<usize, snow::Error> {
        let (body, tag) = ciphertext
            .split_last_chunk::<TAG_BYTES>()
            .ok_or(snow::Error::Decrypt)?;
        let out = out.get_mut(..body.len()).ok_or(snow::Error::Decrypt)?;
        out.copy_from_slice(body);
        ChaCha20Poly1305::new(&(*self.0).into())
            .decrypt_inout_detached(&nonce(counter).into(), ad, out.into(), &(*tag).into())
            .map_err(|_| snow::Error::Decrypt)?;
        Ok(body.len())
    }
}
