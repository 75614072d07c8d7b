//! A file system in memory: what the root file system and the initramfs are made from.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use backhand::compression::{CompressionOptions, Compressor, Zstd};
use backhand::{FilesystemCompressor, FilesystemWriter, NodeHeader};

use crate::error::{BuildError, Result};

/// A file, folder or link. Everything belongs to root.
#[derive(Debug, Clone)]
pub enum Node {
    /// A folder.
    Folder {
        /// Permission bits.
        mode: u32,
    },
    /// A file.
    File {
        /// Its bytes.
        bytes: Arc<[u8]>,
        /// Permission bits.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it points.
        target: String,
    },
}

/// Paths without a leading slash, in order: parents come before children.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    nodes: BTreeMap<String, Node>,
}

impl Tree {
    /// Adds or replaces a node; missing parents appear as 0755 folders.
    pub fn insert(&mut self, path: &str, node: Node) {
        let path = path.trim_matches('/');
        for (at, _) in path.match_indices('/') {
            self.nodes
                .entry(path[..at].to_string())
                .or_insert(Node::Folder { mode: 0o755 });
        }
        if matches!(node, Node::Folder { .. }) && matches!(self.nodes.get(path), Some(Node::Link { .. })) {
            return; // a package's folder does not replace the link that stands for it
        }
        self.nodes.insert(path.into(), node);
    }

    /// Adds a file.
    pub fn file(&mut self, path: &str, bytes: impl Into<Arc<[u8]>>, mode: u32) {
        self.insert(
            path,
            Node::File {
                bytes: bytes.into(),
                mode,
            },
        );
    }

    /// Adds a link.
    pub fn link(&mut self, path: &str, target: &str) {
        self.insert(
            path,
            Node::Link {
                target: target.into(),
            },
        );
    }

    /// Adds a folder.
    pub fn folder(&mut self, path: &str, mode: u32) {
        self.insert(path, Node::Folder { mode });
    }

    /// The node at a path.
    pub fn get(&self, path: &str) -> Option<&Node> {
        self.nodes.get(path.trim_matches('/'))
    }

    /// The bytes of a file, links not followed.
    pub fn bytes(&self, path: &str) -> Option<&[u8]> {
        match self.get(path) {
            Some(Node::File { bytes, .. }) => Some(bytes),
            _ => None,
        }
    }

    /// Removes a node, and what is below it.
    pub fn remove(&mut self, path: &str) {
        let below = format!("{path}/");
        self.nodes.retain(|p, _| p != path && !p.starts_with(&below));
    }

    /// Keeps what `keep` says.
    pub fn retain(&mut self, mut keep: impl FnMut(&str, &Node) -> bool) {
        self.nodes.retain(|path, node| keep(path, node));
    }

    /// Removes folders that hold nothing, except those in `keep`.
    pub fn prune_empty_folders(&mut self, keep: &dyn Fn(&str) -> bool) {
        loop {
            let empty: Vec<String> = self
                .nodes
                .iter()
                .filter(|(path, node)| {
                    let first_below = self.nodes.range(format!("{path}/")..).next();
                    matches!(node, Node::Folder { .. })
                        && !keep(path)
                        && !first_below.is_some_and(|(p, _)| p.starts_with(&format!("{path}/")))
                })
                .map(|(path, _)| path.clone())
                .collect();
            if empty.is_empty() {
                return;
            }
            for path in empty {
                self.nodes.remove(&path);
            }
        }
    }

