//! The half of a connection that sends.

use std::time::Duration;

use tokio::io::{AsyncWrite, AsyncWriteExt, WriteHalf};
use tokio::sync::mpsc;

use super::{Ending, now, until};
use crate::secret_stream::{Idle, Sender};

/// Messages are sealed into one write up to about so many bytes.
const BATCH_BYTES: usize = 64 << 10;

pub(super) struct Writer<T> {
    pub(super) io: WriteHalf<T>,
    pub(super) sender: Sender,
    pub(super) outgoing: mpsc::Receiver<Vec<u8>>,
    pub(super) keep_alive: Option<Duration>,
}

impl<T: AsyncWrite> Writer<T> {
    /// Until the user has nothing more to send; then the stream is ended in our direction. `unsent` goes first.
    pub(super) async fn run(mut self, unsent: Vec<u8>) -> Result<(), Ending> {
        let mut out = unsent;
        let mut idle = Idle::new(self.keep_alive, None, now());
        loop {
            if !out.is_empty() {
                self.io.write_all(&out).await?;
                self.io.flush().await?;
                idle.sent(now());
                out.clear();
                out.shrink_to(BATCH_BYTES);
            }
            let message = tokio::select! {
                biased;
                message = self.outgoing.recv() => message,
                () = until(idle.deadline()) => Some(Vec::new()),
            };
            let Some(message) = message else { break };
            self.sender.send(&message, &mut out)?;
            while out.len() < BATCH_BYTES
                && let Ok(message) = self.outgoing.try_recv()
            {
                self.sender.send(&message, &mut out)?;
            }
        }
        self.io.shutdown().await?;
        Ok(())
    }
}
