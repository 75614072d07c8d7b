//! A core that sessions share: what one of them writes, the others hear of.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use tokio::sync::watch;

use crate::core::{Core, CoreError};
use crate::session::{CoreState, SessionError};
use crate::store::StoreError;

/// A core with its watchers.
pub(crate) struct Live {
    core: Core,
    state: watch::Sender<CoreState>,
    snapshots: Mutex<Vec<Weak<Mutex<u64>>>>,
}

/// The blocks of a snapshot that are still those that it was taken of.
pub(crate) type Intact = Arc<Mutex<u64>>;

impl Live {
    pub(crate) fn new(core: Core) -> Result<Arc<Self>, StoreError> {
        let state = read_state(&core)?;
        Ok(Arc::new(Self {
            core,
            state: watch::Sender::new(state),
            snapshots: Mutex::default(),
        }))
    }

    pub(crate) fn core(&self) -> &Core {
        &self.core
    }

    pub(crate) fn state(&self) -> CoreState {
        *self.state.borrow()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<CoreState> {
        self.state.subscribe()
    }

    /// Runs a change of the core where it may wait for the disk, then tells the watchers. A change whose caller went away is
    /// finished nevertheless.
    pub(crate) async fn change<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Core) -> Result<T, CoreError> + Send + 'static,
    ) -> Result<T, SessionError> {
        let live = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || {
            let out = change(&live.core)?;
            live.tell()?;
            Ok(out)
        });
        done.await.map_err(|_| SessionError::Interrupted)?
    }

    /// Tells the watchers where the core stands.
    fn tell(&self) -> Result<(), StoreError> {
        // Whoever reads last also tells last.
        let _order = lock(&self.snapshots);
        let state = read_state(&self.core)?;
        self.state.send_replace(state);
        Ok(())
    }

    /// Snapshots lose the blocks from `length` on: to be said before they change.
    pub(crate) fn cut_snapshots(&self, length: u64) {
        lock(&self.snapshots).retain(|snapshot| {
            snapshot.upgrade().is_some_and(|intact| {
                let mut intact = lock(&intact);
                *intact = (*intact).min(length);
                true
            })
        });
    }

    /// The core as it is, and how much of it stays so.
    pub(crate) fn fix(&self) -> (CoreState, Intact) {
        let mut snapshots = lock(&self.snapshots);
        let state = self.state();
        let intact = Arc::new(Mutex::new(state.length));
        snapshots.retain(|snapshot| snapshot.strong_count() > 0);
        snapshots.push(Arc::downgrade(&intact));
        (state, intact)
    }
}

fn read_state(core: &Core) -> Result<CoreState, StoreError> {
    let snapshot = core.snapshot()?;
    let (head, tree) = (snapshot.head(), snapshot.tree());
    Ok(CoreState {
        length: tree.length(),
        fork: tree.fork(),
        byte_length: tree.byte_length(),
        contiguous_length: head.contiguous_length,
    })
}

/// Nothing that is done under these locks can panic halfway: what they guard is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
