//! Moving to another fork.

use hyper_core::flat_tree::Position;
use hyper_core::merkle::{
    NodeRequest, Proof, ProofRequest, Reorg, Reorged, TreeNodes, UpgradeRequest, VerifyError, create_proof,
    verify_proof,
};
use proptest::prelude::*;

use crate::*;

/// Other blocks from `common` on.
fn fork(length: u64, common: u64, number: u64) -> (Tree, MemoryNodes) {
    grow_with(
        length,
        number,
        |i| if i < common { block(i) } else { block(i + 500) },
    )
}

fn whole(tree: &Tree, nodes: &MemoryNodes, node: Option<NodeRequest>) -> Proof {
    let signature = single().sign(tree, &pair()).unwrap().unwrap();
    let upgrade = Some(UpgradeRequest {
        start: 0,
        length: tree.length(),
    });
    create_proof(
        tree,
        &signature,
        0,
        &ProofRequest {
            node,
            seek: None,
            upgrade,
        },
        nodes,
    )
    .unwrap()
}

fn below(tree: &Tree, nodes: &MemoryNodes, block: u64, levels: u64) -> Proof {
    let node = Some(NodeRequest::Hash {
        position: Position::of_block(block).unwrap(),
        nodes: levels,
    });
    create_proof(
        tree,
        &[],
        0,
        &ProofRequest {
            node,
            ..Default::default()
        },
        nodes,
    )
    .unwrap()
}

/// Moves to the fork, asking for the block that `pick` takes of those that may be asked for.
fn reorg(
    (ours, our_nodes): &(Tree, MemoryNodes),
    (theirs, their_nodes): &(Tree, MemoryNodes),
    mut pick: impl FnMut(std::ops::Range<u64>, u64) -> u64,
) -> Reorged {
    let proof = whole(theirs, their_nodes, None);
    let mut reorg = Reorg::new(ours, &single(), &proof, None, our_nodes).unwrap();
    while let Some(wish) = reorg.request() {
        let block = pick(wish.blocks, wish.nodes);
        reorg
            .update(&below(theirs, their_nodes, block, wish.nodes), None, our_nodes)
            .unwrap();
    }
    reorg.finish().unwrap()
}

#[test]
fn the_way_to_a_fork_is_the_peers() {
    for case in list(&vectors("core")["reorgs"]) {
        let [length, common, theirs] = ["ours", "common", "theirs"].map(|key| uint(&case[key]));
        let mut wants = Vec::new();
        let reorged = reorg(&grow(length, 0), &fork(theirs, common, 1), |blocks, nodes| {
            wants.push(serde_json::json!([blocks.start, blocks.end, nodes]));
            blocks.start
        });
        assert_eq!(Value::from(wants), case["wants"], "{case}");
        assert_eq!(reorged.ancestors, uint(&case["ancestors"]), "{case}");
    }
}

#[test]
fn a_fork_must_be_newer_signed_and_answered_with_what_was_asked_for() {
    let (ours, our_nodes) = grow(20, 3);
    let verifier = single();
    for older in [2, 3] {
        let (theirs, their_nodes) = fork(20, 7, older);
        let proof = whole(&theirs, &their_nodes, None);
        let refused = Reorg::new(&ours, &verifier, &proof, None, &our_nodes);
        assert!(matches!(refused, Err(VerifyError::OtherFork { ours: 3, .. })));
    }
    let (theirs, their_nodes) = fork(20, 7, 4);
    let proof = whole(&theirs, &their_nodes, None);
    let unsigned = Proof {
        fork: 5,
        ..proof.clone()
    };
    let refused = Reorg::new(&ours, &verifier, &unsigned, None, &our_nodes);
    assert!(matches!(refused, Err(VerifyError::Signature { .. })));

    let mut reorg = Reorg::new(&ours, &verifier, &proof, None, &our_nodes).unwrap();
    let wish = reorg.request().unwrap();
    // Too few levels, another tree, and no progress.
    assert!(
        reorg
            .update(
                &below(&theirs, &their_nodes, wish.blocks.start, 1),
                None,
                &our_nodes
            )
            .is_err()
    );
    let (other, other_nodes) = fork(20, 6, 4);
    let lie = below(&other, &other_nodes, wish.blocks.start, wish.nodes);
    assert!(matches!(
        reorg.update(&lie, None, &our_nodes),
        Err(VerifyError::WrongHash(_))
    ));
    let root = Position::new(15).unwrap();
    let node = Some(NodeRequest::Hash {
        position: root,
        nodes: 0,
    });
    let idle = create_proof(
        &theirs,
        &[],
        0,
        &ProofRequest {
            node,
            ..Default::default()
        },
        &their_nodes,
    )
    .unwrap();
    assert!(matches!(
        reorg.update(&idle, None, &our_nodes),
        Err(VerifyError::EndsEarly(_))
    ));
    reorg
        .update(
            &below(&theirs, &their_nodes, wish.blocks.start, wish.nodes),
            None,
            &our_nodes,
        )
        .unwrap();
    assert!(reorg.finish().is_err(), "more must be asked for");
}

proptest! {
    #[test]
    fn what_is_common_stays_and_the_fork_can_be_read_on(ours in 0..80u64, theirs in 1..80u64, common in 0..80u64, choice: u64) {
        let common = common.min(theirs);
        let mine = grow(ours, 0);
        let other = fork(theirs, common, 1);
        let reorged = reorg(&mine, &other, |blocks, _| blocks.start + choice % (blocks.end - blocks.start));
        prop_assert_eq!(reorged.ancestors, common.min(ours));
        prop_assert_eq!(&reorged.upgraded.tree, &other.0);

        // As storage does it.
        let mut nodes = MemoryNodes::default();
        let kept = grow(reorged.ancestors, 0).1;
        nodes.extend(kept.iter().copied());
        nodes.extend(reorged.nodes);
        for node in nodes.iter() {
            prop_assert_eq!(other.1.node(node.position).unwrap(), Some(*node));
        }
        let wish = choice % theirs;
        let at = Position::of_block(wish).unwrap();
        let levels = hyper_core::merkle::missing_nodes(at, theirs, &nodes).unwrap();
        let node = Some(NodeRequest::Block { block: wish, nodes: levels });
        let proof = create_proof(&other.0, &[], 0, &ProofRequest { node, ..Default::default() }, &other.1).unwrap();
        let value = if wish < common { block(wish) } else { block(wish + 500) };
        prop_assert!(verify_proof(&reorged.upgraded.tree, &single(), &proof, Some(&value), &nodes).is_ok());
    }
}
