//! `/run/hearth/boot.json`: what this boot is, as early-boot saw it.

use serde::{Deserialize, Serialize};

/// One of the two slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slot {
    /// Slot a.
    A,
    /// Slot b.
    B,
}

/// What became of the `data` partition at this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", tag = "state")]
pub enum DataState {
    /// Mounted, clean.
    Mounted,
    /// Mounted after e2fsck mended it.
    Repaired,
    /// Not mounted; an empty file system in memory stands in. Nothing was written but what `e2fsck -p` mends before it gives up.
    /// Setup must not be offered: whose box this is cannot be known.
    Damaged {
        /// One sentence for a person.
        reason: String,
    },
}

/// The facts of this boot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BootFacts {
    /// The slot that was started.
    pub slot: Slot,
    /// True when both slots were exhausted and the boot manager gave them new tries.
    pub healed: bool,
    /// Image version, for people (`VERSION_ID` of os-release).
    pub version: String,
    /// Rollback index of the image: one that is lower than that of a system that was good here is not installed by itself.
    /// 0 when the image names none.
    #[serde(default)]
    pub rollback_index: u32,
    /// `dev` or `release`.
    pub profile: String,
    /// `raspberry-pi`, `qemu-arm64` or `pc-x86_64`.
    pub board: String,
    /// True when the payload was signed with development keys.
    pub development_keys: bool,
    /// Whole-disk device, such as `/dev/mmcblk0`.
    pub disk: String,
    /// Device of the `data` partition, such as `/dev/mmcblk0p7`.
    pub data_device: String,
    /// Device of the `bootstate` partition.
    pub bootstate_device: String,
    /// What became of `data`.
    pub data: DataState,
    /// Milliseconds of uptime when early-boot handed over.
    pub handed_over_ms: u64,
}
