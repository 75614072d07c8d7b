//! Opens a source, and the bundle in it.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bundle::cms::UnixTime;
use bundle::container::{Bundle, Limits, OpenError};
use bundle::keyring::Keyring;
use bundle::payload::PayloadError;
use bundle::source::ReadAt;
use ipc::paths;
use os_io::root::Root;

use super::https::{Https, HttpsError, Options};
use super::usb;
use crate::engine::{Access, EngineError, EngineErrorKind, Source};

/// The certificates of public authorities.
const PUBLIC_AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";
/// Certificates of authorities for servers of one's own, beside the public ones.
const OWN_AUTHORITIES: &str = "/var/lib/hearth-updater/authorities.pem";
/// Revocation lists that came with a channel after the image was made.
pub const NEWER_CRLS: &str = "/var/lib/hearth-updater/crl.pem";
/// Certificates and lists are some kilobytes.
const MAX_PEM: u64 = 1 << 20;

/// A bundle whose signature was verified, wherever it is.
pub type OpenBundle = Bundle<Arc<dyn ReadAt>>;

/// What is open, and how to ask how much of it came over a network.
pub struct Opened {
    /// The bundle.
    pub bundle: OpenBundle,
    /// Of an HTTPS source.
    pub https: Option<Arc<Https>>,
}

/// A file of this box.
struct LocalFile {
    file: File,
    size: u64,
}

impl ReadAt for LocalFile {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }
}

/// Opens a bundle and verifies its signature.
pub fn open(
    root: &Root,
    source: &Source,
    access: &Access,
    stop: &Arc<AtomicBool>,
) -> Result<Opened, EngineError> {
    let (bytes, https): (Arc<dyn ReadAt>, _) = match source {
        Source::File(path) => (Arc::new(local(&root.path(path))?), None),
        Source::Usb => (Arc::new(local(&usb::bundle(root)?)?), None),
        Source::Https(url) => {
            let https =
                Arc::new(Https::open(options(root, url, access)?, Arc::clone(stop)).map_err(https_error)?);
            (Arc::clone(&https) as Arc<dyn ReadAt>, Some(https))
        }
    };
    let keyring = keyring(root)?;
    let bundle = Bundle::open(bytes, &keyring, clock(root), Limits::default()).map_err(open_error)?;
    Ok(Opened { bundle, https })
}

fn local(path: &Path) -> Result<LocalFile, EngineError> {
    let fail = |source: io::Error| EngineError {
        kind: EngineErrorKind::Unreachable,
        sentence: format!("{} cannot be read: {source}.", path.display()),
        source: None,
    };
    let file = File::open(path).map_err(fail)?;
    let metadata = file.metadata().map_err(fail)?;
    if !metadata.is_file() {
        let what = if metadata.file_type().is_block_device() {
            "a device"
        } else {
            "no file"
        };
        return Err(fail(io::Error::other(format!("it is {what}"))));
    }
    Ok(LocalFile {
        size: metadata.len(),
        file,
    })
}

fn options(root: &Root, url: &str, access: &Access) -> Result<Options, EngineError> {
    if access.tls_certificate.is_some() || access.tls_key.is_some() {
        return Err(refused(
            "Client certificates are not supported; use a header with a token instead.",
        ));
    }
    if access.tls_no_verify {
        return Err(refused(
            "The server's certificate is always checked. Give its authority's certificate (tls-ca) instead of tls-no-verify.",
        ));
    }
    let authorities = match &access.tls_authorities {
        Some(path) => pem(&root.path(path))?,
        None => authorities(root)?,
    };
    let mut options = Options::new(url, authorities);
    for line in &access.headers {
        let (name, value) = line
            .split_once(':')
            .ok_or_else(|| refused("A header must be of the form Name: value."))?;
        options
            .headers
            .push((name.trim().to_owned(), value.trim().to_owned()));
    }
    Ok(options)
}

/// The public authorities, and those of the owner's own servers.
pub fn authorities(root: &Root) -> Result<String, EngineError> {
    let mut text = String::new();
    for path in [PUBLIC_AUTHORITIES, OWN_AUTHORITIES] {
        let path = root.path(path);
        if path.exists() {
            text.push_str(&pem(&path)?);
            text.push('\n');
        }
    }
    Ok(text)
}

/// What this appliance trusts: the image's keyring and revocation lists, and newer lists of a channel.
pub fn keyring(root: &Root) -> Result<Keyring, EngineError> {
    let unusable = |what: &str, why: &dyn std::fmt::Display| {
        EngineError::new(
            EngineErrorKind::Storage,
            format!("The {what} of this system cannot be used ({why}), so no update can be trusted."),
        )
    };
    let text = pem(&root.path(paths::UPDATE_KEYRING))?;
    let mut keyring = Keyring::from_pem(&text).map_err(|e| unusable("keyring", &e))?;
    for path in [paths::UPDATE_CRLS, NEWER_CRLS] {
        let path = root.path(path);
        if fs::metadata(&path).is_ok_and(|m| m.len() > 0) {
            keyring = keyring
                .with_crls(&pem(&path)?)
                .map_err(|e| unusable("list of revoked keys", &e))?;
        }
    }
    Ok(keyring)
}

