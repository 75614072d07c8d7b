//! What the updater reads before it trusts anything: manifests and signatures of bundles.

use bundle::cms::{UnixTime, is_enveloped, read_unverified, verify};
use bundle::keyring::Keyring;
use bundle::manifest::{Manifest, Template};

use crate::{accept, text};

/// Two roots, P-256 and RSA-3072, and lists of the first one and its intermediate. The keys are thrown away.
const ROOTS: &str = include_str!("bundles/roots.pem");
const LISTS: &str = include_str!("bundles/lists.pem");
/// What the seeds sign: nothing else was ever signed with those keys.
const CONTENT: &[u8] = b"[update]\ncompatible=hearth\n";
const SERIAL: &str = "1234";
/// 2026-05-28, when all of them are valid.
const NOW: UnixTime = UnixTime(1_780_000_000);

/// A manifest: what is read writes to a text that reads the same, and no name in it is a path.
pub fn bundle_manifest(bytes: &[u8]) {
    let _ = Template::parse(bytes);
    let Ok(manifest) = Manifest::parse(bytes) else {
        return;
    };
    accept();
    assert_eq!(
        Manifest::parse(manifest.to_text().as_bytes()).as_ref(),
        Ok(&manifest)
    );
    assert!(manifest.format.tree().size.is_multiple_of(4096));
    for image in &manifest.images {
        assert!(!image.filename.as_str().contains('/'));
        assert!(!matches!(image.filename.as_str(), "" | "." | ".."));
    }
}

/// A signature: nobody but the owner of the key can make one, so what passes holds the one content there is. The same bytes
/// are tried as a keyring and as a list.
pub fn bundle_cms(bytes: &[u8]) {
    if let Some(pem) = text(bytes) {
        let _ = Keyring::from_pem(pem);
        let _ = Keyring::default().with_crls(pem);
    }
    let unverified = read_unverified(bytes);
    assert!(unverified.is_err() || !is_enveloped(bytes));
    let Ok(keyring) = Keyring::from_pem(ROOTS).and_then(|keyring| keyring.with_crls(LISTS)) else {
        panic!("the test keyring must be readable");
    };
    if let Ok(signed) = verify(bytes, &keyring, NOW) {
        accept();
        assert_eq!(signed.content, CONTENT);
        assert_eq!(signed.signer.serial, SERIAL);
        assert_eq!(unverified.ok(), Some(signed));
    }
}
