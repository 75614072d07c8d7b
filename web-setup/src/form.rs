//! `application/x-www-form-urlencoded` bodies, read strictly: a form of ours never needs more.

use thiserror::Error;

/// Largest body in bytes.
pub const MAX_BODY_BYTES: usize = 16 * 1024;
/// Most fields in one form.
pub const MAX_FIELDS: usize = 32;
/// Longest value in bytes, after decoding.
pub const MAX_VALUE_BYTES: usize = 1024;

/// Why a body was refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FormError {
    /// Over [`MAX_BODY_BYTES`], [`MAX_FIELDS`] or [`MAX_VALUE_BYTES`].
    #[error("the form is too large")]
    TooLarge,
    /// A percent sign without two hexadecimal digits, bytes that are not UTF-8, or a control character.
    #[error("the form is not well encoded")]
    Encoding,
    /// A field came twice.
    #[error("the form has a field twice")]
    Twice,
    /// A field without a name.
    #[error("the form has a field without a name")]
    Nameless,
}

/// The fields of one form.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Form {
    fields: Vec<(String, String)>,
}

impl std::fmt::Debug for Form {
    // Values may be passwords: a log line or a failed assertion must not show them.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.fields.iter().map(|(name, _)| name))
            .finish()
    }
}

impl Form {
    /// Reads a body. The order of fields does not matter; a field that comes twice is refused, because two readers of such a
    /// form could disagree.
    pub fn parse(body: &[u8]) -> Result<Self, FormError> {
        if body.len() > MAX_BODY_BYTES {
            return Err(FormError::TooLarge);
        }
        let mut fields: Vec<(String, String)> = Vec::new();
        for pair in body.split(|b| *b == b'&').filter(|pair| !pair.is_empty()) {
            let mut halves = pair.splitn(2, |b| *b == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if name.is_empty() {
                return Err(FormError::Nameless);
            }
            if fields.len() == MAX_FIELDS || name.len() > 64 || value.len() > MAX_VALUE_BYTES {
                return Err(FormError::TooLarge);
            }
            if fields.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Twice);
            }
            fields.push((name, value));
        }
        Ok(Self { fields })
    }

    /// The value as it was sent, or an empty string.
    pub fn get(&self, name: &str) -> &str {
        self.fields
            .iter()
            .find(|(known, _)| known == name)
            .map_or("", |(_, value)| value.as_str())
    }

    /// The value without the blanks that phone keyboards add at the ends.
    pub fn trimmed(&self, name: &str) -> &str {
        self.get(name).trim()
    }
}

fn decode(raw: &[u8]) -> Result<String, FormError> {
    let mut out = Vec::with_capacity(raw.len());
    let mut bytes = raw.iter().copied();
    while let Some(byte) = bytes.next() {
        out.push(match byte {
            b'+' => b' ',
            b'%' => hex(bytes.next())? << 4 | hex(bytes.next())?,
            other => other,
        });
    }
    let text = String::from_utf8(out).map_err(|_| FormError::Encoding)?;
    if text.chars().any(char::is_control) {
        return Err(FormError::Encoding);
    }
    Ok(text)
}

fn hex(byte: Option<u8>) -> Result<u8, FormError> {
    let digit = byte
        .and_then(|b| char::from(b).to_digit(16))
        .ok_or(FormError::Encoding)?;
    u8::try_from(digit).map_err(|_| FormError::Encoding)
}

/// Encodes fields, for tests and for links.
pub fn encode(fields: &[(&str, &str)]) -> String {
    let mut out = String::new();
    for (name, value) in fields {
        if !out.is_empty() {
            out.push('&');
        }
        for (part, end) in [(name, "="), (value, "")] {
            for byte in part.bytes() {
                if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) {
                    out.push(char::from(byte));
                } else {
                    out.push_str(&format!("%{byte:02X}"));
                }
            }
            out.push_str(end);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_damage_is_refused_by_its_own_name() {
        for (body, error) in [
            ("a=%", FormError::Encoding),
            ("a=%4", FormError::Encoding),
            ("a=%zz", FormError::Encoding),
            ("a=%ff", FormError::Encoding),
            ("a=%00", FormError::Encoding),
            ("a=%0a", FormError::Encoding),
            ("a=1&a=2", FormError::Twice),
            ("=1", FormError::Nameless),
        ] {
            assert_eq!(Form::parse(body.as_bytes()), Err(error), "{body}");
        }
        assert_eq!(
            Form::parse(&vec![b'a'; MAX_BODY_BYTES + 1]),
            Err(FormError::TooLarge)
        );
        assert_eq!(
            Form::parse(format!("a={}", "x".repeat(MAX_VALUE_BYTES + 1)).as_bytes()),
            Err(FormError::TooLarge)
        );
    }

    #[test]
    fn debug_output_never_shows_a_value() {
        let form = Form::parse(b"password=geheim").unwrap();
        assert!(!format!("{form:?}").contains("geheim"));
    }

    proptest::proptest! {
        #[test]
        fn what_is_encoded_is_read_back(name in "[a-z]{1,8}", value in "\\PC{0,40}") {
            let form = Form::parse(encode(&[(&name, &value)]).as_bytes()).unwrap();
            proptest::prop_assert_eq!(form.get(&name), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..400)) {
            if let Ok(form) = Form::parse(&bytes) {
                proptest::prop_assert!(form.fields.len() <= MAX_FIELDS);
            }
        }
    }
}
