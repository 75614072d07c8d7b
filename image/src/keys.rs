//! The boot key: P-256, signs boot payloads; the boot manager carries its public half.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use boot_payload::SigningKey;
use p256::pkcs8::{DecodePrivateKey, EncodePrivateKey, LineEnding};

use crate::error::{BuildError, FileContext, Result};

/// A boot key and where it came from.
#[derive(Debug)]
pub struct BootKey {
    /// Signs.
    pub key: SigningKey,
    /// True for keys that `xtask keys` made: anyone who builds has some, so they prove nothing.
    pub development: bool,
}

/// Folder of the development keys: `$HEARTH_KEYS`, else `$XDG_DATA_HOME/hearth/keys`, else `~/.local/share/hearth/keys`.
pub fn folder() -> Result<PathBuf> {
    let from = |name: &str| {
        std::env::var_os(name)
            .filter(|v| !v.is_empty())
            .map(PathBuf::from)
    };
    from("HEARTH_KEYS")
        .or_else(|| from("XDG_DATA_HOME").map(|p| p.join("hearth/keys")))
        .or_else(|| from("HOME").map(|p| p.join(".local/share/hearth/keys")))
        .ok_or_else(|| BuildError::invalid("HOME", "not set; set HEARTH_KEYS to a folder for keys"))
}

/// Path of the development boot key.
pub fn development_key_path() -> Result<PathBuf> {
    Ok(folder()?.join("development-boot.pem"))
}

/// Reads the development key; makes one first when there is none. Returns whether it was made now.
pub fn development() -> Result<(BootKey, bool)> {
    let path = development_key_path()?;
    let made = !path.exists();
    if made {
        create(&path)?;
    }
    Ok((
        BootKey {
            key: read(&path)?,
            development: true,
        },
        made,
    ))
}

/// Reads a key of one's own (PKCS#8 PEM).
pub fn production(path: &Path) -> Result<BootKey> {
    Ok(BootKey {
        key: read(path)?,
        development: false,
    })
}

fn read(path: &Path) -> Result<SigningKey> {
    let pem = fs::read_to_string(path).at("read", path)?;
    SigningKey::from_pkcs8_pem(&pem).map_err(|_| {
        BuildError::invalid(
            path.display().to_string(),
            "not a P-256 private key in PKCS#8 PEM",
        )
    })
}

/// Makes a key; never replaces one.
pub fn create(path: &Path) -> Result<()> {
    let bad = |problem: String| BuildError::invalid("boot key", problem);
    let key = loop {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(|e| bad(e.to_string()))?;
        // One in 2^32 candidates is not below the group order.
        if let Ok(key) = SigningKey::from_slice(&secret) {
            break key;
        }
    };
    let pem = key.to_pkcs8_pem(LineEnding::LF).map_err(|e| bad(e.to_string()))?;
    let parent = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(parent)
        .at("create", parent)?;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .at("create", path)?;
    file.write_all(pem.as_bytes())
        .and_then(|()| file.sync_all())
        .at("write", path)
}

/// The public half as 65 bytes SEC1, for the boot manager.
pub fn public(key: &SigningKey) -> Vec<u8> {
    key.verifying_key().to_sec1_point(false).as_bytes().to_vec()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_key_is_private_survives_reading_and_is_never_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys/boot.pem");
        create(&path).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(public(&read(&path).unwrap()).len(), 65);
        assert!(create(&path).is_err());
        fs::write(&path, "no key").unwrap();
        assert!(production(&path).unwrap_err().to_string().contains("PKCS#8"));
    }
}
