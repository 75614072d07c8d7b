//! What the updater reads at home: its notes, its settings, the time zone; what a server answers; and what people are shown of a
//! bundle.

use channel::schedule::QuietHours;
use updater::access;
use updater::channel::Choice;
use updater::config::Config;
use updater::install::https;
use updater::journal::{decode_channel, decode_line, decode_record, encode_record};
use updater::night;
use web_setup::prose::{self, Block};

use crate::{accept, padded, text};

/// A value of the journal: what decodes encodes to what decodes to the same.
pub fn updater_journal(bytes: &[u8]) {
    if decode_line(bytes).is_ok() || decode_channel(bytes).is_ok() || access::decode(bytes).is_ok() {
        accept();
    }
    let Ok(record) = decode_record(bytes) else {
        return;
    };
    accept();
    let again = encode_record(&record).expect("a record can be written");
    assert_eq!(decode_record(&again).as_ref(), Ok(&record));
}

/// The settings, the system's or the owner's: a channel is reached by HTTPS only, times of the day are such.
pub fn updater_settings(bytes: &[u8]) {
    let Some(text) = text(bytes) else {
        return;
    };
    let config = Config::parse(text);
    let none = Choice::none().expect("the built-in choice is valid");
    let owners = none.with_text(text);
    if let Ok(config) = &config {
        assert!(config.night_hour < 24 && !config.health.interval.is_zero());
    }
    for choice in config.iter().map(|config| &config.channel).chain(&owners) {
        accept();
        if let Some(url) = choice.index_url() {
            assert!(
                url.starts_with("https://") && !url.contains(['?', '#', '@', ' ']),
                "{url}"
            );
            assert!(url.ends_with(&format!("/{}", choice.name.file_name())), "{url}");
        }
        let hours = choice.quiet.to_string();
        assert_eq!(QuietHours::parse(&hours), Ok(choice.quiet));
    }
}

/// A server's `Content-Range`: some bytes, inside of the file.
pub fn content_range(bytes: &[u8]) {
    let Some((range, size)) = text(bytes).and_then(https::content_range) else {
        return;
    };
    accept();
    assert!(range.start < range.end && range.end <= size, "{range:?} {size}");
}

/// Eight bytes time, then a TZif file: an offset is less than a day, and the night comes within two.
pub fn night(bytes: &[u8]) {
    let at = i64::from_le_bytes(padded(bytes, 0));
    let file = bytes.get(8..).unwrap_or_default();
    let Some(offset) = night::offset_in(file, at) else {
        return;
    };
    accept();
    assert!(offset.unsigned_abs() < 86_400);
    // Until the year 9999.
    let now = (at.unsigned_abs() % 253_402_300_800).max(86_400);
    for hour in [0, 3, 23] {
        let next = night::next(now, hour, offset);
        assert!(
            next >= now + 60 && next <= now + 86_400 + 60,
            "{now} {hour} {offset}: {next}"
        );
    }
}

/// A description: only text gets through, and not without end.
pub fn prose(bytes: &[u8]) {
    let Some(text) = text(bytes) else {
        return;
    };
    let (blocks, _) = prose::parse(text);
    if !blocks.is_empty() {
        accept();
    }
    let texts = blocks.iter().flat_map(|block| match block {
        Block::Paragraph(text) => std::slice::from_ref(text),
        Block::List(items) => items,
    });
    let all: String = texts.cloned().collect();
    assert!(!all.chars().any(|c| c.is_control() || c == '\u{202e}'), "{all:?}");
    assert!(all.chars().count() <= 2 * prose::MAX_CHARS);
    let html = prose::render(text).into_string();
    let plain = ["<p>", "</p>", "<ul>", "</ul>", "<li>", "</li>"]
        .iter()
        .fold(html, |html, tag| html.replace(tag, ""));
    assert!(!plain.contains(['<', '>']), "{plain}");
}
