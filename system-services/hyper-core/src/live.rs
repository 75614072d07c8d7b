//! A core that sessions and connections share: what one of them changes, the others hear of.
//!
//! The replicator of the core is behind a mutex that is held for moments, never over a read of a block, a check of a proof or a
//! commit (`docs/decisions/0017-replication.md` says why not a task of its own). Connections feed it and do what it says; proofs are
//! checked and stored on a thread that may block, many in one commit while the next ones come in.

mod check;
mod extensions;
mod store;
mod wait;

pub(crate) use check::Checker;
pub(crate) use wait::{Answer, Presence, Waiting};

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedMutexGuard, mpsc, oneshot, watch};

use crate::bitfield::PAGE_BLOCKS;
use crate::core::{Conflict, Core, CoreError};
use crate::crypto::Hash;
use crate::manifest::Verifier;
use crate::messages::{Message, RequestSeek};
use crate::mux::ChannelId;
use crate::replicate::{Network, Wake};
use crate::replicator::{
    Action, Asked, Check, ExtensionId, Fault, Outcome, PeerId, Replicator, Standing, Start, WaiterId,
};
use crate::session::{CoreState, SessionError};
use crate::store::{Head, StoreError};

/// Ticks that come sooner after each other are one.
const TICK: Duration = Duration::from_millis(500);

/// A core with its replicator and its watchers.
pub(crate) struct Live {
    checker: Checker,
    state: watch::Sender<CoreState>,
    snapshots: Mutex<Vec<Weak<Mutex<u64>>>>,
    shared: Mutex<Shared>,
    news: Arc<store::News>,
    /// Many may add to the core at a time; who takes something away is alone until all have heard of it.
    order: RwLock<()>,
    /// Nothing has happened since a tick found that time alone changes nothing.
    calm: AtomicBool,
    /// A message of an extension was sent, or a peer is gone.
    said: Notify,
    turn: Arc<tokio::sync::Mutex<()>>,
}

struct Shared {
    replicator: Replicator,
    /// The replicator knows which blocks are stored.
    loaded: bool,
    waiters: HashMap<WaiterId, oneshot::Sender<Answer>>,
    /// Who waits for messages of extensions.
    extensions: HashMap<ExtensionId, Arc<Notify>>,
    links: HashMap<PeerId, PeerLink>,
    /// A thread checks and stores, or waits for more.
    storing: bool,
    networks: Vec<Weak<Network>>,
    ticked: Instant,
}

/// Where the connection to a peer hears that there is something to do.
struct PeerLink {
    wake: mpsc::UnboundedSender<Wake>,
    channel: ChannelId,
    waits_for_room: bool,
}

/// The blocks of a snapshot that are still those that it was taken of.
pub(crate) type Intact = Arc<Mutex<u64>>;

impl Live {
    pub(crate) fn new(core: Core) -> Result<Arc<Self>, StoreError> {
        let standing = standing(&core)?;
        let mut seed = [0; 8];
        // A seed that can be guessed costs only that peers may foresee which of them is asked first.
        let _ = getrandom::fill(&mut seed);
        let replicator = Replicator::new(Start {
            standing,
            conflict: core.conflict()?,
            seed: u64::from_le_bytes(seed),
        });
        Ok(Arc::new(Self {
            checker: Checker::new(core),
            state: watch::Sender::new(standing.state),
            snapshots: Mutex::default(),
            shared: Mutex::new(Shared {
                replicator,
                loaded: false,
                waiters: HashMap::new(),
                extensions: HashMap::new(),
                links: HashMap::new(),
                storing: false,
                networks: Vec::new(),
                ticked: Instant::now(),
            }),
            news: Arc::default(),
            order: RwLock::new(()),
            calm: AtomicBool::new(false),
            said: Notify::new(),
            turn: Arc::default(),
        }))
    }

    pub(crate) fn core(&self) -> &Core {
        self.checker.core()
    }

    pub(crate) fn state(&self) -> CoreState {
        *self.state.borrow()
    }

    pub(crate) fn changes(&self) -> watch::Receiver<CoreState> {
        self.state.subscribe()
    }

    // Changes that are made here

    /// Waits for its turn among those whose changes say something of the blocks before them.
    pub(crate) async fn turn(&self) -> OwnedMutexGuard<()> {
        Arc::clone(&self.turn).lock_owned().await
    }

