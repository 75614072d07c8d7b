//! The kernel command line: what the payload says (signed) and what the boot manager added.
//!
//! Strict for our own keys: a value that is missing, twice or out of shape stops the boot, and the try counter acts.
//! Parameters of others are passed over; so are unknown `hearth.` keys, which a newer boot manager may give an older slot.

use ipc::boot_facts::Slot;
use thiserror::Error;

/// Longest command line that is looked at. The kernel's own limit is 2048 on the boards that there are.
pub const MAX_BYTES: usize = 4096;
/// Longest salt that dm-verity takes, in hexadecimal digits (`DM_VERITY_MAX_SALT_SIZE` 256).
const MAX_SALT_DIGITS: usize = 512;
/// 16 TiB of root: far from any image, far from any overflow.
const MAX_ROOT_BLOCKS: u64 = 1 << 32;

/// What the command line says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommandLine {
    /// `hearth.slot`: the slot whose payload was started.
    pub slot: Slot,
    /// `hearth.disk`: GUID of the disk that booted, lower case with hyphens.
    pub disk: String,
    /// `hearth.state-seq`: sequence number that the boot manager wrote to `bootstate`.
    pub state_seq: u64,
    /// `hearth.healed`: both slots were exhausted.
    pub healed: bool,
    /// `hearth.root-hash`: 64 hexadecimal digits.
    pub root_hash: String,
    /// `hearth.root-salt`: hexadecimal, may be empty.
    pub root_salt: String,
    /// `hearth.root-blocks`: data blocks of 4096 bytes.
    pub root_blocks: u64,
    /// `hearth.profile`: `dev` or `release`.
    pub profile: String,
    /// `hearth.board`.
    pub board: String,
    /// `hearth.version`.
    pub version: String,
    /// `hearth.rollback-index`: 0 unless given.
    pub rollback_index: u32,
    /// `hearth.dev-keys`: the payload was signed with development keys.
    pub development_keys: bool,
    /// `hearth.built`: lower bound for the clock, seconds since 1970.
    pub built_unix_s: Option<u64>,
    /// `hearth.test`: where a test wants to stop, as written; only programs with the feature `test-hooks` act on it.
    pub test: Option<String>,
    /// `gpt`: the kernel looks at the backup partition table when the primary is torn.
    pub kernel_uses_backup_table: bool,
    /// Keys that begin with `hearth.` and are not known here.
    pub unknown: Vec<String>,
}

/// Why a command line was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CommandLineError {
    /// Longer than [`MAX_BYTES`].
    #[error("the kernel command line has {0} bytes; at most {MAX_BYTES} are accepted")]
    TooLong(usize),
    /// A key that must be there is not.
    #[error("{0} is missing on the kernel command line")]
    Missing(&'static str),
    /// A key is there twice: one of them was not put there by us.
    #[error("{0} is twice on the kernel command line")]
    Twice(&'static str),
    /// A value has the wrong shape.
    #[error("{key} on the kernel command line: {value:?} is not {expected}")]
    Shape {
        /// The key.
        key: &'static str,
        /// The value, cut to 80 characters.
        value: String,
        /// What it should be.
        expected: &'static str,
    },
}

const SLOT: &str = "hearth.slot";
const DISK: &str = "hearth.disk";
const STATE_SEQ: &str = "hearth.state-seq";
const HEALED: &str = "hearth.healed";
const ROOT_HASH: &str = "hearth.root-hash";
const ROOT_SALT: &str = "hearth.root-salt";
const ROOT_BLOCKS: &str = "hearth.root-blocks";
const PROFILE: &str = "hearth.profile";
const BOARD: &str = "hearth.board";
const VERSION: &str = "hearth.version";
const ROLLBACK_INDEX: &str = "hearth.rollback-index";
const DEV_KEYS: &str = "hearth.dev-keys";
const BUILT: &str = "hearth.built";
const TEST: &str = "hearth.test";
const KEYS: [&str; 14] = [
    SLOT,
    DISK,
    STATE_SEQ,
    HEALED,
    ROOT_HASH,
    ROOT_SALT,
    ROOT_BLOCKS,
    PROFILE,
    BOARD,
    VERSION,
    ROLLBACK_INDEX,
    DEV_KEYS,
    BUILT,
    TEST,
];

/// Values in the order of [`KEYS`].
struct Values<'a>([Option<&'a str>; KEYS.len()]);

