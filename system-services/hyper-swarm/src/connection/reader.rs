//! The half of a connection that receives.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyper_core::link::LINK_MESSAGES;
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf};
use tokio::sync::{mpsc, oneshot};

use super::budget::{Budget, LARGE_BYTES, Large};
use super::{Ending, now, until};
use crate::secret_stream::{Idle, Receiver};

/// Bytes that are read at once, about as many as a full UDP socket gives.
const BUFFER_BYTES: usize = 64 << 10;
/// How long the peer may take to end its direction when nobody listens to it any more and ours has ended.
const LINGER: Duration = Duration::from_secs(2);

pub(super) struct Reader<T> {
    pub(super) io: ReadHalf<T>,
    pub(super) receiver: Receiver,
    pub(super) incoming: mpsc::Sender<Vec<u8>>,
    pub(super) is_heard: Arc<AtomicBool>,
    pub(super) timeout: Option<Duration>,
    pub(super) budget: Budget,
    /// The large message that is under way.
    pub(super) large: Option<Large>,
    pub(super) writer_is_done: oneshot::Receiver<()>,
}

/// The user has dropped its end of the channel.
struct NobodyListens;

impl<T: AsyncRead> Reader<T> {
    /// Until the peer has ended its direction, or nobody listens any more. `heard` came before.
    pub(super) async fn run(mut self, heard: Vec<u8>) -> Result<(), Ending> {
        let mut buffer = vec![0; BUFFER_BYTES];
        if self.deliver_all(&heard).await?.is_err() {
            return self.discard(&mut buffer).await;
        }
        drop(heard);
        let mut idle = Idle::new(None, self.timeout, now());
        loop {
            let slow = self.large.as_ref().map(|large| large.deadline(self.received()));
            let len = tokio::select! {
                biased;
                len = self.io.read(&mut buffer) => len?,
                () = self.incoming.closed() => return self.discard(&mut buffer).await,
                () = until(idle.deadline()) => return Err(Ending::TimedOut(self.timeout.unwrap_or_default())),
                () = until(slow) => return Err(self.too_slow()),
            };
            if len == 0 {
                self.receiver.end()?;
                return Ok(());
            }
            if self.deliver_all(&buffer[..len]).await?.is_err() {
                return self.discard(&mut buffer).await;
            }
            // The time that the user took is not the peer's.
            idle.heard(now());
        }
    }

    async fn deliver_all(&mut self, mut input: &[u8]) -> Result<Result<(), NobodyListens>, Ending> {
        while let Some(message) = self.receiver.receive(&mut input)? {
            let sent = self.incoming.send(message).await;
            self.large = None;
            if sent.is_err() {
                return Ok(Err(NobodyListens));
            }
        }
        if self.receiver.is_open() {
            self.is_heard.store(true, Ordering::Relaxed);
        }
        Ok(self.make_room().await)
    }

    /// A large message is read on when those before it are taken, and there is room for it: a connection holds one of them, and
    /// all together hold what their budget allows.
    async fn make_room(&mut self) -> Result<(), NobodyListens> {
        let Some((bytes, _)) = self
            .receiver
            .incomplete()
            .filter(|(bytes, _)| *bytes > LARGE_BYTES)
        else {
            return Ok(());
        };
        if self.large.is_none() {
            let taken = self.incoming.reserve_many(LINK_MESSAGES).await;
            drop(taken.map_err(|_| NobodyListens)?);
            self.large = tokio::select! {
                large = self.budget.take(bytes) => Some(large),
                () = self.incoming.closed() => return Err(NobodyListens),
            };
        }
        Ok(())
    }

    /// How much is there of the message that is under way.
    fn received(&self) -> usize {
        self.receiver.incomplete().map_or(0, |(_, received)| received)
    }

    fn too_slow(&self) -> Ending {
        let Some(large) = &self.large else {
            return Ending::TimedOut(Duration::ZERO);
        };
        Ending::Slow {
            bytes: large.bytes,
            after: now().saturating_duration_since(large.since),
        }
    }

    /// Reads on for nobody: a stream that is closed with bytes unread may lose those that were sent.
    async fn discard(mut self, buffer: &mut [u8]) -> Result<(), Ending> {
        let reading = async {
            // What goes wrong now is of no interest.
            while self.io.read(buffer).await.is_ok_and(|len| len > 0) {}
        };
        let patience = async {
            let _ = self.writer_is_done.await;
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            () = reading => {}
            () = patience => {}
        }
        Ok(())
    }
}
