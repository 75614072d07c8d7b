//! Mounts, and the move from the initramfs to the real root.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

pub use rustix::mount::{MountFlags, UnmountFlags};
use rustix::mount::{mount_bind, mount_move};

use crate::{Error, failed, tree};

/// Flags of a file system that holds neither devices nor programs.
pub const DATA_ONLY: MountFlags = MountFlags::NODEV
    .union(MountFlags::NOSUID)
    .union(MountFlags::NOEXEC);

/// Mounts `source` of type `kind` on `target`; `options` is the file system's own option string.
pub fn mount(
    source: impl AsRef<Path>,
    target: impl AsRef<Path>,
    kind: &str,
    flags: MountFlags,
    options: &str,
) -> Result<(), Error> {
    let (source, target) = (source.as_ref(), target.as_ref());
    let action = || {
        format!(
            "mount {} ({kind}, {options:?}) on {}",
            source.display(),
            target.display()
        )
    };
    let options = CString::new(options).map_err(failed(action()))?;
    rustix::mount::mount(source, target, kind, flags, options.as_c_str()).map_err(failed(action()))
}

/// Mounts a file system in memory. `options` should carry `mode=` and `size=`: memory is bounded.
pub fn tmpfs(target: impl AsRef<Path>, flags: MountFlags, options: &str) -> Result<(), Error> {
    mount("tmpfs", target, "tmpfs", flags, options)
}

/// Mounts an overlay of `upper` (with its `work` folder on the same file system) over `lower` on `target`.
pub fn overlay(
    lower: impl AsRef<Path>,
    upper: impl AsRef<Path>,
    work: impl AsRef<Path>,
    target: impl AsRef<Path>,
    flags: MountFlags,
) -> Result<(), Error> {
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        lower.as_ref().display(),
        upper.as_ref().display(),
        work.as_ref().display()
    );
    mount("overlay", target, "overlay", flags, &options)
}

/// Makes `source` visible at `target` too.
pub fn bind(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), Error> {
    let (source, target) = (source.as_ref(), target.as_ref());
    mount_bind(source, target).map_err(failed(format!(
        "bind {} on {}",
        source.display(),
        target.display()
    )))
}

/// Moves a mount point.
pub fn move_to(source: impl AsRef<Path>, target: impl AsRef<Path>) -> Result<(), Error> {
    let (source, target) = (source.as_ref(), target.as_ref());
    mount_move(source, target).map_err(failed(format!(
        "move {} to {}",
        source.display(),
        target.display()
    )))
}

/// Unmounts `target`; with [`UnmountFlags::DETACH`] as soon as nothing uses it.
pub fn unmount(target: impl AsRef<Path>, flags: UnmountFlags) -> Result<(), Error> {
    let target = target.as_ref();
    rustix::mount::unmount(target, flags).map_err(failed(format!("unmount {}", target.display())))
}

/// Makes `new_root` the root, frees the memory of the initramfs and replaces this process by `init`,
/// which sees `argv0` as its name. Returns only if that failed.
///
/// `/dev`, `/proc`, `/sys` and `/run` must have been moved below `new_root`: what is still mounted on the old root is
/// not entered when it is emptied, and lost.
pub fn switch_root(new_root: &Path, init: &Path, argv0: &OsStr) -> Error {
    match enter_root(new_root) {
        Ok(()) => {
            let source = Command::new(init).arg0(argv0).exec();
            Error {
                action: format!("execute {}", init.display()),
                source,
            }
        }
        Err(error) => error,
    }
}

fn enter_root(new_root: &Path) -> Result<(), Error> {
    let old_root = File::open("/").map_err(failed("open /"))?;
    let action = format!("make {} the root", new_root.display());
    std::env::set_current_dir(new_root).map_err(failed(action.clone()))?;
    mount_move(".", "/").map_err(failed(action.clone()))?;
    rustix::process::chroot(".").map_err(failed(action.clone()))?;
    std::env::set_current_dir("/").map_err(failed(action))?;
    // The root is switched: memory that could not be freed is no reason to stop.
    let _ = tree::remove_contents(old_root.as_fd(), &[], &mut |_| Ok(()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_mount_says_what_and_where() {
        let error = mount(
            "/dev/none",
            "/nonexistent/place",
            "ext4",
            MountFlags::RDONLY,
            "x=1",
        )
        .unwrap_err();
        assert!(error.to_string().contains("/dev/none"), "{error}");
        assert!(error.to_string().contains("/nonexistent/place"), "{error}");
        assert!(error.errno().is_some());
    }
}
