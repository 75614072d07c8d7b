//! Replication of one core with its peers, as a machine without I/O.
//!
//! It is told what peers say ([`Replicator::receive`]), what is wanted here (`want_…`), what changed in the core, and the time. It
//! says what is to be done for each peer ([`Replicator::take_actions`]), which proofs are to be checked and stored
//! ([`Replicator::take_work`]), and who need wait no longer ([`Replicator::take_outcomes`]).
//!
//! On the wire it behaves as hypercore 11 does (`lib/replicator.js`): what is announced when, which length may be asked of whom.
//! Its own are the choice of blocks, the number of requests under way, and what becomes of peers that lie, stall or flood.
//!
//! What a peer can make us keep: the blocks it says it has ([`bits`], 2 MiB), its unanswered requests ([`MOST_ASKED`]), the ranges it
//! wants to hear of, proofs that were asked for and are not stored yet ([`MOST_WORK_BYTES`] and what one connection holds), and messages
//! for programs that do not read them ([`extensions`], 1 MiB of all peers together).

mod announce;
mod bits;
mod choose;
mod conflict;
mod extensions;
mod finish;
mod fuzz;
mod node;
mod peer;
mod receive;
#[cfg(test)]
mod tests;
mod types;
mod wants;
mod wishes;

pub(crate) use extensions::{ExtensionId, Said};
pub use extensions::{MAX_EXTENSION_BYTES, MAX_EXTENSION_NAME_BYTES};
pub use fuzz::fuzz_replicator;
pub(crate) use receive::work_bytes;
pub use types::Fault;
pub(crate) use types::{
    Action, Asked, Check, Done, End, Outcome, PeerId, Purpose, Standing, Start, WaiterId, Work, short,
};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Range;
use std::time::{Duration, Instant};

use self::bits::Bits;
use self::extensions::Extensions;
use self::peer::Peer;
use self::wishes::Wishes;
use crate::bitfield::Page;
use crate::core::Conflict;
use crate::crypto::Hash;
use crate::merkle::ReorgRequest;
use crate::messages::{Message, Request};
use crate::session::CoreState;

/// Requests of one peer that wait for an answer. The peers have up to 512 under way.
pub(crate) const MOST_ASKED: usize = 2048;

/// Proofs that wait to be stored, in bytes: when there are so many, nothing more is asked for, and connections are not read.
pub(crate) const MOST_WORK_BYTES: usize = 3 << 20;

/// After the last session has gone, peers are told so late that a new one may have come.
const LINGER: Duration = Duration::from_secs(30);

/// After the store has failed, nothing is asked for so long.
const AFTER_FAILURE: Duration = Duration::from_secs(10);

/// See the module.
pub(crate) struct Replicator {
    at: Standing,
    /// Blocks that are stored here.
    local: Bits,
    /// Blocks that are asked for or being stored.
    busy: Bits,
    peers: BTreeMap<PeerId, Peer>,
    requests: HashMap<u64, InFlight>,
    attempts: HashMap<u64, Attempts>,
    /// The request under way that has an upgrade.
    upgrade: Option<u64>,
    fork: Option<ForkMove>,
    /// Nothing is replicated any more.
    conflict: Option<Conflict>,
    wishes: Wishes,
    work: VecDeque<Work>,
    work_bytes: usize,
    /// Peers for whom there is something to do.
    ready: Vec<PeerId>,
    outcomes: Vec<(WaiterId, Outcome)>,
    extensions: Extensions,
    sessions: usize,
    /// There is a session, or was one until a moment ago.
    downloading: bool,
    linger_until: Option<Instant>,
    suspended_until: Option<Instant>,
    /// Who looks for peers.
    finding: usize,
    /// Channels that peers have not opened yet.
    opening: usize,
    had_peers: bool,
    next_number: u64,
    random: u64,
}

/// A request under way.
#[derive(Debug)]
struct InFlight {
    peer: PeerId,
    sent: Instant,
    request: Request,
    /// For the move to another fork.
    fork: bool,
    /// For this seek.
    seek: Option<WaiterId>,
}

/// What is being done to get a block.
#[derive(Debug, Default)]
struct Attempts {
    requests: Vec<u64>,
    storing: u32,
}

/// A move to a newer fork, whose signed tree was checked.
#[derive(Debug)]
struct ForkMove {
    fork: u64,
    want: ReorgRequest,
    request: Option<u64>,
}

