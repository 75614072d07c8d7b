use super::*;
use crate::index::Location;

const NOW: UnixTime = UnixTime(1_788_185_100);

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn release(text: &str, hash: u8) -> Release {
    Release {
        version: version(text),
        bundle: Location::parse("bundles/x.raucb").unwrap(),
        manifest_hash: [hash; 32],
        size_bytes: 1,
        description: String::new(),
        upgrade_from: None,
        rollback_index: 0,
        critical: false,
        stopped: false,
        published: NOW,
        waves: Vec::new(),
    }
}

fn index() -> Index {
    Index::new(ChannelName::parse("stable").unwrap(), NOW, 86_400)
}

#[test]
fn an_older_version_and_another_bundle_of_the_same_are_refused() {
    let mut index = index();
    index.publish("a", release("1.1.0", 1)).unwrap();
    let error = index.publish("a", release("1.0.9", 2)).unwrap_err().to_string();
    assert!(error.contains("a version above 1.1.0"), "{error}");
    let error = index.publish("a", release("1.1.0", 3)).unwrap_err().to_string();
    assert!(error.contains("another bundle with the version 1.1.0"), "{error}");
    index.publish("b", release("1.0.0", 4)).unwrap();
    assert_eq!(index.compatibles.len(), 2);
}

#[test]
fn a_rollback_index_below_that_of_any_release_of_the_board_is_refused() {
    let mut index = index();
    let with = |text: &str, hash, rollback_index| Release {
        rollback_index,
        ..release(text, hash)
    };
    index.publish("a", with("1.0.0", 1, 0)).unwrap();
    index.publish("a", with("1.1.0", 2, 3)).unwrap();
    index.set_stopped(&version("1.1.0"), true).unwrap();
    let error = index.publish("a", with("1.2.0", 3, 2)).unwrap_err().to_string();
    assert!(error.contains("1.1.0 on this channel has 3"), "{error}");
    // What is there already is only renewed, and other boards have indexes of their own.
    index.publish("a", with("1.0.0", 1, 0)).unwrap();
    index.publish("b", with("1.2.0", 4, 0)).unwrap();
    index.publish("a", with("1.2.0", 3, 3)).unwrap();
}

#[test]
fn the_same_bundle_again_changes_its_waves_and_stays_stopped() {
    let mut index = index();
    index.publish("a", release("1.1.0", 1)).unwrap();
    index.set_stopped(&version("1.1"), true).unwrap();
    let waves = parse_waves("100%@+1h", NOW).unwrap();
    let again = Release {
        waves: waves.clone(),
        published: UnixTime(NOW.0 + 5),
        ..release("1.1.0", 1)
    };
    assert_eq!(index.publish("a", again).unwrap(), Published::Renewed);
    let kept = &index.compatibles[0].releases[0];
    assert!(kept.stopped && kept.waves == waves && kept.published == NOW);
}

#[test]
fn the_oldest_make_room() {
    let mut index = index();
    for number in 0..MAX_RELEASES as u8 {
        index
            .publish("a", release(&format!("1.{number}.0"), number))
            .unwrap();
    }
    let published = index.publish("a", release("2.0.0", 200)).unwrap();
    let Published::New { dropped } = published else {
        panic!()
    };
    assert_eq!(dropped.len(), 1);
    assert_eq!(dropped[0].version, version("1.0.0"));
    index.check().unwrap();
}

#[test]
fn stopping_what_is_not_there_says_what_is() {
    let mut index = index();
    index.publish("b", release("1.1.0", 1)).unwrap();
    index.publish("a", release("1.1.0", 2)).unwrap();
    let error = index
        .set_stopped(&version("9.0.0"), true)
        .unwrap_err()
        .to_string();
    assert!(error.contains("no version 9.0.0; it has 1.1.0"), "{error}");
    assert_eq!(index.set_stopped(&version("1.1.0"), true).unwrap(), ["b", "a"]);
    index.set_stopped(&version("1.1.0"), false).unwrap();
    assert!(!index.compatibles[0].releases[0].stopped);
}

#[test]
fn the_serial_only_grows_also_when_the_clock_does_not() {
    let mut index = index();
    assert_eq!(index.serial, NOW.0);
    index.renew(NOW, 60);
    assert_eq!((index.serial, index.expires), (NOW.0 + 1, UnixTime(NOW.0 + 61)));
    index.renew(UnixTime(NOW.0 + 100), 60);
    assert_eq!(index.serial, NOW.0 + 100);
    index.check().unwrap();
}

#[test]
fn spans_and_waves_of_an_operator_are_understood_or_refused_with_an_example() {
    assert_eq!(parse_span("90m"), Ok(5400));
    assert_eq!(parse_span("366d"), Ok(MAX_LIFETIME_S));
    for bad in ["", "d", "30", "30 d", "-1h", "+1h", "1w", "1ä"] {
        assert!(
            parse_span(bad).unwrap_err().to_string().contains("such as 90m"),
            "{bad:?}"
        );
    }
    for long in ["367d", "99999999999999999999d", "18446744073709551615d"] {
        assert!(
            matches!(parse_span(long), Err(SpecError::TooLong { .. })),
            "{long}"
        );
    }
    let waves = parse_waves("1%@+0h, 10%@+24h,100%@+72h", NOW).unwrap();
    assert_eq!(
        waves[1],
        Wave {
            from: UnixTime(NOW.0 + 86_400),
            percent: 10
        }
    );
    for bad in [
        "",
        "1%",
        "1@+0h",
        "300%@+0h",
        "1%@0h",
        "1%@+0h,",
        "0%@+0h",
        "10%@+0h,5%@+1h",
        "1%@+2h,5%@+1h",
    ] {
        assert!(parse_waves(bad, NOW).is_err(), "{bad:?}");
    }
}
