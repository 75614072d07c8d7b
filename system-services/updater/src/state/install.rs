//! From the wish for a bundle to a complete slot.

use bundle::manifest::rollback_index;
use ipc::updater::{Outcome, When};
use ipc::updater_version::Version;

use super::{
    Action, Activation, Bundle, InstallOptions, MAX_ATTEMPTS, Record, Refused, Resting, SlotNote, State,
    Stepped, Surroundings, Trial, slot_of_boot,
};
use crate::engine::{BundleInfo, EngineErrorKind, Source, Written};

/// Longest wait between two attempts.
const MAX_RETRY_S: u64 = 300;
/// How much too late a planned start may be, in seconds, before it is put off to the next night.
const NIGHT_S: u64 = 2 * 3600;

impl Record {
    /// Is there something that must end before another installation begins?
    fn busy(&self, around: &Surroundings) -> Option<Refused> {
        match &self.state {
            State::Downloading { bundle, .. } => Some(Refused::Installing {
                version: bundle.as_ref().map_or("", Bundle::shown).into(),
            }),
            State::Verifying { bundle, .. } => Some(Refused::Installing {
                version: bundle.shown().into(),
            }),
            State::Staged {
                bundle,
                activation: Activation::AtReboot(_),
                ..
            } => Some(Refused::Waiting {
                version: bundle.shown().into(),
            }),
            State::Trying(trial) => Some(Refused::Proving {
                version: trial.bundle.shown().into(),
            }),
            State::RolledBack { trial, .. } if trial.target == around.running_slot() => Some(self.too_late()),
            State::Idle
            | State::Staged { .. }
            | State::Good { .. }
            | State::RolledBack { .. }
            | State::Unhealthy { .. } => None,
        }
    }

    pub(super) fn not_busy(&self, around: &Surroundings) -> Result<(), Refused> {
        self.busy(around).map_or(Ok(()), Err)
    }

    pub(super) fn install_requested(
        &self,
        source: Source,
        options: InstallOptions,
        around: &Surroundings,
    ) -> Stepped {
        self.not_busy(around)?;
        let running = around.running.slot();
        let known = around.boot.slot(running);
        if !known.good() || !known.complete() {
            return Err(Refused::RunningNotGood { slot: running });
        }
        let next = Self {
            state: State::Downloading {
                source,
                options,
                target: around.other_slot(),
                bundle: None,
                attempts: 0,
                before: Resting::from(&self.state),
            },
            last_error: None,
            ..self.clone()
        };
        Ok((next, vec![Action::Persist(vec![]), Action::CheckBundle]))
    }

    /// Why a bundle is not acceptable here, as a sentence.
    fn objection(
        &self,
        info: &BundleInfo,
        options: &InstallOptions,
        around: &Surroundings,
    ) -> Option<String> {
        if info.compatible != around.compatible {
            return Some(format!(
                "This bundle is made for \u{201c}{}\u{201d}, and this box is \u{201c}{}\u{201d}. Get the bundle for this box.",
                info.compatible, around.compatible
            ));
        }
        if let Some(required) = options.require_manifest_hash
            && required != info.manifest_hash
        {
            return Some(
                "This is not the bundle that was looked at before: it was replaced by another. Look at it again.".into(),
            );
        }
        if !options.force
            && let Some(failed) = self.failed.iter().find(|f| f.manifest_hash == info.manifest_hash)
        {
            return Some(format!(
                "This very bundle failed here before: {} Wait for a newer one, or install it with --force.",
                failed.reason
            ));
        }
        let index = match rollback_index(&info.meta) {
            Ok(index) => index,
            Err(error) => {
                return Some(format!(
                    "The bundle was not made right: {error}. Get another one."
                ));
            }
        };
        if options.allow_downgrade {
            return None;
        }
        let needed = self.rollback_index.max(around.rollback_index);
        if index < needed {
            return Some(format!(
                "This bundle has the rollback index {index}, and a system with {needed} was good here: what came before must \
                 not come back, for instance because of a hole in it. Get a newer bundle; only if you want the old system all \
                 the same, install it with --allow-downgrade."
            ));
        }
        let running = Version::parse(&around.version).ok();
        let minimum = self.floor.iter().chain(running.as_ref()).max()?;
        let Some(text) = info.version.as_deref() else {
            return Some(format!(
                "This bundle names no version, so it may be older than {minimum}. Install it with --allow-downgrade if you \
                 trust it."
            ));
        };
        match Version::parse(text) {
            Ok(version) if version >= *minimum => None,
            Ok(version) => Some(format!(
                "Version {version} is older than {minimum}. If you want to go back on purpose, install it with \
                 --allow-downgrade."
            )),
            Err(error) => Some(format!(
                "The bundle's version cannot be compared with {minimum}: {error}. Install it with --allow-downgrade if \
                 you trust it."
            )),
        }
    }

