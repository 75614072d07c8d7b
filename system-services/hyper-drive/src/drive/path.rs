//! Names of files in a drive.
//!
//! A drive stores any text as a name. What a program asks for is first brought into one form, as the peers do
//! (`unix-path-resolve` 1.0): rooted, `/` and `\` both separate, empty names and `.` vanish, `..` goes up, and a drive letter or
//! the scheme and host of a URL is cut off. Names that peers wrote are not so normalised: who leaves the drive with them, onto a
//! disk, looks at each part (`mirror`).

use std::fmt;

use crate::bee::KeyRange;

/// A name that means no file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Above the root.
    #[error("the path {0:?} leads out of the drive: too many `..`")]
    AboveRoot(String),
    /// The root is no file.
    #[error("the path {0:?} is the root of the drive, not a file")]
    Root(String),
}

/// The name of a file in its one form: rooted, without `.`, `..`, empty names and `\`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilePath(String);

impl FilePath {
    /// Brings a name into its form.
    pub fn new(name: &str) -> Result<Self, PathError> {
        let path = resolve("/", name)?;
        if path == "/" {
            return Err(PathError::Root(name.to_owned()));
        }
        Ok(Self(path))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of a folder. Folders are not stored: a folder is what the names of files begin with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FolderPath(String);

impl FolderPath {
    /// Brings a name into its form.
    pub fn new(name: &str) -> Result<Self, PathError> {
        let mut path = resolve("/", name)?;
        if path == "/" {
            path.clear();
        }
        Ok(Self(path))
    }

    /// The root.
    pub fn root() -> Self {
        Self(String::new())
    }

    /// The text, for people: `/` is the root.
    pub fn as_str(&self) -> &str {
        if self.0.is_empty() { "/" } else { &self.0 }
    }

    /// What the names of all files below begin with.
    pub fn prefix(&self) -> String {
        format!("{}/", self.0)
    }

    /// Whether a file of this name is below.
    pub fn contains(&self, path: &str) -> bool {
        path.strip_prefix(&self.0)
            .is_some_and(|below| below.starts_with('/'))
    }

    /// The keys of the files below: '0' follows '/'.
    pub(crate) fn keys(&self) -> KeyRange {
        KeyRange::ALL.gt(self.prefix()).lt(format!("{}0", self.0))
    }
}

/// Where a link leads: `to`, as seen from the rooted name `from` of the link.
///
/// As the peers have it, a relative target counts from the link itself, not from its folder: `/a/link` to `x` leads to `/a/link/x`.
pub fn resolve(from: &str, to: &str) -> Result<String, PathError> {
    let (rooted, to_names) = names(to);
    let mut path = String::from("/");
    if !rooted {
        let (_, from_names) = names(from);
        descend(&mut path, from_names, to)?;
    }
    descend(&mut path, to_names, to)?;
    Ok(path)
}

/// The parts of a name, and whether it is rooted.
fn names(path: &str) -> (bool, impl Iterator<Item = &str>) {
    let parts = || path.split(['/', '\\']);
    let first = parts().next().unwrap_or_default();
    let more = first.len() < path.len();
    let (rooted, skipped) = match first {
        scheme if more && scheme.ends_with(':') => {
            // The peers count in UTF-16: one letter before the colon is a drive.
            let local = scheme.encode_utf16().count() == 2 || scheme == "file:";
            (true, if local { 1 } else { 3 })
        }
        first => (more && first.is_empty(), 0),
    };
    (rooted, parts().skip(skipped))
}

fn descend<'a>(
    path: &mut String,
    names: impl Iterator<Item = &'a str>,
    given: &str,
) -> Result<(), PathError> {
    for name in names {
        match name {
            "" | "." => {}
            ".." => {
                if path == "/" {
                    return Err(PathError::AboveRoot(given.to_owned()));
                }
                let parent = path.rfind('/').unwrap_or(0);
                path.truncate(parent.max(1));
            }
            name => {
                if path.len() > 1 {
                    path.push('/');
                }
                path.push_str(name);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_name_in_its_form_stays_as_it_is(name in "([a-z:. ~ü/\\\\]|\\.\\.){0,20}") {
            if let Ok(path) = FilePath::new(&name) {
                prop_assert!(path.as_str().starts_with('/'));
                prop_assert!(path.as_str().split('/').skip(1).all(|part| !matches!(part, "" | "." | "..")));
                prop_assert_eq!(&FilePath::new(path.as_str()).unwrap(), &path);
            }
        }

        #[test]
        fn a_file_is_in_each_folder_above(name in "[a-c0!/]{1,12}") {
            if let Ok(path) = FilePath::new(&name) {
                for (end, _) in path.as_str().match_indices('/') {
                    let folder = FolderPath::new(&path.as_str()[..end]).unwrap();
                    prop_assert!(folder.contains(path.as_str()));
                }
            }
        }
    }
}
