//! The channel: a signed index on an HTTPS server, and what the box does with it.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::{SystemTime, UNIX_EPOCH};

use ::channel::{ChannelName, Compatible, Index, Location, Release, UnixTime, Wave};
use boot_state::Slot;
use bundle::sign::{SigningIdentity, sign};
use https_server::{Behaviour, Server};
use ipc::settings::{Settings, UpdatePolicy};
use ipc::updater::{HistoryEntry, Outcome, Phase, Status, When, WireError};
use ipc::updater_version::Version;
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

use updater::engine::EngineErrorKind;
use zbus::Variant;

use crate::appliance::Appliance;
use crate::engine::LACKING;

const DAY: u64 = 86_400;
const INDEX: &str = "/updates/stable.hearth-channel";

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A box whose owner chose the channel of a server.
struct Scene {
    hearth: Appliance,
    server: Server,
    identity: SigningIdentity,
}

impl Scene {
    async fn start(policy: UpdatePolicy) -> Self {
        let hearth = Appliance::start().await;
        let server = Server::start(&[]).unwrap();
        let (keyring, identity) = signer();
        let scene = Self {
            hearth,
            server,
            identity,
        };
        let settings = Settings {
            provisioned: true,
            update_policy: policy,
            ..Settings::default()
        };
        scene.put(ipc::paths::UPDATE_KEYRING, &keyring);
        scene.put("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
        scene.put(ipc::paths::SETTINGS, &settings.to_toml().unwrap());
        scene.put(
            "/var/lib/hearth-updater/authorities.pem",
            scene.server.authority_pem(),
        );
        let address = format!("address = \"{}\"\n", scene.server.url("/updates/"));
        scene.put("/var/lib/hearth-updater/channel.toml", &address);
        scene
    }

    fn put(&self, path: &str, text: &str) {
        let path = self.hearth.root.path().join(path.trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// Publishes this release in an index made `age_s` ago.
    fn publish(&self, release: Release, age_s: u64) {
        self.publish_all(vec![release], age_s);
    }

    fn publish_all(&self, releases: Vec<Release>, age_s: u64) {
        self.server.put(INDEX, self.index(releases, age_s));
    }

    fn index(&self, releases: Vec<Release>, age_s: u64) -> Vec<u8> {
        let name = ChannelName::parse("stable").unwrap();
        let mut index = Index::new(name, UnixTime(now() - age_s), 30 * DAY);
        index.compatibles.push(Compatible {
            name: "hearth-qemu-arm64".into(),
            releases,
        });
        let content = index.to_toml().unwrap();
        sign(content.as_bytes(), &self.identity, UnixTime(now())).unwrap()
    }

    /// Waits until it is known how much would be downloaded.
    async fn until_measured(&self) -> Status {
        for _ in 0..500 {
            let status = self.hearth.status().await;
            if status
                .available
                .as_ref()
                .is_some_and(|a| a.download_bytes.is_some())
            {
                return status;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        panic!("never measured: {:?}", self.hearth.status().await);
    }

    fn estimates(&self) -> u64 {
        self.hearth.fake.estimates.load(Ordering::SeqCst)
    }

    async fn check(&self) -> Result<(), (WireError, String)> {
        self.hearth.call("Check", &()).await.map(|_| ())
    }
}

fn signer() -> (String, SigningIdentity) {
    let mut root = CertificateParams::default();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let root_key = KeyPair::generate().unwrap();
    let keyring = root.self_signed(&root_key).unwrap().pem();
    let mut leaf = CertificateParams::default();
    leaf.is_ca = IsCa::ExplicitNoCa;
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let key = KeyPair::generate().unwrap();
    let leaf = leaf.signed_by(&key, &Issuer::new(root, root_key)).unwrap();
    let identity = SigningIdentity::from_pem(&key.serialize_pem(), &leaf.pem()).unwrap();
    (keyring, identity)
}

/// What the fake engine finds at every address.
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
        published: UnixTime(now() - DAY),
        waves: vec![],
    }
}

#[tokio::test]
async fn an_automatic_box_installs_what_is_offered_for_the_night_and_withdraws_it_when_it_is_stopped() {
    let scene = Scene::start(UpdatePolicy::Automatic).await;
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    let status = scene.hearth.until_phase(Phase::Staged).await;
    assert_eq!(status.starts, Some(When::Tonight));
    assert_eq!(scene.hearth.boot_state().primary(), Slot::A);
    let inspected = format!("inspect {}", scene.server.url("/updates/bundles/x.raucb"));
    assert!(scene.hearth.fake.calls().contains(&inspected));
    scene.publish(
        Release {
            stopped: true,
            ..release()
        },
        50,
    );
    scene.check().await.unwrap();
    let status = scene.hearth.until_phase(Phase::Idle).await;
    assert_eq!(status.available, None);
    assert_eq!(status.last_error.as_deref(), Some(WITHDRAWN));
}

const WITHDRAWN: &str = "Version 2.0.0 was withdrawn by its publisher before it was started.";

#[tokio::test]
async fn what_a_person_staged_is_withdrawn_when_exactly_that_release_is_stopped_and_not_otherwise() {
    for (when, hash, staged) in [
        ("tonight", [2; 32], false),
        ("reboot", [2; 32], false),
        ("tonight", [3; 32], true),
        ("reboot", [3; 32], true),
    ] {
        let scene = Scene::start(UpdatePolicy::Notify).await;
        scene.publish(release(), 100);
        scene.check().await.unwrap();
        let options = HashMap::from([("when", Variant::from(when))]);
        scene.hearth.call("Install", &("usb", options)).await.unwrap();
        scene.hearth.until_phase(Phase::Staged).await;
        let stopped = Release {
            stopped: true,
            bundle: Location::parse("bundles/stopped.raucb").unwrap(),
            manifest_hash: hash,
            ..release()
        };
        // Beside it what was available is still there.
        let kept = Release {
            version: Version::parse("2.0.1").unwrap(),
            ..release()
        };
        let releases = if staged {
            vec![stopped, kept]
        } else {
            vec![stopped]
        };
        scene.publish_all(releases, 50);
        scene.check().await.unwrap();
        let status = scene.hearth.status().await;
        if staged {
            assert_eq!((status.phase, status.last_error), (Phase::Staged, None));
            continue;
        }
        assert_eq!(status.phase, Phase::Idle);
        assert_eq!(status.last_error.as_deref(), Some(WITHDRAWN));
        assert_eq!(scene.hearth.boot_state().primary(), Slot::A);
        let reply = scene.hearth.call("History", &()).await.unwrap();
        let text: String = reply.body().deserialize().unwrap();
        let entries: Vec<HistoryEntry> = serde_json::from_str(&text).unwrap();
        let last = entries.last().unwrap();
        assert_eq!(
            (last.outcome, last.sentence.as_str()),
            (Outcome::Cancelled, WITHDRAWN)
        );
    }
}

#[tokio::test]
async fn a_release_that_is_taken_out_of_the_index_is_withdrawn_too() {
    let scene = Scene::start(UpdatePolicy::Automatic).await;
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    scene.hearth.until_phase(Phase::Staged).await;
    scene.publish_all(vec![], 50);
    scene.check().await.unwrap();
    let status = scene.hearth.status().await;
    assert_eq!(status.phase, Phase::Idle);
    assert_eq!(status.last_error.as_deref(), Some(WITHDRAWN));
}

#[tokio::test]
async fn what_is_stopped_in_the_middle_of_a_download_is_not_started_at_its_end() {
    let scene = Scene::start(UpdatePolicy::Notify).await;
    scene.hearth.fake.hold.store(true, Ordering::SeqCst);
    let now = HashMap::from([("when", Variant::from("now"))]);
    scene.hearth.call("Install", &("/b", now)).await.unwrap();
    scene
        .hearth
        .until("streaming", |a| a.fake.calls().contains(&"stream b".into()))
        .await;
    scene.publish(
        Release {
            stopped: true,
            ..release()
        },
        50,
    );
    scene.check().await.unwrap();
    scene.hearth.fake.hold.store(false, Ordering::SeqCst);
    let status = scene.hearth.until_phase(Phase::Idle).await;
    assert_eq!(status.last_error.as_deref(), Some(WITHDRAWN));
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert!(!scene.hearth.restart_asked());
}

#[tokio::test]
async fn a_withdrawal_that_could_not_be_carried_out_is_not_forgotten() {
    let scene = Scene::start(UpdatePolicy::Automatic).await;
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    scene.hearth.until_phase(Phase::Staged).await;
    scene.publish_all(vec![], 50);
    // Where the boot state is.
    let device = scene.hearth.root.path().join("dev/vda2");
    let away = device.with_extension("away");
    std::fs::rename(&device, &away).unwrap();
    let (wire, _) = scene.check().await.unwrap_err();
    assert_eq!(wire, WireError::StorageUnavailable);
    std::fs::rename(&away, &device).unwrap();
    assert_eq!(scene.hearth.status().await.phase, Phase::Staged);
    scene.check().await.unwrap();
    let status = scene.hearth.status().await;
    assert_eq!(status.phase, Phase::Idle);
    assert_eq!(status.last_error.as_deref(), Some(WITHDRAWN));
}

#[tokio::test]
async fn another_server_that_never_had_a_release_does_not_withdraw_it() {
    let scene = Scene::start(UpdatePolicy::Automatic).await;
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    scene.hearth.until_phase(Phase::Staged).await;
    scene
        .server
        .put("/mirror/stable.hearth-channel", scene.index(vec![], 50));
    let address = format!("address = \"{}\"\n", scene.server.url("/mirror/"));
    scene.put("/var/lib/hearth-updater/channel.toml", &address);
    scene.check().await.unwrap();
    let status = scene.hearth.status().await;
    assert_eq!((status.phase, status.last_error), (Phase::Staged, None));
}

#[tokio::test]
async fn a_box_that_asks_shows_what_there_is_over_restarts_and_installs_nothing() {
    let mut scene = Scene::start(UpdatePolicy::Notify).await;
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    let status = scene.until_measured().await;
    assert!(status.check_error.is_none() && status.checked_unix_s.is_some());
    let available = status.available.unwrap();
    assert_eq!(
        (available.version.as_str(), available.channel.as_str()),
        ("2.0.0", "stable")
    );
    assert_eq!(available.manifest_hash, "02".repeat(32));
    assert_eq!(
        (available.size_bytes, available.download_bytes),
        (1000, Some(LACKING))
    );
    scene.hearth.boot().await;
    // Nothing is measured before.
    scene
        .hearth
        .until("marked good", |a| {
            a.boot_state().slot(a.running).tries_left() == boot_state::MAX_TRIES
        })
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(500)).await;
    let status = scene.until_measured().await;
    assert_eq!(status.available.as_ref(), Some(&available));
    assert_eq!(scene.estimates(), 1, "not again after a restart");
    assert_eq!(
        scene.hearth.fake.calls(),
        Vec::<String>::new(),
        "nobody said to install it"
    );
    assert_eq!(
        scene.server.requests(),
        [format!("GET {INDEX} -")],
        "no poll right after the start"
    );
}

#[tokio::test]
async fn an_index_that_is_old_expired_or_not_there_is_told_and_nothing_is_installed() {
    let scene = Scene::start(UpdatePolicy::Automatic).await;
    let waits = Release {
        waves: vec![Wave {
            from: UnixTime(now() + DAY),
            percent: 100,
        }],
        ..release()
    };
    scene.publish(waits, 100);
    scene.check().await.unwrap();
    let status = scene.hearth.status().await;
    assert_eq!((status.available, status.check_error), (None, None));
    for (age_s, says) in [(200, "was seen already"), (31 * DAY, "was seen already")] {
        scene.publish(release(), age_s);
        let (wire, text) = scene.check().await.unwrap_err();
        assert_eq!(wire, WireError::SourceUnavailable);
        assert!(text.contains(says), "{text}");
        assert_eq!(
            scene.hearth.status().await.check_error.as_deref(),
            Some(text.as_str())
        );
    }
    scene.put(
        "/var/lib/hearth-updater/channel.toml",
        &format!("address = \"{}\"\nname = \"beta\"", scene.server.url("/updates")),
    );
    let (_, text) = scene.check().await.unwrap_err();
    assert!(text.contains("no such file"), "{text}");
    scene.server.behave(Behaviour {
        status: Some(503),
        ..Behaviour::default()
    });
    let (_, text) = scene.check().await.unwrap_err();
    assert!(text.contains("503"), "{text}");
    assert!(scene.hearth.fake.calls().is_empty());
}

#[tokio::test]
async fn a_box_without_a_channel_or_with_a_damaged_choice_says_so() {
    let scene = Scene::start(UpdatePolicy::Automatic).await;
    scene.put("/var/lib/hearth-updater/channel.toml", "adress = \"\"");
    let (wire, text) = scene.check().await.unwrap_err();
    assert_eq!(wire, WireError::SourceUnavailable);
    assert!(text.contains("channel.toml") && text.contains("adress"), "{text}");
    scene.put("/var/lib/hearth-updater/channel.toml", "");
    let (_, text) = scene.check().await.unwrap_err();
    assert!(text.contains("No update channel is set up"), "{text}");
    assert_eq!(
        scene.hearth.status().await.check_error,
        None,
        "that is no trouble"
    );
}

#[tokio::test]
async fn what_a_person_cancelled_is_not_begun_again_by_itself() {
    let scene = Scene::start(UpdatePolicy::Automatic).await;
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    scene.hearth.until_phase(Phase::Staged).await;
    scene.hearth.call("Cancel", &()).await.unwrap();
    let calls = scene.hearth.fake.calls();
    scene.check().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    let status = scene.hearth.status().await;
    assert!(status.phase == Phase::Idle && status.available.is_some());
    assert_eq!(scene.hearth.fake.calls(), calls);
}

#[tokio::test]
async fn measuring_gives_way_to_an_installation_and_is_done_anew_after_it() {
    let scene = Scene::start(UpdatePolicy::Notify).await;
    scene.hearth.fake.hold_estimates.store(true, Ordering::SeqCst);
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    scene
        .hearth
        .until("measuring", |a| a.fake.estimates.load(Ordering::SeqCst) == 1)
        .await;
    let tonight = HashMap::from([("when", Variant::from("tonight"))]);
    scene.hearth.call("Install", &("/b", tonight)).await.unwrap();
    let status = scene.hearth.until_phase(Phase::Staged).await;
    assert_eq!(status.available.unwrap().download_bytes, None);
    assert_eq!(scene.estimates(), 1, "not while something is staged");
    scene.hearth.fake.hold_estimates.store(false, Ordering::SeqCst);
    scene.hearth.call("Cancel", &()).await.unwrap();
    scene.until_measured().await;
    assert_eq!(scene.estimates(), 2);

    scene.hearth.fake.hold.store(true, Ordering::SeqCst);
    scene
        .hearth
        .call("Install", &("/b", HashMap::<&str, Variant<'_>>::new()))
        .await
        .unwrap();
    scene
        .hearth
        .until("streaming", |a| {
            a.fake.calls().iter().filter(|c| *c == "stream b").count() == 2
        })
        .await;
    let status = scene.hearth.status().await;
    assert_eq!(status.available.unwrap().download_bytes, None);
}

#[tokio::test]
async fn nothing_is_measured_on_a_metered_connection_and_a_failure_is_not_repeated_at_once() {
    let scene = Scene::start(UpdatePolicy::Notify).await;
    let address = format!("address = \"{}\"\n", scene.server.url("/updates/"));
    let choice = "/var/lib/hearth-updater/channel.toml";
    scene.put(choice, &format!("{address}metered = true\n"));
    *scene.hearth.fake.lacking.lock().unwrap() = Err(EngineErrorKind::Unreachable);
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    assert_eq!(scene.estimates(), 0);
    scene.put(choice, &address);
    for _ in 0..3 {
        scene.check().await.unwrap();
        tokio::time::sleep(std::time::Duration::from_millis(150)).await;
    }
    assert_eq!(scene.estimates(), 1);
    let status = scene.hearth.status().await;
    assert_eq!((status.check_error, status.last_error), (None, None));
}

#[tokio::test]
async fn a_box_without_room_does_not_begin_by_itself_and_says_why() {
    let mut scene = Scene::start(UpdatePolicy::Automatic).await;
    scene.hearth.data_free_bytes = i64::MAX as u64;
    scene.hearth.boot().await;
    scene.publish(release(), 100);
    scene.check().await.unwrap();
    let reason = scene.hearth.until_it_waits().await;
    assert!(
        reason.contains("MB free") && reason.contains("goes on by itself"),
        "{reason}"
    );
    let status = scene.hearth.status().await;
    assert_eq!((status.phase, status.check_error), (Phase::Idle, None));
    assert!(scene.hearth.fake.calls().is_empty());
}
