//! Options as they come over the bus, checked: each known key with its type, nothing else.

use std::collections::HashMap;
use std::path::PathBuf;

use ipc::updater::{When, options};
use zbus::{OwnedVariant, Variant};

use crate::engine::{Access, Source};
use crate::error::ServiceError;
use crate::state::InstallOptions;

/// Options by name, taken out one by one; what is left is not known.
pub struct Arguments(HashMap<String, OwnedVariant>);

impl Arguments {
    /// As they came.
    pub fn new(options: HashMap<String, OwnedVariant>) -> Self {
        Self(options)
    }

    /// As RAUC does: a key whose value has another type counts as not known.
    fn take<T: TryFrom<OwnedVariant>>(&mut self, key: &str) -> Option<T> {
        let value = self.0.get(key)?.try_clone().ok()?;
        let value = T::try_from(value).ok()?;
        self.0.remove(key);
        Some(value)
    }

    fn flag(&mut self, key: &str) -> bool {
        self.take::<bool>(key).unwrap_or(false)
    }

    fn text(&mut self, key: &str) -> Option<String> {
        self.take::<String>(key)
    }

    fn path(&mut self, key: &str) -> Result<Option<PathBuf>, ServiceError> {
        let Some(text) = self.text(key) else {
            return Ok(None);
        };
        if !text.starts_with('/') {
            return Err(ServiceError::invalid(key, "give the whole path of a file"));
        }
        Ok(Some(text.into()))
    }

    fn hash(&mut self, key: &str) -> Result<Option<crate::engine::ManifestHash>, ServiceError> {
        self.text(key)
            .map(|text| {
                text.parse()
                    .map_err(|problem| ServiceError::invalid(key, problem))
            })
            .transpose()
    }

    fn end(self) -> Result<(), ServiceError> {
        // The least of them: the answer does not depend on the order of a hash map.
        match self.0.into_keys().min() {
            Some(key) => Err(ServiceError::invalid("Unsupported key", key)),
            None => Ok(()),
        }
    }

    fn access(&mut self) -> Result<Access, ServiceError> {
        let headers: Vec<String> = self.take("http-headers").unwrap_or_default();
        if let Some(bad) = headers
            .iter()
            .find(|header| header.contains(['\r', '\n', '\0']) || !header.contains(':'))
        {
            let name = bad.split(':').next().unwrap_or_default();
            return Err(ServiceError::invalid(
                "http-headers",
                format!(
                    "{:?} is no line such as \"Name: value\"",
                    name.get(..40).unwrap_or(name)
                ),
            ));
        }
        Ok(Access {
            tls_certificate: self.path("tls-cert")?,
            tls_key: self.path("tls-key")?,
            tls_authorities: self.path("tls-ca")?,
            tls_no_verify: self.flag("tls-no-verify"),
            headers,
        })
    }

    /// The options of our own `Install`.
    pub fn own(mut self) -> Result<InstallOptions, ServiceError> {
        let when = match self.text(options::WHEN) {
            None => When::default(),
            Some(name) => parse_when(&name)?,
        };
        let parsed = InstallOptions {
            force: self.flag(options::FORCE),
            allow_downgrade: self.flag(options::ALLOW_DOWNGRADE),
            when,
            require_manifest_hash: self.hash(options::REQUIRE_MANIFEST_HASH)?,
            transaction: self.text(options::TRANSACTION_ID),
        };
        self.end()?;
        Ok(parsed)
    }

    /// The options of RAUC's `InstallBundle`. A bundle for another board can never start here, so that
    /// `ignore-compatible` is not granted; and a bundle that failed is not forced, or a fleet's server would send it for
    /// ever.
    pub fn rauc_install(mut self) -> Result<(InstallOptions, Access), ServiceError> {
        let ignore_compatible = self.flag("ignore-compatible");
        let parsed = InstallOptions {
            force: false,
            allow_downgrade: self.flag("ignore-version-limit"),
            when: When::Reboot,
            require_manifest_hash: self.hash("require-manifest-hash")?,
            transaction: self.text("transaction-id"),
        };
        let access = self.access()?;
        self.end()?;
        if ignore_compatible {
            return Err(ServiceError::invalid(
                "ignore-compatible",
                "not allowed: a bundle that is made for another board cannot start on this one",
            ));
        }
        Ok((parsed, access))
    }

    /// The options of RAUC's `InspectBundle`.
    pub fn rauc_inspect(mut self) -> Result<Access, ServiceError> {
        let access = self.access()?;
        self.end()?;
        Ok(access)
    }
}

/// A time for the start, by name.
pub fn parse_when(name: &str) -> Result<When, ServiceError> {
    When::from_name(name)
        .ok_or_else(|| ServiceError::invalid(options::WHEN, "use \"now\", \"reboot\" or \"tonight\""))
}

/// A source, as text.
pub fn parse_source(text: &str) -> Result<Source, ServiceError> {
    Source::parse(text).map_err(|problem| ServiceError::invalid("source", problem))
}

/// A value for a dictionary of the bus. None of ours can fail: only file descriptors do.
pub fn owned<'a>(value: impl Into<Variant<'a>>) -> Option<OwnedVariant> {
    OwnedVariant::try_from(value.into()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arguments(pairs: &[(&str, Variant<'_>)]) -> Arguments {
        Arguments::new(
            pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), OwnedVariant::try_from(value).unwrap()))
                .collect(),
        )
    }

    #[test]
    fn an_unknown_key_and_a_key_of_another_type_are_named() {
        for pairs in [
            &[("ignore-everything", Variant::from(true))][..],
            &[("transaction-id", Variant::from(7_u32))],
        ] {
            let error = arguments(pairs).rauc_install().unwrap_err();
            assert_eq!(error.to_string(), format!("Unsupported key: {}", pairs[0].0));
            let error = arguments(pairs).own().err().map(|e| e.to_string());
            assert_eq!(error, Some(format!("Unsupported key: {}", pairs[0].0)));
        }
    }

    #[test]
    fn every_key_of_rauc_is_taken() {
        let hash = "ab".repeat(32);
        let (options, access) = arguments(&[
            ("ignore-compatible", false.into()),
            ("ignore-version-limit", true.into()),
            ("transaction-id", "t".into()),
            ("require-manifest-hash", hash.as_str().into()),
            ("tls-cert", "/c".into()),
            ("tls-key", "/k".into()),
            ("tls-ca", "/a".into()),
            ("tls-no-verify", true.into()),
            ("http-headers", vec!["A: b"].into()),
        ])
        .rauc_install()
        .unwrap();
        assert!(options.allow_downgrade && options.require_manifest_hash.is_some());
        assert_eq!(access.headers, ["A: b"]);
        assert!(access.tls_no_verify && access.tls_authorities == Some("/a".into()));
        for (key, value, says) in [
            ("ignore-compatible", Variant::from(true), "another board"),
            ("require-manifest-hash", "12".into(), "64 hex"),
            ("tls-ca", "a".into(), "whole path"),
            ("http-headers", vec!["a: b\r\nc: d"].into(), "Name: value"),
        ] {
            let error = arguments(&[(key, value)]).rauc_install().unwrap_err();
            assert!(error.to_string().contains(says), "{error}");
        }
    }
}
