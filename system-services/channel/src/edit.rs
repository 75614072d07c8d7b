//! Changing an index: build machines and tests only. What is signed is [`Index::to_toml`].

use bundle::cms::UnixTime;
use ipc::updater_version::Version;

use crate::index::{
    Compatible, Index, MAX_COMPATIBLES, MAX_LIFETIME_S, MAX_RELEASES, Release, Wave, check_waves,
};
use crate::name::ChannelName;

/// What became of a release that was to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Published {
    /// It is new. Releases that had to go, since only so many are kept, the oldest first.
    New {
        /// What is not in the index any more.
        dropped: Vec<Release>,
    },
    /// The same bundle was there: its waves, description and the like are new.
    Renewed,
}

/// Why an index was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EditError {
    /// Boxes never go back by themselves.
    #[error(
        "{compatible} already has {newest}, which is newer than {version}: no box would go back to it. Give the new bundle a version above {newest}"
    )]
    Older {
        /// Which board.
        compatible: String,
        /// What is to be published.
        version: String,
        /// The newest in the index.
        newest: String,
    },
    /// Two bundles of one version: nobody could tell what a box runs.
    #[error(
        "{compatible} already has another bundle with the version {version}; build the new one with a higher version (cargo xtask image --version, cargo xtask bundle)"
    )]
    SameVersion {
        /// Which board.
        compatible: String,
        /// Which version.
        version: String,
    },
    /// Every box on which that other release was good refuses the new one, again and again.
    #[error(
        "{version} for {compatible} has the rollback index {index}, and {other} on this channel has {needed}: boxes on which {other} was good refuse anything below it. Build the bundle again with rollback_index = {needed} or more in image/profiles/base.toml"
    )]
    LowerRollbackIndex {
        /// Which board.
        compatible: String,
        /// What is to be published.
        version: String,
        /// Its rollback index.
        index: u32,
        /// The release with the highest one, stopped or not.
        other: String,
        /// That rollback index.
        needed: u32,
    },
    /// A wish about a version that is not there.
    #[error("the channel has no version {version}; it has {known}")]
    NoSuchVersion {
        /// Which.
        version: String,
        /// Those that it has.
        known: String,
    },
    /// Too many boards.
    #[error("a channel serves at most {MAX_COMPATIBLES} kinds of boards; use another channel")]
    TooManyCompatibles,
}

impl Index {
    /// An index without releases.
    pub fn new(channel: ChannelName, now: UnixTime, lifetime_s: u64) -> Self {
        let mut index = Self {
            channel,
            serial: 0,
            issued: UnixTime(0),
            expires: UnixTime(0),
            crls: None,
            compatibles: Vec::new(),
        };
        index.renew(now, lifetime_s);
        index
    }

    /// Raises the serial and sets the times. The serial is the time, or one more than the last when that is higher: after
    /// a stolen key was revoked, the next honest index is above whatever was signed with it.
    pub fn renew(&mut self, now: UnixTime, lifetime_s: u64) {
        self.serial = now.0.max(self.serial + 1);
        self.issued = UnixTime(self.serial);
        self.expires = UnixTime(self.serial + lifetime_s);
    }

    /// Adds a release, newest first; or renews the one with the same bundle.
    pub fn publish(&mut self, compatible: &str, release: Release) -> Result<Published, EditError> {
        let position = match self.compatibles.iter().position(|entry| entry.name == compatible) {
            Some(position) => position,
            None if self.compatibles.len() >= MAX_COMPATIBLES => return Err(EditError::TooManyCompatibles),
            None => {
                self.compatibles.push(Compatible {
                    name: compatible.into(),
                    releases: Vec::new(),
                });
                self.compatibles.len() - 1
            }
        };
        let entry = &mut self.compatibles[position];
        if let Some(same) = entry
            .releases
            .iter_mut()
            .find(|other| other.manifest_hash == release.manifest_hash)
        {
            *same = Release {
                published: same.published,
                stopped: same.stopped,
                ..release
            };
            return Ok(Published::Renewed);
        }
        if entry
            .releases
            .iter()
            .any(|other| other.version == release.version)
        {
            return Err(EditError::SameVersion {
                compatible: compatible.into(),
                version: release.version.to_string(),
            });
        }
        if let Some(newest) = entry.newest()
            && newest.version > release.version
        {
            return Err(EditError::Older {
                compatible: compatible.into(),
                version: release.version.to_string(),
                newest: newest.version.to_string(),
            });
        }
        let highest = entry.releases.iter().max_by_key(|other| other.rollback_index);
        if let Some(other) = highest
            && other.rollback_index > release.rollback_index
        {
            return Err(EditError::LowerRollbackIndex {
                compatible: compatible.into(),
                version: release.version.to_string(),
                index: release.rollback_index,
                other: other.version.to_string(),
                needed: other.rollback_index,
            });
        }
        entry.releases.insert(0, release);
        entry.releases.sort_by(|a, b| b.version.cmp(&a.version));
        let mut dropped = entry.releases.split_off(MAX_RELEASES.min(entry.releases.len()));
        dropped.reverse();
        Ok(Published::New { dropped })
    }