impl Replicator {
    pub(crate) fn new(start: Start) -> Self {
        Self {
            at: start.standing,
            local: Bits::new(),
            busy: Bits::new(),
            peers: BTreeMap::new(),
            requests: HashMap::new(),
            attempts: HashMap::new(),
            upgrade: None,
            fork: None,
            conflict: start.conflict,
            wishes: Wishes::default(),
            work: VecDeque::new(),
            work_bytes: 0,
            ready: Vec::new(),
            outcomes: Vec::new(),
            extensions: Extensions::default(),
            sessions: 0,
            downloading: false,
            linger_until: None,
            suspended_until: None,
            finding: 0,
            opening: 0,
            had_peers: false,
            next_number: 1,
            random: start.seed | 1,
        }
    }

    /// Says which blocks of a page are stored here; for a core that was there before.
    pub(crate) fn put_local_page(&mut self, number: u64, page: Page) {
        self.local.put_page(number, page);
    }

    pub(crate) fn state(&self) -> CoreState {
        self.at.state
    }

    pub(crate) fn standing(&self) -> Standing {
        self.at
    }

    fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// A number below `limit`, which is not 0 (xorshift64*: peers must not foresee it easily, no more).
    fn random_below(&mut self, limit: u64) -> u64 {
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) % limit
    }

    // Peers

    /// A channel is open at both ends, and the peer has proved that it knows the key.
    pub(crate) fn add_peer(&mut self, key: Hash, now: Instant) -> PeerId {
        let id = PeerId(self.number());
        self.peers.insert(id, Peer::new(key, now));
        self.had_peers = true;
        self.greet(id);
        id
    }

    /// The channel is closed. What the peer was asked for is asked of others. Says whether the channel is to be opened again: the peer
    /// closed it since it thought that neither end wants anything.
    pub(crate) fn remove_peer(&mut self, id: PeerId, now: Instant) -> bool {
        let Some(peer) = self.peers.remove(&id) else {
            return false;
        };
        self.ready.retain(|ready| *ready != id);
        let theirs = self.requests.iter().filter(|(_, flying)| flying.peer == id);
        let theirs: Vec<u64> = theirs.map(|(request, _)| *request).collect();
        for request in theirs {
            self.forget_request(request);
        }
        self.fill_all(now);
        let idle = peer.sync.is_some_and(|sync| !sync.downloading && sync.uploading);
        idle && self.wants_peers()
    }

    /// Peers for whom there is something to do.
    pub(crate) fn take_ready(&mut self) -> Vec<PeerId> {
        std::mem::take(&mut self.ready)
    }

    /// The keys of the peers.
    pub(crate) fn peer_keys(&self) -> impl Iterator<Item = &Hash> {
        self.peers.values().map(|peer| &peer.key)
    }

    /// What is to be done for a peer.
    pub(crate) fn take_actions(&mut self, id: PeerId) -> VecDeque<Action> {
        self.peers.get_mut(&id).map_or_else(VecDeque::new, |peer| {
            peer.ready = false;
            std::mem::take(&mut peer.actions)
        })
    }

    /// The next thing that a peer asks for.
    pub(crate) fn next_asked(&mut self, id: PeerId) -> Option<Asked> {
        self.peers.get_mut(&id)?.asked.pop_front()
    }

    pub(crate) fn has_asked(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|peer| !peer.asked.is_empty())
    }

    fn act(&mut self, id: PeerId, action: Action) {
        if let Some(peer) = self.peers.get_mut(&id) {
            let is_sync = |action: &Action| matches!(action, Action::Send(Message::Sync(_)));
            match peer.actions.back_mut() {
                // A peer that says where it stands again and again is answered once.
                Some(last) if is_sync(last) && is_sync(&action) => *last = action,
                Some(Action::Close) => {}
                _ => peer.actions.push_back(action),
            }
            if !peer.ready {
                peer.ready = true;
                self.ready.push(id);
            }
        }
    }

    fn send(&mut self, id: PeerId, message: Message) {
        self.act(id, Action::Send(message));
    }

    fn ids(&self) -> Vec<PeerId> {
        self.peers.keys().copied().collect()
    }

    // The core

    /// These blocks were appended here.
    pub(crate) fn appended(&mut self, standing: Standing, blocks: Range<u64>, now: Instant) {
        self.at = standing;
        self.grown(now);
        self.have(blocks);
    }

    /// The core was cut to `length` blocks here, and is on another fork.
    pub(crate) fn truncated(&mut self, standing: Standing, length: u64, now: Instant) {
        let before = self.at.state.length;
        self.at = standing;
        self.cut(length, before, now);
    }

    /// The bytes of blocks were removed here.
    pub(crate) fn cleared(&mut self, standing: Standing, blocks: Range<u64>) {
        self.at = standing;
        let blocks = blocks.start..blocks.end.min(standing.state.length);
        if blocks.start < blocks.end {
            self.local.set(blocks.clone(), false);
            self.announce(blocks, true);
        }
    }

    /// Blocks are stored by now: tells those who wait, and the peers.
    fn have(&mut self, blocks: Range<u64>) {
        self.local.set(blocks.clone(), true);
        for block in self.wished_within(&blocks) {
            self.block_is_there(block);
        }
        self.announce(blocks, false);
        self.check_ranges();
    }

    /// The length changed: tells those who wait, and the peers.
    fn grown(&mut self, now: Instant) {
        for waiter in std::mem::take(&mut self.wishes.updates) {
            self.outcomes.push((waiter, Outcome::Update(true)));
        }
        self.signal_all();
        self.fill_all(now);
    }

    /// The core is on another fork, of which the first `same` blocks were there before.
    fn cut(&mut self, same: u64, before: u64, now: Instant) {
        self.local.set(same..before.max(same), false);
        let all: Vec<u64> = self.requests.keys().copied().collect();
        for request in all {
            self.take_back(request);
        }
        self.fork = None;
        let fork = self.at.state.fork;
        for peer in self.peers.values_mut() {
            peer.announced = peer.announced.min(same);
            peer.can_upgrade &= peer.remote_fork() == fork;
            peer.upgradable = (0, 0);
            peer.refused_upgrade = false;
        }
        self.wishes.restart_ranges();
        if same < before {
            self.announce(same..before, true);
        }
        self.check_ranges();
        self.grown(now);
    }

    // Time

    /// To be called every second or so.
    pub(crate) fn tick(&mut self, now: Instant) {
        if self.linger_until.is_some_and(|until| until <= now) {
            self.linger_until = None;
            self.set_downloading(false);
        }
        if self.suspended_until.is_some_and(|until| until <= now) {
            self.suspended_until = None;
        }
        for id in self.ids() {
            let Some(peer) = self.peers.get_mut(&id) else {
                continue;
            };
            peer.resumes(now);
            if peer.stalled(now) {
                peer.pause(now);
                self.take_back_all(id);
            }
            self.ask_for_fork(id, now);
        }
        self.drop_late_suspects(now);
        self.fill_all(now);
        self.repeat_slow(now);
    }

    /// Nothing changes by the mere passing of time: [`Replicator::tick`] need not be called until something happens.
    pub(crate) fn is_calm(&self) -> bool {
        let waits = self.linger_until.is_some() || self.suspended_until.is_some() || self.fork.is_some();
        let CoreState { fork, length, .. } = self.at.state;
        !waits
            && self.requests.is_empty()
            && self.wishes.are_met(length)
            && self
                .peers
                .values()
                .all(|peer| peer.is_calm() && peer.remote_fork() <= fork)
    }

    /// The store failed: nothing is asked for a while.
    pub(crate) fn suspend(&mut self, now: Instant) {
        self.suspended_until = Some(now + AFTER_FAILURE);
    }

    /// Connections need not be read: more has come than the store takes.
    pub(crate) fn is_behind(&self) -> bool {
        self.work_bytes >= MOST_WORK_BYTES
    }

    // Sessions

    /// A session was made.
    pub(crate) fn session_began(&mut self) {
        self.sessions += 1;
        self.linger_until = None;
        self.set_downloading(true);
    }

    /// A session is gone.
    pub(crate) fn session_ended(&mut self, now: Instant) {
        self.sessions = self.sessions.saturating_sub(1);
        if self.sessions == 0 {
            self.linger_until = Some(now + LINGER);
        }
    }

    /// Somebody here wants blocks of the core, or may want them any time.
    pub(crate) fn wants_peers(&self) -> bool {
        self.downloading && self.conflict.is_none()
    }

    fn set_downloading(&mut self, downloading: bool) {
        if self.downloading == downloading {
            return;
        }
        self.downloading = downloading;
        self.signal_all();
        for id in self.ids() {
            self.close_if_idle(id);
        }
    }

    fn is_downloading(&self) -> bool {
        self.downloading || !self.requests.is_empty()
    }

    fn close_if_idle(&mut self, id: PeerId) -> bool {
        let theirs = self.peers.get(&id).and_then(|peer| peer.sync);
        let idle = theirs.is_some_and(|sync| !sync.downloading) && !self.is_downloading();
        if idle {
            self.act(id, Action::Close);
        }
        idle
    }
}
