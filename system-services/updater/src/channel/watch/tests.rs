use bundle::sign::{SigningIdentity, sign};
use channel::schedule::{Action, Why, Wish};
use channel::{ChannelName, Compatible, DeviceId, Index, Location, Release, Trust, Wave};
use ipc::boot_facts::Slot;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use super::super::look::{ThisBox, judge};
use super::super::{Choice, Chosen};
use super::*;
use crate::state::{Activation, Bundle, FailedBundle};

const DAY: u64 = 86_400;
const NOW: UnixTime = UnixTime(1_788_185_100);
const URL: &str = "https://updates.example/stable.hearth-channel";

fn choice() -> Choice {
    Choice::none()
        .unwrap()
        .with_text("address = \"https://updates.example\"")
        .unwrap()
}

fn chosen() -> Chosen {
    Chosen {
        choice: choice(),
        problem: None,
    }
}

fn signer() -> (Trust, SigningIdentity) {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate().unwrap();
    let trust = Trust::new(root.self_signed(&root_key).unwrap().pem());
    let mut leaf = CertificateParams::default();
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let key = KeyPair::generate().unwrap();
    let certificate = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap().pem();
    (
        trust,
        SigningIdentity::from_pem(&key.serialize_pem(), &certificate).unwrap(),
    )
}

fn release() -> Release {
    Release {
        version: Version::parse("2.0.0").unwrap(),
        bundle: Location::parse("bundles/x.raucb").unwrap(),
        manifest_hash: [2; 32],
        size_bytes: 1000,
        description: "Better.".into(),
        upgrade_from: None,
        rollback_index: 0,
        critical: false,
        stopped: false,
        published: UnixTime(NOW.0 - 1),
        waves: vec![],
    }
}

/// What an index with this release, made `age_s` ago, says to a box that saw `seen`.
fn judged(release: Release, age_s: u64, seen: Option<u64>, failed: &[[u8; 32]]) -> Result<Answer, String> {
    let (trust, identity) = signer();
    let made = UnixTime(NOW.0 - age_s);
    let mut index = Index::new(ChannelName::parse("stable").unwrap(), made, 30 * DAY);
    index.compatibles.push(Compatible {
        name: "hearth-qemu-arm64".into(),
        releases: vec![release],
    });
    let file = sign(index.to_toml().unwrap().as_bytes(), &identity, NOW).unwrap();
    let this = ThisBox {
        compatible: "hearth-qemu-arm64".into(),
        version: "1.0.0".into(),
        floor: None,
        failed: failed.iter().map(|hash| ManifestHash(*hash)).collect(),
        seen_serial: seen,
    };
    let id = DeviceId::from_machine_id("1");
    judge(&file, &trust, NOW, &choice(), URL, &this, id).map_err(|e| e.sentence)
}

fn conditions(metered: bool) -> Conditions {
    Conditions {
        quiet: QuietHours::default(),
        utc_offset_s: 0,
        metered,
        allow_metered: false,
        wish: Wish::None,
    }
}

fn next(watch: &Watch, record: &Record, policy: UpdatePolicy, metered: bool, since_boot_s: u64) -> Next {
    let now = Now {
        unix: NOW,
        since_boot_s,
    };
    watch.next(record, Slot::A, policy, &conditions(metered), now)
}

fn offered() -> Watch {
    let mut watch = Watch::new(1, 0);
    assert!(watch.chosen(&chosen()));
    watch.answered(judged(release(), 5, None, &[]).unwrap(), 0);
    watch
}

#[test]
fn what_is_offered_is_shown_and_installed_as_the_policy_says() {
    let watch = offered();
    let view = watch.view(&Record::default(), "1.0.0");
    let available = view.available.unwrap();
    assert_eq!(available.version, "2.0.0");
    assert_eq!(available.source, "https://updates.example/bundles/x.raucb");
    assert_eq!((view.checked_unix_s, view.error), (Some(NOW.0), None));
    let action = |policy, metered| next(&watch, &Record::default(), policy, metered, 60).action;
    assert_eq!(action(UpdatePolicy::Automatic, false), Action::Download);
    assert_eq!(action(UpdatePolicy::Automatic, true), Action::Wait(Why::Metered));
    assert_eq!(action(UpdatePolicy::Notify, false), Action::Wait(Why::Person));
    assert_eq!(action(UpdatePolicy::Manual, false), Action::Wait(Why::Person));
    assert_eq!(watch.view(&Record::default(), "2.0.0").available, None, "it runs");
}

