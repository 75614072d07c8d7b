//! The delta: from any old content, cut anywhere, the image comes out.

#![allow(clippy::unwrap_used, missing_docs)]

mod container_support;

use std::io;
use std::ops::ControlFlow;

use bundle::chunks::{
    ChunkIndex, ExecuteError, IndexError, IndexLimits, Parameters, Plan, Progress, Seeds, Step, Target,
    TreeTail, execute,
};
use bundle::source::ReadAt;
use bundle::verity::hash_tree;
use container_support::noise;
use proptest::prelude::*;

/// A slot that can lose power after some bytes.
struct Slot {
    bytes: Vec<u8>,
    left: usize,
}

impl Target for Slot {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.bytes.read_exact_at(buf, offset)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = bytes.len().min(self.left);
        self.bytes[offset as usize..offset as usize + written].copy_from_slice(&bytes[..written]);
        self.left -= written;
        if written < bytes.len() {
            Err(io::Error::other("the power is gone"))
        } else {
            Ok(())
        }
    }
}

fn small() -> Parameters {
    Parameters::new(512, 1024, 4096).unwrap()
}

fn index(image: &[u8]) -> ChunkIndex {
    ChunkIndex::of(image, small(), None).unwrap()
}

fn plan(wanted: &ChunkIndex, target: &[u8], seeds: &[&Vec<u8>]) -> Plan {
    let mut found = Seeds::new(wanted);
    found.scan_target(wanted, target).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        found.scan_seed(wanted, number as u32, seed.as_slice()).unwrap();
    }
    Plan::new(wanted, &found)
}

fn run(
    plan: &Plan,
    wanted: &ChunkIndex,
    slot: &mut Slot,
    seeds: &[&Vec<u8>],
    image: &dyn ReadAt,
) -> Result<Progress, ExecuteError> {
    let seeds: Vec<&dyn ReadAt> = seeds.iter().map(|seed| *seed as &dyn ReadAt).collect();
    let mut last = Progress::default();
    execute(plan, wanted, slot, &seeds, image, &mut |progress| {
        assert!(progress.done >= last.done && progress.done <= wanted.image_size());
        last = progress;
        ControlFlow::Continue(())
    })
}

/// A slot of at least the image's size that holds `old`.
fn slot(old: &[u8], size: usize, left: usize) -> Slot {
    let mut bytes = old.to_vec();
    bytes.resize(size.max(old.len()), 0xff);
    Slot { bytes, left }
}

#[test]
fn an_insertion_costs_the_chunks_around_it_only() {
    let old = noise(3_000_000, 1);
    let new = [&old[..1_000_000], b"inserted", &old[1_000_000..]].concat();
    let wanted = ChunkIndex::of(new.as_slice(), Parameters::default(), None).unwrap();
    let mut slot = slot(&noise(3_000_000, 2), new.len(), usize::MAX);
    let plan = plan(&wanted, &slot.bytes, &[&old]);
    assert!(plan.totals().fetched < 150_000, "{:?}", plan.totals());
    let done = run(&plan, &wanted, &mut slot, &[&old], &new).unwrap();
    assert!(slot.bytes == new);
    assert_eq!(
        (done.fetched, done.copied),
        (plan.totals().fetched, plan.totals().copied)
    );
}

#[test]
fn the_target_itself_is_a_seed_only_where_it_is_not_overwritten_yet() {
    let old = noise(1_000_000, 1);
    // What moves towards the beginning can be copied, what moves towards the end would be overwritten first.
    let earlier = old[100_000..].to_vec();
    let later = [noise(100_000, 2), old.clone()].concat();
    for (new, fetched) in [(earlier, 0..20_000), (later, 1_000_000..1_200_000)] {
        let wanted = index(&new);
        let mut slot = slot(&old, new.len(), usize::MAX);
        let plan = plan(&wanted, &slot.bytes, &[]);
        assert!(fetched.contains(&plan.totals().fetched), "{:?}", plan.totals());
        run(&plan, &wanted, &mut slot, &[], &new).unwrap();
        assert!(slot.bytes[..new.len()] == new);
    }
}

#[test]
fn a_cut_download_keeps_what_it_has() {
    let new = noise(2_000_000, 1);
    let wanted = index(&new);
    let mut slot = slot(&noise(2_000_000, 2), new.len(), 1_500_000);
    let first = plan(&wanted, &slot.bytes, &[]);
    assert!(run(&first, &wanted, &mut slot, &[], &new).is_err());
    slot.left = usize::MAX;
    let second = plan(&wanted, &slot.bytes, &[]);
    assert!(
        (500_000..510_000).contains(&second.totals().fetched),
        "{:?}",
        second.totals()
    );
    assert!(matches!(second.steps()[0], Step::Keep { offset: 0, .. }));
    run(&second, &wanted, &mut slot, &[], &new).unwrap();
    assert!(slot.bytes == new);
}

#[test]
fn zeros_and_repeated_content_are_fetched_once_at_most() {
    let part = noise(50_000, 1);
    let new = [&part[..], &[0; 300_000], &part, &part].concat();
    let wanted = index(&new);
    let mut slot = slot(&[], new.len(), usize::MAX);
    let plan = plan(&wanted, &slot.bytes, &[]);
    assert!(
        plan.totals().fetched < 70_000 && plan.totals().made > 280_000,
        "{:?}",
        plan.totals()
    );
    run(&plan, &wanted, &mut slot, &[], &new).unwrap();
    assert!(slot.bytes == new);
}

