//! There is nothing to configure on the appliance: the socket comes from systemd, the rest from typed settings. What is here
//! is what the command line of a developer may say.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use thiserror::Error;

/// Where the draft is kept when systemd does not say.
const STATE_FOLDER: &str = "/var/lib/hearth-web";

/// Why the command line was refused.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// An unknown word.
    #[error("unknown argument {0:?}; known are --listen <address:port> and, with the feature `demo`, --demo")]
    Unknown(OsString),
    /// No or no good address after `--listen`.
    #[error("--listen needs an address and a port, such as 127.0.0.1:8080")]
    Listen,
}

/// How to run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// Address to listen on; without one the socket must come from systemd.
    pub listen: Option<SocketAddr>,
    /// A made-up appliance.
    pub demo: bool,
    /// Folder of the draft.
    pub state_folder: PathBuf,
}

impl Config {
    /// From the arguments behind the program's name, and `$STATE_DIRECTORY`.
    pub fn parse(
        mut arguments: impl Iterator<Item = OsString>,
        state_directory: Option<OsString>,
    ) -> Result<Self, ConfigError> {
        let mut config = Self {
            listen: None,
            demo: false,
            state_folder: state_directory.map_or_else(|| STATE_FOLDER.into(), PathBuf::from),
        };
        while let Some(argument) = arguments.next() {
            match argument.to_str() {
                Some("--listen") => {
                    let address = arguments.next().and_then(|a| a.to_str()?.parse().ok());
                    config.listen = Some(address.ok_or(ConfigError::Listen)?);
                }
                Some("--demo") if cfg!(feature = "demo") => config.demo = true,
                _ => return Err(ConfigError::Unknown(argument)),
            }
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &[&str]) -> Result<Config, ConfigError> {
        Config::parse(words.iter().map(OsString::from), None)
    }

    #[test]
    fn unknown_words_are_refused_by_name() {
        assert_eq!(parse(&[]).unwrap().state_folder, PathBuf::from(STATE_FOLDER));
        assert_eq!(
            parse(&["--listen", "127.0.0.1:8080"]).unwrap().listen,
            "127.0.0.1:8080".parse().ok()
        );
        assert!(parse(&["--lisen"]).unwrap_err().to_string().contains("--lisen"));
        assert!(matches!(parse(&["--listen", "80"]), Err(ConfigError::Listen)));
    }
}