#[test]
fn the_size_of_a_download_is_measured_once_for_each_release_and_each_content_of_the_slots() {
    let mut watch = offered();
    let (hash, record) = (ManifestHash([2; 32]), Record::default());
    let wanted =
        |watch: &Watch, since_boot_s| watch.unmeasured(&record, "1.0.0", since_boot_s).map(|u| u.hash);
    let size = |watch: &Watch| watch.view(&record, "1.0.0").available.unwrap().download_bytes;
    assert_eq!(wanted(&watch, 60), Some(hash));
    assert_eq!(watch.unmeasured(&record, "2.0.0", 60), None, "it runs");
    watch.not_measured(hash, 60);
    assert_eq!(wanted(&watch, 61), None, "too soon");
    assert_eq!(wanted(&watch, 60 + AGAIN_S), Some(hash));

    assert!(!watch.measured(ManifestHash([3; 32]), 5), "of another release");
    assert!(watch.measured(hash, 300));
    assert_eq!((size(&watch), wanted(&watch, DAY)), (Some(300), None));
    watch.answered(judged(release(), 4, None, &[]).unwrap(), 60);
    assert_eq!(size(&watch), Some(300), "a newer index does not forget it");
    let (name, known) = watch.to_keep().unwrap();
    assert_eq!(name.as_str(), "stable");
    let mut restarted = Watch::new(1, 0);
    restarted.chosen(&chosen());
    restarted.remember(Some(known.clone()));
    assert_eq!(size(&restarted), Some(300));

    let other = Release {
        manifest_hash: [3; 32],
        ..release()
    };
    watch.answered(judged(other, 3, None, &[]).unwrap(), 60);
    assert_eq!(size(&watch), None, "another bundle has another size");
    assert!(restarted.slots_change() && !restarted.slots_change());
    assert_eq!((size(&restarted), wanted(&restarted, 60)), (None, Some(hash)));
    restarted.remember(Some(known));
    assert_eq!(size(&restarted), None, "nor is what is read later of now");
}

#[test]
fn an_older_index_than_one_that_was_seen_is_refused() {
    let serial = NOW.0 - 5;
    assert!(judged(release(), 5, Some(serial), &[]).is_ok());
    let error = judged(release(), 5, Some(serial + 1), &[]).unwrap_err();
    assert!(error.contains("was seen already"), "{error}");
}

#[test]
fn an_expired_index_is_refused_with_its_day() {
    let error = judged(release(), 31 * DAY, None, &[]).unwrap_err();
    assert!(error.contains("expired on 2026-"), "{error}");
}

#[test]
fn what_was_stopped_or_whose_wave_is_elsewhere_is_not_offered() {
    let stopped = Release {
        stopped: true,
        ..release()
    };
    let answer = judged(stopped, 5, None, &[]).unwrap();
    assert_eq!((answer.offer, answer.known.available), (None, None));
    assert_eq!(answer.stopped, [ManifestHash([2; 32])]);
    let later = Release {
        waves: vec![Wave {
            from: UnixTime(NOW.0 + 3600),
            percent: 100,
        }],
        ..release()
    };
    let answer = judged(later, 5, None, &[]).unwrap();
    assert_eq!(
        (answer.offer, answer.known.available, answer.remark),
        (None, None, None)
    );
}

#[test]
fn a_release_that_is_stopped_or_not_listed_any_more_is_withdrawn() {
    let watch = offered();
    let answer = |release| judged(release, 4, None, &[]).unwrap();
    assert_eq!(watch.withdrawn(&answer(release())), []);
    let stopped = Release {
        stopped: true,
        ..release()
    };
    assert_eq!(watch.withdrawn(&answer(stopped)), [ManifestHash([2; 32])]);
    let mut other = answer(Release {
        manifest_hash: [3; 32],
        ..release()
    });
    assert_eq!(watch.withdrawn(&other), [ManifestHash([2; 32])]);
    other.listed = None;
    assert_eq!(
        watch.withdrawn(&other),
        [],
        "an index for other boards says nothing"
    );
    other = answer(Release {
        manifest_hash: [3; 32],
        ..release()
    });
    other.known.url = "https://elsewhere.example/stable.hearth-channel".into();
    assert_eq!(watch.withdrawn(&other), [], "another server never had it");
    other.stopped = vec![ManifestHash([2; 32])];
    assert_eq!(
        watch.withdrawn(&other),
        [ManifestHash([2; 32])],
        "but what it says it means"
    );
}

#[test]
fn what_a_channel_said_that_is_not_chosen_any_more_is_not_filed_under_another() {
    let late = judged(release(), 4, None, &[]).unwrap();
    let mut watch = offered();
    let mut beta = chosen();
    beta.choice = beta.choice.with_text("name = \"beta\"").unwrap();
    assert!(watch.is_of(URL) && watch.chosen(&beta) && !watch.is_of(URL));
    watch.answered(late, 60);
    assert_eq!((watch.offer_now(60), watch.to_keep()), (None, None));
    watch.failed(URL, "The old server cannot be reached.".into(), 60);
    assert_eq!(watch.view(&Record::default(), "1.0.0"), View::default());
    assert_eq!(watch.seen_serial(), None);
}

