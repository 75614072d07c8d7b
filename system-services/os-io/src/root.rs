//! A path prefix, so that a test passes a temporary folder where a service passes `/`.

use std::path::{Path, PathBuf};

/// Where `/` is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Root(PathBuf);

impl Root {
    /// The running system.
    pub fn system() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A folder that stands for `/`.
    pub fn at(folder: impl Into<PathBuf>) -> Self {
        Self(folder.into())
    }

    /// The place of an absolute path below this root. A relative path is taken from the root too.
    pub fn path(&self, absolute: impl AsRef<Path>) -> PathBuf {
        let absolute = absolute.as_ref();
        self.0.join(absolute.strip_prefix("/").unwrap_or(absolute))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absolute_path_stays_below_the_root() {
        assert_eq!(
            Root::at("/tmp/x").path("/etc/hostname"),
            Path::new("/tmp/x/etc/hostname")
        );
        assert_eq!(Root::at("/tmp/x").path("etc"), Path::new("/tmp/x/etc"));
        assert_eq!(Root::system().path("/etc"), Path::new("/etc"));
    }
}
