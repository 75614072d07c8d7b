//! Proofs of the peer: ours are equal, and theirs verify.

use hyper_core::flat_tree::{Position, roots};
use hyper_core::merkle::{
    Node, NodeProof, NodeRequest, Proof, ProofRequest, SeekProof, SeekRequest, TreeNodes, UpgradeProof,
    UpgradeRequest, Verified, VerifyError, create_proof, verify_alone, verify_proof,
};

use crate::*;

fn position(value: &Value) -> Position {
    Position::new(uint(value)).unwrap()
}

fn request(case: &Value) -> ProofRequest {
    let part = |key: &str| case.get(key);
    let block = part("block").map(|p| NodeRequest::Block {
        block: uint(&p["index"]),
        nodes: uint(&p["nodes"]),
    });
    let hash = part("hash").map(|p| NodeRequest::Hash {
        position: position(&p["index"]),
        nodes: uint(&p["nodes"]),
    });
    ProofRequest {
        node: block.or(hash),
        seek: part("seek").map(|p| SeekRequest {
            bytes: uint(&p["bytes"]),
            padding: uint(&p["padding"]),
        }),
        upgrade: part("upgrade").map(|p| UpgradeRequest {
            start: uint(&p["start"]),
            length: uint(&p["length"]),
        }),
    }
}

/// The peer's proof, which names nodes by their place.
fn theirs(request: &ProofRequest, proof: &Value, signature: &[u8], nodes: &MemoryNodes) -> Proof {
    let read = |list_of: &Value| -> Vec<Node> {
        list(list_of)
            .iter()
            .map(|at| nodes.node(position(at)).unwrap().unwrap())
            .collect()
    };
    let node = request.node.map(|asked| match asked {
        NodeRequest::Block { block, .. } => NodeProof::Block {
            block,
            nodes: read(&proof["block"]),
        },
        NodeRequest::Hash { position, .. } => NodeProof::Hash {
            position,
            nodes: read(&proof["hash"]),
        },
    });
    let seek = proof.get("seek").map(|seek| SeekProof {
        bytes: request.seek.unwrap().bytes,
        nodes: read(seek),
    });
    let upgrade = proof.get("upgrade").map(|upgrade| UpgradeProof {
        start: request.upgrade.unwrap().start,
        length: request.upgrade.unwrap().length,
        nodes: read(&upgrade["nodes"]),
        additional_nodes: read(&upgrade["additional"]),
        signature: signature.to_vec(),
    });
    Proof {
        fork: 0,
        node,
        seek,
        upgrade,
    }
}

fn value_of(proof: &Proof) -> Option<Vec<u8>> {
    match proof.node {
        Some(NodeProof::Block { block: i, .. }) => Some(block(i)),
        _ => None,
    }
}

/// What one has who holds all of a tree.
fn verify(have: u64, proof: &Proof) -> Result<Verified, VerifyError> {
    let (tree, nodes) = grow(have, 0);
    verify_proof(&tree, &single(), proof, value_of(proof).as_deref(), &nodes)
}

/// The length of the asker's tree. `None`: nobody asks so, because the proof leads to a node that the asker cannot have.
fn asker(request: &ProofRequest, tree: u64) -> Option<u64> {
    let have = request.upgrade.map_or(tree, |upgrade| upgrade.start);
    let (at, levels) = match request.node {
        Some(NodeRequest::Block { block, nodes }) => (Position::of_block(block).unwrap(), nodes),
        Some(NodeRequest::Hash { position, nodes }) => (position, nodes),
        None => return Some(have),
    };
    let root = (0..levels).fold(at, |at, _| at.parent().unwrap());
    (at.first_block() >= have || root.end_block() <= have).then_some(have)
}

/// The peer (11.37.1) loses count of bytes behind the first root, and then leaves a seek beside a node unanswered.
fn peer_loses_the_seek(request: &ProofRequest, tree: u64) -> bool {
    let first = roots(tree).next().unwrap();
    let at = match request.node {
        Some(NodeRequest::Block { block, .. }) => Position::of_block(block).unwrap(),
        Some(NodeRequest::Hash { position, .. }) => position,
        None => return false,
    };
    request.seek.is_some() && !first.contains(at)
}

fn cases(mut each: impl FnMut(u64, &ProofRequest, Result<Proof, String>, Option<Proof>)) {
    let vectors = vectors("core");
    for case in list(&vectors["single"]["proofs"]) {
        let length = uint(&case["tree"]);
        let request = request(case);
        let signature = hex(&vectors["single"]["heads"][length as usize - 1][2]);
        let (tree, nodes) = grow(length, 0);
        let ours = create_proof(&tree, &signature, 0, &request, &nodes);
        let theirs = (!case["proof"].is_null()).then(|| theirs(&request, &case["proof"], &signature, &nodes));
        each(length, &request, ours.map_err(|error| error.to_string()), theirs);
    }
}

#[test]
fn our_proofs_are_the_peers_and_we_refuse_what_it_refuses() {
    let mut made = 0;
    cases(|length, request, ours, theirs| {
        if peer_loses_the_seek(request, length) {
            return;
        }
        made += usize::from(theirs.is_some());
        assert_eq!(
            ours.as_ref().ok(),
            theirs.as_ref(),
            "{length} {request:?} {ours:?}"
        );
    });
    assert!(made > 150, "{made}");
}

