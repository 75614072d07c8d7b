//! Certificates for bundles, made by the machine's openssl: root, intermediate, leaf.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use image_builder::program;

/// Kind of every key of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KeyKind {
    /// ECDSA on P-256.
    P256,
    /// RSA with 3072 bits.
    Rsa3072,
}

/// What the leaf may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// `codeSigning` and `digitalSignature`, as a signer of bundles has.
    CodeSigning,
    /// `serverAuth`: a signer that must be refused.
    ServerAuth,
}

/// A chain in a folder. Every file is PEM; keys are PKCS#8 without a password.
#[derive(Debug, Clone)]
pub struct Pki {
    /// The self-signed root: the keyring.
    pub root: PathBuf,
    /// Its key.
    pub root_key: PathBuf,
    /// Signed by the root, `pathlen:0`.
    pub intermediate: PathBuf,
    /// Its key.
    pub intermediate_key: PathBuf,
    /// Signed by the intermediate.
    pub leaf: PathBuf,
    /// Its key.
    pub leaf_key: PathBuf,
}

const AUTHORITY: &str = "basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\n\
    subjectKeyIdentifier=hash\n";

/// Makes root, intermediate and leaf with openssl, valid from now for a year.
pub fn tests_pki(folder: &Path, kind: KeyKind) -> Result<Pki> {
    tests_pki_for(folder, kind, Purpose::CodeSigning)
}

/// The same with a leaf of another purpose.
pub fn tests_pki_for(folder: &Path, kind: KeyKind, purpose: Purpose) -> Result<Pki> {
    fs::create_dir_all(folder)?;
    let at = |name: &str| folder.join(name);
    let pki = Pki {
        root: at("root.pem"),
        root_key: at("root.key"),
        intermediate: at("intermediate.pem"),
        intermediate_key: at("intermediate.key"),
        leaf: at("leaf.pem"),
        leaf_key: at("leaf.key"),
    };
    let usage = match purpose {
        Purpose::CodeSigning => "codeSigning",
        Purpose::ServerAuth => "serverAuth",
    };
    key(&pki.root_key, kind)?;
    key(&pki.intermediate_key, kind)?;
    key(&pki.leaf_key, kind)?;
    self_signed(&pki, folder)?;
    let above = (&*pki.root, &*pki.root_key);
    let extensions = AUTHORITY.replace("CA:TRUE", "CA:TRUE,pathlen:0") + "authorityKeyIdentifier=keyid\n";
    signed(
        above,
        (&pki.intermediate, &pki.intermediate_key),
        "Test Intermediate",
        &extensions,
    )?;
    let above = (&*pki.intermediate, &*pki.intermediate_key);
    let extensions = format!(
        "basicConstraints=critical,CA:FALSE\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,{usage}\n\
         subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    );
    signed(above, (&pki.leaf, &pki.leaf_key), "Test Signer", &extensions)?;
    Ok(pki)
}

fn openssl() -> Command {
    let mut command = Command::new("openssl");
    command.env("LC_ALL", "C.UTF-8");
    command
}

fn key(path: &Path, kind: KeyKind) -> Result<()> {
    let (algorithm, option) = match kind {
        KeyKind::P256 => ("EC", "ec_paramgen_curve:P-256"),
        KeyKind::Rsa3072 => ("RSA", "rsa_keygen_bits:3072"),
    };
    let mut command = openssl();
    command.args(["genpkey", "-algorithm", algorithm, "-pkeyopt", option, "-out"]);
    program::run(command.arg(path))?;
    Ok(())
}

fn self_signed(pki: &Pki, folder: &Path) -> Result<()> {
    // `req` adds extensions of its own from the machine's settings unless it is given others.
    let settings = folder.join("root.cnf");
    fs::write(
        &settings,
        format!("[req]\ndistinguished_name=name\nx509_extensions=root\n[name]\n[root]\n{AUTHORITY}"),
    )?;
    program::run(
        openssl()
            .args([
                "req",
                "-x509",
                "-new",
                "-sha256",
                "-days",
                "365",
                "-subj",
                "/O=Hearth/CN=Test Root",
            ])
            .arg("-config")
            .arg(&settings)
            .arg("-key")
            .arg(&pki.root_key)
            .arg("-out")
            .arg(&pki.root),
    )?;
    Ok(())
}

fn signed(above: (&Path, &Path), own: (&Path, &Path), name: &str, extensions: &str) -> Result<()> {
    let request = own.0.with_extension("csr");
    let settings = own.0.with_extension("cnf");
    fs::write(
        &settings,
        format!("[req]\ndistinguished_name=name\n[name]\n[own]\n{extensions}"),
    )?;
    program::run(
        openssl()
            .args([
                "req",
                "-new",
                "-sha256",
                "-subj",
                &format!("/O=Hearth/CN={name}"),
                "-config",
            ])
            .arg(&settings)
            .arg("-key")
            .arg(own.1)
            .arg("-out")
            .arg(&request),
    )?;
    program::run(
        openssl()
            .args([
                "x509",
                "-req",
                "-sha256",
                "-days",
                "365",
                "-CAcreateserial",
                "-extensions",
                "own",
            ])
            .arg("-extfile")
            .arg(&settings)
            .arg("-in")
            .arg(&request)
            .arg("-CA")
            .arg(above.0)
            .arg("-CAkey")
            .arg(above.1)
            .arg("-out")
            .arg(own.0),
    )?;
    Ok(())
}
