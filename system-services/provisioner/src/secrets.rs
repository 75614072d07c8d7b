//! The administrator's password: checked by length, kept as an argon2id hash, verified at constant cost.

use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use ipc::settings::AccountName;
use serde::{Deserialize, Serialize};
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

/// Shortest password, in characters (NIST SP 800-63B, 5.1.1.1). How strong it is, is the wizard's to say.
pub const MIN_PASSWORD_CHARS: usize = 8;
/// Longest password, in bytes: a longer one only makes the caller's mistakes expensive.
pub const MAX_PASSWORD_BYTES: usize = 256;

/// Most memory that a stored hash may ask for, in KiB.
const MAX_MEMORY_KIB: u32 = 64 << 10;
/// OWASP password storage cheat sheet, argon2id: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19_456;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// A password in memory: wiped when dropped, never shown.
pub struct Password(Zeroizing<String>);

impl std::fmt::Debug for Password {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Password(…)")
    }
}

impl Password {
    /// Takes whatever was typed at a login; wrong lengths are simply wrong passwords.
    pub fn typed(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// Is this acceptable as a new password? The problem is a sentence for the person who typed it.
    pub fn check_rules(&self) -> Result<(), String> {
        if self.0.chars().count() < MIN_PASSWORD_CHARS {
            return Err(format!("Use at least {MIN_PASSWORD_CHARS} characters."));
        }
        if self.0.len() > MAX_PASSWORD_BYTES {
            return Err(format!("Use at most {MAX_PASSWORD_BYTES} bytes."));
        }
        if self.0.contains('\0') {
            return Err("A password cannot contain a zero character.".into());
        }
        Ok(())
    }
}

/// Why hashing or reading failed; never says anything about the password.
#[derive(Debug, Error)]
pub enum SecretError {
    /// Not enough memory or no random numbers.
    #[error("the password could not be hashed: {0}")]
    Hash(String),
    /// The file is not what [`Administrator::to_toml`] writes.
    #[error("the administrator's file is damaged: {0}")]
    Damaged(String),
}

/// A PHC string (`$argon2id$…`): not printed by `Debug`, so that it cannot reach a log.
#[derive(Clone, PartialEq, Eq)]
pub struct Phc(Zeroizing<String>);

impl std::fmt::Debug for Phc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Phc(…)")
    }
}

impl Phc {
    #[cfg(test)]
    pub(crate) fn for_tests(text: &str) -> Self {
        Self(Zeroizing::new(text.into()))
    }
}

/// Who may log in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Administrator {
    /// The name.
    pub name: AccountName,
    /// The password's hash.
    pub hash: Phc,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawAdministrator {
    name: String,
    password_hash: String,
}

fn hasher() -> Result<Argon2<'static>, SecretError> {
    let params =
        Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|e| SecretError::Hash(e.to_string()))?;
    Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
}

impl Administrator {
    /// Hashes the password with a random salt. Takes 19 MiB and some tenths of a second on a Pi: call it in a thread.
    pub fn new(name: AccountName, password: &Password) -> Result<Self, SecretError> {
        let hash = hasher()?
            .hash_password(password.0.as_bytes())
            .map_err(|e| SecretError::Hash(e.to_string()))?;
        Ok(Self {
            name,
            hash: Phc(Zeroizing::new(hash.to_string())),
        })
    }

    /// Is this the name and the password? A wrong name costs as much time as a wrong password.
    pub fn verify(&self, name: &str, password: &Password) -> Result<bool, SecretError> {
        let right_password = match hasher()?.verify_password(password.0.as_bytes(), self.hash.0.as_str()) {
            Ok(()) => password.0.len() <= MAX_PASSWORD_BYTES,
            Err(argon2::password_hash::Error::PasswordInvalid) => false,
            Err(e) => return Err(SecretError::Hash(e.to_string())),
        };
        // Both are computed before they are joined: the name must not shorten the way.
        let right_name = name == self.name.as_str();
        Ok(right_name & right_password)
    }