    /// Runs what may wait for the disk. A change whose caller went away is finished nevertheless.
    async fn blocking<T: Send + 'static>(
        self: &Arc<Self>,
        change: impl FnOnce(&Arc<Self>) -> Result<T, SessionError> + Send + 'static,
    ) -> Result<T, SessionError> {
        if !self.core().store().waits_for_disk() {
            return change(self);
        }
        let live = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || change(&live));
        done.await.map_err(|_| SessionError::Interrupted)?
    }

    /// Appends so many blocks.
    pub(crate) async fn append(
        self: &Arc<Self>,
        count: u64,
        append: impl FnOnce(&Core) -> Result<Head, CoreError> + Send + 'static,
    ) -> Result<u64, SessionError> {
        self.must_not_be_frozen()?;
        self.blocking(move |live| {
            let _order = live.order.read().unwrap_or_else(PoisonError::into_inner);
            let head = append(live.core())?;
            let blocks = head.length.saturating_sub(count)..head.length;
            live.changed(|replicator, standing, now| replicator.appended(standing, blocks, now))?;
            Ok(head.length)
        })
        .await
    }

    pub(crate) async fn truncate(
        self: &Arc<Self>,
        length: u64,
        fork: Option<u64>,
    ) -> Result<(), SessionError> {
        self.must_not_be_frozen()?;
        self.blocking(move |live| {
            let _order = live.order.write().unwrap_or_else(PoisonError::into_inner);
            live.cut_snapshots(length);
            live.core().truncate(length, fork)?;
            live.changed(|replicator, standing, now| replicator.truncated(standing, length, now))
        })
        .await
    }

    pub(crate) async fn clear(self: &Arc<Self>, blocks: Range<u64>) -> Result<(), SessionError> {
        self.blocking(move |live| {
            let _order = live.order.write().unwrap_or_else(PoisonError::into_inner);
            live.core().clear(blocks.clone())?;
            live.changed(|replicator, standing, _| replicator.cleared(standing, blocks))
        })
        .await
    }

    pub(crate) async fn set_user_data(
        self: &Arc<Self>,
        key: String,
        value: Option<Vec<u8>>,
    ) -> Result<(), SessionError> {
        self.blocking(move |live| Ok(live.core().set_user_data(&key, value.as_deref())?))
            .await
    }

    /// Why the core is frozen, if it is.
    pub(crate) fn conflict(&self) -> Option<Conflict> {
        lock(&self.shared).replicator.conflict()
    }

    fn must_not_be_frozen(&self) -> Result<(), SessionError> {
        self.conflict()
            .map_or(Ok(()), |conflict| Err(self.frozen(conflict)))
    }

    fn frozen(&self, conflict: Conflict) -> SessionError {
        let key = *self.core().key();
        SessionError::Frozen { key, conflict }
    }

    /// Tells everybody of a change that is stored.
    fn changed(
        self: &Arc<Self>,
        tell: impl FnOnce(&mut Replicator, Standing, Instant),
    ) -> Result<(), SessionError> {
        let mut shared = lock(&self.shared);
        // Read under the lock: whoever tells last has read last.
        let standing = standing(self.core())?;
        tell(&mut shared.replicator, standing, Instant::now());
        self.settle(&mut shared, &mut HashMap::new());
        Ok(())
    }

    /// Snapshots lose the blocks from `length` on: to be said before they change.
    fn cut_snapshots(&self, length: u64) {
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

    // The replicator

    /// Does something with the replicator, and then what it says.
    fn with<T>(self: &Arc<Self>, step: impl FnOnce(&mut Replicator, Instant) -> T) -> T {
        let mut shared = lock(&self.shared);
        let out = step(&mut shared.replicator, Instant::now());
        self.settle(&mut shared, &mut HashMap::new());
        out
    }

    /// As [`Live::with`], for steps for which the replicator must know which blocks are stored.
    fn with_blocks<T>(
        self: &Arc<Self>,
        step: impl FnOnce(&mut Shared, Instant) -> T,
    ) -> Result<T, StoreError> {
        let mut shared = lock(&self.shared);
        if !shared.loaded {
            self.load(&mut shared.replicator)?;
            shared.loaded = true;
        }
        let out = step(&mut shared, Instant::now());
        self.settle(&mut shared, &mut HashMap::new());
        Ok(out)
    }

    fn load(&self, replicator: &mut Replicator) -> Result<(), StoreError> {
        let snapshot = self.core().snapshot()?;
        let mut from = 0;
        while let Some(block) = snapshot.next_stored(from..snapshot.tree().length())? {
            let page = block / PAGE_BLOCKS;
            replicator.put_local_page(page, snapshot.bitfield_page(page)?);
            from = (page + 1) * PAGE_BLOCKS;
        }
        Ok(())
    }

    /// Does what the replicator says, except what connections do. `values` are blocks that were just stored.
    fn settle(self: &Arc<Self>, shared: &mut Shared, values: &mut HashMap<u64, Vec<u8>>) {
        self.calm.store(false, Ordering::Release);
        let state = shared.replicator.state();
        self.state.send_if_modified(|known| {
            let changed = *known != state;
            *known = state;
            changed
        });
        for (waiter, outcome) in shared.replicator.take_outcomes() {
            let Some(sender) = shared.waiters.remove(&waiter) else {
                continue;
            };
            let answer = match outcome {
                Outcome::Block(block) => Answer::Block(values.get(&block).cloned()),
                Outcome::Seek => Answer::Seek,
                Outcome::Range => Answer::Range,
                Outcome::Update(grew) => Answer::Update(grew),
            };
            // Who has stopped waiting needs no answer.
            let _ = sender.send(answer);
        }
        extensions::tell_heard(shared);
        for peer in shared.replicator.take_ready() {
            if let Some(link) = shared.links.get(&peer) {
                let _ = link.wake.send(Wake::Ready(link.channel));
            }
        }
        if !shared.replicator.is_behind() {
            for link in shared.links.values_mut().filter(|link| link.waits_for_room) {
                link.waits_for_room = false;
                let _ = link.wake.send(Wake::Room);
            }
        }
        if shared.replicator.has_work() {
            self.start_storing(shared);
        }
    }

    fn wait(
        self: &Arc<Self>,
        want: impl FnOnce(&mut Replicator, Instant) -> WaiterId,
    ) -> Result<Waiting, SessionError> {
        self.must_not_be_frozen()?;
        let (sender, receiver) = oneshot::channel();
        let id = self.with_blocks(|shared, now| {
            let id = want(&mut shared.replicator, now);
            shared.waiters.insert(id, sender);
            id
        })?;
        Ok(Waiting::new(Arc::clone(self), id, receiver))
    }

    pub(crate) fn wait_for_block(self: &Arc<Self>, block: u64) -> Result<Waiting, SessionError> {
        self.wait(|replicator, now| replicator.want_block(block, now))
    }

    pub(crate) fn wait_for_range(
        self: &Arc<Self>,
        start: u64,
        end: Option<u64>,
        linear: bool,
    ) -> Result<Waiting, SessionError> {
        self.wait(|replicator, now| replicator.want_range(start, end, linear, now))
    }

    pub(crate) fn wait_for_seek(
        self: &Arc<Self>,
        blocks: Range<u64>,
        seek: RequestSeek,
    ) -> Result<Waiting, SessionError> {
        self.wait(|replicator, now| replicator.want_seek(blocks, seek, now))
    }

    pub(crate) fn wait_for_update(self: &Arc<Self>) -> Result<Waiting, SessionError> {
        self.wait(|replicator, now| replicator.want_update(now))
    }

    fn cancel(self: &Arc<Self>, waiter: WaiterId) {
        let mut shared = lock(&self.shared);
        if shared.waiters.remove(&waiter).is_some() {
            shared.replicator.cancel(waiter, Instant::now());
            self.settle(&mut shared, &mut HashMap::new());
        }
    }

    pub(crate) fn finding(self: &Arc<Self>, began: bool) {
        self.with(|replicator, _| replicator.finding(began));
    }

    pub(crate) fn opening(self: &Arc<Self>, began: bool) {
        self.with(|replicator, _| replicator.opening(began));
    }

    fn session_began(self: &Arc<Self>) {
        let mut shared = lock(&self.shared);
        let wanted = shared.replicator.wants_peers();
        shared.replicator.session_began();
        self.settle(&mut shared, &mut HashMap::new());
        if !wanted {
            shared.networks.retain(|network| network.strong_count() > 0);
            for network in shared.networks.iter().filter_map(Weak::upgrade) {
                network.open_everywhere(self);
            }
        }
    }

    fn session_ended(self: &Arc<Self>) {
        self.with(|replicator, now| replicator.session_ended(now));
    }

    /// Lets the core be opened on all connections of a network, now and whenever it is wanted here again.
    pub(crate) fn join(self: &Arc<Self>, network: &Arc<Network>) {
        let mut shared = lock(&self.shared);
        let known = shared
            .networks
            .iter()
            .any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(network)));
        if !known {
            shared.networks.push(Arc::downgrade(network));
            if shared.replicator.wants_peers() {
                network.open_everywhere(self);
            }
        }
    }

    pub(crate) fn wants_peers(&self) -> bool {
        lock(&self.shared).replicator.wants_peers()
    }

    // Connections

    pub(crate) fn peers(&self) -> usize {
        lock(&self.shared).links.len()
    }

    pub(crate) fn peer_keys(&self) -> Vec<Hash> {
        lock(&self.shared).replicator.peer_keys().copied().collect()
    }

    pub(crate) fn add_peer(
        self: &Arc<Self>,
        key: Hash,
        wake: mpsc::UnboundedSender<Wake>,
        channel: ChannelId,
    ) -> Result<PeerId, StoreError> {
        self.with_blocks(|shared, now| {
            let peer = shared.replicator.add_peer(key, now);
            let link = PeerLink {
                wake,
                channel,
                waits_for_room: false,
            };
            shared.links.insert(peer, link);
            peer
        })
    }

    /// Says whether the channel is to be opened again.
    pub(crate) fn remove_peer(self: &Arc<Self>, peer: PeerId) -> bool {
        let mut shared = lock(&self.shared);
        shared.links.remove(&peer);
        let again = shared.replicator.remove_peer(peer, Instant::now());
        self.settle(&mut shared, &mut HashMap::new());
        self.said.notify_waiters();
        again
    }

    pub(crate) fn receive(self: &Arc<Self>, peer: PeerId, message: Message) -> Result<(), Fault> {
        self.with(|replicator, now| replicator.receive(peer, message, now))
    }

    pub(crate) fn was_invalid(self: &Arc<Self>, peer: PeerId) -> Result<(), Fault> {
        self.with(|replicator, _| replicator.was_invalid(peer))
    }

    pub(crate) fn checked(self: &Arc<Self>, peer: PeerId, check: Check, can_upgrade: bool) {
        self.with(|replicator, _| replicator.checked(peer, check, can_upgrade));
    }

    pub(crate) fn take_actions(&self, peer: PeerId) -> impl Iterator<Item = Action> + use<> {
        lock(&self.shared).replicator.take_actions(peer).into_iter()
    }

    /// The next thing that the peer asks for, and whether there is more.
    pub(crate) fn next_asked(&self, peer: PeerId) -> (Option<Asked>, bool) {
        let replicator = &mut lock(&self.shared).replicator;
        (replicator.next_asked(peer), replicator.has_asked(peer))
    }

    pub(crate) fn answer_want(&self, want: crate::messages::Want) -> Option<Message> {
        lock(&self.shared).replicator.answer_want(want)
    }

    /// Whether the peer's connection is not to be read until there is room; it is woken then.
    pub(crate) fn waits_for_room(&self, peer: PeerId) -> bool {
        let mut shared = lock(&self.shared);
        let behind = shared.replicator.is_behind();
        if let Some(link) = shared.links.get_mut(&peer) {
            link.waits_for_room = behind;
        }
        behind
    }

    /// Tells the replicator the time, unless that changes nothing: most of many open cores are idle.
    pub(crate) fn tick(self: &Arc<Self>) {
        if self.calm.load(Ordering::Acquire) {
            return;
        }
        let mut shared = lock(&self.shared);
        let now = Instant::now();
        if now.saturating_duration_since(shared.ticked) >= TICK {
            shared.ticked = now;
            shared.replicator.tick(now);
            self.settle(&mut shared, &mut HashMap::new());
            self.calm.store(shared.replicator.is_calm(), Ordering::Release);
        }
    }
}

