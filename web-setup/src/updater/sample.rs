//! A made-up appliance's updates in every state, for tests and for the developer's mode.

use ipc::updater::{
    Available, BundleStatus, HistoryEntry, Outcome, Phase, Progress, SlotStatus, Status, When,
};

/// A moment of the life of updates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scene {
    /// Nothing to install.
    Idle,
    /// The channel was never read.
    NeverChecked,
    /// The channel could not be read.
    CheckFailed,
    /// The channel has a version.
    Available,
    /// … that must not be put off.
    Critical,
    /// … that is not installed by itself before there is room.
    AvailableWaits,
    /// The signature of a bundle is checked; nothing is known of it yet.
    Checking,
    /// 43 % are in place.
    Downloading,
    /// What was written is read back.
    Verifying,
    /// The next restart starts it.
    Staged,
    /// Tonight.
    StagedTonight,
    /// Tonight, once there is room.
    StagedWaits,
    /// The restart into it is under way.
    Restarting,
    /// It runs and has to prove itself.
    Trying,
    /// It proved itself.
    Good,
    /// … and the one before must not come back.
    GoodWithdrawn,
    /// It did not; the restart into the old one is under way.
    GoingBack,
    /// It did not; the old one runs.
    RolledBack,
    /// It did not; the old one runs, and the channel has a newer one.
    RolledBackWithNewer,
    /// It did not; it came from a stick, no channel has it.
    RolledBackFromStick,
    /// It did not, and there is no other.
    Unhealthy,
    /// An installation came to nothing.
    Failed,
}

