//! Constants, node hashes, heads and signatures.

use hyper_core::crypto::{self, KeyPair, Namespace};
use hyper_core::manifest::Verifier;
use hyper_core::merkle::{Batch, Tree, TreeNodes, obsolete_parents};

use crate::*;

#[test]
fn constants_keys_and_capabilities_are_the_peers() {
    let vectors = &vectors("core")["constants"];
    let pair = pair();
    assert_eq!(pair.public_key(), hash(&vectors["public_key"]));
    let secret: [u8; 64] = hex(&vectors["secret_key"]).try_into().unwrap();
    assert_eq!(pair.secret_key(), secret);
    assert_eq!(
        KeyPair::from_secret_key(&secret)
            .unwrap()
            .sign(b"message")
            .to_vec(),
        hex(&vectors["signed"])
    );
    let all = [
        Namespace::Tree,
        Namespace::ReplicateInitiator,
        Namespace::ReplicateResponder,
        Namespace::Manifest,
        Namespace::DefaultSigner,
        Namespace::DefaultEncryption,
    ];
    for (namespace, theirs) in all.iter().zip(list(&vectors["namespaces"])) {
        assert_eq!(*namespace.bytes(), hash(theirs));
    }
    let key = hash(&vectors["key"]);
    let handshake: [u8; 64] = hex(&vectors["handshake"]).try_into().unwrap();
    assert_eq!(crypto::discovery_key(&key), hash(&vectors["discovery_key"]));
    assert_eq!(
        crypto::capability(true, &key, &handshake),
        hash(&vectors["capability_initiator"])
    );
    assert_eq!(
        crypto::capability(false, &key, &handshake),
        hash(&vectors["capability_responder"])
    );
}

#[test]
fn every_node_of_a_tree_is_the_peers() {
    let vectors = vectors("core");
    let (_, nodes) = grow(64, 0);
    assert_eq!(nodes.iter().count(), 127);
    for (node, theirs) in nodes.iter().zip(list(&vectors["nodes"])) {
        assert_eq!(
            (node.size, node.hash),
            (uint(&theirs[0]), hash(&theirs[1])),
            "node {}",
            node.position
        );
    }
}

#[test]
fn every_head_is_signed_as_the_peer_signs_it() {
    let vectors = vectors("core");
    let (single, compat) = (single(), Verifier::compat(pair().public_key()));
    assert_eq!(*single.key(), hash(&vectors["single"]["key"]));
    assert_eq!(single.manifest().encode(), hex(&vectors["single"]["manifest"]));
    assert_eq!(*compat.key(), hash(&vectors["compat"]["key"]));
    assert!(compat.is_compat() && !single.is_compat());
    let compat_signatures = list(&vectors["compat"]["signatures"]);
    let mut tree = Tree::empty(0);
    for (head, length) in list(&vectors["single"]["heads"]).iter().zip(1..) {
        let mut batch = Batch::new(tree);
        batch.append(&block(length - 1)).unwrap();
        tree = batch.into_parts().0;
        assert_eq!(
            (tree.length(), tree.hash(), tree.byte_length()),
            (length, hash(&head[0]), uint(&head[1]))
        );
        for (verifier, signature) in [
            (&single, &head[2]),
            (&compat, &compat_signatures[length as usize - 1]),
        ] {
            let signature = hex(signature);
            verifier.verify(&tree, &signature).unwrap();
            assert_eq!(verifier.sign(&tree, &pair()).unwrap(), Some(signature));
        }
        single
            .verify(&tree, &hex(&compat_signatures[length as usize - 1]))
            .unwrap_err();
        compat.verify(&tree, &hex(&head[2])).unwrap_err();
    }
    assert_eq!(tree.length(), 64);
}

#[test]
fn a_large_tree_is_the_peers() {
    let mut batch = Batch::new(Tree::empty(0));
    for head in list(&vectors("core")["large"]) {
        for i in batch.tree().length()..uint(&head["length"]) {
            batch.append(&block(i)).unwrap();
        }
        let tree = batch.tree();
        assert_eq!(
            (tree.hash(), tree.byte_length()),
            (hash(&head["tree"]), uint(&head["bytes"]))
        );
        assert_eq!(
            single().sign(tree, &pair()).unwrap(),
            Some(hex(&head["signature"]))
        );
    }
}

#[test]
fn a_truncated_core_is_a_new_fork_with_the_peers_signature() {
    let vectors = vectors("core");
    let heads = list(&vectors["forked"]);
    let check = |tree: &Tree, head: &Value| {
        assert_eq!(
            (tree.fork(), tree.length()),
            (uint(&head["fork"]), uint(&head["length"]))
        );
        assert_eq!(tree.hash(), hash(&head["tree"]));
        assert_eq!(
            single().sign(tree, &pair()).unwrap(),
            Some(hex(&head["signature"]))
        );
    };
    let (tree, mut nodes) = grow(20, 0);
    check(&tree, &heads[0]);
    let tree = tree.truncate(7, 1, &nodes).unwrap();
    check(&tree, &heads[1]);
    let mut batch = Batch::new(tree);
    for i in 100..103 {
        batch.append(&block(i)).unwrap();
    }
    let (tree, new) = batch.into_parts();
    nodes.extend(new);
    check(&tree, &heads[2]);
    let tree = tree.truncate(4, 9, &nodes).unwrap();
    check(&tree, &heads[3]);
    assert!(tree.truncate(5, 10, &nodes).is_err());
}

#[test]
fn after_a_truncation_only_nodes_of_the_shorter_tree_are_left() {
    for to in 0..40 {
        let (_, mut nodes) = grow(40, 0);
        for at in obsolete_parents(to) {
            assert!(at.index() < 2 * to);
            nodes.remove(at);
        }
        let (_, shorter) = grow(to, 0);
        for node in nodes.iter().filter(|node| node.position.index() < 2 * to) {
            assert_eq!(shorter.node(node.position).unwrap(), Some(*node), "{to}");
        }
    }
}
