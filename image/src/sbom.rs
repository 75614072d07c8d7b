//! What is in the image and under which licences: a CycloneDX 1.6 list and an archive of the licence texts.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::error::{BuildError, FileContext, Result};
use crate::lock::LockedPackage;
use crate::program::run;
use crate::tree::{Node, Tree};

/// A crate that is compiled into our programs.
#[derive(Debug, Clone)]
pub struct Crate {
    name: String,
    version: String,
    license: Option<String>,
    folder: PathBuf,
    ours: bool,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<MetadataPackage>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct MetadataPackage {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    manifest_path: PathBuf,
    source: Option<String>,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<ResolveNode>,
}

#[derive(Deserialize)]
struct ResolveNode {
    id: String,
    deps: Vec<ResolveDependency>,
}

#[derive(Deserialize)]
struct ResolveDependency {
    pkg: String,
    dep_kinds: Vec<DependencyKind>,
}

#[derive(Deserialize)]
struct DependencyKind {
    kind: Option<String>,
}

/// The crates that the named workspace packages are made of, for a target.
pub fn crates(checkout: &Path, target: &str, packages: &[&str]) -> Result<Vec<Crate>> {
    let metadata = |more: &[&str]| {
        run(Command::new("cargo")
            .args(["metadata", "--format-version", "1", "--locked"])
            .args(["--filter-platform", target])
            .args(more)
            .current_dir(checkout))
    };
    // Also crates that only tests or other boards need are in the lock file: on a fresh machine they are fetched now.
    let out = metadata(&["--offline"]).or_else(|_| metadata(&[]))?;
    let metadata: Metadata =
        serde_json::from_slice(&out).map_err(|e| BuildError::invalid("cargo metadata", e.to_string()))?;
    let named = |name: &str| packages.contains(&name);
    let mut queue: Vec<&str> = metadata
        .packages
        .iter()
        .filter(|p| p.source.is_none() && named(&p.name))
        .map(|p| p.id.as_str())
        .collect();
    let mut seen = BTreeSet::new();
    while let Some(id) = queue.pop() {
        if !seen.insert(id) {
            continue;
        }
        let Some(node) = metadata.resolve.nodes.iter().find(|n| n.id == id) else {
            continue;
        };
        // Build scripts and tests are not in the image.
        let shipped = node
            .deps
            .iter()
            .filter(|d| d.dep_kinds.iter().any(|k| k.kind.is_none()));
        queue.extend(shipped.map(|d| d.pkg.as_str()));
    }
    let mut crates: Vec<Crate> = metadata
        .packages
        .iter()
        .filter(|p| seen.contains(p.id.as_str()))
        .map(|p| Crate {
            folder: p.manifest_path.parent().unwrap_or(Path::new("/")).to_path_buf(),
            ours: p.source.is_none(),
            name: p.name.clone(),
            version: p.version.clone(),
            license: p.license.clone(),
        })
        .collect();
    crates.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(crates)
}

/// The CycloneDX document.
pub fn document(
    name: &str,
    version: &str,
    packages: &[&LockedPackage],
    copyrights: &Tree,
    crates: &[Crate],
) -> Value {
    let deb = |p: &&LockedPackage| {
        let licences: Vec<Value> = licence_names(copyrights, &p.name)
            .into_iter()
            .map(|l| json!({ "license": { "name": l } }))
            .collect();
        json!({
            "type": "library",
            "bom-ref": format!("deb:{}", p.name),
            "name": p.name,
            "version": p.version,
            "purl": format!("pkg:deb/debian/{}@{}?arch={}", p.name, p.version.replace('+', "%2B").replace(':', "%3A"), p.architecture),
            "hashes": [{ "alg": "SHA-256", "content": p.sha256 }],
            "licenses": licences,
        })
    };
    let crate_entry = |c: &Crate| {
        let mut entry = json!({
            "type": if c.ours { "application" } else { "library" },
            "bom-ref": format!("cargo:{}@{}", c.name, c.version),
            "name": c.name,
            "version": c.version,
            "purl": format!("pkg:cargo/{}@{}", c.name, c.version),
        });
        if let Some(licence) = &c.license {
            entry["licenses"] = json!([{ "expression": licence.replace('/', " OR ") }]);
        }
        entry
    };
    let components: Vec<Value> = packages
        .iter()
        .map(deb)
        .chain(crates.iter().map(crate_entry))
        .collect();
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": { "type": "operating-system", "name": name, "version": version } },
        "components": components,
    })
}

/// `License:` short names of a machine-readable copyright file (DEP-5); others have none.
fn licence_names(copyrights: &Tree, package: &str) -> BTreeSet<String> {
    let path = copyrights.resolve(&format!("usr/share/doc/{package}/copyright"));
    let text = path
        .and_then(|p| copyrights.bytes(&p))
        .map(String::from_utf8_lossy)
        .unwrap_or_default();
    if !text.starts_with("Format:") {
        return BTreeSet::new();
    }
    text.lines()
        .filter_map(|l| l.strip_prefix("License:"))
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .map(Into::into)
        .collect()
}

/// All licence texts as a zstd-compressed tar: `debian/PACKAGE/copyright` and `rust/CRATE-VERSION/LICENSE…`.
pub fn licences(copyrights: &Tree, crates: &[Crate], time: u32) -> Result<Vec<u8>> {
    let bad = |e: std::io::Error| BuildError::invalid("licences", e.to_string());
    let encoder = zstd::Encoder::new(Vec::new(), 12).map_err(bad)?;
    let mut tar = tar::Builder::new(encoder);
    let mut add = |path: String, bytes: &[u8]| -> Result<()> {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(u64::from(time));
        tar.append_data(&mut header, path, bytes).map_err(bad)
    };
    for (path, node) in copyrights.iter() {
        let text = match node {
            Node::File { bytes, .. } => Some(&bytes[..]),
            Node::Link { .. } => copyrights.resolve(path).and_then(|p| copyrights.bytes(&p)),
            Node::Folder { .. } => None,
        };
        if let Some(text) = text {
            add(path.replace("usr/share/doc/", "debian/"), text)?;
        }
    }
    for c in crates {
        let mut names: Vec<PathBuf> = std::fs::read_dir(&c.folder)
            .at("read", &c.folder)?
            .flatten()
            .map(|e| e.path())
            .filter(|p| {
                let name = p
                    .file_name()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .to_ascii_uppercase();
                p.is_file()
                    && ["LICENSE", "LICENCE", "COPYING", "NOTICE"]
                        .iter()
                        .any(|l| name.starts_with(l))
            })
            .collect();
        names.sort();
        for path in names {
            let file = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            add(
                format!("rust/{}-{}/{file}", c.name, c.version),
                &std::fs::read(&path).at("read", &path)?,
            )?;
        }
    }
    let encoder = tar.into_inner().map_err(bad)?;
    encoder.finish().map_err(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_names_come_from_machine_readable_files_only() {
        let mut tree = Tree::default();
        tree.file(
            "usr/share/doc/a/copyright",
            *b"Format: x\n\nFiles: *\nLicense: GPL-2+\nLicense: MIT\n",
            0o644,
        );
        tree.file("usr/share/doc/b/copyright", *b"License: free text", 0o644);
        tree.link("usr/share/doc/c", "a");
        assert_eq!(
            licence_names(&tree, "a").into_iter().collect::<Vec<_>>(),
            ["GPL-2+", "MIT"]
        );
        assert!(licence_names(&tree, "b").is_empty());
        assert_eq!(licence_names(&tree, "c").len(), 2);
    }
}
