//! Positions in a binary tree that is kept in one row: leaves have the even numbers, parents the odd ones between them.
//!
//! ```text
//!        3
//!    1       5
//!  0   2   4   6
//! ```
//!
//! Own code, because the depth of a position is its count of trailing one bits: every step is two or three machine
//! instructions on a `u64`, and with the bounds below none can overflow.

use std::fmt;

/// Blocks a tree holds at most. All positions then stay below 2^53, the integers that a JavaScript peer counts exactly.
pub const MAX_BLOCKS: u64 = 1 << 52;

/// The position above all others.
const TOP: u64 = MAX_BLOCKS - 1;

/// A place in the tree; always within a tree of [`MAX_BLOCKS`] blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(u64);

impl Position {
    /// The position with this number, or `None` if no tree reaches so far.
    pub fn new(index: u64) -> Option<Self> {
        (index <= 2 * (MAX_BLOCKS - 1)).then_some(Self(index))
    }

    /// The leaf of a block, counted from 0.
    pub fn of_block(block: u64) -> Option<Self> {
        (block < MAX_BLOCKS).then(|| Self(2 * block))
    }

    /// The number, as it stands in messages and in storage.
    pub fn index(self) -> u64 {
        self.0
    }

    /// Steps down to the leaves: 0 for a leaf.
    pub fn depth(self) -> u32 {
        self.0.trailing_ones()
    }

    /// Whether a block stands here.
    pub fn is_leaf(self) -> bool {
        self.0 & 1 == 0
    }

    /// Blocks below this position (1 for a leaf); half the distance to the sibling.
    pub fn blocks(self) -> u64 {
        1 << self.depth()
    }

    /// The leftmost block below this position.
    pub fn first_block(self) -> u64 {
        (self.0 + 1 - self.blocks()) / 2
    }

    /// The block after the rightmost one below this position.
    pub fn end_block(self) -> u64 {
        self.first_block() + self.blocks()
    }

    /// The position above, or `None` at the top.
    pub fn parent(self) -> Option<Self> {
        let half = self.blocks();
        (self.0 != TOP).then_some(Self((self.0 | half) & !(half << 1)))
    }

    /// The other child of the parent, or `None` at the top.
    pub fn sibling(self) -> Option<Self> {
        (self.0 != TOP).then_some(Self(self.0 ^ (self.blocks() << 1)))
    }

    /// Left and right child, or `None` for a leaf.
    pub fn children(self) -> Option<(Self, Self)> {
        let quarter = self.blocks() >> 1;
        (quarter != 0).then_some((Self(self.0 - quarter), Self(self.0 + quarter)))
    }

    /// Whether `other` is this position or below it.
    pub fn contains(self, other: Self) -> bool {
        let reach = self.blocks() - 1;
        (self.0 - reach..=self.0 + reach).contains(&other.0)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The roots of a tree of `length` blocks, left to right: one for each bit of `length`, the largest first.
/// A length over [`MAX_BLOCKS`] counts as that.
pub fn roots(length: u64) -> Roots {
    Roots {
        next_block: 0,
        remaining: length.min(MAX_BLOCKS),
    }
}

/// See [`roots`].
#[derive(Clone, Debug)]
pub struct Roots {
    next_block: u64,
    remaining: u64,
}

impl Iterator for Roots {
    type Item = Position;

    fn next(&mut self) -> Option<Position> {
        let blocks = 1 << self.remaining.checked_ilog2()?;
        let root = Position(2 * self.next_block + blocks - 1);
        self.next_block += blocks;
        self.remaining -= blocks;
        Some(root)
    }
}

/// The nodes from which one who has the tree at `from` blocks can compute the roots at `to` blocks, in the order in which
/// they are sent: right siblings on the way up from the last block, then roots.
pub fn upgrade_path(from: u64, to: u64) -> Vec<Position> {
    let mut path = Vec::new();
    for root in roots(to).filter(|root| root.end_block() > from) {
        match from.checked_sub(1).and_then(Position::of_block) {
            Some(last) if root.contains(last) => {
                let mut at = last;
                while at != root {
                    let (Some(sibling), Some(parent)) = (at.sibling(), at.parent()) else {
                        break;
                    };
                    path.extend((sibling > last).then_some(sibling));
                    at = parent;
                }
            }
            _ => path.push(root),
        }
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(index: u64) -> Position {
        Position::new(index).unwrap()
    }

    #[test]
    fn the_small_tree_is_as_drawn() {
        assert_eq!(at(0).parent(), Some(at(1)));
        assert_eq!(at(6).parent(), Some(at(5)));
        assert_eq!(at(5).parent(), Some(at(3)));
        assert_eq!(at(1).sibling(), Some(at(5)));
        assert_eq!(at(3).children(), Some((at(1), at(5))));
        assert_eq!(at(2).children(), None);
        assert_eq!(
            (at(5).first_block(), at(5).end_block(), at(5).blocks()),
            (2, 4, 2)
        );
        assert_eq!(roots(0).count(), 0);
        assert_eq!(roots(7).map(Position::index).collect::<Vec<_>>(), [3, 9, 12]);
    }

    #[test]
    fn the_top_has_no_parent_and_nothing_lies_beyond_the_last_block() {
        assert_eq!(at(TOP).parent(), None);
        assert_eq!(at(TOP).sibling(), None);
        assert_eq!(roots(u64::MAX).collect::<Vec<_>>(), [at(TOP)]);
        assert_eq!(Position::new(2 * MAX_BLOCKS - 1), None);
        assert_eq!(Position::of_block(MAX_BLOCKS), None);
        let last = Position::of_block(MAX_BLOCKS - 1).unwrap();
        assert_eq!(last.end_block(), MAX_BLOCKS);
        assert!(at(TOP).contains(last));
    }

    #[test]
    fn an_upgrade_needs_right_siblings_and_new_roots() {
        let path = |from, to| {
            upgrade_path(from, to)
                .into_iter()
                .map(Position::index)
                .collect::<Vec<_>>()
        };
        assert_eq!(path(0, 4), [3]);
        assert_eq!(path(1, 4), [2, 5]);
        assert_eq!(path(4, 7), [9, 12]);
        assert_eq!(path(4, 4), [0u64; 0]);
    }

    proptest! {
        #[test]
        fn parents_children_and_siblings_agree(index in 0..=2 * (MAX_BLOCKS - 1)) {
            let position = at(index);
            if let (Some(parent), Some(sibling)) = (position.parent(), position.sibling()) {
                prop_assert_eq!(sibling.parent(), Some(parent));
                prop_assert_eq!(sibling.sibling(), Some(position));
                let (left, right) = parent.children().unwrap();
                prop_assert_eq!((left, right), (position.min(sibling), position.max(sibling)));
                prop_assert_eq!(left.end_block(), right.first_block());
                prop_assert!(parent.contains(position) && !position.contains(parent));
            }
        }

        #[test]
        fn roots_cover_every_block_once(length in 0..=MAX_BLOCKS) {
            let mut next = 0;
            for root in roots(length) {
                prop_assert_eq!(root.first_block(), next);
                next = root.end_block();
            }
            prop_assert_eq!(next, length);
        }

        #[test]
        fn an_upgrade_path_covers_what_is_new(from in 0..2000u64, more in 1..2000u64) {
            let mut next = from;
            for position in upgrade_path(from, from + more) {
                prop_assert_eq!(position.first_block(), next);
                next = position.end_block();
            }
            prop_assert_eq!(next, from + more);
        }
    }
}
