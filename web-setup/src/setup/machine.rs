//! Setup as one pure machine: what was answered so far, who may answer, what follows.
//!
//! Claim rule: until an administrator was chosen any browser may go on with the one shared draft; each form carries the
//! draft's revision, a stale one is refused. Once the administrator was set, only browsers that set or proved the password
//! may go on. Whether setup is finished is not kept here alone: the settings file is the lock, see `crate::lock`.

use ipc::settings::{AccountName, HostName, SetupRequest, TimeZone, UpdatePolicy};

use crate::secret::Digest;

/// Browsers that may hold the claim at the same time; one more sends the first away.
pub const MAX_BROWSERS: usize = 4;

/// The pages of the wizard, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Welcome and language.
    Welcome,
    /// Name of the box.
    Name,
    /// Time zone.
    TimeZone,
    /// Administrator.
    Administrator,
    /// Network summary.
    Network,
    /// Data partition.
    Storage,
    /// Update policy.
    Updates,
    /// Everything once more, and finish.
    Summary,
}

impl Step {
    /// All, in order.
    pub const ALL: [Self; 8] = [
        Self::Welcome,
        Self::Name,
        Self::TimeZone,
        Self::Administrator,
        Self::Network,
        Self::Storage,
        Self::Updates,
        Self::Summary,
    ];

    /// The last part of its address, below `/setup/`.
    pub fn slug(self) -> &'static str {
        match self {
            Self::Welcome => "welcome",
            Self::Name => "name",
            Self::TimeZone => "time-zone",
            Self::Administrator => "administrator",
            Self::Network => "network",
            Self::Storage => "storage",
            Self::Updates => "updates",
            Self::Summary => "summary",
        }
    }

    /// From the last part of an address.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|step| step.slug() == slug)
    }

    /// The step before.
    pub fn previous(self) -> Option<Self> {
        Self::ALL.iter().rev().copied().find(|step| *step < self)
    }
}

/// Whether the data partition is grown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StorageChoice {
    /// Growing was asked for; `seen` once the person went on from the page.
    Grow {
        /// The person went on.
        seen: bool,
    },
    /// Not now; the dashboard offers it again.
    Later,
}

/// The answers so far.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Draft {
    /// Counts changes; each form carries it.
    pub revision: u64,
    /// Unix seconds of the last change, by the appliance's clock.
    pub changed_at: u64,
    /// Language, a BCP 47 tag.
    pub language: Option<String>,
    /// Name of the box.
    pub host_name: Option<HostName>,
    /// Time zone.
    pub time_zone: Option<TimeZone>,
    /// The network page was read.
    pub network_seen: bool,
    /// Data partition.
    pub storage: Option<StorageChoice>,
    /// Update policy.
    pub update_policy: Option<UpdatePolicy>,
}

/// Who owns a setup whose administrator was chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// Name of the administrator; unknown when a power cut came between the provisioner's write and ours.
    pub administrator: Option<AccountName>,
    /// Digests of the cookies of browsers that may go on, oldest first.
    pub browsers: Vec<Digest>,
}

/// Setup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Setup {
    /// No administrator yet: whoever comes may go on.
    Open(Draft),
    /// The administrator was chosen.
    Claimed(Draft, Claim),
    /// Finished, for good.
    Provisioned,
}

impl Default for Setup {
    fn default() -> Self {
        Self::Open(Draft::default())
    }
}

/// An answer to one page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Welcome.
    Language(String),
    /// Name of the box.
    Name(HostName),
    /// Time zone.
    TimeZone(TimeZone),
    /// Administrator, unchanged: only when there is one.
    AdministratorKept,
    /// Network page was read.
    NetworkSeen,
    /// Grow now, and stay on the page to watch.
    Grow,
    /// Go on from the storage page; without a [`Answer::Grow`] before, growing waits.
    StorageSeen,
    /// Update policy.
    Updates(UpdatePolicy),
    /// Finish.
    Finish,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A form came.
    Answered {
        /// Digest of the browser's cookie.
        browser: Digest,
        /// The revision that the form was made from.
        revision: u64,
        /// What it says.
        answer: Answer,
    },
    /// A form asks to set the administrator; the password is not the machine's to know.
    AdministratorAsked {
        /// Digest of the browser's cookie.
        browser: Digest,
        /// The revision that the form was made from.
        revision: u64,
    },
    /// The provisioner set the administrator.
    AdministratorSet {
        /// The browser that chose.
        browser: Digest,
        /// The chosen name.
        name: AccountName,
    },
    /// A browser proved name and password.
    BrowserAdmitted {
        /// The browser.
        browser: Digest,
        /// The proven name.
        name: AccountName,
    },
    /// The provisioner says there is an administrator.
    AdministratorFound,
    /// The provisioner says there is none.
    AdministratorMissing,
    /// The provisioner finished setup, or the settings file says that it is finished.
    SetupCompleted,
}

