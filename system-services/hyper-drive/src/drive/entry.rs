//! What a drive notes of a file: JSON, byte for byte as the peers write it.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::blobs::{BlobId, InvalidBlobId};

/// The most bytes of one note. Our own limit, far above what metadata need: a note is held in memory with others.
pub const MAX_ENTRY_BYTES: usize = 1 << 20;

/// A note that is none.
#[derive(Debug, thiserror::Error)]
pub enum EntryError {
    /// More than [`MAX_ENTRY_BYTES`].
    #[error("it has {0} bytes, more than the {MAX_ENTRY_BYTES} that are read")]
    TooLong(usize),
    /// Not the JSON of an entry.
    #[error("it cannot be read as the JSON of a file")]
    Json(#[source] serde_json::Error),
    /// A content that cannot be.
    #[error(transparent)]
    Blob(#[from] InvalidBlobId),
}

/// Any JSON that a program keeps with a file, as text without spaces between.
///
/// The text is kept as it is, the order of keys too: what a peer wrote goes on unchanged.
#[derive(Debug, Clone)]
pub struct Metadata(Box<RawValue>);

impl Metadata {
    /// From JSON text. Spaces between are dropped.
    pub fn parse(json: &str) -> Result<Self, serde_json::Error> {
        serde_json::from_str::<&RawValue>(json)?;
        let mut text = String::with_capacity(json.len());
        let (mut quoted, mut escaped) = (false, false);
        for c in json.chars() {
            if quoted {
                quoted = c != '"' || escaped;
                escaped = c == '\\' && !escaped;
            } else if c.is_ascii_whitespace() {
                continue;
            } else {
                quoted = c == '"';
            }
            text.push(c);
        }
        RawValue::from_string(text).map(Self)
    }

    /// From anything that becomes JSON.
    pub fn of(value: &impl Serialize) -> Result<Self, serde_json::Error> {
        serde_json::value::to_raw_value(value).map(Self)
    }

    /// The JSON text.
    pub fn as_json(&self) -> &str {
        self.0.get()
    }
}

/// Equal in content: the order of keys does not count. Text that is nested too deeply to be looked into (128 levels) is equal only
/// to the same text.
impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        let value = |metadata: &Self| serde_json::from_str::<serde_json::Value>(metadata.as_json());
        self.as_json() == other.as_json()
            || matches!((value(self), value(other)), (Ok(this), Ok(other)) if this == other)
    }
}

/// What a drive notes of a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EntryValue {
    /// Whether it may be run.
    pub executable: bool,
    /// Where it leads, if it is a symbolic link. Never empty.
    pub linkname: Option<String>,
    /// Its content.
    pub blob: Option<BlobId>,
    /// What a program keeps with it.
    pub metadata: Option<Metadata>,
}

/// The JSON, in the order of the bytes. Absent is null, as the peers read it.
#[derive(Serialize, Deserialize)]
struct RawEntry {
    #[serde(default)]
    executable: Option<bool>,
    #[serde(default)]
    linkname: Option<String>,
    #[serde(default)]
    blob: Option<RawBlob>,
    #[serde(default)]
    metadata: Option<Box<RawValue>>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawBlob {
    block_offset: u64,
    byte_offset: u64,
    block_length: u64,
    byte_length: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    block_map: Option<bool>,
}

impl EntryValue {
    /// Reads a note. Unknown fields are ignored, as the peers do.
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryError> {
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(bytes.len()));
        }
        let raw: RawEntry = serde_json::from_slice(bytes).map_err(EntryError::Json)?;
        Ok(Self {
            executable: raw.executable.unwrap_or_default(),
            linkname: raw.linkname.filter(|target| !target.is_empty()),
            blob: raw.blob.map(RawBlob::check).transpose()?,
            metadata: raw.metadata.map(Metadata),
        })
    }

    /// The note's bytes, the same that the peers write.
    pub fn encode(&self) -> Result<Vec<u8>, EntryError> {
        let raw = RawEntry {
            executable: Some(self.executable),
            linkname: self.linkname.clone(),
            blob: self.blob.as_ref().map(RawBlob::new),
            metadata: self.metadata.clone().map(|metadata| metadata.0),
        };
        let bytes = serde_json::to_vec(&raw).map_err(EntryError::Json)?;
        if bytes.len() > MAX_ENTRY_BYTES {
            return Err(EntryError::TooLong(bytes.len()));
        }
        Ok(bytes)
    }
}

