//! Signatures that must be refused, each with its own reason.

#![allow(clippy::unwrap_used, missing_docs)]

mod cms_support;

use bundle::cms::{CmsError, PurposeError, UnixTime, is_enveloped, read_unverified, verify};
use bundle::keyring::{Keyring, KeyringError, Revocation};
use bundle::sign::{SignError, SigningIdentity};
use cms_support::*;
use rcgen::{
    BasicConstraints, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
};

/// The error must be of this variant, and its sentence more than a word.
macro_rules! refused {
    ($result:expr, $pattern:pat $(if $guard:expr)?) => {{
        let error = $result.unwrap_err();
        assert!(matches!(&error, $pattern $(if $guard)?), "{error:?}");
        let sentence = error.to_string();
        assert!(sentence.len() > 20, "{sentence}");
    }};
}

#[test]
fn a_good_signature_gives_the_content_and_the_signer() {
    let family = Family::new();
    let signed = verify(&family.signed(), &family.root.keyring(), NOW).unwrap();
    assert_eq!(signed.content, CONTENT);
    assert_eq!(signed.signer.subject, "CN=Test signer");
    assert_eq!(signed.signer.issuer, "CN=Test intermediate");
    assert_eq!(signed.signer.serial, "1234");
    assert_eq!(signed.signer.signing_time, Some(NOW.0));
    assert_eq!(signed.signer.not_after, 1_798_761_600);
    assert_eq!(read_unverified(&family.signed()).unwrap(), signed);
}

#[test]
fn a_leaf_directly_below_the_root_is_enough() {
    let family = Family::new();
    let leaf = family.root.leaf(leaf_params("Direct"));
    assert!(verify(&signed(&leaf, ""), &family.root.keyring(), NOW).is_ok());
}

#[test]
fn old_and_new_roots_are_trusted_side_by_side_and_only_while_in_the_keyring() {
    let (old, new) = (Family::new(), Family::new());
    let new_named = root(authority_params("Root of 2027"));
    let leaf = new_named.leaf(leaf_params("Next signer"));
    let both = old.root.keyring().merge(new_named.keyring());
    assert_eq!(both.subjects().count(), 2);
    assert!(verify(&old.signed(), &both, NOW).is_ok());
    assert!(verify(&signed(&leaf, ""), &both, NOW).is_ok());
    refused!(
        verify(&old.signed(), &new_named.keyring(), NOW),
        CmsError::UnknownIssuer { .. }
    );
    // Two roots with one name and different keys, in one PEM.
    let same_name = Keyring::from_pem(&(old.root.pem.clone() + "\n" + &new.root.pem)).unwrap();
    assert!(verify(&old.signed(), &same_name, NOW).is_ok());
    assert!(verify(&new.signed(), &same_name, NOW).is_ok());
}

#[test]
fn a_wrong_root_is_refused_whatever_its_name() {
    let family = Family::new();
    let stranger = root(authority_params("Somebody else"));
    refused!(
        verify(&family.signed(), &stranger.keyring(), NOW),
        CmsError::UnknownIssuer { issuer, .. } if issuer == "CN=Test root"
    );
    let namesake = root(authority_params("Test root"));
    refused!(
        verify(&family.signed(), &namesake.keyring(), NOW),
        CmsError::NotIssuedByNamed { .. }
    );
}

#[test]
fn a_missing_intermediate_is_refused_by_its_name() {
    let family = Family::new();
    refused!(
        verify(&signed(&family.leaf, ""), &family.root.keyring(), NOW),
        CmsError::UnknownIssuer { issuer, .. } if issuer == "CN=Test intermediate"
    );
}

