use proptest::prelude::*;

use super::*;

fn quiet() -> impl Strategy<Value = QuietHours> {
    (0..1440_u16, 0..1440_u16).prop_filter_map("two times", |(from, to)| QuietHours::new(from, to).ok())
}

fn update() -> impl Strategy<Value = Update> {
    prop_oneof![
        Just(Update::None),
        any::<bool>().prop_map(|critical| Update::Available { critical }),
        any::<bool>().prop_map(|critical| Update::Downloaded { critical }),
        Just(Update::Staged),
        Just(Update::Installing),
        Just(Update::Busy),
    ]
}

fn policy() -> impl Strategy<Value = UpdatePolicy> {
    prop_oneof![
        Just(UpdatePolicy::Automatic),
        Just(UpdatePolicy::Notify),
        Just(UpdatePolicy::Manual)
    ]
}

fn wish() -> impl Strategy<Value = Wish> {
    prop_oneof![
        Just(Wish::None),
        Just(Wish::Check),
        Just(Wish::Now),
        Just(Wish::Tonight)
    ]
}

fn conditions() -> impl Strategy<Value = Conditions> {
    (
        quiet(),
        -50_400..=50_400_i32,
        any::<bool>(),
        any::<bool>(),
        wish(),
    )
        .prop_map(|(quiet, utc_offset_s, metered, allow_metered, wish)| Conditions {
            quiet,
            utc_offset_s,
            metered,
            allow_metered,
            wish,
        })
}

prop_compose! {
    fn situation()(update in update(), policy in policy(), conditions in conditions(), seed: u64,
                   unix in 0..4_000_000_000_u64, since_boot_s in 0..10_000_000_u64, polled: bool, passed in 0..30_000_u64)
        -> (State, UpdatePolicy, Conditions, Now) {
        let mut poll = PollState::new(seed, since_boot_s);
        if polled {
            poll = poll.polled(seed % 2 == 0, since_boot_s);
        }
        let now = Now { unix: UnixTime(unix), since_boot_s: since_boot_s + passed };
        (State { poll, update }, policy, conditions, now)
    }
}

