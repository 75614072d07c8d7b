//! What pages know of the updater: asked when a page is made; followed, once for all of them, while pages are open.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::StreamExt;
use ipc::updater::{HistoryEntry, Phase, Status};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::secret::Digest;
use crate::setup::store::{Store, StoreError};
use crate::system::Reading;
use crate::updater::Updater;

/// Signals come more often than a person can read.
const PAUSE: Duration = Duration::from_millis(500);
/// Without a signal it is asked again after this time while something goes on …
const WHILE_BUSY: Duration = Duration::from_secs(3);
/// … and after this time when nothing does: a signal may be lost with a restart of the bus.
const WHILE_QUIET: Duration = Duration::from_secs(20);

/// What is known of the updater; nothing yet, or the last answer.
pub type Known = Option<Reading<Arc<Status>>>;

/// The one place that follows the updater.
pub struct Updates {
    updater: Arc<dyn Updater>,
    store: Store,
    known: watch::Sender<Known>,
    following: Mutex<bool>,
    /// The rollback that a person has read and put aside; read from the store once.
    dismissed: tokio::sync::Mutex<Option<Vec<u8>>>,
}

impl Updates {
    /// Nothing is asked yet.
    pub fn new(updater: Arc<dyn Updater>, store: Store) -> Self {
        Self {
            updater,
            store,
            known: watch::Sender::new(None),
            following: Mutex::new(false),
            dismissed: tokio::sync::Mutex::default(),
        }
    }

    /// The updater itself, for changes.
    pub fn updater(&self) -> &dyn Updater {
        &*self.updater
    }

    /// The status at this moment.
    pub async fn status(&self) -> Reading<Arc<Status>> {
        let status = self.updater.status().await.map(Arc::new).map_err(|e| e.why());
        if *self.following() {
            self.publish(status.clone());
        }
        status
    }

    /// The history at this moment, oldest first.
    pub async fn history(&self) -> Reading<Vec<HistoryEntry>> {
        self.updater.history().await.map_err(|e| e.why())
    }

    /// Follows the updater for as long as the receiver is kept.
    pub fn follow(self: &Arc<Self>) -> watch::Receiver<Known> {
        let mut following = self.following();
        let receiver = self.known.subscribe();
        if !*following {
            *following = true;
            // What was known when nobody followed may be hours old.
            self.known.send_replace(None);
            tokio::spawn(self.clone().keep_following());
        }
        receiver
    }

    /// True when a person has put aside the notice of this rollback.
    pub async fn is_dismissed(&self, status: &Status) -> bool {
        let Some(name) = name_of_rollback(status) else {
            return false;
        };
        let mut dismissed = self.dismissed.lock().await;
        if dismissed.is_none() {
            *dismissed = match self.store.dismissed_rollback().await {
                Ok(stored) => Some(stored.unwrap_or_default()),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "the notices put aside");
                    None
                }
            };
        }
        dismissed.as_deref() == Some(name.as_bytes())
    }

    /// Puts the notice of this rollback aside; none shows the next one again, whatever it is about.
    pub async fn dismiss(&self, status: Option<&Status>) -> Result<(), StoreError> {
        let name = status.and_then(name_of_rollback).map(String::into_bytes);
        let mut dismissed = self.dismissed.lock().await;
        self.store.set_dismissed_rollback(name.clone()).await?;
        *dismissed = Some(name.unwrap_or_default());
        drop(dismissed);
        // Open pages show it with the next look.
        self.known.send_modify(|_| {});
        Ok(())
    }

    fn following(&self) -> MutexGuard<'_, bool> {
        self.following.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&self, status: Reading<Arc<Status>>) {
        self.known.send_if_modified(|known| {
            let changed = known.as_ref() != Some(&status);
            *known = Some(status);
            changed
        });
    }

    async fn keep_following(self: Arc<Self>) {
        loop {
            tokio::select! {
                // First: nobody listens any more, whatever else there is.
                biased;
                () = self.known.closed() => {
                    let mut following = self.following();
                    if self.known.receiver_count() == 0 {
                        *following = false;
                        return;
                    }
                }
                () = self.listen() => sleep(PAUSE).await,
            }
        }
    }

    /// Asks after every piece of news, until there is no more.
    async fn listen(&self) {
        let mut news = self.updater.news().await.ok();
        loop {
            let status = self.updater.status().await.map(Arc::new);
            let busy = match &status {
                Ok(status) => !matches!(status.phase, Phase::Idle | Phase::Good | Phase::RolledBack),
                // It may be starting at this moment.
                Err(_) => true,
            };
            self.publish(status.map_err(|e| e.why()));
            sleep(PAUSE).await;
            let wait = if busy { WHILE_BUSY } else { WHILE_QUIET };
            match &mut news {
                Some(news) => {
                    if let Ok(None) = timeout(wait, news.next()).await {
                        return;
                    }
                }
                None => return sleep(wait).await,
            }
        }
    }
}

