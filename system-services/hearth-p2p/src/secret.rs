//! Secrets: never on the command line, where every process of the computer sees them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use anyhow::{Context, Result};
use hyper_core::key;
use zeroize::Zeroizing;

use crate::refusal::{self, Refusal};

/// A secret is 64 characters; who points at another file is told before all of it is read.
const MAX_FILE_BYTES: u64 = 256;

/// Reads 32 bytes that are written as a key is, out of a file or (`-`) standard input.
pub fn read(path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    let mut text = Zeroizing::new(String::new());
    if path == Path::new("-") {
        io::stdin()
            .take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .context("the secret cannot be read from standard input")?;
    } else {
        let file = File::open(path).map_err(|error| refusal::of_file(path, "read", error))?;
        warn_if_others_read(path, &file)?;
        file.take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .with_context(|| format!("{} cannot be read", path.display()))?;
    }
    parse(&text, path)
}

fn parse(text: &str, path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    let secret = key::parse(text.trim()).map_err(|error| {
        // Its text says a character of the secret at most.
        Refusal::Usage(format!("{} holds no secret of 32 bytes: {error}", path.display()))
    })?;
    Ok(Zeroizing::new(secret))
}

fn warn_if_others_read(path: &Path, file: &File) -> Result<()> {
    let metadata = file
        .metadata()
        .with_context(|| format!("{} cannot be read", path.display()))?;
    if metadata.is_file() && metadata.permissions().mode() & 0o077 != 0 {
        let path = path.display();
        writeln!(
            io::stderr().lock(),
            "warning: others may read the secret in {path}: chmod 600 {path}"
        )?;
    }
    Ok(())
}

/// Makes a secret and keeps it in a new file that only its owner reads.
pub fn create(path: &Path) -> Result<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(&mut secret[..]).context("the system gives no random bytes")?;
    write(path, &secret)?;
    Ok(secret)
}

/// Writes a secret into a new file that only its owner reads.
pub fn write(path: &Path, secret: &[u8; 32]) -> Result<()> {
    let text = Zeroizing::new(format!("{}\n", Zeroizing::new(key::to_hex(secret)).as_str()));
    let file = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    let mut file = match file {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let path = path.display();
            return Err(Refusal::Refused(format!(
                "{path} is there already: a secret is never overwritten; choose another file"
            ))
            .into());
        }
        file => file.map_err(|error| refusal::of_file(path, "made", error))?,
    };
    file.write_all(text.as_bytes())
        .and_then(|()| file.sync_all())
        .with_context(|| format!("{} cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_read_as_it_was_written_and_never_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("secret");
        let secret = create(&path).unwrap();
        assert_eq!(*read(&path).unwrap(), *secret);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        assert!(create(&path).is_err());
        assert_eq!(*read(&path).unwrap(), *secret);
    }

    #[test]
    fn a_file_without_a_secret_is_refused_without_showing_it() {
        let message = parse("not a secret at all", Path::new("file"))
            .unwrap_err()
            .to_string();
        assert!(message.starts_with("file holds no secret"), "{message}");
        assert!(!message.contains("at all"), "{message}");
    }
}
