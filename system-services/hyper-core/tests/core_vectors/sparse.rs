//! A core that is fetched in any order, piece by piece, from one who has it all.

use hyper_core::flat_tree::Position;
use hyper_core::merkle::{
    Node, NodeProof, NodeRequest, Proof, ProofRequest, SeekRequest, TreeNodes, UpgradeRequest, create_proof,
    missing_nodes, verify_proof,
};
use proptest::prelude::*;

use crate::*;

#[test]
fn a_lie_about_sizes_never_replaces_what_is_proved_and_is_mended_by_the_block() {
    let verifier = single();
    let (tree, whole) = grow(8, 0);
    let lie = |node: Node, size| Node { size, ..node };
    let at = |index| whole.node(Position::new(index).unwrap()).unwrap().unwrap();
    let (left, right) = (at(4), at(6));
    // The peer moves a byte from one leaf to the other; their parent's hash stays.
    let nodes = vec![lie(left, left.size - 1), lie(right, right.size + 1)];
    let proof = Proof {
        node: Some(NodeProof::Hash {
            position: left.position,
            nodes,
        }),
        ..Proof::default()
    };
    // Who has the leaves keeps their sizes.
    let mut full = whole.clone();
    full.extend(verify_proof(&tree, &verifier, &proof, None, &full).unwrap().nodes);
    assert_eq!(full, whole);
    // A root's size cannot be changed either.
    let nodes = vec![lie(at(7), 1)];
    let root = Proof {
        node: Some(NodeProof::Hash {
            position: at(7).position,
            nodes,
        }),
        ..Proof::default()
    };
    full.extend(verify_proof(&tree, &verifier, &root, None, &full).unwrap().nodes);
    assert_eq!(full, whole);
    // Who has not believes it until the blocks are there.
    let mut sparse = whole.clone();
    sparse.remove(left.position);
    sparse.remove(right.position);
    sparse.extend(
        verify_proof(&tree, &verifier, &proof, None, &sparse)
            .unwrap()
            .nodes,
    );
    assert_eq!(sparse.node(left.position).unwrap().unwrap().size, left.size - 1);
    for i in [2, 3] {
        let proof = Proof {
            node: Some(NodeProof::Block {
                block: i,
                nodes: vec![],
            }),
            ..Proof::default()
        };
        sparse.extend(
            verify_proof(&tree, &verifier, &proof, Some(&block(i)), &sparse)
                .unwrap()
                .nodes,
        );
    }
    assert_eq!(sparse, whole);
}

proptest! {
    #[test]
    fn whatever_is_fetched_in_any_order_is_what_the_other_has(
        lengths in prop::collection::vec(1..20u64, 1..5),
        wishes in prop::collection::vec((0..4u8, any::<u64>(), any::<bool>()), 1..30),
    ) {
        let verifier = single();
        let (mut mine, mut my_nodes) = grow(0, 0);
        let mut signed = 0;
        let mut wishes = wishes.into_iter();
        for more in lengths {
            signed += more;
            let (theirs, their_nodes) = grow(signed, 0);
            let signature = verifier.sign(&theirs, &pair()).unwrap().unwrap();
            // The first wish of each round takes the upgrade along, to a length that may be shorter than the signed one.
            let mut start = Some(mine.length());
            for (kind, number, partly) in wishes.by_ref().take(6) {
                let upgrade = start.take().map(|start| {
                    let new = theirs.length() - start;
                    UpgradeRequest { start, length: if partly { 1 + number % new } else { new } }
                });
                let end = upgrade.map_or(mine.length(), |upgrade| upgrade.start + upgrade.length);
                let block_at = number % end;
                let at = Position::of_block(block_at).unwrap();
                let nodes = missing_nodes(at, mine.length(), &my_nodes).unwrap();
                let node = match kind {
                    0 | 1 => Some(NodeRequest::Block { block: block_at, nodes }),
                    2 => Some(NodeRequest::Hash { position: at, nodes }),
                    _ => None,
                };
                let seek = (kind == 3).then(|| SeekRequest { bytes: number % theirs.byte_length(), padding: 0 });
                let request = ProofRequest { node, seek, upgrade };
                let proof = create_proof(&theirs, &signature, 0, &request, &their_nodes).unwrap();
                let value = (kind < 2).then(|| block(block_at));
                let verified = verify_proof(&mine, &verifier, &proof, value.as_deref(), &my_nodes).unwrap();
                my_nodes.extend(verified.nodes);
                if let Some(upgraded) = verified.upgraded {
                    mine = upgraded.tree;
                }
                prop_assert_eq!(&mine, &theirs);
            }
            for node in my_nodes.iter() {
                prop_assert_eq!(their_nodes.node(node.position).unwrap(), Some(*node));
            }
        }
    }
}
