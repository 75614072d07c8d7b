//! Setup as a pure machine: `Unclaimed` → `AdministratorChosen` → `Provisioned`, and nothing leads back.
//!
//! The only way back is a factory reset, which empties `data` at the next boot.

use ipc::settings::{HostName, Settings, SetupRequest, TimeZone, UpdatePolicy};
use thiserror::Error;

use crate::secrets::Administrator;

/// How far setup is. Derived from the files at start, never stored by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Nobody chose a password yet.
    Unclaimed,
    /// There is an administrator; the wizard was not finished.
    AdministratorChosen(Administrator),
    /// Setup was finished.
    Provisioned {
        /// The settings in force.
        settings: Settings,
        /// `None` when the secrets are gone although setup was finished: nobody can log in then.
        administrator: Option<Administrator>,
    },
    /// The files say something that cannot be read. Never taken for `Unclaimed`: a damaged lock is not an open door.
    Unreadable {
        /// One sentence for a person.
        reason: String,
    },
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Someone chose a name and a password (already hashed).
    AdministratorSubmitted(Administrator),
    /// The wizard's last page was sent.
    SetupSubmitted(SetupRequest),
    /// The administrator says when updates are installed.
    UpdatePolicyChosen(UpdatePolicy),
    /// Someone asked for a factory reset and typed this as confirmation.
    FactoryResetSubmitted {
        /// Must be the host name.
        typed: String,
    },
}

/// What to do, in this order. A failed action stops the rest, and the state stays as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the administrator durably.
    PersistAdministrator(Administrator),
    /// Write the settings durably: the commit point.
    PersistSettings(Settings),
    /// Use the host name from now on.
    ApplyHostName(HostName),
    /// Use the time zone from now on.
    ApplyTimeZone(TimeZone),
    /// Write the marker that makes early-boot empty `data`.
    PersistResetMarker,
    /// Restart the appliance.
    Reboot,
}

/// Why an event was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Refused {
    /// Setup was finished already.
    #[error("setup was finished already; only a factory reset unlocks it")]
    AlreadyProvisioned,
    /// Setup was not finished yet.
    #[error("setup was not finished yet, so there is nothing to change; finish it first")]
    NotProvisioned,
    /// Setup cannot be finished before there is an administrator.
    #[error("no administrator was chosen yet")]
    NoAdministrator,
    /// The typed confirmation is not the host name.
    #[error("type the name of this box, {expected:?}, to confirm")]
    WrongConfirmation {
        /// The host name.
        expected: String,
    },
    /// The files cannot be read.
    #[error("{reason} Only a factory reset helps; confirm it with the name \"hearth\".")]
    Unreadable {
        /// One sentence for a person.
        reason: String,
    },
}

impl State {
    /// The name of the box in this state.
    pub fn host_name(&self) -> HostName {
        match self {
            Self::Provisioned { settings, .. } => settings.host_name.clone(),
            Self::Unclaimed | Self::AdministratorChosen(_) | Self::Unreadable { .. } => {
                HostName::unprovisioned()
            }
        }
    }

    /// Whose password is checked.
    pub fn administrator(&self) -> Option<&Administrator> {
        match self {
            Self::AdministratorChosen(administrator) => Some(administrator),
            Self::Provisioned { administrator, .. } => administrator.as_ref(),
            Self::Unclaimed | Self::Unreadable { .. } => None,
        }
    }

    /// May an administrator be chosen? Asked before the costly hash is computed.
    pub fn accepts_administrator(&self) -> Result<(), Refused> {
        match self {
            Self::Unclaimed | Self::AdministratorChosen(_) => Ok(()),
            Self::Provisioned { .. } => Err(Refused::AlreadyProvisioned),
            Self::Unreadable { reason } => Err(Refused::Unreadable {
                reason: reason.clone(),
            }),
        }
    }

    /// The next state and what to do for it. The state counts once every action before the first `Apply` is done.
    pub fn step(&self, event: Event) -> Result<(State, Vec<Action>), Refused> {
        match event {
            Event::AdministratorSubmitted(administrator) => {
                self.accepts_administrator()?;
                let persist = Action::PersistAdministrator(administrator.clone());
                Ok((Self::AdministratorChosen(administrator), vec![persist]))
            }
            Event::SetupSubmitted(request) => self.finish(request),
            Event::UpdatePolicyChosen(policy) => self.choose_update_policy(policy),
            Event::FactoryResetSubmitted { typed } => {
                if matches!(self, Self::Unclaimed | Self::AdministratorChosen(_)) {
                    return Err(Refused::NotProvisioned);
                }
                let expected = self.host_name();
                if typed != expected.as_str() {
                    return Err(Refused::WrongConfirmation {
                        expected: expected.as_str().into(),
                    });
                }
                Ok((self.clone(), vec![Action::PersistResetMarker, Action::Reboot]))
            }
        }
    }

    fn choose_update_policy(&self, policy: UpdatePolicy) -> Result<(State, Vec<Action>), Refused> {
        let (settings, administrator) = match self {
            Self::Provisioned {
                settings,
                administrator,
            } => (settings, administrator),
            Self::Unclaimed | Self::AdministratorChosen(_) => return Err(Refused::NotProvisioned),
            Self::Unreadable { reason } => {
                return Err(Refused::Unreadable {
                    reason: reason.clone(),
                });
            }
        };
        let settings = Settings {
            update_policy: policy,
            ..settings.clone()
        };
        let persist = Action::PersistSettings(settings.clone());
        let next = Self::Provisioned {
            settings,
            administrator: administrator.clone(),
        };
        Ok((next, vec![persist]))
    }

