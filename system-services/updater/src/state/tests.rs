//! Random histories of events, cuts after any action, restarts of the service, on the real boot state.

use std::collections::BTreeMap;

use boot_state::{Boot, Bootstate, Running, SECTOR_LEN, Slot as BootSlot, Step};
use bundle::manifest::{META_GROUP, ROLLBACK_INDEX};
use ipc::boot_facts::Slot;
use ipc::updater::{Phase, When};
use proptest::prelude::*;

use super::*;
use crate::engine::{BundleInfo, EngineErrorKind};

const A: Slot = Slot::A;
const B: Slot = Slot::B;
const ORDINARY: Gate = Gate::Ordinary;

/// What a slot really holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Content {
    /// Boots and is well.
    Well,
    /// Boots and is not well.
    Sick,
    /// Dies before the updater runs.
    Dies,
    /// Cannot be started at all.
    Damaged,
    /// Half written.
    Partial,
}

/// What is under way outside of the machine; gone with the power.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Job {
    Check,
    Stream,
    ReadBack,
    Retry,
    Health(Gate),
}

struct World {
    copies: [[u8; SECTOR_LEN]; 2],
    contents: [Content; 2],
    versions: [u32; 2],
    /// Rollback indexes of what is in the slots.
    indexes: [u32; 2],
    /// The next bundle's.
    next_index: u32,
    /// Room on `data`.
    room: Result<(), NoRoom>,
    /// A person agreed to a lower index: in the installation under way, and for what is in each slot.
    agrees: bool,
    agreed: [bool; 2],
    /// The highest that was marked good.
    best_index: u32,
    /// The record on the disk.
    disk: Record,
    /// The record in memory.
    memory: Record,
    running: Option<Slot>,
    healed: bool,
    boots: u32,
    now: u64,
    jobs: Vec<Job>,
    next: (u32, Content),
    wrote_images: bool,
    read_back: bool,
    /// Actions until the power goes.
    cut: Option<usize>,
    history: Vec<Outcome>,
    /// The state in which the installation under way began.
    rested: State,
}

impl World {
    fn new() -> Self {
        let mut world = Self {
            copies: Bootstate::initial(),
            contents: [Content::Well; 2],
            versions: [1; 2],
            indexes: [0; 2],
            next_index: 0,
            room: Ok(()),
            agrees: false,
            agreed: [false; 2],
            best_index: 0,
            disk: Record::default(),
            memory: Record::default(),
            running: None,
            healed: false,
            boots: 0,
            now: 1_000_000,
            jobs: vec![],
            next: (2, Content::Well),
            wrote_images: false,
            read_back: false,
            cut: None,
            history: vec![],
            rested: State::Idle,
        };
        world.boot();
        world.settle();
        world
    }

    fn store(&self) -> Bootstate {
        Bootstate::load([&self.copies[0], &self.copies[1]])
    }

    fn boot_state(&self) -> boot_state::State {
        self.store().state()
    }

    fn put(&mut self, state: boot_state::State) {
        let write = self.store().prepare(state);
        self.copies[write.copy()] = write.bytes();
    }

    fn content(&self, slot: Slot) -> Content {
        self.contents[index(slot)]
    }

    fn around(&self) -> Surroundings {
        Surroundings {
            now_unix_s: self.now,
            tonight_unix_s: self.now + 3600,
            boot_id: self.boots.to_string(),
            running: Running::from_boot(slot_of_boot(self.running.unwrap())),
            healed: self.healed,
            boot: self.boot_state(),
            version: format!("{}.0.0", self.versions[index(self.running.unwrap())]),
            rollback_index: self.indexes[index(self.running.unwrap())],
            compatible: "box".into(),
            network: Network::default(),
            room: self.room,
        }
    }

    /// The boot manager; ends in a slot whose updater runs.
    fn boot(&mut self) {
        self.jobs.clear();
        self.cut = None;
        self.running = None;
        (self.wrote_images, self.read_back) = (false, false);
        for _ in 0..20 {
            self.boots += 1;
            let mut boot = Boot::new(self.store());
            let started = loop {
                let Step::Try(attempt) = boot.choose() else {
                    panic!("no slot is left: {:?} {:?}", self.contents, self.boot_state())
                };
                self.copies[attempt.write.copy()] = attempt.write.bytes();
                boot.written(&attempt.write);
                self.healed = attempt.healed;
                let slot = slot_of_record(attempt.slot);
                match self.content(slot) {
                    Content::Partial => panic!("a half-written slot was chosen"),
                    Content::Damaged => boot.mark_unusable_this_boot(attempt.slot),
                    Content::Dies => break None,
                    Content::Well | Content::Sick => break Some(slot),
                }
            };
            if started.is_some() {
                self.running = started;
                self.memory = self.disk.clone();
                self.step(Event::BootObserved);
                return;
            }
        }
        panic!(
            "the box does not come up: {:?} {:?}",
            self.contents,
            self.boot_state()
        );
    }

