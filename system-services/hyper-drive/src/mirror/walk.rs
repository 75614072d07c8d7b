//! The files and links below a folder, in the order in which a drive lists them.

use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, Dir, FileType, Mode};

use super::LeftOut;
use super::disk_path::{BadLink, BadName, DiskPath, MAX_DEPTH, UNFINISHED, check_name, link_on_disk};
use super::folder::{FOLDER, Folder, remove_leftover};
use super::plan::{Item, Kind};

/// Something that is found, or what is left out.
type Found = Result<Item, LeftOut>;

/// Walks through a folder. Links are not followed; what is neither file, folder nor link is passed over in silence, and so is what is ignored.
pub(super) struct Walk<'a> {
    folder: &'a Folder,
    ignored: &'a dyn Fn(&str) -> bool,
    levels: Vec<Level>,
    /// Unfinished files of others are removed on the way.
    tidy: bool,
}

struct Level {
    fd: OwnedFd,
    /// Its path, without the `/` at its end.
    path: String,
    /// What is in it, the last first.
    names: Vec<(Vec<u8>, bool)>,
}

impl<'a> Walk<'a> {
    pub(super) fn new(folder: &'a Folder, ignored: &'a dyn Fn(&str) -> bool, tidy: bool) -> io::Result<Self> {
        let fd = rustix::fs::openat(folder.fd(), ".", FOLDER, Mode::empty())?;
        let mut walk = Self {
            folder,
            ignored,
            levels: Vec::new(),
            tidy,
        };
        walk.enter(fd, String::new())?;
        Ok(walk)
    }

    fn enter(&mut self, fd: OwnedFd, path: String) -> io::Result<()> {
        let mut names = Vec::new();
        for entry in Dir::read_from(&fd)? {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            if matches!(name, b"." | b"..") {
                continue;
            }
            let is_folder = match entry.file_type() {
                FileType::Unknown => {
                    let stat = rustix::fs::statat(&fd, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW);
                    stat.is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
                }
                known => known == FileType::Directory,
            };
            names.push((name.to_vec(), is_folder));
        }
        // A folder's files are listed where its name and a `/` belong.
        names.sort_unstable_by(|(one, one_is_folder), (other, other_is_folder)| {
            let slash = |is_folder: &bool| is_folder.then_some(&b'/');
            let one = one.iter().chain(slash(one_is_folder));
            other.iter().chain(slash(other_is_folder)).cmp(one)
        });
        self.levels.push(Level { fd, path, names });
        Ok(())
    }

    /// Looks at one name. `None`: there is nothing to say of it.
    fn look(&mut self) -> Option<Option<Found>> {
        let depth = self.levels.len();
        let level = self.levels.last_mut()?;
        let Some((name, is_folder)) = level.names.pop() else {
            self.levels.pop();
            return Some(None);
        };
        let name = match String::from_utf8(name) {
            Ok(name) => name,
            Err(error) => {
                let name = String::from_utf8_lossy(error.as_bytes());
                return Some(refused(&level.path, &name, BadName::NotUtf8));
            }
        };
        if name.starts_with(UNFINISHED) {
            if self.tidy && !is_folder {
                remove_leftover(&level.fd, &name);
            }
            return Some(None);
        }
        let path = format!("{}/{name}", level.path);
        if (self.ignored)(&path) {
            return Some(None);
        }
        if let Err(why) = check_name(&name) {
            return Some(refused(&level.path, &name, why));
        }
        if !is_folder {
            return Some(self.item(path, &name));
        }
        if depth >= MAX_DEPTH {
            return Some(refused(&level.path, &name, BadName::TooDeep));
        }
        let entered = rustix::fs::openat(&level.fd, &name, FOLDER, Mode::empty())
            .map_err(io::Error::from)
            .and_then(|fd| self.enter(fd, path.clone()));
        Some(entered.err().and_then(|error| failed(path, &error)))
    }

    fn item(&self, path: String, name: &str) -> Option<Found> {
        let level = self.levels.last()?;
        let stat = match rustix::fs::statat(&level.fd, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(error) => return failed(path, &error.into()),
        };
        let disk_path = match DiskPath::new(&path) {
            Ok(disk_path) => disk_path,
            Err(why) => return Some(Err(LeftOut::new(path, why))),
        };
        let kind = match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Kind::File {
                bytes: Some(u64::try_from(stat.st_size).unwrap_or_default()),
                executable: stat.st_mode & 0o100 != 0,
            },
            FileType::Symlink => match self.target(level, &disk_path, name) {
                Ok(link) => link,
                Err(why) => return Some(Err(LeftOut::new(path, why))),
            },
            _ => return None,
        };
        Some(Ok(Item { path, kind }))
    }

    fn target(&self, level: &Level, path: &DiskPath, name: &str) -> Result<Kind, String> {
        let target =
            rustix::fs::readlinkat(&level.fd, name, Vec::new()).map_err(|error| error.to_string())?;
        let target = Path::new(OsStr::from_bytes(target.as_bytes()));
        // An absolute target within the folder is one from its root, as the peers have it; any other leads out.
        let target = match target.strip_prefix(self.folder.path()) {
            Ok(within) => Path::new("/").join(within),
            Err(_) if target.is_absolute() => return Err(BadLink::Outside.to_string()),
            Err(_) => target.to_owned(),
        };
        let linkname = target.to_str().ok_or_else(|| BadName::NotUtf8.to_string())?;
        let target = link_on_disk(path, linkname).map_err(|why| why.to_string())?;
        Ok(Kind::Link {
            target,
            linkname: linkname.to_owned(),
        })
    }
}

impl Iterator for Walk<'_> {
    type Item = Found;

    fn next(&mut self) -> Option<Found> {
        loop {
            if let Some(found) = self.look()? {
                return Some(found);
            }
        }
    }
}

fn refused(folder: &str, name: &str, why: BadName) -> Option<Found> {
    Some(Err(LeftOut::new(format!("{folder}/{name}"), why)))
}

/// What vanished while the folder was walked through was not there.
fn failed(path: String, error: &io::Error) -> Option<Found> {
    (error.kind() != io::ErrorKind::NotFound).then(|| Err(LeftOut::new(path, error)))
}
