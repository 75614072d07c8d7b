//! A disk in memory that outlives its store, and remembers in which order its files were written and flushed.

#![allow(dead_code)] // each test program uses a part

use std::collections::BTreeMap;
use std::io::{ErrorKind, Result};
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hyper_core::store::{CheckedFile, Medium, MediumFile, Store, StoreError, StoreOptions};
use redb::Database;

/// Number of a file, whatever its name.
pub type FileId = usize;

/// What was done to the disk.
#[derive(Debug, Clone)]
pub enum Op {
    Create(String, FileId),
    Rename(String, String),
    Remove(String),
    Write(FileId, u64, Vec<u8>),
    SetSize(FileId, u64),
    Punch(FileId, Range<u64>),
    Flush(FileId),
}

impl Op {
    /// The file whose flush makes this durable; names are durable at once.
    pub fn waits_for(&self) -> Option<FileId> {
        match self {
            Op::Write(file, ..) | Op::SetSize(file, _) | Op::Punch(file, _) => Some(*file),
            _ => None,
        }
    }
}

/// What is on the disk.
#[derive(Debug, Clone, Default)]
pub struct Image {
    pub names: BTreeMap<String, FileId>,
    /// Copied when it is written, not before.
    pub files: Vec<Arc<Vec<u8>>>,
}

impl Image {
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Create(name, file) => {
                self.names.insert(name.clone(), *file);
                if self.files.len() <= *file {
                    self.files.resize(file + 1, Arc::default());
                }
            }
            Op::Rename(from, to) => {
                let file = self.names.remove(from).unwrap();
                self.names.insert(to.clone(), file);
            }
            Op::Remove(name) => drop(self.names.remove(name)),
            Op::Write(file, offset, data) => {
                let (bytes, start) = (self.file_mut(*file), *offset as usize);
                if bytes.len() < start + data.len() {
                    bytes.resize(start + data.len(), 0);
                }
                bytes[start..start + data.len()].copy_from_slice(data);
            }
            Op::SetSize(file, size) => self.file_mut(*file).resize(*size as usize, 0),
            Op::Punch(file, range) => {
                let bytes = self.file_mut(*file);
                let end = bytes.len().min(range.end as usize);
                bytes[end.min(range.start as usize)..end].fill(0);
            }
            Op::Flush(_) => {}
        }
    }

    pub fn file(&mut self, name: &str) -> Option<&mut Vec<u8>> {
        let file = *self.names.get(name)?;
        Some(self.file_mut(file))
    }

    fn file_mut(&mut self, file: FileId) -> &mut Vec<u8> {
        Arc::make_mut(&mut self.files[file])
    }

    pub fn bytes(&self) -> usize {
        self.names.values().map(|file| self.files[*file].len()).sum()
    }
}

#[derive(Debug, Default)]
pub struct State {
    pub image: Image,
    pub log: Vec<Op>,
    pub keep_log: bool,
    pub flushes: u64,
    pub flush_takes: Duration,
    pub bytes_read: u64,
    pub bytes_written: u64,
    pub bytes_punched: u64,
    /// Writes that still succeed, if they end.
    pub writes_left: Option<u64>,
}

#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

#[derive(Debug, Clone)]
pub struct DiskFile {
    disk: Disk,
    file: FileId,
}

impl Disk {
    pub fn new(image: Image, keep_log: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            image,
            keep_log,
            ..State::default()
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whoever writes from now on finds the disk full: a store that is dropped then leaves all as it is.
    pub fn fill(&self) {
        self.state().writes_left = Some(0);
    }

    /// What would be left if the process ended now.
    pub fn copy(&self) -> Self {
        Self::new(self.state().image.clone(), false)
    }

    pub fn open_with(&self, options: StoreOptions) -> std::result::Result<Store, StoreError> {
        Store::with_medium(Arc::new(self.clone()), options)
    }

    pub fn open(&self) -> std::result::Result<Store, StoreError> {
        self.open_with(StoreOptions::default())
    }

    /// The database with which the store indexes; the store must be closed.
    pub fn index(&self) -> Database {
        Database::builder()
            .create_with_backend(self.index_file())
            .unwrap()
    }

    pub fn index_file(&self) -> CheckedFile {
        let known = self.state().image.names.get("index").copied();
        let file = known.unwrap_or_else(|| self.create_file("index").file);
        CheckedFile::new(Box::new(DiskFile {
            disk: self.clone(),
            file,
        }))
    }

    fn create_file(&self, name: &str) -> DiskFile {
        let mut state = self.state();
        let file = state.image.files.len();
        state.act(Op::Create(name.into(), file));
        drop(state);
        DiskFile {
            disk: self.clone(),
            file,
        }
    }
}

impl State {
    fn act(&mut self, op: Op) {
        self.image.apply(&op);
        if self.keep_log {
            self.log.push(op);
        }
    }

    fn spend(&mut self) -> Result<()> {
        match &mut self.writes_left {
            Some(0) => Err(ErrorKind::StorageFull.into()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Medium for Disk {
    fn open(&self, name: &str) -> Result<Option<Box<dyn MediumFile>>> {
        let file = self.state().image.names.get(name).copied();
        Ok(file.map(|file| {
            Box::new(DiskFile {
                disk: self.clone(),
                file,
            }) as _
        }))
    }

    fn create(&self, name: &str) -> Result<Box<dyn MediumFile>> {
        self.state().spend()?;
        Ok(Box::new(self.create_file(name)))
    }

    fn rename(&self, from: &str, to: &str) -> Result<()> {
        self.state().act(Op::Rename(from.into(), to.into()));
        Ok(())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.state().act(Op::Remove(name.into()));
        Ok(())
    }
}

impl MediumFile for DiskFile {
    fn size(&self) -> Result<u64> {
        Ok(self.disk.state().image.files[self.file].len() as u64)
    }

    fn read_exact_at(&self, out: &mut [u8], offset: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.bytes_read += out.len() as u64;
        let start = offset as usize;
        let found = state.image.files[self.file]
            .get(start..start + out.len())
            .ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> Result<()> {
        let mut state = self.disk.state();
        state.spend()?;
        state.bytes_written += data.len() as u64;
        state.act(Op::Write(self.file, offset, data.to_vec()));
        Ok(())
    }

    fn set_size(&self, size: u64) -> Result<()> {
        self.disk.state().act(Op::SetSize(self.file, size));
        Ok(())
    }

    fn flush(&self) -> Result<()> {
        let mut state = self.disk.state();
        state.flushes += 1;
        state.act(Op::Flush(self.file));
        let takes = state.flush_takes;
        drop(state);
        std::thread::sleep(takes);
        Ok(())
    }

    fn punch(&self, bytes: Range<u64>) -> Result<()> {
        let mut state = self.disk.state();
        state.bytes_punched += bytes.end - bytes.start;
        state.act(Op::Punch(self.file, bytes));
        Ok(())
    }
}
