//! The root file system: packages, our files, our programs, users, units, modules.

use std::path::Path;

use board_support::Board;
use globset::{Glob, GlobSetBuilder};

use crate::cache::Cache;
use crate::compile::Programs;
use crate::deb;
use crate::error::{BuildError, FileContext, Result};
use crate::lock::{Lock, LockedPackage, Role};
use crate::profile::Profile;
use crate::tree::{Node, Tree};
use crate::update_keys::UpdateTrust;
use crate::users;

/// What identifies a build to a person.
#[derive(Debug, Clone)]
pub struct Version {
    /// Version of the project, such as `0.1.0`.
    pub number: String,
    /// Seconds since 1970 of the sources: the floor of the appliance's clock.
    pub built: u32,
}

/// Everything that is read from packages, in one pass over them.
#[derive(Debug)]
pub struct Sources {
    /// Root file system as the packages have it, already filtered.
    pub root: Tree,
    /// Kernel packages.
    pub kernel: Tree,
    /// Packages taken for single files.
    pub extra: Tree,
    /// Every copyright file: package → text.
    pub copyrights: Tree,
}

/// The packages that a board and profile need.
pub fn needed<'a>(lock: &'a Lock, board: &Board, profile: &Profile) -> Vec<&'a LockedPackage> {
    let kernel_prefix = format!("-{}", board.architecture.debian());
    let single = |name: &str| {
        board
            .firmware
            .packages
            .iter()
            .chain(&board.firmware_partition.packages)
            .any(|p| p == name)
    };
    lock.package
        .iter()
        .filter(|p| match p.role {
            Role::Root => true,
            Role::Dev => profile.name == "dev",
            Role::Kernel => p.name.ends_with(&kernel_prefix),
            Role::Extra => single(&p.name),
        })
        .collect()
}

/// Unpacks the packages, two at a time.
pub fn unpack(cache: &Cache, packages: &[&LockedPackage], profile: &Profile) -> Result<Sources> {
    let is_copyright = |path: &str| path.starts_with("usr/share/doc/") && path.ends_with("/copyright");
    let one = |package: &LockedPackage| -> Result<(Role, Tree)> {
        let path = cache.by_hash("debs", &package.sha256)?;
        let found = crate::cache::hash_file(&path)?;
        if found != package.sha256 {
            std::fs::remove_file(&path).at("remove", &path)?;
            return Err(BuildError::Packages(format!(
                "the cached file of {} was damaged and has been removed; run again to fetch it anew",
                package.name
            )));
        }
        let mut tree = Tree::default();
        match package.role {
            Role::Root | Role::Dev => {
                deb::unpack(&path, &|p| is_copyright(p) || profile.wants_file(p), &mut tree)?;
            }
            Role::Kernel | Role::Extra => deb::unpack(
                &path,
                &|p| !p.starts_with("usr/share/doc/") || is_copyright(p),
                &mut tree,
            )?,
        }
        Ok((package.role, tree))
    };
    // Biggest first, so that the two threads end together.
    let mut order: Vec<&LockedPackage> = packages.to_vec();
    order.sort_by_key(|p| (std::cmp::Reverse(p.size_bytes), p.name.clone()));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || -> Result<Vec<(usize, Role, Tree)>> {
        let mut done = Vec::new();
        loop {
            let i = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(package) = order.get(i) else {
                return Ok(done);
            };
            let (role, tree) = one(package)?;
            done.push((i, role, tree));
        }
    };
    let mut parts = std::thread::scope(|scope| {
        let other = scope.spawn(work);
        let mine = work();
        let theirs = other
            .join()
            .unwrap_or_else(|_| Err(BuildError::invalid("unpacking", "a thread stopped")));
        mine.and_then(|mut a| {
            theirs.map(|b| {
                a.extend(b);
                a
            })
        })
    })?;
    parts.sort_by_key(|(i, ..)| *i);
    let mut sources = Sources {
        root: Tree::default(),
        kernel: Tree::default(),
        extra: Tree::default(),
        copyrights: Tree::default(),
    };
    for (_, role, tree) in parts {
        for (path, node) in tree.iter() {
            if is_copyright(path) && !matches!(node, Node::Folder { .. }) {
                sources.copyrights.insert(path, node.clone());
            }
            let stays = match role {
                Role::Root | Role::Dev => profile.wants_file(path),
                Role::Kernel | Role::Extra => !path.starts_with("usr/share/doc/"),
            };
            if stays {
                let into = match role {
                    Role::Root | Role::Dev => &mut sources.root,
                    Role::Kernel => &mut sources.kernel,
                    Role::Extra => &mut sources.extra,
                };
                into.insert(path, node.clone());
            }
        }
    }
    Ok(sources)
}

