//! The mounts around everything else: kernel file systems, memory, and the hand-over.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;

use os_io::mount::{self, DATA_ONLY, MountFlags, UnmountFlags};
use os_io::{Error, durable};

use crate::root::INIT;

/// Kernel file systems that follow into the new root.
const FOLLOWING: [&str; 4] = ["/dev", "/proc", "/sys", "/run"];
/// Folders of `/var`, which is memory, and their modes.
const VAR: [(&str, u32); 5] = [
    ("lib", 0o755),
    ("log", 0o755),
    ("cache", 0o755),
    ("spool", 0o755),
    ("tmp", 0o1777),
];

/// Mounts `/proc`, `/sys`, `/dev` and `/run`. All are tried; the first error is returned.
pub fn mount_kernel_file_systems() -> Result<(), Error> {
    let device_flags = MountFlags::NOSUID | MountFlags::NOEXEC;
    let mounts = [
        ("proc", "/proc", DATA_ONLY, ""),
        ("devtmpfs", "/dev", device_flags, "mode=0755"),
        ("sysfs", "/sys", DATA_ONLY, ""),
        (
            "tmpfs",
            "/run",
            MountFlags::NOSUID | MountFlags::NODEV,
            "mode=0755,size=20%",
        ),
    ];
    let mut result = Ok(());
    for (kind, target, flags, options) in mounts {
        // An initramfs may come without the folders.
        let _ = fs::create_dir(target);
        result = result.and(mount::mount(kind, target, kind, flags, options));
    }
    result
}

/// Makes the kernel file systems visible in the new root, where e2fsck needs them already.
pub fn follow(new_root: &Path) -> Result<(), Error> {
    FOLLOWING
        .iter()
        .try_for_each(|folder| mount::bind(folder, below(new_root, folder)))
}

/// `/etc`: the image's, with changes kept in memory only. The memory has no other name, so nothing reaches under it.
pub fn mount_etc(new_root: &Path) -> Result<(), Error> {
    let memory = Path::new("/etc-memory");
    let _ = fs::create_dir(memory);
    mount::tmpfs(memory, DATA_ONLY, "mode=0700,size=16m")?;
    let (upper, work, etc) = (memory.join("upper"), memory.join("work"), below(new_root, "/etc"));
    durable::create_folder(&upper, 0o755)?;
    durable::create_folder(&work, 0o700)?;
    mount::overlay(&etc, upper, work, &etc, DATA_ONLY)?;
    mount::unmount(memory, UnmountFlags::DETACH)
}

/// `/var` and `/tmp` in memory; `/var/lib` is `/data/state`, the only part that lasts.
pub fn mount_memory(new_root: &Path) -> Result<(), Error> {
    let var = below(new_root, "/var");
    mount::tmpfs(&var, DATA_ONLY, "mode=0755,size=64m")?;
    for (folder, mode) in VAR {
        durable::create_folder(&var.join(folder), mode)?;
    }
    for (link, to) in [("run", "/run"), ("lock", "/run/lock")] {
        symlink(to, var.join(link)).map_err(|source| Error {
            action: format!("link /var/{link} to {to}"),
            source,
        })?;
    }
    mount::bind(below(new_root, "/data/state"), var.join("lib"))?;
    mount::tmpfs(
        below(new_root, "/tmp"),
        MountFlags::NOSUID | MountFlags::NODEV,
        "mode=1777,size=25%",
    )
}

/// Writes a file for other programs below `/run`, 0644, with its folder.
pub fn publish(path: &Path, content: &[u8]) -> Result<(), Error> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
        }
        fs::write(path, content)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o644))
    };
    write().map_err(|source| Error {
        action: format!("write {}", path.display()),
        source,
    })
}

/// Becomes systemd in the new root. Returns only if that failed.
pub fn hand_over(new_root: &Path) -> Error {
    for folder in FOLLOWING {
        if let Err(error) = mount::unmount(folder, UnmountFlags::DETACH) {
            return error;
        }
    }
    mount::switch_root(new_root, Path::new(INIT), OsStr::new("/sbin/init"))
}

/// `path` below the new root.
pub fn below(new_root: &Path, path: &str) -> std::path::PathBuf {
    new_root.join(path.trim_start_matches('/'))
}