    /// One event through the machine, its actions up to a cut.
    fn step(&mut self, event: Event) {
        if self.running.is_none() {
            return;
        }
        let booted = matches!(event, Event::BootObserved);
        let Ok((next, actions)) = self.memory.step(event, &self.around()) else {
            return;
        };
        self.check_rest(&next.state, booted);
        if next != self.memory {
            assert!(
                matches!(actions.first(), Some(Action::Persist(_))),
                "a change is persisted first: {:?} {actions:?}",
                next.state
            );
        }
        self.memory = next;
        for action in actions {
            if let Some(left) = &mut self.cut {
                if *left == 0 {
                    return self.boot();
                }
                *left -= 1;
            }
            self.act(action);
            if self.running.is_none() {
                return self.boot();
            }
        }
    }

    /// A bundle that is not taken leads back to where the box rested.
    fn check_rest(&mut self, next: &State, booted: bool) {
        let checked = |state: &State| matches!(state, State::Downloading { bundle: None, .. });
        match (checked(&self.memory.state), checked(next)) {
            // A system that waited for the night is given up.
            (false, true) => {
                self.rested = match &self.memory.state {
                    State::Staged { .. } => State::Idle,
                    resting => resting.clone(),
                };
            }
            (true, false) if !booted && !matches!(next, State::Downloading { .. }) => {
                assert_eq!(*next, self.rested);
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action) {
        let running = self.around().running;
        if let Action::Activate(slot) = action {
            let running = self.indexes[index(self.running.unwrap())];
            let least = self.best_index.min(running);
            assert!(
                self.agreed[index(slot)] || self.indexes[index(slot)] >= least,
                "what was withdrawn comes back unasked"
            );
        }
        if action == Action::MarkGood {
            self.best_index = self.best_index.max(self.indexes[index(self.running.unwrap())]);
            assert!(
                self.disk.rollback_index >= self.best_index,
                "noted before it counts"
            );
        }
        if let Some(next) = crate::slots::transition(&action, running, self.boot_state()) {
            if let Action::FinishInstall(slot) | Action::Activate(slot) = action {
                assert_ne!(
                    self.content(slot),
                    Content::Partial,
                    "{action:?} of a half-written slot"
                );
            }
            match next {
                Ok(state) => self.put(state),
                // The service gives up at a refused order; the machine must not give one while it can know better.
                Err(error) => panic!("{action:?} refused: {error}; {:?}", self.memory.state),
            }
            return;
        }
        match action {
            Action::Persist(entries) => {
                self.disk = self.memory.clone();
                self.history.extend(entries.iter().map(|entry| entry.outcome));
            }
            Action::CheckBundle => self.jobs.push(Job::Check),
            Action::StreamImages => {
                let slot = index(self.around().other_slot());
                assert!(
                    self.agrees || self.next_index >= self.best_index,
                    "a withdrawn system is installed unasked"
                );
                self.agreed[slot] = self.agrees;
                self.jobs.push(Job::Stream);
                self.contents[index(slot_of_record(running.inactive().slot()))] = Content::Partial;
                self.wrote_images = false;
            }
            Action::ReadBack => self.jobs.push(Job::ReadBack),
            Action::Reboot => self.running = None,
            Action::StartHealthGate(gate) => self.jobs.push(Job::Health(gate)),
            Action::StopEngine => self.jobs.retain(|job| matches!(job, Job::Health(_))),
            Action::RetryAfter(_) => self.jobs.push(Job::Retry),
            Action::Finish { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    fn info(&self) -> BundleInfo {
        BundleInfo {
            compatible: "box".into(),
            version: Some(format!("{}.0.0", self.next.0)),
            manifest_hash: ManifestHash([self.next.0 as u8; 32]),
            meta: meta(&self.next_index.to_string()),
            ..BundleInfo::default()
        }
    }

    /// Ends one job, well or not.
    fn work(&mut self, fails: Option<EngineErrorKind>) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.jobs.remove(0);
        let failed = fails.map(|kind| Event::Interrupted {
            kind,
            sentence: "It failed.".into(),
        });
        let other = self.around().other_slot();
        let event = match (job, failed) {
            (Job::Check | Job::Stream | Job::ReadBack, Some(failed)) => failed,
            (Job::Check, None) => Event::BundleChecked(self.info()),
            (Job::Stream, None) => {
                self.contents[index(other)] = self.next.1;
                self.versions[index(other)] = self.next.0;
                self.indexes[index(other)] = self.next_index;
                Event::ImagesWritten(Written::default())
            }
            (Job::ReadBack, None) => Event::ReadBackPassed,
            (Job::Retry, _) => Event::RetryDue,
            (Job::Health(gate), _) => match (self.content(self.running.unwrap()), gate) {
                // An ordinary start asks less: a system that was good stays good.
                (Content::Sick, Gate::Trial(_)) => Event::HealthFailed {
                    reason: "The page does not answer.".into(),
                },
                _ => Event::HealthPassed,
            },
        };
        self.step(event);
    }

    /// Nothing more happens from outside: all jobs end well.
    fn settle(&mut self) {
        for _ in 0..60 {
            if self.jobs.is_empty() {
                return;
            }
            self.work(None);
        }
        panic!("never at rest: {:?}", self.memory.state);
    }

    fn check(&self) {
        let state = self.boot_state();
        let running = self.running.unwrap();
        assert_ne!(
            self.content(running),
            Content::Partial,
            "the running slot was written"
        );
        let primary = slot_of_record(state.primary());
        let bootable = state.slot(state.primary()).bootable();
        assert!(!(bootable && self.content(primary) == Content::Partial));
    }
}

#[derive(Debug, Clone)]
enum Happens {
    Install(Content, When, bool),
    /// The same, with a rollback index; a person agrees to a lower one, or does not.
    InstallIndexed(Content, u32, bool),
    Work(Option<EngineErrorKind>),
    Cut(usize),
    PowerOff,
    ServiceRestarts,
    Twice(Box<Happens>),
    Cancel,
    Activate(When),
    Rollback(bool),
    Mark(Mark, Slot),
    Hours(u64),
    HealthFails,
}

fn happens() -> impl Strategy<Value = Happens> {
    let content = prop_oneof![
        3 => Just(Content::Well),
        1 => Just(Content::Sick),
        1 => Just(Content::Dies),
        1 => Just(Content::Damaged)
    ];
    let when = prop_oneof![Just(When::Now), Just(When::Reboot), Just(When::Tonight)];
    let mark = prop_oneof![Just(Mark::Good), Just(Mark::Bad), Just(Mark::Active)];
    let failure = prop_oneof![
        Just(EngineErrorKind::Unreachable),
        Just(EngineErrorKind::Refused),
        Just(EngineErrorKind::Storage),
        Just(EngineErrorKind::Stopped)
    ];
    let once = prop_oneof![
        2 => (content.clone(), 0..3_u32, any::<bool>()).prop_map(|(c, i, a)| Happens::InstallIndexed(c, i, a)),
        4 => (content, when.clone(), any::<bool>()).prop_map(|(c, w, f)| Happens::Install(c, w, f)),
        10 => prop::option::weighted(0.15, failure).prop_map(Happens::Work),
        3 => (0..6_usize).prop_map(Happens::Cut),
        2 => Just(Happens::PowerOff),
        1 => Just(Happens::ServiceRestarts),
        1 => Just(Happens::Cancel),
        1 => when.prop_map(Happens::Activate),
        1 => any::<bool>().prop_map(Happens::Rollback),
        1 => (mark, prop_oneof![Just(A), Just(B)]).prop_map(|(m, s)| Happens::Mark(m, s)),
        2 => (0..6_u64).prop_map(Happens::Hours),
        1 => Just(Happens::HealthFails),
    ];
    once.prop_flat_map(|once| prop_oneof![5 => Just(once.clone()), 1 => Just(Happens::Twice(Box::new(once)))])
}

fn meta(index: &str) -> BTreeMap<String, BTreeMap<String, String>> {
    let group = BTreeMap::from([(ROLLBACK_INDEX.to_owned(), index.to_owned())]);
    BTreeMap::from([(META_GROUP.to_owned(), group)])
}

impl World {
    fn install(&mut self, content: Content, index: u32, options: InstallOptions) {
        let before = self.memory.state.clone();
        let agrees = options.allow_downgrade;
        self.step(Event::InstallRequested {
            source: Source::Usb,
            options,
        });
        if self.memory.state != before && self.jobs.contains(&Job::Check) {
            self.next = (self.next.0 + 1, content);
            (self.next_index, self.agrees) = (index, agrees);
        }
    }

    fn happen(&mut self, what: Happens) {
        match what {
            Happens::Install(content, when, force) => {
                let options = InstallOptions {
                    force,
                    when,
                    ..InstallOptions::default()
                };
                self.install(content, self.indexes.into_iter().max().unwrap_or(0), options);
            }
            Happens::InstallIndexed(content, index, allow_downgrade) => {
                let options = InstallOptions {
                    allow_downgrade,
                    ..InstallOptions::default()
                };
                self.install(content, index, options);
            }
            Happens::Work(fails) => self.work(fails),
            Happens::Cut(after) => self.cut = Some(after),
            Happens::PowerOff => self.boot(),
            Happens::ServiceRestarts => {
                self.jobs.clear();
                self.memory = self.disk.clone();
                self.step(Event::BootObserved);
            }
            Happens::Twice(what) => {
                self.happen((*what).clone());
                self.happen(*what);
            }
            Happens::Cancel => self.step(Event::Cancelled),
            Happens::Activate(when) => self.step(Event::ActivationRequested(when)),
            Happens::Rollback(allow_downgrade) => {
                let other = self.running.map(|_| self.around().other_slot());
                if let Some(other) = other.filter(|_| allow_downgrade) {
                    self.agreed[index(other)] = true;
                }
                self.step(Event::RollbackRequested { allow_downgrade });
            }
            Happens::Mark(mark, slot) => self.step(Event::MarkRequested(mark, slot)),
            Happens::Hours(hours) => {
                self.now += hours * 3600;
                self.step(Event::TimePassed);
            }
            Happens::HealthFails => self.step(Event::HealthFailed {
                reason: "It is not well.".into(),
            }),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn whatever_happens_the_box_comes_up_whole_and_comes_to_rest(
        events in prop::collection::vec(happens(), 0..60)
    ) {
        let mut world = World::new();
        for event in events {
            world.happen(event);
            world.check();
        }
        world.cut = None;
        world.settle();
        world.check();
        // Three more starts: it stays up, and nothing is under way but what waits for a time or a person.
        for _ in 0..3 {
            world.boot();
            world.settle();
            world.check();
        }
        let phase = world.memory.state.phase();
        prop_assert!(
            !matches!(phase, Phase::Downloading | Phase::Verifying | Phase::Trying),
            "not at rest: {:?}", world.memory.state
        );
        let running = world.around().running.slot();
        prop_assert!(
            world.boot_state().slot(running).good() || phase == Phase::Unhealthy || phase == Phase::RolledBack,
            "{:?}", world.memory.state
        );
        prop_assert_eq!(&world.memory, &world.disk, "nothing is only in memory");
        prop_assert!(world.memory.failed.len() <= MAX_FAILED);
    }

    #[test]
    fn a_cut_after_any_action_of_an_update_still_ends_in_the_new_system(cut in 0..40_usize, now in any::<bool>()) {
        let mut world = World::new();
        world.cut = Some(cut);
        let when = if now { When::Now } else { When::Reboot };
        world.happen(Happens::Install(Content::Well, when, false));
        world.next = (2, Content::Well);
        world.settle();
        // The cut may have come before the wish was written down: then it is asked again.
        if matches!(world.memory.state, State::Idle) {
            world.happen(Happens::Install(Content::Well, when, false));
            world.next = (2, Content::Well);
            world.settle();
        }
        world.cut = None;
        world.boot();
        world.settle();
        prop_assert_eq!(world.memory.state.phase(), Phase::Good, "{:?}", &world.memory.state);
        prop_assert_eq!(world.running, Some(B));
        prop_assert_eq!(world.history.iter().filter(|o| **o == Outcome::Good).count(), 1);
    }
}

fn updated_to(content: Content, when: When) -> World {
    let mut world = World::new();
    world.happen(Happens::Install(content, when, false));
    world.next = (2, content);
    world.settle();
    world
}

#[test]
fn an_update_is_installed_tried_and_good() {
    let world = updated_to(Content::Well, When::Now);
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(B), Phase::Good)
    );
    assert!(world.boot_state().slot(BootSlot::B).good());
    assert_eq!(world.memory.floor, Some(Version::parse("2.0.0").unwrap()));
    assert_eq!(world.history, [Outcome::Installed, Outcome::Good]);
}

#[test]
fn every_way_to_fail_ends_on_the_old_system_with_a_reason_and_is_not_tried_again() {
    for (content, says) in [
        (Content::Sick, "page does not answer"),
        (Content::Dies, "did not start"),
        (Content::Damaged, "did not start"),
    ] {
        let mut world = updated_to(content, When::Now);
        let State::RolledBack { trial, reason } = &world.memory.state else {
            panic!("{content:?}: {:?}", world.memory.state)
        };
        assert_eq!((world.running, trial.target), (Some(A), B));
        assert_eq!(
            (world.boot_state().heals(), world.boots <= 6),
            (0, true),
            "one round of tries, no more"
        );
        assert!(reason.contains(says), "{reason}");
        for _ in 0..5 {
            world.boot();
            world.settle();
            assert_eq!(world.running, Some(A));
        }
        world.happen(Happens::Install(content, When::Now, false));
        world.next = (2, content);
        world.settle();
        let error = world.memory.last_error.clone().unwrap();
        assert!(
            error.contains("failed here before") && error.contains("--force"),
            "{error}"
        );
        assert!(
            !world.boot_state().slot(BootSlot::B).bootable(),
            "a refused bundle changes no slot"
        );
        let State::RolledBack { reason, .. } = &world.memory.state else {
            panic!("{content:?}: {:?}", world.memory.state)
        };
        assert!(reason.contains(says), "the reason stays: {reason}");
    }
}

#[test]
fn bundles_are_refused_each_with_its_own_sentence() {
    let world = updated_to(Content::Well, When::Now);
    let around = world.around();
    let objection = |change: fn(&mut BundleInfo), options: InstallOptions| {
        let (record, _) = world
            .memory
            .step(
                Event::InstallRequested {
                    source: Source::Usb,
                    options,
                },
                &around,
            )
            .unwrap();
        let mut info = world.info();
        change(&mut info);
        let (record, _) = record.step(Event::BundleChecked(info), &around).unwrap();
        record.last_error
    };
    let plain = InstallOptions::default;
    let downgrade = InstallOptions {
        allow_downgrade: true,
        ..plain()
    };
    let other_hash = InstallOptions {
        require_manifest_hash: Some(ManifestHash([9; 32])),
        ..plain()
    };
    assert_eq!(objection(|_| {}, plain()), None, "the same version again is fine");
    for (change, says) in [
        (
            (|info| info.compatible = "other".into()) as fn(&mut BundleInfo),
            "made for",
        ),
        (|info| info.version = Some("1.9.9".into()), "older than 2.0.0"),
        (|info| info.version = Some("two".into()), "cannot be compared"),
        (|info| info.version = None, "names no version"),
    ] {
        let sentence = objection(change, plain()).unwrap();
        assert!(sentence.contains(says), "{sentence}");
    }
    assert_eq!(
        objection(|info| info.version = Some("1.0.0".into()), downgrade.clone()),
        None
    );
    assert!(objection(|info| info.compatible = "other".into(), downgrade).is_some());
    assert!(objection(|_| {}, other_hash).unwrap().contains("replaced"));
}

#[test]
fn a_person_goes_back_and_the_version_that_was_left_is_not_installed_by_itself() {
    let mut world = updated_to(Content::Well, When::Now);
    world.happen(Happens::Rollback(false));
    world.settle();
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(A), Phase::Good)
    );
    assert_eq!(world.history.last(), Some(&Outcome::WentBack));
    assert_eq!(world.memory.failed.len(), 1);
    assert_eq!(
        world.memory.floor,
        Some(Version::parse("2.0.0").unwrap()),
        "the floor never sinks"
    );
    let refused = World::new()
        .memory
        .step(
            Event::RollbackRequested {
                allow_downgrade: true,
            },
            &World::new().around(),
        )
        .unwrap_err();
    assert!(
        refused.to_string().contains("no version to go back to"),
        "{refused}"
    );
}

#[test]
fn one_operation_at_a_time() {
    let mut world = World::new();
    world.happen(Happens::Install(Content::Well, When::Reboot, false));
    let again = || Event::InstallRequested {
        source: Source::Usb,
        options: InstallOptions::default(),
    };
    let refused = world.memory.step(again(), &world.around()).unwrap_err();
    assert!(matches!(refused, Refused::Installing { .. }));
    world.next = (2, Content::Well);
    world.settle();
    assert_eq!(world.memory.state.phase(), Phase::Staged);
    let refused = world.memory.step(again(), &world.around()).unwrap_err();
    assert!(matches!(refused, Refused::Waiting { .. }));
    world.happen(Happens::Cancel);
    assert_eq!(world.boot_state().primary(), BootSlot::A);
    assert!(world.memory.step(again(), &world.around()).is_ok());
}

#[test]
fn a_night_that_was_missed_is_not_made_up_for_by_day() {
    let mut world = updated_to(Content::Well, When::Tonight);
    assert_eq!(world.memory.state.phase(), Phase::Staged);
    world.happen(Happens::Hours(12));
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(A), Phase::Staged)
    );
    world.happen(Happens::Hours(1));
    world.settle();
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(B), Phase::Good)
    );
}

