use proptest::prelude::*;

use super::*;

fn browser(n: u8) -> Digest {
    Digest([n; 32])
}

fn ada() -> AccountName {
    AccountName::parse("ada").unwrap()
}

fn answers() -> Vec<Answer> {
    vec![
        Answer::Language("en".into()),
        Answer::Name(HostName::parse("attic").unwrap()),
        Answer::TimeZone(TimeZone::parse("Europe/Paris").unwrap()),
        Answer::AdministratorKept,
        Answer::NetworkSeen,
        Answer::Grow,
        Answer::StorageSeen,
        Answer::Updates(UpdatePolicy::Notify),
        Answer::Finish,
    ]
}

fn revision(state: &Setup) -> u64 {
    state.draft().map_or(0, |d| d.revision)
}

fn say(state: &Setup, browser: Digest, answer: Answer) -> Result<(Setup, Vec<Action>), Refused> {
    step(
        state,
        Event::Answered {
            browser,
            revision: revision(state),
            answer,
        },
        7,
    )
}

fn walked_to(target: Step) -> Setup {
    let mut state = Setup::default();
    for answer in answers() {
        if state.current().unwrap() >= target {
            break;
        }
        if answer == Answer::AdministratorKept {
            state = step(
                &state,
                Event::AdministratorSet {
                    browser: browser(1),
                    name: ada(),
                },
                7,
            )
            .unwrap()
            .0;
        } else {
            state = say(&state, browser(1), answer).unwrap().0;
        }
    }
    assert_eq!(state.current(), Some(target));
    state
}

#[test]
fn the_whole_way_ends_in_one_request_with_all_data() {
    let state = walked_to(Step::Summary);
    let (after, actions) = say(&state, browser(1), Answer::Finish).unwrap();
    let [Action::Persist, Action::CompleteSetup(request)] = actions.as_slice() else {
        panic!("{actions:?}")
    };
    assert_eq!(request.host_name.as_str(), "attic");
    assert_eq!(request.update_policy, UpdatePolicy::Notify);
    let (done, actions) = step(&after, Event::SetupCompleted, 8).unwrap();
    assert_eq!((done, actions), (Setup::Provisioned, vec![Action::DeleteDraft]));
}

#[test]
fn a_stale_revision_is_refused_unless_it_says_what_is_already_so() {
    let open = walked_to(Step::TimeZone);
    let other = Answer::Name(HostName::parse("cellar").unwrap());
    let stale = |answer| {
        step(
            &open,
            Event::Answered {
                browser: browser(2),
                revision: 0,
                answer,
            },
            9,
        )
    };
    assert_eq!(stale(other), Err(Refused::Stale));
    let (same, actions) = stale(Answer::Name(HostName::parse("attic").unwrap())).unwrap();
    assert_eq!((same, actions), (open.clone(), vec![]));
    let asked = Event::AdministratorAsked {
        browser: browser(2),
        revision: 0,
    };
    assert_eq!(
        step(&walked_to(Step::Administrator), asked, 9),
        Err(Refused::Stale)
    );
}

#[test]
fn a_second_claimant_is_refused_until_it_proves_the_password() {
    let state = walked_to(Step::Network);
    assert_eq!(
        say(&state, browser(2), Answer::NetworkSeen),
        Err(Refused::NotYours)
    );
    let asked = Event::AdministratorAsked {
        browser: browser(2),
        revision: revision(&state),
    };
    assert_eq!(step(&state, asked, 9), Err(Refused::NotYours));
    let set = Event::AdministratorSet {
        browser: browser(2),
        name: ada(),
    };
    assert_eq!(step(&state, set, 9), Err(Refused::NotYours));
    let (state, _) = step(
        &state,
        Event::BrowserAdmitted {
            browser: browser(2),
            name: ada(),
        },
        9,
    )
    .unwrap();
    assert!(say(&state, browser(2), Answer::NetworkSeen).is_ok());
    assert!(say(&state, browser(1), Answer::NetworkSeen).is_ok());
}

#[test]
fn a_new_password_sends_other_browsers_away() {
    let state = walked_to(Step::Network);
    let (state, _) = step(
        &state,
        Event::BrowserAdmitted {
            browser: browser(2),
            name: ada(),
        },
        9,
    )
    .unwrap();
    let (state, _) = step(
        &state,
        Event::AdministratorSet {
            browser: browser(2),
            name: ada(),
        },
        9,
    )
    .unwrap();
    assert!(state.admits(Some(browser(2))) && !state.admits(Some(browser(1))) && !state.admits(None));
}