impl<'a> Values<'a> {
    fn optional<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<Option<T>, CommandLineError> {
        let index = KEYS.iter().position(|k| *k == key);
        let Some(value) = index.and_then(|i| self.0[i]) else {
            return Ok(None);
        };
        match read(value) {
            Some(read) => Ok(Some(read)),
            None => {
                let value = value.chars().take(80).collect();
                Err(CommandLineError::Shape { key, value, expected })
            }
        }
    }

    fn required<T>(
        &self,
        key: &'static str,
        expected: &'static str,
        read: impl FnOnce(&'a str) -> Option<T>,
    ) -> Result<T, CommandLineError> {
        self.optional(key, expected, read)?
            .ok_or(CommandLineError::Missing(key))
    }
}

/// Reads a command line as `/proc/cmdline` shows it.
pub fn parse(text: &str) -> Result<CommandLine, CommandLineError> {
    if text.len() > MAX_BYTES {
        return Err(CommandLineError::TooLong(text.len()));
    }
    let mut values = Values([None; KEYS.len()]);
    let mut unknown = Vec::new();
    let mut kernel_uses_backup_table = false;
    for word in words(text) {
        let (key, value) = word.split_once('=').unwrap_or((word, ""));
        if let Some(index) = KEYS.iter().position(|k| *k == key) {
            if values.0[index].replace(value).is_some() {
                return Err(CommandLineError::Twice(KEYS[index]));
            }
        } else if key.starts_with("hearth.") {
            unknown.push(key.to_owned());
        } else if word == "gpt" {
            kernel_uses_backup_table = true;
        }
    }
    Ok(CommandLine {
        slot: values.required(SLOT, "a or b", slot)?,
        disk: values.required(DISK, "a GUID in lower case", guid)?,
        state_seq: values.required(STATE_SEQ, "a number", number)?,
        healed: values.required(HEALED, "0 or 1", flag)?,
        root_hash: values.required(ROOT_HASH, "64 hexadecimal digits", |v| hex(v, 64..=64))?,
        root_salt: values.required(
            ROOT_SALT,
            "an even number of hexadecimal digits, at most 512",
            |v| hex(v, 0..=MAX_SALT_DIGITS),
        )?,
        root_blocks: values.required(ROOT_BLOCKS, "a number of blocks, 2 or more", |v| {
            number(v).filter(|n| (2..=MAX_ROOT_BLOCKS).contains(n))
        })?,
        profile: values.required(PROFILE, "dev or release", |v| {
            matches!(v, "dev" | "release").then(|| v.to_owned())
        })?,
        board: values.required(BOARD, "a board's name", |v| name(v, 32))?,
        version: values.required(VERSION, "a version", |v| name(v, 64))?,
        rollback_index: values
            .optional(ROLLBACK_INDEX, "a number of at most 32 bits", |v| {
                number(v).and_then(|n| u32::try_from(n).ok())
            })?
            .unwrap_or(0),
        development_keys: values.required(DEV_KEYS, "0 or 1", flag)?,
        built_unix_s: values.optional(BUILT, "seconds since 1970", number)?,
        test: values.optional(TEST, "a test's name", |v| name(v, 32))?,
        kernel_uses_backup_table,
        unknown,
    })
}

/// Words between blanks; a quoted value may hold blanks, as in the kernel's `next_arg()`.
fn words(text: &str) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c: char| {
        quoted ^= c == '"';
        !quoted && c.is_ascii_whitespace()
    })
    .filter(|word| !word.is_empty())
}

fn slot(value: &str) -> Option<Slot> {
    match value {
        "a" => Some(Slot::A),
        "b" => Some(Slot::B),
        _ => None,
    }
}

fn flag(value: &str) -> Option<bool> {
    match value {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    }
}

/// Decimal, digits only (`u64::from_str` would take a plus sign).
fn number(value: &str) -> Option<u64> {
    value
        .bytes()
        .all(|b| b.is_ascii_digit())
        .then(|| value.parse().ok())?
}

fn is_lower_hex(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'a'..=b'f')
}

fn hex(value: &str, digits: std::ops::RangeInclusive<usize>) -> Option<String> {
    let shape =
        digits.contains(&value.len()) && value.len().is_multiple_of(2) && value.bytes().all(is_lower_hex);
    shape.then(|| value.to_owned())
}

fn guid(value: &str) -> Option<String> {
    let lengths = [8, 4, 4, 4, 12];
    let mut parts = value.split('-');
    let shape = lengths.iter().all(|length| {
        parts
            .next()
            .is_some_and(|part| part.len() == *length && part.bytes().all(is_lower_hex))
    });
    (shape && parts.next().is_none()).then(|| value.to_owned())
}

