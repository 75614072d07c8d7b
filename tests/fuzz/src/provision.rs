//! What the provisioner and the other services read from `data`, from the bus, and from logs.

use ipc::boot_facts::BootFacts;
use ipc::provisioner::StorageStatus;
use ipc::settings::{Settings, SetupRequest, TimeZone};
use provisioner::ext4::{Geometry, SUPERBLOCK_BYTES};
use provisioner::secrets::Administrator;

use crate::{accept, text};

fn climbs(zone: &TimeZone) -> bool {
    zone.as_str().starts_with('/') || zone.as_str().contains("..") || zone.as_str().contains('\0')
}

/// The settings file: what parses is written out to the same; no value can climb out of its folder.
pub fn settings(bytes: &[u8]) {
    let Some(settings) = text(bytes).and_then(|text| Settings::parse(text).ok()) else {
        return;
    };
    accept();
    assert!(!climbs(&settings.time_zone));
    let written = settings.to_toml().expect("settings can be written");
    assert_eq!(Settings::parse(&written), Ok(settings));
}

/// What the web page asks the provisioner for: as [`settings`].
pub fn setup_request(bytes: &[u8]) {
    let Some(request) = text(bytes).and_then(|text| SetupRequest::parse(text).ok()) else {
        return;
    };
    accept();
    assert!(!climbs(&request.time_zone));
    let written = request.to_toml().expect("a request can be written");
    assert_eq!(SetupRequest::parse(&written), Ok(request));
}

/// `boot.json` and the answer of `StorageStatus`: what parses is written out to the same.
pub fn facts(bytes: &[u8]) {
    if let Ok(facts) = serde_json::from_slice::<BootFacts>(bytes) {
        accept();
        let written = serde_json::to_vec(&facts).expect("facts can be written");
        assert_eq!(serde_json::from_slice::<BootFacts>(&written).ok(), Some(facts));
    }
    if let Ok(status) = serde_json::from_slice::<StorageStatus>(bytes) {
        accept();
        let written = serde_json::to_vec(&status).expect("a status can be written");
        assert_eq!(
            serde_json::from_slice::<StorageStatus>(&written).ok(),
            Some(status)
        );
    }
}

/// The administrator's file: what parses is written out to the same; neither Debug nor an error shows the hash.
pub fn administrator(bytes: &[u8]) {
    let Some(text) = text(bytes) else {
        return;
    };
    match Administrator::parse(text) {
        Ok(administrator) => {
            accept();
            assert!(!format!("{administrator:?}").contains('$'));
            let written = administrator.to_toml().expect("it can be written");
            assert_eq!(
                Administrator::parse(&written).expect("its own text is refused"),
                administrator
            );
        }
        Err(error) => assert!(!error.to_string().contains("$argon2"), "{error}"),
    }
}

/// A superblock: sizes never overflow, and a file system fills the partition that it was made for.
pub fn ext4(bytes: &[u8]) {
    let Ok(geometry) = Geometry::parse(bytes) else {
        return;
    };
    accept();
    assert!(bytes.len() >= SUPERBLOCK_BYTES && geometry.blocks > 0);
    assert!(geometry.block_bytes.is_power_of_two() && (1024..=65536).contains(&geometry.block_bytes));
    assert!(geometry.fills(geometry.bytes()));
    let _ = geometry.fills(u64::MAX);
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64 characters that depend on every byte of the input, so that they stand nowhere else in it.
fn secret(bytes: &[u8], salt: u64, len: usize) -> String {
    let mut state = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325 ^ salt, |hash: u64, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        char::from(BASE64[(state >> 58) as usize])
    };
    (0..len).map(|_| next()).collect()
}

/// Text of a log: lines stay lines, no hash is left, a secret planted between any two texts goes, and redacting once more
/// changes nothing.
pub fn redact(bytes: &[u8]) {
    accept();
    let text = String::from_utf8_lossy(bytes);
    clean(&text);
    let mut middle = text.len() / 2;
    while !text.is_char_boundary(middle) {
        middle += 1;
    }
    let (before, after) = text.split_at(middle);
    let (salt, hidden) = (secret(bytes, 1, 22), secret(bytes, 2, 43));
    for planted in [
        format!("$argon2id$v=19$m=19456,t=2,p=1${salt}${hidden}"),
        format!("root:$y$j9T${salt}${hidden}:1"),
        format!(" password={hidden}"),
        format!(" Bearer {hidden}"),
        format!(" --psk {hidden}"),
        // A slash would end the part of a URL that has the password.
        format!(" https://ada:{}@example.org/", hidden.replace('/', "%2F")),
    ] {
        let hidden = if planted.contains("://") {
            hidden.replace('/', "%2F")
        } else {
            hidden.clone()
        };
        let shown = clean(&format!("{before}{planted}{after}"));
        assert!(!shown.contains(&hidden), "{planted:?} left {shown:?}");
    }
}

fn clean(text: &str) -> String {
    let shown = provisioner::redact::redact(text);
    assert_eq!(
        shown.matches('\n').count(),
        text.matches('\n').count(),
        "lines were lost"
    );
    for (at, _) in shown.match_indices("$argon2") {
        let rest = shown[at + 1..].trim_start_matches(|c: char| c.is_ascii_alphanumeric());
        let hash = rest
            .strip_prefix('$')
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_alphanumeric()));
        assert!(!hash, "a hash is left in {shown:?}");
    }
    assert_eq!(
        provisioner::redact::redact(&shown),
        shown,
        "redacting again changes {text:?}"
    );
    shown
}
