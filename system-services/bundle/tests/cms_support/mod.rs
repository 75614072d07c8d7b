//! A small certificate authority for tests.

#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use bundle::cms::UnixTime;
use bundle::keyring::Keyring;
use bundle::sign::{SigningIdentity, sign};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

/// 2026-05-28 20:26:40 UTC, inside every validity that is not wrong on purpose.
pub const NOW: UnixTime = UnixTime(1_780_000_000);
pub const CONTENT: &[u8] = b"[update]\ncompatible=hearth\n";

pub struct Authority {
    pub issuer: Issuer<'static, KeyPair>,
    pub pem: String,
}

pub struct Leaf {
    pub key: String,
    pub pem: String,
}

pub fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2026, 1, 1);
    params.not_after = date_time_ymd(2027, 1, 1);
    params
}

pub fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

pub fn leaf_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.serial_number = Some(SerialNumber::from(0x1234));
    // With a key identifier.
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

pub fn root(params: CertificateParams) -> Authority {
    root_with(params, KeyPair::generate().unwrap())
}

pub fn root_with(params: CertificateParams, key: KeyPair) -> Authority {
    let pem = params.self_signed(&key).unwrap().pem();
    Authority {
        issuer: Issuer::new(params, key),
        pem,
    }
}

impl Authority {
    pub fn intermediate(&self, params: CertificateParams) -> Authority {
        self.intermediate_with(params, KeyPair::generate().unwrap())
    }

    pub fn intermediate_with(&self, params: CertificateParams, key: KeyPair) -> Authority {
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    pub fn leaf(&self, params: CertificateParams) -> Leaf {
        self.leaf_with(params, KeyPair::generate().unwrap())
    }

    pub fn leaf_with(&self, params: CertificateParams, key: KeyPair) -> Leaf {
        Leaf {
            pem: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }

    /// A list from `from` to `to` (year and month) that revokes `serials`.
    pub fn crl(&self, from: (i32, u8), to: (i32, u8), serials: &[u64]) -> String {
        let revoked = |serial: &u64| RevokedCertParams {
            serial_number: SerialNumber::from(*serial),
            revocation_time: date_time_ymd(from.0, from.1, 1),
            reason_code: None,
            invalidity_date: None,
        };
        CertificateRevocationListParams {
            this_update: date_time_ymd(from.0, from.1, 1),
            next_update: date_time_ymd(to.0, to.1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: serials.iter().map(revoked).collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .unwrap()
        .pem()
        .unwrap()
    }

    pub fn keyring(&self) -> Keyring {
        Keyring::from_pem(&self.pem).unwrap()
    }
}

/// A root, an intermediate and a good leaf.
pub struct Family {
    pub root: Authority,
    pub middle: Authority,
    pub leaf: Leaf,
}

impl Family {
    pub fn new() -> Self {
        let root = root(authority_params("Test root"));
        let middle = root.intermediate(authority_params("Test intermediate"));
        let leaf = middle.leaf(leaf_params("Test signer"));
        Self { root, middle, leaf }
    }

    /// Signed by `leaf`, with the intermediate.
    pub fn sign_with(&self, leaf: &Leaf) -> Vec<u8> {
        signed(leaf, &self.middle.pem)
    }

    pub fn signed(&self) -> Vec<u8> {
        self.sign_with(&self.leaf)
    }
}

pub fn signed(leaf: &Leaf, intermediates: &str) -> Vec<u8> {
    let identity = SigningIdentity::from_pem(&leaf.key, &(leaf.pem.clone() + intermediates)).unwrap();
    sign(CONTENT, &identity, NOW).unwrap()
}
