//! After a boot: what the boot manager did, and whether the running system is well.

use ipc::updater::Outcome;
use ipc::updater_version::Version;

use super::{
    Action, Activation, Arming, Bundle, Gate, Record, State, Stepped, Surroundings, Trial, slot_of_boot,
};

impl Record {
    /// Goes on from whatever a cut, a restart or a crash of the service left.
    pub(super) fn boot_observed(&self, around: &Surroundings) -> (Self, Vec<Action>) {
        let running = around.running_slot();
        match &self.state {
            State::Downloading { target, .. } | State::Verifying { target, .. } if *target == running => {
                let sentence = format!(
                    "The box came up from slot {}, which was to be written: the installation was given up.",
                    around.running.slot()
                );
                let (next, mut actions) = self.failed_install(sentence, around);
                let (next, more) = next.look_after(around);
                actions.extend(
                    more.into_iter()
                        .filter(|action| !matches!(action, Action::Persist(_))),
                );
                (next, actions)
            }
            State::Staged {
                target,
                bundle,
                activation,
                going_back,
            } => {
                let trial = |arming: &Arming| Trial {
                    target: *target,
                    bundle: bundle.clone(),
                    arming: arming.clone(),
                    going_back: *going_back,
                };
                match activation {
                    Activation::AtReboot(arming) => self.armed_observed(trial(arming), false, around),
                    Activation::At(_) => self.look_after(around),
                }
            }
            State::Trying(trial) => self.armed_observed(trial.clone(), true, around),
            State::RolledBack { trial, reason } if trial.target == running => {
                if around.fallback_works() {
                    return (self.clone(), vec![Action::MarkBad(running), Action::Reboot]);
                }
                let (next, mut actions) = self.stranded(trial.clone(), reason, around);
                actions.push(Action::StartHealthGate(Gate::Trial(trial.arming.network)));
                (next, actions)
            }
            State::Unhealthy { trial, .. } if trial.target == running => {
                let gate = Gate::Trial(trial.arming.network);
                (self.clone(), vec![Action::StartHealthGate(gate)])
            }
            _ => self.look_after(around),
        }
    }

    /// An activated slot: it runs, or it did not start, or it was not tried yet.
    fn armed_observed(&self, trial: Trial, at_once: bool, around: &Surroundings) -> (Self, Vec<Action>) {
        if trial.target == around.running_slot() {
            return self.try_running(trial);
        }
        let target = slot_of_boot(trial.target);
        let same_boot = trial.arming.boot_id == around.boot_id;
        // A fresh slot has no tries before it is activated; an old one, to which a person goes back, has.
        let tried = around.boot.primary() == target
            || around.boot.rollbacks() != trial.arming.rollbacks
            || (!trial.going_back && around.boot.slot(target).tries_left() > 0);
        if !same_boot && tried {
            let reason = format!(
                "Version {} did not start; the boot manager returned to slot {}.",
                trial.bundle.shown(),
                around.running.slot()
            );
            let (next, mut actions) = self.rolled_back(&trial, reason, around);
            actions.extend([
                Action::MarkBad(trial.target),
                Action::StartHealthGate(Gate::Ordinary),
            ]);
            return (next, actions);
        }
        // A cut came before the activation, or the service was started again before the restart.
        let mut next = self.clone();
        let mut actions = vec![];
        if !same_boot {
            let arming = Arming {
                boot_id: around.boot_id.clone(),
                ..trial.arming.clone()
            };
            match &mut next.state {
                State::Trying(trial) => trial.arming = arming,
                State::Staged { activation, .. } => *activation = Activation::AtReboot(arming),
                _ => {}
            }
            actions.push(Action::Persist(vec![]));
        }
        if !trial.going_back {
            actions.push(Action::FinishInstall(trial.target));
        }
        actions.push(Action::Activate(trial.target));
        actions.push(if at_once {
            Action::Reboot
        } else {
            Action::StartHealthGate(Gate::Ordinary)
        });
        (next, actions)
    }

    /// The slot on trial runs.
    fn try_running(&self, trial: Trial) -> (Self, Vec<Action>) {
        let gate = Action::StartHealthGate(Gate::Trial(trial.arming.network));
        let state = State::Trying(trial);
        if self.state != state {
            let next = Self {
                state,
                ..self.clone()
            };
            return (next, vec![Action::Persist(vec![]), gate]);
        }
        (self.clone(), vec![gate])
    }

