//! Bundles and tools for tests.

#![allow(dead_code, clippy::unwrap_used, missing_docs)]

use std::io::Cursor;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;

use bundle::chunks::TreeTail;
use bundle::cms::UnixTime;
use bundle::container::{Bundle, Limits, OpenError};
use bundle::keyring::Keyring;
use bundle::manifest::{FileName, Template, TemplateImage};
use bundle::sign::{SigningIdentity, sign};
use bundle::write::{Chunks, Input, Written, write};
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use zeroize::Zeroizing;

/// Inside the validity that rcgen gives.
pub const NOW: UnixTime = UnixTime(1_780_000_000);

struct Keys {
    root: String,
    key: String,
    leaf: String,
}

fn keys() -> &'static Keys {
    static KEYS: OnceLock<Keys> = OnceLock::new();
    KEYS.get_or_init(|| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test root");
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().unwrap();
        let root = params.self_signed(&key).unwrap().pem();
        let issuer = Issuer::new(params, key);
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "Test signer");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        let key = KeyPair::generate().unwrap();
        let leaf = params.signed_by(&key, &issuer).unwrap().pem();
        Keys {
            root,
            key: key.serialize_pem(),
            leaf,
        }
    })
}

pub fn keyring() -> Keyring {
    Keyring::from_pem(&keys().root).unwrap()
}

pub fn signed(text: &[u8]) -> Vec<u8> {
    let identity = SigningIdentity::from_pem(&keys().key, &keys().leaf).unwrap();
    sign(text, &identity, NOW).unwrap()
}

pub fn name(name: &str) -> FileName {
    FileName::new(name).unwrap()
}

pub fn template(images: &[(&str, &str)]) -> Template {
    Template {
        compatible: "hearth-test".to_owned(),
        version: Some("1.0".to_owned()),
        images: images
            .iter()
            .map(|(class, file)| TemplateImage::new(class, name(file)))
            .collect(),
        ..Template::default()
    }
}

/// Bytes that look random and do not repeat.
pub fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb)
    };
    let mut out: Vec<u8> = (0..length.div_ceil(8))
        .flat_map(|_| next().to_le_bytes())
        .collect();
    out.truncate(length);
    out
}

pub fn input<'a>(file: &str, content: &'a [u8], indexes: bool, tree: Option<TreeTail>) -> Input<'a> {
    Input {
        name: name(file),
        content: Box::new(content),
        size: content.len() as u64,
        block_hash_index: indexes,
        chunks: indexes.then(|| Chunks {
            tree,
            ..Chunks::default()
        }),
    }
}

/// A bundle with a boot and a root image.
pub fn bundle(boot: &[u8], root: &[u8], key: Option<[u8; 32]>) -> (Vec<u8>, Written) {
    let mut out = Cursor::new(Vec::new());
    let inputs = vec![
        input("root.img", root, true, None),
        input("boot.img", boot, false, None),
    ];
    let template = template(&[("boot", "boot.img"), ("rootfs", "root.img")]);
    let key = key.map(Zeroizing::new);
    let written = write(
        template,
        inputs,
        key,
        |text| Ok::<_, String>(signed(text)),
        &mut out,
    )
    .unwrap();
    (out.into_inner(), written)
}

pub fn open(bytes: &[u8]) -> Result<Bundle<&[u8]>, OpenError> {
    Bundle::open(bytes, &keyring(), NOW, Limits::default())
}

/// Runs a tool; its absence is a failure, since a test that did not run must not look green.
pub fn run(tool: &str, arguments: &[&str], folder: &Path) -> String {
    let output = Command::new(tool).args(arguments).current_dir(folder).output();
    let output =
        output.unwrap_or_else(|error| panic!("cannot run {tool} ({error}): install its Debian package"));
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{tool} {arguments:?}: {text}");
    text.into_owned()
}