#[test]
fn a_source_that_does_not_answer_is_asked_again_and_given_up_in_the_end() {
    let mut world = World::new();
    world.happen(Happens::Install(Content::Well, When::Now, false));
    for _ in 0..MAX_ATTEMPTS {
        world.work(Some(EngineErrorKind::Unreachable));
        assert_eq!(world.jobs, [Job::Retry]);
        world.work(None);
        assert_eq!(world.jobs, [Job::Check]);
    }
    world.work(Some(EngineErrorKind::Unreachable));
    assert_eq!(world.memory.state, State::Idle);
    assert_eq!(world.history, [Outcome::Failed]);
}

#[test]
fn an_interrupted_download_goes_on_after_the_slot_is_marked_good_again() {
    let mut world = World::new();
    world.happen(Happens::Install(Content::Well, When::Now, false));
    world.next = (2, Content::Well);
    world.work(None);
    assert_eq!(world.jobs, [Job::Stream]);
    world.boot();
    assert_eq!(world.jobs, [Job::Health(ORDINARY)]);
    world.work(None);
    assert_eq!(world.jobs, [Job::Stream]);
    world.settle();
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(B), Phase::Good)
    );
}

#[test]
fn an_unhealthy_system_without_a_fallback_stays_says_so_and_may_recover() {
    let mut world = updated_to(Content::Sick, When::Reboot);
    world.put(world.boot_state().mark_bad(BootSlot::A));
    world.boot();
    world.settle();
    let State::Unhealthy { reason, .. } = &world.memory.state else {
        panic!("{:?}", world.memory.state)
    };
    assert!(reason.contains("no other version"), "{reason}");
    assert_eq!(world.running, Some(B));
    world.contents[1] = Content::Well;
    world.boot();
    world.settle();
    assert_eq!(world.memory.state.phase(), Phase::Good);
}

