//! Reading a blob piece by piece.

use std::future::Future;
use std::ops::{Bound, Range, RangeBounds};
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use hyper_core::merkle::Seek;
use hyper_core::session::{Download, DownloadRange, GetOptions, Session};
use tokio::io::{AsyncRead, ReadBuf};

use super::{BLOCK_BYTES, BlobError, BlobId, MAX_MAP_BLOCKS, MappedBlock, read_map, runs};

/// Blocks that are fetched ahead of the reader. A reader that stops does not fetch the rest of a large file.
const WINDOW_BLOCKS: u64 = 128;

/// How a blob is read where it is not stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReadOptions {
    /// Fetch what is not stored here.
    pub wait: bool,
    /// How long to wait at most for each block.
    pub timeout: Option<Duration>,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self {
            wait: true,
            timeout: None,
        }
    }
}

/// Gives the bytes of a blob, a block at a time. What it has not given yet is not in memory.
pub struct BlobReader {
    state: State,
    /// What [`AsyncRead`] has not taken of a block.
    rest: Bytes,
}

type Turn = Pin<Box<dyn Future<Output = (Box<Cursor>, Result<Option<Bytes>, BlobError>)> + Send>>;

enum State {
    Idle(Box<Cursor>),
    Busy(Turn),
    Ended,
}

impl BlobReader {
    pub(super) fn new(core: Session, id: BlobId, bytes: impl RangeBounds<u64>, options: ReadOptions) -> Self {
        let start = match bytes.start_bound() {
            Bound::Included(start) => *start,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let end = match bytes.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(end) => *end,
            Bound::Unbounded => u64::MAX,
        };
        // The id says how long a blob is only if its blocks are not listed.
        let end = if id.block_map {
            end
        } else {
            end.min(id.byte_length)
        };
        let cursor = Cursor {
            core,
            id,
            options,
            start,
            left: end.saturating_sub(start),
            place: Place::Unknown,
            window: Window::default(),
        };
        Self {
            state: State::Idle(Box::new(cursor)),
            rest: Bytes::new(),
        }
    }

    /// The next bytes, at most a block; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        std::future::poll_fn(|context| self.poll_next(context))
            .await
            .transpose()
    }

    /// As [`BlobReader::next`], for streams. After an error comes the end.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BlobError>>> {
        if self.rest.has_remaining() {
            return Poll::Ready(Some(Ok(std::mem::take(&mut self.rest))));
        }
        let mut turn = match std::mem::replace(&mut self.state, State::Ended) {
            State::Ended => return Poll::Ready(None),
            State::Idle(cursor) => cursor.turn(),
            State::Busy(turn) => turn,
        };
        let Poll::Ready((cursor, result)) = turn.as_mut().poll(context) else {
            self.state = State::Busy(turn);
            return Poll::Pending;
        };
        if let Ok(Some(_)) = result {
            self.state = State::Idle(cursor);
        }
        Poll::Ready(result.transpose())
    }

    /// All of it, unless it is longer than `max_bytes`.
    pub async fn to_vec(mut self, max_bytes: u64) -> Result<Vec<u8>, BlobError> {
        let mut all = Vec::new();
        if let State::Idle(cursor) = &self.state
            && !cursor.id.block_map
            && cursor.left > max_bytes
        {
            return Err(BlobError::TooLong(max_bytes));
        }
        while let Some(bytes) = self.next().await? {
            if all.len() as u64 + bytes.len() as u64 > max_bytes {
                return Err(BlobError::TooLong(max_bytes));
            }
            all.extend_from_slice(&bytes);
        }
        Ok(all)
    }
}

impl AsyncRead for BlobReader {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        out: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        while !self.rest.has_remaining() {
            match ready!(self.poll_next(context)) {
                None => return Poll::Ready(Ok(())),
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Poll::Ready(Err(std::io::Error::other(error))),
            }
        }
        let part = self.rest.len().min(out.remaining());
        out.put_slice(&self.rest.split_to(part));
        Poll::Ready(Ok(()))
    }
}

/// Where a reader stands.
struct Cursor {
    core: Session,
    id: BlobId,
    options: ReadOptions,
    /// Bytes to be left out yet, from `place` on.
    start: u64,
    /// Bytes to be given yet.
    left: u64,
    place: Place,
    /// What is being fetched.
    window: Window,
}

/// What is fetched ahead of a reader.
#[derive(Default)]
struct Window {
    _downloads: Vec<Download>,
    /// Blocks of it that the reader has not asked for yet.
    left: u64,
    /// When so few are left, the next ones are fetched too.
    refill_at: u64,
}

/// Which blocks come next.
enum Place {
    /// To be found.
    Unknown,
    /// These, in a row.
    Row(Range<u64>),
    /// The listed ones, then those listed in further blocks of the map.
    Listed {
        blocks: std::vec::IntoIter<MappedBlock>,
        parts: Range<u64>,
    },
}

