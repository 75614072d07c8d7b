//! Kernel modules.

use std::fs::File;
use std::path::Path;

use rustix::io::Errno;

use crate::{Error, failed};

/// What became of a module.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loaded {
    /// It is in the kernel now.
    Now,
    /// It was in the kernel already.
    Before,
    /// It found none of its hardware: normal for a driver of another board.
    NoDevice,
}

/// Loads an uncompressed `.ko` file. Its dependencies must be loaded before.
pub fn load(file: &Path) -> Result<Loaded, Error> {
    let action = || format!("load the kernel module {}", file.display());
    let opened = File::open(file).map_err(failed(action()))?;
    match rustix::system::finit_module(&opened, c"", 0) {
        Ok(()) => Ok(Loaded::Now),
        Err(Errno::EXIST) => Ok(Loaded::Before),
        Err(Errno::NODEV) => Ok(Loaded::NoDevice),
        Err(error) => Err(failed(action())(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_module_is_named() {
        let error = load(Path::new("/nonexistent/dm-verity.ko")).unwrap_err();
        assert!(error.to_string().contains("dm-verity.ko"));
    }
}