    pub(super) fn bundle_checked(&self, info: &BundleInfo, around: &Surroundings) -> Stepped {
        let State::Downloading {
            source,
            options,
            target,
            bundle: None,
            attempts,
            ..
        } = &self.state
        else {
            return Err(self.too_late());
        };
        if let Some(sentence) = self.objection(info, options, around) {
            return Ok(self.failed_install(sentence, around));
        }
        let bundle = Bundle::from(info);
        let mut next = Self {
            state: State::Downloading {
                source: source.clone(),
                options: options.clone(),
                target: *target,
                bundle: Some(bundle.clone()),
                attempts: *attempts,
                // From here on the other slot changes.
                before: Resting::Idle,
            },
            ..self.clone()
        };
        let note = next.note_mut(*target);
        *note = SlotNote {
            bundle: Some(bundle),
            // An index that cannot be read was objected to.
            rollback_index: rollback_index(&info.meta).unwrap_or(0),
            transaction: options.transaction.clone(),
            installed_count: note.installed_count,
            activated_count: note.activated_count,
            ..SlotNote::default()
        };
        let mut actions = vec![Action::Persist(vec![])];
        actions.extend(next.carry_on(around));
        Ok((next, actions))
    }

    /// What an installation needs next: at its beginning, after a cut, after a pause.
    pub(super) fn carry_on(&self, around: &Surroundings) -> Vec<Action> {
        match &self.state {
            State::Downloading { target, .. } | State::Verifying { target, .. }
                if *target == around.running_slot() =>
            {
                vec![]
            }
            State::Downloading { bundle: None, .. } => vec![Action::CheckBundle],
            State::Downloading { target, .. } => vec![Action::BeginInstall(*target), Action::StreamImages],
            State::Verifying { .. } => vec![Action::ReadBack],
            _ => vec![],
        }
    }

    pub(super) fn images_written(&self, written: Written) -> Stepped {
        let State::Downloading {
            source,
            options,
            target,
            bundle: Some(bundle),
            ..
        } = &self.state
        else {
            return Err(self.too_late());
        };
        let next = Self {
            state: State::Verifying {
                source: source.clone(),
                options: options.clone(),
                target: *target,
                bundle: bundle.clone(),
                written,
            },
            ..self.clone()
        };
        Ok((next, vec![Action::Persist(vec![]), Action::ReadBack]))
    }

    pub(super) fn read_back_passed(&self, around: &Surroundings) -> Stepped {
        let State::Verifying {
            options,
            target,
            bundle,
            written,
            ..
        } = &self.state
        else {
            return Err(self.too_late());
        };
        let mut next = self.clone();
        let note = next.note_mut(*target);
        note.written = Some(written.clone());
        note.installed_unix_s = Some(around.now_unix_s);
        note.installed_count = note.installed_count.saturating_add(1);
        let sentence = format!(
            "Version {} is installed in slot {}.",
            bundle.shown(),
            slot_of_boot(*target)
        );
        let entry = around.entry(Outcome::Installed, Some(bundle), Some(*target), sentence.clone());
        next.state = State::Staged {
            target: *target,
            bundle: bundle.clone(),
            activation: Activation::At(u64::MAX),
            going_back: false,
        };
        // Without room it would be rolled back, and a good bundle be remembered as bad: what starts in the night waits.
        let (when, sentence) = match around.room {
            Ok(()) => (options.when, sentence),
            Err(problem) => (
                When::Tonight,
                format!(
                    "{sentence} It is not started yet: {}, then it starts in the night by itself.",
                    problem.to_be_mended()
                ),
            ),
        };
        let mut actions = next.start(when, around);
        actions.insert(0, Action::Persist(vec![entry]));
        actions.insert(1, Action::FinishInstall(*target));
        let before_reboot = actions
            .iter()
            .position(|action| *action == Action::Reboot)
            .unwrap_or(actions.len());
        actions.insert(before_reboot, Action::Finish { ok: true, sentence });
        Ok((next, actions))
    }

