//! What is remembered between two looks at a channel, and what it means for the updater: pure.

use channel::schedule::{
    Conditions, Next, Now, PollState, QuietHours, State, Update, UpdatePolicy, what_now,
};
use channel::{ChannelName, UnixTime};
use ipc::updater::Available;
use ipc::updater_version::Version;
use serde::{Deserialize, Serialize};

use super::Chosen;
use super::look::Answer;
use crate::engine::ManifestHash;
use crate::night;
use crate::state::{Activation, Record, State as Machine};

/// Before what could not be installed is begun again by itself; doubled each time, up to a day.
const AGAIN_S: u64 = 6 * 3600;
const MAX_AGAIN_S: u64 = 86_400;
/// Before it is looked whether the owner made room.
const HELD_UP_S: u64 = 900;

/// What the box knows of a channel, over restarts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Known {
    /// The highest serial of an index that was accepted.
    pub serial: u64,
    /// When that was (seconds since 1970).
    pub checked_unix_s: u64,
    /// Where it was.
    pub url: String,
    /// What it had for this box.
    pub available: Option<Available>,
}

/// What may be installed without a person, as the last look in this run of the updater says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Address of the bundle.
    pub source: String,
    /// Which one.
    pub hash: ManifestHash,
    /// It should not wait.
    pub critical: bool,
}

/// A release of which is not known how much of it this box lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unmeasured {
    /// Address of the bundle.
    pub source: String,
    /// Which one.
    pub hash: ManifestHash,
}

/// An installation that the updater began by itself.
#[derive(Debug, Clone, Copy)]
struct Attempt {
    hash: ManifestHash,
    count: u32,
    not_before_s: u64,
}

/// What people see of the channel.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    /// What there is that does not run.
    pub available: Option<Available>,
    /// When the channel was last read with success (seconds since 1970).
    pub checked_unix_s: Option<u64>,
    /// Why it was not the last time.
    pub error: Option<String>,
    /// What has to be done before the updater goes on by itself.
    pub waits_for: Option<String>,
}

/// The memory.
#[derive(Debug)]
pub struct Watch {
    poll: PollState,
    url: Option<String>,
    name: Option<ChannelName>,
    known: Option<Known>,
    offer: Option<Offer>,
    attempt: Option<Attempt>,
    /// Why what is offered is not begun.
    held_up: Option<String>,
    /// Why what is installed is not started.
    start_waits: Option<String>,
    /// What could not be measured, and when it may be tried again.
    unmeasured: Option<(ManifestHash, u64)>,
    /// A slot was written in this run of the updater: what was measured before it is not so any more.
    slots_changed: bool,
    problem: Option<String>,
    error: Option<String>,
}

impl Watch {
    /// At the start of the service; `seed` tells boxes and boots apart.
    pub fn new(seed: u64, since_boot_s: u64) -> Self {
        Self {
            poll: PollState::new(seed, since_boot_s),
            url: None,
            name: None,
            known: None,
            offer: None,
            attempt: None,
            held_up: None,
            start_waits: None,
            unmeasured: None,
            slots_changed: false,
            problem: None,
            error: None,
        }
    }

    /// Takes what is chosen now; says whether that is another channel than before, of which [`Watch::remember`] is to tell.
    pub fn chosen(&mut self, chosen: &Chosen) -> bool {
        self.problem.clone_from(&chosen.problem);
        let url = chosen.choice.index_url();
        if url == self.url {
            return false;
        }
        (self.known, self.offer, self.error, self.held_up) = (None, None, None, None);
        self.url = url;
        self.name = Some(chosen.choice.name.clone());
        true
    }

    /// What was known of the channel before.
    pub fn remember(&mut self, known: Option<Known>) {
        self.known = known;
        if self.slots_changed {
            self.forget_size();
        }
    }

    /// What is known now, and of which channel: to be kept over restarts.
    pub fn to_keep(&self) -> Option<(ChannelName, Known)> {
        self.name.clone().zip(self.known.clone())
    }

    /// The highest serial so far.
    pub fn seen_serial(&self) -> Option<u64> {
        self.known.as_ref().map(|known| known.serial)
    }

    /// What was measured of a release stays known when a newer index has it too.
    pub fn complete(&self, fresh: &mut Known) {
        if let (Some(old), Some(new)) = (self.available(), &mut fresh.available)
            && old.manifest_hash == new.manifest_hash
        {
            new.download_bytes = new.download_bytes.or(old.download_bytes);
        }
    }

