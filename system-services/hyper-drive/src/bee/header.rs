//! The first block of a bee: that it is one, and what a program noted about it.

use bytes::Bytes;

use super::protobuf::{Malformed, Reader, number_bytes, put_bytes, put_field};

/// What the first block says it is.
const PROTOCOL: &[u8] = b"hyperbee";

/// What a program notes about a bee in its first block; fixed when the first entry is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Metadata {
    /// The key of the core with the contents of files, in drives that were made by hyperdrive 10.
    pub content_feed: Option<Bytes>,
    /// Anything else.
    pub user_data: Option<Bytes>,
}

/// The first block of a bee.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Header {
    /// What was noted about the bee.
    pub metadata: Option<Metadata>,
}

/// A first block that is not that of a bee.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAHeader {
    /// It cannot be read.
    #[error("it cannot be read")]
    Malformed(#[from] Malformed),
    /// It names another protocol, or none.
    #[error("it does not say \"hyperbee\"")]
    OtherProtocol,
}

impl Header {
    /// Reads the first block of a core.
    pub fn decode(block: &Bytes) -> Result<Self, NotAHeader> {
        let (mut protocol, mut metadata) = (None, None);
        let mut reader = Reader::new(block);
        while let Some((number, range)) = reader.field()? {
            match number {
                1 => protocol = Some(block.slice(range)),
                2 => metadata = Some(Metadata::decode(&block.slice(range))?),
                _ => {}
            }
        }
        match protocol {
            Some(protocol) if protocol == PROTOCOL => Ok(Self { metadata }),
            _ => Err(NotAHeader::OtherProtocol),
        }
    }

    /// Writes the first block of a core.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_bytes(&mut out, 1, PROTOCOL);
        if let Some(metadata) = &self.metadata {
            let fields = [&metadata.content_feed, &metadata.user_data];
            let len = |field: &Option<Bytes>| {
                field
                    .as_ref()
                    .map_or(0, |bytes| 1 + number_bytes(bytes.len() as u64) + bytes.len())
            };
            put_field(&mut out, 2, fields.into_iter().map(len).sum());
            for (number, field) in (1..).zip(fields) {
                if let Some(bytes) = field {
                    put_bytes(&mut out, number, bytes);
                }
            }
        }
        out
    }
}

impl Metadata {
    fn decode(message: &Bytes) -> Result<Self, Malformed> {
        let mut metadata = Self::default();
        let mut reader = Reader::new(message);
        while let Some((number, range)) = reader.field()? {
            match number {
                1 => metadata.content_feed = Some(message.slice(range)),
                2 => metadata.user_data = Some(message.slice(range)),
                _ => {}
            }
        }
        Ok(metadata)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_back() {
        for metadata in [
            None,
            Some(Metadata::default()),
            Some(Metadata {
                content_feed: Some(Bytes::from_static(&[7; 32])),
                user_data: Some(Bytes::from_static(b"notes")),
            }),
        ] {
            let header = Header { metadata };
            assert_eq!(Header::decode(&header.encode().into()), Ok(header));
        }
    }

    #[test]
    fn a_core_of_anything_else_is_no_bee() {
        let other = Bytes::from_static(b"\x0a\x05other");
        assert_eq!(Header::decode(&other), Err(NotAHeader::OtherProtocol));
        assert_eq!(Header::decode(&Bytes::new()), Err(NotAHeader::OtherProtocol));
        assert!(matches!(
            Header::decode(&Bytes::from_static(b"hello")),
            Err(NotAHeader::Malformed(_))
        ));
    }
}
