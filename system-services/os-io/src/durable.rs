//! Writes that survive a pulled plug: temporary file, fsync, rename, fsync of the folder.
//!
//! **Invariant:** after a cut at any moment the path names the whole old content or the whole new content, never a
//! mixture, never nothing where there was something. Once a function here has returned `Ok`, it names the new one.
//!
//! One writer per file: the temporary name is fixed, so that cuts leave at most one stray file, which the next write removes.

use std::ffi::OsString;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::{Error, failed};

/// The steps of a write, in order; the tests stop before each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Create,
    Write,
    SyncFile,
    Rename,
    SyncFolder,
}

/// Replaces `path` by `content` with permission bits `mode`, whatever the umask. The folder must exist.
pub fn write_atomically(path: &Path, content: &[u8], mode: u32) -> Result<(), Error> {
    write_in_steps(path, content, mode, &mut |_| Ok(())).map_err(failed(format!("write {}", path.display())))
}

fn write_in_steps(
    path: &Path,
    content: &[u8],
    mode: u32,
    before: &mut dyn FnMut(Step) -> io::Result<()>,
) -> io::Result<()> {
    let folder = folder_of(path);
    let temporary = temporary_of(path)?;

    before(Step::Create)?;
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    // `create_new` does not follow a link that somebody left there; the mode is never wider than asked for.
    let mut file = File::options()
        .write(true)
        .create_new(true)
        .mode(mode & 0o600)
        .open(&temporary)?;
    let written = (|| {
        before(Step::Write)?;
        file.write_all(content)?;
        file.set_permissions(Permissions::from_mode(mode))?;
        before(Step::SyncFile)?;
        file.sync_all()?;
        before(Step::Rename)?;
        fs::rename(&temporary, path)
    })();
    if let Err(error) = written {
        // A full disk must not stay full because of us.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    before(Step::SyncFolder)?;
    File::open(folder)?.sync_all()
}

/// Removes a file; that it is not there is fine. Returns once the removal is durable.
pub fn remove(path: &Path) -> Result<(), Error> {
    let remove = || -> io::Result<()> {
        match fs::remove_file(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => File::open(folder_of(path))?.sync_all(),
        }
    };
    remove().map_err(failed(format!("remove {}", path.display())))
}

/// Makes a folder with permission bits `mode`, whatever the umask, and makes its entry durable. The parent must exist;
/// a folder that exists keeps what it has. Anything else in its place is an error.
pub fn create_folder(path: &Path, mode: u32) -> Result<(), Error> {
    let create = || -> io::Result<()> {
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => {
                fs::set_permissions(path, Permissions::from_mode(mode))?;
                File::open(folder_of(path))?.sync_all()
            }
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                if fs::symlink_metadata(path)?.is_dir() {
                    Ok(())
                } else {
                    Err(error)
                }
            }
            Err(error) => Err(error),
        }
    };
    create().map_err(failed(format!("make the folder {}", path.display())))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

fn temporary_of(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".new");
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: [Step; 5] = [
        Step::Create,
        Step::Write,
        Step::SyncFile,
        Step::Rename,
        Step::SyncFolder,
    ];

    #[test]
    fn a_failure_at_any_step_leaves_the_whole_old_or_the_whole_new_content() {
        for old in [None, Some(b"old content".as_slice())] {
            for stop in STEPS {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("settings.toml");
                if let Some(old) = old {
                    fs::write(&path, old).unwrap();
                }
                let result = write_in_steps(&path, b"new", 0o640, &mut |step| {
                    if step == stop {
                        Err(io::Error::other("cut"))
                    } else {
                        Ok(())
                    }
                });
                assert!(result.is_err(), "{stop:?}");
                let expected = if stop == Step::SyncFolder {
                    Some(b"new".as_slice())
                } else {
                    old
                };
                assert_eq!(fs::read(&path).ok().as_deref(), expected, "{stop:?}");
                // The next write mends whatever was left, and leaves nothing else.
                write_atomically(&path, b"newer", 0o600).unwrap();
                assert_eq!(fs::read(&path).unwrap(), b"newer");
                assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "{stop:?}");
            }
        }
    }

    /// A pulled plug runs no clean-up: the state that each step leaves on the disk is what is judged.
    #[test]
    fn the_state_before_each_step_is_one_that_a_cut_may_leave() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        fs::write(&path, "old").unwrap();
        let mut seen = Vec::new();
        write_in_steps(&path, b"new", 0o600, &mut |step| {
            seen.push(step);
            let expected = if step == Step::SyncFolder { "new" } else { "old" };
            assert_eq!(fs::read_to_string(&path)?, expected, "{step:?}");
            Ok(())
        })
        .unwrap();
        assert_eq!(seen, STEPS, "the file is synced before it gets its name");
    }

    #[test]
    fn stray_files_and_planted_links_are_replaced_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let (path, victim) = (folder.path().join("file"), folder.path().join("victim"));
        fs::write(&victim, "precious").unwrap();
        std::os::unix::fs::symlink(&victim, folder.path().join(".file.new")).unwrap();
        write_atomically(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&victim).unwrap(), b"precious");
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[test]
    fn mode_is_exact_and_folders_are_idempotent() {
        let folder = tempfile::tempdir().unwrap();
        let (path, sub) = (folder.path().join("file"), folder.path().join("sub"));
        write_atomically(&path, b"", 0o666).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o666);
        create_folder(&sub, 0o1777).unwrap();
        create_folder(&sub, 0o700).unwrap();
        assert_eq!(fs::metadata(&sub).unwrap().permissions().mode() & 0o7777, 0o1777);
        assert!(create_folder(&path, 0o700).is_err(), "a file is in the way");
        remove(&path).unwrap();
        remove(&path).unwrap();
        assert!(!path.exists());
    }
}