#[test]
fn a_fallback_that_turns_out_to_be_damaged_does_not_make_the_box_restart_for_ever() {
    let mut world = updated_to(Content::Sick, When::Reboot);
    world.contents[0] = Content::Damaged;
    world.boot();
    world.settle();
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(B), Phase::Unhealthy)
    );
    assert!(world.boots < 8, "{} boots", world.boots);
}

#[test]
fn a_service_that_starts_again_in_the_same_boot_takes_nothing_for_a_failure() {
    let mut world = updated_to(Content::Well, When::Reboot);
    for _ in 0..3 {
        world.happen(Happens::ServiceRestarts);
        world.settle();
        assert_eq!(
            (world.running, world.memory.state.phase()),
            (Some(A), Phase::Staged)
        );
    }
    world.boot();
    for _ in 0..3 {
        world.happen(Happens::ServiceRestarts);
        assert_eq!(
            (world.running, world.memory.state.phase()),
            (Some(B), Phase::Trying)
        );
    }
    world.settle();
    assert_eq!(world.memory.state.phase(), Phase::Good);
}

/// A box with 0 in slot a, and with 1 in slot b, which runs and is good.
fn raised() -> World {
    let mut world = World::new();
    world.happen(Happens::InstallIndexed(Content::Well, 1, false));
    world.settle();
    assert_eq!(world.memory.rollback_index, 0, "installed is not good yet");
    world.boot();
    assert_eq!((world.running, world.memory.rollback_index), (Some(B), 0));
    world.settle();
    assert_eq!(world.memory.state.phase(), Phase::Good);
    assert_eq!(world.disk.rollback_index, 1, "raised once it is good");
    world
}