impl RawBlob {
    fn new(id: &BlobId) -> Self {
        Self {
            block_offset: id.block_offset,
            byte_offset: id.byte_offset,
            block_length: id.block_length,
            byte_length: id.byte_length,
            block_map: id.block_map.then_some(true),
        }
    }

    fn check(self) -> Result<BlobId, InvalidBlobId> {
        let id = BlobId {
            block_offset: self.block_offset,
            block_length: self.block_length,
            byte_offset: self.byte_offset,
            byte_length: self.byte_length,
            block_map: self.block_map.unwrap_or_default(),
        };
        id.check()?;
        Ok(id)
    }
}

/// Whether bytes are a note; checks that it is written again as it was read. For fuzzing.
pub fn fuzz_entry(bytes: &[u8]) -> bool {
    let Ok(value) = EntryValue::decode(bytes) else {
        return false;
    };
    match value.encode() {
        Ok(json) => assert!(
            EntryValue::decode(&json).is_ok_and(|again| again == value),
            "it is read otherwise the second time"
        ),
        // JSON with spaces may be shorter than without: characters that need no escape may have one, but none gets one that had none.
        Err(error) => assert!(
            matches!(error, EntryError::TooLong(_)),
            "what was read cannot be written"
        ),
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decode(json: &str) -> Result<EntryValue, EntryError> {
        EntryValue::decode(json.as_bytes())
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(executable: bool, linkname in proptest::option::of("\\PC{1,9}|[\u{0}-\u{7f}]{1,9}"), from in 0..1u64 << 40, size in 0..1u64 << 40, blob: bool) {
            let blob = blob.then_some(BlobId { block_offset: from, block_length: size.div_ceil(65536), byte_offset: from, byte_length: size, block_map: false });
            let metadata = Some(Metadata::parse(r#" { "b" : [ 1 , "a \" b" ], "a": 0 } "#).unwrap());
            let value = EntryValue { executable, linkname, blob, metadata };
            prop_assert_eq!(EntryValue::decode(&value.encode().unwrap()).unwrap(), value);
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes: Vec<u8>) {
            let _ = EntryValue::decode(&bytes);
        }
    }

    #[test]
    fn metadata_keep_their_order_and_lose_their_spaces() {
        let metadata = Metadata::parse("{ \"z\": [1, 2.50],\n \"a b\\\\\": \" \\\" \" }").unwrap();
        assert_eq!(metadata.as_json(), "{\"z\":[1,2.50],\"a b\\\\\":\" \\\" \"}");
        assert_eq!(
            metadata,
            Metadata::parse("{\"a b\\\\\":\" \\\" \",\"z\":[1,2.5]}").unwrap()
        );
        assert!(Metadata::parse("{\"a\": }").is_err());
    }

    #[test]
    fn missing_and_unknown_fields_are_no_error_but_wrong_ones_are() {
        assert_eq!(decode("{}").unwrap(), EntryValue::default());
        assert_eq!(
            decode(r#"{"linkname":"","more":[{}],"executable":null}"#).unwrap(),
            EntryValue::default()
        );
        for wrong in [
            "",
            "null",
            "[]x",
            r#"{"executable":1}"#,
            r#"{"linkname":7}"#,
            r#"{"blob":{}}"#,
            r#"{"blob":{"blockOffset":-1,"byteOffset":0,"blockLength":0,"byteLength":0}}"#,
            r#"{"blob":{"blockOffset":9007199254740991,"byteOffset":0,"blockLength":1,"byteLength":1}}"#,
            r#"{"blob":{"blockOffset":1e3,"byteOffset":0,"blockLength":0,"byteLength":0}}"#,
        ] {
            assert!(decode(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn deep_metadata_are_carried_without_being_looked_into() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let value = decode(&format!("{{\"metadata\":{deep}}}")).unwrap();
        assert_eq!(value, value.clone());
        assert!(decode(&format!("{{\"metadata\":\"{}\"}}", "x".repeat(MAX_ENTRY_BYTES))).is_err());
    }
}
