use proptest::prelude::*;

use super::*;
use crate::index::{Compatible, Location};
use crate::name::ChannelName;

const START: u64 = 1_788_185_100;
const HOUR: u64 = 3600;
const BOARD: &str = "hearth-pc-x86_64";

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

fn release(text: &str, waves: &[(u64, u8)]) -> Release {
    let mut manifest_hash = [0; 32];
    manifest_hash[..text.len()].copy_from_slice(text.as_bytes());
    Release {
        version: version(text),
        bundle: Location::parse("bundles/x.raucb").unwrap(),
        manifest_hash,
        size_bytes: 1,
        description: String::new(),
        upgrade_from: None,
        rollback_index: 0,
        critical: false,
        stopped: false,
        published: UnixTime(START),
        waves: waves
            .iter()
            .map(|&(hours, percent)| Wave {
                from: UnixTime(START + hours * HOUR),
                percent,
            })
            .collect(),
    }
}

fn index(releases: Vec<Release>) -> Index {
    let index = Index {
        channel: ChannelName::parse("stable").unwrap(),
        serial: START,
        issued: UnixTime(START),
        expires: UnixTime(START + 30 * 86_400),
        crls: None,
        compatibles: vec![Compatible {
            name: BOARD.into(),
            releases,
        }],
    };
    index.check().unwrap();
    index
}

fn device(number: u32) -> Device<'static> {
    let id = DeviceId::from_machine_id(&format!("{number:032x}"));
    Device {
        compatible: BOARD,
        version: "1.0.0",
        id,
        minimum_version: None,
        failed: &[],
    }
}

fn at(hours: u64) -> UnixTime {
    UnixTime(START + hours * HOUR)
}

fn offered(decision: &Decision<'_>) -> Option<String> {
    match decision {
        Decision::Offered { release, .. } => Some(release.version.to_string()),
        _ => None,
    }
}

#[test]
fn of_ten_thousand_boxes_each_wave_reaches_its_percentage_and_keeps_whom_it_reached() {
    let index = index(vec![release("1.1.0", &[(0, 1), (24, 10), (48, 50), (72, 100)])]);
    let reached = |hours: u64| -> Vec<u32> {
        (0..10_000)
            .filter(|number| offered(&decide(&index, &device(*number), at(hours), None)).is_some())
            .collect()
    };
    let mut before = Vec::new();
    // Five standard deviations of a binomial distribution.
    for (hours, expected, tolerance) in [
        (0, 100, 50),
        (23, 100, 50),
        (24, 1000, 150),
        (47, 1000, 150),
        (48, 5000, 250),
        (72, 10_000, 0),
    ] {
        let now = reached(hours);
        let difference = now.len().abs_diff(expected);
        assert!(difference <= tolerance, "{} boxes after {hours} h", now.len());
        assert!(
            before.iter().all(|number| now.contains(number)),
            "nobody is left behind"
        );
        before = now;
    }
}

#[test]
fn shares_are_even_and_differ_from_release_to_release() {
    let mut tenths = [0_u32; 10];
    let mut first_in_both = 0;
    for number in 0..10_000 {
        let id = device(number).id;
        let share = id.share(&[1; 32]);
        assert!(share < SHARES);
        tenths[usize::from(share) / 1000] += 1;
        first_in_both += u32::from(share < 1000 && id.share(&[2; 32]) < 1000);
    }
    assert!(
        tenths.iter().all(|count| (850..1150).contains(count)),
        "{tenths:?}"
    );
    assert!((50..150).contains(&first_in_both), "{first_in_both}");
}

#[test]
fn a_box_that_is_not_reached_yet_is_told_when() {
    let whole = index(vec![release("1.1.0", &[(0, 1), (24, 10), (72, 100)])]);
    let part = index(vec![release("1.1.0", &[(0, 1), (24, 10)])]);
    for number in 0..500 {
        let box_ = device(number);
        let share = box_.id.share(&whole.compatibles[0].releases[0].manifest_hash);
        let expected = match share {
            0..100 => 0,
            100..1000 => 24,
            _ => 72,
        };
        if expected == 0 {
            assert!(offered(&decide(&whole, &box_, at(0), None)).is_some());
            continue;
        }
        let Decision::NotYet { at: Some(when), .. } = decide(&whole, &box_, at(0), None) else {
            panic!("box {number}");
        };
        assert_eq!(when, at(expected));
        assert!(offered(&decide(&whole, &box_, when, None)).is_some());
        assert!(offered(&decide(&whole, &box_, UnixTime(when.0 - 1), None)).is_none());
        if expected == 72 {
            assert!(matches!(
                decide(&part, &box_, at(1000 / 24), None),
                Decision::NotYet { at: None, .. }
            ));
        }
    }
}

