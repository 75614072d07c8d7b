//! OpenSSL's command line as the oracle, in both directions. Without it these tests fail: they do not skip.

#![allow(clippy::unwrap_used, missing_docs)]

mod cms_support;

use std::path::Path;
use std::process::{Command, Output};

use bundle::cms::{CmsError, Signed, is_enveloped, verify};
use bundle::keyring::Keyring;
use bundle::sign::{SignError, SigningIdentity, sign};
use cms_support::*;
use rcgen::{KeyPair, SerialNumber};
use tempfile::TempDir;

/// Runs `openssl` with `arguments` in `folder`.
fn run(folder: &Path, arguments: &str) -> Output {
    Command::new("openssl")
        .current_dir(folder)
        .args(arguments.split_whitespace())
        .output()
        .unwrap_or_else(|error| {
            panic!("`openssl` must be installed for these tests (Debian: openssl): {error}")
        })
}

fn openssl(folder: &Path, arguments: &str) -> Vec<u8> {
    let output = run(folder, arguments);
    assert!(
        output.status.success(),
        "openssl {arguments}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

fn rsa_key(bits: u32) -> KeyPair {
    let folder = TempDir::new().unwrap();
    let key = openssl(
        folder.path(),
        &format!("genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:{bits}"),
    );
    KeyPair::from_pem(std::str::from_utf8(&key).unwrap()).unwrap()
}

fn rsa_family() -> Family {
    let root = root_with(authority_params("RSA root"), rsa_key(3072));
    let middle = root.intermediate_with(authority_params("RSA intermediate"), rsa_key(3072));
    let leaf = middle.leaf_with(leaf_params("RSA signer"), rsa_key(3072));
    Family { root, middle, leaf }
}

/// A folder with the family's files, and the content.
fn folder(family: &Family) -> TempDir {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
    write("root.pem", family.root.pem.as_bytes());
    write("middle.pem", family.middle.pem.as_bytes());
    write("leaf.pem", family.leaf.pem.as_bytes());
    write("leaf.key", family.leaf.key.as_bytes());
    write("content", CONTENT);
    folder
}

/// `openssl cms -sign` by the leaf with its intermediate; `more` are further arguments.
fn openssl_signs(family: &Family, more: &str) -> Vec<u8> {
    openssl(
        folder(family).path(),
        &format!(
            "cms -sign -binary -in content -outform DER -signer leaf.pem -inkey leaf.key -certfile middle.pem {more}"
        ),
    )
}

fn check(family: &Family, der: &[u8]) -> Result<Signed, CmsError> {
    verify(der, &family.root.keyring(), NOW)
}

fn openssl_verifies(family: &Family, der: &[u8]) {
    let folder = folder(family);
    std::fs::write(folder.path().join("signed.der"), der).unwrap();
    let now = NOW.0;
    let content = openssl(
        folder.path(),
        &format!(
            "cms -verify -binary -in signed.der -inform DER -CAfile root.pem -purpose any -attime {now}"
        ),
    );
    assert_eq!(content, CONTENT);
}

#[test]
fn openssl_verifies_what_we_sign_with_p256_and_rsa() {
    for family in [Family::new(), rsa_family()] {
        let der = family.signed();
        openssl_verifies(&family, &der);
        assert!(check(&family, &der).is_ok());
    }
}

#[test]
fn we_verify_what_openssl_signs_with_p256_and_rsa() {
    for family in [Family::new(), rsa_family()] {
        let signed = check(&family, &openssl_signs(&family, "-nodetach")).unwrap();
        assert_eq!(signed.content, CONTENT);
        assert!(signed.signer.signing_time.is_some());
        // The way of RAUC: without the capabilities of a mail program.
        assert!(
            check(
                &family,
                &openssl_signs(&family, "-nodetach -nosmimecap -md sha256")
            )
            .is_ok()
        );
    }
}

#[test]
fn what_openssl_signs_in_another_form_is_refused_with_its_reason() {
    let family = Family::new();
    let refusal = |more: &str| check(&family, &openssl_signs(&family, more)).unwrap_err();
    assert_eq!(refusal(""), CmsError::Detached);
    assert_eq!(refusal("-nodetach -noattr"), CmsError::NoSignedAttributes);
    assert_eq!(refusal("-nodetach -keyid"), CmsError::SignerByKeyIdentifier);
    assert!(matches!(
        refusal("-nodetach -nocerts"),
        CmsError::SignerCertificateMissing { .. }
    ));
    for digest in ["sha1", "sha384", "sha512"] {
        let refusal = refusal(&format!("-nodetach -md {digest}"));
        assert!(
            matches!(&refusal, CmsError::UnsupportedAlgorithm { algorithm, .. } if algorithm.to_lowercase().contains(digest)),
            "{refusal:?}"
        );
    }
    // Indefinite lengths are BER.
    assert!(matches!(refusal("-nodetach -stream"), CmsError::NotDer { .. }));
    assert!(matches!(
        refusal("-nodetach -econtent_type pkcs7-signedData"),
        CmsError::ContentType { .. }
    ));
}

#[test]
fn rsa_pss_and_short_rsa_keys_are_refused() {
    let family = rsa_family();
    let der = openssl_signs(&family, "-nodetach -keyopt rsa_padding_mode:pss");
    assert!(matches!(
        check(&family, &der),
        Err(CmsError::UnsupportedAlgorithm {
            what: "signature",
            ..
        })
    ));

    let folder = folder(&family);
    let script = "genpkey -algorithm RSA -pkeyopt rsa_keygen_bits:1024 -out short.key";
    openssl(folder.path(), script);
    openssl(
        folder.path(),
        "req -new -key short.key -subj /CN=Short -out short.csr",
    );
    std::fs::write(
        folder.path().join("ext"),
        "keyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n",
    )
    .unwrap();
    std::fs::write(
        folder.path().join("root.key"),
        family.root.issuer.key().serialize_pem(),
    )
    .unwrap();
    openssl(
        folder.path(),
        "x509 -req -in short.csr -CA root.pem -CAkey root.key -set_serial 7 -days 30 -extfile ext -out short.pem",
    );
    let der = openssl(
        folder.path(),
        "cms -sign -binary -nodetach -in content -outform DER -signer short.pem -inkey short.key",
    );
    let refusal = check(&family, &der).unwrap_err();
    assert!(
        matches!(
            refusal,
            CmsError::BadSignature { .. } | CmsError::UnsupportedAlgorithm { .. }
        ),
        "{refusal:?}"
    );
}

#[test]
fn two_signers_are_refused() {
    let family = Family::new();
    let mut params = leaf_params("Second signer");
    params.serial_number = Some(SerialNumber::from(0x5678));
    let second = family.middle.leaf(params);
    let folder = folder(&family);
    std::fs::write(folder.path().join("second.pem"), &second.pem).unwrap();
    std::fs::write(folder.path().join("second.key"), &second.key).unwrap();
    let der = openssl(
        folder.path(),
        "cms -sign -binary -nodetach -in content -outform DER -signer leaf.pem -inkey leaf.key \
         -signer second.pem -inkey second.key -certfile middle.pem",
    );
    assert_eq!(check(&family, &der), Err(CmsError::Signers { count: 2 }));
}

#[test]
fn an_encrypted_signature_is_told_from_a_damaged_one() {
    let family = Family::new();
    let der = openssl(
        folder(&family).path(),
        "cms -encrypt -binary -in content -outform DER -aes-256-cbc -recip leaf.pem",
    );
    assert!(is_enveloped(&der));
    assert!(!is_enveloped(&family.signed()));
    assert_eq!(check(&family, &der), Err(CmsError::Enveloped));
}

#[test]
fn openssl_made_authorities_revocation_lists_and_keys_are_read() {
    let folder = TempDir::new().unwrap();
    let path = folder.path();
    let config = "[req]\ndistinguished_name=dn\n[dn]\n[root]\nbasicConstraints=critical,CA:TRUE\n\
                  keyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n\
                  [leaf]\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=critical,codeSigning\n\
                  [ca]\ndefault_ca=authority\n[authority]\ndatabase=index\ncrlnumber=number\ndefault_md=sha256\n\
                  default_crl_days=30\n";
    std::fs::write(path.join("config"), config).unwrap();
    std::fs::write(path.join("index"), "").unwrap();
    std::fs::write(path.join("number"), "01\n").unwrap();
    openssl(
        path,
        "req -x509 -config config -extensions root -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -sha256 -days 30 \
         -subj /O=Hearth/CN=Root -keyout root.key -out root.pem",
    );
    openssl(
        path,
        "req -new -config config -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=Signer \
         -keyout leaf.key -out leaf.csr",
    );
    openssl(
        path,
        "x509 -req -sha256 -in leaf.csr -CA root.pem -CAkey root.key -set_serial 0x8001 -days 20 -extfile config -extensions leaf \
         -out leaf.pem",
    );
    let text = |name: &str| std::fs::read_to_string(path.join(name)).unwrap();
    // OpenSSL dates what it makes by the real clock.
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap();
    let now = bundle::cms::UnixTime(now.as_secs());
    let identity = SigningIdentity::from_pem(&text("leaf.key"), &text("leaf.pem")).unwrap();
    let der = sign(CONTENT, &identity, now).unwrap();
    let keyring = || Keyring::from_pem(&text("root.pem")).unwrap();
    assert!(verify(&der, &keyring(), now).is_ok());

    openssl(
        path,
        "ca -config config -gencrl -cert root.pem -keyfile root.key -out crl.pem",
    );
    assert!(verify(&der, &keyring().with_crls(&text("crl.pem")).unwrap(), now).is_ok());
    openssl(
        path,
        "ca -config config -revoke leaf.pem -cert root.pem -keyfile root.key",
    );
    openssl(
        path,
        "ca -config config -gencrl -cert root.pem -keyfile root.key -out crl.pem",
    );
    let revoked = verify(&der, &keyring().with_crls(&text("crl.pem")).unwrap(), now);
    assert!(
        matches!(&revoked, Err(CmsError::Revoked { serial, .. }) if serial == "8001"),
        "{revoked:?}"
    );

    openssl(
        path,
        "pkcs8 -topk8 -in leaf.key -out encrypted.key -passout pass:secret",
    );
    let of = |key: &str| SigningIdentity::from_pem(&text(key), &text("leaf.pem")).err();
    assert!(matches!(of("encrypted.key"), Some(SignError::EncryptedKey)));
    openssl(path, "ec -in leaf.key -out old.key");
    assert!(matches!(of("old.key"), Some(SignError::OldKeyForm { .. })));
    openssl(
        path,
        "ec -in leaf.key -aes256 -passout pass:secret -out old-encrypted.key",
    );
    assert!(matches!(of("old-encrypted.key"), Some(SignError::EncryptedKey)));
}

#[test]
fn openssl_orders_certificates_by_bytes_and_we_take_any_order() {
    let family = Family::new();
    let folder = folder(&family);
    for round in 0..8 {
        let others = (0..5).map(|at| {
            family
                .root
                .intermediate(authority_params(&"x".repeat(1 + round * at)))
                .pem
        });
        let chain = family.middle.pem.clone() + &others.collect::<String>();
        std::fs::write(folder.path().join("chain.pem"), &chain).unwrap();
        let der = openssl(
            folder.path(),
            "cms -sign -binary -nodetach -in content -outform DER -signer leaf.pem -inkey leaf.key \
             -certfile chain.pem",
        );
        let taken = check(&family, &der);
        assert!(taken.is_ok(), "round {round}: {taken:?}");
        openssl_verifies(&family, &signed(&family.leaf, &chain));
    }
}
