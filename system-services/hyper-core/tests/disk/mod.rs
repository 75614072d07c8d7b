//! A disk in memory that outlives its store, and remembers in which order it was written and flushed.

#![allow(dead_code)] // each test program uses a part

use std::io::{Error, ErrorKind};
use std::sync::{Arc, Mutex, MutexGuard};

use redb::StorageBackend;

/// What was done to the disk.
#[derive(Debug, Clone)]
pub enum Op {
    Write(u64, Vec<u8>),
    SetLen(u64),
    Sync,
}

#[derive(Debug, Default)]
pub struct State {
    pub bytes: Vec<u8>,
    pub log: Vec<Op>,
    pub keep_log: bool,
    pub syncs: u64,
    pub bytes_read: u64,
}

#[derive(Debug, Clone, Default)]
pub struct Disk(Arc<Mutex<State>>);

impl Disk {
    pub fn new(bytes: Vec<u8>, keep_log: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            bytes,
            keep_log,
            ..State::default()
        })))
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl Op {
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Op::Write(offset, data) => {
                let start = *offset as usize;
                if bytes.len() < start + data.len() {
                    bytes.resize(start + data.len(), 0);
                }
                bytes[start..start + data.len()].copy_from_slice(data);
            }
            Op::SetLen(length) => bytes.resize(*length as usize, 0),
            Op::Sync => {}
        }
    }
}

impl State {
    fn act(&mut self, op: Op) {
        op.apply(&mut self.bytes);
        if self.keep_log {
            self.log.push(op);
        }
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> Result<u64, Error> {
        Ok(self.state().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), Error> {
        let mut state = self.state();
        state.bytes_read += out.len() as u64;
        let start = offset as usize;
        let found = state
            .bytes
            .get(start..start + out.len())
            .ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> Result<(), Error> {
        self.state().act(Op::SetLen(length));
        Ok(())
    }

    fn sync_data(&self) -> Result<(), Error> {
        let mut state = self.state();
        state.syncs += 1;
        state.act(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), Error> {
        self.state().act(Op::Write(offset, data.to_vec()));
        Ok(())
    }
}