proptest! {
    #[test]
    fn no_box_restarts_by_itself_outside_of_the_quiet_hours((state, policy, conditions, now) in situation()) {
        if let Action::RestartAt(at) = what_now(&state, policy, &conditions, now).action {
            prop_assert!(at >= now.unix);
            prop_assert!(conditions.wish == Wish::Now || conditions.quiet.contains(at, conditions.utc_offset_s));
            prop_assert!(conditions.wish != Wish::None || policy == UpdatePolicy::Automatic);
        }
    }

    #[test]
    fn a_metered_connection_is_not_used_unless_a_person_allows_it((state, policy, conditions, now) in situation()) {
        if what_now(&state, policy, &conditions, now).action == Action::Download {
            prop_assert!(!conditions.metered || conditions.allow_metered);
        }
    }

    #[test]
    fn only_what_is_wanted_is_downloaded_or_installed((state, policy, conditions, now) in situation()) {
        let action = what_now(&state, policy, &conditions, now).action;
        if matches!(action, Action::Download | Action::InstallAndStage) {
            prop_assert!(policy == UpdatePolicy::Automatic || matches!(conditions.wish, Wish::Now | Wish::Tonight));
        }
        if policy == UpdatePolicy::Manual && conditions.wish == Wish::None {
            prop_assert!(matches!(action, Action::Nothing | Action::Wait(_)), "{action:?}");
        }
    }

    #[test]
    fn a_due_poll_comes_before_anything_else((state, policy, conditions, now) in situation()) {
        let due = state.poll.due_in(now.since_boot_s) == 0;
        if due && policy != UpdatePolicy::Manual && state.update != Update::Busy {
            prop_assert_eq!(what_now(&state, policy, &conditions, now).action, Action::Poll);
        }
    }

    #[test]
    fn a_set_clock_neither_causes_nor_delays_a_poll((state, policy, conditions, now) in situation(), unix: u64) {
        let polls = |now| what_now(&state, policy, &conditions, now).action == Action::Poll;
        prop_assert_eq!(polls(now), polls(Now { unix: UnixTime(unix), ..now }));
    }

    #[test]
    fn the_caller_is_told_to_ask_again_soon_and_not_at_once((state, policy, conditions, now) in situation()) {
        let next = what_now(&state, policy, &conditions, now);
        prop_assert!((1..=MAX_WAIT_S).contains(&next.again_in_s));
    }

    #[test]
    fn an_automatic_box_gets_from_the_offer_to_the_restart_within_a_day_and_a_bit(
        quiet in quiet(), utc_offset_s in -50_400..=50_400_i32, seed: u64, start in 0..4_000_000_000_u64,
        wish in prop_oneof![Just(Wish::None), Just(Wish::Tonight), Just(Wish::Now)],
    ) {
        let conditions = Conditions { quiet, utc_offset_s, metered: false, allow_metered: false, wish };
        let mut state = State { poll: PollState::new(seed, 0), update: Update::Available { critical: false } };
        let mut seconds = 0;
        let mut polls = 0;
        loop {
            let now = Now { unix: UnixTime(start + seconds), since_boot_s: seconds };
            let next = what_now(&state, UpdatePolicy::Automatic, &conditions, now);
            // What is done takes a second here, and is an event after which is asked again.
            seconds += match next.action {
                Action::Poll => {
                    polls += 1;
                    state.poll = state.poll.polled(true, seconds);
                    1
                }
                Action::Download => {
                    state.update = Update::Downloaded { critical: false };
                    1
                }
                Action::InstallAndStage => {
                    state.update = Update::Staged;
                    1
                }
                Action::RestartAt(at) if at <= now.unix => break,
                _ => next.again_in_s,
            };
            prop_assert!(seconds <= 86_400 + MAX_WAIT_S, "{state:?}");
        }
        prop_assert!(polls <= 7, "{polls} polls in a day");
    }

    #[test]
    fn polls_are_six_hours_apart_give_or_take_a_quarter(seed: u64, start in 0..u64::from(u32::MAX)) {
        let mut poll = PollState::new(seed, start);
        prop_assert!((180..=780).contains(&poll.due_in(start)));
        let mut now = start;
        for _ in 0..20 {
            poll = poll.polled(true, now);
            let wait = poll.due_in(now);
            prop_assert!((16_200..=27_000).contains(&wait), "{wait}");
            now += wait;
        }
    }

    #[test]
    fn after_failures_the_server_is_asked_ever_less_up_to_a_day(seed: u64, failures in 1..200_u32) {
        let mut poll = PollState::new(seed, 0);
        for done in 1..=failures {
            poll = poll.polled(false, 0);
            let middle = (300_u64 << (done - 1).min(20)).min(86_400);
            let wait = poll.due_in(0);
            prop_assert!(wait >= middle * 3 / 4 && wait <= (middle * 5 / 4).min(86_400), "{done} {wait}");
        }
        prop_assert_eq!(poll.failures(), failures);
        prop_assert!(poll.polled(true, 0).due_in(0) <= 27_000);
    }

    #[test]
    fn quiet_hours_begin_at_the_first_second_that_is_in_them(
        quiet in quiet(), offset in -50_400..=50_400_i32, now in 100_000..4_000_000_000_u64,
    ) {
        let begin = quiet.next(UnixTime(now), offset);
        prop_assert!(quiet.contains(begin, offset));
        prop_assert!(begin.0 - now < 86_400);
        if begin.0 > now {
            prop_assert!(!quiet.contains(UnixTime(begin.0 - 1), offset) && !quiet.contains(UnixTime(now), offset));
        }
    }

    #[test]
    fn quiet_hours_have_one_text(quiet in quiet()) {
        prop_assert_eq!(QuietHours::parse(&quiet.to_string()), Ok(quiet));
    }
}

#[test]
fn boxes_do_not_ask_all_at_once() {
    let mut per_minute = [0_u32; 11];
    for seed in 0..10_000 {
        let due = PollState::new(seed, 0).due_in(0);
        per_minute[((due - 180) / 60) as usize] += 1;
    }
    assert!(
        per_minute[..10].iter().all(|count| (850..1150).contains(count)),
        "{per_minute:?}"
    );
}

#[test]
fn quiet_hours_go_across_midnight_in_local_time() {
    let night = QuietHours::parse("22:30-06:00").unwrap();
    let at =
        |hours: u64, minutes: u64| UnixTime(1_800_000_000 / 86_400 * 86_400 + hours * 3600 + minutes * 60);
    assert!(night.contains(at(22, 30), 0) && night.contains(at(0, 0), 0) && night.contains(at(5, 59), 0));
    assert!(!night.contains(at(6, 0), 0) && !night.contains(at(22, 29), 0));
    // Two hours ahead of UTC, 22:30 there is 20:30 UTC.
    assert!(night.contains(at(20, 30), 7200) && !night.contains(at(4, 0), 7200));
    assert_eq!(night.next(at(12, 0), -3600), at(23, 30));
    for bad in [
        "",
        "2:00-5:00",
        "02:00-02:00",
        "24:00-05:00",
        "02:60-05:00",
        "02:00",
        "02:00-+5:00",
        "-02:00",
    ] {
        assert!(QuietHours::parse(bad).is_err(), "{bad:?}");
    }
}