    /// Stops a version, or lets it go on, for every board that has it. Returns the names of those boards.
    pub fn set_stopped(&mut self, version: &Version, stopped: bool) -> Result<Vec<String>, EditError> {
        let mut changed = Vec::new();
        for compatible in &mut self.compatibles {
            for release in compatible
                .releases
                .iter_mut()
                .filter(|release| release.version == *version)
            {
                release.stopped = stopped;
                changed.push(compatible.name.clone());
            }
        }
        if changed.is_empty() {
            let mut known: Vec<&Version> = self
                .compatibles
                .iter()
                .flat_map(|entry| &entry.releases)
                .map(|release| &release.version)
                .collect();
            known.sort();
            known.dedup();
            let known = known
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(", ");
            let known = if known.is_empty() { "none".into() } else { known };
            return Err(EditError::NoSuchVersion {
                version: version.to_string(),
                known,
            });
        }
        Ok(changed)
    }
}

impl Compatible {
    /// The newest release, stopped or not.
    pub fn newest(&self) -> Option<&Release> {
        self.releases.iter().max_by(|a, b| a.version.cmp(&b.version))
    }
}

/// Why a text of an operator is not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// No span of time.
    #[error("{text:?} is not a span of time; write a number and m, h or d, such as 90m, 24h, 30d")]
    Span {
        /// What was given.
        text: String,
    },
    /// Longer than an index may hold.
    #[error(
        "{text:?} is too long; an index holds for at most 366 days, so that nobody can show an old one for ever"
    )]
    TooLong {
        /// What was given.
        text: String,
    },
    /// No wave.
    #[error("{text:?} is not a wave; write percent and when, such as 1%@+0h,10%@+24h,100%@+72h")]
    Wave {
        /// What was given.
        text: String,
    },
    /// Waves that go backwards.
    #[error("the waves {text:?} cannot be: {problem}")]
    Waves {
        /// What was given.
        text: String,
        /// What is wrong.
        problem: String,
    },
}

/// Seconds of `90m`, `24h`, `30d`.
pub fn parse_span(text: &str) -> Result<u64, SpecError> {
    let refused = || SpecError::Span { text: text.into() };
    let unit = match text.chars().last() {
        Some('m') => 60,
        Some('h') => 3600,
        Some('d') => 86_400,
        _ => return Err(refused()),
    };
    let digits = &text[..text.len() - 1];
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(refused());
    }
    let seconds = digits
        .parse::<u64>()
        .ok()
        .and_then(|number| number.checked_mul(unit));
    match seconds {
        Some(seconds) if seconds <= MAX_LIFETIME_S => Ok(seconds),
        _ => Err(SpecError::TooLong { text: text.into() }),
    }
}

/// Waves from `1%@+0h,10%@+24h,100%@+72h`, counted from `now`.
pub fn parse_waves(text: &str, now: UnixTime) -> Result<Vec<Wave>, SpecError> {
    let wave = |part: &str| -> Option<Result<Wave, SpecError>> {
        let (percent, span) = part.trim().split_once("%@+")?;
        let percent = percent.parse::<u8>().ok()?;
        Some(parse_span(span).map(|span| Wave {
            from: UnixTime(now.0 + span),
            percent,
        }))
    };
    let refused = |part: &str| SpecError::Wave { text: part.into() };
    let waves = text
        .split(',')
        .map(|part| wave(part).unwrap_or_else(|| Err(refused(part))))
        .collect::<Result<Vec<_>, _>>()?;
    check_waves(&waves).map_err(|problem| SpecError::Waves {
        text: text.into(),
        problem,
    })?;
    Ok(waves)
}

#[cfg(test)]
mod tests;
