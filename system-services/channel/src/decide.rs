//! What an index has for this box.

use bundle::cms::UnixTime;
use ipc::updater_version::{Version, VersionError};
use sha2::{Digest, Sha256};

use crate::date;
use crate::index::{Index, Release, Wave};

/// A box has one of so many shares: 1 % of the boxes are 100 shares.
pub const SHARES: u16 = 10_000;
/// An index may be this much newer than the clock: clocks are not exact.
const MAX_AHEAD_S: u64 = 86_400;

/// Tells boxes apart for the waves. It never leaves the box: the box itself decides whether a wave has reached it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct DeviceId([u8; 32]);

impl DeviceId {
    /// From `/etc/machine-id`. What is kept is a hash for this purpose alone: machine-id(5) asks never to use the number
    /// itself outside of the machine, and nobody can tell from one program's number what another program's is.
    pub fn from_machine_id(machine_id: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"org.hearth.update-channel 1\0");
        hash.update(machine_id.trim().as_bytes());
        Self(hash.finalize().into())
    }

    /// From a hash that was made likewise.
    pub fn from_hash(hash: [u8; 32]) -> Self {
        Self(hash)
    }

    /// The box's place among all boxes for this release, 0 to [`SHARES`] - 1; another one for each release, so that not
    /// always the same people come first.
    pub fn share(&self, manifest_hash: &[u8; 32]) -> u16 {
        let mut hash = Sha256::new();
        hash.update(self.0);
        hash.update(manifest_hash);
        let digest: [u8; 32] = hash.finalize().into();
        let number = digest[..8]
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        // 2^64 is not a multiple of 10 000, but nearly one: the shares differ by less than one in 10^15.
        (number % u64::from(SHARES)) as u16
    }
}

/// The box, as far as it matters here.
#[derive(Clone, Copy)]
pub struct Device<'a> {
    /// What it takes bundles for.
    pub compatible: &'a str,
    /// Version of the system that runs.
    pub version: &'a str,
    /// Which box.
    pub id: DeviceId,
    /// Nothing older is installed by itself.
    pub minimum_version: Option<&'a Version>,
    /// Manifest hashes of bundles that failed here, or that a person went back from.
    pub failed: &'a [[u8; 32]],
}

/// What there is for the box.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision<'a> {
    /// Nothing newer.
    UpToDate,
    /// This.
    Offered {
        /// What.
        release: &'a Release,
        /// How far its waves are.
        wave: WaveInfo,
    },
    /// This, later.
    NotYet {
        /// What.
        release: &'a Release,
        /// When, if the waves stay as they are; none when no wave reaches this box yet.
        at: Option<UnixTime>,
    },
    /// There is something newer, but it was stopped.
    Stopped {
        /// What.
        release: &'a Release,
    },
    /// Nothing is done; a sentence says why.
    Refused(Refusal),
}

/// How far the waves of a release are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WaveInfo {
    /// So many percent of the boxes are offered it now.
    pub percent: u8,
    /// What comes next.
    pub next: Option<Wave>,
}

/// Why nothing is done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refusal {
    /// An older index than one that was seen: somebody may be replaying it.
    #[error(
        "the channel's index has the serial {serial}, but {seen} was seen already; the server shows an old one, nothing is installed from it"
    )]
    Replayed {
        /// Its serial.
        serial: u64,
        /// The highest so far.
        seen: u64,
    },
    /// Not renewed, or somebody holds newer ones back.
    #[error(
        "the channel's index expired on {}; the server has no newer one, or somebody holds it back (the clock says {})",
        date(*expires), date(*now)
    )]
    Expired {
        /// When.
        expires: UnixTime,
        /// The clock.
        now: UnixTime,
    },
    /// Made in what the box takes for the future.
    #[error("the channel's index is of {}, but the clock says {}; check the clock", date(*issued), date(*now))]
    FromTheFuture {
        /// When it says it was made.
        issued: UnixTime,
        /// The clock.
        now: UnixTime,
    },
    /// Nothing for this board.
    #[error("the channel has nothing for {compatible:?}; choose another channel")]
    UnknownCompatible {
        /// What the box is.
        compatible: String,
    },
    /// The running version cannot be compared.
    #[error("the running version cannot be compared with those of the channel")]
    Version(#[source] VersionError),
    /// It failed here before.
    #[error("version {version} was tried on this box and did not stay; it is not tried again by itself")]
    Failed {
        /// Which.
        version: Version,
    },
    /// A step in between is needed and not there.
    #[error(
        "version {version} can be installed from {upgrade_from} on, and the channel has no step in between; install one from a file"
    )]
    StepMissing {
        /// The newest.
        version: Version,
        /// What it needs.
        upgrade_from: Version,
    },
}

