//! Files in memory, for stores that are gone when they are dropped.

use std::collections::HashMap;
use std::io::{Error, ErrorKind, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::medium::{Medium, MediumFile};

#[derive(Debug, Default)]
pub(super) struct Memory(Mutex<HashMap<String, MemoryFile>>);

#[derive(Debug, Default, Clone)]
struct MemoryFile(Arc<RwLock<Vec<u8>>>);

impl Memory {
    fn with<T>(&self, step: impl FnOnce(&mut HashMap<String, MemoryFile>) -> T) -> T {
        step(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Medium for Memory {
    fn open(&self, name: &str) -> Result<Option<Box<dyn MediumFile>>> {
        Ok(self.with(|files| files.get(name).map(|file| Box::new(file.clone()) as _)))
    }

    fn create(&self, name: &str) -> Result<Box<dyn MediumFile>> {
        let file = MemoryFile::default();
        self.with(|files| files.insert(name.into(), file.clone()));
        Ok(Box::new(file))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.with(|files| {
            let file = files.remove(from).ok_or(ErrorKind::NotFound)?;
            files.insert(to.into(), file);
            Ok(())
        })
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.with(|files| files.remove(name));
        Ok(())
    }
}

impl MemoryFile {
    fn change<T>(&self, step: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        step(&mut self.0.write().unwrap_or_else(PoisonError::into_inner))
    }

    fn read<T>(&self, step: impl FnOnce(&[u8]) -> T) -> T {
        step(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }
}

fn place(offset: u64, length: usize) -> Result<Range<usize>> {
    let too_large = |_| Error::from(ErrorKind::FileTooLarge);
    let start = usize::try_from(offset).map_err(too_large)?;
    let end = start.checked_add(length).ok_or(ErrorKind::FileTooLarge)?;
    Ok(start..end)
}

impl MediumFile for MemoryFile {
    fn size(&self) -> Result<u64> {
        Ok(self.read(<[u8]>::len) as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        let at = place(offset, buffer.len())?;
        self.read(|bytes| {
            buffer.copy_from_slice(bytes.get(at).ok_or(ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, new: &[u8], offset: u64) -> Result<()> {
        let at = place(offset, new.len())?;
        self.change(|bytes| {
            if bytes.len() < at.end {
                bytes.resize(at.end, 0);
            }
            bytes[at].copy_from_slice(new);
        });
        Ok(())
    }

    fn set_size(&self, size: u64) -> Result<()> {
        let size = place(size, 0)?.start;
        self.change(|bytes| bytes.resize(size, 0));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        Ok(())
    }

    fn punch(&self, _: Range<u64>) -> Result<()> {
        Ok(())
    }
}
