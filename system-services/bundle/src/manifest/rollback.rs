//! The rollback index: a number that is raised when older versions must not come back.

use std::collections::BTreeMap;

/// Label of the group that holds what only Hearth knows: `[meta.hearth]`, which RAUC keeps and passes on.
pub const META_GROUP: &str = "hearth";
/// The key of the rollback index in it.
pub const ROLLBACK_INDEX: &str = "rollback-index";

/// A rollback index that is no decimal number of at most 32 bits without a sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "[meta.{META_GROUP}] {ROLLBACK_INDEX}={value:?} is no number from 0 to {}",
    u32::MAX
)]
pub struct RollbackIndexError {
    /// What is there, cut to 32 characters.
    pub value: String,
}

/// The rollback index in the `[meta.LABEL]` groups of a manifest; 0 for a bundle without the key, such as one of RAUC's own.
///
/// The name and the rule are those of Android Verified Boot: one number per image, compared apart from the version.
pub fn rollback_index(meta: &BTreeMap<String, BTreeMap<String, String>>) -> Result<u32, RollbackIndexError> {
    let Some(text) = meta.get(META_GROUP).and_then(|group| group.get(ROLLBACK_INDEX)) else {
        return Ok(0);
    };
    // `parse` alone would take a plus sign.
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    digits
        .then(|| text.parse().ok())
        .flatten()
        .ok_or_else(|| RollbackIndexError {
            value: text.chars().take(32).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<u32, RollbackIndexError> {
        let group = BTreeMap::from([(ROLLBACK_INDEX.to_owned(), value.to_owned())]);
        rollback_index(&BTreeMap::from([(META_GROUP.to_owned(), group)]))
    }

    #[test]
    fn an_index_is_plain_digits_and_none_counts_as_zero() {
        assert_eq!(rollback_index(&BTreeMap::new()), Ok(0));
        let other = BTreeMap::from([(META_GROUP.to_owned(), BTreeMap::new())]);
        assert_eq!(rollback_index(&other), Ok(0));
        assert_eq!(
            (read("0"), read("7"), read("4294967295")),
            (Ok(0), Ok(7), Ok(u32::MAX))
        );
    }

    #[test]
    fn what_is_no_number_is_refused_and_never_taken_for_zero() {
        for bad in ["", "+1", "-1", "0x1", " 1", "1;", "one", "4294967296"] {
            let error = read(bad).unwrap_err().to_string();
            assert!(
                error.contains("rollback-index=") && error.contains(&format!("{bad:?}")),
                "{error}"
            );
        }
        assert!(read(&"9".repeat(5000)).unwrap_err().value.len() == 32);
    }
}