#[test]
fn a_seed_that_is_not_what_its_index_says_is_fetched_instead() {
    let new = noise(500_000, 1);
    let wanted = index(&new);
    let mut found = Seeds::new(&wanted);
    found.add_index(&wanted, 0, &wanted);
    let plan = Plan::new(&wanted, &found);
    assert_eq!(plan.totals().copied, 500_000);
    let mut worn = new.clone();
    worn[250_000] ^= 1;
    worn.truncate(400_000);
    let mut slot = slot(&[], new.len(), usize::MAX);
    let done = run(&plan, &wanted, &mut slot, &[&worn], &new).unwrap();
    assert!(
        slot.bytes == new && done.fetched > 100_000 && done.fetched < 120_000,
        "{done:?}"
    );
    assert_eq!(done.fetched + done.copied, 500_000);
}

#[test]
fn the_tree_behind_the_data_is_made_and_not_fetched() {
    let old = noise(300 * 4096, 1);
    let mut data = old.clone();
    data[5000] ^= 1;
    let tree = hash_tree(&data).unwrap();
    let new = [data.clone(), tree.tree].concat();
    let tail = TreeTail {
        data_size: data.len() as u64,
        salt: tree.salt,
    };
    let wanted = ChunkIndex::of(new.as_slice(), small(), Some(tail)).unwrap();
    let reread = ChunkIndex::read(&wanted.to_bytes(), &IndexLimits::default()).unwrap();
    assert_eq!(reread, wanted);
    let mut slot = slot(&old, new.len(), usize::MAX);
    let plan = plan(&wanted, &slot.bytes, &[]);
    assert!(plan.totals().fetched < 8192, "{:?}", plan.totals());
    run(&plan, &wanted, &mut slot, &[], &new).unwrap();
    assert!(slot.bytes == new);

    let other = TreeTail {
        salt: [1; 32],
        ..tail
    };
    let refused = ChunkIndex::of(new.as_slice(), small(), Some(other));
    assert!(matches!(refused, Err(IndexError::NotItsTree)));
}

#[test]
fn a_request_to_stop_is_heard() {
    let new = noise(500_000, 1);
    let wanted = index(&new);
    let plan = Plan::new(&wanted, &Seeds::new(&wanted));
    let mut slot = slot(&[], new.len(), usize::MAX);
    let stopped = execute(&plan, &wanted, &mut slot, &[], &new, &mut |_| {
        ControlFlow::Break(())
    });
    assert!(matches!(stopped, Err(ExecuteError::Stopped)));
}

#[test]
fn a_plan_for_another_image_is_refused() {
    let (new, other) = (noise(50_000, 1), noise(60_000, 1));
    let wanted = index(&new);
    let plan = Plan::new(&wanted, &Seeds::new(&wanted));
    let mut slot = slot(&[], new.len(), usize::MAX);
    assert!(matches!(
        run(&plan, &wanted, &mut slot, &[], &other),
        Err(ExecuteError::OtherImage)
    ));
    let other = index(&other);
    assert!(matches!(
        run(&plan, &other, &mut slot, &[], &new),
        Err(ExecuteError::OtherImage)
    ));
}

#[test]
fn damaged_indexes_are_refused() {
    let good = index(&noise(100_000, 1)).to_bytes();
    let read = |bytes: &[u8]| ChunkIndex::read(bytes, &IndexLimits::default());
    assert!(read(&good).is_ok());
    for length in [0, 79, 80, good.len() - 1, good.len() - 36] {
        assert!(read(&good[..length]).is_err(), "{length} bytes");
    }
    assert!(read(&[good.clone(), vec![0]].concat()).is_err());
    // Everything but the digests of the chunks is checked.
    for at in (0..80).chain(80..84) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        assert!(read(&bad).is_err(), "byte {at}");
    }
    let few = IndexLimits { chunks: 3 };
    assert!(matches!(
        ChunkIndex::read(&good, &few),
        Err(IndexError::TooMany { .. })
    ));
    let empty = index(&[]);
    assert!(empty.is_empty() && read(&empty.to_bytes()).unwrap() == empty);
}

/// Pieces of two sources, zeros, and noise, in any order and length.
fn patchwork() -> impl Strategy<Value = Vec<u8>> {
    let piece = (0u64..4, 0usize..60_000, 0usize..25_000).prop_map(|(source, start, length)| match source {
        0 => vec![0; length],
        source => noise(90_000, source)[start..start + length].to_vec(),
    });
    prop::collection::vec(piece, 0..8).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_old_content_and_any_cuts_end_in_the_image(
        new in patchwork(),
        old in patchwork(),
        seed in patchwork(),
        cuts in prop::collection::vec(0usize..60_000, 0..4),
    ) {
        let wanted = index(&new);
        let mut slot = slot(&old, new.len(), 0);
        for left in cuts.into_iter().chain([usize::MAX]) {
            let plan = plan(&wanted, &slot.bytes, &[&seed]);
            let mut at = 0;
            for step in plan.steps() {
                prop_assert_eq!(step.offset(), at);
                at += step.length();
            }
            prop_assert_eq!(at, new.len() as u64);
            slot.left = left;
            let done = run(&plan, &wanted, &mut slot, &[&seed], &new);
            // Nothing changes under an executor here, so every copy is what the plan says.
            if let Ok(done) = done {
                prop_assert_eq!(done.fetched, plan.totals().fetched);
                prop_assert_eq!(done.kept, plan.totals().kept);
            }
        }
        prop_assert!(slot.bytes[..new.len()] == new);
    }
}
