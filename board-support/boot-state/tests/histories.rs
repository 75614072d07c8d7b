//! Any interleaving of boots, power cuts, damage, installs and mark-goods ends in a slot that works.

use boot_state::{Boot, Bootstate, Running, SECTOR_LEN, SectorWrite, Slot, State, Step, decode};
use proptest::prelude::*;

/// What a slot really holds; the state only knows what it was told.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Content {
    /// Boots, and marks itself good.
    Works,
    /// Passes every check, starts, and dies before it marks itself good.
    Dies,
    /// Its hash does not match: cannot be started.
    Damaged,
    /// An installation is under way or was cut: running it would be a disaster.
    Partial,
}

#[derive(Debug, Clone, Copy)]
enum Event {
    /// Power on. The power goes at a byte of the n-th state write, or when the system runs.
    Boot {
        cut: Option<(u8, usize)>,
        marks_good: bool,
    },
    /// The running system installs an image and activates it; it stops after some steps, a write torn at a byte.
    Install {
        content: Content,
        steps: u8,
        torn_at: usize,
    },
    /// The running system marks itself good; the write is torn.
    TornMarkGood { torn_at: usize },
    /// The running system activates the other slot, if it is complete, and takes that back; either write is torn.
    Withdraw { torn_at: [usize; 2] },
    /// The medium loses a payload that is not the last one that works.
    Rot { slot: Slot },
}

struct World {
    copies: [[u8; SECTOR_LEN]; 2],
    contents: [Content; 2],
    running: Option<Slot>,
}

impl World {
    fn load(&self) -> Bootstate {
        Bootstate::load([&self.copies[0], &self.copies[1]])
    }

    /// Writes the first `bytes` of the sector.
    fn tear(&mut self, write: &SectorWrite, bytes: usize) {
        self.copies[write.copy()][..bytes].copy_from_slice(&write.bytes()[..bytes]);
    }

    fn transition(&mut self, next: Result<State, boot_state::Refused>, bytes: usize) -> bool {
        let Ok(next) = next else { return false };
        let write = self.load().prepare(next);
        self.tear(&write, bytes);
        bytes == SECTOR_LEN
    }

    fn content(&self, slot: Slot) -> Content {
        self.contents[usize::from(slot == Slot::B)]
    }

    fn set(&mut self, slot: Slot, content: Content) {
        self.contents[usize::from(slot == Slot::B)] = content;
    }

    /// Runs the boot manager; the slot that was started.
    fn boot(&mut self, cut: Option<(u8, usize)>) -> Option<Slot> {
        self.running = None;
        let store = self.load();
        assert!(!store.is_default(), "both copies were lost");
        let mut boot = Boot::new(store);
        for attempt_number in 0..3 {
            let Step::Try(attempt) = boot.choose() else {
                return None;
            };
            let before = self.load().sequence();
            if let Some((_, bytes)) = cut.filter(|(number, _)| *number == attempt_number) {
                self.tear(&attempt.write, bytes);
                return None;
            }
            self.tear(&attempt.write, SECTOR_LEN);
            boot.written(&attempt.write);
            assert_eq!(
                self.load().state(),
                boot.store().state(),
                "what is on disk is what was decided"
            );
            assert_eq!(self.load().sequence(), before + 1);
            match self.content(attempt.slot) {
                Content::Partial => panic!("slot {} was chosen while it was being written", attempt.slot),
                Content::Damaged => boot.mark_unusable_this_boot(attempt.slot),
                Content::Works | Content::Dies => {
                    self.running = Some(attempt.slot);
                    return self.running;
                }
            }
        }
        panic!("more attempts than slots and one heal allow");
    }

    fn install(&mut self, content: Content, steps: u8, torn_at: usize) {
        let Some(slot) = self.running else { return };
        if self.content(slot) != Content::Works {
            return;
        }
        let running = Running::from_boot(slot);
        let target = running.inactive();
        // The number of the step during which the power goes.
        let bytes = |step: u8| if steps == step { torn_at } else { SECTOR_LEN };
        let next = self.load().state().begin_install(target);
        let begun = self.transition(next, bytes(0));
        // A torn write may be whole: then, too, nothing follows.
        if !begun || steps == 0 {
            self.running = None;
            return;
        }
        self.set(target.slot(), Content::Partial);
        if steps == 1 {
            self.running = None;
            return;
        }
        self.set(target.slot(), content);
        let next = self.load().state().finish_install(target);
        if !self.transition(next, bytes(2)) || steps == 2 {
            self.running = None;
            return;
        }
        let next = self.load().state().activate(target);
        self.transition(next, bytes(3));
        self.running = None;
    }

    fn step(&mut self, event: Event) {
        match event {
            Event::Boot { cut, marks_good } => {
                if let Some(slot) = self.boot(cut)
                    && marks_good
                    && self.content(slot) == Content::Works
                {
                    self.mark_good(slot, SECTOR_LEN);
                }
            }
            Event::Install {
                content,
                steps,
                torn_at,
            } => self.install(content, steps, torn_at),
            Event::TornMarkGood { torn_at } => {
                if let Some(slot) = self
                    .running
                    .take()
                    .filter(|slot| self.content(*slot) == Content::Works)
                {
                    self.mark_good(slot, torn_at);
                }
            }
            Event::Withdraw { torn_at } => self.withdraw(torn_at),
            Event::Rot { slot } => {
                // A finished slot whose state was not written yet is no fallback.
                let known = self.load().state().slot(slot.other()).complete();
                let other_works = known && self.content(slot.other()) == Content::Works;
                if other_works && self.content(slot) != Content::Partial {
                    self.set(slot, Content::Damaged);
                }
            }
        }
    }

