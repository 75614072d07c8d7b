use proptest::prelude::*;

use super::*;

const VALID: &str = include_str!("../../../../../tests/fuzz/corpus/channel_index/valid-waves");

fn refusal(from: &str, to: &str) -> String {
    assert!(VALID.contains(from), "{from}");
    parse(VALID.replacen(from, to, 1).as_bytes())
        .unwrap_err()
        .to_string()
}

#[test]
fn an_index_is_written_as_it_was_read() {
    let mut index = parse(VALID.as_bytes()).unwrap();
    assert_eq!(
        index.compatibles[0].releases[0].rollback_index, 0,
        "none is named"
    );
    assert!(!index.to_toml().unwrap().contains("rollback_index"));
    index.compatibles[0].releases[0].rollback_index = u32::MAX;
    assert_eq!(parse(index.to_toml().unwrap().as_bytes()).unwrap(), index);
    let release = &index.compatible("hearth-raspberry-pi").unwrap().releases[0];
    assert_eq!(release.waves.len(), 3);
    assert_eq!(release.manifest_hash[0], 0x0f);
}

#[test]
fn every_refusal_names_the_key() {
    for (from, to, expected) in [
        ("format = 1", "format = 2", "format 2, this appliance knows 1"),
        ("format = 1", "", "missing field `format`"),
        ("format = 1", "format = 1\nformat = 1", "duplicate key"),
        (
            "channel = \"stable\"",
            "channel = \"Stable\"",
            "channel in the channel's index",
        ),
        (
            "serial = 1788185100",
            "serial = \"x\"",
            "line 3 of the channel's index, \"serial",
        ),
        ("serial = 1788185100", "serial = 0", "serial in the"),
        ("serial = 1788185100", "serial = 1788185101", "serial in the"),
        ("serial = 1788185100", "serial = -1", "serial"),
        ("serial = 1788185100", "", "missing field `serial`"),
        (
            "serial = 1788185100",
            "serial = 1\nsurprise = 1",
            "unknown field `surprise`",
        ),
        (
            "expires = 1790777100",
            "expires = 1788185100",
            "must be after issued (2026-08-31 14:05 UTC)",
        ),
        (
            "expires = 1790777100",
            "expires = 1990777100",
            "more than 366 days",
        ),
        ("expires = 1790777100", "expires = 9000000000000000000", "expires"),
        (
            "expires = 1790777100",
            "expires = 1790777100\ncrls = \"x\"",
            "crls in the",
        ),
        ("name = \"hearth-raspberry-pi\"", "name = \"\"", "compatible.name"),
        (
            "name = \"hearth-pc-x86_64\"",
            "name = \"hearth-raspberry-pi\"",
            "is there twice",
        ),
        (
            "version = \"1.2.3\"",
            "version = \"1.2.x\"",
            "release \"1.2.x\": version",
        ),
        (
            "version = \"1.2.3\"",
            "version = \"1.1.0\"",
            "version 1.1.0 is there twice",
        ),
        (
            "bundle = \"bundles",
            "bundle = \"../bundles",
            "release \"1.2.3\": bundle",
        ),
        (
            "manifest_hash = \"0f",
            "manifest_hash = \"0F",
            "release \"1.2.3\": manifest_hash",
        ),
        (
            "manifest_hash = \"0f",
            "manifest_hash = \"",
            "release \"1.2.3\": manifest_hash",
        ),
        (
            "size_bytes = 98765432",
            "size_bytes = 0",
            "release 1.2.3: size_bytes",
        ),
        (
            "size_bytes = 98765432",
            "size_bytes = 98765432000000",
            "release 1.2.3: size_bytes",
        ),
        (
            "description = \"Faster",
            "description = \"\\u001b[2JFaster",
            "release 1.2.3: description",
        ),
        (
            "upgrade_from = \"1.0.0\"",
            "upgrade_from = \"1.2.3\"",
            "release 1.2.3: upgrade_from",
        ),
        (
            "percent = 10 ",
            "percent = 1 ",
            "1 % does not come later than 1 %",
        ),
        ("percent = 100 ", "percent = 101 ", "waves"),
        ("percent = 100 ", "percent = 300 ", "300"),
        (
            "{ from = 1788271500",
            "{ from = 1788185100",
            "10 % does not come later",
        ),
    ] {
        let sentence = refusal(from, to);
        assert!(sentence.contains(expected), "{from} -> {to}: {sentence}");
        assert!(sentence.len() < 400 && !sentence.contains('\n'), "{sentence}");
    }
}

#[test]
fn the_same_bundle_under_two_versions_is_refused() {
    let index = parse(VALID.as_bytes()).unwrap();
    let mut twice = index.clone();
    twice.compatibles[0].releases[1].manifest_hash = index.compatibles[0].releases[0].manifest_hash;
    let error = twice.check().unwrap_err().to_string();
    assert!(error.contains("are the same bundle"), "{error}");
}

#[test]
fn more_than_the_limits_is_refused() {
    let long = [VALID.as_bytes(), &vec![b'\n'; MAX_CONTENT]].concat();
    assert!(matches!(parse(&long), Err(IndexError::TooLong { .. })));
    assert_eq!(parse(b"\xff"), Err(IndexError::NotText));
    let mut index = parse(VALID.as_bytes()).unwrap();
    let release = index.compatibles[0].releases[0].clone();
    index.compatibles[0].releases = (0..33_u8)
        .map(|number| Release {
            version: Version::parse(&format!("2.{number}.0")).unwrap(),
            manifest_hash: [number; 32],
            ..release.clone()
        })
        .collect();
    assert!(index.to_toml().unwrap_err().to_string().contains("more than 32"));
    let deep = format!("format = 1\nx = {}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(parse(deep.as_bytes()).is_err());
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(at in 0..VALID.len(), insert in ".{0,12}") {
        let mut text = VALID.to_owned();
        if text.is_char_boundary(at) {
            text.insert_str(at, &insert);
        }
        if let Ok(index) = parse(text.as_bytes()) {
            prop_assert_eq!(parse(index.to_toml().unwrap().as_bytes()), Ok(index));
        }
    }
}