#[test]
fn a_lower_rollback_index_is_refused_though_the_version_is_newer_and_taken_when_asked_for() {
    let mut world = raised();
    world.happen(Happens::InstallIndexed(Content::Well, 0, false));
    world.settle();
    let error = world.memory.last_error.clone().unwrap();
    assert!(
        error.contains("rollback index 0") && error.contains("--allow-downgrade"),
        "{error}"
    );
    assert!(world.boot_state().slot(BootSlot::A).good(), "no slot was touched");
    world.happen(Happens::InstallIndexed(Content::Well, 0, true));
    world.settle();
    world.boot();
    world.settle();
    assert_eq!((world.running, world.indexes), (Some(A), [0, 1]));
    assert_eq!(world.memory.rollback_index, 1, "it never sinks");
    world.happen(Happens::InstallIndexed(Content::Well, 0, false));
    world.settle();
    assert!(
        world.memory.last_error.is_some(),
        "the next one is asked for again"
    );
}

#[test]
fn an_index_that_is_no_number_is_refused_even_when_a_downgrade_is_asked_for() {
    let mut world = World::new();
    world.happen(Happens::InstallIndexed(Content::Well, 0, true));
    let info = BundleInfo {
        meta: meta("next"),
        ..world.info()
    };
    world.step(Event::BundleChecked(info));
    let error = world.memory.last_error.clone().unwrap();
    assert!(error.contains("rollback-index=\"next\""), "{error}");
}

