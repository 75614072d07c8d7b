//! What a person asks for: give up, start, go back, mark.

use ipc::boot_facts::Slot;
use ipc::updater::{Outcome, When};

use super::{
    Action, Activation, Bundle, Mark, Record, Refused, State, Stepped, Surroundings, Trial, slot_of_boot,
};

impl Record {
    pub(super) fn cancelled(&self, around: &Surroundings) -> Stepped {
        let (bundle, target, after) = match &self.state {
            State::Downloading { bundle, target, .. } => (bundle.as_ref(), *target, Action::StopEngine),
            State::Verifying { bundle, target, .. } => (Some(bundle), *target, Action::StopEngine),
            State::Staged { bundle, target, .. } if *target != around.running_slot() => {
                (Some(bundle), *target, Action::Withdraw(*target))
            }
            State::Trying(trial) => {
                return Err(Refused::Proving {
                    version: trial.bundle.shown().into(),
                });
            }
            _ => return Err(Refused::NothingToCancel),
        };
        let sentence = match bundle {
            Some(bundle) => format!("The installation of version {} was cancelled.", bundle.shown()),
            None => "The installation was cancelled.".into(),
        };
        let entry = around.entry(Outcome::Cancelled, bundle, Some(target), sentence.clone());
        let mut actions = vec![Action::Persist(vec![entry]), after.clone()];
        if after == Action::StopEngine {
            actions.push(Action::Finish { ok: false, sentence });
        }
        let next = Self {
            state: self.given_up(around),
            ..self.clone()
        };
        Ok((next, actions))
    }

    /// As given up, but by the publisher: told until the next installation begins.
    pub(super) fn taken_back(&self, around: &Surroundings) -> Stepped {
        let (mut next, mut actions) = self.cancelled(around)?;
        let bundle = match &self.state {
            State::Downloading { bundle, .. } => bundle.as_ref(),
            State::Verifying { bundle, .. } | State::Staged { bundle, .. } => Some(bundle),
            _ => None,
        };
        let what = bundle.map_or("The update".into(), |bundle| {
            format!("Version {}", bundle.shown())
        });
        let told = format!("{what} was withdrawn by its publisher before it was started.");
        for action in &mut actions {
            match action {
                Action::Persist(entries) => entries.iter_mut().for_each(|e| e.sentence.clone_from(&told)),
                Action::Finish { sentence, .. } => sentence.clone_from(&told),
                _ => {}
            }
        }
        next.last_error = Some(told);
        Ok((next, actions))
    }

    pub(super) fn activation_requested(&self, when: When, around: &Surroundings) -> Stepped {
        let State::Staged { target, .. } = self.state else {
            return Err(match &self.state {
                State::Trying(trial) => Refused::Proving {
                    version: trial.bundle.shown().into(),
                },
                _ => Refused::NothingStaged,
            });
        };
        if target == around.running_slot() {
            return Err(Refused::NothingStaged);
        }
        let mut next = self.clone();
        let mut actions = next.start(when, around);
        actions.insert(0, Action::Persist(vec![]));
        if when != When::Tonight {
            actions.insert(1, Action::FinishInstall(target));
        }
        Ok((next, actions))
    }

    pub(super) fn rollback_requested(&self, allow_downgrade: bool, around: &Surroundings) -> Stepped {
        let problem = self
            .no_way_back(around)
            .filter(|problem| !(allow_downgrade && matches!(problem, Refused::Withdrawn { .. })));
        if let State::Trying(trial) = &self.state
            && trial.target == around.running_slot()
        {
            // In the middle of a trial it is the person who says that the new system is no good.
            return match problem {
                Some(refused) => Err(refused),
                None => self.health_failed(by_hand(&trial.bundle), around),
            };
        }
        if let State::Staged { .. } = self.state {
            return Err(Refused::NoFallback {
                slot: slot_of_boot(around.other_slot()),
                problem: "holds an installed version that was not started yet; cancel it, or restart into it",
            });
        }
        self.not_busy(around)?;
        if let Some(refused) = problem {
            return Err(refused);
        }
        let (running, other) = (around.running_slot(), around.other_slot());
        let mut next = self.clone();
        if let Some(left) = &self.note(running).bundle {
            next.remember_failed(left.manifest_hash, &by_hand(left));
        }
        let note = next.note_mut(other);
        note.activated_unix_s = Some(around.now_unix_s);
        note.activated_count = note.activated_count.saturating_add(1);
        next.state = State::Trying(Trial {
            target: other,
            bundle: self.note(other).bundle.clone().unwrap_or_default(),
            arming: around.arming(),
            going_back: true,
        });
        Ok((
            next,
            vec![Action::Persist(vec![]), Action::Activate(other), Action::Reboot],
        ))
    }

