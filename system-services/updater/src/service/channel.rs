//! Looks at the channel, and begins what it has when the rules say so.

use std::sync::Mutex;
use std::time::Duration;

use channel::schedule::{Action, Conditions, Now, UpdatePolicy, Wish};
use ipc::paths::SETTINGS;
use ipc::settings::Settings;
use ipc::updater::When;
use os_io::host;
use os_io::root::Root;
use ring::digest::{SHA256, digest};
use tokio::sync::Mutex as AsyncMutex;
use tokio::sync::broadcast::error::RecvError;

use super::estimate::Estimates;
use super::{Notice, Service, blocking, lock};
use crate::channel::look::{Answer, ThisBox, look, under_way};
use crate::channel::watch::{Offer, Unmeasured};
use crate::channel::{Chosen, TRANSACTION, View, Watch};
use crate::engine::{Access, EngineError, EngineErrorKind, ManifestHash, Source};
use crate::error::{ServiceError, chain};
use crate::health::data::NoRoom;
use crate::install::open::clock;
use crate::night;
use crate::state::{Event, InstallOptions, Record};

/// Longest settings that are read.
const MAX_SETTINGS: u64 = 64 * 1024;

/// What the service keeps for the channel.
pub(super) struct Desk {
    watch: Mutex<Watch>,
    /// One look at a time; whoever keeps what is known of a channel holds it too.
    looking: AsyncMutex<()>,
    /// Measuring what would be downloaded.
    pub(super) estimates: Estimates,
}

impl Desk {
    /// After a power cut in a whole town the boxes ask one after the other: what is random is this box and this boot.
    pub(super) fn new(root: &Root, boot_id: &str) -> Self {
        let machine_id = std::fs::read_to_string(root.path("/etc/machine-id")).unwrap_or_default();
        let hash = digest(&SHA256, format!("poll\0{machine_id}\0{boot_id}").as_bytes());
        let seed = hash.as_ref().iter().take(8);
        let seed = seed.fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Self {
            watch: Mutex::new(Watch::new(seed, host::uptime().as_secs())),
            looking: AsyncMutex::default(),
            estimates: Estimates::default(),
        }
    }
}

/// What a person hears who asks all the same.
const NO_CHANNEL: &str = "No update channel is set up, so this box does not look for updates. Install them from a file or a \
                          USB stick, or set a channel's address.";

impl Service {
    /// Looks at the channel now, for a person.
    pub async fn check(&self) -> Result<(), ServiceError> {
        let chosen = self.choose().await?;
        if chosen.choice.address.is_none() {
            let view = self.channel_view(&Record::default());
            let sentence = view.error.unwrap_or_else(|| NO_CHANNEL.into());
            return Err(EngineError::new(EngineErrorKind::Unreachable, sentence).into());
        }
        self.look(&chosen).await
    }