    /// What the publisher takes back with this answer: releases that are stopped, and the one that was available at the same
    /// address before and is not listed any more. Another server may never have had it.
    pub fn withdrawn(&self, answer: &Answer) -> Vec<ManifestHash> {
        let before = self
            .available_at(&answer.known.url)
            .and_then(|before| before.manifest_hash.parse().ok());
        let gone = before.filter(|before| {
            answer
                .listed
                .as_ref()
                .is_some_and(|listed| !listed.contains(before))
        });
        answer.stopped.iter().copied().chain(gone).collect()
    }

    /// Is this where the chosen channel's index is?
    pub fn is_of(&self, url: &str) -> bool {
        self.url.as_deref() == Some(url)
    }

    /// An index was read. One of a channel that is not chosen any more says nothing.
    pub fn answered(&mut self, mut answer: Answer, since_boot_s: u64) {
        if !self.is_of(&answer.known.url) {
            return;
        }
        self.poll = self.poll.polled(true, since_boot_s);
        self.complete(&mut answer.known);
        self.known = Some(answer.known);
        if self.offer != answer.offer {
            self.held_up = None;
        }
        self.offer = answer.offer;
        self.error = answer.remark;
    }

    /// The one at `url` was not. What is not confirmed any more is not installed without a person.
    pub fn failed(&mut self, url: &str, sentence: String, since_boot_s: u64) {
        if !self.is_of(url) {
            return;
        }
        self.poll = self.poll.polled(false, since_boot_s);
        self.offer = None;
        self.error = Some(sentence);
    }

    /// What to do now; never a poll without a channel.
    pub fn next(
        &self,
        record: &Record,
        running: ipc::boot_facts::Slot,
        policy: UpdatePolicy,
        conditions: &Conditions,
        now: Now,
    ) -> Next {
        let state = State {
            poll: self.poll,
            update: self.update(record, running, now),
        };
        // Nothing is polled: as if only a person asked. What is offered is none then.
        let policy = if self.url.is_some() {
            policy
        } else {
            UpdatePolicy::Manual
        };
        what_now(&state, policy, conditions, now)
    }

    fn update(&self, record: &Record, running: ipc::boot_facts::Slot, now: Now) -> Update {
        match &record.state {
            Machine::Downloading { .. } | Machine::Verifying { .. } => Update::Installing,
            Machine::Trying(_) => Update::Busy,
            Machine::RolledBack { trial, .. } if trial.target == running => Update::Busy,
            Machine::Staged { .. } => Update::Staged,
            _ => match self.offer_now(now.since_boot_s) {
                Some(offer) => Update::Available {
                    critical: offer.critical,
                },
                None => Update::None,
            },
        }
    }

    /// What is offered, unless it is too soon to begin with it again.
    pub fn offer_now(&self, since_boot_s: u64) -> Option<&Offer> {
        self.offer.as_ref().filter(|offer| {
            self.attempt
                .is_none_or(|attempt| attempt.hash != offer.hash || since_boot_s >= attempt.not_before_s)
        })
    }

    /// The updater begins to install `hash` by itself.
    pub fn began(&mut self, hash: ManifestHash, since_boot_s: u64) {
        let before = self.attempt.filter(|attempt| attempt.hash == hash);
        let count = before.map_or(0, |attempt| attempt.count);
        let wait = (AGAIN_S << count.min(8)).min(MAX_AGAIN_S);
        self.attempt = Some(Attempt {
            hash,
            count: count + 1,
            not_before_s: since_boot_s.saturating_add(wait),
        });
        self.held_up = None;
    }

    /// It cannot be begun until the owner does what the sentence says.
    pub fn held_up(&mut self, hash: ManifestHash, sentence: String, since_boot_s: u64) {
        let before = self.attempt.filter(|attempt| attempt.hash == hash);
        self.attempt = Some(Attempt {
            hash,
            count: before.map_or(0, |attempt| attempt.count),
            not_before_s: since_boot_s.saturating_add(HELD_UP_S),
        });
        self.held_up = Some(sentence);
    }

    /// Why what is installed is not started, if so; says whether it begins or ceases to wait.
    pub fn start_waits(&mut self, sentence: Option<String>) -> bool {
        let changed = self.start_waits.is_some() != sentence.is_some();
        self.start_waits = sentence;
        changed
    }

    /// Where nothing is begun by itself, nothing is held up; says whether something was.
    pub fn allowed(&mut self, policy: UpdatePolicy) -> bool {
        policy != UpdatePolicy::Automatic && self.held_up.take().is_some()
    }