#[test]
fn a_password_that_the_provisioner_knows_and_the_draft_does_not_admits_nobody() {
    let state = walked_to(Step::Administrator);
    let (state, actions) = step(&state, Event::AdministratorFound, 9).unwrap();
    assert_eq!(actions, vec![Action::Persist]);
    assert!(!state.admits(Some(browser(1))));
    assert_eq!(state.current(), Some(Step::Network));
}

#[test]
fn growing_keeps_the_page_until_the_person_goes_on() {
    let state = walked_to(Step::Storage);
    let (state, actions) = say(&state, browser(1), Answer::Grow).unwrap();
    assert_eq!(actions, vec![Action::Persist, Action::GrowData]);
    assert_eq!(state.current(), Some(Step::Storage));
    let (state, _) = say(&state, browser(1), Answer::StorageSeen).unwrap();
    assert_eq!(
        state.draft().unwrap().storage,
        Some(StorageChoice::Grow { seen: true })
    );
    assert_eq!(state.current(), Some(Step::Updates));
}

#[test]
fn every_reached_page_can_be_answered_again() {
    let state = walked_to(Step::Summary);
    for answer in answers() {
        assert!(say(&state, browser(1), answer.clone()).is_ok(), "{answer:?}");
    }
    let early = walked_to(Step::Name);
    assert_eq!(
        say(&early, browser(1), Answer::NetworkSeen),
        Err(Refused::NotYet(Step::Name))
    );
}

fn any_event() -> impl Strategy<Value = Event> {
    let who = (0u8..4).prop_map(browser);
    prop_oneof![
        6 => (who.clone(), 0u64..12, 0usize..9).prop_map(|(browser, revision, n)| Event::Answered {
            browser,
            revision,
            answer: answers().swap_remove(n),
        }),
        1 => (who.clone(), 0u64..12).prop_map(|(browser, revision)| Event::AdministratorAsked { browser, revision }),
        1 => who.clone().prop_map(|browser| Event::AdministratorSet { browser, name: ada() }),
        1 => who.prop_map(|browser| Event::BrowserAdmitted { browser, name: ada() }),
        1 => Just(Event::AdministratorFound),
        1 => Just(Event::AdministratorMissing),
    ]
}

proptest! {
    #[test]
    fn no_sequence_panics_or_finishes_without_all_data(events in proptest::collection::vec(any_event(), 0..60)) {
        let mut state = Setup::default();
        for event in events {
            // Forms are mostly made from the present revision.
            let event = match event {
                Event::Answered { browser, revision: r, answer } if r > 2 =>
                    Event::Answered { browser, revision: revision(&state), answer },
                other => other,
            };
            let before = state.clone();
            match step(&state, event.clone(), 1) {
                Ok((new, actions)) => {
                    prop_assert!(revision(&new) >= revision(&before));
                    let persists = actions.first() == Some(&Action::Persist);
                    prop_assert!(new == before || persists, "a change is persisted first");
                    for action in &actions {
                        if let Action::CompleteSetup(_) = action {
                            prop_assert!(before.has_administrator());
                            prop_assert_eq!(before.current(), Some(Step::Summary));
                        }
                        if matches!(action, Action::SetAdministrator | Action::CompleteSetup(_) | Action::GrowData)
                            && let (Event::Answered { browser, .. } | Event::AdministratorAsked { browser, .. }, Setup::Claimed(_, claim)) = (&event, &before)
                        {
                            prop_assert!(claim.browsers.contains(browser));
                        }
                    }
                    if let Setup::Claimed(_, claim) = &new {
                        prop_assert!(claim.browsers.len() <= MAX_BROWSERS);
                    }
                    state = new;
                }
                Err(refused) => prop_assert!(refused != Refused::Finished),
            }
        }
        let (done, _) = step(&state, Event::SetupCompleted, 1).unwrap();
        for event in [Event::AdministratorFound, Event::AdministratorSet { browser: browser(1), name: ada() }] {
            prop_assert_eq!(step(&done, event, 1), Err(Refused::Finished));
        }
        for answer in answers() {
            prop_assert_eq!(say(&done, browser(1), answer), Err(Refused::Finished));
        }
    }
}
