//! Two signed trees of one core that are not the same: its writer, or a copy of its key, has written it in two places.

use super::{Core, CoreError};
use crate::flat_tree;
use crate::merkle::{Proof, TreeNodes, VerifyError, verify_alone};
use crate::store::StoreError;

/// Under this name the conflict is kept with the core.
const USER_DATA: &str = "hyper-core/conflict";

/// Two different trees of as many blocks are signed for the same fork. Whose blocks are the right ones nobody can say: the core is
/// frozen, as by the JavaScript peer. What is stored can be read; nothing is appended or replicated any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "its writer signed two different trees of its first {length} blocks at fork {fork}: what is stored can be read, no more is written or replicated"
)]
pub struct Conflict {
    /// The fork of both.
    pub fork: u64,
    /// The trees of so many blocks differ; those of fewer may, too.
    pub length: u64,
}

impl Conflict {
    fn encode(self) -> [u8; 16] {
        let both = u128::from(self.fork) << 64 | u128::from(self.length);
        both.to_be_bytes()
    }

    fn decode(bytes: [u8; 16]) -> Self {
        let both = u128::from_be_bytes(bytes);
        Self {
            fork: (both >> 64) as u64,
            length: both as u64,
        }
    }
}

impl Core {
    /// Why the core is frozen, if it is.
    pub fn conflict(&self) -> Result<Option<Conflict>, StoreError> {
        let stored = self.user_data(USER_DATA)?;
        let bytes = stored.map(|bytes| <[u8; 16]>::try_from(bytes).unwrap_or_default());
        Ok(bytes.map(Conflict::decode))
    }

    /// Compares a tree that a peer proves from its first block on with our tree of as many blocks. If it is signed too and another one, the
    /// core is frozen. An inner error is the peer's ([`VerifyError::NotStored`], [`VerifyError::OtherFork`]: there is nothing to compare it
    /// with).
    pub(crate) fn compare(&self, proof: &Proof) -> Result<Result<Option<Conflict>, VerifyError>, CoreError> {
        let snapshot = self.snapshot()?;
        let (verifier, fork) = (self.known_verifier()?, snapshot.head().fork);
        if proof.fork != fork {
            let (ours, theirs) = (fork, proof.fork);
            return Ok(Err(VerifyError::OtherFork { ours, theirs }));
        }
        // Nothing else of it is looked at.
        let tree_alone = Proof {
            fork,
            upgrade: proof.upgrade.clone(),
            ..Proof::default()
        };
        if let Err(error) = verify_alone(verifier, &tree_alone, None) {
            return Ok(Err(error));
        }
        let Some(upgrade) = &proof.upgrade else {
            return Ok(Ok(None));
        };
        // The nodes of an upgrade from 0 on are the roots.
        for (position, theirs) in flat_tree::roots(upgrade.length).zip(&upgrade.nodes) {
            let stored = match snapshot.node(position) {
                Ok(stored) => stored.filter(|_| upgrade.length <= snapshot.tree().length()),
                Err(error) => return Err(super::replicate::ours(error)),
            };
            match stored {
                None => return Ok(Err(VerifyError::NotStored(position))),
                Some(ours) if ours.hash == theirs.hash => {}
                Some(_) => {
                    // The roots up to here are those of a tree that ends here.
                    let length = position.end_block();
                    let conflict = Conflict { fork, length };
                    self.set_user_data(USER_DATA, Some(&conflict.encode()))?;
                    return Ok(Ok(Some(conflict)));
                }
            }
        }
        Ok(Ok(None))
    }
}
