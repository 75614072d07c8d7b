//! `org.hearth.Provisioner1`: the few typed changes that need root.
//!
//! Only `hearth-web` and root may call it (bus policy). Methods, in D-Bus signatures:
//!
//! | method | in → out | notes |
//! |---|---|---|
//! | `SetAdministrator` | `ss` (name, password) → | refused once provisioned |
//! | `VerifyPassword` | `ss` → `b` | at most [`MAX_ATTEMPTS_PER_MINUTE`] wrong answers a minute |
//! | `HasAdministrator` | → `b` | a password was chosen (perhaps setup is not finished yet) |
//! | `CompleteSetup` | `s` ([`crate::settings::SetupRequest`] as TOML) → | one atomic write; refused once provisioned |
//! | `SetUpdatePolicy` | `s` (name of a [`crate::settings::UpdatePolicy`]) → | refused before setup is finished |
//! | `GrowData` | → | starts growing `data` to the end of the disk; idempotent |
//! | `StorageStatus` | → `s` ([`StorageStatus`] as JSON) | |
//! | `Diagnosis` | → `h` (a memfd, tar.gz, positioned at 0) | no secrets |
//! | `PowerOff`, `Reboot` | → | |
//! | `FactoryReset` | `s` → | the argument must be the host name; writes the marker, then reboots |

use serde::{Deserialize, Serialize};

/// Well-known name.
pub const BUS_NAME: &str = "org.hearth.Provisioner1";
/// Object path.
pub const OBJECT: &str = "/org/hearth/Provisioner1";
/// Interface.
pub const INTERFACE: &str = "org.hearth.Provisioner1";

/// Prefix of our error names; callers branch on [`WireError`].
pub const ERROR_PREFIX: &str = "org.hearth.Error.";

/// Wrong passwords a minute, over all callers, before [`WireError::TooManyAttempts`].
pub const MAX_ATTEMPTS_PER_MINUTE: u32 = 10;

/// Errors that callers branch on; the D-Bus name is [`ERROR_PREFIX`] and the variant's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WireError {
    /// Setup was finished already.
    AlreadyProvisioned,
    /// Setup was not finished yet.
    NotProvisioned,
    /// No administrator was chosen yet.
    NoAdministrator,
    /// An argument is not acceptable; the message says which and why.
    InvalidArgument,
    /// Too many wrong passwords; the message says how many seconds to wait.
    TooManyAttempts,
    /// `data` is damaged or full; the message says what to do.
    StorageUnavailable,
    /// Anything else; details are in the journal.
    Failed,
}

impl WireError {
    /// Every variant, for looking one up by name.
    pub const ALL: [Self; 7] = [
        Self::AlreadyProvisioned,
        Self::NotProvisioned,
        Self::NoAdministrator,
        Self::InvalidArgument,
        Self::TooManyAttempts,
        Self::StorageUnavailable,
        Self::Failed,
    ];

    /// The last part of the D-Bus error name.
    pub fn name(self) -> &'static str {
        match self {
            Self::AlreadyProvisioned => "AlreadyProvisioned",
            Self::NotProvisioned => "NotProvisioned",
            Self::NoAdministrator => "NoAdministrator",
            Self::InvalidArgument => "InvalidArgument",
            Self::TooManyAttempts => "TooManyAttempts",
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

/// Growing of the data partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "phase")]
pub enum Growth {
    /// There is unused space behind `data`.
    Possible,
    /// Under way.
    Growing {
        /// Bytes of the file system now.
        done_bytes: u64,
        /// Bytes it will have.
        total_bytes: u64,
    },
    /// `data` reaches the end of the disk.
    Complete,
    /// It stopped; calling `GrowData` again goes on.
    Failed {
        /// One sentence for a person.
        reason: String,
    },
}

/// The disk and the data file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StorageStatus {
    /// Whole-disk device, such as `/dev/mmcblk0`.
    pub disk: String,
    /// Size of the whole disk.
    pub disk_bytes: u64,
    /// Size of the data file system.
    pub data_bytes: u64,
    /// Free for data.
    pub data_free_bytes: u64,
    /// Growing.
    pub growth: Growth,
}