    /// Told where it is so still: of what starts in the night, or of what is offered while nothing else goes on.
    fn waits_for(&self, record: &Record, offered: bool) -> Option<String> {
        match &record.state {
            Machine::Staged {
                activation: Activation::At(_),
                ..
            } => self.start_waits.clone(),
            Machine::Idle | Machine::Good { .. } | Machine::RolledBack { .. } | Machine::Unhealthy { .. } => {
                self.held_up.clone().filter(|_| offered)
            }
            Machine::Downloading { .. }
            | Machine::Verifying { .. }
            | Machine::Staged { .. }
            | Machine::Trying(_) => None,
        }
    }

    /// A person gave `hash` up: in this boot it is not begun again by itself.
    pub fn leave_alone(&mut self, hash: ManifestHash) {
        self.attempt = Some(Attempt {
            hash,
            count: 0,
            not_before_s: u64::MAX,
        });
    }

    fn available(&self) -> Option<&Available> {
        self.known.as_ref()?.available.as_ref()
    }

    fn available_at(&self, url: &str) -> Option<&Available> {
        self.known.as_ref().filter(|known| known.url == url)?;
        self.available()
    }

    /// What is shown as available and was not measured yet, unless that failed a short while ago.
    pub fn unmeasured(&self, record: &Record, version: &str, since_boot_s: u64) -> Option<Unmeasured> {
        let available = self.view(record, version).available?;
        let hash: ManifestHash = available.manifest_hash.parse().ok()?;
        let too_soon = self
            .unmeasured
            .is_some_and(|(failed, not_before_s)| failed == hash && since_boot_s < not_before_s);
        (available.download_bytes.is_none() && !too_soon).then_some(Unmeasured {
            source: available.source,
            hash,
        })
    }

    /// So much of `hash` would be downloaded; says whether that is worth keeping.
    pub fn measured(&mut self, hash: ManifestHash, bytes: u64) -> bool {
        let available = self.known.as_mut().and_then(|known| known.available.as_mut());
        let Some(available) = available.filter(|known| known.manifest_hash == hash.to_string()) else {
            return false;
        };
        available.download_bytes = Some(bytes);
        true
    }

    /// It could not be measured: not again for some hours.
    pub fn not_measured(&mut self, hash: ManifestHash, since_boot_s: u64) {
        self.unmeasured = Some((hash, since_boot_s.saturating_add(AGAIN_S)));
    }

    /// A slot is about to be written; says whether something is known no more.
    pub fn slots_change(&mut self) -> bool {
        self.slots_changed = true;
        self.held_up = None;
        self.forget_size()
    }

    fn forget_size(&mut self) -> bool {
        let available = self.known.as_mut().and_then(|known| known.available.as_mut());
        available.is_some_and(|available| available.download_bytes.take().is_some())
    }

    /// For people, beside the updater's record and the version that runs.
    pub fn view(&self, record: &Record, version: &str) -> View {
        if self.url.is_none() {
            return View {
                error: self.problem.clone(),
                waits_for: self.waits_for(record, false),
                ..View::default()
            };
        }
        let known = self
            .known
            .as_ref()
            .filter(|known| Some(&known.url) == self.url.as_ref());
        let running = Version::parse(version).ok();
        let newer = |available: &Available| {
            let offered = Version::parse(&available.version).ok();
            offered.is_some_and(|offered| running.as_ref().is_none_or(|running| offered > *running))
        };
        let mut available = known.and_then(|known| known.available.clone()).filter(newer);
        if let Some(available) = &mut available {
            let failed = record
                .failed
                .iter()
                .find(|failed| failed.manifest_hash.to_string() == available.manifest_hash);
            available.failed_before = failed.map(|failed| failed.reason.clone());
        }
        let errors = [&self.problem, &self.error];
        let errors: Vec<&str> = errors.iter().filter_map(|e| e.as_deref()).collect();
        View {
            waits_for: self.waits_for(record, available.is_some()),
            available,
            checked_unix_s: known.map(|known| known.checked_unix_s),
            error: (!errors.is_empty()).then(|| errors.join(" ")),
        }
    }
}

/// The next start in the night (seconds since 1970): at `night_hour`, or, where that is not in the quiet hours, when they
/// begin next.
pub fn tonight(quiet: QuietHours, night_hour: u8, now_unix_s: u64, utc_offset_s: i32) -> u64 {
    let at = night::next(now_unix_s, night_hour, utc_offset_s);
    if quiet.contains(UnixTime(at), utc_offset_s) {
        return at;
    }
    quiet.next(UnixTime(now_unix_s), utc_offset_s).0
}

#[cfg(test)]
mod tests;
