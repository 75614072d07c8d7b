//! Which channel, when the box may restart by itself, and whether the connection costs by the byte.

use std::fs::File;
use std::io::{self, Read};

use channel::schedule::QuietHours;
use channel::{ChannelName, Location};
use os_io::root::Root;
use serde::Deserialize;
use thiserror::Error;

/// The owner's file: the same keys as `[channel]` of `updater.toml`; each that is there replaces the system's.
pub const OWNERS_FILE: &str = "/var/lib/hearth-updater/channel.toml";
/// Longest owner's file that is read.
const MAX_BYTES: u64 = 16 * 1024;
const MAX_ADDRESS: usize = 1024;

/// Why a choice is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ChoiceError {
    /// Not TOML, an unknown key, or a wrong type.
    #[error("{0}")]
    Syntax(String),
    /// A value is out of its range.
    #[error("{key}: {problem}")]
    Value {
        /// The key.
        key: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

/// What is chosen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Choice {
    /// `https://` address of the folder that holds the index, without a slash at its end; none: no channel.
    pub address: Option<String>,
    /// Name of the channel.
    pub name: ChannelName,
    /// When the box may restart by itself.
    pub quiet: QuietHours,
    /// Nothing is downloaded unless a person says so.
    pub metered: bool,
}

/// As it is written in a file; what is not there stays as it was.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawChoice {
    address: Option<String>,
    name: Option<String>,
    quiet_hours: Option<RawQuietHours>,
    metered: Option<bool>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuietHours {
    from: String,
    to: String,
}

/// What is chosen now, and what was wrong with the owner's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// The choice.
    pub choice: Choice,
    /// A sentence: the owner's file is not used.
    pub problem: Option<String>,
}

impl Choice {
    /// No channel, and the default quiet hours.
    pub fn none() -> Result<Self, ChoiceError> {
        Ok(Self {
            address: None,
            name: name("stable")?,
            quiet: QuietHours::default(),
            metered: false,
        })
    }

    /// This choice, with what a file says otherwise.
    pub fn with(mut self, raw: RawChoice) -> Result<Self, ChoiceError> {
        if let Some(text) = raw.address {
            self.address = address(&text)?;
        }
        if let Some(text) = raw.name {
            self.name = name(&text)?;
        }
        if let Some(hours) = raw.quiet_hours {
            self.quiet = QuietHours::parse(&format!("{}-{}", hours.from, hours.to))
                .map_err(|error| value("quiet_hours", error.to_string()))?;
        }
        self.metered = raw.metered.unwrap_or(self.metered);
        Ok(self)
    }

    /// This choice, with what the text of an owner's file says otherwise.
    pub fn with_text(self, text: &str) -> Result<Self, ChoiceError> {
        let raw = toml::from_str(text)
            .map_err(|e| ChoiceError::Syntax(e.to_string().trim_end().replace('\n', " ")))?;
        self.with(raw)
    }

    /// This choice, with what the owner's file says otherwise, if there is one.
    pub fn with_owners(&self, root: &Root) -> Chosen {
        let read = match read(root) {
            Ok(None) => Ok(self.clone()),
            Ok(Some(text)) => self.clone().with_text(&text).map_err(|e| e.to_string()),
            Err(error) => Err(format!("it cannot be read: {error}")),
        };
        match read {
            Ok(choice) => Chosen {
                choice,
                problem: None,
            },
            Err(why) => Chosen {
                choice: self.clone(),
                problem: Some(format!(
                    "The file {OWNERS_FILE} is not used ({why}); correct it or remove it. Until then the channel of the system counts."
                )),
            },
        }
    }

    /// Where the index is.
    pub fn index_url(&self) -> Option<String> {
        let address = self.address.as_ref()?;
        Some(format!("{address}/{}", self.name.file_name()))
    }
}

fn read(root: &Root) -> io::Result<Option<String>> {
    let file = match File::open(root.path(OWNERS_FILE)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let mut text = String::new();
    file.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other("it is too long"));
    }
    Ok(Some(text))
}

fn name(text: &str) -> Result<ChannelName, ChoiceError> {
    ChannelName::parse(text).map_err(|error| value("name", error.to_string()))
}

fn address(text: &str) -> Result<Option<String>, ChoiceError> {
    if text.is_empty() {
        return Ok(None);
    }
    let plain = text.strip_suffix('/').unwrap_or(text);
    // As the index will be asked for: the address of a file below it.
    let file = Location::parse(&format!("{plain}/stable"));
    if matches!(file, Ok(Location::Https(_))) && !plain.contains('?') && plain.len() <= MAX_ADDRESS {
        return Ok(Some(plain.into()));
    }
    Err(value(
        "address",
        "give the https:// address of the folder that holds the channel's index, such as https://updates.example/hearth; \
         empty for no channel"
            .into(),
    ))
}

fn value(key: &'static str, problem: String) -> ChoiceError {
    ChoiceError::Value { key, problem }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn system() -> Choice {
        Choice::none()
            .unwrap()
            .with_text("address = \"https://updates.example/hearth/\"")
            .unwrap()
    }

    #[test]
    fn an_owner_changes_what_the_file_names_and_nothing_else() {
        let choice = system().with_text("name = \"beta\"").unwrap();
        assert_eq!(
            choice.index_url().unwrap(),
            "https://updates.example/hearth/beta.hearth-channel"
        );
        let text = "address = \"\"\nmetered = true\n[quiet_hours]\nfrom = \"22:30\"\nto = \"06:00\"";
        let choice = choice.with_text(text).unwrap();
        assert_eq!((choice.index_url(), choice.metered), (None, true));
        assert_eq!(choice.quiet.to_string(), "22:30-06:00");
    }

    #[test]
    fn what_cannot_be_is_named() {
        for (text, says) in [
            ("address = \"http://updates.example\"", "address"),
            ("address = \"https://updates.example/?a=b\"", "address"),
            ("address = \"https://me@updates.example\"", "address"),
            ("address = \"https://\"", "address"),
            ("name = \"Beta\"", "name"),
            ("server = \"x\"", "server"),
            ("quiet_hours = { from = \"2\", to = \"05:00\" }", "quiet_hours"),
        ] {
            let error = system().with_text(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
    }

    #[test]
    fn a_damaged_owners_file_is_told_and_the_systems_choice_counts() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert_eq!(system().with_owners(&root).problem, None);
        let path = root.path(OWNERS_FILE);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        for damage in [&b"name ="[..], &[0xff; 10], &[b' '; 20_000]] {
            std::fs::write(&path, damage).unwrap();
            let chosen = system().with_owners(&root);
            assert_eq!(chosen.choice, system());
            assert!(chosen.problem.unwrap().contains("correct it or remove it"));
        }
    }
}
