//! `org.hearth.Updater1`.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use boot_state::Slot;
use ipc::updater::{HistoryEntry, Outcome, Phase, When, WireError};
use updater::engine::EngineErrorKind;
use updater::journal::Journal;
use updater::state::{Activation, State};
use zbus::Variant;

use crate::appliance::Appliance;

type Options<'a> = HashMap<&'a str, Variant<'a>>;

async fn install(appliance: &Appliance, options: Options<'_>) -> Result<(), (WireError, String)> {
    appliance
        .call("Install", &("/data/bundle.raucb", options))
        .await
        .map(|_| ())
}

fn now() -> Options<'static> {
    HashMap::from([("when", Variant::from("now"))])
}

async fn history(appliance: &Appliance) -> Vec<(Outcome, String)> {
    let reply = appliance.call("History", &()).await.unwrap();
    let text: String = reply.body().deserialize().unwrap();
    let entries: Vec<HistoryEntry> = serde_json::from_str(&text).unwrap();
    entries.into_iter().map(|e| (e.outcome, e.sentence)).collect()
}

#[tokio::test]
async fn an_update_is_installed_started_watched_and_kept() {
    let mut hearth = Appliance::start().await;
    hearth.set_version(Slot::B, "2.0.0");
    hearth.fake.hold.store(true, Ordering::SeqCst);
    install(&hearth, now()).await.unwrap();
    hearth
        .until("streaming", |a| a.fake.calls().contains(&"stream b".into()))
        .await;
    let status = hearth.until_phase(Phase::Downloading).await;
    assert_eq!(status.bundle.unwrap().description, "Better.");
    let progress = status.progress.unwrap();
    assert!(progress.total_bytes == 1000 && progress.fetched_bytes > 0);
    assert!(!hearth.boot_state().slot(Slot::B).complete());
    let (wire, text) = install(&hearth, now()).await.unwrap_err();
    assert_eq!(wire, WireError::Busy);
    assert!(text.contains("2.0.0"), "{text}");

    hearth.fake.hold.store(false, Ordering::SeqCst);
    hearth.until("restarting", Appliance::restart_asked).await;
    assert_eq!(hearth.status().await.phase, Phase::Trying);
    hearth.follow_restarts().await;
    let status = hearth.until_phase(Phase::Good).await;
    assert_eq!((hearth.running, status.version.as_str()), (Slot::B, "2.0.0"));
    assert!(status.can_roll_back && status.minimum_version.as_deref() == Some("2.0.0"));
    let outcomes: Vec<Outcome> = history(&hearth).await.into_iter().map(|(o, _)| o).collect();
    assert_eq!(outcomes, [Outcome::Installed, Outcome::Good]);

    hearth.call("Rollback", &()).await.unwrap();
    hearth.until("restarting", Appliance::restart_asked).await;
    hearth.follow_restarts().await;
    hearth.until_phase(Phase::Good).await;
    assert_eq!(hearth.running, Slot::A);
}

#[tokio::test]
async fn a_restart_is_announced_before_systemd_is_asked_for_it() {
    let mut hearth = Appliance::start().await;
    hearth.last_words = Duration::from_secs(3600);
    hearth.boot().await;
    install(&hearth, now()).await.unwrap();
    hearth.until_phase(Phase::Trying).await;
    assert!(!hearth.restart_asked());
}

#[tokio::test]
async fn a_system_whose_units_fail_is_left_with_the_reason_and_not_installed_again() {
    let mut hearth = Appliance::start().await;
    install(&hearth, now()).await.unwrap();
    hearth.until("restarting", Appliance::restart_asked).await;
    hearth.set_unit_failed(true);
    hearth.follow_restarts().await;
    let status = hearth.until_phase(Phase::RolledBack).await;
    assert_eq!(hearth.running, Slot::A);
    let reason = status.reason.unwrap();
    assert!(reason.contains("hearth-web.service is failed"), "{reason}");

    install(&hearth, now()).await.unwrap();
    let status = hearth.until_phase(Phase::RolledBack).await;
    assert_eq!(
        status.reason.as_ref(),
        Some(&reason),
        "a refused retry does not forget it"
    );
    let error = status.last_error.unwrap();
    assert!(
        error.contains("failed here before") && error.contains(&reason),
        "{error}"
    );
    hearth.set_unit_failed(false);
    let mut forced = now();
    forced.insert("force", true.into());
    install(&hearth, forced).await.unwrap();
    hearth.until("restarting", Appliance::restart_asked).await;
    hearth.follow_restarts().await;
    hearth.until_phase(Phase::Good).await;
    assert_eq!(hearth.running, Slot::B);
}