#[test]
fn certificates_count_only_while_they_are_valid() {
    let family = Family::new();
    let (before, after) = (UnixTime(1_700_000_000), UnixTime(1_900_000_000));
    refused!(
        verify(&family.signed(), &family.root.keyring(), after),
        CmsError::Expired { subject, not_after: 1_798_761_600, .. } if subject == "CN=Test signer"
    );
    refused!(
        verify(&family.signed(), &family.root.keyring(), before),
        CmsError::NotYetValid {
            not_before: 1_767_225_600,
            ..
        }
    );

    let mut params = leaf_params("Old signer");
    params.not_after = date_time_ymd(2026, 2, 1);
    let der = family.sign_with(&family.middle.leaf(params));
    refused!(verify(&der, &family.root.keyring(), NOW), CmsError::Expired { subject, .. } if subject == "CN=Old signer");

    let mut params = leaf_params("Early signer");
    params.not_before = date_time_ymd(2026, 12, 1);
    let der = family.sign_with(&family.middle.leaf(params));
    refused!(verify(&der, &family.root.keyring(), NOW), CmsError::NotYetValid { subject, .. } if subject == "CN=Early signer");

    let mut params = authority_params("Old intermediate");
    params.not_after = date_time_ymd(2026, 2, 2);
    let middle = family.root.intermediate(params);
    let der = signed(&middle.leaf(leaf_params("Signer")), &middle.pem);
    refused!(verify(&der, &family.root.keyring(), NOW), CmsError::Expired { subject, .. } if subject == "CN=Old intermediate");
}

#[test]
fn an_expired_root_is_refused_though_webpki_would_take_it() {
    let mut params = authority_params("Old root");
    params.not_after = date_time_ymd(2026, 2, 3);
    let root = root(params);
    let der = signed(&root.leaf(leaf_params("Signer")), "");
    refused!(verify(&der, &root.keyring(), NOW), CmsError::Expired { subject, .. } if subject == "CN=Old root");
}

#[test]
fn revocation_is_enforced_for_leaf_and_intermediate() {
    let family = Family::new();
    let der = family.signed();
    let good = family.middle.crl((2026, 5), (2026, 8), &[0x99]);
    let keyring = || family.root.keyring();
    assert!(verify(&der, &keyring().with_crls(&good).unwrap(), NOW).is_ok());

    let revoked = family.middle.crl((2026, 5), (2026, 8), &[0x1234]);
    refused!(
        verify(&der, &keyring().with_crls(&revoked).unwrap(), NOW),
        CmsError::Revoked { serial, subject } if serial == "1234" && subject == "CN=Test signer"
    );
    // Neither an older list that knew nothing nor the order of the files helps.
    let older = family.middle.crl((2026, 4), (2026, 8), &[]);
    for lists in [format!("{revoked}{older}"), format!("{older}{revoked}")] {
        refused!(
            verify(&der, &keyring().with_crls(&lists).unwrap(), NOW),
            CmsError::Revoked { .. }
        );
    }
    let mut params = authority_params("Compromised intermediate");
    params.serial_number = Some(SerialNumber::from(0x77));
    let middle = family.root.intermediate(params);
    let der = signed(&middle.leaf(leaf_params("Signer")), &middle.pem);
    let list = family.root.crl((2026, 5), (2026, 8), &[0x77]);
    refused!(
        verify(&der, &keyring().with_crls(&list).unwrap(), NOW),
        CmsError::Revoked { subject, .. } if subject == "CN=Compromised intermediate"
    );
}

#[test]
fn a_revocation_list_must_be_in_force_and_its_issuers() {
    let family = Family::new();
    let der = family.signed();
    let expired = family.middle.crl((2026, 1), (2026, 2), &[]);
    refused!(
        verify(&der, &family.root.keyring().with_crls(&expired).unwrap(), NOW),
        CmsError::CrlExpired {
            next_update: 1_769_904_000,
            ..
        }
    );
    let forged = root(authority_params("Test intermediate")).crl((2026, 5), (2026, 8), &[]);
    refused!(
        verify(&der, &family.root.keyring().with_crls(&forged).unwrap(), NOW),
        CmsError::CrlInvalid { .. }
    );
}

#[test]
fn a_required_revocation_list_must_be_there_for_every_issuer() {
    let family = Family::new();
    let der = family.signed();
    let of_middle = family.middle.crl((2026, 5), (2026, 8), &[]);
    let of_root = family.root.crl((2026, 5), (2026, 8), &[]);
    let keyring = || family.root.keyring().with_revocation(Revocation::Required);
    refused!(verify(&der, &keyring(), NOW), CmsError::CrlMissing { issuer } if issuer == "CN=Test intermediate");
    refused!(
        verify(&der, &keyring().with_crls(&of_middle).unwrap(), NOW),
        CmsError::CrlMissing { issuer } if issuer == "CN=Test root"
    );
    assert!(verify(&der, &keyring().with_crls(&(of_middle + &of_root)).unwrap(), NOW).is_ok());
}

