//! Reads the index of a channel and says what it has for this box.

use channel::{Decision, Device, DeviceId, MAX_FILE, Refusal, Release, Trust, UnixTime, decide, open};
use ipc::updater::Available;
use ipc::updater_version::Version;
use os_io::root::Root;

use super::trust;
use super::watch::{Known, Offer};
use super::{Choice, TRANSACTION};
use crate::engine::{EngineError, EngineErrorKind, ManifestHash};
use crate::install::https::{Options, fetch_whole};
use crate::install::open::{authorities, chain, clock, https_error};
use crate::state::{Activation, Record, State};

const MACHINE_ID: &str = "/etc/machine-id";

/// The box, as far as a channel matters.
#[derive(Debug, Clone)]
pub struct ThisBox {
    /// What it takes bundles for.
    pub compatible: String,
    /// Version of the system that runs.
    pub version: String,
    /// Nothing older is installed by itself.
    pub floor: Option<Version>,
    /// What is not tried again by itself.
    pub failed: Vec<ManifestHash>,
    /// The highest serial of this channel so far.
    pub seen_serial: Option<u64>,
}

/// What an index says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// To be remembered over restarts.
    pub known: Known,
    /// What may be installed now.
    pub offer: Option<Offer>,
    /// Why there is nothing for this box: a sentence.
    pub remark: Option<String>,
    /// Revocation lists in it.
    pub crls: Option<String>,
    /// Releases that are offered to nobody any more.
    pub stopped: Vec<ManifestHash>,
    /// All that it has for this board; none when it does not know the board.
    pub listed: Option<Vec<ManifestHash>>,
}

/// Fetches the index, checks it and judges it; keeps its revocation lists. Blocks.
pub fn look(root: &Root, choice: &Choice, this: &ThisBox) -> Result<Answer, EngineError> {
    let url = choice
        .index_url()
        .ok_or_else(|| unreadable("There is no channel."))?;
    let options = Options::new(&url, authorities(root)?);
    let file = fetch_whole(&options, MAX_FILE).map_err(https_error)?;
    let machine_id = std::fs::read_to_string(root.path(MACHINE_ID)).unwrap_or_default();
    let id = DeviceId::from_machine_id(&machine_id);
    let answer = judge(&file, &trust::read(root)?, clock(root), choice, &url, this, id)?;
    if let Some(lists) = &answer.crls {
        trust::keep(root, lists).map_err(|error| EngineError {
            kind: EngineErrorKind::Storage,
            sentence: "The channel's list of revoked keys cannot be kept; free some space on the data partition or restart the box.".into(),
            source: Some(Box::new(error)),
        })?;
    }
    Ok(answer)
}

/// What the bytes of an index say; an index that is refused as a whole is an error.
pub fn judge(
    file: &[u8],
    trust: &Trust,
    now: UnixTime,
    choice: &Choice,
    url: &str,
    this: &ThisBox,
    id: DeviceId,
) -> Result<Answer, EngineError> {
    let opened =
        open(file, trust, now, &choice.name).map_err(|error| unreadable(&capital(&chain(&error))))?;
    let index = opened.index;
    let failed: Vec<[u8; 32]> = this.failed.iter().map(|hash| hash.0).collect();
    let device = Device {
        compatible: &this.compatible,
        version: &this.version,
        id,
        minimum_version: this.floor.as_ref(),
        failed: &failed,
    };
    let mut available = None;
    let mut offer = None;
    let mut remark = None;
    let shown = |release: &Release| shown(release, url, choice);
    match decide(&index, &device, now, this.seen_serial) {
        Decision::Offered { release, .. } => {
            available = Some(shown(release));
            offer = Some(Offer {
                source: release.bundle.resolve(url),
                hash: ManifestHash(release.manifest_hash),
                critical: release.critical,
            });
        }
        Decision::Refused(refusal) if refusal.is_about_the_index() => {
            return Err(unreadable(&capital(&refusal.to_string())));
        }
        // A person may still want it.
        Decision::Refused(Refusal::Failed { version }) => {
            let releases = index
                .compatible(&this.compatible)
                .map_or(&[][..], |c| &c.releases);
            available = releases.iter().find(|r| r.version == version).map(shown);
        }
        Decision::Refused(refusal) => remark = Some(capital(&chain(&refusal))),
        Decision::UpToDate | Decision::NotYet { .. } | Decision::Stopped { .. } => {}
    }
    let all = index.compatibles.iter().flat_map(|c| &c.releases);
    let stopped = all
        .filter(|r| r.stopped)
        .map(|r| ManifestHash(r.manifest_hash))
        .collect();
    let listed = index.compatible(&this.compatible);
    let listed = listed.map(|c| c.releases.iter().map(|r| ManifestHash(r.manifest_hash)).collect());
    Ok(Answer {
        known: Known {
            serial: index.serial,
            checked_unix_s: now.0,
            url: url.into(),
            available,
        },
        offer,
        remark,
        crls: index.crls,
        stopped,
        listed,
    })
}

fn shown(release: &Release, url: &str, choice: &Choice) -> Available {
    Available {
        version: release.version.to_string(),
        description: release.description.clone(),
        source: release.bundle.resolve(url),
        manifest_hash: ManifestHash(release.manifest_hash).to_string(),
        size_bytes: release.size_bytes,
        download_bytes: None,
        channel: choice.name.to_string(),
        published_unix_s: Some(release.published.0),
        critical: release.critical,
        failed_before: None,
    }
}

/// What the box installs by itself and has not started yet, if a person did not say when to start it.
pub fn under_way_by_itself(record: &Record) -> Option<ManifestHash> {
    let by_itself = |name: &Option<String>| name.as_deref() == Some(TRANSACTION);
    match &record.state {
        State::Downloading { options, .. } | State::Verifying { options, .. } => options
            .require_manifest_hash
            .filter(|_| by_itself(&options.transaction)),
        State::Staged {
            target,
            bundle,
            activation: Activation::At(_),
            ..
        } => Some(bundle.manifest_hash).filter(|_| by_itself(&record.note(*target).transaction)),
        _ => None,
    }
}

/// What is being installed, or waits for its start, whoever wanted it. A person who goes back to a version that was good
/// here does not install it.
pub fn under_way(record: &Record) -> Option<ManifestHash> {
    match &record.state {
        State::Downloading { bundle, options, .. } => {
            let checked = bundle.as_ref().map(|bundle| bundle.manifest_hash);
            checked.or(options.require_manifest_hash)
        }
        State::Verifying { bundle, .. }
        | State::Staged {
            bundle,
            going_back: false,
            ..
        } => Some(bundle.manifest_hash),
        _ => None,
    }
}

fn unreadable(sentence: &str) -> EngineError {
    let end = if sentence.ends_with(['.', '?', '!']) {
        ""
    } else {
        "."
    };
    EngineError::new(EngineErrorKind::Unreachable, format!("{sentence}{end}"))
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters
        .next()
        .map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