#[tokio::test]
async fn a_system_that_loses_the_network_or_the_page_is_left() {
    for loses in ["network", "page"] {
        let mut hearth = Appliance::start().await;
        install(&hearth, now()).await.unwrap();
        hearth.until("restarting", Appliance::restart_asked).await;
        let carrier = hearth.root.path().join("sys/class/net/eth0/carrier");
        if loses == "network" {
            std::fs::write(carrier, "0\n").unwrap();
        } else {
            hearth.page_well.store(false, Ordering::SeqCst);
        }
        hearth.boot().await;
        hearth.until("restarting back", Appliance::restart_asked).await;
        hearth.page_well.store(true, Ordering::SeqCst);
        hearth.follow_restarts().await;
        let status = hearth.until_phase(Phase::RolledBack).await;
        let reason = status.reason.unwrap();
        assert!(reason.contains(loses), "{reason}");
    }
}

#[tokio::test]
async fn an_installation_that_was_cut_goes_on_after_the_restart() {
    let mut hearth = Appliance::start().await;
    hearth.fake.hold.store(true, Ordering::SeqCst);
    install(&hearth, HashMap::new()).await.unwrap();
    hearth
        .until("streaming", |a| a.fake.calls().contains(&"stream b".into()))
        .await;
    hearth.boot().await;
    assert_eq!(hearth.running, Slot::A);
    let status = hearth.until_phase(Phase::Staged).await;
    assert_eq!(status.starts, Some(When::Reboot));
    assert_eq!(hearth.boot_state().primary(), Slot::B);
    assert_eq!(
        hearth.fake.calls(),
        [
            "inspect /data/bundle.raucb",
            "stream b",
            "stream b",
            "read back b"
        ]
    );
}

#[tokio::test]
async fn cancelling_stops_the_engine_and_the_next_installation_starts_afresh() {
    let hearth = Appliance::start().await;
    hearth.fake.hold.store(true, Ordering::SeqCst);
    install(&hearth, HashMap::new()).await.unwrap();
    hearth
        .until("streaming", |a| a.fake.calls().contains(&"stream b".into()))
        .await;
    hearth.call("Cancel", &()).await.unwrap();
    assert_eq!(hearth.status().await.phase, Phase::Idle);
    hearth.fake.hold.store(false, Ordering::SeqCst);
    let tonight = HashMap::from([("when", Variant::from("tonight"))]);
    install(&hearth, tonight).await.unwrap();
    let status = hearth.until_phase(Phase::Staged).await;
    assert!(status.starts == Some(When::Tonight) && status.starts_unix_s.is_some());
    assert_eq!(hearth.boot_state().primary(), Slot::A, "not before the night");
    hearth.call("Activate", &"reboot").await.unwrap();
    assert_eq!(hearth.boot_state().primary(), Slot::B);
    hearth.call("Cancel", &()).await.unwrap();
    assert_eq!(hearth.boot_state().primary(), Slot::A);
    let (wire, _) = hearth.call("Cancel", &()).await.unwrap_err();
    assert_eq!(wire, WireError::NotNow);
}

#[tokio::test]
async fn what_is_wrong_with_a_call_or_a_bundle_is_said() {
    let hearth = Appliance::start().await;
    for (source, options, says) in [
        ("http://host/a", HashMap::new(), "https://"),
        (
            "/a",
            HashMap::from([("speed", Variant::from("high"))]),
            "Unsupported key: speed",
        ),
        ("/a", HashMap::from([("when", Variant::from("later"))]), "tonight"),
    ] {
        let (wire, text) = hearth.call("Install", &(source, options)).await.unwrap_err();
        assert_eq!(wire, WireError::InvalidArgument);
        assert!(text.contains(says), "{text}");
    }
    hearth
        .fake
        .fail(EngineErrorKind::Refused, "The signature is not right.");
    install(&hearth, HashMap::new()).await.unwrap();
    hearth.until("asked", |a| !a.fake.calls().is_empty()).await;
    let status = hearth.until_phase(Phase::Idle).await;
    assert_eq!(status.last_error.as_deref(), Some("The signature is not right."));
    assert!(
        hearth.boot_state().slot(Slot::B).complete(),
        "a refused bundle costs no slot"
    );
    for back in ["Rollback", "Downgrade"] {
        let (wire, _) = hearth.call(back, &()).await.unwrap_err();
        assert_eq!(wire, WireError::NotNow);
    }
    let (wire, text) = hearth.call("Mark", &("good", "other")).await.unwrap_err();
    assert_eq!(wire, WireError::NotNow);
    assert!(text.contains("Activate it"), "{text}");
    hearth.call("Mark", &("good", "booted")).await.unwrap();
}