    /// Does what is due, for ever.
    pub(super) async fn watch_channel(&self) {
        let mut notices = self.notices();
        loop {
            let pause = self.channel_turn().await;
            let changed = async {
                loop {
                    match notices.recv().await {
                        Ok(Notice::Progress) => {}
                        Ok(_) | Err(RecvError::Lagged(_)) => return,
                        // Not before the service itself is gone.
                        Err(RecvError::Closed) => std::future::pending().await,
                    }
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = changed => {}
            }
        }
    }

    /// One step; how long until the next at the latest.
    async fn channel_turn(&self) -> Duration {
        let chosen = match self.choose().await {
            Ok(chosen) => chosen,
            Err(error) => {
                tracing::error!("{}", chain(&error));
                return Duration::from_secs(channel::schedule::MAX_WAIT_S);
            }
        };
        let root = &self.shared.root;
        let now = Now {
            unix: clock(root),
            since_boot_s: host::uptime().as_secs(),
        };
        let conditions = Conditions {
            quiet: chosen.choice.quiet,
            utc_offset_s: night::utc_offset_s(root, now.unix.0),
            metered: chosen.choice.metered,
            allow_metered: false,
            wish: Wish::None,
        };
        let record = self.shared.record.lock().await.clone();
        let running = crate::state::slot_of_record(self.running().slot());
        let policy = policy(root);
        let (next, offer, told_no_more) = {
            let mut watch = lock(&self.shared.channel.watch);
            let told_no_more = watch.allowed(policy);
            let next = watch.next(&record, running, policy, &conditions, now);
            (next, watch.offer_now(now.since_boot_s).cloned(), told_no_more)
        };
        if told_no_more {
            self.notify(Notice::Changed);
        }
        match (next.action, offer) {
            (Action::Poll, _) => {
                if let Err(error) = self.look(&chosen).await {
                    tracing::warn!("looking for updates: {}", chain(&error));
                }
                // What to do with it is the next turn's matter.
                return Duration::ZERO;
            }
            (Action::Download, Some(offer)) => self.begin(&offer, now.since_boot_s).await,
            // The machine restarts what is staged.
            _ => self.measure_available(&chosen, now.since_boot_s).await,
        }
        Duration::from_secs(next.again_in_s)
    }

    /// What is chosen now; when that is another channel than before, what is known of it is read.
    async fn choose(&self) -> Result<Chosen, ServiceError> {
        let this = self.clone();
        let work = move || {
            let chosen = this.shared.config.channel.with_owners(&this.shared.root);
            // Held over both: nobody files what is known of the one under the other.
            let mut watch = lock(&this.shared.channel.watch);
            let another = watch.chosen(&chosen);
            if another {
                let known = this.shared.journal.channel(chosen.choice.name.as_str());
                // Without it the channel begins anew; an index that expired is refused all the same.
                let known = known.unwrap_or_else(|error| {
                    tracing::error!("{}", chain(&error));
                    None
                });
                watch.remember(known);
            }
            drop(watch);
            if another {
                this.notify(Notice::Changed);
            }
            chosen
        };
        blocking("reading which channel is chosen", work).await
    }

    async fn look(&self, chosen: &Chosen) -> Result<(), ServiceError> {
        let shared = &self.shared;
        let _one_at_a_time = shared.channel.looking.lock().await;
        let url = chosen.choice.index_url().unwrap_or_default();
        let seen_serial = {
            let watch = lock(&shared.channel.watch);
            if !watch.is_of(&url) {
                return Err(chosen_meanwhile());
            }
            watch.seen_serial()
        };
        let record = shared.record.lock().await.clone();
        let this_box = ThisBox {
            compatible: self.compatible(),
            version: shared.facts.version.clone(),
            floor: record.floor,
            failed: record.failed.iter().map(|f| f.manifest_hash).collect(),
            seen_serial,
        };
        let (root, choice) = (shared.root.clone(), chosen.choice.clone());
        let looked = blocking("looking for updates", move || look(&root, &choice, &this_box)).await;
        let outcome = match looked {
            Ok(Ok(answer)) => self.take(chosen, answer).await,
            Ok(Err(error)) => Err(error.into()),
            Err(error) => Err(error),
        };
        if let Err(error) = &outcome {
            let since_boot_s = host::uptime().as_secs();
            lock(&shared.channel.watch).failed(&url, error.to_string(), since_boot_s);
        }
        self.notify(Notice::Changed);
        outcome
    }

    /// Does what an answer says, unless another channel was chosen meanwhile.
    async fn take(&self, chosen: &Chosen, answer: Answer) -> Result<(), ServiceError> {
        let withdrawn = {
            let watch = lock(&self.shared.channel.watch);
            if !watch.is_of(&answer.known.url) {
                return Err(chosen_meanwhile());
            }
            watch.withdrawn(&answer)
        };
        // First: what is not listed any more is forgotten with the answer.
        self.withdraw(&withdrawn).await?;
        let answer = self.keep(chosen, answer).await?;
        lock(&self.shared.channel.watch).answered(answer, host::uptime().as_secs());
        Ok(())
    }

    /// Nothing is begun because of an index whose serial could be forgotten.
    async fn keep(&self, chosen: &Chosen, mut answer: Answer) -> Result<Answer, ServiceError> {
        let (this, name) = (self.clone(), chosen.choice.name.clone());
        lock(&self.shared.channel.watch).complete(&mut answer.known);
        let work = move || {
            this.shared.journal.keep_channel(name.as_str(), &answer.known)?;
            Ok(answer)
        };
        blocking("writing the journal", work).await?
    }

    /// Keeps what is known of the channel now.
    async fn keep_known(&self) {
        let _no_look_meanwhile = self.shared.channel.looking.lock().await;
        let Some((name, known)) = lock(&self.shared.channel.watch).to_keep() else {
            return;
        };
        let this = self.clone();
        let work = move || this.shared.journal.keep_channel(name.as_str(), &known);
        let kept = blocking("writing the journal", work).await;
        if let Err(error) = kept.and_then(|kept| Ok(kept?)) {
            tracing::error!("{}", chain(&error));
        }
    }

    /// A slot is about to be written: what was measured is not so any more.
    pub(super) fn slots_change(&self) {
        if lock(&self.shared.channel.watch).slots_change() {
            let this = self.clone();
            // Not awaited: who looks at the channel may wait for the record, which the caller holds.
            tokio::spawn(async move { this.keep_known().await });
        }
    }

    /// What is available and was not measured yet, if it may be asked for now.
    pub(super) fn unmeasured(&self, record: &Record, since_boot_s: u64) -> Option<Unmeasured> {
        lock(&self.shared.channel.watch).unmeasured(record, &self.shared.facts.version, since_boot_s)
    }

    /// What came of measuring it.
    pub(super) async fn measured(&self, hash: ManifestHash, bytes: Option<u64>) {
        let keep = {
            let mut watch = lock(&self.shared.channel.watch);
            match bytes {
                Some(bytes) => watch.measured(hash, bytes),
                None => {
                    watch.not_measured(hash, host::uptime().as_secs());
                    false
                }
            }
        };
        if keep {
            self.keep_known().await;
        }
    }

    /// What the publisher takes back is not started, whoever installed it: a person chose it while it was offered.
    async fn withdraw(&self, withdrawn: &[ManifestHash]) -> Result<(), ServiceError> {
        let mut record = self.shared.record.lock().await;
        let Some(hash) = under_way(&record).filter(|hash| withdrawn.contains(hash)) else {
            return Ok(());
        };
        tracing::warn!("the bundle {hash} was withdrawn from the channel; it is not started");
        match self.advance_locked(&mut record, Event::TakenBack).await {
            // It runs already.
            Err(ServiceError::Refused(why)) => {
                tracing::error!("{why}");
                Ok(())
            }
            done => done,
        }
    }

    /// Installs what is offered, as if a person had asked for it; it starts in the night.
    async fn begin(&self, offer: &Offer, since_boot_s: u64) {
        let options = InstallOptions {
            when: When::Tonight,
            require_manifest_hash: Some(offer.hash),
            transaction: Some(TRANSACTION.into()),
            ..InstallOptions::default()
        };
        let source = Source::Https(offer.source.clone());
        match self.install(source, options, Access::default()).await {
            // It was not begun: in a moment it may be.
            Err(ServiceError::Refused(why)) => tracing::debug!("not now: {why}"),
            // A person sees why; what is free then is looked at again.
            Err(ServiceError::NoRoom(problem)) => {
                tracing::warn!("{}", chain(&problem));
                let sentence = format!(
                    "Nothing is installed: {}, then it goes on by itself.",
                    problem.to_be_mended()
                );
                lock(&self.shared.channel.watch).held_up(offer.hash, sentence, since_boot_s);
                self.notify(Notice::Changed);
            }
            begun => {
                lock(&self.shared.channel.watch).began(offer.hash, since_boot_s);
                if let Err(error) = begun {
                    tracing::error!("{}", chain(&error));
                }
            }
        }
    }

    /// What the start of an installed version waits for, if it does.
    pub(super) fn start_waits(&self, problem: Option<NoRoom>) {
        let sentence = problem.map(|problem| {
            format!(
                "The installed version is not started: {}, then it starts in the night by itself.",
                problem.to_be_mended()
            )
        });
        if lock(&self.shared.channel.watch).start_waits(sentence.clone()) {
            if let Some(sentence) = sentence {
                tracing::warn!("{sentence}");
            }
            self.notify(Notice::Changed);
        }
    }

    /// A person gave this up.
    pub(super) fn leave_alone(&self, hash: ManifestHash) {
        lock(&self.shared.channel.watch).leave_alone(hash);
    }

    /// For people.
    pub(super) fn channel_view(&self, record: &Record) -> View {
        lock(&self.shared.channel.watch).view(record, &self.shared.facts.version)
    }

    /// The next night's start: at the configured hour, or when the quiet hours begin where they do not hold it.
    pub(super) fn tonight(&self, now_unix_s: u64, utc_offset_s: i32) -> u64 {
        let quiet = self
            .shared
            .config
            .channel
            .with_owners(&self.shared.root)
            .choice
            .quiet;
        crate::channel::watch::tonight(quiet, self.shared.config.night_hour, now_unix_s, utc_offset_s)
    }
}

fn chosen_meanwhile() -> ServiceError {
    EngineError::new(
        EngineErrorKind::Unreachable,
        "Another channel was chosen meanwhile. Look for updates again.",
    )
    .into()
}

/// What the owner said in the setup; before it, and where that cannot be read, nothing is done by itself.
fn policy(root: &Root) -> UpdatePolicy {
    let read = || -> std::io::Result<String> {
        use std::io::Read;
        let mut text = String::new();
        std::fs::File::open(root.path(SETTINGS))?
            .take(MAX_SETTINGS)
            .read_to_string(&mut text)?;
        Ok(text)
    };
    let settings = read().ok().and_then(|text| Settings::parse(&text).ok());
    settings
        .filter(|settings| settings.provisioned)
        .map_or(UpdatePolicy::Manual, |settings| settings.update_policy)
}