    fn withdraw(&mut self, torn_at: [usize; 2]) {
        let Some(slot) = self.running else { return };
        // Who withdraws is a service that runs, on a slot that it knows.
        if self.content(slot) != Content::Works {
            return;
        }
        let running = Running::from_boot(slot);
        let before = self.load().state();
        let next = before.activate(running.inactive());
        if !self.transition(next, torn_at[0]) {
            // Refused, or the power went.
            self.running = self.running.filter(|_| next.is_err());
            return;
        }
        let activated = self.load().state();
        if !self.transition(Ok(activated.deactivate(running)), torn_at[1]) {
            self.running = None;
            return;
        }
        let after = self.load().state();
        assert_eq!(after.primary(), slot);
        assert_eq!(after.slot(slot), before.slot(slot));
        let (was, is) = (before.slot(slot.other()), after.slot(slot.other()));
        assert_eq!((was.good(), was.complete()), (is.good(), is.complete()));
        // The next boot tries what runs, as long as it has a try left.
        if after.slot(slot).bootable() {
            let mut boot = Boot::new(self.load());
            assert!(
                matches!(boot.choose(), Step::Try(attempt) if attempt.slot == slot && !attempt.rolled_back)
            );
        }
    }

    fn mark_good(&mut self, slot: Slot, bytes: usize) {
        let next = self.load().state().mark_good(Running::from_boot(slot));
        self.transition(Ok(next), bytes);
    }
}

fn event() -> impl Strategy<Value = Event> {
    let torn_at = 0..=SECTOR_LEN;
    let content = prop_oneof![Just(Content::Works), Just(Content::Dies), Just(Content::Damaged)];
    prop_oneof![
        4 => (prop::option::weighted(0.3, (0..2_u8, torn_at.clone())), any::<bool>())
            .prop_map(|(cut, marks_good)| Event::Boot { cut, marks_good }),
        2 => (content, 0..5_u8, torn_at.clone())
            .prop_map(|(content, steps, torn_at)| Event::Install { content, steps, torn_at }),
        1 => torn_at.clone().prop_map(|torn_at| Event::TornMarkGood { torn_at }),
        1 => [torn_at.clone(), torn_at].prop_map(|torn_at| Event::Withdraw { torn_at }),
        1 => prop_oneof![Just(Slot::A), Just(Slot::B)].prop_map(|slot| Event::Rot { slot }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_history_ends_in_a_slot_that_works(events in prop::collection::vec(event(), 0..40)) {
        let mut world =
            World { copies: Bootstate::initial(), contents: [Content::Works; 2], running: None };
        for event in events {
            world.step(event);
            prop_assert!(world.contents.contains(&Content::Works), "no event takes the last slot that works");
        }
        // Left alone it needs at most the tries of the other slot, and its own heal, to come to one that works.
        let mut boots = 0;
        loop {
            boots += 1;
            prop_assert!(boots <= 7, "still not up after {boots} boots");
            if let Some(slot) = world.boot(None)
                && world.content(slot) == Content::Works
            {
                world.mark_good(slot, SECTOR_LEN);
                break;
            }
        }
        // And stays there, without healing or rolling back again, unless the primary is an update that dies.
        let heals = world.load().state().heals();
        for _ in 0..5 {
            if let Some(slot) = world.boot(None).filter(|slot| world.content(*slot) == Content::Works) {
                world.mark_good(slot, SECTOR_LEN);
            }
        }
        prop_assert_eq!(world.load().state().heals(), heals);
        let settled = world.running.map(|slot| world.content(slot));
        prop_assert_eq!(settled, Some(Content::Works));
    }

    #[test]
    fn any_bytes_decode_to_what_would_be_written_or_not_at_all(
        changes in prop::collection::vec((0..SECTOR_LEN, any::<u8>()), 0..5),
    ) {
        let mut bytes = Bootstate::initial()[0];
        for (at, value) in changes {
            bytes[at] = value;
        }
        // Make the damage pass the checksum, to reach what is behind it.
        let crc = crc32fast::hash(&bytes[..508]);
        bytes[508..].copy_from_slice(&crc.to_le_bytes());
        if let Ok((state, sequence)) = decode(&bytes) {
            prop_assert_eq!(boot_state::encode(&state, sequence), bytes);
            let mut boot = Boot::new(Bootstate::load([&bytes, &[0; SECTOR_LEN]]));
            let complete = Slot::ALL.into_iter().any(|slot| state.slot(slot).complete());
            prop_assert_eq!(matches!(boot.choose(), Step::Try(_)), complete);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn a_copy_torn_at_any_byte_leaves_the_other(state_events in prop::collection::vec(event(), 0..12)) {
        let mut world =
            World { copies: Bootstate::initial(), contents: [Content::Works; 2], running: None };
        state_events.into_iter().for_each(|event| world.step(event));
        let old = world.load();
        let next = old.state().mark_bad(Slot::A);
        let write = old.prepare(next);
        for bytes in 0..=SECTOR_LEN {
            for reversed in [false, true] {
                let mut copies = world.copies;
                let fresh = write.bytes();
                let range = if reversed { bytes..SECTOR_LEN } else { 0..bytes };
                copies[write.copy()][range.clone()].copy_from_slice(&fresh[range]);
                let found = Bootstate::load([&copies[0], &copies[1]]);
                prop_assert!(!found.is_default());
                let either = found.state() == old.state() || found.state() == next;
                prop_assert!(either, "torn at {bytes}");
            }
        }
    }
}