#[tokio::test]
async fn without_room_for_its_health_check_a_version_is_neither_fetched_nor_started() {
    let mut hearth = Appliance::start().await;
    hearth.data_free_bytes = i64::MAX as u64;
    hearth.boot().await;
    hearth
        .until("marked good", |a| a.boot_state().slot(a.running).good())
        .await;
    let (wire, text) = install(&hearth, now()).await.unwrap_err();
    assert_eq!(wire, WireError::NotNow);
    for says in ["MB free", "needs", "delete what you do not need"] {
        assert!(text.contains(says), "{text}");
    }
    assert!(hearth.fake.calls().is_empty());
    let status = hearth.status().await;
    assert_eq!((status.phase, status.last_error), (Phase::Idle, None));

    hearth.data_free_bytes = 4096;
    hearth.boot().await;
    let tonight = HashMap::from([("when", Variant::from("tonight"))]);
    install(&hearth, tonight).await.unwrap();
    hearth.until_phase(Phase::Staged).await;
    hearth.data_free_bytes = i64::MAX as u64;
    hearth.boot().await;
    let (wire, _) = hearth.call("Activate", &"now").await.unwrap_err();
    assert_eq!(wire, WireError::NotNow);
    let (wire, text) = hearth.call("Mark", &("active", "other")).await.unwrap_err();
    assert_eq!(wire, WireError::NotNow);
    assert!(text.contains("MB free"), "{text}");
    assert_eq!(hearth.boot_state().primary(), Slot::A);
    hearth.call("Activate", &"tonight").await.unwrap();
}

#[tokio::test]
async fn a_version_for_which_room_ran_out_during_its_download_waits_for_the_night() {
    let mut hearth = Appliance::start().await;
    hearth.fake.hold.store(true, Ordering::SeqCst);
    install(&hearth, now()).await.unwrap();
    hearth
        .until("streaming", |a| a.fake.calls().contains(&"stream b".into()))
        .await;
    hearth.stop().await;
    hearth.data_free_bytes = i64::MAX as u64;
    hearth.start_service().await;
    let status = hearth.until_phase(Phase::Staged).await;
    assert_eq!(status.starts, Some(When::Tonight));
    let reason = hearth.until_it_waits().await;
    assert!(reason.contains("MB free"), "{reason}");
    assert!(!hearth.restart_asked());
    assert_eq!(hearth.boot_state().primary(), Slot::A);
}

#[tokio::test]
async fn a_start_in_the_night_waits_for_room_too() {
    let mut hearth = Appliance::start().await;
    let tonight = HashMap::from([("when", Variant::from("tonight"))]);
    install(&hearth, tonight).await.unwrap();
    hearth.until_phase(Phase::Staged).await;
    hearth.stop().await;
    {
        // The night came.
        let folder = hearth.root.path().join("var/lib/hearth-updater");
        let (journal, mut record) = Journal::open(&folder, &folder.join("opening"), 0).unwrap();
        let State::Staged { activation, .. } = &mut record.state else {
            panic!("{record:?}")
        };
        let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs();
        *activation = Activation::At(now - 60);
        journal.persist(&record, &[]).unwrap();
    }
    hearth.data_free_bytes = i64::MAX as u64;
    hearth.start_service().await;
    let reason = hearth.until_it_waits().await;
    assert!(
        reason.contains("not started") && reason.contains("MB free"),
        "{reason}"
    );
    let status = hearth.status().await;
    assert_eq!((status.phase, status.check_error), (Phase::Staged, None));
    assert!(!hearth.restart_asked());
    hearth.data_free_bytes = 4096;
    hearth.stop().await;
    hearth.start_service().await;
    hearth.until("restarting", Appliance::restart_asked).await;
}
