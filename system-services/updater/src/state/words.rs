//! Small words of the machine.

use super::Bundle;

/// What a person may say of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// It works.
    Good,
    /// It does not.
    Bad,
    /// Start it next.
    Active,
}

impl Mark {
    /// Every variant.
    pub const ALL: [Self; 3] = [Self::Good, Self::Bad, Self::Active];

    /// As on the bus and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Bad => "bad",
            Self::Active => "active",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mark| mark.name() == name)
    }
}

impl Bundle {
    /// `1.2.3`, or what stands for a version that the bundle does not name.
    pub fn shown(&self) -> &str {
        if self.version.is_empty() {
            "without a number"
        } else {
            &self.version
        }
    }
}
