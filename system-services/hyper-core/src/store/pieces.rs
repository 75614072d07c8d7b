//! Blocks, cut into pieces that fill pages of the database.
//!
//! The database gives a value that is larger than a page a run of pages whose number is a power of two: a block of 64 KiB, as drives
//! have them, would take 128 KiB with its few bytes of overhead.

use redb::{ReadableTable, Table};

use super::StoreError;
use super::error::failed;

/// Core number, block, number of the piece.
pub(super) type PieceKey = (u64, u64, u64);

/// Bytes of a page of the database.
const PAGE_BYTES: usize = 4096;

/// Room for a key and the database's own numbers beside a piece.
const OVERHEAD_BYTES: usize = 64;

/// The largest run of pages for one piece: longer ones are hard to find in a file that was much used.
const MOST_BYTES: usize = 64 * 1024;

/// The pieces of a block, one of no bytes for an empty block.
fn pieces(block: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(block);
    std::iter::from_fn(move || {
        let block = rest.take()?;
        let mut run = MOST_BYTES;
        while run > PAGE_BYTES && run - OVERHEAD_BYTES > block.len() {
            run /= 2;
        }
        let (piece, more) = block.split_at(block.len().min(run - OVERHEAD_BYTES));
        rest = (!more.is_empty()).then_some(more);
        Some(piece)
    })
}

pub(super) fn put(
    table: &mut Table<'_, PieceKey, &'static [u8]>,
    core: u64,
    block: u64,
    value: &[u8],
) -> Result<(), StoreError> {
    for (piece, number) in pieces(value).zip(0..) {
        table
            .insert((core, block, number), piece)
            .map_err(failed("store a block"))?;
    }
    Ok(())
}

pub(super) fn get(
    table: &impl ReadableTable<PieceKey, &'static [u8]>,
    core: u64,
    block: u64,
) -> Result<Option<Vec<u8>>, StoreError> {
    let step = "read a block";
    let mut value: Option<Vec<u8>> = None;
    for piece in table
        .range((core, block, 0)..=(core, block, u64::MAX))
        .map_err(failed(step))?
    {
        let piece = piece.map_err(failed(step))?.1;
        value.get_or_insert_default().extend_from_slice(piece.value());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn runs(length: usize) -> Vec<usize> {
        let block = vec![0; length];
        pieces(&block).map(<[u8]>::len).collect()
    }

    #[test]
    fn a_block_of_a_drive_takes_hardly_more_pages_than_it_has_bytes() {
        assert_eq!(runs(0), [0]);
        assert_eq!(runs(1024), [1024]);
        assert_eq!(runs(65_536), [65_472, 64]);
        assert_eq!(runs(40_000), [32_704, 4032, 3264]);
    }

    proptest! {
        #[test]
        fn the_pieces_of_a_block_are_the_block_and_waste_less_than_two_pages_beside_their_overhead(length in 0..400_000usize) {
            let runs = runs(length);
            prop_assert_eq!(runs.iter().sum::<usize>(), length);
            let pages: usize = runs.iter().map(|piece| (piece + OVERHEAD_BYTES).next_power_of_two().max(PAGE_BYTES)).sum();
            prop_assert!(pages <= length + runs.len() * OVERHEAD_BYTES + 2 * PAGE_BYTES);
        }
    }
}
