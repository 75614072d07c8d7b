//! The seam to what reads bundles and writes slots.
//!
//! The service owns states, boot state and journal; an [`Engine`] owns bytes. Its calls block and run on a thread of their
//! own, one at a time; an [`Engine::estimate`] that was told to stop may still end beside the next. It never touches the boot state: the service marked the slot incomplete before [`Engine::stream`],
//! and marks it complete after [`Engine::read_back`].

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use boot_state::Inactive;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// SHA-256 of a manifest's bytes: what makes two bundles the same.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ManifestHash(pub [u8; 32]);

impl fmt::Display for ManifestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for ManifestHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<ManifestHash> for String {
    fn from(hash: ManifestHash) -> Self {
        hash.to_string()
    }
}

impl TryFrom<String> for ManifestHash {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl FromStr for ManifestHash {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, &'static str> {
        const PROBLEM: &str = "64 hexadecimal digits are expected";
        if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(PROBLEM);
        }
        let mut bytes = [0; 32];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16).map_err(|_| PROBLEM)?;
        }
        Ok(Self(bytes))
    }
}

/// Where a bundle comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Source {
    /// A file of this box.
    File(PathBuf),
    /// A web server that answers range requests.
    Https(String),
    /// The stick labelled `HEARTH`.
    Usb,
}

impl Source {
    /// From what a person or a program gives: an absolute path, `file://…`, `https://…`, `usb`.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == ipc::updater::USB_SOURCE {
            return Ok(Self::Usb);
        }
        let scheme = text
            .split_once("://")
            .map(|(scheme, _)| scheme.to_ascii_lowercase());
        match scheme.as_deref() {
            Some("https") if text.len() <= 4096 && !text.contains(char::is_whitespace) => {
                Ok(Self::Https(text.into()))
            }
            Some("https") => Err("this address is too long or has blanks in it".into()),
            Some("http") => Err("http:// is not encrypted; use https://".into()),
            Some("file") => Self::file(&text["file://".len()..]),
            Some(other) => Err(format!(
                "{other}:// is not known; use https://, a file's path, or usb"
            )),
            None => Self::file(text),
        }
    }

    fn file(path: &str) -> Result<Self, String> {
        if path.starts_with('/') && !path.contains('\0') && path.len() <= 4096 {
            return Ok(Self::File(path.into()));
        }
        Err("give the whole path of the file, beginning with /".into())
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(f),
            Self::Https(url) => f.write_str(url),
            Self::Usb => f.write_str(ipc::updater::USB_SOURCE),
        }
    }
}

/// How to speak with a web server, beyond the address. Headers may be secrets: they are never shown, and kept only as
/// [`access`](crate::access) keeps them.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// PEM file of the client's certificate.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file of its key.
    pub tls_key: Option<PathBuf>,
    /// PEM file of the authorities to trust instead of the system's.
    pub tls_authorities: Option<PathBuf>,
    /// Do not check the server's certificate; the bundle's own signature is checked all the same.
    pub tls_no_verify: bool,
    /// Lines `Name: value` for every request.
    pub headers: Vec<String>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").finish_non_exhaustive()
    }
}

/// A bundle whose signature was checked.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct BundleInfo {
    /// What it is made for.
    pub compatible: String,
    /// Version, as the manifest says.
    pub version: Option<String>,
    /// What changed.
    pub description: Option<String>,
    /// Build.
    pub build: Option<String>,
    /// Bytes of the whole bundle.
    pub size_bytes: u64,
    /// Hash of its manifest; all zero bytes in a [`Default`] value only.
    pub manifest_hash: ManifestHash,
    /// `verity` or `crypt`.
    pub format: String,
    /// Root of the hash tree, in hexadecimal.
    pub verity_hash: String,
    /// Salt of the hash tree, in hexadecimal.
    pub verity_salt: String,
    /// Bytes of the hash tree.
    pub verity_size: u64,
    /// Who signed it.
    pub signer: String,
    /// Its images.
    pub images: Vec<ImageInfo>,
    /// `[meta.LABEL]` groups.
    pub meta: BTreeMap<String, BTreeMap<String, String>>,
}

/// One image of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ImageInfo {
    /// `boot`, `rootfs` …
    pub class: String,
    /// Variant of the board, if it has any.
    pub variant: Option<String>,
    /// Name in the bundle.
    pub filename: String,
    /// Kind of file, as the manifest says.
    pub image_type: Option<String>,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size_bytes: u64,
    /// Names of its hooks.
    pub hooks: Vec<String>,
    /// Names of its ways to be fetched in parts.
    pub adaptive: Vec<String>,
}