#[test]
fn the_index_of_the_running_system_counts_though_the_journal_was_lost() {
    let mut world = raised();
    (world.disk, world.memory) = Default::default();
    world.happen(Happens::InstallIndexed(Content::Well, 0, false));
    world.settle();
    assert!(
        world
            .memory
            .last_error
            .clone()
            .unwrap()
            .contains("rollback index 0")
    );
}

#[test]
fn going_back_by_hand_below_the_index_is_refused_with_the_reason_unless_it_is_asked_for() {
    let mut world = raised();
    for event in [
        Event::RollbackRequested {
            allow_downgrade: false,
        },
        Event::MarkRequested(Mark::Active, A),
        Event::MarkRequested(Mark::Bad, B),
    ] {
        let refused = world.memory.step(event, &world.around()).unwrap_err();
        assert!(matches!(
            refused,
            Refused::Withdrawn {
                index: 0,
                needed: 1,
                ..
            }
        ));
        assert!(
            refused.to_string().contains("rollback --allow-downgrade"),
            "{refused}"
        );
    }
    assert!(world.memory.no_way_back(&world.around()).is_some());
    let shown = |world: &World| {
        let status = crate::service::Snapshot {
            record: world.memory.clone(),
            around: world.around(),
            progress: None,
            channel: crate::channel::View::default(),
        }
        .status();
        (status.can_roll_back, status.withdrawn)
    };
    assert_eq!(shown(&world), (false, true));
    world.happen(Happens::Rollback(true));
    world.settle();
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(A), Phase::Good)
    );
    // … and forward again needs nobody's consent.
    assert_eq!(shown(&world), (true, false));
    world.happen(Happens::Rollback(false));
    world.settle();
    assert_eq!(world.running, Some(B));
}

