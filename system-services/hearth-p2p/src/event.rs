//! What the program says with `--json`: every line is one of these (`docs/p2p.md` has the table).

use serde::Serialize;

/// One line.
#[derive(Debug, Serialize)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "camelCase")]
pub enum Event<'a> {
    /// The last line of a failure.
    Error {
        /// The exit code.
        code: u8,
        /// What, where, why, what to do.
        message: &'a str,
    },
    /// A key in all its forms.
    Key {
        /// In z-base-32.
        key: &'a str,
        /// In hexadecimal.
        hex: &'a str,
        /// What a core of this key is found by, in hexadecimal.
        discovery_key: &'a str,
    },
    /// A core that is in the storage.
    Core(CoreLine<'a>),
    /// Blocks were appended.
    Appended {
        /// The core's key.
        key: &'a str,
        /// Blocks it now has.
        length: u64,
    },
    /// A block.
    Block {
        /// Its number.
        block: u64,
        /// Its bytes.
        value: Value<'a>,
    },
    /// All that is stored of a core was read, and nothing is damaged.
    Audited {
        /// The core's key.
        key: &'a str,
        /// Blocks of the core.
        blocks: u64,
    },
    /// Something of a core is damaged.
    Damaged {
        /// The core's key.
        key: &'a str,
        /// What, in words.
        part: &'a str,
    },
    /// Changes that the disk had kept are gone, and nothing is changed until they are given up.
    LostChanges {
        /// Where the log is damaged, in bytes.
        offset: u64,
        /// How many there were, at least.
        at_least: u64,
    },
    /// The version of a bee after a change.
    Version {
        /// Blocks of its core.
        version: u64,
    },
    /// A key of a bee and what it stands for.
    Entry {
        /// The block that put it.
        seq: u64,
        /// The key.
        key: Value<'a>,
        /// What it stands for.
        value: Value<'a>,
    },
    /// A change of a bee: a key was put.
    Put {
        /// The block that did it.
        seq: u64,
        /// The key.
        key: Value<'a>,
        /// What it stands for since.
        value: Value<'a>,
    },
    /// A change of a bee: a key was removed.
    Del {
        /// The block that did it.
        seq: u64,
        /// The key.
        key: Value<'a>,
    },
    /// Something can be reached here.
    Listening {
        /// `ADDRESS:PORT`.
        address: &'a str,
    },
    /// How a node of the DHT stands to the others.
    Node {
        /// `ADDRESS:PORT` as others see it.
        address: Option<&'a str>,
        /// Whether it stores for others.
        persistent: bool,
        /// Whether strangers may not reach it.
        firewalled: bool,
        /// Nodes that it knows.
        nodes: usize,
    },
    /// A peer is connected.
    Connected {
        /// Its public key.
        peer: &'a str,
    },
    /// A connection ended.
    Disconnected {
        /// The peer's public key.
        peer: &'a str,
        /// Why it was dropped, if the peer is to blame.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<&'a str>,
    },
    /// A peer could not be connected to.
    NotConnected {
        /// Its public key.
        peer: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// Others find a core here.
    Announced {
        /// What it is found by, in hexadecimal.
        discovery_key: &'a str,
    },
    /// Others can connect to this key.
    Serving {
        /// The key.
        key: &'a str,
    },
    /// A core has another length, or more of it is stored.
    Length {
        /// The core's key.
        key: &'a str,
        /// Blocks.
        length: u64,
        /// Blocks from the start without a gap that are stored.
        contiguous_length: u64,
        /// How often it was truncated.
        fork: u64,
    },
    /// A drive.
    Drive {
        /// Its key.
        key: &'a str,
        /// What it is found by, in hexadecimal.
        discovery_key: &'a str,
        /// Blocks of its database.
        version: u64,
        /// Whether it can be written here.
        writable: bool,
    },
    /// A file or link of a drive.
    File {
        /// Its path, or its name within the folder that is listed.
        path: &'a str,
        /// Bytes of its content.
        bytes: u64,
        /// Whether it may be run.
        executable: bool,
        /// Where it leads, if it is a link.
        #[serde(skip_serializing_if = "Option::is_none")]
        link: Option<&'a str>,
    },
    /// A folder of a drive.
    Folder {
        /// Its name within the folder that is listed.
        path: &'a str,
    },
    /// A mirror is made.
    Mirrored {
        /// Files and links of the source.
        files: u64,
        /// Those that the target did not have.
        added: u64,
        /// Those that the target had otherwise.
        changed: u64,
        /// What only the target had, and has no longer.
        removed: u64,
        /// Bytes that were copied.
        bytes: u64,
        /// Files that were left out.
        left_out: u64,
    },
    /// A file that a mirror leaves out.
    LeftOut {
        /// Its path.
        path: &'a str,
        /// Why.
        reason: &'a str,
    },
    /// The files of a drive are here.
    Downloaded {
        /// How many.
        files: u64,
        /// Of which version.
        version: u64,
    },
    /// How far a long piece of work is, about once a second.
    Progress {
        /// Bytes done.
        bytes: u64,
        /// Bytes in all.
        total_bytes: u64,
    },
}

/// What is known of a core.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CoreLine<'a> {
    /// Its key, in z-base-32.
    pub key: &'a str,
    /// What it is found by, in hexadecimal.
    pub discovery_key: &'a str,
    /// Its name in the storage.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<&'a str>,
    /// Blocks.
    pub length: u64,
    /// Bytes of all blocks.
    pub byte_length: u64,
    /// Blocks from the start without a gap that are stored.
    pub contiguous_length: u64,
    /// How often it was truncated.
    pub fork: u64,
    /// Whether it can be written here.
    pub writable: bool,
}

/// Bytes: a string where they are UTF-8, otherwise `{"base64": …}`.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub enum Value<'a> {
    /// UTF-8.
    Text(&'a str),
    /// Anything else.
    Bytes {
        /// In base 64.
        base64: String,
    },
}

impl<'a> From<&'a [u8]> for Value<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text),
            Err(_) => Self::Bytes {
                base64: data_encoding::BASE64.encode(bytes),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_object() {
        let block = |bytes: &'static [u8]| {
            serde_json::to_string(&Event::Block {
                block: 3,
                value: bytes.into(),
            })
            .unwrap()
        };
        assert_eq!(block(b"text"), r#"{"event":"block","block":3,"value":"text"}"#);
        assert_eq!(
            block(&[0xff]),
            r#"{"event":"block","block":3,"value":{"base64":"/w=="}}"#
        );
        let core = CoreLine {
            key: "k",
            discovery_key: "d",
            name: None,
            length: 1,
            byte_length: 2,
            contiguous_length: 1,
            fork: 0,
            writable: true,
        };
        let line = serde_json::to_string(&Event::Core(core)).unwrap();
        assert!(
            line.starts_with(r#"{"event":"core","key":"k","discoveryKey":"d","length":1,"#),
            "{line}"
        );
    }
}
