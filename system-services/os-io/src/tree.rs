//! Emptying a folder: relative to file descriptors, never through a symbolic link, never into another file system.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Folders deeper than this are first moved to the top: open descriptors and stack stay bounded however deep somebody nested.
const MAX_DEPTH: u32 = 24;

/// Removes everything in `folder` except the entries of the top level named in `keep`.
///
/// `before_removal` gets the number of entries removed so far before each removal; its error stops the work (a watchdog
/// is fed there, a test cuts there). What is mounted below is neither entered nor removed. Nothing is synced.
pub fn remove_contents(
    folder: BorrowedFd<'_>,
    keep: &[&str],
    before_removal: &mut dyn FnMut(u64) -> io::Result<()>,
) -> io::Result<u64> {
    let device = rustix::fs::fstat(folder)?.st_dev;
    let mut work = Work {
        top: folder,
        device,
        removed: 0,
        hoisted: 0,
        before_removal,
    };
    // Folders moved up may come too late for the pass that is under way.
    loop {
        let hoisted = work.hoisted;
        work.empty(folder, keep, 0)?;
        if work.hoisted == hoisted {
            return Ok(work.removed);
        }
    }
}

struct Work<'a> {
    top: BorrowedFd<'a>,
    device: u64,
    removed: u64,
    hoisted: u64,
    before_removal: &'a mut dyn FnMut(u64) -> io::Result<()>,
}

impl Work<'_> {
    fn empty(&mut self, folder: BorrowedFd<'_>, keep: &[&str], depth: u32) -> io::Result<()> {
        for entry in Dir::read_from(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            if matches!(name.to_bytes(), b"." | b"..") || keep.iter().any(|k| k.as_bytes() == name.to_bytes())
            {
                continue;
            }
            let is_folder = match entry.file_type() {
                FileType::Directory => true,
                FileType::Unknown => {
                    let stat = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
                    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
                }
                _ => false,
            };
            if is_folder {
                self.remove_folder(folder, name, depth)?;
            } else {
                (self.before_removal)(self.removed)?;
                rustix::fs::unlinkat(folder, name, AtFlags::empty())?;
                self.removed += 1;
            }
        }
        Ok(())
    }

    fn remove_folder(&mut self, parent: BorrowedFd<'_>, name: &CStr, depth: u32) -> io::Result<()> {
        let child = open_folder(parent, name)?;
        if rustix::fs::fstat(&child)?.st_dev != self.device {
            return Ok(());
        }
        if depth >= MAX_DEPTH {
            return self.hoist(parent, name);
        }
        self.empty(child.as_fd(), &[], depth + 1)?;
        (self.before_removal)(self.removed)?;
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            // Something is mounted on it or below it.
            Err(Errno::BUSY | Errno::NOTEMPTY) => {}
            other => {
                other?;
                self.removed += 1;
            }
        }
        Ok(())
    }

    fn hoist(&mut self, parent: BorrowedFd<'_>, name: &CStr) -> io::Result<()> {
        loop {
            (self.before_removal)(self.removed)?;
            let target = format!(".removing-{}", self.hoisted);
            self.hoisted += 1;
            match rustix::fs::renameat_with(parent, name, self.top, target, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                other => return Ok(other?),
            }
        }
    }
}

fn open_folder(parent: BorrowedFd<'_>, name: &CStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn everything_goes_except_what_is_kept_and_what_links_point_to() {
        let outside = tempfile::tempdir().unwrap();
        fs::write(outside.path().join("precious"), "x").unwrap();
        let folder = tempfile::tempdir().unwrap();
        let top = folder.path();
        fs::create_dir_all(top.join("a/b/c")).unwrap();
        fs::create_dir(top.join("kept")).unwrap();
        fs::write(top.join("kept/inside"), "x").unwrap();
        fs::write(top.join("a/b/file"), "x").unwrap();
        fs::create_dir(top.join("a/kept")).unwrap();
        symlink(outside.path(), top.join("a/link")).unwrap();
        symlink("/", top.join("root")).unwrap();
        let removed = remove_contents(File::open(top).unwrap().as_fd(), &["kept"], &mut |_| Ok(())).unwrap();
        assert_eq!(removed, 7);
        assert_eq!(fs::read_dir(top).unwrap().count(), 1);
        assert!(top.join("kept/inside").exists());
        assert!(outside.path().join("precious").exists());
    }

    #[test]
    fn depth_is_no_limit() {
        let folder = tempfile::tempdir().unwrap();
        let mut path = folder.path().to_path_buf();
        for level in 0..300 {
            path.push("d");
            fs::create_dir(&path).unwrap();
            fs::write(path.join("f"), [0; 1]).unwrap();
            if level % 50 == 0 {
                fs::write(folder.path().join(format!(".removing-{level}")), "in the way").unwrap();
            }
        }
        remove_contents(File::open(folder.path()).unwrap().as_fd(), &[], &mut |_| Ok(())).unwrap();
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
