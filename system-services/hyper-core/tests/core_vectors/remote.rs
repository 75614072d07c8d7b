//! Proofs as messages, and cores that start with a prologue.

use hyper_core::crypto;
use hyper_core::merkle::{
    Proof, ProofRequest, UpgradeProof, UpgradeRequest, VerifyError, create_proof, verify_alone, verify_proof,
};
use hyper_core::messages::{self, Data, EncodedManifest, Message};
use proptest::prelude::*;

use crate::*;

const DATA: u64 = 3;

fn data(bytes: &[u8]) -> Data {
    match Message::decode(DATA, bytes) {
        Ok(Some(Message::Data(data))) => data,
        other => panic!("{other:?}"),
    }
}

/// What one does who gets the message and knows nothing but the core's key.
fn verify(key: [u8; 32], data: &Data) -> Option<(Tree, Option<Vec<u8>>)> {
    let EncodedManifest(manifest) = data.manifest.as_ref()?;
    let verifier = Verifier::new(key, Manifest::decode(manifest).ok()?).ok()?;
    let value = data.block.as_ref().map(|block| block.value.clone());
    let verified = verify_alone(&verifier, &Proof::try_from(data.clone()).ok()?, value.as_deref()).ok()?;
    Some((verified.upgraded?.tree, value))
}

#[test]
fn the_peers_message_stands_alone_and_ours_is_the_same_bytes() {
    let bytes = hex(&vectors("core")["remote"]["alone"]);
    let (discovery_key, message) = bytes.split_at(32);
    assert_eq!(crypto::discovery_key(single().key()), discovery_key);
    let theirs = data(message);
    let (tree, nodes) = grow(21, 0);
    assert_eq!(
        verify(*single().key(), &theirs),
        Some((tree.clone(), Some(block(5))))
    );

    let asked = messages::Request {
        id: 0,
        fork: 0,
        block: Some(messages::RequestNode { index: 5, nodes: 0 }),
        hash: None,
        seek: None,
        upgrade: Some(messages::RequestUpgrade { start: 0, length: 21 }),
        manifest: true,
        priority: messages::Priority::NORMAL,
    };
    let signature = single().sign(&tree, &pair()).unwrap().unwrap();
    let request = ProofRequest::try_from(&asked).unwrap();
    let proof = create_proof(&tree, &signature, 0, &request, &nodes).unwrap();
    let ours = proof
        .into_data(0, Some(single().manifest()), |i| Ok::<_, ()>(block(i)))
        .unwrap();
    assert_eq!(Message::Data(ours).encode(), message);
}

#[test]
fn a_node_that_no_core_has_is_refused() {
    let bytes = hex(&vectors("core")["remote"]["alone"]);
    let mut data = data(&bytes[32..]);
    data.upgrade.as_mut().unwrap().nodes[0].index = messages::MAX_UINT;
    assert!(Proof::try_from(data).is_err());
}

#[test]
fn a_prologue_is_given_whole_and_must_be_that_of_the_manifest() {
    let vectors = &vectors("core")["remote"]["prologue"];
    let manifest = Manifest::decode(&hex(&vectors["manifest"])).unwrap();
    let verifier = Verifier::new(hash(&vectors["key"]), manifest).unwrap();
    assert_eq!(verifier.prologue().unwrap().length, 10);
    let (tree, nodes) = grow(14, 0);
    let indices = |nodes: &[hyper_core::merkle::Node]| -> Value {
        nodes.iter().map(|node| node.position.index()).collect()
    };
    for case in list(&vectors["proofs"]) {
        let asked = UpgradeRequest {
            start: uint(&case["asked"][0]),
            length: uint(&case["asked"][1]),
        };
        let request = ProofRequest {
            upgrade: Some(asked),
            ..Default::default()
        };
        let proof = create_proof(&tree, &hex(&case["signature"]), 10, &request, &nodes).unwrap();
        let upgrade = proof.upgrade.as_ref().unwrap();
        assert_eq!(
            (upgrade.start, upgrade.length),
            (uint(&case["start"]), uint(&case["length"]))
        );
        assert_eq!(indices(&upgrade.nodes), case["nodes"]);
        assert_eq!(indices(&upgrade.additional_nodes), case["additional"]);
        let (have, have_nodes) = grow(upgrade.start, 0);
        let verified = verify_proof(&have, &verifier, &proof, None, &have_nodes).unwrap();
        assert_eq!(verified.upgraded.unwrap().tree, tree);

        let (other, other_nodes) = grow_with(14, 0, |i| block(i + 1));
        if upgrade.start == 0 {
            let lie = create_proof(&other, &upgrade.signature, 10, &request, &other_nodes).unwrap();
            assert!(matches!(
                verify_alone(&verifier, &lie, None),
                Err(VerifyError::Prologue(10))
            ));
            let part = UpgradeProof {
                start: 0,
                length: 9,
                ..upgrade.clone()
            };
            let part = Proof {
                upgrade: Some(part),
                ..Proof::default()
            };
            assert!(matches!(
                verify_alone(&verifier, &part, None),
                Err(VerifyError::Prologue(10))
            ));
        }
    }
}

proptest! {
    /// The target of a fuzzer: whatever a peer sends is refused or true, and nothing panics or runs long.
    #[test]
    fn a_damaged_message_proves_nothing_false(places in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4), cut in 0..400usize) {
        let mut bytes = hex(&vectors("core")["remote"]["alone"]).split_off(32);
        for (place, byte) in places {
            let at = place.index(bytes.len());
            bytes[at] = byte;
        }
        bytes.truncate(bytes.len().min(cut * 8 + 1));
        if let Ok(Some(Message::Data(data))) = Message::decode(DATA, &bytes)
            && let Some((tree, value)) = verify(*single().key(), &data)
        {
            prop_assert_eq!(tree, grow(21, 0).0);
            let at = data.block.as_ref().map(|block| block.index);
            prop_assert_eq!(value, at.map(block));
        }
    }
}