    fn finish(&self, request: SetupRequest) -> Result<(State, Vec<Action>), Refused> {
        let administrator = match self {
            Self::AdministratorChosen(administrator) => administrator.clone(),
            Self::Unclaimed => return Err(Refused::NoAdministrator),
            Self::Provisioned { .. } => return Err(Refused::AlreadyProvisioned),
            Self::Unreadable { reason } => {
                return Err(Refused::Unreadable {
                    reason: reason.clone(),
                });
            }
        };
        let settings = Settings {
            provisioned: true,
            administrator: Some(administrator.name.clone()),
            host_name: request.host_name,
            time_zone: request.time_zone,
            language: request.language,
            update_policy: request.update_policy,
        };
        let actions = vec![
            Action::PersistSettings(settings.clone()),
            Action::ApplyHostName(settings.host_name.clone()),
            Action::ApplyTimeZone(settings.time_zone.clone()),
        ];
        Ok((
            Self::Provisioned {
                settings,
                administrator: Some(administrator),
            },
            actions,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc::settings::AccountName;
    use proptest::prelude::*;

    fn administrator(name: &str) -> Administrator {
        Administrator {
            name: AccountName::parse(name).unwrap(),
            hash: crate::secrets::Phc::for_tests(name),
        }
    }

    fn event() -> impl Strategy<Value = Event> {
        prop_oneof![
            "[a-c]".prop_map(|name| Event::AdministratorSubmitted(administrator(&name))),
            "[a-c]".prop_map(|name| Event::SetupSubmitted(SetupRequest {
                host_name: HostName::parse(&name).unwrap(),
                time_zone: TimeZone::utc(),
                language: "en".into(),
                update_policy: UpdatePolicy::Notify,
            })),
            (0_usize..3).prop_map(|n| Event::UpdatePolicyChosen(UpdatePolicy::ALL[n])),
            "[a-c]|hearth".prop_map(|typed| Event::FactoryResetSubmitted { typed }),
        ]
    }

    fn start() -> impl Strategy<Value = State> {
        prop_oneof![4 => Just(State::Unclaimed), 1 => Just(State::Unreadable { reason: "torn.".into() })]
    }

    proptest! {
        #[test]
        fn whatever_comes_setup_is_finished_once_and_by_one_administrator(
            start in start(), events in prop::collection::vec(event(), 0..40)
        ) {
            let mut state = start.clone();
            let mut commits = 0;
            for event in events {
                let before = state.clone();
                let Ok((next, actions)) = state.step(event.clone()) else { continue };
                let persists = matches!(
                    actions[0],
                    Action::PersistAdministrator(_) | Action::PersistSettings(_) | Action::PersistResetMarker
                );
                prop_assert!(persists, "the first action writes");
                if !matches!(event, Event::UpdatePolicyChosen(_)) {
                    commits += actions.iter().filter(|a| matches!(a, Action::PersistSettings(_))).count();
                }
                if let State::Provisioned { settings, administrator } = &before {
                    let mut expected = settings.clone();
                    if let Event::UpdatePolicyChosen(policy) = event {
                        expected.update_policy = policy;
                        prop_assert_eq!(&actions, &vec![Action::PersistSettings(expected.clone())]);
                    }
                    prop_assert_eq!(settings.administrator.as_ref(), administrator.as_ref().map(|a| &a.name));
                    prop_assert_eq!(&next, &State::Provisioned {
                        settings: expected,
                        administrator: administrator.clone(),
                    }, "nothing else changes once setup is finished");
                }
                if let Event::FactoryResetSubmitted { typed } = event {
                    let name = before.host_name();
                    prop_assert_eq!(typed, name.as_str());
                }
                state = next;
            }
            prop_assert!(commits <= 1);
            prop_assert_eq!(commits == 1, matches!(state, State::Provisioned { .. }));
            if matches!(start, State::Unreadable { .. }) {
                prop_assert_eq!(state, start, "a damaged lock is never an open door");
            }
        }
    }

    #[test]
    fn a_second_choice_of_administrator_replaces_the_first_until_setup_is_finished() {
        let (state, _) = State::Unclaimed
            .step(Event::AdministratorSubmitted(administrator("ada")))
            .unwrap();
        let (state, _) = state
            .step(Event::AdministratorSubmitted(administrator("bob")))
            .unwrap();
        assert_eq!(state.administrator(), Some(&administrator("bob")));
    }

    #[test]
    fn before_setup_is_finished_no_update_policy_is_chosen() {
        let (chosen, _) = State::Unclaimed
            .step(Event::AdministratorSubmitted(administrator("ada")))
            .unwrap();
        for state in [State::Unclaimed, chosen] {
            assert_eq!(
                state.step(Event::UpdatePolicyChosen(UpdatePolicy::Manual)),
                Err(Refused::NotProvisioned)
            );
        }
    }

    #[test]
    fn setup_without_administrator_is_refused() {
        let request =
            SetupRequest::parse("host_name='a'\ntime_zone='UTC'\nlanguage='en'\nupdate_policy='manual'")
                .unwrap();
        assert_eq!(
            State::Unclaimed.step(Event::SetupSubmitted(request)),
            Err(Refused::NoAdministrator)
        );
    }
}
