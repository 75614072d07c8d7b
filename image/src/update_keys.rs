//! The keys that sign update bundles: a root that appliances carry, an intermediate, and a leaf that signs.
//!
//! Production keys are made as `docs/update-keys.md` says, with the root's and the intermediate's private halves on a token;
//! what is made here is for development only.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};

use crate::error::{BuildError, FileContext, Result};
use crate::keys;

/// Where the development keys of updates are.
#[derive(Debug, Clone)]
pub struct UpdateKeys {
    folder: PathBuf,
}

impl UpdateKeys {
    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
    /// The root's certificate: what appliances trust.
    pub fn keyring(&self) -> PathBuf {
        self.folder.join("root.cert.pem")
    }
    /// The leaf's certificate, then the intermediate's: both go into a bundle.
    pub fn certificates(&self) -> PathBuf {
        self.folder.join("signer.cert.pem")
    }
    /// The leaf's private key.
    pub fn key(&self) -> PathBuf {
        self.folder.join("signer.key.pem")
    }
    /// The revocation lists of root and intermediate; both are empty.
    pub fn crls(&self) -> PathBuf {
        self.folder.join("crl.pem")
    }
}

/// What an appliance carries to judge updates.
#[derive(Debug, Clone)]
pub struct UpdateTrust {
    /// Certificates of the roots, PEM; more than one while they are being changed.
    pub keyring_pem: String,
    /// Revocation lists, PEM; may be empty.
    pub crls_pem: String,
}

impl UpdateTrust {
    /// Reads the files.
    pub fn read(keyring: &Path, crls: Option<&Path>) -> Result<Self> {
        let keyring_pem = fs::read_to_string(keyring).at("read", keyring)?;
        if !keyring_pem.contains("-----BEGIN CERTIFICATE-----") {
            return Err(BuildError::invalid(
                keyring.display().to_string(),
                "holds no certificate in PEM; give the root's certificate",
            ));
        }
        if keyring_pem.contains("PRIVATE KEY-----") {
            return Err(BuildError::invalid(
                keyring.display().to_string(),
                "holds a private key, which must not be in an image; give certificates only",
            ));
        }
        let crls_pem = crls.map_or(Ok(String::new()), |path| {
            fs::read_to_string(path).at("read", path)
        })?;
        Ok(Self {
            keyring_pem,
            crls_pem,
        })
    }
}

/// The development keys; makes them first when there are none. Returns whether they were made now.
pub fn development() -> Result<(UpdateKeys, bool)> {
    let parent = keys::folder()?;
    let folder = parent.join("development-updates");
    let made = !folder.exists();
    if made {
        create(&folder)?;
    }
    Ok((UpdateKeys { folder }, made))
}

/// Makes all keys in a new folder, which appears whole or not at all.
pub fn create(folder: &Path) -> Result<()> {
    let unfinished = folder.with_extension(format!("unfinished-{}", std::process::id()));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(&unfinished)
        .at("create", &unfinished)?;
    let files = generate().map_err(|e| BuildError::invalid("update keys", e.to_string()))?;
    for (name, text) in files {
        let path = unfinished.join(name);
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
            .at("write", &path)?;
    }
    match fs::rename(&unfinished, folder) {
        // Another build was faster; its keys are as good.
        Err(_) if folder.exists() => fs::remove_dir_all(&unfinished).at("remove", &unfinished),
        other => other.at("rename", folder),
    }
}

/// Name and text of each file.
fn generate() -> Result<[(&'static str, String); 7], rcgen::Error> {
    let key = || KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256);
    let (root_key, intermediate_key, leaf_key) = (key()?, key()?, key()?);

    let root = authority("Hearth development root", 1)?;
    let root_cert = root.self_signed(&root_key)?;
    let root_issuer = Issuer::from_params(&root, &root_key);

    let intermediate = authority("Hearth development intermediate", 0)?;
    let intermediate_cert = intermediate.signed_by(&intermediate_key, &root_issuer)?;
    let intermediate_issuer = Issuer::from_params(&intermediate, &intermediate_key);

    let mut leaf = params("Hearth development signer")?;
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    leaf.use_authority_key_identifier_extension = true;
    let leaf_cert = leaf.signed_by(&leaf_key, &intermediate_issuer)?;

    let crls =
        empty_crl().signed_by(&root_issuer)?.pem()? + &empty_crl().signed_by(&intermediate_issuer)?.pem()?;
    Ok([
        ("root.key.pem", root_key.serialize_pem()),
        ("root.cert.pem", root_cert.pem()),
        ("intermediate.key.pem", intermediate_key.serialize_pem()),
        ("intermediate.cert.pem", intermediate_cert.pem()),
        ("signer.key.pem", leaf_key.serialize_pem()),
        ("signer.cert.pem", leaf_cert.pem() + &intermediate_cert.pem()),
        ("crl.pem", crls),
    ])
}

/// Valid from a day before any clock that starts at the sources' time, and long enough to forget about it.
fn params(name: &str) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::new(Vec::new())?;
    params.distinguished_name.remove(DnType::CommonName);
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2024, 1, 1);
    params.not_after = date_time_ymd(2044, 1, 1);
    Ok(params)
}

fn authority(name: &str, below: u8) -> Result<CertificateParams, rcgen::Error> {
    let mut params = params(name)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(below));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

fn empty_crl() -> CertificateRevocationListParams {
    CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(2044, 1, 1),
        crl_number: SerialNumber::from(1),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn keys_are_private_and_made_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updates");
        create(&path).unwrap();
        let keys = UpdateKeys { folder: path.clone() };
        for file in [keys.keyring(), keys.certificates(), keys.key(), keys.crls()] {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        }
        let before = fs::read(keys.key()).unwrap();
        create(&path).unwrap();
        assert_eq!(fs::read(keys.key()).unwrap(), before, "existing keys stay");
        assert_eq!(
            fs::read_dir(folder.path()).unwrap().count(),
            1,
            "nothing unfinished is left"
        );
    }
}
