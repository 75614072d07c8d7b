//! The signed index of an update channel.

use channel::{Decision, Device, DeviceId, Location, decide, parse};

use crate::accept;

const INDEX_URL: &str = "https://updates.example/hearth/stable.hearth-channel";

/// What parses is written out to the same; no bundle is outside of the folder or off HTTPS; nothing that was stopped, or is
/// not newer, is offered.
pub fn channel_index(bytes: &[u8]) {
    let index = match parse(bytes) {
        Ok(index) => index,
        Err(error) => {
            let sentence = error.to_string();
            assert!(!sentence.chars().any(char::is_control), "{sentence:?}");
            return;
        }
    };
    accept();
    let written = index.to_toml().expect("an index can be written");
    assert_eq!(parse(written.as_bytes()).as_ref(), Ok(&index));
    for compatible in &index.compatibles {
        for release in &compatible.releases {
            let address = release.bundle.resolve(INDEX_URL);
            assert!(
                address.starts_with("https://") && !address.contains("/../"),
                "{address}"
            );
            if let Location::Below(_) = release.bundle {
                assert!(
                    address.starts_with("https://updates.example/hearth/"),
                    "{address}"
                );
            }
        }
        let device = Device {
            compatible: &compatible.name,
            version: "1.0.0",
            id: DeviceId::from_machine_id("0123456789abcdef0123456789abcdef"),
            minimum_version: None,
            failed: &[],
        };
        for now in [index.issued, index.expires] {
            if let Decision::Offered { release, .. } = decide(&index, &device, now, None) {
                assert!(!release.stopped && now < index.expires && release.version.as_str() != "1.0.0");
            }
        }
    }
}
