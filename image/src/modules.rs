//! Kernel modules: what the board asks for and what that depends on.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Read;
use std::process::Command;

use board_support::Modules;
use globset::Glob;
use object::{Object, ObjectSection};

use crate::error::{BuildError, FileContext, Result};
use crate::program::run;
use crate::tree::{Node, Tree};

/// The modules of a board.
#[derive(Debug)]
pub struct Selection {
    /// For the initramfs, dependencies first: path below the root of the tree, uncompressed.
    pub initramfs: Vec<(String, Vec<u8>)>,
    /// For the root file system, with depmod's tables.
    pub root: Tree,
}

/// Release of the kernel in a tree, such as `7.2.12+deb13-arm64`.
pub fn kernel_release(kernel: &Tree) -> Result<String> {
    kernel
        .iter()
        .find_map(|(path, _)| path.strip_prefix("usr/lib/modules/")?.strip_suffix("/vmlinuz"))
        .map(Into::into)
        .ok_or_else(|| BuildError::invalid("kernel packages", "they hold no vmlinuz below usr/lib/modules"))
}

/// Selects, decompresses and orders modules.
pub fn select(kernel: &Tree, release: &str, wanted: &Modules) -> Result<Selection> {
    let base = format!("usr/lib/modules/{release}/");
    let index = Index::new(kernel, &base);
    let mut loaded = Loader {
        index: &index,
        kernel,
        done: BTreeMap::new(),
        order: Vec::new(),
    };
    for name in &wanted.initramfs {
        loaded.want(name, "initramfs")?;
    }
    let initramfs: Vec<(String, Vec<u8>)> = loaded
        .order
        .iter()
        .filter_map(|path| Some((path.clone(), loaded.done.get(path)?.clone())))
        .collect();
    for pattern in &wanted.root {
        loaded.want(pattern, "root")?;
    }
    let mut root = Tree::default();
    for (path, bytes) in &loaded.done {
        root.file(path, bytes.clone(), 0o644);
    }
    for table in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        if let Some(bytes) = kernel.bytes(&format!("{base}{table}")) {
            root.file(&format!("{base}{table}"), bytes, 0o644);
        }
    }
    depmod(&mut root, release, &base)?;
    Ok(Selection { initramfs, root })
}

/// Name → path of every module; names with `_` (as the kernel spells them).
struct Index {
    modules: BTreeMap<String, String>,
    builtin: BTreeSet<String>,
    base: String,
}

impl Index {
    fn new(kernel: &Tree, base: &str) -> Self {
        let name_of = |path: &str| {
            let file = path.rsplit('/').next().unwrap_or_default();
            file.split(".ko").next().unwrap_or_default().replace('-', "_")
        };
        let modules = kernel
            .iter()
            .filter(|(path, _)| path.starts_with(base) && path.contains(".ko"))
            .map(|(path, _)| (name_of(path), path.to_string()))
            .collect();
        let builtin = kernel
            .bytes(&format!("{base}modules.builtin"))
            .unwrap_or_default();
        let builtin = String::from_utf8_lossy(builtin).lines().map(name_of).collect();
        Self {
            modules,
            builtin,
            base: base.into(),
        }
    }

    /// The modules that a name or a path pattern stands for.
    fn matching(&self, wanted: &str) -> Result<Vec<String>> {
        if !wanted.contains(['*', '/']) {
            let name = wanted.replace('-', "_");
            return match self.modules.get(&name) {
                Some(_) => Ok(vec![name]),
                None if self.builtin.contains(&name) => Ok(Vec::new()),
                None => Err(BuildError::invalid(
                    "modules",
                    format!("this kernel has no module {wanted:?}"),
                )),
            };
        }
        let glob = Glob::new(wanted)
            .map_err(|e| BuildError::invalid("modules", e.to_string()))?
            .compile_matcher();
        let prefix = format!("{}kernel/", self.base);
        let inside = |path: &str| path.strip_prefix(&prefix).is_some_and(|p| glob.is_match(p));
        let found: Vec<String> = self
            .modules
            .iter()
            .filter(|(_, p)| inside(p))
            .map(|(n, _)| n.clone())
            .collect();
        if found.is_empty() {
            return Err(BuildError::invalid(
                "modules",
                format!("no module matches {wanted:?}"),
            ));
        }
        Ok(found)
    }
}

struct Loader<'a> {
    index: &'a Index,
    kernel: &'a Tree,
    done: BTreeMap<String, Vec<u8>>,
    order: Vec<String>,
}