/// What to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write the new state durably, before anything else.
    Persist,
    /// Hand name and password to the provisioner, then say [`Event::AdministratorSet`].
    SetAdministrator,
    /// Ask the provisioner to grow `data`.
    GrowData,
    /// Ask the provisioner to finish, then say [`Event::SetupCompleted`].
    CompleteSetup(SetupRequest),
    /// Forget the draft.
    DeleteDraft,
}

/// Why an event was refused; the state is as before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Another browser changed the draft since this form was made.
    Stale,
    /// Another browser holds the claim.
    NotYours,
    /// This page cannot be answered before that one.
    NotYet(Step),
    /// Setup is finished.
    Finished,
    /// Nothing to do: the event fits no state that there is.
    Unexpected,
}

impl Setup {
    /// The answers so far.
    pub fn draft(&self) -> Option<&Draft> {
        match self {
            Self::Open(draft) | Self::Claimed(draft, _) => Some(draft),
            Self::Provisioned => None,
        }
    }

    /// True once the administrator was chosen.
    pub fn has_administrator(&self) -> bool {
        matches!(self, Self::Claimed(..))
    }

    /// The first page without an answer; the summary when all are answered.
    pub fn current(&self) -> Option<Step> {
        let draft = self.draft()?;
        Some(match draft {
            Draft { language: None, .. } => Step::Welcome,
            Draft { host_name: None, .. } => Step::Name,
            Draft { time_zone: None, .. } => Step::TimeZone,
            _ if !self.has_administrator() => Step::Administrator,
            Draft {
                network_seen: false, ..
            } => Step::Network,
            Draft {
                storage: None | Some(StorageChoice::Grow { seen: false }),
                ..
            } => Step::Storage,
            Draft {
                update_policy: None, ..
            } => Step::Updates,
            _ => Step::Summary,
        })
    }

    /// True when this browser may see and change the draft.
    pub fn admits(&self, browser: Option<Digest>) -> bool {
        match self {
            Self::Open(_) => true,
            Self::Claimed(_, claim) => browser.is_some_and(|b| claim.browsers.contains(&b)),
            Self::Provisioned => false,
        }
    }

    fn request(&self) -> Result<SetupRequest, Refused> {
        let current = self.current().ok_or(Refused::Finished)?;
        match self.draft().cloned() {
            Some(Draft {
                language: Some(language),
                host_name: Some(host_name),
                time_zone: Some(time_zone),
                update_policy: Some(update_policy),
                ..
            }) if current == Step::Summary => Ok(SetupRequest {
                host_name,
                time_zone,
                language,
                update_policy,
            }),
            _ => Err(Refused::NotYet(current)),
        }
    }

    fn with_draft(self, change: impl FnOnce(Draft) -> Draft) -> Self {
        match self {
            Self::Open(draft) => Self::Open(change(draft)),
            Self::Claimed(draft, claim) => Self::Claimed(change(draft), claim),
            Self::Provisioned => Self::Provisioned,
        }
    }

    /// A form is let in: not finished, its browser may, its page was reached, its revision is the present one.
    fn check(&self, browser: Digest, revision: u64, step: Step) -> Result<(), Refused> {
        let draft = self.draft().ok_or(Refused::Finished)?;
        let current = self.current().ok_or(Refused::Finished)?;
        if !self.admits(Some(browser)) {
            return Err(Refused::NotYours);
        }
        if revision != draft.revision {
            return Err(Refused::Stale);
        }
        if step > current {
            return Err(Refused::NotYet(current));
        }
        Ok(())
    }
}

impl Answer {
    /// The page that it answers.
    pub fn step(&self) -> Step {
        match self {
            Self::Language(_) => Step::Welcome,
            Self::Name(_) => Step::Name,
            Self::TimeZone(_) => Step::TimeZone,
            Self::AdministratorKept => Step::Administrator,
            Self::NetworkSeen => Step::Network,
            Self::Grow | Self::StorageSeen => Step::Storage,
            Self::Updates(_) => Step::Updates,
            Self::Finish => Step::Summary,
        }
    }

    fn apply(&self, mut draft: Draft) -> Draft {
        match self.clone() {
            Self::Language(language) => draft.language = Some(language),
            Self::Name(name) => draft.host_name = Some(name),
            Self::TimeZone(zone) => draft.time_zone = Some(zone),
            Self::NetworkSeen => draft.network_seen = true,
            Self::Grow => draft.storage = Some(StorageChoice::Grow { seen: false }),
            Self::StorageSeen => {
                draft.storage = Some(match draft.storage {
                    Some(StorageChoice::Grow { .. }) => StorageChoice::Grow { seen: true },
                    Some(StorageChoice::Later) | None => StorageChoice::Later,
                });
            }
            Self::Updates(policy) => draft.update_policy = Some(policy),
            Self::AdministratorKept | Self::Finish => {}
        }
        draft
    }
}

