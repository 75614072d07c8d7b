//! `/modules.load`: the kernel modules that the way to the root needs, in load order.

use std::path::Path;

use os_io::modules::{self, Loaded};
use os_io::root::Root;
use thiserror::Error;

/// Where the list is in the initramfs.
pub const LIST: &str = "/modules.load";
/// More lines than any board needs.
const MAX_MODULES: usize = 512;

/// Why a list was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("line {line} of {LIST}: {problem}")]
pub struct ListError {
    /// 1-based.
    pub line: usize,
    /// What is wrong.
    pub problem: &'static str,
}

/// A module that is not in the kernel although the list asks for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// Name, such as `dm-verity`.
    pub module: String,
    /// Why, in one line.
    pub reason: String,
}

/// Reads the list: one path per line, relative to the root of the initramfs; empty lines and `#` comments.
pub fn parse(text: &str) -> Result<Vec<&str>, ListError> {
    let mut paths = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let path = line.trim();
        if path.is_empty() || path.starts_with('#') {
            continue;
        }
        let refuse = |problem| ListError {
            line: index + 1,
            problem,
        };
        if path.split('/').any(|part| part == "..") {
            return Err(refuse("a path must not climb"));
        }
        if !path.ends_with(".ko") {
            return Err(refuse("not an uncompressed module (.ko)"));
        }
        if paths.len() == MAX_MODULES {
            return Err(refuse("too many modules"));
        }
        paths.push(path);
    }
    Ok(paths)
}

/// Loads every module of the list, in order; a failure is returned and the next one is tried.
pub fn load_all(root: &Root, paths: &[&str]) -> Vec<Missing> {
    let mut missing = Vec::new();
    for path in paths {
        match modules::load(&root.path(path)) {
            Ok(Loaded::Now | Loaded::Before | Loaded::NoDevice) => {}
            Err(error) => missing.push(Missing {
                module: Path::new(path)
                    .file_stem()
                    .unwrap_or_default()
                    .to_string_lossy()
                    .into_owned(),
                reason: crate::report::chain(&error),
            }),
        }
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_kept_and_comments_are_not() {
        let text = "# board\nusr/lib/modules/7/kernel/drivers/md/dm-mod.ko\n\n usr/lib/dm-verity.ko \n";
        assert_eq!(
            parse(text).unwrap(),
            [
                "usr/lib/modules/7/kernel/drivers/md/dm-mod.ko",
                "usr/lib/dm-verity.ko"
            ]
        );
    }

    #[test]
    fn a_bad_line_is_named() {
        assert_eq!(parse("a.ko\n../b.ko").unwrap_err().line, 2);
        assert_eq!(parse("a.ko.xz").unwrap_err().line, 1);
        assert!(parse(&"a.ko\n".repeat(MAX_MODULES)).is_ok());
        assert!(parse(&"a.ko\n".repeat(MAX_MODULES + 1)).is_err());
    }

    #[test]
    fn a_missing_file_is_remembered_by_its_modules_name_and_the_rest_is_tried() {
        let folder = tempfile::tempdir().unwrap();
        let missing = load_all(&Root::at(folder.path()), &["usr/dm-verity.ko", "usr/ext4.ko"]);
        let names: Vec<_> = missing.iter().map(|m| m.module.as_str()).collect();
        assert_eq!(names, ["dm-verity", "ext4"]);
        assert!(
            missing[0].reason.contains("No such file"),
            "{}",
            missing[0].reason
        );
    }
}