/// What a root file system is put together from.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The checkout.
    pub checkout: &'a Path,
    /// The board.
    pub board: &'a Board,
    /// The profile.
    pub profile: &'a Profile,
    /// Files of packages.
    pub sources: &'a Sources,
    /// Kernel modules.
    pub modules: &'a Tree,
    /// Our programs.
    pub programs: &'a Programs,
    /// Version and time.
    pub version: &'a Version,
    /// Signed with development keys.
    pub development_keys: bool,
    /// Whose updates are taken.
    pub trust: &'a UpdateTrust,
}

/// Puts the root file system together.
pub fn assemble(parts: &Parts<'_>) -> Result<Tree> {
    let Parts {
        checkout,
        board,
        profile,
        sources,
        modules,
        programs,
        version,
        development_keys,
        trust,
    } = *parts;
    let mut tree = sources.root.clone();
    for top in ["bin", "sbin", "lib"] {
        tree.link(top, &format!("usr/{top}"));
    }
    if board.architecture == board_support::Architecture::Amd64 {
        // The loader's path is in every x86-64 ELF file.
        tree.link("lib64", "usr/lib64");
        tree.folder("usr/lib64", 0o755);
        tree.link(
            "usr/lib64/ld-linux-x86-64.so.2",
            "../lib/x86_64-linux-gnu/ld-linux-x86-64.so.2",
        );
    }
    // Only what `wants` says is started: the packages' own choices are for a general-purpose system.
    tree.retain(|path, _| {
        !(path.contains("systemd/system/") && path.split('/').any(|p| p.ends_with(".wants")))
    });
    overlay(checkout, &mut tree)?;
    for added in &profile.add {
        let from = checkout.join(&added.from);
        let bytes = std::fs::read(&from).at("read", &from)?;
        tree.file(added.to.trim_start_matches('/'), bytes, 0o644);
    }
    for program in &profile.programs {
        let (_, from) = programs
            .services
            .iter()
            .find(|(package, _)| *package == program.package)
            .ok_or_else(|| BuildError::invalid(&program.package, "was not compiled"))?;
        tree.file(
            program.to.trim_start_matches('/'),
            std::fs::read(from).at("read", from)?,
            0o755,
        );
    }
    for (path, text) in [
        // As in `ipc::paths`, where the updater looks.
        ("usr/share/hearth/update-keyring.pem", &trust.keyring_pem),
        ("usr/share/hearth/update-crl.pem", &trust.crls_pem),
    ] {
        tree.file(path, text.clone().into_bytes(), 0o644);
    }
    for (path, node) in modules.iter() {
        tree.insert(path, node.clone());
    }
    firmware(board, sources, &mut tree)?;
    for (path, target) in &profile.links {
        tree.link(path.trim_start_matches('/'), target);
    }
    for (target, units) in &profile.wants {
        for unit in units {
            let unit_file = match unit.split_once('@') {
                Some((name, rest)) => format!("{name}@.{}", rest.rsplit('.').next().unwrap_or_default()),
                None => unit.clone(),
            };
            if tree.get(&format!("usr/lib/systemd/system/{unit_file}")).is_none() {
                return Err(BuildError::invalid(
                    format!("wants.{target}"),
                    format!("there is no unit {unit}"),
                ));
            }
            tree.link(
                &format!("usr/lib/systemd/system/{target}.wants/{unit}"),
                &format!("../{unit_file}"),
            );
        }
    }
    tree.file(
        "etc/os-release",
        os_release(board, profile, version, development_keys).into_bytes(),
        0o644,
    );
    tree.link("usr/lib/os-release", "../../etc/os-release");
    tree.file("etc/machine-id", *b"", 0o444);
    certificates(&mut tree);
    users::apply(&mut tree, &profile.user_ids)?;
    tree.retain(|path, _| !path.starts_with("usr/lib/sysusers.d"));
    let folders: Vec<&str> = profile
        .folders
        .iter()
        .map(|f| f.trim_start_matches('/'))
        .collect();
    for folder in &folders {
        tree.folder(
            folder,
            if *folder == "tmp" {
                0o1777
            } else if *folder == "root" {
                0o700
            } else {
                0o755
            },
        );
    }
    tree.prune_empty_folders(&|path| folders.contains(&path));
    Ok(tree)
}

