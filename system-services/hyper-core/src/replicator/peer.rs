//! What is known of a peer, and what it wants.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::bits::Bits;
use super::conflict::Suspect;
use super::extensions::Talk;
use super::types::{Action, Asked};
use super::wants::{LocalWants, RemoteWants};
use crate::crypto::Hash;
use crate::messages::Sync;

/// Runs and pages that are remembered of a peer's blocks: 2 MiB at most.
const REMEMBERED: usize = 2048;

/// Requests that are under way to one peer: at first, at least, and at most, as the peer has them.
pub(super) const LEAST_WINDOW: usize = 16;
const FIRST_WINDOW: usize = 48;
const MOST_WINDOW: usize = 512;

/// Answers that come faster let more requests be under way.
const FAST: Duration = Duration::from_millis(500);
/// Answers that come slower let fewer be.
const SLOW: Duration = Duration::from_secs(2);

/// A peer with requests under way that gives nothing for so long has its requests taken back. Each time in a row it is given twice as
/// long as before: it may have large blocks and a slow connection.
const STALLED: Duration = Duration::from_secs(20);
/// The longest time for which such a peer is not asked again.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// So many requests in a row that a peer could not answer, and it is not asked for a while (the peer's `MAX_BACKOFFS`).
const MOST_UNANSWERED: u32 = 32;

pub(super) struct Peer {
    /// The public key that the connection is with.
    pub(super) key: Hash,
    /// Its last `Sync`.
    pub(super) sync: Option<Sync>,
    /// Our length as it knows it.
    pub(super) acked: u64,
    /// We can bring it up to our length.
    pub(super) can_upgrade: bool,
    /// The last length of it of which we were sure that our tree is a longer one, and its fork.
    pub(super) upgradable: (u64, u64),
    /// It is being looked up whether we can.
    pub(super) checking: bool,
    /// Something changed meanwhile: look again.
    pub(super) check_again: bool,
    /// It is to be told where we stand as soon as there are none.
    pub(super) needs_sync: bool,
    /// It gave no upgrade although it said it could; until its next `Sync`.
    pub(super) refused_upgrade: bool,
    /// Its blocks.
    pub(super) has: Bits,
    pub(super) wants: LocalWants,
    pub(super) remote_wants: RemoteWants,
    /// So many blocks were announced to it as being there without a gap.
    pub(super) announced: u64,
    pub(super) in_flight: usize,
    window: usize,
    /// When it last gave something, or was first asked since.
    progress: Instant,
    stalls: u32,
    unanswered: u32,
    paused_until: Option<Instant>,
    /// Requests of it that cannot be answered.
    pub(super) invalid: u32,
    pub(super) asked: VecDeque<Asked>,
    pub(super) talk: Talk,
    /// It is asked for nothing but its tree.
    pub(super) suspect: Option<Suspect>,
    /// Its tree was taken to be compared.
    pub(super) showed_tree: bool,
    pub(super) actions: VecDeque<Action>,
    /// It is on the list of those for whom there is something to do.
    pub(super) ready: bool,
    /// Where blocks are looked for when their order does not matter.
    pub(super) cursor: Option<u64>,
}

impl Peer {
    pub(super) fn new(key: Hash, now: Instant) -> Self {
        Self {
            key,
            sync: None,
            acked: 0,
            can_upgrade: true,
            upgradable: (0, 0),
            checking: false,
            check_again: false,
            needs_sync: false,
            refused_upgrade: false,
            has: Bits::bounded(REMEMBERED),
            wants: LocalWants::default(),
            remote_wants: RemoteWants::default(),
            announced: 0,
            in_flight: 0,
            window: FIRST_WINDOW,
            progress: now,
            stalls: 0,
            unanswered: 0,
            paused_until: None,
            invalid: 0,
            asked: VecDeque::new(),
            talk: Talk::default(),
            suspect: None,
            showed_tree: false,
            actions: VecDeque::new(),
            ready: false,
            cursor: None,
        }
    }

    pub(super) fn remote_length(&self) -> u64 {
        self.sync.map_or(0, |sync| sync.length)
    }

    pub(super) fn remote_fork(&self) -> u64 {
        self.sync.map_or(0, |sync| sync.fork)
    }

    /// It may be asked for one more thing now.
    pub(super) fn may_ask(&self) -> bool {
        self.paused_until.is_none()
            && self.suspect.is_none()
            && self.in_flight < self.window
            && self.sync.is_some_and(|sync| sync.uploading)
    }

    /// Few enough requests are under way to ask it for what another peer was asked already.
    pub(super) fn may_repeat(&self) -> bool {
        self.may_ask() && self.in_flight < LEAST_WINDOW.max(self.window / 2)
    }

    pub(super) fn began(&mut self, now: Instant) {
        if self.in_flight == 0 {
            self.progress = now;
        }
        self.in_flight += 1;
    }

    /// It answered a request that was sent at `sent`.
    pub(super) fn answered(&mut self, now: Instant, sent: Instant) {
        let took = now.saturating_duration_since(sent);
        let full = self.in_flight >= self.window;
        if took > SLOW {
            self.window = (self.window - self.window / 8).max(LEAST_WINDOW);
        } else if took < FAST && full {
            self.window = (self.window + 1).min(MOST_WINDOW);
        }
        self.progress = now;
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// It gave what was wanted.
    pub(super) fn gave(&mut self) {
        (self.stalls, self.unanswered) = (0, 0);
    }

    /// It could not answer.
    pub(super) fn gave_nothing(&mut self, now: Instant) {
        self.unanswered += 1;
        if self.unanswered >= MOST_UNANSWERED {
            self.unanswered = 0;
            self.pause(now);
        }
    }

    /// It has given nothing for too long.
    pub(super) fn stalled(&self, now: Instant) -> bool {
        self.in_flight > 0 && now.saturating_duration_since(self.progress) >= self.patience()
    }

    fn patience(&self) -> Duration {
        STALLED.saturating_mul(1 << self.stalls.min(5)).min(LONGEST_PAUSE)
    }

    /// Not to be asked for a while, longer each time.
    pub(super) fn pause(&mut self, now: Instant) {
        let pause = self.patience();
        self.stalls += 1;
        self.window = LEAST_WINDOW;
        self.paused_until = Some(now + pause);
    }

    /// It is not waited for.
    pub(super) fn is_calm(&self) -> bool {
        self.paused_until.is_none() && self.suspect.is_none()
    }

    /// Whether its pause is over now.
    pub(super) fn resumes(&mut self, now: Instant) -> bool {
        let over = self.paused_until.is_some_and(|until| until <= now);
        if over {
            self.paused_until = None;
        }
        over
    }
}