    /// The file's text, wiped when dropped.
    pub fn to_toml(&self) -> Result<Zeroizing<String>, SecretError> {
        let mut raw = RawAdministrator {
            name: self.name.as_str().into(),
            password_hash: self.hash.0.to_string(),
        };
        let text = toml::to_string(&raw).map_err(|e| SecretError::Damaged(e.to_string()));
        raw.password_hash.zeroize();
        Ok(Zeroizing::new(text?))
    }

    /// From the file's text. The error names the key, never the value.
    pub fn parse(text: &str) -> Result<Self, SecretError> {
        let raw: RawAdministrator =
            toml::from_str(text).map_err(|e| SecretError::Damaged(e.message().to_owned()))?;
        let name = AccountName::parse(&raw.name).map_err(|e| SecretError::Damaged(format!("name: {e}")))?;
        let hash = argon2::password_hash::phc::PasswordHash::new(&raw.password_hash)
            .map_err(|_| SecretError::Damaged("password_hash: not a PHC string".into()))?;
        // A flipped digit must not ask for gigabytes or hours.
        let parameters = argon2::Params::try_from(&hash)
            .map_err(|_| SecretError::Damaged("password_hash: not argon2".into()))?;
        if hash.algorithm.as_str() != "argon2id"
            || parameters.m_cost() > MAX_MEMORY_KIB
            || parameters.t_cost() > 16
        {
            return Err(SecretError::Damaged(
                "password_hash: not argon2id within our limits".into(),
            ));
        }
        Ok(Self {
            name,
            hash: Phc(Zeroizing::new(raw.password_hash)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_that_would_take_gigabytes_is_damage() {
        let text = ada().to_toml().unwrap().replace("m=19456", "m=4194304");
        assert!(matches!(
            Administrator::parse(&text),
            Err(SecretError::Damaged(_))
        ));
    }

    fn ada() -> Administrator {
        Administrator::new(
            AccountName::parse("ada").unwrap(),
            &Password::typed("correct horse".into()),
        )
        .unwrap()
    }

    #[test]
    fn a_password_survives_the_file_and_only_the_right_one_opens() {
        let ada = ada();
        let read = Administrator::parse(&ada.to_toml().unwrap()).unwrap();
        assert_eq!(read, ada);
        assert!(
            read.verify("ada", &Password::typed("correct horse".into()))
                .unwrap()
        );
        assert!(
            !read
                .verify("ada", &Password::typed("correct horsf".into()))
                .unwrap()
        );
        assert!(
            !read
                .verify("bob", &Password::typed("correct horse".into()))
                .unwrap()
        );
        assert!(!read.verify("ada", &Password::typed("x".repeat(100_000))).unwrap());
    }

    #[test]
    fn the_hash_has_the_recommended_parameters_and_a_salt_of_its_own() {
        let (one, two) = (ada(), ada());
        assert!(one.hash.0.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"));
        assert_ne!(one.hash, two.hash);
    }

    #[test]
    fn nothing_secret_is_printed_by_debug() {
        let ada = ada();
        let shown = format!("{ada:?} {:?}", Password::typed("correct horse".into()));
        assert!(!shown.contains("argon2") && !shown.contains("horse"), "{shown}");
    }

    #[test]
    fn password_rules_count_characters_and_bytes() {
        let rules = |text: &str| Password::typed(text.into()).check_rules();
        assert!(rules("sieben7").is_err());
        assert!(rules("äöüßäöüß").is_ok());
        assert!(rules(&"x".repeat(256)).is_ok());
        assert!(rules(&"x".repeat(257)).is_err());
        assert!(rules("zero\0zero").is_err());
    }

    #[test]
    fn a_damaged_file_is_refused_without_showing_its_content() {
        for bad in [
            "",
            "name='ada'",
            "name='ada'\npassword_hash='hunter2'",
            "name='ADA'\npassword_hash='$argon2id$x'",
            "x=1",
        ] {
            let error = Administrator::parse(bad).unwrap_err().to_string();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
