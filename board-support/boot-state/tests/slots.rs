//! Slot choice, case by case.

use boot_state::{
    Boot, Bootstate, Inactive, MAX_TRIES, Refused, Running, SECTOR_LEN, Slot, State, Step, decode, encode,
};

fn store(state: State) -> Bootstate {
    Bootstate::load([&encode(&state, 1), &[0; SECTOR_LEN]])
}

/// One boot in which nothing is damaged: the slot, whether it healed, and the state after.
fn boot(state: State) -> (Slot, bool, State) {
    let mut boot = Boot::new(store(state));
    match boot.choose() {
        Step::Try(attempt) => {
            boot.written(&attempt.write);
            (attempt.slot, attempt.healed, boot.store().state())
        }
        Step::Hopeless(_) => panic!("hopeless"),
    }
}

fn running(slot: Slot) -> Running {
    Running::from_boot(slot)
}

fn inactive(slot: Slot) -> Inactive {
    running(slot.other()).inactive()
}

#[test]
fn three_failed_boots_lead_to_the_other_slot_and_three_more_to_healing() {
    let mut state = State::default();
    let mut seen = Vec::new();
    for _ in 0..8 {
        let (slot, healed, next) = boot(state);
        seen.push((slot, healed));
        state = next;
    }
    use Slot::{A, B};
    let no = false;
    assert_eq!(
        seen,
        [
            (A, no),
            (A, no),
            (A, no),
            (B, no),
            (B, no),
            (B, no),
            (B, true),
            (B, no)
        ]
    );
    assert_eq!((state.heals(), state.rollbacks()), (1, 1));
}

#[test]
fn a_slot_that_marks_itself_good_is_chosen_for_ever() {
    let mut state = State::default();
    for _ in 0..20 {
        let (slot, healed, next) = boot(state);
        assert_eq!((slot, healed), (Slot::A, false));
        assert_eq!(next.slot(Slot::A).tries_left(), MAX_TRIES - 1);
        state = next.mark_good(running(slot));
        assert_eq!(state.slot(Slot::A).tries_left(), MAX_TRIES);
    }
    assert_eq!(
        (state.heals(), state.rollbacks(), state.last_booted()),
        (0, 0, Some(Slot::A))
    );
}

#[test]
fn healing_prefers_the_slot_that_was_good_once() {
    let mut state = State::default().mark_good(running(Slot::A));
    for _ in 0..6 {
        state = boot(state).2;
    }
    assert_eq!(state.primary(), Slot::B);
    let (slot, healed, _) = boot(state);
    assert_eq!((slot, healed), (Slot::A, true));
}

#[test]
fn a_slot_damaged_in_this_boot_costs_a_try_and_the_other_follows_at_once() {
    let mut boot = Boot::new(store(State::default()));
    let Step::Try(first) = boot.choose() else {
        panic!("hopeless")
    };
    boot.written(&first.write);
    boot.mark_unusable_this_boot(first.slot);
    let Step::Try(second) = boot.choose() else {
        panic!("hopeless")
    };
    boot.written(&second.write);
    assert_eq!(
        (first.slot, second.slot, second.rolled_back),
        (Slot::A, Slot::B, false)
    );
    assert_ne!(first.write.copy(), second.write.copy());
    let state = boot.store().state();
    assert_eq!(Slot::ALL.map(|slot| state.slot(slot).tries_left()), [2, 2]);
    assert_eq!(
        state.primary(),
        Slot::A,
        "a bad read once is no reason to roll back"
    );
    boot.mark_unusable_this_boot(second.slot);
    assert!(matches!(boot.choose(), Step::Hopeless(hopeless) if hopeless.incomplete == [false; 2]));
}

#[test]
fn with_the_primary_damaged_an_exhausted_slot_is_healed_and_tried() {
    let state = State::default().mark_bad(Slot::B);
    let mut boot = Boot::new(store(state));
    let Step::Try(first) = boot.choose() else {
        panic!("hopeless")
    };
    boot.written(&first.write);
    boot.mark_unusable_this_boot(first.slot);
    let Step::Try(second) = boot.choose() else {
        panic!("hopeless")
    };
    assert_eq!((first.slot, second.slot, second.healed), (Slot::A, Slot::B, true));
    boot.mark_unusable_this_boot(Slot::B);
    assert!(matches!(boot.choose(), Step::Hopeless(_)));
}