/// The signature of a good leaf, with its certificate replaced by one for the same key that says something else: ours
/// refuses to sign with such a one.
fn replaced(family: &Family, change: impl FnOnce(&mut rcgen::CertificateParams)) -> Vec<u8> {
    use cms::cert::CertificateChoices;
    use cms::cert::x509::Certificate;
    use cms::cert::x509::der::{Any, Decode, DecodePem, Encode};
    use cms::content_info::ContentInfo;
    use cms::signed_data::{CertificateSet, SignedData};

    let mut params = leaf_params("Test signer");
    change(&mut params);
    let key = KeyPair::from_pem(&family.leaf.key).unwrap();
    let pem = params.signed_by(&key, &family.middle.issuer).unwrap().pem();
    let info = ContentInfo::from_der(&family.signed()).unwrap();
    let mut signed: SignedData = info.content.decode_as().unwrap();
    let certificates = [&pem, &family.middle.pem]
        .map(|pem| CertificateChoices::Certificate(Certificate::from_pem(pem).unwrap()));
    signed.certificates = Some(CertificateSet(certificates.to_vec().try_into().unwrap()));
    ContentInfo {
        content: Any::encode_from(&signed).unwrap(),
        ..info
    }
    .to_der()
    .unwrap()
}

#[test]
fn a_leaf_for_another_purpose_is_refused() {
    let family = Family::new();
    let purpose = |change: fn(&mut rcgen::CertificateParams)| match verify(
        &replaced(&family, change),
        &family.root.keyring(),
        NOW,
    ) {
        Err(CmsError::Purpose { problem, .. }) => problem,
        other => panic!("{other:?}"),
    };
    use ExtendedKeyUsagePurpose::{Any, CodeSigning, ServerAuth};
    assert_eq!(
        purpose(|p| p.extended_key_usages = vec![ServerAuth]),
        PurposeError::NoCodeSigning
    );
    assert_eq!(
        purpose(|p| p.extended_key_usages = vec![]),
        PurposeError::NoExtendedKeyUsage
    );
    assert_eq!(
        purpose(|p| p.extended_key_usages = vec![Any]),
        PurposeError::AnyPurpose
    );
    assert_eq!(
        purpose(|p| p.extended_key_usages = vec![CodeSigning, Any]),
        PurposeError::AnyPurpose
    );
    assert_eq!(purpose(|p| p.key_usages = vec![]), PurposeError::NoKeyUsage);
    assert_eq!(
        purpose(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]),
        PurposeError::NoDigitalSignature
    );
    assert_eq!(
        purpose(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
        PurposeError::Authority
    );
    assert!(verify(&replaced(&family, |_| {}), &family.root.keyring(), NOW).is_ok());
}

#[test]
fn an_issuer_that_may_not_issue_is_refused() {
    let family = Family::new();
    let check = |params| {
        let middle = family.root.intermediate(params);
        verify(
            &signed(&middle.leaf(leaf_params("Signer")), &middle.pem),
            &family.root.keyring(),
            NOW,
        )
    };
    let mut no_sign = authority_params("M");
    no_sign.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    refused!(check(no_sign), CmsError::Issuer { .. });
    let mut no_authority = authority_params("M");
    no_authority.is_ca = IsCa::ExplicitNoCa;
    refused!(check(no_authority), CmsError::Issuer { .. });
    let mut other_purpose = authority_params("M");
    other_purpose.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    refused!(check(other_purpose), CmsError::Issuer { .. });

    let mut short = authority_params("Short root");
    short.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    let root = root(short);
    let middle = root.intermediate(authority_params("M"));
    let der = signed(&middle.leaf(leaf_params("Signer")), &middle.pem);
    refused!(verify(&der, &root.keyring(), NOW), CmsError::Issuer { .. });
}

#[test]
fn every_flipped_bit_is_refused() {
    let family = Family::new();
    let der = family.signed();
    let keyring = family.root.keyring();
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut flipped = der.clone();
            flipped[at] ^= 1 << bit;
            assert!(verify(&flipped, &keyring, NOW).is_err(), "bit {bit} of byte {at}");
        }
    }
}

