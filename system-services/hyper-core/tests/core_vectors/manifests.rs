//! Manifests and the signatures of several signers.

use hyper_core::manifest::{
    InvalidManifest, ManifestFields, MultiSignature, PartialSignature, SignatureError, Signer, default_quorum,
};
use hyper_core::merkle::{ProofRequest, UpgradeRequest, create_proof};
use proptest::prelude::*;

use crate::*;

#[test]
fn manifests_decode_encode_and_hash_as_the_peers() {
    for theirs in list(&vectors("core-manifests")["manifests"]) {
        let encoded = hex(&theirs["encoded"]);
        let manifest = Manifest::decode(&encoded).unwrap();
        assert_eq!(manifest.encode(), encoded);
        assert_eq!(manifest.hash(), hash(&theirs["key"]));
        let fields = manifest.fields();
        assert_eq!(u64::from(fields.version), uint(&theirs["version"]));
        assert_eq!(
            (fields.quorum, fields.signers.len() as u64),
            (uint(&theirs["quorum"]), uint(&theirs["signers"]))
        );
        assert_eq!(fields.allow_patch, theirs["allow_patch"].as_bool().unwrap());
        assert_eq!(
            fields.prologue.as_ref().map(|prologue| prologue.length),
            theirs["prologue"].as_u64()
        );
        assert_eq!(
            fields.linked.as_ref().map(|linked| linked.len() as u64),
            theirs["linked"].as_u64()
        );
        assert_eq!(fields.user_data, theirs.get("user_data").map(hex));
        for cut in 0..encoded.len() {
            assert!(Manifest::decode(&encoded[..cut]).is_err());
        }
    }
}

#[test]
fn a_manifest_belongs_to_its_core_only() {
    let manifest = Manifest::single(pair().public_key());
    assert!(
        !Verifier::new(manifest.hash(), manifest.clone())
            .unwrap()
            .is_compat()
    );
    assert!(
        Verifier::new(pair().public_key(), manifest.clone())
            .unwrap()
            .is_compat()
    );
    assert!(Verifier::new([3; 32], manifest).is_err());
}

#[test]
fn fields_that_contradict_each_other_are_refused() {
    let fields = Manifest::single([1; 32]).fields().clone();
    let refused = |change: fn(&mut ManifestFields)| {
        let mut fields = fields.clone();
        change(&mut fields);
        Manifest::new(fields).unwrap_err()
    };
    assert_eq!(refused(|m| m.version = 4), InvalidManifest::Version(4));
    assert_eq!(
        refused(|m| m.quorum = 2),
        InvalidManifest::Quorum {
            quorum: 2,
            signers: 1
        }
    );
    assert_eq!(
        refused(|m| m.user_data = Some(vec![])),
        InvalidManifest::FieldOfNewerVersion(1)
    );
    assert_eq!(
        refused(|m| m.signers = vec![Signer::new([0; 32]); 1025]),
        InvalidManifest::TooMany
    );
}

#[test]
fn signatures_of_several_signers_hold_when_the_peer_says_so() {
    let (mut held, mut refused) = (0, 0);
    for case in list(&vectors("core-manifests")["multi"]["cases"]) {
        let manifest = Manifest::decode(&hex(&case["manifest"])).unwrap();
        let version = manifest.fields().version;
        let (tree, _) = grow(uint(&case["length"]), 0);
        let signature = hex(&case["signature"]);
        let verifier = Verifier::of_manifest(manifest);
        let holds = case["holds"].as_bool().unwrap();
        assert_eq!(verifier.verify(&tree, &signature).is_ok(), holds, "{case}");
        if version != 0 && !signature.is_empty() {
            assert_eq!(MultiSignature::decode(&signature).unwrap().encode(), signature);
        }
        if holds { held += 1 } else { refused += 1 }
    }
    assert!(held >= 10 && refused >= 10);
}

/// A core with three signers, of whom two must sign.
pub fn three_signers(version: u8, allow_patch: bool) -> (Verifier, [KeyPair; 3]) {
    let pairs = [11, 12, 13].map(|seed| KeyPair::from_seed(&[seed; 32]));
    let manifest = Manifest::new(ManifestFields {
        version,
        allow_patch,
        quorum: default_quorum(3),
        signers: pairs.iter().map(|pair| Signer::new(pair.public_key())).collect(),
        prologue: None,
        linked: None,
        user_data: None,
    });
    (Verifier::of_manifest(manifest.unwrap()), pairs)
}

