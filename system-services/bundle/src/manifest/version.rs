//! What RAUC takes for a version in `min-rauc-version`: only whether it is one, since it means nothing here.
//!
//! Not the versions of the appliance: those are compared by the updater and the channels, strictly as semantic versions, with
//! one type for both (`ipc::updater_version`). RAUC's may lack parts (`1.14`) and have leading zeros (`2026.08.1`).

/// Longest version in bytes.
const MAX_VERSION: usize = 128;

/// Why a text is no version of RAUC's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VersionError {
    /// Longer than 128 bytes.
    #[error("the version is longer than {MAX_VERSION} bytes")]
    TooLong,
    /// Not one to three numbers.
    #[error("a version is one to three numbers with dots between, such as 1.4.2")]
    Numbers,
    /// An empty or strange identifier behind `-` or `+`.
    #[error("what follows '-' or '+' in a version is letters, digits and hyphens, with dots between")]
    Identifier,
}

/// Checks `major[.minor[.patch]][-pre][+build]`.
pub(super) fn check(text: &str) -> Result<(), VersionError> {
    if text.len() > MAX_VERSION {
        return Err(VersionError::TooLong);
    }
    let (text, build) = split(text, '+');
    let (core, pre) = split(text, '-');
    build.map_or(Ok(()), identifiers)?;
    if core.split('.').count() > 3 || !core.split('.').all(is_number) {
        return Err(VersionError::Numbers);
    }
    pre.map_or(Ok(()), identifiers)
}

fn split(text: &str, at: char) -> (&str, Option<&str>) {
    match text.split_once(at) {
        Some((before, after)) => (before, Some(after)),
        None => (text, None),
    }
}

fn is_number(text: &str) -> bool {
    // `parse` alone would take a plus sign.
    text.bytes().all(|byte| byte.is_ascii_digit()) && text.parse::<u64>().is_ok()
}

fn identifiers(text: &str) -> Result<(), VersionError> {
    let is_one = |part: &str| {
        !part.is_empty()
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if text.split('.').all(is_one) {
        Ok(())
    } else {
        Err(VersionError::Identifier)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_may_lack_and_have_leading_zeros() {
        for text in [
            "1",
            "1.14",
            "1.15.2",
            "2026.08.1",
            "1.0.0-rc.1",
            "1.2.3-01",
            "1.2.3-rc.1+x",
            "1.2+abc",
        ] {
            assert_eq!(check(text), Ok(()), "{text:?}");
        }
    }

    #[test]
    fn what_is_no_version_is_refused() {
        for text in [
            "",
            "1.",
            ".1",
            "1.2.3.4",
            "a",
            "+1",
            "1.-2",
            " 1",
            "99999999999999999999999",
        ] {
            assert_eq!(check(text), Err(VersionError::Numbers), "{text:?}");
        }
        for text in ["1-", "1-a..b", "1-a_b", "1+", "1+ä"] {
            assert_eq!(check(text), Err(VersionError::Identifier), "{text:?}");
        }
        assert_eq!(check(&"1".repeat(129)), Err(VersionError::TooLong));
    }
}
