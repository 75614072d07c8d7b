//! A profile: which packages, which of their files, which files of our own, which units.
//!
//! `profiles/base.toml` holds for every image; `release.toml` and `dev.toml` add to it.

use std::collections::BTreeMap;
use std::path::Path;

use board_support::{Architecture, Board, nearest};
use globset::{Glob, GlobSet, GlobSetBuilder};
use serde::Deserialize;

use crate::error::{BuildError, FileContext, Result};

/// The names of the profiles.
pub const PROFILES: [&str; 2] = ["release", "dev"];

/// What one file of `profiles/` may say. Unknown keys are refused.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Raw {
    rollback_index: Option<u32>,
    packages: RawPackages,
    files: RawFiles,
    add: Vec<AddedFile>,
    links: BTreeMap<String, String>,
    folders: Vec<String>,
    programs: Vec<Program>,
    wants: BTreeMap<String, Vec<String>>,
    user_ids: BTreeMap<String, u32>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawPackages {
    install: Vec<String>,
    exclude: Vec<String>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct RawFiles {
    drop: Vec<String>,
    keep: Vec<String>,
}

/// A file of the checkout that goes into the image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AddedFile {
    /// Path in the checkout.
    pub from: String,
    /// Path in the image.
    pub to: String,
}

/// A program of the workspace that goes into the image.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Its package in the workspace; the binary has the same name.
    pub package: String,
    /// Path in the image.
    pub to: String,
}

/// A checked profile.
#[derive(Debug, Clone)]
pub struct Profile {
    /// `release` or `dev`.
    pub name: String,
    /// Rollback index of the image, from `base.toml`.
    pub rollback_index: u32,
    /// Packages with their dependencies.
    pub packages: Vec<String>,
    /// Packages left out although something depends on them.
    pub exclude: Vec<String>,
    /// Files of the checkout.
    pub add: Vec<AddedFile>,
    /// Links: path → target.
    pub links: BTreeMap<String, String>,
    /// Folders that stay though they are empty: mount points.
    pub folders: Vec<String>,
    /// Our programs.
    pub programs: Vec<Program>,
    /// Units that a target wants.
    pub wants: BTreeMap<String, Vec<String>>,
    /// Numbers of users and groups.
    pub user_ids: BTreeMap<String, u32>,
    drop: GlobSet,
    keep: GlobSet,
}

/// What is asked of apt for one architecture: the union over boards and profiles, so that there is one lock.
#[derive(Debug, Clone, Default)]
pub struct PackageRequest {
    /// With dependencies, in every image.
    pub root: Vec<String>,
    /// With dependencies, in the dev profile.
    pub dev: Vec<String>,
    /// Left out.
    pub exclude: Vec<String>,
    /// Metapackage and suite.
    pub kernels: Vec<(String, String)>,
    /// Single packages, no dependencies.
    pub extra: Vec<String>,
}

impl Profile {
    /// Reads a profile from the checkout.
    pub fn read(checkout: &Path, name: &str) -> Result<Self> {
        if !PROFILES.contains(&name) {
            let meant = nearest(name, &PROFILES)
                .map(|n| format!(" (did you mean {n}?)"))
                .unwrap_or_default();
            return Err(BuildError::invalid(
                format!("--profile {name}"),
                format!(
                    "there is no such profile{meant}; the profiles are {}",
                    PROFILES.join(" and ")
                ),
            ));
        }
        let base = Self::raw(checkout, "base")?;
        let own = Self::raw(checkout, name)?;
        if base.rollback_index.is_none() {
            return Err(BuildError::invalid(
                "image/profiles/base.toml",
                "rollback_index is missing",
            ));
        }
        Self::merge(name, base, own)
    }

    fn raw(checkout: &Path, name: &str) -> Result<Raw> {
        let path = checkout.join(format!("image/profiles/{name}.toml"));
        let text = std::fs::read_to_string(&path).at("read", &path)?;
        parse(&format!("image/profiles/{name}.toml"), &text)
    }

