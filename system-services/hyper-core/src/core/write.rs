//! Appending, truncating, clearing.

use std::ops::Range;

use super::{Core, CoreError};
use crate::crypto;
use crate::encryption::BlockCipher;
use crate::manifest::Verifier;
use crate::merkle::{Batch, Tree};
use crate::store::{Changed, Head, Writer};

/// The end of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// Blocks.
    pub length: u64,
    /// Fork.
    pub fork: u64,
}

/// How a new tree gets its signature.
#[derive(Clone, Copy)]
enum Signing<'a> {
    KeyPair,
    Given(&'a [u8]),
}

impl Core {
    /// Appends blocks, all or none, and says the head that then is. One commit whatever their number.
    pub fn append<B: AsRef<[u8]>>(&self, blocks: &[B]) -> Result<Head, CoreError> {
        self.append_as(blocks, Signing::KeyPair, None, None)
    }

    /// Appends blocks that say something of those before them, so that they make sense behind this end only. Encrypts them on the way if there is a cipher.
    pub fn append_at<B: AsRef<[u8]>>(
        &self,
        end: End,
        blocks: &[B],
        cipher: Option<&BlockCipher>,
    ) -> Result<Head, CoreError> {
        self.append_as(blocks, Signing::KeyPair, cipher, Some(end))
    }

    /// Appends blocks that are encrypted on the way: only within the commit is it known which number and fork they get.
    pub fn append_encrypted<B: AsRef<[u8]>>(
        &self,
        blocks: &[B],
        cipher: &BlockCipher,
    ) -> Result<Head, CoreError> {
        self.append_as(blocks, Signing::KeyPair, Some(cipher), None)
    }

    /// Appends blocks with a signature that was made elsewhere: that of several signers, or none in a prologue.
    pub fn append_signed<B: AsRef<[u8]>>(&self, blocks: &[B], signature: &[u8]) -> Result<Head, CoreError> {
        self.append_as(blocks, Signing::Given(signature), None, None)
    }

    fn append_as<B: AsRef<[u8]>>(
        &self,
        blocks: &[B],
        signing: Signing,
        cipher: Option<&BlockCipher>,
        end: Option<End>,
    ) -> Result<Head, CoreError> {
        if blocks.is_empty() {
            return Ok(self.snapshot()?.head().clone());
        }
        let plain: Vec<&[u8]> = blocks.iter().map(B::as_ref).collect();
        // While others may still write; what is encrypted is not known yet.
        let leaves = cipher.is_none().then(|| crypto::leaf_hashes(&plain));
        self.store.write(self.number, |writer| {
            let (head, tree) = writer.head()?;
            let now = End {
                length: head.length,
                fork: head.fork,
            };
            if let Some(expected) = end.filter(|end| *end != now) {
                return Err(CoreError::Moved { now, expected });
            }
            let compat = self.known_verifier()?.is_compat();
            let encrypt = |cipher: &BlockCipher| -> Vec<Vec<u8>> {
                let numbered = plain.iter().zip(head.length..);
                numbered
                    .map(|(block, number)| cipher.encrypt(compat, number, head.fork, block))
                    .collect()
            };
            let encrypted = cipher.map(encrypt);
            let values = match &encrypted {
                Some(encrypted) => encrypted.iter().map(Vec::as_slice).collect(),
                None => plain,
            };
            let leaves = leaves.unwrap_or_else(|| crypto::leaf_hashes(&values));
            let mut batch = Batch::new(tree);
            for ((value, leaf), number) in values.iter().zip(leaves).zip(head.length..) {
                batch.append_leaf(value.len() as u64, leaf)?;
                writer.put_block(number, value)?;
            }
            let (tree, nodes) = batch.into_parts();
            let signature = self.sign(&tree, signing)?;
            writer.put_nodes(nodes)?;
            writer.mark(head.length..tree.length(), true)?;
            let head = writer.put_head(&tree, signature, head.contiguous_length)?;
            Ok(Changed::Yes(head))
        })
    }

    /// Drops the blocks from `length` on, and says the head that then is. `fork` is the new fork's number, by default the next one.
    pub fn truncate(&self, length: u64, fork: Option<u64>) -> Result<Head, CoreError> {
        self.store.write(self.number, |writer| {
            let (head, tree) = writer.head()?;
            let verifier = self.known_verifier()?;
            if let Some(prologue) = verifier.prologue().filter(|prologue| length < prologue.length) {
                return Err(CoreError::Prologue {
                    to: length,
                    prologue: prologue.length,
                });
            }
            let asked = fork.unwrap_or(head.fork.saturating_add(1));
            if asked <= head.fork {
                return Err(CoreError::ForkNotNewer {
                    ours: head.fork,
                    asked,
                });
            }
            let tree = tree.truncate(length, asked, writer)?;
            let signature = self.sign(&tree, Signing::KeyPair)?;
            writer.truncate(head.length, length)?;
            let head = writer.put_head(&tree, signature, head.contiguous_length.min(length))?;
            Ok(Changed::Yes(head))
        })
    }

    /// Removes the bytes of blocks to free their room. The core's length stays, and who has the blocks can give them again.
    pub fn clear(&self, blocks: Range<u64>) -> Result<(), CoreError> {
        self.store.write(self.number, |writer: &mut Writer| {
            let (head, tree) = writer.head()?;
            let end = blocks.end.min(head.length);
            if blocks.start >= end {
                return Ok(Changed::No(()));
            }
            writer.drop_blocks(blocks.start..end)?;
            writer.put_head(&tree, head.signature, head.contiguous_length.min(blocks.start))?;
            Ok(Changed::Yes(()))
        })
    }

    pub(super) fn known_verifier(&self) -> Result<&Verifier, CoreError> {
        self.verifier()?.ok_or(CoreError::NoManifest)
    }

    fn sign(&self, tree: &Tree, signing: Signing) -> Result<Vec<u8>, CoreError> {
        let verifier = self.known_verifier()?;
        match signing {
            Signing::KeyPair => {
                let pair = self.key_pair.get().ok_or(CoreError::NotWritable)?;
                verifier.sign(tree, pair)?.ok_or(CoreError::NeedsMoreSigners)
            }
            Signing::Given(signature) => {
                let length = tree.length();
                verifier
                    .verify(tree, signature)
                    .map_err(|source| CoreError::Signature { length, source })?;
                Ok(signature.to_vec())
            }
        }
    }
}
