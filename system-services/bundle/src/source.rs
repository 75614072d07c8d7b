//! Where a bundle's bytes come from: a file, a range request, a peer.

use std::io;
use std::sync::Arc;

/// Positioned reads of something whose size is known.
pub trait ReadAt: Send + Sync {
    /// Bytes in all.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset` on; an end before that is `UnexpectedEof`.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Says what will be read soon, in ascending order, so that a source behind a network can ask for it at once.
    fn will_read(&self, ranges: &[std::ops::Range<u64>]) {
        let _ = ranges;
    }
}

impl ReadAt for [u8] {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        usize::try_from(offset)
            .ok()
            .and_then(|start| self.get(start..)?.get(..buf.len()))
            .map(|bytes| buf.copy_from_slice(bytes))
            .ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }
}

impl ReadAt for Vec<u8> {
    fn size(&self) -> u64 {
        self.as_slice().size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.as_slice().read_exact_at(buf, offset)
    }
}

impl<T: ReadAt + ?Sized> ReadAt for Arc<T> {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn will_read(&self, ranges: &[std::ops::Range<u64>]) {
        (**self).will_read(ranges);
    }
}

/// A part of a source that looks like a whole one.
#[derive(Debug, Clone)]
pub struct Window<S> {
    source: S,
    range: std::ops::Range<u64>,
}

impl<S: ReadAt> Window<S> {
    /// The bytes of `range`, as far as the source has them.
    pub fn new(source: S, range: std::ops::Range<u64>) -> Self {
        let end = range.end.min(source.size());
        Self {
            range: range.start.min(end)..end,
            source,
        }
    }
}

impl<S: ReadAt> ReadAt for Window<S> {
    fn size(&self) -> u64 {
        self.range.end - self.range.start
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        match offset.checked_add(buf.len() as u64) {
            Some(end) if end <= self.size() => self.source.read_exact_at(buf, self.range.start + offset),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn will_read(&self, ranges: &[std::ops::Range<u64>]) {
        let shifted: Vec<_> = ranges
            .iter()
            .map(|range| self.range.start + range.start..self.range.start + range.end.min(self.size()))
            .filter(|range| range.start < range.end)
            .collect();
        self.source.will_read(&shifted);
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn size(&self) -> u64 {
        (**self).size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        (**self).read_exact_at(buf, offset)
    }

    fn will_read(&self, ranges: &[std::ops::Range<u64>]) {
        (**self).will_read(ranges);
    }
}

/// Reads a source from its beginning to its end.
#[derive(Debug)]
pub struct Sequential<S> {
    source: S,
    at: u64,
}

impl<S: ReadAt> Sequential<S> {
    /// From the first byte on.
    pub fn new(source: S) -> Self {
        Self { source, at: 0 }
    }
}

impl<S: ReadAt> io::Read for Sequential<S> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.source.size().saturating_sub(self.at);
        let length = usize::try_from(left).map_or(buf.len(), |left| left.min(buf.len()));
        self.source.read_exact_at(&mut buf[..length], self.at)?;
        self.at += length as u64;
        Ok(length)
    }
}