impl Loader<'_> {
    fn want(&mut self, wanted: &str, list: &str) -> Result<()> {
        for name in self.index.matching(wanted)? {
            self.add(&name, list, 0)?;
        }
        Ok(())
    }

    /// Adds a module after what it depends on.
    fn add(&mut self, name: &str, list: &str, depth: usize) -> Result<()> {
        let Some(packed) = self.index.modules.get(name).cloned() else {
            if self.index.builtin.contains(name) {
                return Ok(());
            }
            return Err(BuildError::invalid(
                "modules",
                format!("{list}: module {name:?} is missing in this kernel"),
            ));
        };
        let path = packed.trim_end_matches(".xz").to_string();
        if self.done.contains_key(&path) || depth > 32 {
            return Ok(());
        }
        let stored = self.kernel.bytes(&packed).unwrap_or_default();
        let bytes = if packed.ends_with(".xz") {
            let mut bytes = Vec::new();
            liblzma::read::XzDecoder::new(stored)
                .read_to_end(&mut bytes)
                .at("read", &packed)?;
            bytes
        } else {
            stored.to_vec()
        };
        let dependencies = dependencies(&bytes, &packed)?;
        for dependency in dependencies.hard {
            self.add(&dependency, list, depth + 1)?;
        }
        for dependency in dependencies.soft {
            // A soft dependency that this kernel does not have is no error, as for modprobe.
            if self.index.modules.contains_key(&dependency) {
                self.add(&dependency, list, depth + 1)?;
            }
        }
        self.order.push(path.clone());
        self.done.insert(path, bytes);
        Ok(())
    }
}

struct Dependencies {
    hard: Vec<String>,
    soft: Vec<String>,
}

/// `depends=` and `softdep=pre:` of a module's `.modinfo`.
fn dependencies(module: &[u8], what: &str) -> Result<Dependencies> {
    let bad = |e: object::Error| BuildError::invalid(what, format!("not a kernel module: {e}"));
    let file = object::File::parse(module).map_err(bad)?;
    let section = file
        .section_by_name(".modinfo")
        .ok_or_else(|| BuildError::invalid(what, "it has no .modinfo"))?;
    let mut found = Dependencies {
        hard: Vec::new(),
        soft: Vec::new(),
    };
    for entry in section.data().map_err(bad)?.split(|b| *b == 0) {
        let entry = String::from_utf8_lossy(entry);
        if let Some(list) = entry.strip_prefix("depends=") {
            found.hard.extend(
                list.split(',')
                    .filter(|n| !n.is_empty())
                    .map(|n| n.replace('-', "_")),
            );
        } else if let Some(list) = entry.strip_prefix("softdep=pre:") {
            let names = list.split("post:").next().unwrap_or_default().split_whitespace();
            found.soft.extend(names.map(|n| n.replace('-', "_")));
        }
    }
    Ok(found)
}

/// The host's depmod makes the tables that udev's kmod reads; it works on any architecture's modules.
fn depmod(root: &mut Tree, release: &str, base: &str) -> Result<()> {
    let folder = std::env::temp_dir().join(format!("hearth-depmod-{}-{release}", std::process::id()));
    let result = (|| {
        for (path, node) in root.iter() {
            let target = folder.join(path);
            match node {
                Node::Folder { .. } => std::fs::create_dir_all(&target).at("create", &target)?,
                Node::File { bytes, .. } => std::fs::write(&target, bytes).at("write", &target)?,
                Node::Link { .. } => {}
            }
        }
        std::fs::create_dir_all(folder.join("lib")).at("create", &folder)?;
        let link = folder.join("lib/modules");
        std::os::unix::fs::symlink("../usr/lib/modules", &link).at("create", &link)?;
        let depmod = ["/usr/sbin/depmod", "/sbin/depmod"]
            .into_iter()
            .find(|p| std::path::Path::new(p).exists());
        run(Command::new(depmod.unwrap_or("depmod"))
            .arg("-b")
            .arg(&folder)
            .arg(release))?;
        for table in [
            "modules.dep.bin",
            "modules.alias.bin",
            "modules.softdep",
            "modules.builtin.bin",
            "modules.builtin.alias.bin",
            "modules.symbols.bin",
            "modules.dep",
            "modules.devname",
        ] {
            let path = folder.join(base).join(table);
            if path.exists() {
                root.file(
                    &format!("{base}{table}"),
                    std::fs::read(&path).at("read", &path)?,
                    0o644,
                );
            }
        }
        Ok(())
    })();
    let _ = std::fs::remove_dir_all(&folder);
    for table in ["modules.builtin.modinfo", "modules.builtin", "modules.order"] {
        root.remove(&format!("{base}{table}"));
    }
    result
}
