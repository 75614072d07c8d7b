//! `org.hearth.Updater1`: what is installed, installing, going back.
//!
//! Only root and the group `hearth` may call it (bus policy). Methods, in D-Bus signatures:
//!
//! | method | in → out | notes |
//! |---|---|---|
//! | `Status` | → `s` ([`Status`] as JSON) | |
//! | `History` | → `s` (list of [`HistoryEntry`] as JSON, oldest first) | |
//! | `Inspect` | `sa{sv}` (source, options) → `s` (JSON) | reads and verifies a bundle, installs nothing |
//! | `Install` | `sa{sv}` (source, options) → | returns once it has begun; see [`options`] |
//! | `Cancel` | → | gives up an installation, or one that waits for its restart |
//! | `Activate` | `s` ([`When`]) → | of what is installed and waits |
//! | `Rollback` | → | to the other slot, with a restart; `NotNow` when its rollback index is too low |
//! | `Downgrade` | → | the same, also then: what is there was withdrawn, for instance because of a hole in it |
//! | `Mark` | `ss` (`good`, `bad` or `active`; `booted`, `other`, `a` or `b`) → `ss` (slot, sentence) | |
//! | [`CHECK`] | → | looks at the channel now; `SourceUnavailable` when it cannot be read |
//!
//! A source is an absolute path of a file (or `file://…`), an `https://` address, or [`USB_SOURCE`].
//!
//! Properties: `State s` (the name of [`Phase`]), `Operation s` (`idle` or `installing`), `Progress (tttt)`: bytes done,
//! bytes in all, bytes fetched from outside, seconds left ([`UNKNOWN`] when not known yet), `LastError s`.
//! Signals: `StateChanged(s)` with the new [`Status`] as JSON, `Completed(is)`: 0 or 1, and a sentence.

use serde::{Deserialize, Serialize};

/// Well-known name.
pub const BUS_NAME: &str = "org.hearth.Updater1";
/// Object path.
pub const OBJECT: &str = "/org/hearth/Updater1";
/// Interface.
pub const INTERFACE: &str = "org.hearth.Updater1";
/// Prefix of our error names; callers branch on [`WireError`].
pub const ERROR_PREFIX: &str = "org.hearth.Error.";
/// The source that means: the bundle on a USB stick labelled `HEARTH`.
pub const USB_SOURCE: &str = "usb";
/// The method that looks at the channel now; returns once [`Status::available`] says what it found. An updater without
/// channels does not have it.
pub const CHECK: &str = "Check";
/// A number of the `Progress` property that is not known yet.
pub const UNKNOWN: u64 = u64::MAX;

/// Keys of `Install`'s options; any other is refused.
pub mod options {
    /// `b`: also a bundle that failed before.
    pub const FORCE: &str = "force";
    /// `b`: also a version that is older than one that was good here, and one with a lower rollback index.
    pub const ALLOW_DOWNGRADE: &str = "allow-downgrade";
    /// `s`: a [`When`](super::When); `reboot` unless given.
    pub const WHEN: &str = "when";
    /// `s`: only the bundle whose manifest has this SHA-256, in hexadecimal.
    pub const REQUIRE_MANIFEST_HASH: &str = "require-manifest-hash";
    /// `s`: a name for this installation, kept in the status of the slot.
    pub const TRANSACTION_ID: &str = "transaction-id";
}

/// When the new system is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// Restart as soon as it is installed.
    Now,
    /// The next restart, whenever that is, starts it.
    #[default]
    Reboot,
    /// Restart in the next quiet hour.
    Tonight,
}

impl When {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::Now, Self::Reboot, Self::Tonight];

    /// As on the bus and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Now => "now",
            Self::Reboot => "reboot",
            Self::Tonight => "tonight",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|when| when.name() == name)
    }
}

/// Errors that callers branch on; the D-Bus name is [`ERROR_PREFIX`] and the variant's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// Another installation is under way, or one waits for its restart.
    Busy,
    /// Not possible in this state; the message says why and what to do.
    NotNow,
    /// An argument is not acceptable; the message says which and why.
    InvalidArgument,
    /// The bundle is not accepted; the message says why and what to do.
    BundleRefused,
    /// The source cannot be read at the moment.
    SourceUnavailable,
    /// The updater's journal or the boot state cannot be written.
    StorageUnavailable,
    /// Anything else; details are in the journal.
    Failed,
}

impl WireError {
    /// Every variant, for looking one up by name.
    pub const ALL: [Self; 7] = [
        Self::Busy,
        Self::NotNow,
        Self::InvalidArgument,
        Self::BundleRefused,
        Self::SourceUnavailable,
        Self::StorageUnavailable,
        Self::Failed,
    ];

    /// The last part of the D-Bus error name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "Busy",
            Self::NotNow => "NotNow",
            Self::InvalidArgument => "InvalidArgument",
            Self::BundleRefused => "BundleRefused",
            Self::SourceUnavailable => "SourceUnavailable",
            Self::StorageUnavailable => "StorageUnavailable",
            Self::Failed => "Failed",
        }
    }

    /// From a whole D-Bus error name; anything unknown is [`WireError::Failed`].
    pub fn from_bus_name(name: &str) -> Self {
        let short = name.strip_prefix(ERROR_PREFIX).unwrap_or_default();
        Self::ALL
            .into_iter()
            .find(|e| e.name() == short)
            .unwrap_or(Self::Failed)
    }
}

/// What the updater is doing, or did last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Nothing.
    Idle,
    /// A bundle is checked, fetched and written.
    Downloading,
    /// What was written is read back.
    Verifying,
    /// Installed; waits for its start.
    Staged,
    /// The new system is being started, or runs and has to prove itself.
    Trying,
    /// The new system proved itself.
    Good,
    /// The new system did not prove itself; the old one runs again, or is being started.
    RolledBack,
    /// The new system did not prove itself, and there is no other to go back to.
    Unhealthy,
}