    fn merge(name: &str, mut base: Raw, own: Raw) -> Result<Self> {
        if own.rollback_index.is_some() {
            return Err(BuildError::invalid(
                "rollback_index",
                "is the same for every image: it stands in base.toml only",
            ));
        }
        base.packages.install.extend(own.packages.install);
        base.packages.exclude.extend(own.packages.exclude);
        base.files.drop.extend(own.files.drop);
        base.files.keep.extend(own.files.keep);
        base.add.extend(own.add);
        base.links.extend(own.links);
        base.folders.extend(own.folders);
        base.programs.extend(own.programs);
        base.user_ids.extend(own.user_ids);
        for (target, units) in own.wants {
            base.wants.entry(target).or_default().extend(units);
        }
        Ok(Self {
            name: name.into(),
            rollback_index: base.rollback_index.unwrap_or(0),
            packages: base.packages.install,
            exclude: base.packages.exclude,
            add: base.add,
            links: base.links,
            folders: base.folders,
            programs: base.programs,
            wants: base.wants,
            user_ids: base.user_ids,
            drop: globs("files.drop", &base.files.drop)?,
            keep: globs("files.keep", &base.files.keep)?,
        })
    }

    /// Whether a package's file stays.
    pub fn wants_file(&self, path: &str) -> bool {
        !self.drop.is_match(path) || self.keep.is_match(path)
    }

    /// The request for an architecture.
    pub fn request(
        checkout: &Path,
        architecture: Architecture,
        rust_version: &str,
    ) -> Result<PackageRequest> {
        let base = Self::raw(checkout, "base")?;
        let dev = Self::raw(checkout, "dev")?;
        let mut request = PackageRequest {
            root: base.packages.install,
            dev: dev.packages.install,
            exclude: base.packages.exclude,
            ..PackageRequest::default()
        };
        for name in Board::names() {
            let board = Board::find(name).map_err(|e| BuildError::invalid(name, e.to_string()))?;
            if board.architecture != architecture {
                continue;
            }
            request.kernels.push((board.kernel.package, board.kernel.suite));
            request.extra.extend(board.firmware.packages);
            request.extra.extend(board.firmware_partition.packages);
            request.extra.extend(board.qemu.and_then(|q| q.firmware_package));
        }
        request.extra.push(format!("rust-src={rust_version}*"));
        request.kernels.sort();
        request.kernels.dedup();
        request.extra.sort();
        request.extra.dedup();
        Ok(request)
    }
}

fn parse(what: &str, text: &str) -> Result<Raw> {
    toml::from_str(text).map_err(|e| BuildError::invalid(what, e.to_string().trim_end().replace('\n', " ")))
}

/// Checks the text of a profile file; the door for the fuzzer.
pub fn check(text: &str) -> Result<()> {
    Profile::merge("dev", parse("profile", text)?, Raw::default()).map(drop)
}

fn globs(key: &str, patterns: &[String]) -> Result<GlobSet> {
    let mut builder = GlobSetBuilder::new();
    for pattern in patterns {
        builder.add(Glob::new(pattern).map_err(|e| BuildError::invalid(key, e.to_string()))?);
    }
    builder
        .build()
        .map_err(|e| BuildError::invalid(key, e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_profiles_of_the_checkout_are_valid() {
        let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        for name in PROFILES {
            Profile::read(&checkout, name).unwrap();
        }
        let said = Profile::read(&checkout, "relase").unwrap_err().to_string();
        assert!(said.contains("did you mean release?"), "{said}");
    }

    #[test]
    fn unknown_keys_and_bad_patterns_are_refused_by_name() {
        assert!(
            check("[packages]\ninstal = []")
                .unwrap_err()
                .to_string()
                .contains("instal")
        );
        assert!(
            check("[files]\ndrop = ['a[']")
                .unwrap_err()
                .to_string()
                .contains("files.drop")
        );
    }

    #[test]
    fn the_rollback_index_stands_in_base_only() {
        let with = || parse("x", "rollback_index = 3").unwrap();
        let profile = Profile::merge("dev", with(), Raw::default()).unwrap();
        assert_eq!(profile.rollback_index, 3);
        let said = Profile::merge("dev", with(), with()).unwrap_err().to_string();
        assert!(said.contains("rollback_index"), "{said}");
        assert!(check("rollback_index = -1").is_err());
    }

    #[test]
    fn keep_wins_over_drop() {
        let raw = parse(
            "x",
            "[files]\ndrop=['usr/share/doc/**']\nkeep=['usr/share/doc/*/copyright']",
        )
        .unwrap();
        let profile = Profile::merge("dev", raw, Raw::default()).unwrap();
        assert!(
            profile.wants_file("usr/share/doc/x/copyright") && !profile.wants_file("usr/share/doc/x/NEWS")
        );
    }
}