#[test]
fn what_failed_here_is_shown_with_its_reason_and_not_begun_again() {
    let answer = judged(release(), 5, None, &[[2; 32]]).unwrap();
    assert_eq!(answer.offer, None);
    let mut watch = Watch::new(1, 0);
    watch.chosen(&chosen());
    watch.answered(answer, 0);
    let record = Record {
        failed: vec![FailedBundle {
            manifest_hash: ManifestHash([2; 32]),
            reason: "The page did not answer.".into(),
        }],
        ..Record::default()
    };
    let shown = watch.view(&record, "1.0.0").available.unwrap();
    assert_eq!(shown.failed_before.as_deref(), Some("The page did not answer."));
    assert_eq!(
        next(&watch, &record, UpdatePolicy::Automatic, false, 60).action,
        Action::Nothing
    );
}

#[test]
fn a_server_that_cannot_be_reached_is_asked_ever_less_and_nothing_is_begun_from_what_it_said() {
    let mut watch = offered();
    let mut since_boot_s = 60;
    let mut waits = vec![];
    for _ in 0..12 {
        watch.failed(URL, "The server cannot be reached.".into(), since_boot_s);
        assert_eq!(
            next(
                &watch,
                &Record::default(),
                UpdatePolicy::Automatic,
                false,
                since_boot_s
            )
            .action,
            Action::Nothing
        );
        let wait = watch.poll.due_in(since_boot_s);
        waits.push(wait);
        since_boot_s += wait;
        assert_eq!(
            next(
                &watch,
                &Record::default(),
                UpdatePolicy::Automatic,
                false,
                since_boot_s
            )
            .action,
            Action::Poll
        );
    }
    assert!(
        waits[0] < 400 && waits[11] > 60_000 && waits[11] <= DAY,
        "{waits:?}"
    );
    let view = watch.view(&Record::default(), "1.0.0");
    assert_eq!(view.error.as_deref(), Some("The server cannot be reached."));
    assert!(view.available.is_some(), "a person still sees what there was");
}

#[test]
fn an_installation_that_came_to_nothing_is_begun_again_ever_later() {
    let mut watch = offered();
    let hash = ManifestHash([2; 32]);
    let mut since_boot_s = 60;
    for hours in [6, 12, 24, 24] {
        assert!(watch.offer_now(since_boot_s).is_some());
        watch.began(hash, since_boot_s);
        assert!(watch.offer_now(since_boot_s + hours * 3600 - 1).is_none());
        since_boot_s += hours * 3600;
    }
    watch.leave_alone(hash);
    assert!(
        watch.offer_now(u64::MAX - 1).is_none(),
        "a person does not want it"
    );
}

#[test]
fn what_is_held_up_is_told_and_looked_at_again_soon() {
    let mut watch = offered();
    let hash = ManifestHash([2; 32]);
    let error = |watch: &Watch| {
        let view = watch.view(&Record::default(), "1.0.0");
        assert_eq!(view.error, None, "the channel was read");
        view.waits_for
    };
    for since_boot_s in [60, 60 + HELD_UP_S, 60 + 2 * HELD_UP_S] {
        assert!(watch.offer_now(since_boot_s).is_some());
        watch.held_up(hash, "No room.".into(), since_boot_s);
        assert!(watch.offer_now(since_boot_s + HELD_UP_S - 1).is_none());
        assert_eq!(error(&watch).as_deref(), Some("No room."));
    }
    watch.answered(judged(release(), 4, None, &[]).unwrap(), 60);
    assert_eq!(error(&watch).as_deref(), Some("No room."), "it is still so");
    watch.began(hash, DAY);
    assert_eq!(error(&watch), None);
    assert!(
        watch.offer_now(DAY + 6 * 3600).is_some(),
        "no attempt was counted"
    );
}

#[test]
fn what_was_held_up_is_told_no_more_once_a_person_installs_or_wants_nothing_by_itself() {
    let mut watch = offered();
    let waits_for = |watch: &Watch| watch.view(&Record::default(), "1.0.0").waits_for;
    let hold = |watch: &mut Watch| watch.held_up(ManifestHash([2; 32]), "No room.".into(), 60);
    hold(&mut watch);
    watch.slots_change();
    assert_eq!(waits_for(&watch), None);
    hold(&mut watch);
    assert!(!watch.allowed(UpdatePolicy::Automatic));
    assert!(waits_for(&watch).is_some());
    assert!(watch.allowed(UpdatePolicy::Notify));
    assert_eq!(waits_for(&watch), None);
    hold(&mut watch);
    assert_eq!(watch.view(&Record::default(), "2.0.0").waits_for, None, "it runs");
}