    /// Why the other slot is no place to go back to.
    pub fn no_way_back(&self, around: &Surroundings) -> Option<Refused> {
        let slot = around.running.inactive().slot();
        let known = around.boot.slot(slot);
        let problem = match (known.complete(), known.good()) {
            (false, _) => "is incomplete: an installation into it was not finished",
            (true, false) => "holds no version that was good on this box",
            (true, true) => return self.withdrawn(around),
        };
        Some(Refused::NoFallback { slot, problem })
    }

    /// Would going to the other slot by hand bring back what must not come back?
    ///
    /// Not if it lowers nothing: a system on trial has raised nothing yet, and who runs an old system on purpose already may
    /// go to another such. What the boot manager and a failed trial do is not asked: a box that starts comes first.
    fn withdrawn(&self, around: &Surroundings) -> Option<Refused> {
        let index = self.note(around.other_slot()).rollback_index;
        let needed = self.rollback_index.min(around.rollback_index);
        (index < needed).then(|| Refused::Withdrawn {
            slot: around.running.inactive().slot(),
            index,
            needed,
        })
    }

    pub(super) fn mark_requested(&self, mark: Mark, slot: Slot, around: &Surroundings) -> Stepped {
        let runs = slot == around.running_slot();
        match (mark, runs) {
            (Mark::Good, true) => self.health_passed(around).map(|(next, mut actions)| {
                // Whether an interrupted installation goes on is decided at the start, not here.
                actions.retain(|action| matches!(action, Action::Persist(_) | Action::MarkGood));
                (next, actions)
            }),
            (Mark::Good, false) => Err(Refused::NotRunning {
                slot: slot_of_boot(slot),
            }),
            (Mark::Bad, true) => self.running_marked_bad(around),
            (Mark::Bad, false) => self.other_marked_bad(slot, around),
            (Mark::Active, true) => match self.state {
                State::Staged { .. } => self.cancelled(around),
                _ => {
                    self.not_busy(around)?;
                    let withdraw = around.boot.primary() != around.running.slot();
                    let actions = withdraw.then_some(Action::Withdraw(around.other_slot()));
                    Ok((self.clone(), actions.into_iter().collect()))
                }
            },
            (Mark::Active, false) => self.other_activated(slot, around),
        }
    }

    fn running_marked_bad(&self, around: &Surroundings) -> Stepped {
        if !around.fallback_works() {
            return Err(Refused::NoFallback {
                slot: around.running.inactive().slot(),
                problem: "does not hold a version that is known to start",
            });
        }
        if let State::Trying(trial) | State::Unhealthy { trial, .. } = &self.state
            && trial.target == around.running_slot()
        {
            let (next, mut actions) = self.rolled_back(trial, by_hand(&trial.bundle), around);
            actions.push(Action::MarkBad(trial.target));
            return Ok((next, actions));
        }
        self.not_busy(around)?;
        self.withdrawn(around).map_or(Ok(()), Err)?;
        self.marked_bad(around.running_slot(), around)
    }

    fn other_marked_bad(&self, slot: Slot, around: &Surroundings) -> Stepped {
        match self.state {
            State::Staged { .. } => self.cancelled(around).map(|(next, mut actions)| {
                actions.push(Action::MarkBad(slot));
                (next, actions)
            }),
            _ => {
                self.not_busy(around)?;
                self.marked_bad(slot, around)
            }
        }
    }

    fn marked_bad(&self, slot: Slot, around: &Surroundings) -> Stepped {
        let sentence = format!("Slot {} was marked bad by hand.", slot_of_boot(slot));
        let entry = around.entry(
            Outcome::Marked,
            self.note(slot).bundle.as_ref(),
            Some(slot),
            sentence,
        );
        Ok((
            self.clone(),
            vec![Action::Persist(vec![entry]), Action::MarkBad(slot)],
        ))
    }

    fn other_activated(&self, slot: Slot, around: &Surroundings) -> Stepped {
        if let State::Staged { .. } = self.state {
            return self.activation_requested(When::Reboot, around);
        }
        self.not_busy(around)?;
        let known = around.boot.slot(slot_of_boot(slot));
        if !known.complete() {
            return Err(Refused::NoFallback {
                slot: slot_of_boot(slot),
                problem: "is incomplete: an installation into it was not finished",
            });
        }
        self.withdrawn(around).map_or(Ok(()), Err)?;
        let mut next = self.clone();
        next.state = State::Staged {
            target: slot,
            bundle: self.note(slot).bundle.clone().unwrap_or_default(),
            activation: Activation::At(u64::MAX),
            going_back: known.good(),
        };
        let mut actions = next.start(When::Reboot, around);
        actions.insert(0, Action::Persist(vec![]));
        Ok((next, actions))
    }
}

fn by_hand(bundle: &Bundle) -> String {
    format!(
        "A person went back from version {} to the one before.",
        bundle.shown()
    )
}
