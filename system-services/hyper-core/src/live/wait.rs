//! Waiting for the replicator, and being there.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Live;
use crate::replicator::WaiterId;
use crate::session::SessionError;

/// What was waited for.
#[derive(Debug)]
pub(crate) enum Answer {
    /// The block is stored; its bytes if they are at hand.
    Block(Option<Vec<u8>>),
    /// Look again.
    Seek,
    /// All of it is stored.
    Range,
    /// Whether the core grew.
    Update(bool),
}

/// A wish, as long as it lives.
pub(crate) struct Waiting {
    live: Arc<Live>,
    id: WaiterId,
    answer: oneshot::Receiver<Answer>,
}

impl Waiting {
    pub(super) fn new(live: Arc<Live>, id: WaiterId, answer: oneshot::Receiver<Answer>) -> Self {
        Self { live, id, answer }
    }

    /// Waits.
    ///
    /// # Errors
    /// When nobody will ever answer, or the answer was taken already.
    pub(crate) async fn answer(&mut self) -> Result<Answer, SessionError> {
        let answer = (&mut self.answer).await;
        answer.map_err(|_| match self.live.conflict() {
            Some(conflict) => self.live.frozen(conflict),
            None => SessionError::Interrupted,
        })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.live.cancel(self.id);
    }
}

/// Somebody has a session of the core: peers are told that blocks may be wanted.
pub(crate) struct Presence(Arc<Live>);

impl Presence {
    pub(crate) fn new(live: Arc<Live>) -> Self {
        live.session_began();
        Self(live)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.0.session_ended();
    }
}