    /// Every node in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Node)> {
        self.nodes.iter().map(|(path, node)| (path.as_str(), node))
    }

    /// Follows links from a path to the path of a file or folder; `None` when it leads nowhere.
    pub fn resolve(&self, path: &str) -> Option<String> {
        let mut rest: Vec<String> = path
            .split('/')
            .rev()
            .filter(|p| !p.is_empty())
            .map(Into::into)
            .collect();
        let mut at: Vec<String> = Vec::new();
        let mut hops = 0;
        while let Some(part) = rest.pop() {
            match part.as_str() {
                "." => continue,
                ".." => {
                    at.pop();
                    continue;
                }
                _ => at.push(part),
            }
            match self.nodes.get(&at.join("/")) {
                Some(Node::Link { target }) => {
                    hops += 1;
                    if hops > 40 {
                        return None;
                    }
                    at.pop();
                    if target.starts_with('/') {
                        at.clear();
                    }
                    rest.extend(
                        target
                            .split('/')
                            .rev()
                            .filter(|p| !p.is_empty())
                            .map(String::from),
                    );
                }
                Some(_) => {}
                None => return None,
            }
        }
        Some(at.join("/"))
    }

    /// Packs the tree as squashfs with zstd. The same tree gives the same bytes.
    pub fn to_squashfs(&self, time: u32, level: u32) -> Result<Vec<u8>> {
        let bad = |e: backhand::BackhandError| BuildError::invalid("squashfs", e.to_string());
        let mut writer = FilesystemWriter::default();
        let options = CompressionOptions::Zstd(Zstd {
            compression_level: level,
        });
        let compressor = FilesystemCompressor::new(Compressor::Zstd, Some(options)).map_err(bad)?;
        writer.set_compressor(compressor);
        writer.set_block_size(1 << 17);
        writer.set_time(time);
        writer.set_root_mode(0o755);
        writer.set_only_root_id();
        for (path, node) in self.iter() {
            let header = |mode: u32| NodeHeader::new(mode as u16, 0, 0, time);
            match node {
                Node::Folder { mode } => writer.push_dir(path, header(*mode)),
                Node::File { bytes, mode } => {
                    writer.push_file(Cursor::new(Arc::clone(bytes)), path, header(*mode))
                }
                Node::Link { target } => writer.push_symlink(target, path, header(0o777)),
            }
            .map_err(bad)?;
        }
        let mut out = Cursor::new(Vec::new());
        writer.write(&mut out).map_err(bad)?;
        let mut bytes = out.into_inner();
        bytes.resize(bytes.len().next_multiple_of(4096), 0);
        Ok(bytes)
    }

    /// Packs the tree as a cpio archive ("newc", the kernel's initramfs format), fields in ASCII hex.
    pub fn to_cpio(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let mut entry = |inode: u32, path: &str, mode: u32, bytes: &[u8]| {
            let links = 1;
            let name_len = path.len() + 1;
            out.extend_from_slice(
                format!(
                    "070701{inode:08x}{mode:08x}{:08x}{:08x}{links:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{:08x}{name_len:08x}{:08x}",
                    0, 0, 0, bytes.len(), 0, 0, 0, 0, 0
                )
                .as_bytes(),
            );
            out.extend_from_slice(path.as_bytes());
            out.push(0);
            out.resize(out.len().next_multiple_of(4), 0);
            out.extend_from_slice(bytes);
            out.resize(out.len().next_multiple_of(4), 0);
        };
        for (inode, (path, node)) in (1..).zip(self.iter()) {
            match node {
                Node::Folder { mode } => entry(inode, path, 0o040_000 | mode, &[]),
                Node::File { bytes, mode } => entry(inode, path, 0o100_000 | mode, bytes),
                Node::Link { target } => entry(inode, path, 0o120_777, target.as_bytes()),
            }
        }
        entry(0, "TRAILER!!!", 0, &[]);
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Tree {
        let mut tree = Tree::default();
        tree.link("lib", "usr/lib");
        tree.file("usr/lib/a.so.1", *b"elf", 0o644);
        tree.link("usr/lib/a.so", "a.so.1");
        tree.link("etc/loop", "/etc/loop");
        tree.folder("var/empty", 0o755);
        tree
    }

    #[test]
    fn links_are_followed_inside_the_tree_and_loops_end() {
        let tree = sample();
        assert_eq!(tree.resolve("/lib/a.so").as_deref(), Some("usr/lib/a.so.1"));
        assert_eq!(tree.resolve("../../lib/a.so").as_deref(), Some("usr/lib/a.so.1"));
        assert_eq!(tree.resolve("etc/loop"), None);
    }

    #[test]
    fn the_same_tree_packs_to_the_same_bytes() {
        assert_eq!(
            sample().to_squashfs(1, 9).unwrap(),
            sample().to_squashfs(1, 9).unwrap()
        );
        assert_eq!(sample().to_cpio(), sample().to_cpio());
    }

    #[test]
    fn a_packages_folder_does_not_replace_the_merged_usr_link() {
        let mut tree = sample();
        tree.folder("lib", 0o755);
        assert!(matches!(tree.get("lib"), Some(Node::Link { .. })));
    }

    #[test]
    fn empty_folders_go_but_for_mount_points() {
        let mut tree = sample();
        tree.folder("a/b/c", 0o755);
        tree.prune_empty_folders(&|path| path == "var/empty");
        assert!(tree.get("a").is_none() && tree.get("var/empty").is_some());
    }
}
