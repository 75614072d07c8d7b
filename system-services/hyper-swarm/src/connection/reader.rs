//! The half of a connection that receives.

use std::time::Duration;

use hyper_core::link::LINK_MESSAGES;
use tokio::io::{AsyncRead, AsyncReadExt, ReadHalf};
use tokio::sync::{mpsc, oneshot};

use super::{Ending, now, until};
use crate::secret_stream::{Idle, Receiver};

/// Bytes that are read at once, about as many as a full UDP socket gives.
const BUFFER_BYTES: usize = 64 << 10;
/// A message that is longer waits until all before it are taken: so a peer can make us hold eight of these and one of the
/// longest, not eight of the longest.
const LARGE_BYTES: usize = 256 << 10;
/// How long the peer may take to end its direction when nobody listens to it any more and ours has ended.
const LINGER: Duration = Duration::from_secs(2);

pub(super) struct Reader<T> {
    pub(super) io: ReadHalf<T>,
    pub(super) receiver: Receiver,
    pub(super) incoming: mpsc::Sender<Vec<u8>>,
    pub(super) timeout: Option<Duration>,
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
            let len = tokio::select! {
                biased;
                len = self.io.read(&mut buffer) => len?,
                () = self.incoming.closed() => return self.discard(&mut buffer).await,
                () = until(idle.deadline()) => return Err(Ending::TimedOut(self.timeout.unwrap_or_default())),
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
            if message.len() > LARGE_BYTES && self.incoming.reserve_many(LINK_MESSAGES).await.is_err() {
                return Ok(Err(NobodyListens));
            }
            if self.incoming.send(message).await.is_err() {
                return Ok(Err(NobodyListens));
            }
        }
        Ok(Ok(()))
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