/// One transition. `now` is Unix seconds.
///
/// # Errors
/// [`Refused`] when the event does not fit; the caller keeps the state that it has.
pub fn step(state: &Setup, event: Event, now: u64) -> Result<(Setup, Vec<Action>), Refused> {
    match (state, event) {
        (Setup::Provisioned, Event::SetupCompleted) => Ok((Setup::Provisioned, vec![])),
        (Setup::Provisioned, _) => Err(Refused::Finished),
        (Setup::Open(_) | Setup::Claimed(..), Event::SetupCompleted) => {
            Ok((Setup::Provisioned, vec![Action::DeleteDraft]))
        }
        (
            state,
            Event::Answered {
                browser,
                revision,
                answer,
            },
        ) => answered(state, browser, revision, answer, now),
        (state, Event::AdministratorAsked { browser, revision }) => {
            state.check(browser, revision, Step::Administrator)?;
            Ok((state.clone(), vec![Action::SetAdministrator]))
        }
        (Setup::Open(draft), Event::AdministratorSet { browser, name }) => {
            let claim = Claim {
                administrator: Some(name),
                browsers: vec![browser],
            };
            Ok((
                Setup::Claimed(changed(draft.clone(), now), claim),
                vec![Action::Persist],
            ))
        }
        (Setup::Claimed(draft, claim), Event::AdministratorSet { browser, name }) => {
            if !claim.browsers.contains(&browser) {
                return Err(Refused::NotYours);
            }
            // A new password sends every other browser away, as people expect of a new password.
            let claim = Claim {
                administrator: Some(name),
                browsers: vec![browser],
            };
            Ok((
                Setup::Claimed(changed(draft.clone(), now), claim),
                vec![Action::Persist],
            ))
        }
        (Setup::Claimed(draft, claim), Event::BrowserAdmitted { browser, name }) => {
            let mut browsers: Vec<Digest> =
                claim.browsers.iter().copied().filter(|b| *b != browser).collect();
            browsers.push(browser);
            if browsers.len() > MAX_BROWSERS {
                browsers.remove(0);
            }
            Ok((
                Setup::Claimed(
                    draft.clone(),
                    Claim {
                        administrator: Some(name),
                        browsers,
                    },
                ),
                vec![Action::Persist],
            ))
        }
        (Setup::Open(_), Event::BrowserAdmitted { .. }) => Err(Refused::Unexpected),
        (Setup::Open(draft), Event::AdministratorFound) => {
            let claim = Claim {
                administrator: None,
                browsers: vec![],
            };
            Ok((
                Setup::Claimed(changed(draft.clone(), now), claim),
                vec![Action::Persist],
            ))
        }
        (Setup::Claimed(draft, _), Event::AdministratorMissing) => {
            Ok((Setup::Open(changed(draft.clone(), now)), vec![Action::Persist]))
        }
        (state, Event::AdministratorFound | Event::AdministratorMissing) => Ok((state.clone(), vec![])),
    }
}

fn changed(mut draft: Draft, now: u64) -> Draft {
    draft.revision = draft.revision.wrapping_add(1);
    draft.changed_at = now;
    draft
}

fn answered(
    state: &Setup,
    browser: Digest,
    revision: u64,
    answer: Answer,
    now: u64,
) -> Result<(Setup, Vec<Action>), Refused> {
    let checked = state.check(browser, revision, answer.step());
    let new = state.clone().with_draft(|draft| answer.apply(draft));
    let unchanged =
        new == *state && !matches!(answer, Answer::Grow | Answer::Finish | Answer::AdministratorKept);
    match checked {
        // Tapped twice, or sent again by a reload: what it asks for is already so.
        Err(Refused::Stale) if unchanged => return Ok((new, vec![])),
        Err(refused) => return Err(refused),
        Ok(()) => {}
    }
    match answer {
        Answer::Finish => {
            let request = state.request()?;
            Ok((new, vec![Action::Persist, Action::CompleteSetup(request)]))
        }
        Answer::AdministratorKept if !state.has_administrator() => Err(Refused::NotYet(Step::Administrator)),
        Answer::Grow => Ok((
            new.with_draft(|d| changed(d, now)),
            vec![Action::Persist, Action::GrowData],
        )),
        _ if unchanged || matches!(answer, Answer::AdministratorKept) => Ok((new, vec![])),
        _ => Ok((new.with_draft(|d| changed(d, now)), vec![Action::Persist])),
    }
}

#[cfg(test)]
mod tests;
