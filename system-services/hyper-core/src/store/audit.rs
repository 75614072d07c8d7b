//! Looking through what is stored for damage, before someone needs it.

use std::ops::Range;

use super::{DamagedPart, Snapshot, StoreError};
use crate::bitfield::PAGE_BLOCKS;
use crate::crypto;
use crate::flat_tree::Position;
use crate::merkle::{Node, ReadError, TreeNodes};

impl Snapshot {
    /// Checks blocks of a range and the tree nodes that end with them, and says what of them is damaged, each thing once. What is
    /// not stored is not damaged. It reads all blocks of the range: go through a long core in ranges.
    pub fn audit(&self, blocks: Range<u64>) -> Result<Vec<DamagedPart>, StoreError> {
        let mut damaged = Vec::new();
        let mut bad_page = None;
        for block in blocks.start..blocks.end.min(self.tree().length()) {
            let part = self.audit_block(block)?;
            let again = match part {
                Some(DamagedPart::Bitfield { page }) => bad_page.replace(page) == Some(page),
                _ => false,
            };
            damaged.extend(part.filter(|_| !again));
            for parent in parents_ending_with(block) {
                if !self.agrees_with_children(parent).map_err(read_failed)? {
                    damaged.push(DamagedPart::Node(parent));
                }
            }
        }
        Ok(damaged)
    }

    /// What is wrong with a block: its bytes, its leaf, or the mark that says whether it is there.
    fn audit_block(&self, block: u64) -> Result<Option<DamagedPart>, StoreError> {
        match self.compare_block(block) {
            Err(StoreError::Damaged { part, .. }) => Ok(Some(part)),
            compared => compared,
        }
    }

    fn compare_block(&self, block: u64) -> Result<Option<DamagedPart>, StoreError> {
        let value = self.get(block)?;
        if value.is_some() != self.has(block)? {
            let page = block / PAGE_BLOCKS;
            return Ok(Some(DamagedPart::Bitfield { page }));
        }
        let Some((value, at)) = value.zip(Position::of_block(block)) else {
            return Ok(None);
        };
        let leaf = self.node(at).map_err(read_failed)?;
        Ok((leaf != Some(Node::leaf(at, &value))).then_some(DamagedPart::Block(block)))
    }

    /// Whether a node is the hash of its children, as far as all three are stored.
    fn agrees_with_children(&self, at: Position) -> Result<bool, ReadError> {
        let Some((left, right)) = at.children() else {
            return Ok(true);
        };
        let (Some(node), Some(left), Some(right)) = (self.node(at)?, self.node(left)?, self.node(right)?)
        else {
            return Ok(true);
        };
        let whole = left.size.checked_add(right.size).map(|size| Node {
            position: at,
            size,
            hash: crypto::parent_hash(size, &left.hash, &right.hash),
        });
        Ok(whole == Some(node))
    }
}

/// The parents whose last block this is, lowest first.
fn parents_ending_with(block: u64) -> impl Iterator<Item = Position> {
    std::iter::successors(Position::of_block(block), |at| at.parent())
        .skip(1)
        .take_while(move |at| at.end_block() == block + 1)
}

fn read_failed(error: ReadError) -> StoreError {
    match error.source.downcast::<StoreError>() {
        Ok(error) => *error,
        Err(source) => super::error::failed("read a tree node")(std::io::Error::other(source)),
    }
}