    /// No update is pending, as far as the record knows.
    fn look_after(&self, around: &Surroundings) -> (Self, Vec<Action>) {
        let running = around.running_slot();
        let note = self.note(running);
        // … but the slot holds a system that never proved itself: the boot manager knows better.
        if let (Some(bundle), false, false) = (
            &note.bundle,
            note.proved,
            around.boot.slot(around.running.slot()).good(),
        ) {
            let trial = Trial {
                target: running,
                bundle: bundle.clone(),
                arming: Arming::default(),
                going_back: false,
            };
            return self.try_running(trial);
        }
        (self.clone(), vec![Action::StartHealthGate(Gate::Ordinary)])
    }

    /// The trial that the running slot has to pass, if there is one.
    fn trial(&self, around: &Surroundings) -> Option<&Trial> {
        match &self.state {
            State::Trying(trial) | State::Unhealthy { trial, .. }
                if trial.target == around.running_slot() =>
            {
                Some(trial)
            }
            _ => None,
        }
    }

    pub(super) fn health_passed(&self, around: &Surroundings) -> Stepped {
        let running = around.running_slot();
        if matches!(&self.state, State::RolledBack { trial, .. } if trial.target == running) {
            return Err(self.too_late());
        }
        let mut next = self.clone();
        let mut history = vec![];
        if let Ok(version) = Version::parse(&around.version)
            && next.floor.as_ref().is_none_or(|floor| *floor < version)
        {
            next.floor = Some(version);
        }
        next.rollback_index = next.rollback_index.max(around.rollback_index);
        next.note_mut(running).rollback_index = around.rollback_index;
        if let Some(trial) = self.trial(around) {
            let (outcome, verb) = if trial.going_back {
                (Outcome::WentBack, "went back to")
            } else {
                (Outcome::Good, "runs")
            };
            let sentence = format!("The box {verb} version {} and is well.", trial.bundle.shown());
            history.push(around.entry(outcome, Some(&trial.bundle), Some(running), sentence));
            next.failed
                .retain(|failed| failed.manifest_hash != trial.bundle.manifest_hash);
            next.note_mut(running).proved = true;
            next.state = State::Good {
                slot: running,
                bundle: trial.bundle.clone(),
            };
        }
        let mut actions = vec![];
        if next != *self {
            actions.push(Action::Persist(history));
        }
        actions.push(Action::MarkGood);
        actions.extend(next.carry_on(around));
        Ok((next, actions))
    }

    pub(super) fn health_failed(&self, reason: String, around: &Surroundings) -> Stepped {
        let Some(trial) = self.trial(around).cloned() else {
            // An ordinary boot: the slot keeps its lost try, as ever; after the last the boot manager changes over.
            return Ok((self.clone(), vec![]));
        };
        if around.fallback_works() {
            let (next, mut actions) = self.rolled_back(&trial, reason, around);
            actions.extend([Action::MarkBad(trial.target), Action::Reboot]);
            return Ok((next, actions));
        }
        Ok(self.stranded(trial, &reason, around))
    }

    /// The target of the trial failed, and the other slot runs or will.
    pub(super) fn rolled_back(
        &self,
        trial: &Trial,
        reason: String,
        around: &Surroundings,
    ) -> (Self, Vec<Action>) {
        let mut next = self.clone();
        next.remember_failed(trial.bundle.manifest_hash, &reason);
        let entry = around.entry(
            Outcome::RolledBack,
            Some(&trial.bundle),
            Some(trial.target),
            reason.clone(),
        );
        next.state = State::RolledBack {
            trial: trial.clone(),
            reason,
        };
        (next, vec![Action::Persist(vec![entry])])
    }

    fn stranded(&self, trial: Trial, reason: &str, around: &Surroundings) -> (Self, Vec<Action>) {
        const ADVICE: &str = "There is no other version to go back to, so the box stays on this one.";
        let reason = match reason.strip_suffix(ADVICE) {
            Some(_) => reason.to_owned(),
            None => format!("{reason} {ADVICE}"),
        };
        let bundle: &Bundle = &trial.bundle;
        let mut next = self.clone();
        next.remember_failed(bundle.manifest_hash, &reason);
        let entry = around.entry(
            Outcome::Unhealthy,
            Some(bundle),
            Some(trial.target),
            reason.clone(),
        );
        next.state = State::Unhealthy { trial, reason };
        if next == *self {
            return (next, vec![]);
        }
        (next, vec![Action::Persist(vec![entry])])
    }
}