    /// Sets when the staged system is started; the actions for it, without `Persist` and `FinishInstall`.
    pub(super) fn start(&mut self, when: When, around: &Surroundings) -> Vec<Action> {
        let State::Staged {
            target,
            bundle,
            activation,
            going_back,
        } = &self.state
        else {
            return vec![];
        };
        let (target, bundle, going_back) = (*target, bundle.clone(), *going_back);
        let was_armed = matches!(activation, Activation::AtReboot(_));
        if when != When::Tonight && !was_armed {
            let note = self.note_mut(target);
            note.activated_unix_s = Some(around.now_unix_s);
            note.activated_count = note.activated_count.saturating_add(1);
        }
        match when {
            When::Now => {
                self.state = State::Trying(Trial {
                    target,
                    bundle,
                    arming: around.arming(),
                    going_back,
                });
                vec![Action::Activate(target), Action::Reboot]
            }
            When::Reboot | When::Tonight => {
                let (activation, action) = if when == When::Reboot {
                    (
                        Activation::AtReboot(around.arming()),
                        Some(Action::Activate(target)),
                    )
                } else {
                    let withdraw = was_armed.then_some(Action::Withdraw(target));
                    (Activation::At(around.tonight_unix_s), withdraw)
                };
                self.state = State::Staged {
                    target,
                    bundle,
                    activation,
                    going_back,
                };
                action.into_iter().collect()
            }
        }
    }

    pub(super) fn interrupted(
        &self,
        kind: EngineErrorKind,
        sentence: String,
        around: &Surroundings,
    ) -> Stepped {
        let mut next = self.clone();
        match &mut next.state {
            State::Downloading { attempts, .. }
                if kind == EngineErrorKind::Unreachable && *attempts < MAX_ATTEMPTS =>
            {
                *attempts += 1;
                let wait = (5 << (*attempts - 1).min(6)).min(MAX_RETRY_S);
                next.last_error = Some(sentence);
                Ok((next, vec![Action::Persist(vec![]), Action::RetryAfter(wait)]))
            }
            State::Downloading { .. } | State::Verifying { .. } if kind != EngineErrorKind::Stopped => {
                Ok(self.failed_install(sentence, around))
            }
            // A stopped engine was stopped by a state that is past.
            _ => Err(self.too_late()),
        }
    }

    pub(super) fn retry_due(&self, around: &Surroundings) -> Stepped {
        match self.carry_on(around) {
            actions if actions.is_empty() => Err(self.too_late()),
            actions => Ok((self.clone(), actions)),
        }
    }

    /// The state after an installation that came to nothing: where it began, as long as it touched no slot.
    pub(super) fn given_up(&self, around: &Surroundings) -> State {
        match &self.state {
            State::Downloading {
                bundle: None,
                target,
                before,
                ..
            } if *target != around.running_slot() => before.clone().into(),
            _ => State::Idle,
        }
    }

    /// The installation came to nothing. The slot stays incomplete; the next installation keeps the blocks that are right.
    pub(super) fn failed_install(&self, sentence: String, around: &Surroundings) -> (Self, Vec<Action>) {
        let (bundle, target) = match &self.state {
            State::Downloading { bundle, target, .. } => (bundle.as_ref(), Some(*target)),
            State::Verifying { bundle, target, .. } => (Some(bundle), Some(*target)),
            _ => (None, None),
        };
        let entry = around.entry(Outcome::Failed, bundle, target, sentence.clone());
        let next = Self {
            state: self.given_up(around),
            last_error: Some(sentence.clone()),
            ..self.clone()
        };
        let finish = Action::Finish { ok: false, sentence };
        (next, vec![Action::Persist(vec![entry]), finish])
    }

    pub(super) fn time_passed(&self, around: &Surroundings) -> (Self, Vec<Action>) {
        let State::Staged {
            target,
            activation: Activation::At(at),
            ..
        } = self.state
        else {
            return (self.clone(), vec![]);
        };
        if around.now_unix_s < at {
            return (self.clone(), vec![]);
        }
        let mut next = self.clone();
        // The box was off at night: it is not restarted in the middle of the day.
        let when = if around.now_unix_s - at > NIGHT_S {
            When::Tonight
        } else {
            When::Now
        };
        let mut actions = next.start(when, around);
        actions.insert(0, Action::Persist(vec![]));
        if when == When::Now {
            actions.insert(1, Action::FinishInstall(target));
        }
        (next, actions)
    }
}