impl Scene {
    /// Every variant, with a name for screenshots.
    pub const ALL: [(&'static str, Self); 22] = [
        ("idle", Self::Idle),
        ("never-checked", Self::NeverChecked),
        ("check-failed", Self::CheckFailed),
        ("available", Self::Available),
        ("critical", Self::Critical),
        ("available-waits", Self::AvailableWaits),
        ("checking", Self::Checking),
        ("downloading", Self::Downloading),
        ("verifying", Self::Verifying),
        ("staged", Self::Staged),
        ("staged-tonight", Self::StagedTonight),
        ("staged-waits", Self::StagedWaits),
        ("restarting", Self::Restarting),
        ("trying", Self::Trying),
        ("good", Self::Good),
        ("good-withdrawn", Self::GoodWithdrawn),
        ("going-back", Self::GoingBack),
        ("rolled-back", Self::RolledBack),
        ("rolled-back-newer", Self::RolledBackWithNewer),
        ("rolled-back-stick", Self::RolledBackFromStick),
        ("unhealthy", Self::Unhealthy),
        ("failed", Self::Failed),
    ];
}

/// A hash of 64 digits that begins with `start`.
pub fn hash(start: &str) -> String {
    format!("{start:0<64}")
}

/// The version that runs before an update, which came with the image.
pub const OLD: &str = "0.1.0";
/// The version that the channel has.
pub const NEW: &str = "0.2.0";
/// Where the channel has it.
pub const SOURCE: &str = "https://updates.example.org/stable/hearth-0.2.0.raucb";
const NEW_BYTES: u64 = 58_412_032;
/// What the new version says of itself.
pub const DESCRIPTION: &str = "This version makes the box quicker after a power cut and keeps the Wi-Fi steady.\n\n\
    - Starts in half the time when the data partition was not closed cleanly\n\
    - Wi-Fi comes back by itself after the router was restarted\n\
    - The overview shows the temperature of NVMe disks\n\n\
    Security: Linux 6.12.48 with the fixes of the last month.";

/// The new version.
pub fn bundle() -> BundleStatus {
    BundleStatus {
        version: NEW.into(),
        description: DESCRIPTION.into(),
        build: "20261119".into(),
        manifest_hash: hash("7f3a"),
        size_bytes: NEW_BYTES,
    }
}

fn available(critical: bool) -> Available {
    Available {
        version: NEW.into(),
        description: DESCRIPTION.into(),
        source: SOURCE.into(),
        manifest_hash: hash("7f3a"),
        size_bytes: NEW_BYTES,
        download_bytes: Some(11_730_944),
        channel: "stable".into(),
        published_unix_s: Some(1_795_086_000),
        critical,
        failed_before: None,
    }
}

fn slot(name: &str, running: bool) -> SlotStatus {
    SlotStatus {
        slot: name.into(),
        running,
        primary: running,
        tries_left: 3,
        good: running,
        complete: running,
        bundle: None,
        installed_unix_s: None,
    }
}

/// The status of a scene at `now` (seconds since 1970).
pub fn status(scene: Scene, now: u64) -> Status {
    let mut status = Status {
        phase: Phase::Idle,
        version: OLD.into(),
        compatible: "hearth-raspberry-pi".into(),
        bundle: None,
        source: None,
        progress: None,
        starts: None,
        starts_unix_s: None,
        reason: None,
        last_error: None,
        minimum_version: None,
        can_roll_back: false,
        withdrawn: false,
        slots: vec![slot("a", true), slot("b", false)],
        available: None,
        checked_unix_s: Some(now.saturating_sub(5400)),
        check_error: None,
        waits_for: None,
    };
    match scene {
        Scene::Idle => {}
        Scene::NeverChecked => status.checked_unix_s = None,
        Scene::CheckFailed => {
            status.check_error =
                Some("updates.example.org did not answer for 30 seconds; check the network cable".into());
        }
        Scene::Available => status.available = Some(available(false)),
        Scene::Critical => {
            let mut critical = available(true);
            critical.download_bytes = None;
            status.available = Some(critical);
        }
        Scene::AvailableWaits => {
            status.available = Some(available(false));
            status.waits_for = Some(no_room("Nothing is installed", "it goes on by itself"));
        }
        Scene::Failed => {
            status.available = Some(available(false));
            status.last_error =
                Some("the bundle is made for hearth-pc-x86_64, and this box is hearth-raspberry-pi".into());
        }
        Scene::Checking | Scene::Downloading | Scene::Verifying => installing(&mut status, scene),
        Scene::Staged | Scene::StagedTonight | Scene::StagedWaits => staged(&mut status, scene, now),
        Scene::Restarting | Scene::Trying | Scene::Good | Scene::GoodWithdrawn => {
            tried(&mut status, scene, now)
        }
        Scene::GoingBack
        | Scene::RolledBack
        | Scene::RolledBackWithNewer
        | Scene::RolledBackFromStick
        | Scene::Unhealthy => failed(&mut status, scene, now),
    }
    status
}

fn installing(status: &mut Status, scene: Scene) {
    status.phase = if scene == Scene::Verifying {
        Phase::Verifying
    } else {
        Phase::Downloading
    };
    status.source = Some(SOURCE.into());
    if scene == Scene::Checking {
        status.progress = Some(Progress::default());
        return;
    }
    status.bundle = Some(bundle());
    status.progress = Some(Progress {
        done_bytes: NEW_BYTES / 100 * 43 + 1000,
        total_bytes: NEW_BYTES,
        fetched_bytes: 8_400_000,
        seconds_left: Some(130),
    });
}

fn staged(status: &mut Status, scene: Scene, now: u64) {
    status.phase = Phase::Staged;
    status.bundle = Some(bundle());
    status.slots[1].bundle = Some(bundle());
    status.slots[1].complete = true;
    status.slots[1].installed_unix_s = Some(now.saturating_sub(600));
    if scene == Scene::Staged {
        status.starts = Some(When::Reboot);
        status.slots[1].primary = true;
        status.slots[0].primary = false;
    } else {
        status.starts = Some(When::Tonight);
        status.starts_unix_s = Some(now + 6 * 3600);
    }
    if scene == Scene::StagedWaits {
        // The night passed.
        status.starts_unix_s = Some(now.saturating_sub(3600));
        let waits = no_room(
            "The installed version is not started",
            "it starts in the night by itself",
        );
        status.waits_for = Some(waits);
    }
}

fn no_room(what: &str, then: &str) -> String {
    format!(
        "{what}: the data partition has only 3.1 MB free, and a new version needs 8.4 MB there to pass its health check; \
         delete what you do not need, then {then}."
    )
}

/// Into slot b.
fn tried(status: &mut Status, scene: Scene, now: u64) {
    staged(status, Scene::Staged, now);
    status.starts = None;
    status.phase = Phase::Trying;
    if scene == Scene::Restarting {
        return;
    }
    status.version = NEW.into();
    status.slots[0].running = false;
    status.slots[1].running = true;
    if matches!(scene, Scene::Good | Scene::GoodWithdrawn) {
        status.withdrawn = scene == Scene::GoodWithdrawn;
        status.can_roll_back = !status.withdrawn;
        status.phase = Phase::Good;
        status.slots[1].good = true;
    }
}

fn failed(status: &mut Status, scene: Scene, now: u64) {
    tried(status, Scene::Trying, now);
    status.phase = Phase::RolledBack;
    status.reason = Some(
        "hearth-web.service did not answer on port 80 for two minutes after the start of version 0.2.0."
            .into(),
    );
    let mut known = available(false);
    known.failed_before = status.reason.clone();
    status.available = Some(known);
    if scene == Scene::Unhealthy {
        status.phase = Phase::Unhealthy;
        status.slots[0].complete = false;
        return;
    }
    status.slots[0].primary = true;
    status.slots[1].primary = false;
    status.slots[1].tries_left = 0;
    if scene == Scene::GoingBack {
        return;
    }
    status.version = OLD.into();
    status.slots[0].running = true;
    status.slots[1].running = false;
    match scene {
        Scene::RolledBackFromStick => status.available = None,
        Scene::RolledBackWithNewer => {
            let mut newer = available(false);
            newer.version = "0.2.1".into();
            newer.manifest_hash = hash("c0de");
            newer.description = "Mends the start of the web pages in version 0.2.0.".into();
            status.available = Some(newer);
        }
        _ => {}
    }
}

/// One line of each outcome, oldest first, the last a few minutes before `now`.
pub fn history(now: u64) -> Vec<HistoryEntry> {
    let line = |minutes: u64, outcome, version: &str, slot: &str, sentence: &str| HistoryEntry {
        unix_s: now.saturating_sub(minutes * 60),
        outcome,
        version: version.into(),
        slot: slot.into(),
        sentence: sentence.into(),
    };
    vec![
        line(
            90_000,
            Outcome::JournalLost,
            "",
            "",
            "The updater's notes could not be read and were begun anew.",
        ),
        line(
            80_000,
            Outcome::Installed,
            "0.0.9",
            "a",
            "Version 0.0.9 was installed into slot a.",
        ),
        line(
            79_990,
            Outcome::Good,
            "0.0.9",
            "a",
            "Version 0.0.9 proved itself.",
        ),
        line(
            60_020,
            Outcome::Failed,
            "0.1.0",
            "b",
            "The installation of version 0.1.0 came to nothing: the server broke the connection eight times.",
        ),
        line(
            60_000,
            Outcome::Cancelled,
            "0.1.0",
            "b",
            "The installation of version 0.1.0 was cancelled.",
        ),
        line(
            40_010,
            Outcome::Installed,
            "0.1.0",
            "b",
            "Version 0.1.0 was installed into slot b.",
        ),
        line(
            40_000,
            Outcome::Good,
            "0.1.0",
            "b",
            "Version 0.1.0 proved itself.",
        ),
        line(
            30_000,
            Outcome::WentBack,
            "0.1.0",
            "b",
            "A person went back from version 0.1.0 to the one before.",
        ),
        line(
            20_000,
            Outcome::Marked,
            "0.1.0",
            "b",
            "Slot b was marked bad by hand.",
        ),
        line(
            9_000,
            Outcome::Unhealthy,
            "0.1.1",
            "b",
            "Version 0.1.1 is not well, and there is no other to go back to.",
        ),
        line(
            20,
            Outcome::Installed,
            "0.2.0",
            "b",
            "Version 0.2.0 was installed into slot b.",
        ),
        line(
            9,
            Outcome::RolledBack,
            "0.2.0",
            "b",
            "hearth-web.service did not answer on port 80 for two minutes after the start of version 0.2.0.",
        ),
    ]
}
