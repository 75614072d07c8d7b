//! How to speak with the server of the installation under way, kept so that it goes on after a power cut.
//!
//! Headers may be secrets: the file is for root alone, goes when the installation ends, and is used for the source that it
//! was given for and for no other. Nothing here shows what is in it, not even what is wrong with it.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use os_io::durable;
use os_io::root::Root;
use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::engine::{Access, Source};

/// Where it is, while there is one.
pub const PATH: &str = "/var/lib/hearth-updater/access.json";
/// Longest file that is written and read.
const MAX_BYTES: usize = 64 * 1024;
const FORMAT: u32 = 1;

/// Why it is not kept, or not there.
#[derive(Debug, Error)]
pub enum AccessError {
    /// Headers beyond all measure, or a path that is no text.
    #[error("the headers or file names for the server are too long to be kept")]
    TooLong,
    /// Not what this version writes.
    #[error("what was kept for the server is damaged")]
    Damaged,
    /// The file cannot be read.
    #[error("what was kept for the server cannot be read")]
    Read(#[source] io::Error),
    /// The file cannot be written or removed.
    #[error("what is kept for the server cannot be written or removed")]
    Write(#[source] os_io::Error),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    format: u32,
    source: Source,
    tls_certificate: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls_authorities: Option<PathBuf>,
    tls_no_verify: bool,
    headers: Vec<String>,
}

/// Keeps it over a restart; durable when this returns. Without anything to keep, nothing is left there.
pub fn keep(root: &Root, source: &Source, access: &Access) -> Result<(), AccessError> {
    if *access == Access::default() {
        return forget(root);
    }
    let bytes = encode(source, access)?;
    durable::write_atomically(&root.path(PATH), &bytes, 0o600).map_err(AccessError::Write)
}

/// What was kept for this source; the default when there is nothing.
pub fn recall(root: &Root, source: &Source) -> Result<Access, AccessError> {
    let mut bytes = Vec::new();
    match File::open(root.path(PATH)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Access::default()),
        opened => opened
            .and_then(|file| file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes))
            .map_err(AccessError::Read)?,
    };
    let (of, access) = decode(&bytes)?;
    Ok(if of == *source { access } else { Access::default() })
}

/// The installation ended.
pub fn forget(root: &Root) -> Result<(), AccessError> {
    durable::remove(&root.path(PATH)).map_err(AccessError::Write)
}

fn encode(source: &Source, access: &Access) -> Result<Vec<u8>, AccessError> {
    let Access {
        tls_certificate,
        tls_key,
        tls_authorities,
        tls_no_verify,
        headers,
    } = access.clone();
    let stored = Stored {
        format: FORMAT,
        source: source.clone(),
        tls_certificate,
        tls_key,
        tls_authorities,
        tls_no_verify,
        headers,
    };
    let bytes = serde_json::to_vec(&stored).map_err(|_| AccessError::TooLong)?;
    if bytes.len() > MAX_BYTES {
        return Err(AccessError::TooLong);
    }
    Ok(bytes)
}

/// The bytes of the file; public for the fuzz tests.
pub fn decode(bytes: &[u8]) -> Result<(Source, Access), AccessError> {
    // The parser's own words would quote what is there.
    let stored: Stored = (bytes.len() <= MAX_BYTES)
        .then(|| serde_json::from_slice(bytes).ok())
        .flatten()
        .filter(|stored: &Stored| stored.format == FORMAT)
        .ok_or(AccessError::Damaged)?;
    let access = Access {
        tls_certificate: stored.tls_certificate,
        tls_key: stored.tls_key,
        tls_authorities: stored.tls_authorities,
        tls_no_verify: stored.tls_no_verify,
        headers: stored.headers,
    };
    Ok((stored.source, access))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn access() -> Access {
        Access {
            tls_authorities: Some("/data/ca.pem".into()),
            headers: vec!["Authorization: Bearer hush".into()],
            ..Access::default()
        }
    }

    fn server(name: &str) -> Source {
        Source::Https(format!("https://{name}/b.raucb"))
    }

    #[test]
    fn it_is_kept_for_one_source_and_for_root_alone_until_it_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        std::fs::create_dir_all(root.path("/var/lib/hearth-updater")).unwrap();
        assert!(recall(&root, &server("a")).unwrap() == Access::default());
        keep(&root, &server("a"), &access()).unwrap();
        let mode = std::fs::metadata(root.path(PATH)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert!(recall(&root, &server("a")).unwrap() == access());
        assert!(
            recall(&root, &server("b")).unwrap() == Access::default(),
            "no other server sees the headers"
        );
        keep(&root, &server("b"), &Access::default()).unwrap();
        assert!(!root.path(PATH).exists());
        keep(&root, &server("a"), &access()).unwrap();
        forget(&root).unwrap();
        forget(&root).unwrap();
        assert!(!root.path(PATH).exists());
    }

    #[test]
    fn what_is_damaged_or_too_long_is_refused_without_a_word_of_it() {
        let bytes = encode(&server("a"), &access()).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        assert!(decode(text.as_bytes()).is_ok());
        for (from, to) in [
            ("\"format\":1", "\"format\":2"),
            ("\"headers\"", "\"footers\""),
            ("false", "\"hush\""),
            ("}", ""),
        ] {
            let error = decode(text.replacen(from, to, 1).as_bytes()).err().unwrap();
            let told = format!("{error} {error:?} {}", crate::error::chain(&error));
            assert!(
                matches!(error, AccessError::Damaged) && !told.contains("hush"),
                "{told}"
            );
        }
        let long = Access {
            headers: vec!["a: b".repeat(MAX_BYTES)],
            ..Access::default()
        };
        assert!(matches!(encode(&server("a"), &long), Err(AccessError::TooLong)));
    }
}
