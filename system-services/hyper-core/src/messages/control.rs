//! What the two ends tell each other about themselves: the handshake, `Sync`, `Cancel`, `NoData`, `Extension`.

use super::MalformedMessage;
use super::codec::{Reader, flags, put_bytes, put_uint};

/// The handshake of a core's channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Open {
    /// The sender answers `seek` requests.
    pub seeks: bool,
    /// Shows that the sender knows the core's key: a hash over it and the handshake hash of the connection, with
    /// another namespace in each
    /// direction. Compare in constant time.
    pub capability: [u8; 32],
}

impl Open {
    /// The bytes for the mux's handshake.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(33);
        put_uint(&mut out, flags([self.seeks]));
        out.extend_from_slice(&self.capability);
        out
    }

    /// Reads the handshake bytes of the mux.
    pub fn decode(bytes: &[u8]) -> Result<Self, MalformedMessage> {
        let mut reader = Reader::new("Open", bytes);
        let flags = reader.uint("flags")?;
        Ok(Self {
            seeks: flags & 1 != 0,
            capability: reader.array("capability")?,
        })
    }
}

/// The state of the sender's core; sent after the handshake and whenever it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sync {
    /// Fork number.
    pub fork: u64,
    /// Length in blocks.
    pub length: u64,
    /// The length of the receiver's core as the sender knows it; 0 when the forks differ.
    pub remote_length: u64,
    /// The sender can give an upgrade from `remote_length`.
    pub can_upgrade: bool,
    /// The sender answers requests.
    pub uploading: bool,
    /// The sender makes requests. When neither end does, the peer closes the channel.
    pub downloading: bool,
    /// The sender has the manifest and can give it.
    pub has_manifest: bool,
    /// The sender takes blocks that it did not ask for.
    pub allow_push: bool,
}

impl Sync {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let set = [
            self.can_upgrade,
            self.uploading,
            self.downloading,
            self.has_manifest,
            self.allow_push,
        ];
        put_uint(out, flags(set));
        put_uint(out, self.fork);
        put_uint(out, self.length);
        put_uint(out, self.remote_length);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        let flags = reader.uint("flags")?;
        Ok(Self {
            fork: reader.uint("fork")?,
            length: reader.uint("length")?,
            remote_length: reader.uint("remote_length")?,
            can_upgrade: flags & 1 != 0,
            uploading: flags & 2 != 0,
            downloading: flags & 4 != 0,
            has_manifest: flags & 8 != 0,
            allow_push: flags & 16 != 0,
        })
    }
}

/// A request need not be answered any more. A peer that has answered already says nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cancel {
    /// The id of the request.
    pub request: u64,
}

impl Cancel {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_uint(out, self.request);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        Ok(Self {
            request: reader.uint("request")?,
        })
    }
}

/// The request is not fulfilled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoData {
    /// The id of the request.
    pub request: u64,
    /// Why.
    pub reason: NoDataReason,
}

/// Why a request is not fulfilled; a newer peer may know further numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoDataReason(pub u64);

impl NoDataReason {
    /// The sender did not say.
    pub const UNSPECIFIED: Self = Self(0);
    /// The sender lacks the blocks, or its core is on another fork.
    pub const NOT_AVAILABLE: Self = Self(1);
    /// No proof can answer this request. The peer waits 0.2 to 5 s before it says so, and drops the connection at the
    /// 64th.
    pub const INVALID_REQUEST: Self = Self(2);
}

impl NoData {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let given = self.reason != NoDataReason::UNSPECIFIED;
        put_uint(out, self.request);
        put_uint(out, flags([given]));
        if given {
            put_uint(out, self.reason.0);
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        let request = reader.uint("request")?;
        // Older peers sent the request alone.
        let flags = if reader.is_empty() {
            0
        } else {
            reader.uint("flags")?
        };
        let reason = if flags & 1 != 0 { reader.uint("reason")? } else { 0 };
        Ok(Self {
            request,
            reason: NoDataReason(reason),
        })
    }
}

/// A message of an application that shares the channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Extension {
    /// The extension's name; empty means the name of the extension message before this one, in this direction.
    pub name: String,
    /// The application's bytes.
    pub message: Vec<u8>,
}

impl Extension {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        put_bytes(out, self.name.as_bytes());
        out.extend_from_slice(&self.message);
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self, MalformedMessage> {
        let name = reader.text("name")?.to_owned();
        Ok(Self {
            name,
            message: reader.take_rest().to_vec(),
        })
    }
}