#[test]
fn the_box_itself_always_finds_the_way_back_whatever_the_index() {
    for content in [Content::Sick, Content::Dies, Content::Damaged] {
        let mut world = World::new();
        world.happen(Happens::InstallIndexed(content, 1, false));
        world.settle();
        world.boot();
        world.settle();
        assert_eq!(
            (
                world.running,
                world.memory.state.phase(),
                world.memory.rollback_index
            ),
            (Some(A), Phase::RolledBack, 0),
            "{content:?}"
        );
    }
    // A good system that dies later: the boot manager asks nobody.
    let mut world = raised();
    world.contents[1] = Content::Dies;
    world.boot();
    world.settle();
    assert_eq!((world.running, world.memory.rollback_index), (Some(A), 1));
    // A person in the middle of a trial.
    let mut world = World::new();
    world.happen(Happens::InstallIndexed(Content::Well, 1, false));
    world.settle();
    world.boot();
    world.happen(Happens::Rollback(false));
    world.settle();
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(A), Phase::RolledBack)
    );
}

#[test]
fn going_back_that_is_thought_better_of_leaves_the_fallback_whole() {
    let mut world = updated_to(Content::Well, When::Now);
    let before = world.boot_state();
    assert!(before.slot(BootSlot::A).good());
    world.happen(Happens::Mark(Mark::Active, A));
    assert_eq!(
        (world.memory.state.phase(), world.boot_state().primary()),
        (Phase::Staged, BootSlot::A)
    );
    world.happen(Happens::Cancel);
    assert_eq!(world.boot_state(), before, "as if it had not been asked for");
    // Also when it was put off to the night in between.
    world.happen(Happens::Mark(Mark::Active, A));
    world.happen(Happens::Activate(When::Tonight));
    world.happen(Happens::Mark(Mark::Active, B));
    assert_eq!(world.boot_state(), before);
    world.happen(Happens::Rollback(false));
    world.settle();
    assert_eq!(
        (world.running, world.memory.state.phase()),
        (Some(A), Phase::Good)
    );
}