impl Phase {
    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Downloading => "downloading",
            Self::Verifying => "verifying",
            Self::Staged => "staged",
            Self::Trying => "trying",
            Self::Good => "good",
            Self::RolledBack => "rolled-back",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// A bundle, as people know it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BundleStatus {
    /// Version, empty when the bundle names none.
    pub version: String,
    /// What changed, empty when the bundle does not say.
    pub description: String,
    /// Build, empty when the bundle names none.
    pub build: String,
    /// SHA-256 of the manifest, in hexadecimal.
    pub manifest_hash: String,
    /// Bytes of the whole bundle.
    pub size_bytes: u64,
}

/// What the channel offers and this box does not run yet. Stored: a newer updater may have written more keys into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Available {
    /// Version.
    pub version: String,
    /// What changed: plain text, empty when the channel does not say.
    pub description: String,
    /// What `Install` takes as its source, see the table above.
    pub source: String,
    /// SHA-256 of the manifest, in hexadecimal: what `Install` is told to require.
    pub manifest_hash: String,
    /// Bytes of the whole bundle.
    pub size_bytes: u64,
    /// Bytes that this box lacks and would fetch; none while that is not known.
    pub download_bytes: Option<u64>,
    /// Name of the channel, such as `stable`.
    pub channel: String,
    /// When it was published, in seconds since 1970.
    pub published_unix_s: Option<u64>,
    /// It closes a hole that is being used, or saves data: not to be put off.
    pub critical: bool,
    /// It was tried on this box and did not work: a sentence. Then it is installed only with [`options::FORCE`].
    pub failed_before: Option<String>,
}

/// How far an installation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// Bytes of the new system that are in place, or read back.
    pub done_bytes: u64,
    /// Bytes of the new system; 0 while not known.
    pub total_bytes: u64,
    /// Bytes that were fetched from the source so far.
    pub fetched_bytes: u64,
    /// Seconds that the rest will take, when that can be told.
    pub seconds_left: Option<u64>,
}

/// One slot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SlotStatus {
    /// `a` or `b`.
    pub slot: String,
    /// It runs.
    pub running: bool,
    /// The next start tries it first.
    pub primary: bool,
    /// Starts that may still fail.
    pub tries_left: u8,
    /// It was marked good since it was installed.
    pub good: bool,
    /// Nothing is being written into it.
    pub complete: bool,
    /// What is in it, when the updater put it there (or it runs).
    pub bundle: Option<BundleStatus>,
    /// When it was installed, in seconds since 1970.
    pub installed_unix_s: Option<u64>,
}

/// Everything at a glance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Status {
    /// What is going on.
    pub phase: Phase,
    /// Version of the system that runs.
    pub version: String,
    /// What a bundle must be made for.
    pub compatible: String,
    /// The bundle that `phase` is about.
    pub bundle: Option<BundleStatus>,
    /// Where it comes from, while it is being installed.
    pub source: Option<String>,
    /// How far, in `downloading` and `verifying`.
    pub progress: Option<Progress>,
    /// When an installed system is started: in `staged`.
    pub starts: Option<When>,
    /// … at this time, in seconds since 1970, for `tonight`.
    pub starts_unix_s: Option<u64>,
    /// Why it was rolled back, or is unhealthy: a sentence.
    pub reason: Option<String>,
    /// Why the last installation came to nothing: a sentence.
    pub last_error: Option<String>,
    /// No older version is installed unless that is asked for.
    pub minimum_version: Option<String>,
    /// A `rollback` is possible now.
    pub can_roll_back: bool,
    /// The other slot holds a good version that must not come back (its rollback index is too low): only `Downgrade` goes
    /// there.
    pub withdrawn: bool,
    /// Slot a and slot b.
    pub slots: Vec<SlotStatus>,
    /// What the channel offers; none when that is what runs, or nothing is known of it.
    pub available: Option<Available>,
    /// When the channel was last read with success, in seconds since 1970.
    pub checked_unix_s: Option<u64>,
    /// Why the channel could not be read the last time: a sentence.
    pub check_error: Option<String>,
    /// What has to be done before an installed version can start in the night, or before one that is available is installed
    /// by itself: a sentence.
    pub waits_for: Option<String>,
}

/// What became of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// Written and read back.
    Installed,
    /// The new system proved itself.
    Good,
    /// Back on the old system by itself.
    RolledBack,
    /// The new system is not well and there is no other.
    Unhealthy,
    /// The installation came to nothing.
    Failed,
    /// It was given up before it was started: by a person, or by its publisher.
    Cancelled,
    /// A person went back to the other slot.
    WentBack,
    /// A person marked a slot.
    Marked,
    /// The updater's own notes were lost.
    JournalLost,
}

/// One line of the history. Stored: a newer updater may have written more keys into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryEntry {
    /// When, in seconds since 1970, as the box knew it.
    pub unix_s: u64,
    /// What.
    pub outcome: Outcome,
    /// Version it is about, empty when not known.
    pub version: String,
    /// The slot it is about: `a`, `b` or empty.
    pub slot: String,
    /// A sentence for a person.
    pub sentence: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_back_to_what_they_name() {
        for when in When::ALL {
            assert_eq!(When::from_name(when.name()), Some(when));
        }
        for error in WireError::ALL {
            let name = format!("{ERROR_PREFIX}{}", error.name());
            assert_eq!(WireError::from_bus_name(&name), error);
        }
        assert_eq!(WireError::from_bus_name("org.example.Busy"), WireError::Failed);
    }
}