fn name(value: &str, max: usize) -> Option<String> {
    let shape = (1..=max).contains(&value.len())
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_' | b'+' | b'~'));
    shape.then(|| value.to_owned())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn good() -> String {
        format!(
            "console=ttyAMA0 quiet hearth.root-hash={} hearth.root-salt=00ff hearth.root-blocks=7000 hearth.profile=dev \
             hearth.board=qemu-arm64 hearth.version=0.1.0 hearth.rollback-index=7 hearth.dev-keys=1 hearth.built=1700000000 \
             hearth.slot=b hearth.disk=0f4c2d1e-aaaa-bbbb-cccc-0123456789ab hearth.state-seq=42 hearth.healed=0\n",
            "ab".repeat(32)
        )
    }

    #[test]
    fn every_key_is_read() {
        let line = parse(&good()).unwrap();
        assert_eq!(
            (line.slot, line.state_seq, line.healed, line.root_blocks),
            (Slot::B, 42, false, 7000)
        );
        assert_eq!(line.rollback_index, 7);
        let without = good().replace("hearth.rollback-index=7 ", "");
        assert_eq!(parse(&without).unwrap().rollback_index, 0);
        assert_eq!(
            (line.root_salt.as_str(), line.built_unix_s),
            ("00ff", Some(1_700_000_000))
        );
        assert!(line.development_keys && !line.kernel_uses_backup_table && line.test.is_none());
        assert!(
            parse(&format!("{} gpt", good()))
                .unwrap()
                .kernel_uses_backup_table
        );
    }

    #[test]
    fn a_missing_key_is_named() {
        for key in KEYS
            .into_iter()
            .filter(|key| !matches!(*key, ROLLBACK_INDEX | BUILT | TEST))
        {
            let text: Vec<_> = good()
                .split(' ')
                .filter(|w| !w.starts_with(&format!("{key}=")))
                .map(str::to_owned)
                .collect();
            assert_eq!(parse(&text.join(" ")), Err(CommandLineError::Missing(key)));
        }
    }

    #[test]
    fn a_value_of_the_wrong_shape_is_refused_by_name() {
        for (key, bad) in [
            (ROLLBACK_INDEX, "-1"),
            (ROLLBACK_INDEX, ""),
            (ROLLBACK_INDEX, "4294967296"),
            (SLOT, "c"),
            (SLOT, ""),
            (DISK, "0F4C2D1E-aaaa-bbbb-cccc-0123456789ab"),
            (DISK, "0f4c2d1e-aaaa-bbbb-cccc-0123456789ab-00"),
            (STATE_SEQ, "+1"),
            (STATE_SEQ, "99999999999999999999"),
            (HEALED, "yes"),
            (ROOT_HASH, "ab"),
            (ROOT_SALT, "abc"),
            (ROOT_SALT, "x y"),
            (ROOT_BLOCKS, "0"),
            (ROOT_BLOCKS, "18446744073709551615"),
            (PROFILE, "debug"),
            (BOARD, "../x"),
            (VERSION, "1/2"),
            (DEV_KEYS, "2"),
            (BUILT, "-1"),
        ] {
            let text: Vec<_> = good()
                .split_ascii_whitespace()
                .map(|w| {
                    if w.starts_with(&format!("{key}=")) {
                        format!("{key}=\"{bad}\"").replace('"', "")
                    } else {
                        w.into()
                    }
                })
                .collect();
            match parse(&text.join(" ")) {
                Err(CommandLineError::Shape { key: named, .. }) => assert_eq!(named, key, "{bad:?}"),
                other => panic!("{key}={bad:?}: {other:?}"),
            }
        }
    }

    #[test]
    fn the_same_key_twice_is_refused_and_quotes_hide_nothing_outside() {
        assert_eq!(
            parse(&format!("{} hearth.slot=a", good())),
            Err(CommandLineError::Twice(SLOT))
        );
        assert!(
            parse(&format!("{} dyndbg=\"hearth.slot=a on\"", good())).is_ok(),
            "inside a quoted value"
        );
        assert!(matches!(
            parse(&" ".repeat(MAX_BYTES + 1)),
            Err(CommandLineError::TooLong(_))
        ));
    }

    #[test]
    fn a_key_of_a_newer_boot_manager_is_reported_not_refused() {
        let line = parse(&format!("{} hearth.new-thing=1", good())).unwrap();
        assert_eq!(line.unknown, ["hearth.new-thing"]);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}") {
            let _ = parse(&text);
            let _ = parse(&format!("{} {text}", good()));
        }
    }
}
