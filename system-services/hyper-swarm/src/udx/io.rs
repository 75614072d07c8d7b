//! A stream as tokio reads and writes it.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::handle::StreamHandle;
use super::shared::Shared;
use super::stream::CloseReason;

/// One end of a stream.
///
/// Writing fills a buffer; the socket's task sends it as the way and the peer take it. `shutdown` ends our direction, the
/// peer may go on. A stream that is dropped after that brings the peer all that was written, then ends for both; one that
/// is dropped before is destroyed at once.
#[derive(Debug)]
pub struct UdxStream {
    handle: StreamHandle,
}

impl UdxStream {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self {
            handle: StreamHandle { shared },
        }
    }

    /// To connect it and to ask about it; clones of it stay when the stream goes elsewhere.
    #[must_use]
    pub fn handle(&self) -> &StreamHandle {
        &self.handle
    }
}

impl Drop for UdxStream {
    fn drop(&mut self) {
        self.handle.shared.update(|state| {
            state.is_dropped = true;
            (state.reader, state.writer) = (None, None);
            if !state.machine.has_finished() || state.path.is_none() {
                state.destroy();
            }
        });
    }
}

/// What is said of a stream that is over.
fn error(reason: CloseReason) -> Error {
    let (kind, what) = match reason {
        CloseReason::Finished => (ErrorKind::BrokenPipe, "the stream has ended"),
        CloseReason::Destroyed => (
            ErrorKind::ConnectionAborted,
            "the stream was destroyed at this end",
        ),
        CloseReason::Reset => (ErrorKind::ConnectionReset, "the peer destroyed the stream"),
        CloseReason::TimedOut => (ErrorKind::TimedOut, "the peer does not answer any more"),
    };
    Error::new(kind, what)
}

impl AsyncRead for UdxStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let mut state = self.handle.shared.lock();
        let len = state.machine.read(buf.initialize_unfilled());
        buf.advance(len);
        if len == 0 && buf.remaining() > 0 && !state.machine.is_at_end() {
            return match state.outcome {
                Some(reason) => Poll::Ready(Err(error(reason))),
                None => {
                    state.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
        }
        let socket = if state.machine.wants_to_tell() {
            state.queue()
        } else {
            None
        };
        drop(state);
        if let Some(socket) = socket {
            socket.serve(&self.handle.shared);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UdxStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        let mut state = self.handle.shared.lock();
        if let Some(reason) = state.outcome {
            return Poll::Ready(Err(error(reason)));
        }
        if state.machine.has_finished() {
            return Poll::Ready(Err(error(CloseReason::Finished)));
        }
        let taken = state.machine.write(bytes, Instant::now());
        if taken == 0 && !bytes.is_empty() {
            state.writer = Some(cx.waker().clone());
            return Poll::Pending;
        }
        let socket = state.queue();
        drop(state);
        if let Some(socket) = socket {
            socket.serve(&self.handle.shared);
        }
        Poll::Ready(Ok(taken))
    }

    /// Nothing is held back that could go.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    /// Does not wait for the peer.
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        self.handle.shared.update(|state| match state.outcome {
            Some(reason) if reason != CloseReason::Finished && !state.machine.has_finished() => {
                Poll::Ready(Err(error(reason)))
            }
            _ => {
                state.machine.finish(Instant::now());
                Poll::Ready(Ok(()))
            }
        })
    }
}