#[test]
fn what_a_start_waits_for_is_told_while_it_waits_also_without_a_channel() {
    for mut watch in [Watch::new(1, 0), offered()] {
        assert!(watch.start_waits(Some("Full.".into())));
        watch.held_up(ManifestHash([2; 32]), "No room.".into(), 60);
        let staged = |activation| Record {
            state: Machine::Staged {
                target: Slot::B,
                bundle: Bundle::default(),
                activation,
                going_back: false,
            },
            ..Record::default()
        };
        let view = watch.view(&staged(Activation::At(1)), "1.0.0");
        assert_eq!((view.error, view.waits_for.as_deref()), (None, Some("Full.")));
        let armed = Activation::AtReboot(crate::state::Arming::default());
        assert_eq!(watch.view(&staged(armed), "1.0.0").waits_for, None);
        assert_ne!(
            watch.view(&Record::default(), "1.0.0").waits_for.as_deref(),
            Some("Full."),
            "nothing is installed any more"
        );
    }
}

#[test]
fn nothing_is_polled_without_a_channel_or_while_a_new_system_proves_itself() {
    let mut watch = Watch::new(1, 0);
    let due = 10 * DAY;
    let action =
        |watch: &Watch, record: &Record| next(watch, record, UpdatePolicy::Automatic, false, due).action;
    assert_eq!(action(&watch, &Record::default()), Action::Nothing);
    let view = watch.view(&Record::default(), "1.0.0");
    assert_eq!(view.error, None, "a box without a channel has no trouble");
    watch.chosen(&chosen());
    assert_eq!(action(&watch, &Record::default()), Action::Poll);
    let trial = crate::state::Trial {
        target: Slot::B,
        bundle: Bundle::default(),
        arming: crate::state::Arming::default(),
        going_back: false,
    };
    let busy = Record {
        state: Machine::Trying(trial),
        ..Record::default()
    };
    assert_eq!(action(&watch, &busy), Action::Wait(Why::Busy));
    let source = crate::engine::Source::Usb;
    let downloading = Machine::Downloading {
        source: source.clone(),
        options: crate::state::InstallOptions::default(),
        target: Slot::B,
        bundle: None,
        attempts: 0,
        before: crate::state::Resting::Idle,
    };
    let verifying = Machine::Verifying {
        source,
        options: crate::state::InstallOptions::default(),
        target: Slot::B,
        bundle: Bundle::default(),
        written: crate::engine::Written::default(),
    };
    for state in [downloading, verifying] {
        let record = Record {
            state,
            ..Record::default()
        };
        assert_eq!(
            action(&watch, &record),
            Action::Poll,
            "stopped, it is not started"
        );
        let mut asked = offered();
        asked.poll = PollState::new(1, due);
        assert_eq!(
            action(&asked, &record),
            Action::Wait(Why::Busy),
            "what is offered meanwhile waits"
        );
    }
    let staged = Record {
        state: Machine::Staged {
            target: Slot::B,
            bundle: Bundle::default(),
            activation: Activation::At(1),
            going_back: false,
        },
        ..Record::default()
    };
    assert_eq!(
        action(&watch, &staged),
        Action::Poll,
        "it may have been stopped meanwhile"
    );
}

#[test]
fn another_channel_begins_without_what_the_last_one_said() {
    let mut watch = offered();
    assert!(!watch.chosen(&chosen()));
    let mut beta = chosen();
    beta.choice = beta.choice.with_text("name = \"beta\"").unwrap();
    beta.problem = Some("The file is damaged.".into());
    assert!(watch.chosen(&beta));
    let view = watch.view(&Record::default(), "1.0.0");
    assert_eq!((view.available, view.checked_unix_s), (None, None));
    assert_eq!(view.error.as_deref(), Some("The file is damaged."));
    assert_eq!(watch.seen_serial(), None);
}

#[test]
fn a_staged_system_starts_in_the_quiet_hours_whatever_they_are() {
    for text in ["02:00-05:00", "22:30-06:00", "13:00-13:30", "03:00-03:01"] {
        let quiet = QuietHours::parse(text).unwrap();
        for offset in [-5 * 3600, 0, 7200] {
            for now in (NOW.0..NOW.0 + DAY).step_by(601) {
                let at = tonight(quiet, 3, now, offset);
                assert!(quiet.contains(UnixTime(at), offset), "{text} {offset} {now}");
                assert!(at >= now && at <= now + DAY + 60);
            }
        }
    }
}
