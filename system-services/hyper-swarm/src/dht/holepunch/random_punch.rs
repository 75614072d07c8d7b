//! The node's one punch with a random NAT.

use std::sync::{Arc, Mutex, PoisonError};

use tokio::time::Instant;

use super::RandomPunches;

/// As long as it is held, the node makes no other one; nor for a while after that.
#[derive(Debug)]
pub struct RandomPunch(Arc<Mutex<RandomPunches>>);

impl RandomPunch {
    /// Begins one, if the node may at this time.
    #[must_use]
    pub fn begin(punches: &Arc<Mutex<RandomPunches>>, now: std::time::Instant) -> Option<Self> {
        let mut state = punches.lock().unwrap_or_else(PoisonError::into_inner);
        state.begin(now).then(|| Self(punches.clone()))
    }
}

impl Drop for RandomPunch {
    fn drop(&mut self) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.end(Instant::now().into_std());
    }
}