/// The signature of one who signed `length` blocks, for a tree of `at` blocks.
pub fn part(verifier: &Verifier, pair: &KeyPair, at: u64, length: u64) -> PartialSignature {
    let (tree, nodes) = grow(length, 0);
    let mut part = verifier.sign_part(&tree, pair).unwrap();
    if length == at {
        return PartialSignature {
            part,
            nodes: Vec::new(),
        };
    }
    part.patch = length - at;
    let upgrade = Some(UpgradeRequest {
        start: at,
        length: length - at,
    });
    let proof = create_proof(
        &tree,
        &[],
        0,
        &ProofRequest {
            upgrade,
            ..Default::default()
        },
        &nodes,
    );
    PartialSignature {
        part,
        nodes: proof.unwrap().upgrade.unwrap().nodes,
    }
}

#[test]
fn what_we_assemble_is_what_the_peer_assembles() {
    let vectors = vectors("core-manifests");
    let cases = list(&vectors["multi"]["cases"]);
    let tries: [(u64, &[(usize, u64)]); 7] = [
        (20, &[(0, 20), (1, 20)]),
        (20, &[(2, 20), (0, 20), (1, 20)]),
        (20, &[(1, 20), (1, 20)]),
        (20, &[(1, 20)]),
        (20, &[(0, 20), (1, 20)]),
        (20, &[(0, 20), (1, 33)]),
        (5, &[(0, 33), (2, 37)]),
    ];
    let manifests = [(0, false), (0, true), (1, false), (1, true)];
    for ((version, allow_patch), cases) in manifests.into_iter().zip(cases.chunks(7)) {
        let (verifier, pairs) = three_signers(version, allow_patch);
        for ((at, signed), case) in tries.iter().zip(cases) {
            assert_eq!(verifier.manifest().encode(), hex(&case["manifest"]));
            let parts: Vec<_> = signed
                .iter()
                .map(|(who, length)| part(&verifier, &pairs[*who], *at.min(length), *length))
                .collect();
            // The sixth and seventh are patched: there `at` is the tree at hand.
            assert_eq!(verifier.assemble(&parts), hex(&case["signature"]));
        }
    }
}

#[test]
fn who_signs_twice_or_not_at_all_does_not_count() {
    let (verifier, pairs) = three_signers(1, true);
    let (tree, _) = grow(20, 0);
    let one = part(&verifier, &pairs[1], 20, 20);
    let twice = verifier.assemble(&[one.clone(), one.clone()]);
    assert_eq!(
        verifier.verify(&tree, &twice),
        Err(SignatureError::SignedTwice(1))
    );
    let mut stranger = one.clone();
    stranger.part.signer = 3;
    let strange = verifier.assemble(&[stranger, one.clone()]);
    assert_eq!(
        verifier.verify(&tree, &strange),
        Err(SignatureError::UnknownSigner(3))
    );
    let alone = verifier.assemble(&[one]);
    assert_eq!(
        verifier.verify(&tree, &alone),
        Err(SignatureError::Quorum {
            signatures: 1,
            quorum: 2
        })
    );
    assert_eq!(verifier.sign(&tree, &pairs[0]), Ok(None));
    assert!(verifier.sign(&tree, &pair()).is_err());
}

proptest! {
    #[test]
    fn damaged_manifests_and_signatures_never_panic(which in 0..100usize, at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let vectors = vectors("core-manifests");
        let manifests = list(&vectors["manifests"]);
        let mut bytes = hex(&manifests[which % manifests.len()]["encoded"]);
        let at_byte = at.index(bytes.len());
        bytes[at_byte] = byte;
        if let Ok(manifest) = Manifest::decode(&bytes) {
            prop_assert_eq!(Manifest::decode(&manifest.encode()), Ok(manifest));
        }
        let cases = list(&vectors["multi"]["cases"]);
        let case = &cases[which % (cases.len() - 4)];
        let mut bytes = hex(&case["signature"]);
        let at_byte = at.index(bytes.len());
        bytes[at_byte] = byte;
        bytes.truncate(cut.index(bytes.len() + 200).max(1));
        let verifier = Verifier::of_manifest(Manifest::decode(&hex(&case["manifest"])).unwrap());
        let _ = verifier.verify(&grow(uint(&case["length"]), 0).0, &bytes);
    }

    #[test]
    fn any_bytes_are_a_manifest_or_an_error(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Manifest::decode(&bytes);
        let _ = MultiSignature::decode(&bytes);
        let _ = MultiSignature::decode_version_0(&bytes);
    }
}