/// Where a core stands.
pub(crate) fn standing(core: &Core) -> Result<Standing, StoreError> {
    let snapshot = core.snapshot()?;
    let (head, tree) = (snapshot.head(), snapshot.tree());
    let verifier = core.verifier()?;
    Ok(Standing {
        state: CoreState {
            length: tree.length(),
            fork: tree.fork(),
            byte_length: tree.byte_length(),
            contiguous_length: head.contiguous_length,
        },
        has_manifest: verifier.is_some(),
        compat: verifier.is_some_and(Verifier::is_compat),
    })
}

/// Nothing that is done under these locks can panic halfway: what they guard is whole.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::CoreOptions;
    use crate::crypto::KeyPair;
    use crate::store::Store;

    #[test]
    fn an_idle_core_is_told_no_time_until_something_happens() {
        let core = CoreOptions::from_key_pair(KeyPair::from_seed(&[1; 32]));
        let live = Live::new(Store::in_memory().unwrap().core(core).unwrap()).unwrap();
        let tick = || {
            let long_ago = Instant::now().checked_sub(TICK).unwrap();
            lock(&live.shared).ticked = long_ago;
            live.tick();
            lock(&live.shared).ticked > long_ago
        };
        assert_eq!([tick(), tick()], [true, false]);
        let waiting = live.wait_for_block(0).unwrap();
        assert_eq!([tick(), tick()], [true, true]);
        drop(waiting);
        assert_eq!([tick(), tick()], [true, false]);
    }
}