/// What to install.
#[derive(Debug, Clone)]
pub struct Job {
    /// From where.
    pub source: Source,
    /// How to speak with the server.
    pub access: Access,
    /// Which bundle: another one at the same place is refused.
    pub manifest_hash: ManifestHash,
    /// Into which slot. There is no way to make one that runs.
    pub target: Inactive,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Written {
    /// Each image, as it must be on the slot's partitions.
    pub images: Vec<WrittenImage>,
    /// Bytes that came from the source.
    pub fetched_bytes: u64,
}

/// One image on its partition.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct WrittenImage {
    /// `boot` or `rootfs`.
    pub class: String,
    /// SHA-256 in hexadecimal.
    pub sha256: String,
    /// Bytes.
    pub size_bytes: u64,
}

/// How far a call of the engine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct EngineProgress {
    /// Bytes that are in place (or read back).
    pub done_bytes: u64,
    /// Bytes in all; the same in every report of one call.
    pub total_bytes: u64,
    /// Bytes fetched from the source so far.
    pub fetched_bytes: u64,
}

/// Hears how far it is, and says when to stop. Cheap: an engine may ask after every block.
pub trait Observer: Sync {
    /// Called as often as the engine likes; the listener thins it out.
    fn progressed(&self, progress: EngineProgress);
    /// Once true it stays true: the engine returns [`EngineErrorKind::Stopped`] soon.
    fn should_stop(&self) -> bool;
}

/// What the service does about a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EngineErrorKind {
    /// The bundle is not acceptable (signature, hash, size …): trying again does not help.
    Refused,
    /// The source did not answer, or the stick is not there: trying again may help.
    Unreachable,
    /// A slot cannot be written or does not keep what is written.
    Storage,
    /// [`Observer::should_stop`] said so.
    Stopped,
}

/// Why a call of the engine failed. The sentence says to a person what to do.
#[derive(Debug, Error)]
#[error("{sentence}")]
pub struct EngineError {
    /// What to do about it.
    pub kind: EngineErrorKind,
    /// One or two sentences, with what and where.
    pub sentence: String,
    /// Why, for the journal.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl EngineError {
    /// Without a cause of its own.
    pub fn new(kind: EngineErrorKind, sentence: impl Into<String>) -> Self {
        Self {
            kind,
            sentence: sentence.into(),
            source: None,
        }
    }

    /// The answer to [`Observer::should_stop`].
    pub fn stopped() -> Self {
        Self::new(EngineErrorKind::Stopped, "The installation was stopped.")
    }
}

/// Reads bundles, writes slots.
pub trait Engine: Send + Sync + 'static {
    /// Opens a bundle and checks its signature; reads only what that needs.
    fn inspect(&self, source: &Source, access: &Access) -> Result<BundleInfo, EngineError>;

    /// Brings every image of the bundle onto the partitions of the slot and flushes them. What is there already is kept
    /// (blocks are known by their content), so that a call after a cut goes on where the last one was.
    fn stream(&self, job: &Job, observer: &dyn Observer) -> Result<Written, EngineError>;

    /// Bytes that [`Engine::stream`] would fetch from the source now: of the bundle what neither slot has, and the tables
    /// around it. Fetches those tables, writes nothing, and takes its time so that nobody notices. Another bundle than
    /// `hash` at the source is refused.
    fn estimate(
        &self,
        source: &Source,
        access: &Access,
        hash: ManifestHash,
        observer: &dyn Observer,
    ) -> Result<u64, EngineError>;

    /// Reads back from the medium what [`Engine::stream`] wrote, and compares.
    fn read_back(&self, job: &Job, written: &Written, observer: &dyn Observer) -> Result<(), EngineError>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_paths_https_or_the_stick() {
        for (text, source) in [
            ("/data/a.raucb", Source::File("/data/a.raucb".into())),
            ("file:///data/a.raucb", Source::File("/data/a.raucb".into())),
            ("HTTPS://host/a", Source::Https("HTTPS://host/a".into())),
            ("usb", Source::Usb),
        ] {
            assert_eq!(Source::parse(text).unwrap(), source);
        }
        for (bad, says) in [
            ("http://host/a", "https://"),
            ("ftp://host/a", "ftp://"),
            ("a.raucb", "whole path"),
            ("file://a", "whole path"),
            ("https://a b", "blanks"),
            ("", "whole path"),
        ] {
            assert!(Source::parse(bad).unwrap_err().contains(says), "{bad}");
        }
    }

    #[test]
    fn a_manifest_hash_is_its_64_digits() {
        let text = "00ff".repeat(16);
        assert_eq!(text.parse::<ManifestHash>().unwrap().to_string(), text);
        for bad in ["", "00", &"0g".repeat(32), &"é".repeat(32)] {
            assert!(bad.parse::<ManifestHash>().is_err());
        }
    }
}
