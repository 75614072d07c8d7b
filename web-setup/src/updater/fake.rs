//! An updater in memory: shows what it is told to, notes what it is asked, and has bad days.

use std::sync::{Mutex, MutexGuard, PoisonError};

use futures_util::StreamExt;
use futures_util::stream::{self, BoxStream};
use ipc::updater::{HistoryEntry, Phase, Status, When, WireError};
use tokio::sync::watch;

use super::sample::{self, Scene};
use super::{Answer, InstallOptions, Updater, UpdaterError};

/// What the fake does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    /// Nothing.
    #[default]
    Well,
    /// It does not answer any call.
    Absent,
    /// It refuses every change.
    Refuses,
    /// It does not know how to look at a channel.
    WithoutChannels,
}

#[derive(Debug)]
struct Inner {
    mood: Mood,
    status: Status,
    history: Vec<HistoryEntry>,
    calls: Vec<String>,
}

/// The fake.
#[derive(Debug)]
pub struct Fake {
    inner: Mutex<Inner>,
    changes: watch::Sender<u64>,
}

impl Default for Fake {
    fn default() -> Self {
        Self {
            inner: Mutex::new(Inner {
                mood: Mood::Well,
                status: sample::status(Scene::Idle, 0),
                history: vec![],
                calls: vec![],
            }),
            changes: watch::Sender::default(),
        }
    }
}

impl Fake {
    /// Chooses what goes wrong from now on.
    pub fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
        self.tell();
    }

    /// From now on it says this.
    pub fn set(&self, status: Status) {
        self.lock().status = status;
        self.tell();
    }

    /// From now on this was.
    pub fn set_history(&self, history: Vec<HistoryEntry>) {
        self.lock().history = history;
        self.tell();
    }

    /// What was asked, in order: methods with their arguments. Questions alone are not noted.
    pub fn calls(&self) -> Vec<String> {
        self.lock().calls.clone()
    }

    /// How many listen to its news.
    pub fn listeners(&self) -> usize {
        self.changes.receiver_count()
    }

    fn tell(&self) {
        self.changes.send_modify(|n| *n += 1);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn question<T: Send + 'static>(&self, answer: impl FnOnce(&Inner) -> T) -> Answer<'_, T> {
        let inner = self.lock();
        let answer = match inner.mood {
            Mood::Absent => Err(UpdaterError::Unreachable("it is not running".into())),
            Mood::Well | Mood::Refuses | Mood::WithoutChannels => Ok(answer(&inner)),
        };
        Box::pin(std::future::ready(answer))
    }

    fn change(&self, call: String, work: impl FnOnce(&mut Status)) -> Answer<'_, ()> {
        let mut inner = self.lock();
        let answer = match inner.mood {
            Mood::Absent => Err(UpdaterError::Unreachable("it is not running".into())),
            Mood::Refuses => Err(UpdaterError::Refused {
                kind: WireError::Busy,
                message: "version 0.2.0 is being installed; wait for it, or cancel it".into(),
            }),
            Mood::WithoutChannels if call == "Check" => Err(UpdaterError::Unknown),
            Mood::Well | Mood::WithoutChannels => {
                work(&mut inner.status);
                Ok(())
            }
        };
        inner.calls.push(call);
        drop(inner);
        self.tell();
        Box::pin(std::future::ready(answer))
    }
}

impl Updater for Fake {
    fn status(&self) -> Answer<'_, Status> {
        self.question(|inner| inner.status.clone())
    }

    fn history(&self) -> Answer<'_, Vec<HistoryEntry>> {
        self.question(|inner| inner.history.clone())
    }

    fn install<'a>(&'a self, source: &'a str, options: InstallOptions) -> Answer<'a, ()> {
        let call = format!(
            "Install {source} when={} force={} hash={}",
            options.when.name(),
            options.force,
            options.require_manifest_hash.as_deref().unwrap_or("any")
        );
        self.change(call, |status| *status = sample::status(Scene::Checking, 0))
    }

    fn cancel(&self) -> Answer<'_, ()> {
        self.change("Cancel".into(), |status| {
            *status = sample::status(Scene::Available, 0);
        })
    }

    fn activate(&self, when: When) -> Answer<'_, ()> {
        self.change(format!("Activate {}", when.name()), |status| match when {
            When::Now => *status = sample::status(Scene::Restarting, 0),
            When::Reboot | When::Tonight => status.starts = Some(when),
        })
    }

    fn rollback(&self) -> Answer<'_, ()> {
        self.change("Rollback".into(), |status| status.phase = Phase::Trying)
    }

    fn check(&self) -> Answer<'_, ()> {
        self.change("Check".into(), |_| {})
    }

    fn news(&self) -> Answer<'_, BoxStream<'static, ()>> {
        let changes = self.changes.subscribe();
        let news = stream::unfold(changes, |mut changes| async move {
            changes.changed().await.ok()?;
            Some(((), changes))
        });
        Box::pin(std::future::ready(Ok(news.boxed())))
    }
}
