//! Keys as people read and type them: z-base-32 (52 characters), which the JavaScript tools show, or hexadecimal (64).
//!
//! Both are read, as is a link `pear://KEY/anything`, whose key alone counts. z-base-32 is lower case only; the four bits by which 52
//! characters are longer than a key must be zero, as every tool writes them (the JavaScript tools do not look at them).

use std::fmt;

use data_encoding::{DecodeError, DecodeKind, Encoding, HEXLOWER, HEXLOWER_PERMISSIVE};
use data_encoding_macro::new_encoding;

use crate::crypto::Hash;

/// Characters of a key in z-base-32.
pub const Z32_CHARACTERS: usize = 52;

/// Characters of a key in hexadecimal.
pub const HEX_CHARACTERS: usize = 64;

const LINK: &str = "pear://";

const Z32: Encoding = new_encoding! {
    symbols: "ybndrfg8ejkmcpqxot1uwisza345h769",
};

/// Text that is no key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyTextError {
    /// Too long or too short.
    #[error(
        "a key has 52 characters (z-base-32) or 64 (hexadecimal), this one has {0}: was all of it copied, and nothing else?"
    )]
    Length(usize),
    /// A character that no key has.
    #[error("a key in {notation} has no {character:?}, character {at} of this one")]
    Character {
        /// How the key is written, by its length.
        notation: Notation,
        /// The character.
        character: char,
        /// Its place, counted from 1.
        at: usize,
    },
    /// The last character says more than a key holds.
    #[error(
        "the key ends in a character with which no key in z-base-32 ends: one of its last characters is mistyped"
    )]
    Trailing,
}

/// How a key is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notation {
    /// 52 characters, case matters.
    Z32,
    /// 64 characters.
    Hex,
}

impl fmt::Display for Notation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Z32 => "z-base-32",
            Self::Hex => "hexadecimal",
        })
    }
}

/// Reads a key in either notation, or out of a link.
pub fn parse(text: &str) -> Result<Hash, KeyTextError> {
    let text = match text.strip_prefix(LINK) {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => text,
    };
    let length = text.chars().count();
    let (notation, decoded) = match length {
        Z32_CHARACTERS => (Notation::Z32, Z32.decode(text.as_bytes())),
        HEX_CHARACTERS => (Notation::Hex, HEXLOWER_PERMISSIVE.decode(text.as_bytes())),
        _ => return Err(KeyTextError::Length(length)),
    };
    let bytes = decoded.map_err(|error| explain(text, notation, error))?;
    bytes.try_into().map_err(|_| KeyTextError::Length(length))
}

/// Names the character. The decoder counts bytes; the first byte that it refuses is the first of a character.
fn explain(text: &str, notation: Notation, error: DecodeError) -> KeyTextError {
    let before = text
        .get(..error.position)
        .map_or(0, |before| before.chars().count());
    match (error.kind, text.chars().nth(before)) {
        (DecodeKind::Trailing, _) => KeyTextError::Trailing,
        // A text with characters of several bytes has a length that no notation has: the character is still what is wrong.
        (_, Some(found)) => {
            let strange = text.chars().position(|character| !character.is_ascii());
            let at = strange.unwrap_or(before);
            KeyTextError::Character {
                notation,
                character: text.chars().nth(at).unwrap_or(found),
                at: at + 1,
            }
        }
        (_, None) => KeyTextError::Length(text.chars().count()),
    }
}

/// The key in z-base-32, as the JavaScript tools show it.
pub fn to_z32(key: &Hash) -> String {
    Z32.encode(key)
}

/// The key in hexadecimal.
pub fn to_hex(key: &Hash) -> String {
    HEXLOWER.encode(key)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_wrong_with_a_key_is_said() {
        assert_eq!(parse("abc"), Err(KeyTextError::Length(3)));
        let mut text = to_z32(&[7; 32]);
        text.replace_range(4..5, "l");
        let wrong = KeyTextError::Character {
            notation: Notation::Z32,
            character: 'l',
            at: 5,
        };
        assert_eq!(parse(&text), Err(wrong));
        text.replace_range(4..5, "ä");
        assert!(matches!(
            parse(&text),
            Err(KeyTextError::Character {
                character: 'ä',
                at: 5,
                ..
            })
        ));
        let mut text = to_hex(&[7; 32]);
        text.replace_range(63.., "x");
        assert!(matches!(
            parse(&text),
            Err(KeyTextError::Character {
                character: 'x',
                at: 64,
                ..
            })
        ));
        let mut text = to_z32(&[0; 32]);
        text.replace_range(51.., "b");
        assert_eq!(parse(&text), Err(KeyTextError::Trailing));
    }

    proptest! {
        #[test]
        fn a_key_is_read_as_it_was_written(key: [u8; 32]) {
            prop_assert_eq!(parse(&to_z32(&key)), Ok(key));
            prop_assert_eq!(parse(&to_hex(&key)), Ok(key));
            prop_assert_eq!(parse(&format!("pear://{}/some/file", to_z32(&key))), Ok(key));
        }

        #[test]
        fn any_text_is_a_key_or_refused(text in "\\PC{0,80}", long in "[a-zäß]{52}|[0-9a-fß]{64}") {
            for text in [text, long] {
                if let Ok(key) = parse(&text) {
                    prop_assert!(text == to_z32(&key) || text.to_lowercase() == to_hex(&key));
                }
            }
        }
    }
}