#[test]
fn the_newest_that_may_be_installed_is_offered() {
    let mut releases = vec![
        release("1.1.0", &[]),
        release("1.3.0", &[(48, 100)]),
        release("1.2.0", &[]),
    ];
    let found = |releases: &[Release], device: &Device<'_>, hours| {
        offered(&decide(&index(releases.to_vec()), device, at(hours), None))
    };
    let box_ = device(1);
    assert_eq!(
        found(&releases, &box_, 0).as_deref(),
        Some("1.2.0"),
        "1.3.0 is not there yet"
    );
    assert_eq!(found(&releases, &box_, 48).as_deref(), Some("1.3.0"));
    releases[1].upgrade_from = Some(version("1.1.0"));
    assert_eq!(
        found(&releases, &box_, 48).as_deref(),
        Some("1.2.0"),
        "1.3.0 needs a step in between"
    );
    releases[2].stopped = true;
    assert_eq!(found(&releases, &box_, 48).as_deref(), Some("1.1.0"));
    let failed = [releases[0].manifest_hash];
    let burnt = Device {
        failed: &failed,
        ..box_
    };
    assert_eq!(found(&releases, &burnt, 48), None);
    let newest = Device {
        version: "1.3.0",
        ..box_
    };
    assert_eq!(
        decide(&index(releases.clone()), &newest, at(48), None),
        Decision::UpToDate
    );
    let minimum = version("1.2.5");
    let raised = Device {
        version: "1.1.0",
        minimum_version: Some(&minimum),
        ..box_
    };
    assert_eq!(found(&releases, &raised, 48).as_deref(), Some("1.3.0"));
    assert!(matches!(
        decide(&index(releases), &raised, at(0), None),
        Decision::NotYet { .. }
    ));
}

#[test]
fn what_was_stopped_is_offered_to_nobody() {
    let mut stopped = release("1.1.0", &[(0, 100)]);
    stopped.stopped = true;
    let index = index(vec![stopped]);
    for number in 0..100 {
        assert!(matches!(
            decide(&index, &device(number), at(1), None),
            Decision::Stopped { .. }
        ));
    }
}

#[test]
fn each_refusal_says_why() {
    let mut index = index(vec![release("1.1.0", &[])]);
    let refusal = |index: &Index, device: &Device<'_>, now, seen| match decide(index, device, now, seen) {
        Decision::Refused(refusal) => (refusal.is_about_the_index(), refusal.to_string()),
        other => panic!("{other:?}"),
    };
    let box_ = device(1);
    assert!(
        offered(&decide(&index, &box_, at(0), Some(START))).is_some(),
        "the same index again is no replay"
    );
    let (whole, text) = refusal(&index, &box_, at(0), Some(START + 1));
    assert!(whole && text.contains("the server shows an old one"), "{text}");
    let (whole, text) = refusal(&index, &box_, at(30 * 24), None);
    assert!(
        whole && text.contains("expired on 2026-09-30 14:05 UTC"),
        "{text}"
    );
    let (whole, text) = refusal(&index, &box_, UnixTime(START - 86_401), None);
    assert!(whole && text.contains("check the clock"), "{text}");
    assert!(offered(&decide(&index, &box_, UnixTime(START), None)).is_some());
    let (whole, text) = refusal(
        &index,
        &Device {
            compatible: "other",
            ..box_
        },
        at(0),
        None,
    );
    assert!(!whole && text.contains("nothing for \"other\""), "{text}");
    let (_, text) = refusal(
        &index,
        &Device {
            version: "new",
            ..box_
        },
        at(0),
        None,
    );
    assert!(text.contains("cannot be compared"), "{text}");
    let failed = [index.compatibles[0].releases[0].manifest_hash];
    let (_, text) = refusal(
        &index,
        &Device {
            failed: &failed,
            ..box_
        },
        at(0),
        None,
    );
    assert!(text.contains("not tried again"), "{text}");
    index.compatibles[0].releases[0].upgrade_from = Some(version("1.0.5"));
    let (_, text) = refusal(&index, &box_, at(0), None);
    assert!(text.contains("from 1.0.5 on"), "{text}");
}

proptest! {
    #[test]
    fn nobody_is_ever_offered_what_they_must_not_have(
        number: u32, hours in 0..200_u64, flags in proptest::collection::vec((any::<bool>(), any::<bool>()), 4),
        running in 0..4_usize, minimum in 0..4_usize, failed in 0..4_usize,
    ) {
        let versions = ["1.0.0", "1.1.0", "1.2.0", "1.3.0"];
        let releases = versions.iter().zip(&flags).map(|(text, (stopped, step))| {
            let mut release = release(text, &[(0, 1), (24, 10), (72, 100)]);
            release.stopped = *stopped;
            release.upgrade_from = (*step && *text != "1.0.0").then(|| version("1.0.0"));
            release
        }).collect();
        let index = index(releases);
        let failed = [index.compatibles[0].releases[failed].manifest_hash];
        let minimum = version(versions[minimum]);
        let device = Device { version: versions[running], minimum_version: Some(&minimum), failed: &failed, ..device(number) };
        if let Decision::Offered { release, wave } = decide(&index, &device, at(hours), None) {
            prop_assert!(!release.stopped && release.version > version(versions[running]) && release.version >= minimum);
            prop_assert!(!failed.contains(&release.manifest_hash));
            prop_assert!(device.id.share(&release.manifest_hash) < u16::from(wave.percent) * 100);
        }
    }
}
