//! A folder on a disk, into which names from strangers are written.
//!
//! Every path is walked name by name from the open root, and no name is followed if it is a link: whatever the names say, and whoever
//! changes the folder meanwhile, nothing outside is read or written (`docs/decisions/0022-drives-on-disk.md`).

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, FileType, FlockOperation, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::disk_path::{DiskPath, UNFINISHED};

/// How a folder is opened.
pub(super) const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

/// An open folder. Clones are the same one.
#[derive(Debug, Clone)]
pub struct Folder(Arc<Root>);

#[derive(Debug)]
struct Root {
    fd: OwnedFd,
    path: PathBuf,
    unfinished: AtomicU64,
}

impl Folder {
    /// Opens a folder. Links in its own path are followed: that path is the caller's, not a stranger's.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let root = Root {
            fd: rustix::fs::open(path, flags, Mode::empty())?,
            path: path.canonicalize()?,
            unfinished: AtomicU64::new(0),
        };
        Ok(Self(Arc::new(root)))
    }

    /// Opens a folder, made if it is not there.
    pub fn create(path: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(path)?;
        Self::open(path)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    pub(super) fn fd(&self) -> &OwnedFd {
        &self.0.fd
    }

    /// Opens the folder of a path, and says the name within. Folders that are not there are made, if that is wished.
    fn parent<'a>(&self, path: &'a DiskPath, make: bool) -> io::Result<(OwnedFd, &'a str)> {
        let (folders, name) = path.split();
        let mut at = self.0.fd.try_clone()?;
        for folder in folders {
            at = match rustix::fs::openat(&at, folder, FOLDER, Mode::empty()) {
                Err(Errno::NOENT) if make => {
                    match rustix::fs::mkdirat(&at, folder, Mode::from_raw_mode(0o777)) {
                        Ok(()) | Err(Errno::EXIST) => {}
                        Err(error) => return Err(error.into()),
                    }
                    rustix::fs::openat(&at, folder, FOLDER, Mode::empty())?
                }
                opened => opened?,
            };
        }
        Ok((at, name))
    }

    /// Opens a file for reading. Links, folders, devices and pipes are no files.
    pub(super) fn read(&self, path: &DiskPath) -> io::Result<(File, Stat)> {
        let (folder, name) = self.parent(path, false)?;
        // A pipe would be waited for without NONBLOCK.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&folder, name, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(io::Error::other("it is no ordinary file"));
        }
        Ok((File::from(file), stat))
    }

    /// Begins a file that gets its name when it is whole.
    pub(super) fn begin(&self, path: &DiskPath, executable: bool) -> io::Result<NewFile> {
        let (folder, name) = self.parent(path, true)?;
        let mode = Mode::from_raw_mode(if executable { 0o777 } else { 0o666 });
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let (unfinished, file) = self.unfinished(|name| rustix::fs::openat(&folder, name, flags, mode))?;
        let new = NewFile {
            folder,
            unfinished: Some(unfinished),
            name: name.to_owned(),
            file: File::from(file),
        };
        // Tells who tidies up that it is being written.
        rustix::fs::flock(&new.file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(new)
    }

    /// Makes a link, in place of whatever has its name. The target is not looked at: it has to be one of `link_on_disk`.
    pub(super) fn link(&self, path: &DiskPath, target: &str) -> io::Result<()> {
        let (folder, name) = self.parent(path, true)?;
        let (unfinished, ()) = self.unfinished(|name| rustix::fs::symlinkat(target, &folder, name))?;
        let renamed = rustix::fs::renameat(&folder, &unfinished, &folder, name);
        if renamed.is_err() {
            let _ = rustix::fs::unlinkat(&folder, &unfinished, AtFlags::empty());
        }
        Ok(renamed?)
    }

    /// Makes something under a name that is not taken.
    fn unfinished<T>(&self, make: impl Fn(&str) -> rustix::io::Result<T>) -> io::Result<(String, T)> {
        let process = std::process::id();
        loop {
            let number = self.0.unfinished.fetch_add(1, Ordering::Relaxed);
            let name = format!("{UNFINISHED}{process}-{number}");
            match make(&name) {
                Err(Errno::EXIST) => {}
                made => return Ok((name, made?)),
            }
        }
    }

    /// Removes a file or link, and the folders above that are empty then.
    pub(super) fn remove(&self, path: &DiskPath) -> io::Result<()> {
        let (folders, name) = path.split();
        let mut above = vec![(self.0.fd.try_clone()?, "")];
        for folder in folders {
            let Some((at, _)) = above.last() else { break };
            above.push((rustix::fs::openat(at, folder, FOLDER, Mode::empty())?, folder));
        }
        let Some((folder, mut empty)) = above.pop() else {
            return Ok(());
        };
        rustix::fs::unlinkat(&folder, name, AtFlags::empty())?;
        while let Some((at, next)) = above.pop() {
            if rustix::fs::unlinkat(&at, empty, AtFlags::REMOVEDIR).is_err() {
                break;
            }
            empty = next;
        }
        Ok(())
    }

    /// Lets a file be run, or not, by those who may read it. Says whether that is a change.
    pub(super) fn set_executable(
        &self,
        path: &DiskPath,
        executable: bool,
        dry_run: bool,
    ) -> io::Result<bool> {
        let (file, stat) = self.read(path)?;
        if (stat.st_mode & 0o100 != 0) == executable {
            return Ok(false);
        }
        let readers = (stat.st_mode & 0o444) >> 2;
        let mode = if executable {
            stat.st_mode | readers | 0o100
        } else {
            stat.st_mode & !0o111
        };
        if !dry_run {
            rustix::fs::fchmod(&file, Mode::from_raw_mode(mode & 0o7777))?;
        }
        Ok(true)
    }

    /// Waits until everything that was renamed is on the disk.
    pub(super) fn flush(&self) -> io::Result<()> {
        Ok(rustix::fs::syncfs(&self.0.fd)?)
    }
}

/// Removes a file that was left unfinished, unless somebody is writing it.
pub(super) fn remove_leftover(folder: &OwnedFd, name: &str) {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let nobody_writes = match rustix::fs::openat(folder, name, flags, Mode::empty()) {
        Ok(file) => rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok(),
        // A link that was not renamed.
        Err(error) => error == Errno::LOOP,
    };
    if nobody_writes {
        let _ = rustix::fs::unlinkat(folder, name, AtFlags::empty());
    }
}

/// A file without a name. Dropped before it is finished, nothing of it stays.
pub(super) struct NewFile {
    folder: OwnedFd,
    unfinished: Option<String>,
    name: String,
    file: File,
}

impl NewFile {
    pub(super) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Gives it its name, in place of what had it, once its bytes are on the disk.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.file.sync_data()?;
        if let Some(unfinished) = &self.unfinished {
            rustix::fs::renameat(&self.folder, unfinished, &self.folder, &self.name)?;
            self.unfinished = None;
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if let Some(unfinished) = self.unfinished.take() {
            let _ = rustix::fs::unlinkat(&self.folder, unfinished, AtFlags::empty());
        }
    }
}