/// `image/rootfs/` as it stands.
fn overlay(checkout: &Path, tree: &mut Tree) -> Result<()> {
    let root = checkout.join("image/rootfs");
    let mut queue = vec![root.clone()];
    while let Some(folder) = queue.pop() {
        for entry in std::fs::read_dir(&folder).at("read", &folder)? {
            let path = entry.at("read", &folder)?.path();
            let inside = path
                .strip_prefix(&root)
                .unwrap_or(&path)
                .to_string_lossy()
                .into_owned();
            if path.is_symlink() {
                let target = std::fs::read_link(&path).at("read", &path)?;
                tree.link(&inside, &target.to_string_lossy());
            } else if path.is_dir() {
                queue.push(path);
            } else {
                tree.file(&inside, std::fs::read(&path).at("read", &path)?, 0o644);
            }
        }
    }
    Ok(())
}

/// Device firmware that the board keeps, as plain files where packages have links between folders.
fn firmware(board: &Board, sources: &Sources, tree: &mut Tree) -> Result<()> {
    let mut keep = GlobSetBuilder::new();
    for pattern in &board.firmware.keep {
        keep.add(Glob::new(pattern).map_err(|e| BuildError::invalid("firmware.keep", e.to_string()))?);
    }
    let keep = keep
        .build()
        .map_err(|e| BuildError::invalid("firmware.keep", e.to_string()))?;
    for (path, node) in sources.extra.iter().filter(|(path, _)| keep.is_match(path)) {
        tree.insert(path, node.clone());
    }
    Ok(())
}

fn os_release(board: &Board, profile: &Profile, version: &Version, development_keys: bool) -> String {
    format!(
        "NAME=\"Hearth\"\nID=hearth\nID_LIKE=debian\nPRETTY_NAME=\"Hearth {v}{warning}\"\nVERSION_ID={v}\n\
         HEARTH_BOARD={}\nHEARTH_COMPATIBLE={}\nHEARTH_PROFILE={}\nHEARTH_DEVELOPMENT_KEYS={}\n",
        board.name,
        board.compatible,
        profile.name,
        u8::from(development_keys),
        v = version.number,
        warning = if development_keys {
            " (DEVELOPMENT KEYS)"
        } else {
            ""
        },
    )
}

/// One bundle of all certificates, which is what update-ca-certificates would make.
fn certificates(tree: &mut Tree) {
    let mut bundle = Vec::new();
    for (path, _) in tree
        .iter()
        .filter(|(p, _)| p.starts_with("usr/share/ca-certificates/") && p.ends_with(".crt"))
    {
        bundle.extend_from_slice(tree.bytes(path).unwrap_or_default());
    }
    tree.remove("usr/share/ca-certificates");
    if !bundle.is_empty() {
        tree.file("etc/ssl/certs/ca-certificates.crt", bundle, 0o644);
    }
}