impl Refusal {
    /// True when the index as a whole was refused: neither its serial nor its revocation lists are to be kept.
    pub fn is_about_the_index(&self) -> bool {
        matches!(
            self,
            Self::Replayed { .. } | Self::Expired { .. } | Self::FromTheFuture { .. }
        )
    }
}

/// What `index` has for `device`: the newest release that may be installed now.
///
/// `seen_serial` is the highest serial of this channel that was accepted so far. Waves are steps: between two of them
/// nothing changes, so that a small first wave stays as small as it was meant.
pub fn decide<'a>(
    index: &'a Index,
    device: &Device<'_>,
    now: UnixTime,
    seen_serial: Option<u64>,
) -> Decision<'a> {
    if let Some(refusal) = stale(index, now, seen_serial) {
        return Decision::Refused(refusal);
    }
    let Some(compatible) = index.compatible(device.compatible) else {
        return Decision::Refused(Refusal::UnknownCompatible {
            compatible: device.compatible.into(),
        });
    };
    let running = match Version::parse(device.version) {
        Ok(version) => version,
        Err(error) => return Decision::Refused(Refusal::Version(error)),
    };
    let newer = |release: &&Release| {
        release.version > running
            && device
                .minimum_version
                .is_none_or(|minimum| release.version >= *minimum)
    };
    let mut candidates: Vec<&Release> = compatible.releases.iter().filter(newer).collect();
    candidates.sort_by(|a, b| b.version.cmp(&a.version));
    let mut best = Decision::UpToDate;
    for release in candidates {
        let decision = judge(release, &running, device, now);
        if matches!(decision, Decision::Offered { .. }) {
            return decision;
        }
        if rank(&decision) > rank(&best) {
            best = decision;
        }
    }
    best
}

fn stale(index: &Index, now: UnixTime, seen_serial: Option<u64>) -> Option<Refusal> {
    if let Some(seen) = seen_serial
        && index.serial < seen
    {
        return Some(Refusal::Replayed {
            serial: index.serial,
            seen,
        });
    }
    if index.issued.0 > now.0.saturating_add(MAX_AHEAD_S) {
        return Some(Refusal::FromTheFuture {
            issued: index.issued,
            now,
        });
    }
    (now >= index.expires).then_some(Refusal::Expired {
        expires: index.expires,
        now,
    })
}

/// Of several that cannot be had, the one that is told to a person: what comes by itself first, then the newest.
fn rank(decision: &Decision<'_>) -> u8 {
    match decision {
        Decision::NotYet { .. } => 2,
        Decision::UpToDate => 0,
        _ => 1,
    }
}

fn judge<'a>(release: &'a Release, running: &Version, device: &Device<'_>, now: UnixTime) -> Decision<'a> {
    if release.stopped {
        return Decision::Stopped { release };
    }
    if device.failed.contains(&release.manifest_hash) {
        return Decision::Refused(Refusal::Failed {
            version: release.version.clone(),
        });
    }
    if let Some(from) = &release.upgrade_from
        && running < from
    {
        return Decision::Refused(Refusal::StepMissing {
            version: release.version.clone(),
            upgrade_from: from.clone(),
        });
    }
    let at = release.reaches(device.id.share(&release.manifest_hash));
    match at {
        Some(at) if at <= now => Decision::Offered {
            release,
            wave: release.wave_at(now),
        },
        at => Decision::NotYet { release, at },
    }
}

impl Release {
    /// When its waves reach a box with this share; none when they do not.
    pub fn reaches(&self, share: u16) -> Option<UnixTime> {
        if self.waves.is_empty() {
            return Some(self.published);
        }
        let wave = self
            .waves
            .iter()
            .find(|wave| share < u16::from(wave.percent) * (SHARES / 100))?;
        Some(wave.from.max(self.published))
    }

    /// How far its waves are; 0 % before the first.
    pub fn wave_at(&self, now: UnixTime) -> WaveInfo {
        if now < self.published {
            return WaveInfo {
                percent: 0,
                next: self.waves.first().copied(),
            };
        }
        if self.waves.is_empty() {
            return WaveInfo {
                percent: 100,
                next: None,
            };
        }
        let begun = self.waves.iter().take_while(|wave| wave.from <= now).count();
        WaveInfo {
            percent: begun.checked_sub(1).map_or(0, |last| self.waves[last].percent),
            next: self.waves.get(begun).copied(),
        }
    }
}

#[cfg(test)]
mod tests;
