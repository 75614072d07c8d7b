//! `de.pengutronix.rauc.Installer`.

use std::collections::{HashMap, HashSet};
use std::pin::pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use boot_state::Slot;
use ipc::updater::Phase;
use zbus::{Connection, OwnedVariant, Variant};

use crate::appliance::Appliance;

type Dict = HashMap<String, OwnedVariant>;

#[zbus::proxy(
    interface = "de.pengutronix.rauc.Installer",
    default_service = "de.pengutronix.rauc",
    default_path = "/"
)]
trait Installer {
    fn install_bundle(&self, source: &str, args: HashMap<&str, Variant<'_>>) -> zbus::Result<()>;
    fn info(&self, bundle: &str) -> zbus::Result<(String, String)>;
    fn inspect_bundle(&self, source: &str, args: HashMap<&str, Variant<'_>>) -> zbus::Result<Dict>;
    fn mark(&self, state: &str, slot_identifier: &str) -> zbus::Result<(String, String)>;
    fn get_slot_status(&self) -> zbus::Result<Vec<(String, Dict)>>;
    fn get_artifact_status(&self) -> zbus::Result<Vec<Dict>>;
    fn get_primary(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn operation(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn last_error(&self) -> zbus::Result<String>;
    #[zbus(property)]
    fn progress(&self) -> zbus::Result<(i32, String, i32)>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn compatible(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn variant(&self) -> zbus::Result<String>;
    #[zbus(property(emits_changed_signal = "false"))]
    fn boot_slot(&self) -> zbus::Result<String>;
    #[zbus(signal)]
    fn completed(&self, result: i32) -> zbus::Result<()>;
}

async fn rauc(connection: &Connection) -> InstallerProxy<'static> {
    InstallerProxy::new(connection).await.unwrap()
}

fn text(dict: &Dict, key: &str) -> String {
    let value = dict.get(key).unwrap_or_else(|| panic!("{key} in {dict:?}"));
    String::try_from(value.try_clone().unwrap()).unwrap()
}

/// The next signal; one that does not come is a failure.
async fn next<S: zbus::export::futures_core::Stream>(stream: S) -> S::Item {
    let mut stream = pin!(stream);
    let next = std::future::poll_fn(|context| stream.as_mut().poll_next(context));
    tokio::time::timeout(Duration::from_secs(10), next)
        .await
        .expect("no signal came")
        .expect("the bus is gone")
}

#[tokio::test]
async fn rauc_clients_install_watch_and_mark() {
    let mut hearth = Appliance::start().await;
    let installer = rauc(&hearth.caller).await;
    assert_eq!(installer.operation().await.unwrap(), "idle");
    assert_eq!(installer.compatible().await.unwrap(), "hearth-qemu-arm64");
    assert_eq!(installer.boot_slot().await.unwrap(), "rootfs.0");
    assert_eq!(installer.variant().await.unwrap(), "");
    assert_eq!(installer.get_primary().await.unwrap(), "rootfs.0");
    assert!(installer.get_artifact_status().await.unwrap().is_empty());

    let error = installer
        .install_bundle("/b", HashMap::from([("ignore-all", true.into())]))
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("Unsupported key: ignore-all"),
        "{error}"
    );

    let mut completed = installer.receive_completed().await.unwrap();
    let mut progress = installer.receive_progress_changed().await;
    hearth.fake.hold.store(true, Ordering::SeqCst);
    let args = HashMap::from([("transaction-id", Variant::from("one"))]);
    installer.install_bundle("/b", args).await.unwrap();
    let error = installer.install_bundle("/b", HashMap::new()).await.unwrap_err();
    assert!(error.to_string().contains("Already processing"), "{error}");
    assert_eq!(installer.operation().await.unwrap(), "installing");
    let mut seen = HashSet::new();
    while seen.len() < 2 {
        let (percent, message, depth) = next(&mut progress).await.get().await.unwrap();
        assert!((0..=100).contains(&percent) && depth == 1);
        seen.insert(message);
    }
    assert!(seen.contains("Updating slots"), "{seen:?}");
    hearth.fake.hold.store(false, Ordering::SeqCst);
    let signal = next(&mut completed).await;
    assert_eq!(*signal.args().unwrap().result(), 0);
    assert_eq!(installer.operation().await.unwrap(), "idle");
    assert_eq!(installer.progress().await.unwrap().0, 100);
    assert_eq!(installer.get_primary().await.unwrap(), "rootfs.1");

    hearth.boot().await;
    assert_eq!(hearth.running, Slot::B);
    let (name, message) = installer.mark("good", "booted").await.unwrap();
    assert_eq!(
        (name.as_str(), message.as_str()),
        ("rootfs.1", "marked slot(s) rootfs.1 as good")
    );
    assert_eq!(
        hearth.status().await.phase,
        Phase::Good,
        "a person's word ends the trial"
    );
    let (name, message) = installer.mark("active", "other").await.unwrap();
    assert_eq!(
        (name.as_str(), message.as_str()),
        ("rootfs.0", "activated slot rootfs.0")
    );
    assert_eq!(installer.get_primary().await.unwrap(), "rootfs.0");
    for (state, slot) in [("great", "booted"), ("good", "rootfs.7"), ("good", "boot.0")] {
        assert!(installer.mark(state, slot).await.is_err());
    }
}

#[tokio::test]
async fn a_failure_is_told_by_completed_and_last_error() {
    let hearth = Appliance::start().await;
    let installer = rauc(&hearth.caller).await;
    let mut completed = installer.receive_completed().await.unwrap();
    hearth.fake.info.lock().unwrap().compatible = "other".into();
    installer.install_bundle("/b", HashMap::new()).await.unwrap();
    let signal = next(&mut completed).await;
    assert_eq!(*signal.args().unwrap().result(), 1);
    let error = installer.last_error().await.unwrap();
    assert!(error.contains("made for \u{201c}other\u{201d}"), "{error}");
}

#[tokio::test]
async fn without_room_the_call_itself_fails_and_nothing_is_completed() {
    let mut hearth = Appliance::start().await;
    hearth.data_free_bytes = i64::MAX as u64;
    hearth.boot().await;
    let installer = rauc(&hearth.caller).await;
    let error = installer.install_bundle("/b", HashMap::new()).await.unwrap_err();
    assert!(error.to_string().contains("MB free"), "{error}");
    assert_eq!(installer.operation().await.unwrap(), "idle");
    assert_eq!(installer.last_error().await.unwrap(), "");
}

#[tokio::test]
async fn headers_of_an_installation_outlive_a_cut_but_not_the_installation() {
    let mut hearth = Appliance::start().await;
    let installer = rauc(&hearth.caller).await;
    let kept = hearth.root.path().join(&updater::access::PATH[1..]);
    let args = || {
        HashMap::from([
            ("http-headers", Variant::from(vec!["Authorization: Bearer hush"])),
            ("tls-ca", Variant::from("/data/ca.pem")),
        ])
    };
    let streams = |hearth: &Appliance| hearth.fake.accesses.lock().unwrap().len();
    hearth.fake.hold.store(true, Ordering::SeqCst);
    installer
        .install_bundle("https://server/b", args())
        .await
        .unwrap();
    hearth.until("streaming", |a| streams(a) == 1).await;
    assert!(kept.exists());
    let status = serde_json::to_string(&hearth.status().await).unwrap();
    assert!(!status.contains("hush"), "{status}");
    hearth.boot().await;
    hearth.until("streaming again", |a| streams(a) == 2).await;
    hearth.until_phase(Phase::Staged).await;
    {
        let accesses = hearth.fake.accesses.lock().unwrap();
        assert_eq!(accesses[1].headers, ["Authorization: Bearer hush"]);
        assert!(accesses[0] == accesses[1]);
    }
    hearth.until("forgotten", |_| !kept.exists()).await;

    // Given up, nothing is left either.
    hearth.call("Cancel", &()).await.unwrap();
    hearth.fake.hold.store(true, Ordering::SeqCst);
    let installer = rauc(&hearth.caller).await;
    installer
        .install_bundle("https://server/b", args())
        .await
        .unwrap();
    hearth.until("streaming", |a| streams(a) == 3).await;
    assert!(kept.exists());
    hearth.call("Cancel", &()).await.unwrap();
    assert!(!kept.exists());
    hearth
        .call(
            "Install",
            &("https://server/b", HashMap::<&str, Variant<'_>>::new()),
        )
        .await
        .unwrap();
    hearth.until("streaming", |a| streams(a) == 4).await;
    assert!(hearth.fake.accesses.lock().unwrap()[3] == updater::engine::Access::default());
}

#[tokio::test]
async fn slots_and_bundles_are_described_with_every_key_of_rauc() {
    let hearth = Appliance::start().await;
    let installer = rauc(&hearth.caller).await;
    let (compatible, version) = installer.info("/b").await.unwrap();
    assert_eq!(
        (compatible.as_str(), version.as_str()),
        ("hearth-qemu-arm64", "2.0.0")
    );
    let info = installer.inspect_bundle("/b", HashMap::new()).await.unwrap();
    assert_eq!(text(&info, "manifest-hash"), "02".repeat(32));
    for (key, signature) in [
        ("update", "a{sv}"),
        ("bundle", "a{sv}"),
        ("images", "aa{sv}"),
        ("meta", "a{sa{ss}}"),
    ] {
        // As of RAUC's service: a variant in the variant.
        let Variant::Variant(group) = &*info[key] else {
            panic!("{key}: {:?}", info[key]);
        };
        assert_eq!(group.value_signature().to_string(), signature, "{key}");
    }
    let mut completed = installer.receive_completed().await.unwrap();
    let args = HashMap::from([("transaction-id", Variant::from("one"))]);
    installer.install_bundle("/b", args).await.unwrap();
    next(&mut completed).await;

    let slots = installer.get_slot_status().await.unwrap();
    let names: Vec<&str> = slots.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["rootfs.0", "boot.0", "rootfs.1", "boot.1"]);
    let root = &slots[2].1;
    for (key, value) in [
        ("class", "rootfs"),
        ("type", "raw"),
        ("bootname", "B"),
        ("state", "inactive"),
        ("boot-status", "good"),
        ("status", "ok"),
        ("bundle.version", "2.0.0"),
        ("bundle.compatible", "hearth-qemu-arm64"),
        ("bundle.description", "Better."),
        ("bundle.build", "7"),
        ("installed.transaction", "one"),
    ] {
        assert_eq!(text(root, key), value, "{key}");
    }
    for (key, signature) in [
        ("size", "t"),
        ("sha256", "s"),
        ("bundle.hash", "s"),
        ("device", "s"),
        ("description", "s"),
        ("installed.timestamp", "s"),
        ("installed.count", "u"),
        ("activated.timestamp", "s"),
        ("activated.count", "u"),
    ] {
        assert_eq!(root[key].value_signature().to_string(), signature, "{key}");
    }
    let running = &slots[0].1;
    assert_eq!(
        (text(running, "state"), text(running, "mountpoint")),
        ("booted".into(), "/".into())
    );
    assert_eq!(text(&slots[3].1, "parent"), "rootfs.1");
}

/// Methods, properties and signals with the names and signatures of RAUC's own description of its interface.
#[tokio::test]
async fn introspection_is_that_of_rauc() {
    let hearth = Appliance::start().await;
    let reply = hearth
        .caller
        .call_method(
            Some("de.pengutronix.rauc"),
            "/",
            Some("org.freedesktop.DBus.Introspectable"),
            "Introspect",
            &(),
        )
        .await
        .unwrap();
    let xml: String = reply.body().deserialize().unwrap();
    let start = xml
        .find("<interface name=\"de.pengutronix.rauc.Installer\">")
        .unwrap();
    let interface = &xml[start..start + xml[start..].find("</interface>").unwrap()];
    let mut found = Vec::new();
    let mut member = String::new();
    for tag in interface.split('<').map(str::trim) {
        let attribute = |name: &str| {
            let rest = tag.split(&format!(" {name}=\"")).nth(1)?;
            Some(rest.split('"').next()?.to_owned())
        };
        let name = attribute("name").unwrap_or_default();
        match tag.split([' ', '>', '/']).next() {
            Some("method" | "signal") => {
                member = name;
                found.push(member.clone());
            }
            Some("arg") => {
                let direction = attribute("direction").unwrap_or_else(|| "out".into());
                let kind = attribute("type").unwrap();
                found.push(format!("{member} {direction} {name} {kind}"));
            }
            Some("property") => found.push(format!("{name} {}", attribute("type").unwrap())),
            _ => {}
        }
    }
    found.sort();
    let mut expected = vec![
        "Install",
        "Install in source s",
        "InstallBundle",
        "InstallBundle in source s",
        "InstallBundle in args a{sv}",
        "Info",
        "Info in bundle s",
        "Info out compatible s",
        "Info out version s",
        "InspectBundle",
        "InspectBundle in source s",
        "InspectBundle in args a{sv}",
        "InspectBundle out info a{sv}",
        "Mark",
        "Mark in state s",
        "Mark in slot_identifier s",
        "Mark out slot_name s",
        "Mark out message s",
        "GetSlotStatus",
        "GetSlotStatus out slot_status_array a(sa{sv})",
        "GetArtifactStatus",
        "GetArtifactStatus out artifacts aa{sv}",
        "GetPrimary",
        "GetPrimary out primary s",
        "Completed",
        "Completed out result i",
        "Operation s",
        "LastError s",
        "Progress (isi)",
        "Compatible s",
        "Variant s",
        "BootSlot s",
    ];
    expected.sort_unstable();
    assert_eq!(found, expected);
}