#[test]
fn the_peers_proofs_verify_and_lead_to_its_tree() {
    cases(|length, request, _, theirs| {
        let (Some(proof), Some(have)) = (theirs, asker(request, length)) else {
            return;
        };
        let verified = verify(have, &proof).unwrap();
        let (tree, nodes) = grow(length, 0);
        assert_eq!(verified.upgraded.is_some(), request.upgrade.is_some());
        if let Some(upgraded) = verified.upgraded {
            assert_eq!(upgraded.tree, tree);
        }
        for node in verified.nodes {
            assert_eq!(nodes.node(node.position).unwrap(), Some(node));
        }
    });
}

#[test]
fn a_proof_of_which_any_part_is_changed_is_refused() {
    cases(|length, request, _, theirs| {
        let (Some(proof), Some(have)) = (theirs, asker(request, length)) else {
            return;
        };
        for change in 0.. {
            let mut changed = proof.clone();
            let Some(node) = nodes_of(&mut changed).into_iter().nth(change) else {
                break;
            };
            node.hash[0] ^= 1;
            assert!(verify(have, &changed).is_err(), "{request:?}");
            let mut changed = proof.clone();
            nodes_of(&mut changed)[change].position = Position::new(1000).unwrap();
            assert!(verify(have, &changed).is_err(), "{request:?}");
        }
        if let Some(value) = value_of(&proof) {
            let (tree, nodes) = grow(have, 0);
            let mut wrong = value.clone();
            wrong[0] ^= 1;
            verify_proof(&tree, &single(), &proof, Some(&wrong), &nodes).unwrap_err();
            verify_proof(&tree, &single(), &proof, None, &nodes).unwrap_err();
        }
        let other_fork = Proof {
            fork: 1,
            ..proof.clone()
        };
        assert!(matches!(
            verify(have, &other_fork),
            Err(VerifyError::OtherFork { ours: 0, theirs: 1 })
        ));
        if let Some(upgrade) = &proof.upgrade {
            let mut forged = proof.clone();
            forged.upgrade = Some(UpgradeProof {
                signature: vec![0; 68],
                ..upgrade.clone()
            });
            assert!(matches!(
                verify(have, &forged),
                Err(VerifyError::Signature { .. })
            ));
        }
    });
}

fn nodes_of(proof: &mut Proof) -> Vec<&mut Node> {
    let mut out = Vec::new();
    match &mut proof.node {
        Some(NodeProof::Block { nodes, .. } | NodeProof::Hash { nodes, .. }) => out.extend(nodes.iter_mut()),
        None => {}
    }
    out.extend(proof.seek.iter_mut().flat_map(|seek| seek.nodes.iter_mut()));
    if let Some(upgrade) = &mut proof.upgrade {
        out.extend(
            upgrade
                .nodes
                .iter_mut()
                .chain(upgrade.additional_nodes.iter_mut()),
        );
    }
    out
}

#[test]
fn a_proof_from_the_start_stands_alone() {
    let (tree, nodes) = grow(21, 0);
    let signature = single().sign(&tree, &pair()).unwrap().unwrap();
    let whole = Some(UpgradeRequest { start: 0, length: 21 });
    for i in 0..21 {
        let request = ProofRequest {
            node: Some(NodeRequest::Block { block: i, nodes: 0 }),
            seek: None,
            upgrade: whole,
        };
        let proof = create_proof(&tree, &signature, 0, &request, &nodes).unwrap();
        let verified = verify_alone(&single(), &proof, Some(&block(i))).unwrap();
        assert_eq!(verified.upgraded.unwrap().tree, tree);
        assert!(verify_alone(&single(), &proof, Some(&block(i + 1))).is_err());
        let without = Proof {
            upgrade: None,
            ..proof
        };
        assert!(matches!(
            verify_alone(&single(), &without, Some(&block(i))),
            Err(VerifyError::NotStored(_))
        ));
    }
}

#[test]
fn an_answer_that_comes_when_the_tree_has_grown_is_refused_or_used_but_never_wrong() {
    let (tree, nodes) = grow(37, 0);
    let signature = single().sign(&tree, &pair()).unwrap().unwrap();
    for start in 0..37 {
        for end in start + 1..=37 {
            let upgrade = Some(UpgradeRequest {
                start,
                length: end - start,
            });
            let proof = create_proof(
                &tree,
                &signature,
                0,
                &ProofRequest {
                    upgrade,
                    ..Default::default()
                },
                &nodes,
            )
            .unwrap();
            for have in [0, 1, 5, 8, 20, 36, 37] {
                if let Ok(Verified {
                    upgraded: Some(upgraded),
                    ..
                }) = verify(have, &proof)
                {
                    assert_eq!(upgraded.tree, tree);
                }
            }
            assert!(verify(start, &proof).unwrap().upgraded.is_some());
        }
    }
}

#[test]
fn roots_that_are_not_stored_are_named() {
    let (tree, mut nodes) = grow(21, 0);
    let root = roots(21).next().unwrap();
    nodes.remove(root);
    let upgrade = Some(UpgradeRequest { start: 0, length: 21 });
    let error = create_proof(
        &tree,
        &[],
        0,
        &ProofRequest {
            upgrade,
            ..Default::default()
        },
        &nodes,
    )
    .unwrap_err();
    assert!(error.to_string().contains("node 15 "), "{error}");
}
