//! Checking and storing what peers sent, on a thread that may block.

use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::{Live, Shared, lock, standing};
use crate::key;
use crate::replicator::{Done, End, Purpose, Work, short, work_bytes};

/// Proofs that are stored in one commit, in bytes: enough that its cost does not count, few enough to keep the next ones coming. It is
/// what 24 blocks of 64 KiB take: those are hashed four at a time.
const COMMIT_BYTES: usize = (24 + 1) * (64 << 10);

/// So long the thread waits for more before it ends. While a transfer goes on it stays the same one, as each thread has memory of
/// its own that the allocator does not give to another.
const WAIT: Duration = Duration::from_millis(20);

/// Tells the thread that there is more.
#[derive(Default)]
pub(super) struct News {
    there: Mutex<bool>,
    told: Condvar,
}

impl News {
    fn tell(&self) {
        *lock(&self.there) = true;
        self.told.notify_one();
    }

    fn wait(&self) -> bool {
        let waited = self
            .told
            .wait_timeout_while(lock(&self.there), WAIT, |there| !*there);
        let (mut there, _) = waited.unwrap_or_else(PoisonError::into_inner);
        std::mem::take(&mut *there)
    }
}

/// Ends the state of storing, after a panic too.
struct Storing<'a>(&'a Live);

impl Drop for Storing<'_> {
    fn drop(&mut self) {
        lock(&self.0.shared).storing = false;
    }
}

impl Live {
    /// Has the thread check and store what there is, and starts it unless it is there.
    pub(super) fn start_storing(self: &Arc<Self>, shared: &mut Shared) {
        if shared.storing {
            return self.news.tell();
        }
        // Without a runtime there are no connections, and nothing comes.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            shared.storing = true;
            let live = Arc::clone(self);
            runtime.spawn_blocking(move || live.store_all());
        }
    }

    fn store_all(self: Arc<Self>) {
        let mut live = self;
        loop {
            live.store_what_there_is();
            // Waiting does not keep the core open.
            let (news, core) = (Arc::clone(&live.news), Arc::downgrade(&live));
            drop(live);
            let more = news.wait();
            match core.upgrade() {
                Some(open) => live = open,
                None => return,
            }
            if !more && live.stops_storing() {
                return;
            }
        }
    }

    fn store_what_there_is(self: &Arc<Self>) {
        let storing = Storing(self);
        loop {
            let batch = lock(&self.shared).replicator.take_work(COMMIT_BYTES);
            if batch.is_empty() {
                std::mem::forget(storing);
                return;
            }
            self.store(batch);
        }
    }

    /// Whether the thread may end: what comes next starts it again.
    fn stops_storing(&self) -> bool {
        let mut shared = lock(&self.shared);
        shared.storing = shared.replicator.has_work();
        !shared.storing
    }

    fn store(self: &Arc<Self>, batch: Vec<Work>) {
        let bytes = batch.iter().map(|work| work_bytes(&work.data)).sum();
        self.store_batch(batch);
        let mut shared = lock(&self.shared);
        shared.replicator.work_left(bytes, Instant::now());
        self.settle(&mut shared, &mut HashMap::new());
    }

    fn store_batch(self: &Arc<Self>, batch: Vec<Work>) {
        let to_store = |work: &Work| work.purpose == Purpose::Store;
        let (proofs, others): (Vec<_>, Vec<_>) = batch.into_iter().partition(to_store);
        let mut values = HashMap::new();
        if !proofs.is_empty() {
            let _order = self.order.read().unwrap_or_else(PoisonError::into_inner);
            let done = self.checker.store_proofs(proofs, &mut values);
            self.tell(done, &mut values);
        }
        for work in others {
            let _order = self.order.write().unwrap_or_else(PoisonError::into_inner);
            let (peer, request) = (work.peer, work.request);
            let end = match work.purpose {
                Purpose::Compare => self.checker.compare(work),
                _ => self.checker.step_to_fork(work, |same| self.cut_snapshots(same)),
            };
            let end = end.unwrap_or_else(|error| self.checker.failed(&error));
            let done = Done {
                peer,
                request,
                block: None,
                end,
            };
            self.tell(vec![done], &mut values);
        }
    }

    /// Tells what became of work.
    fn tell(self: &Arc<Self>, done: Vec<Done>, values: &mut HashMap<u64, Vec<u8>>) {
        let mut shared = lock(&self.shared);
        let frozen = shared.replicator.conflict().is_some();
        let now = Instant::now();
        let read = standing(self.core());
        let standing = match read {
            Ok(standing) => standing,
            Err(error) => {
                tracing::error!(core = short(self.core().key()), %error, "the core cannot be read");
                shared.replicator.suspend(now);
                shared.replicator.standing()
            }
        };
        if done.iter().any(|done| matches!(done.end, End::Unstored)) {
            shared.replicator.suspend(now);
        }
        shared.replicator.done(standing, done, now);
        self.settle(&mut shared, values);
        if let Some(conflict) = shared.replicator.conflict()
            && !frozen
        {
            tracing::error!(core = key::to_hex(self.core().key()), %conflict, "a core is frozen");
            // Nobody will ever answer them; and who watches looks again.
            shared.waiters.clear();
            self.state.send_modify(|_| ());
        }
    }
}