#[test]
fn a_flipped_bit_is_refused_by_the_check_of_its_region() {
    let family = Family::new();
    let der = family.signed();
    let keyring = family.root.keyring();
    let flip = |at: usize| {
        let mut flipped = der.clone();
        flipped[at] ^= 1;
        verify(&flipped, &keyring, NOW)
    };
    let find = |needle: &[u8]| {
        der.windows(needle.len())
            .position(|window| window == needle)
            .unwrap()
    };
    refused!(flip(find(CONTENT) + 10), CmsError::DigestMismatch);
    // The signing time "260528202640Z" is an attribute; its last second becomes another one.
    refused!(flip(find(b"260528202640Z") + 11), CmsError::BadSignature { .. });
    // The signature is the end of the file.
    refused!(flip(der.len() - 1), CmsError::BadSignature { .. });
    // In the name of the leaf, which its issuer signed.
    refused!(flip(find(b"Test signer") + 3), CmsError::NotIssuedByNamed { .. });
}

#[test]
fn every_cut_is_refused_as_cut_and_every_addition_as_such() {
    let family = Family::new();
    let der = family.signed();
    let keyring = family.root.keyring();
    for length in 0..der.len() {
        refused!(verify(&der[..length], &keyring, NOW), CmsError::Truncated);
    }
    for extra in [1, 7, 4096] {
        let mut longer = der.clone();
        longer.resize(der.len() + extra, 0);
        refused!(verify(&longer, &keyring, NOW), CmsError::TrailingBytes { count } if *count == extra);
    }
}

#[test]
fn endless_parts_and_depths_are_refused_quickly() {
    let family = Family::new();
    let set = |content: &[u8]| {
        let mut der = vec![0x31, 0x82];
        der.extend(u16::try_from(content.len()).unwrap().to_be_bytes());
        der.extend(content);
        der
    };
    refused!(
        verify(&set(&[5, 0].repeat(20_000)), &family.root.keyring(), NOW),
        CmsError::TooComplex
    );
    let deep = (0..40).fold(vec![5, 0], |inner, _| {
        let mut outer = vec![0x30, u8::try_from(inner.len()).unwrap()];
        outer.extend(inner);
        outer
    });
    refused!(verify(&deep, &family.root.keyring(), NOW), CmsError::TooComplex);
    assert!(!is_enveloped(&deep));
}

#[test]
fn a_keyring_says_what_is_wrong_with_it() {
    let family = Family::new();
    assert!(matches!(Keyring::from_pem("nothing"), Err(KeyringError::Empty)));
    assert!(matches!(
        Keyring::from_pem(&family.leaf.pem),
        Err(KeyringError::NotAnAuthority { .. })
    ));
    assert!(matches!(
        Keyring::from_pem(&family.leaf.key),
        Err(KeyringError::WrongKind { .. })
    ));
    let cut = &family.root.pem[..200];
    assert!(matches!(Keyring::from_pem(cut), Err(KeyringError::Pem(_))));
    assert!(matches!(
        family.root.keyring().with_crls(""),
        Err(KeyringError::NoCrl)
    ));
    let crl = family.root.crl((2026, 5), (2026, 8), &[]);
    assert!(matches!(
        Keyring::from_pem(&crl),
        Err(KeyringError::WrongKind { .. })
    ));
}

#[test]
fn an_identity_says_what_is_wrong_with_it() {
    let family = Family::new();
    let other = family.middle.leaf(leaf_params("Other"));
    let of = |key: &str, certificate: &str| SigningIdentity::from_pem(key, certificate).err().unwrap();
    assert!(matches!(
        of(&family.leaf.key, &other.pem),
        SignError::KeyMismatch { .. }
    ));
    assert!(matches!(of(&family.leaf.key, ""), SignError::NoCertificate));
    assert!(matches!(of("", &other.pem), SignError::KeyCount { count: 0 }));
    assert!(matches!(
        of(&family.leaf.pem, &other.pem),
        SignError::KeyCount { count: 0 }
    ));
    let server = {
        let mut params = leaf_params("Server");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        family.middle.leaf(params)
    };
    assert!(matches!(of(&server.key, &server.pem), SignError::Purpose { .. }));
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519)
        .unwrap()
        .serialize_pem();
    assert!(matches!(of(&ed25519, &other.pem), SignError::WrongKeyKind { .. }));
    let p384 = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P384_SHA384)
        .unwrap()
        .serialize_pem();
    assert!(matches!(of(&p384, &other.pem), SignError::WrongKeyKind { kind } if kind.contains("384")));
}