#[test]
fn a_slot_that_is_being_written_is_never_chosen_not_even_healed() {
    let mut state = State::default()
        .mark_good(running(Slot::A))
        .begin_install(inactive(Slot::B))
        .unwrap();
    for boots in 0..10 {
        let (slot, healed, next) = boot(state);
        assert_eq!((slot, healed), (Slot::A, boots == 3 || boots == 6 || boots == 9));
        assert!(!next.slot(Slot::B).bootable());
        state = next;
    }
    let mut boot = Boot::new(store(state));
    let Step::Try(attempt) = boot.choose() else {
        panic!("hopeless")
    };
    boot.mark_unusable_this_boot(attempt.slot);
    assert!(matches!(boot.choose(), Step::Hopeless(hopeless) if hopeless.incomplete == [false, true]));
}

#[test]
fn an_update_is_tried_first_and_rolls_back_by_itself() {
    let good = State::default().mark_good(running(Slot::A));
    let target = running(Slot::A).inactive();
    let installing = good.begin_install(target).unwrap();
    assert_eq!(installing.activate(target), Err(Refused::Incomplete(Slot::B)));
    let mut state = installing.finish_install(target).unwrap();
    assert_eq!(boot(state).0, Slot::A, "installed is not activated");
    state = state.activate(target).unwrap();
    // The old slot may still mark itself good before the restart.
    state = state.mark_good(running(Slot::A));
    for _ in 0..3 {
        let (slot, _, next) = boot(state);
        assert_eq!(slot, Slot::B);
        state = next;
    }
    let (slot, healed, next) = boot(state);
    assert_eq!(
        (slot, healed, next.rollbacks(), next.primary()),
        (Slot::A, false, 1, Slot::A)
    );
}

#[test]
fn the_fallback_is_not_written_over_while_the_running_slot_is_unproven() {
    let state = State::default();
    assert_eq!(
        state.begin_install(running(Slot::A).inactive()),
        Err(Refused::RunningNotGood(Slot::A))
    );
    let good = state.mark_good(running(Slot::A));
    assert!(good.begin_install(running(Slot::A).inactive()).is_ok());
    assert_eq!(
        good.finish_install(running(Slot::A).inactive()),
        Err(Refused::NotInstalling(Slot::B))
    );
}

#[test]
fn an_activation_taken_back_leaves_the_other_slot_as_it_was() {
    // Slot b was good, slot a is an update that proved itself: a person goes back, and thinks better of it.
    let good = State::default()
        .mark_good(running(Slot::B))
        .mark_good(running(Slot::A));
    let activated = good.activate(inactive(Slot::B)).unwrap();
    assert_eq!(activated.primary(), Slot::B);
    let state = activated.deactivate(running(Slot::A));
    assert_eq!(state, good, "nothing else was touched");
    assert_eq!(state.deactivate(running(Slot::A)), state, "twice is as once");
    // Slot b is the fallback that it was.
    let mut state = state;
    for expected in [Slot::A, Slot::A, Slot::A, Slot::B] {
        let (slot, healed, next) = boot(state);
        assert_eq!((slot, healed), (expected, false));
        state = next;
    }
}

#[test]
fn a_slot_marked_bad_is_left_at_the_next_boot() {
    let state = State::default().mark_bad(Slot::A);
    assert_eq!(boot(state).0, Slot::B);
}

#[test]
fn with_both_copies_lost_the_default_boots_and_says_so() {
    let store = Bootstate::load([&[0xff; SECTOR_LEN], &[0; SECTOR_LEN]]);
    assert!(store.is_default());
    assert_eq!((store.state(), store.sequence()), (State::default(), 0));
    let mut boot = Boot::new(store);
    let Step::Try(attempt) = boot.choose() else {
        panic!("hopeless")
    };
    assert_eq!(
        (attempt.slot, attempt.write.sequence(), attempt.write.offset()),
        (Slot::A, 1, 0)
    );
}

#[test]
fn a_new_disk_has_two_valid_copies() {
    let [first, second] = Bootstate::initial();
    let store = Bootstate::load([&first, &second]);
    assert_eq!(
        (store.is_default(), store.sequence(), store.damage()),
        (false, 2, [None, None])
    );
    assert_eq!(store.prepare(store.state()).offset(), 0);
    assert_eq!(decode(&first).unwrap().0, State::default());
}

#[test]
fn a_write_that_failed_is_repeated_on_the_same_copy() {
    let mut store = store(State::default());
    let write = store.prepare(State::default());
    assert_eq!(store.prepare(State::default()).offset(), write.offset());
    store.written(&write);
    assert_ne!(store.prepare(State::default()).offset(), write.offset());
}
