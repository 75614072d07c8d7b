//! Reading Debian packages (deb(5)): an ar archive with a compressed tar inside. Nothing is run or installed.

use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use crate::error::{BuildError, FileContext, Result};
use crate::tree::{Node, Tree};

/// Adds the wanted files of a package to a tree. `wanted` gets each path without a leading slash, `/bin` … already merged into `/usr`.
pub fn unpack(deb: &Path, wanted: &dyn Fn(&str) -> bool, tree: &mut Tree) -> Result<()> {
    let bad = |problem: String| BuildError::invalid(deb.display().to_string(), problem);
    let mut archive = ar::Archive::new(File::open(deb).at("open", deb)?);
    while let Some(entry) = archive.next_entry() {
        let entry = entry.at("read", deb)?;
        let name = String::from_utf8_lossy(entry.header().identifier()).into_owned();
        let data: Box<dyn Read> = match name.as_str() {
            "data.tar.xz" => Box::new(liblzma::read::XzDecoder::new(entry)),
            "data.tar.zst" => Box::new(zstd::Decoder::new(entry).at("read", deb)?),
            "data.tar.gz" => Box::new(flate2::read::GzDecoder::new(entry)),
            "data.tar" => Box::new(entry),
            other if other.starts_with("data.tar") => return Err(bad(format!("{other} is not supported"))),
            _ => continue,
        };
        return unpack_tar(data, deb, wanted, tree);
    }
    Err(bad("not a Debian package: it has no data.tar".into()))
}

fn unpack_tar(
    data: Box<dyn Read + '_>,
    deb: &Path,
    wanted: &dyn Fn(&str) -> bool,
    tree: &mut Tree,
) -> Result<()> {
    let mut tar = tar::Archive::new(data);
    for entry in tar.entries().at("read", deb)? {
        let mut entry = entry.at("read", deb)?;
        let path = merged_usr(&String::from_utf8_lossy(&entry.path_bytes()));
        if path.is_empty() || path.split('/').any(|part| part == "..") || !wanted(&path) {
            continue;
        }
        let mode = entry.header().mode().at("read", deb)? & 0o7777;
        let node = match entry.header().entry_type() {
            tar::EntryType::Directory => Node::Folder { mode },
            tar::EntryType::Symlink => {
                let target = entry.link_name_bytes().unwrap_or_default();
                Node::Link {
                    target: String::from_utf8_lossy(&target).into_owned(),
                }
            }
            tar::EntryType::Link => {
                let target = merged_usr(&String::from_utf8_lossy(
                    &entry.link_name_bytes().unwrap_or_default(),
                ));
                let original = tree.get(&target).cloned();
                original.ok_or_else(|| {
                    BuildError::invalid(
                        deb.display().to_string(),
                        format!("hard link to {target}, which is missing"),
                    )
                })?
            }
            _ => {
                let mut bytes = Vec::with_capacity(entry.size() as usize);
                entry.read_to_end(&mut bytes).at("read", deb)?;
                Node::File {
                    bytes: Arc::from(bytes),
                    mode: mode & 0o755,
                }
            }
        };
        tree.insert(&path, node);
    }
    Ok(())
}

/// `./bin/x` → `usr/bin/x`: the appliance has a merged `/usr`.
fn merged_usr(path: &str) -> String {
    let path = path.trim_start_matches("./").trim_matches('/');
    match path.split_once('/') {
        Some((top @ ("bin" | "sbin" | "lib" | "lib64"), rest)) => format!("usr/{top}/{rest}"),
        None if matches!(path, "bin" | "sbin" | "lib" | "lib64" | ".") => String::new(),
        _ => path.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn top_level_programs_move_below_usr() {
        assert_eq!(merged_usr("./bin/sh"), "usr/bin/sh");
        assert_eq!(merged_usr("./lib/"), "");
        assert_eq!(merged_usr("./usr/lib/x/"), "usr/lib/x");
        assert_eq!(merged_usr("./library/x"), "library/x");
    }

    #[test]
    fn a_file_that_is_no_package_is_refused() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), b"!<arch>\n").unwrap();
        let said = unpack(file.path(), &|_| true, &mut Tree::default())
            .unwrap_err()
            .to_string();
        assert!(said.contains("not a Debian package"), "{said}");
    }
}