/// Now, and never before the image was made: a box without a battery for its clock starts in the past.
pub fn clock(root: &Root) -> UnixTime {
    // Everything in the image has the time of its sources.
    let floor = fs::metadata(root.path(paths::UPDATE_KEYRING))
        .and_then(|m| m.modified())
        .unwrap_or(UNIX_EPOCH);
    let now = SystemTime::now().max(floor);
    UnixTime(now.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs())
}

/// The text of a file with certificates or lists.
pub fn pem(path: &PathBuf) -> Result<String, EngineError> {
    let read = || -> io::Result<String> {
        use io::Read;
        let mut text = String::new();
        File::open(path)?.take(MAX_PEM).read_to_string(&mut text)?;
        Ok(text)
    };
    read().map_err(|e| refused(format!("{} cannot be read: {e}.", path.display())))
}

pub(super) fn refused(sentence: impl Into<String>) -> EngineError {
    EngineError::new(EngineErrorKind::Refused, sentence)
}

/// What the service does about it, and the sentence.
pub fn https_error(error: HttpsError) -> EngineError {
    let kind = match &error {
        // It will lead there the next time, too.
        HttpsError::Status {
            status: 300..=399, ..
        } => EngineErrorKind::Refused,
        HttpsError::Unreachable { .. } | HttpsError::Status { .. } => EngineErrorKind::Unreachable,
        HttpsError::NotHttps(_) | HttpsError::Authorities | HttpsError::Answer { .. } => {
            EngineErrorKind::Refused
        }
    };
    EngineError {
        kind,
        sentence: format!("{}.", chain(&error)),
        source: Some(Box::new(error)),
    }
}

fn open_error(error: OpenError) -> EngineError {
    let read = match &error {
        OpenError::Read(source) => Some(source),
        // Tables that lead behind the end of the payload are the bundle's fault.
        OpenError::Payload(PayloadError::Read(source))
        | OpenError::FileMissing {
            source: PayloadError::Read(source),
            ..
        } => Some(source).filter(|source| source.kind() != io::ErrorKind::UnexpectedEof),
        _ => None,
    };
    let kind = read.map_or(EngineErrorKind::Refused, reading);
    let sentence = match (read, kind) {
        (Some(source), EngineErrorKind::Refused) => damaged(source),
        (_, EngineErrorKind::Refused) => sentence("The bundle is refused", &error),
        _ => sentence("The bundle cannot be read", &error),
    };
    EngineError {
        kind,
        sentence,
        source: Some(Box::new(error)),
    }
}

/// What was read is not what was signed.
pub(super) fn damaged(error: &io::Error) -> String {
    sentence("The bundle is damaged; download or copy it again", error)
}

/// What, and why: the error with its causes.
pub(super) fn sentence(what: &str, error: &dyn std::error::Error) -> String {
    let text = format!("{what}: {}", chain(error));
    if text.ends_with(['.', '?', '!']) {
        text
    } else {
        text + "."
    }
}

/// Whether a failed read is the network's or the medium's matter, or the bundle's own.
pub fn reading(error: &io::Error) -> EngineErrorKind {
    if error.kind() == io::ErrorKind::Interrupted {
        return EngineErrorKind::Stopped;
    }
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.get_ref().map(|e| e as _);
    while let Some(inner) = cause {
        if let Some(https) = inner.downcast_ref::<HttpsError>() {
            return match https {
                HttpsError::Answer { .. } => EngineErrorKind::Refused,
                _ => EngineErrorKind::Unreachable,
            };
        }
        if inner.is::<bundle::verity::VerityError>() {
            return EngineErrorKind::Refused;
        }
        cause = inner.source();
    }
    EngineErrorKind::Unreachable
}

/// An error and its causes in one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let more = inner.to_string();
        if !text.ends_with(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = inner.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(error: io::Error) -> EngineError {
        open_error(OpenError::Payload(PayloadError::Read(error)))
    }

    #[test]
    fn a_server_that_goes_while_the_tables_are_read_does_not_condemn_the_bundle() {
        let gone = HttpsError::Status {
            url: "https://server/update.raucb".into(),
            status: 503,
        };
        let error = of(io::Error::other(gone));
        assert_eq!(error.kind, EngineErrorKind::Unreachable);
        assert!(error.sentence.contains("cannot be read"), "{error}");
        let wrong = bundle::verity::VerityError::Data { block: 7 };
        assert_eq!(of(wrong.into()).kind, EngineErrorKind::Refused);
        let beyond = of(io::ErrorKind::UnexpectedEof.into());
        assert_eq!(beyond.kind, EngineErrorKind::Refused);
    }
}
