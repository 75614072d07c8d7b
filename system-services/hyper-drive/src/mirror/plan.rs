//! What has to be done so that one listing becomes the other. Pure.

use std::cmp::Ordering;

/// Something at a path, in a folder or a drive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its path in the drive.
    pub path: String,
    /// What it is.
    pub kind: Kind,
}

/// What is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A file.
    File {
        /// Its bytes; `None` if only its content says how many.
        bytes: Option<u64>,
        /// Whether it may be run.
        executable: bool,
    },
    /// A symbolic link.
    Link {
        /// Its target as a disk has it, and by which links are compared.
        target: String,
        /// Its target as a drive has it.
        linkname: String,
    },
}

/// When two files of the same length are taken for the same.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compare {
    /// When every byte is. (Drives keep no time of change that could be relied on.)
    #[default]
    Content,
    /// Always. Quick, and wrong where a file was changed in place.
    Size,
}

/// What is to be done at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Nothing: both are the same.
    Keep,
    /// Copy what the target does not have.
    Add,
    /// Copy over what the target has.
    Replace,
    /// Look at the contents: copy if they differ, otherwise make it executable, or not, as the source is.
    Compare,
    /// Only make it executable, or not.
    SetExecutable,
    /// Remove what the source does not have.
    Remove,
    /// Leave what the source does not have.
    Leave,
}

/// What the target has to become.
pub fn decide(source: Option<&Kind>, target: Option<&Kind>, compare: Compare, prune: bool) -> Action {
    let (source, target) = match (source, target) {
        (Some(source), Some(target)) => (source, target),
        (Some(_), None) => return Action::Add,
        (None, Some(_)) if prune => return Action::Remove,
        (None, _) => return Action::Leave,
    };
    match (source, target) {
        (Kind::Link { target: one, .. }, Kind::Link { target: other, .. }) if one == other => Action::Keep,
        (
            Kind::File { bytes, executable },
            Kind::File {
                bytes: other_bytes,
                executable: other,
            },
        ) => match (bytes, other_bytes) {
            (Some(bytes), Some(other)) if bytes != other => Action::Replace,
            (Some(_), Some(_)) if compare == Compare::Size && executable == other => Action::Keep,
            (Some(_), Some(_)) if compare == Compare::Size => Action::SetExecutable,
            _ => Action::Compare,
        },
        _ => Action::Replace,
    }
}

/// Which of two listings, both in the order of their paths' bytes, has the next path. `Equal`: both have the same.
pub fn next(source: Option<&str>, target: Option<&str>) -> Option<Ordering> {
    match (source, target) {
        (Some(source), Some(target)) => Some(source.cmp(target)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: u64, executable: bool) -> Kind {
        Kind::File {
            bytes: Some(bytes),
            executable,
        }
    }

    fn link(target: &str) -> Kind {
        Kind::Link {
            target: target.to_owned(),
            linkname: String::new(),
        }
    }

    #[test]
    fn only_what_differs_is_copied() {
        let content =
            |source: &Kind, target: &Kind| decide(Some(source), Some(target), Compare::Content, true);
        assert_eq!(content(&file(3, true), &file(4, true)), Action::Replace);
        assert_eq!(content(&file(3, true), &file(3, true)), Action::Compare);
        assert_eq!(content(&link("a"), &link("a")), Action::Keep);
        assert_eq!(content(&link("a"), &link("b")), Action::Replace);
        assert_eq!(content(&link("a"), &file(1, false)), Action::Replace);
        let unknown = Kind::File {
            bytes: None,
            executable: false,
        };
        assert_eq!(content(&unknown, &file(1, false)), Action::Compare);
        let size = |source: &Kind, target: &Kind| decide(Some(source), Some(target), Compare::Size, true);
        assert_eq!(size(&file(3, true), &file(3, true)), Action::Keep);
        assert_eq!(size(&file(3, true), &file(3, false)), Action::SetExecutable);
        assert_eq!(size(&unknown, &file(1, false)), Action::Compare);
    }

    #[test]
    fn what_the_source_does_not_have_goes_only_when_that_is_wished() {
        let target = file(1, false);
        assert_eq!(
            decide(None, Some(&target), Compare::Content, true),
            Action::Remove
        );
        assert_eq!(
            decide(None, Some(&target), Compare::Content, false),
            Action::Leave
        );
        assert_eq!(decide(Some(&target), None, Compare::Content, false), Action::Add);
    }
}
