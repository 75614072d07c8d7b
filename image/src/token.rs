//! Signing with a key on a PKCS#11 token: by openssl, which speaks to the token and asks for the PIN.

use std::fs;
use std::process::{Command, Stdio};

use bundle::write::SignFailure;

const END: &str = "-----END CERTIFICATE-----";

/// A key on a token and the certificates for it. No `Debug`: the URI may hold a PIN.
pub struct Token {
    uri: String,
    leaf: String,
    intermediates: String,
}

impl Token {
    /// `uri` is `pkcs11:…` (RFC 7512), `chain` the leaf's certificate, then the intermediates' (PEM). `None` without a
    /// certificate.
    pub fn new(uri: &str, chain: &str) -> Option<Self> {
        // openssl 3.0 refuses a certificate that it is given twice, so the leaf's must not be among the others.
        let (leaf, intermediates) = chain.split_at(chain.find(END)? + END.len());
        Some(Self {
            uri: uri.into(),
            leaf: format!("{leaf}\n"),
            intermediates: intermediates.trim_start().into(),
        })
    }

    /// Signs; the result holds the content (CMS, DER).
    ///
    /// # Errors
    /// When openssl cannot be started or could not sign; then it has said why itself.
    pub fn sign(&self, content: &[u8]) -> Result<Vec<u8>, SignFailure> {
        let folder = tempfile::tempdir()?;
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            fs::write(&path, bytes).map(|()| path)
        };
        let mut command = Command::new("openssl");
        command
            .args(["cms", "-sign", "-binary", "-nodetach", "-nosmimecap"])
            .args(["-md", "sha256", "-outform", "DER"])
            .args(way_to_the_token())
            .args(["-inkey", &self.uri, "-signer"])
            .arg(file("leaf.pem", self.leaf.as_bytes())?);
        if !self.intermediates.is_empty() {
            let path = file("intermediates.pem", self.intermediates.as_bytes())?;
            command.arg("-certfile").arg(path);
        }
        let output = command
            .arg("-in")
            .arg(file("content", content)?)
            .stderr(Stdio::inherit())
            .output()
            .map_err(|e| format!("cannot start openssl (package openssl): {e}"))?;
        if output.status.success() {
            return Ok(output.stdout);
        }
        Err("openssl could not sign with the key on the token; is libengine-pkcs11-openssl installed (or \
             pkcs11-provider), does PKCS11_MODULE_PATH (or PKCS11_PROVIDER_MODULE) name the token's module, is the token there, are its label and PIN \
             right? docs/update-keys.md has an example"
            .into())
    }
}

/// The engine where there is one; OpenSSL 4 has none, and tokens are reached by a provider.
fn way_to_the_token() -> &'static [&'static str] {
    let engine = Command::new("openssl")
        .args(["engine", "pkcs11"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if engine.is_ok_and(|status| status.success()) {
        &["-engine", "pkcs11", "-keyform", "engine"]
    } else {
        &["-provider", "pkcs11", "-provider", "default"]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_leaf_is_told_from_those_above_it() {
        let certificate = |what: &str| format!("-----BEGIN CERTIFICATE-----\n{what}\n{END}\n");
        let (leaf, above) = (certificate("bGVhZg=="), certificate("Ym9vdA=="));
        let token = Token::new("pkcs11:object=signer", &format!("{leaf}{above}{above}")).unwrap();
        assert_eq!((token.leaf, token.intermediates), (leaf.clone(), above.repeat(2)));
        assert_eq!(Token::new("pkcs11:", &leaf).unwrap().intermediates, "");
        assert!(Token::new("pkcs11:", "no certificate").is_none());
    }
}
