//! Index files as a hostile or careless server may give them.
#![allow(missing_docs, clippy::unwrap_used)]

use bundle::cms::CmsError;
use bundle::keyring::KeyringError;
use bundle::sign::{SigningIdentity, sign};
use channel::{ChannelName, Index, MAX_FILE, OpenError, Trust, UnixTime, open};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// 2026-08-31.
const NOW: UnixTime = UnixTime(1_788_185_100);
const SIGNER_SERIAL: u64 = 77;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = params(name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    fn signer(&self, serial: u64) -> SigningIdentity {
        let mut params = params("Signer");
        params.serial_number = Some(SerialNumber::from(serial));
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap().pem();
        SigningIdentity::from_pem(&key.serialize_pem(), &certificate).unwrap()
    }

    /// In force from one month of 2026 to another.
    fn crl(&self, from: u8, to: u8, revoked: &[u64]) -> String {
        let revoked = revoked.iter().map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(2026, from, 1),
            reason_code: None,
            invalidity_date: None,
        });
        CertificateRevocationListParams {
            this_update: date_time_ymd(2026, from, 1),
            next_update: date_time_ymd(2026, to, 1),
            crl_number: SerialNumber::from(u64::from(from)),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .unwrap()
        .pem()
        .unwrap()
    }
}

fn stable() -> ChannelName {
    ChannelName::parse("stable").unwrap()
}

fn index(crls: Option<String>) -> Index {
    Index {
        crls,
        ..Index::new(stable(), NOW, 86_400)
    }
}

fn sealed(crls: Option<String>, identity: &SigningIdentity) -> Vec<u8> {
    sign(index(crls).to_toml().unwrap().as_bytes(), identity, NOW).unwrap()
}

#[test]
fn what_was_sealed_is_opened() {
    let root = Authority::new("Root");
    let file = sealed(None, &root.signer(SIGNER_SERIAL));
    let opened = open(&file, &Trust::new(root.pem.clone()), NOW, &stable()).unwrap();
    assert_eq!(opened.index, index(None));
    assert!(opened.signer.subject.contains("Signer"));
}

#[test]
fn a_flipped_bit_anywhere_is_refused() {
    let root = Authority::new("Root");
    let trust = Trust::new(root.pem.clone());
    let file = sealed(None, &root.signer(SIGNER_SERIAL));
    for at in (0..file.len()).step_by(3) {
        let mut flipped = file.clone();
        flipped[at] ^= 1 << (at % 8);
        assert!(open(&flipped, &trust, NOW, &stable()).is_err(), "byte {at}");
    }
}

#[test]
fn what_is_not_this_channels_index_is_refused_with_its_reason() {
    let root = Authority::new("Root");
    let trust = Trust::new(root.pem.clone());
    let identity = root.signer(SIGNER_SERIAL);
    let file = sealed(None, &identity);
    let refused = |der: &[u8], trust: &Trust, now, name: &str| {
        open(der, trust, now, &ChannelName::parse(name).unwrap()).unwrap_err()
    };
    let error = refused(&file, &trust, NOW, "beta");
    assert!(
        error.to_string().contains("of the channel stable, not of beta"),
        "{error}"
    );
    assert!(matches!(
        refused(&vec![0; MAX_FILE + 1], &trust, NOW, "stable"),
        OpenError::TooLong { .. }
    ));
    assert!(matches!(
        refused(b"<html>", &trust, NOW, "stable"),
        OpenError::Signature(_)
    ));
    let stranger = Trust::new(Authority::new("Other root").pem);
    assert!(matches!(
        refused(&file, &stranger, NOW, "stable"),
        OpenError::Signature(CmsError::UnknownIssuer { .. })
    ));
    let late = UnixTime(NOW.0 + 366 * 86_400);
    assert!(matches!(
        refused(&file, &trust, late, "stable"),
        OpenError::Signature(CmsError::Expired { .. })
    ));
    let manifest = sign(b"[update]\ncompatible=x\n", &identity, NOW).unwrap();
    assert!(matches!(
        refused(&manifest, &trust, NOW, "stable"),
        OpenError::Content(_)
    ));
    assert!(matches!(
        refused(&file, &Trust::new("nothing"), NOW, "stable"),
        OpenError::Keyring(KeyringError::Empty)
    ));
}

#[test]
fn a_revocation_reaches_the_boxes_with_the_index() {
    let root = Authority::new("Root");
    let trust = Trust::new(root.pem.clone()).with_crls(root.crl(1, 12, &[]));
    let revoked = sealed(None, &root.signer(SIGNER_SERIAL));
    assert!(open(&revoked, &trust, NOW, &stable()).is_ok());
    let fresh = root.crl(8, 12, &[SIGNER_SERIAL]);
    let file = sealed(Some(fresh), &root.signer(78));
    let opened = open(&file, &trust, NOW, &stable()).unwrap();
    // From here on the box trusts with the list of that index.
    let trust = trust.with_crls(opened.index.crls.unwrap());
    let error = open(&revoked, &trust, NOW, &stable()).unwrap_err();
    assert!(
        matches!(error, OpenError::Signature(CmsError::Revoked { .. })),
        "{error:?}"
    );
    assert!(
        bundle::cms::verify(&revoked, &opened.keyring, NOW).is_err(),
        "so do its bundles"
    );
}

#[test]
fn an_index_that_revokes_its_own_signer_is_refused() {
    let root = Authority::new("Root");
    let trust = Trust::new(root.pem.clone());
    let file = sealed(
        Some(root.crl(8, 12, &[SIGNER_SERIAL])),
        &root.signer(SIGNER_SERIAL),
    );
    let error = open(&file, &trust, NOW, &stable()).unwrap_err();
    assert!(
        matches!(error, OpenError::Signature(CmsError::Revoked { .. })),
        "{error:?}"
    );
}

#[test]
fn a_list_out_of_date_is_replaced_by_the_one_in_the_index_and_by_no_forged_one() {
    let root = Authority::new("Root");
    let trust = Trust::new(root.pem.clone()).with_crls(root.crl(1, 7, &[SIGNER_SERIAL]));
    let identity = root.signer(78);
    let without = open(&sealed(None, &identity), &trust, NOW, &stable()).unwrap_err();
    assert!(
        matches!(without, OpenError::Signature(CmsError::CrlExpired { .. })),
        "{without:?}"
    );
    let with = sealed(Some(root.crl(8, 12, &[SIGNER_SERIAL])), &identity);
    assert!(open(&with, &trust, NOW, &stable()).is_ok());
    // A stolen, revoked key with a list of the thief's: of the same name, but not by the issuer's key.
    let thief = Authority::new("Root");
    let forged = sealed(Some(thief.crl(9, 12, &[])), &root.signer(SIGNER_SERIAL));
    assert!(open(&forged, &trust, NOW, &stable()).is_err());
    // An older honest list, from before the revocation, does not count either: the newest of an issuer does.
    let older = sealed(Some(root.crl(1, 12, &[])), &root.signer(SIGNER_SERIAL));
    let trust = Trust::new(root.pem.clone()).with_crls(root.crl(6, 7, &[SIGNER_SERIAL]));
    assert!(open(&older, &trust, NOW, &stable()).is_err());
}

#[test]
fn lists_that_cannot_be_read_spoil_the_index_and_not_the_box() {
    let root = Authority::new("Root");
    let trust = Trust::new(root.pem.clone());
    let garbage = "-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n".to_owned();
    let error = open(&sealed(Some(garbage), &root.signer(1)), &trust, NOW, &stable()).unwrap_err();
    assert!(matches!(error, OpenError::Crls(_)), "{error:?}");
}
