//! Memory for large messages, which connections share: a message is opened when it is there as a whole, and one may be 16 MiB long.

use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// A message that is longer, in bytes, takes its memory from the budget. Replication seldom sends such ones: a core's blocks are
/// mostly 64 KiB.
pub(super) const LARGE_BYTES: usize = 256 << 10;

/// What the connections of a program share unless they are given something else, in bytes: four messages of the greatest length.
const SHARED_BYTES: usize = 64 << 20;

/// Who has taken from the budget must go on: so many bytes per second on average, after a while of grace. Slower than any line
/// over which large messages are any good.
const LEAST_BYTES_PER_SECOND: usize = 16 << 10;
const GRACE: Duration = Duration::from_secs(30);

/// How many bytes of large messages (of more than 256 KiB) connections may put together at the same time. Who finds it used up
/// waits, in order; its peer is not read meanwhile. Clones are the same budget.
#[derive(Clone, Debug)]
pub struct Budget {
    free: Arc<Semaphore>,
    total_bytes: usize,
}

impl Budget {
    /// So many bytes. A message that is longer than all of it takes all of it.
    #[must_use]
    pub fn new(total_bytes: usize) -> Self {
        let total_bytes = total_bytes.min(Semaphore::MAX_PERMITS);
        Self {
            free: Arc::new(Semaphore::new(total_bytes)),
            total_bytes,
        }
    }

    /// Waits for the memory of a message.
    pub(super) async fn take(&self, bytes: usize) -> Large {
        let permits = u32::try_from(bytes.min(self.total_bytes)).unwrap_or(u32::MAX);
        // It is never closed.
        let permit = self.free.clone().acquire_many_owned(permits).await.ok();
        Large {
            bytes,
            since: super::now(),
            _permit: permit,
        }
    }
}

impl Default for Budget {
    /// That of the program, 64 MiB.
    fn default() -> Self {
        static SHARED: LazyLock<Budget> = LazyLock::new(|| Budget::new(SHARED_BYTES));
        SHARED.clone()
    }
}

/// A large message that is being put together.
#[derive(Debug)]
pub(super) struct Large {
    pub(super) bytes: usize,
    pub(super) since: Instant,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Large {
    /// When more than `received` bytes have to be there.
    pub(super) fn deadline(&self, received: usize) -> Instant {
        let time = Duration::from_secs((received / LEAST_BYTES_PER_SECOND) as u64);
        self.since + GRACE + time
    }
}