#[test]
fn a_new_system_that_is_cancelled_or_marked_bad_is_no_fallback() {
    for event in [Happens::Cancel, Happens::Mark(Mark::Bad, B)] {
        let mut world = updated_to(Content::Well, When::Reboot);
        world.happen(event);
        let state = world.boot_state();
        assert_eq!(
            (state.primary(), state.slot(BootSlot::B).bootable()),
            (BootSlot::A, false)
        );
        world.boot();
        world.settle();
        assert_eq!(world.running, Some(A));
    }
    // A staged way back that is marked bad is bad, however good it was.
    let mut world = updated_to(Content::Well, When::Now);
    world.happen(Happens::Mark(Mark::Active, A));
    world.happen(Happens::Mark(Mark::Bad, A));
    assert!(!world.boot_state().slot(BootSlot::A).good());
    assert_eq!(world.boot_state().primary(), BootSlot::B);
}

#[test]
fn a_bundle_that_is_not_taken_leaves_the_box_where_it_rested_also_over_a_cut() {
    for resting in [Phase::Good, Phase::RolledBack] {
        let content = if resting == Phase::Good {
            Content::Well
        } else {
            Content::Sick
        };
        for end in [
            Some(Event::Cancelled),
            Some(Event::Interrupted {
                kind: EngineErrorKind::Refused,
                sentence: "The bundle is damaged.".into(),
            }),
            Some(Event::BundleChecked(BundleInfo::default())),
            None,
        ] {
            let mut world = updated_to(content, When::Now);
            let before = world.memory.state.clone();
            assert_eq!(before.phase(), resting);
            world.happen(Happens::Install(Content::Well, When::Now, false));
            assert_eq!(world.memory.state.phase(), Phase::Downloading);
            // The plug is pulled while the bundle is checked.
            world.boot();
            world.work(None);
            match end {
                Some(event) => world.step(event),
                // No answer, until it is given up.
                None => {
                    for _ in 0..=2 * MAX_ATTEMPTS {
                        world.work(Some(EngineErrorKind::Unreachable));
                    }
                }
            }
            assert_eq!(world.memory.state, before);
            assert_eq!(world.disk, world.memory);
        }
    }
}

#[test]
fn a_bundle_that_was_taken_and_failed_later_leaves_nothing_of_the_state_before() {
    let mut world = updated_to(Content::Sick, When::Now);
    world.happen(Happens::Install(Content::Well, When::Now, false));
    world.work(None);
    assert_eq!(world.jobs, [Job::Stream]);
    world.work(Some(EngineErrorKind::Storage));
    assert_eq!(
        world.memory.state,
        State::Idle,
        "the slot of which it told is written over"
    );
    assert!(world.memory.last_error.is_some());
}

#[test]
fn without_room_a_version_that_was_read_back_is_started_in_the_night_and_not_now() {
    for when in When::ALL {
        let mut world = World::new();
        world.happen(Happens::Install(Content::Well, when, false));
        world.room = Err(NoRoom::Full {
            free_bytes: 1,
            needed_bytes: 2,
        });
        world.settle();
        let State::Staged {
            activation: Activation::At(at),
            ..
        } = world.memory.state
        else {
            panic!("{when:?}: {:?}", world.memory.state)
        };
        assert_eq!(at, world.around().tonight_unix_s, "{when:?}");
        assert_eq!(world.boot_state().primary(), BootSlot::A);
        assert!(world.memory.failed.is_empty());
    }
}