/// A rollback by what failed and why, so that another one is another.
fn name_of_rollback(status: &Status) -> Option<String> {
    let bundle = status.bundle.as_ref()?;
    (status.phase == Phase::RolledBack).then(|| {
        let reason = status.reason.as_deref().unwrap_or_default();
        Digest::of(&format!("{} {reason}", bundle.manifest_hash)).to_hex()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::updater::fake::{Fake, Mood};
    use crate::updater::sample::{self, Scene};

    fn updates() -> (tempfile::TempDir, Arc<Fake>, Arc<Updates>) {
        let folder = tempfile::tempdir().unwrap();
        let fake = Arc::new(Fake::default());
        let updates = Arc::new(Updates::new(fake.clone(), Store::new(folder.path())));
        (folder, fake, updates)
    }

    #[tokio::test]
    async fn news_reach_every_page_that_is_open_and_nobody_listens_afterwards() {
        let (_folder, fake, updates) = updates();
        assert_eq!(fake.listeners(), 0, "nothing is followed before a page is open");
        let (mut one, mut two) = (updates.follow(), updates.follow());
        let phase = |known: &Known| known.as_ref().map(|k| k.as_ref().map(|s| s.phase).ok());
        for (scene, expected) in [
            (Scene::Downloading, Phase::Downloading),
            (Scene::Good, Phase::Good),
        ] {
            fake.set(sample::status(scene, 0));
            for page in [&mut one, &mut two] {
                page.wait_for(|known| phase(known) == Some(Some(expected)))
                    .await
                    .unwrap();
            }
        }
        assert_eq!(fake.listeners(), 1, "one for all pages");
        fake.set_mood(Mood::Absent);
        one.wait_for(|known| phase(known) == Some(None)).await.unwrap();
        drop((one, two));
        while fake.listeners() > 0 {
            sleep(Duration::from_millis(10)).await;
        }
        fake.set_mood(Mood::Well);
        let mut again = updates.follow();
        again
            .wait_for(|known| phase(known) == Some(Some(Phase::Good)))
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_rollback_is_put_aside_for_good_and_the_next_one_is_shown() {
        let (folder, fake, updates) = updates();
        let first = sample::status(Scene::RolledBack, 0);
        assert!(!updates.is_dismissed(&first).await);
        updates.dismiss(Some(&first)).await.unwrap();
        assert!(updates.is_dismissed(&first).await);
        drop(updates);
        let updates = Arc::new(Updates::new(fake, Store::new(folder.path())));
        assert!(updates.is_dismissed(&first).await, "after a restart too");
        let mut second = first.clone();
        second.reason = Some("The kernel panicked.".into());
        assert!(!updates.is_dismissed(&second).await);
        assert!(!updates.is_dismissed(&sample::status(Scene::Good, 0)).await);
        updates.dismiss(None).await.unwrap();
        assert!(!updates.is_dismissed(&first).await);
    }
}