impl Cursor {
    fn turn(mut self: Box<Self>) -> Turn {
        Box::pin(async move {
            let bytes = self.next().await;
            (self, bytes)
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BlobError> {
        while self.left > 0 {
            let Some(block) = self.next_block().await? else {
                // A list says nowhere how long all of it is.
                return match (self.id.block_map, self.left) {
                    (true, _) => Ok(None),
                    (false, missing) => Err(BlobError::EndsEarly { missing }),
                };
            };
            let mut bytes = Bytes::from(self.get(block).await?);
            let skipped = self.start.min(bytes.len() as u64);
            self.start -= skipped;
            bytes.advance(skipped as usize);
            bytes.truncate(usize::try_from(self.left).unwrap_or(usize::MAX));
            self.left -= bytes.len() as u64;
            if !bytes.is_empty() {
                return Ok(Some(bytes));
            }
        }
        self.window = Window::default();
        Ok(None)
    }

    async fn next_block(&mut self) -> Result<Option<u64>, BlobError> {
        loop {
            match &mut self.place {
                Place::Unknown => self.place = self.find().await?,
                Place::Row(blocks) => return Ok(blocks.next()),
                Place::Listed { blocks, parts } => {
                    for block in blocks {
                        if block.byte_length > self.start {
                            return Ok(Some(block.index));
                        }
                        self.start -= block.byte_length;
                    }
                    let Some(part) = parts.next() else {
                        return Ok(None);
                    };
                    let map = read_map(&self.core, part, self.get_options()).await?;
                    if let Place::Listed { blocks, .. } = &mut self.place {
                        *blocks = map.blocks.into_iter();
                    }
                }
            }
        }
    }

    /// Finds the first block.
    async fn find(&mut self) -> Result<Place, BlobError> {
        self.id.check().map_err(BlobError::Id)?;
        let blocks = self.id.blocks();
        let unknown = blocks.end > self.core.length();
        if unknown && (!self.options.wait || self.core.is_writable()) {
            return Err(BlobError::outside(&self.core, blocks.end));
        }
        if self.id.block_map {
            if self.id.block_length > MAX_MAP_BLOCKS {
                return Err(BlobError::LongMap(self.id.block_length));
            }
            return Ok(Place::Listed {
                blocks: Vec::new().into_iter(),
                parts: blocks,
            });
        }
        if self.start == 0 {
            return Ok(Place::Row(blocks));
        }
        if unknown {
            // The database of a drive may be ahead of its blobs: the block that it most likely is brings the core's new length.
            let last = self.id.block_length.saturating_sub(1);
            let likely = blocks
                .start
                .saturating_add(last.min(self.start / BLOCK_BYTES as u64));
            self.fetch(likely).await?;
        }
        let byte = self.id.byte_offset.saturating_add(self.start);
        let (block, offset) = self.seek(byte).await?;
        if !blocks.contains(&block) {
            return Err(BlobError::WrongOffset { byte });
        }
        self.start = offset;
        Ok(Place::Row(block..blocks.end))
    }

    /// The block that holds a byte of the core, and where in it.
    async fn seek(&self, byte: u64) -> Result<(u64, u64), BlobError> {
        loop {
            match self.core.seek(byte).await.map_err(BlobError::core(&self.core))? {
                Seek::Block { block, offset } => return Ok((block, offset)),
                Seek::Beyond => return Err(BlobError::WrongOffset { byte }),
                // Each block comes with the way to it, which halves what is left.
                Seek::Within(blocks) => {
                    let middle = blocks.start + (blocks.end - blocks.start) / 2;
                    self.fetch(middle).await?;
                }
            }
        }
    }

    async fn fetch(&self, block: u64) -> Result<Vec<u8>, BlobError> {
        let found = self.core.get_with(block, self.get_options()).await;
        found
            .map_err(BlobError::core(&self.core))?
            .ok_or_else(|| BlobError::not_stored(&self.core, block))
    }

    /// A block, and those after it on their way.
    async fn get(&mut self, block: u64) -> Result<Vec<u8>, BlobError> {
        self.window.left = self.window.left.saturating_sub(1);
        if let Some(bytes) = self.core.get_local(block).map_err(BlobError::core(&self.core))? {
            if self.window.left > 0 && self.window.left <= self.window.refill_at {
                self.move_window(block);
            }
            return Ok(bytes);
        }
        if !self.options.wait {
            return Err(BlobError::not_stored(&self.core, block));
        }
        if self.core.is_writable() && block >= self.core.length() {
            return Err(BlobError::outside(&self.core, block.saturating_add(1)));
        }
        if self.window.left <= self.window.refill_at {
            self.move_window(block);
        }
        self.fetch(block).await
    }

    /// Fetches this block and those after it, as many as the reader will want. As long as everything is stored, there is no window.
    fn move_window(&mut self, block: u64) {
        // Shorter blocks than usual want another window, when this one has been read.
        let wanted = self.start.saturating_add(self.left).div_ceil(BLOCK_BYTES as u64);
        let size = wanted.min(WINDOW_BLOCKS);
        let ahead = match &self.place {
            Place::Listed { blocks, .. } => {
                let listed = blocks.as_slice().iter().map(|block| block.index);
                runs(std::iter::once(block).chain(listed).take(size as usize))
            }
            Place::Row(rest) => runs(block..rest.end.min(block.saturating_add(size))),
            Place::Unknown => Vec::new(),
        };
        self.window = Window {
            left: ahead.iter().map(|run| run.end - run.start).sum(),
            refill_at: if wanted > size { size / 2 } else { 0 },
            _downloads: ahead
                .into_iter()
                .map(|run| self.core.download(DownloadRange::from(run).linear()))
                .collect(),
        };
    }

    fn get_options(&self) -> GetOptions {
        GetOptions {
            wait: self.options.wait,
            timeout: self.options.timeout,
        }
    }
}
