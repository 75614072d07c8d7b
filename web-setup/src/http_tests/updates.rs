//! The pages of updates over HTTP, with the fake updater behind them.

use ipc::settings::{Settings, UpdatePolicy};
use ipc::updater::When;

use super::*;
use crate::setup::desk::now;
use crate::updater::fake;
use crate::updater::sample::{self, Scene};

async fn logged_in() -> (Appliance, Client) {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.finish(&mut me).await;
    b.log_in(&mut me).await;
    (b, me)
}

impl Appliance {
    fn show(&self, scene: Scene) {
        self.updater.set(sample::status(scene, now()));
    }

    async fn ask(&self, me: &mut Client, path: &str, fields: &[(&str, &str)]) -> Page {
        let token = secret::form_token(&me.session);
        let mut all = vec![("token", token.as_str())];
        all.extend(fields);
        self.post(me, path, &all).await
    }
}

impl Page {
    /// The text of the element with this hook, without tags.
    fn text(&self, testid: &str) -> String {
        let start = format!("data-testid=\"{testid}\"");
        let at = self
            .body
            .find(&start)
            .unwrap_or_else(|| panic!("no {testid} in {}", self.body));
        let tag = self.body[..at].rfind('<').unwrap();
        let name: String = self.body[tag + 1..]
            .chars()
            .take_while(|c| c.is_alphanumeric())
            .collect();
        let rest = &self.body[self.body[at..].find('>').unwrap() + at + 1..];
        let inside = &rest[..rest.find(&format!("</{name}>")).unwrap_or(rest.len())];
        let mut text = String::new();
        let mut in_tag = false;
        for c in inside.chars() {
            match c {
                '<' => in_tag = true,
                '>' => in_tag = false,
                c if !in_tag => text.push(c),
                _ => {}
            }
        }
        text.trim().replace('\u{a0}', " ")
    }
}

#[tokio::test]
async fn every_state_has_its_sentence_and_its_buttons_and_no_others() {
    let (b, mut me) = logged_in().await;
    let buttons = [
        "check",
        "install-now",
        "install-tonight",
        "cancel",
        "activate-now",
        "activate-tonight",
        "activate-reboot",
        "dismiss",
        "try-again",
        "try-again-usb",
        "install-usb",
        "go-back",
    ];
    for (scene, title, expected) in [
        (
            Scene::Idle,
            "This box is up to date",
            &["check", "install-usb"][..],
        ),
        (
            Scene::NeverChecked,
            "Not looked for updates yet",
            &["check", "install-usb"],
        ),
        (
            Scene::CheckFailed,
            "Could not look for updates",
            &["check", "install-usb"],
        ),
        (
            Scene::Available,
            "Version 0.2.0 is available",
            &["install-now", "install-tonight", "install-usb"],
        ),
        (
            Scene::Critical,
            "Version 0.2.0 is available",
            &["install-now", "install-tonight", "install-usb"],
        ),
        (
            Scene::AvailableWaits,
            "Version 0.2.0 is available",
            &["install-now", "install-tonight", "install-usb"],
        ),
        (
            Scene::Failed,
            "Version 0.2.0 is available",
            &["install-now", "install-tonight", "install-usb"],
        ),
        (Scene::Checking, "Checking the update", &["cancel"]),
        (Scene::Downloading, "Installing version 0.2.0", &["cancel"]),
        (Scene::Verifying, "Checking version 0.2.0", &["cancel"]),
        (
            Scene::Staged,
            "Version 0.2.0 is ready: restart to finish",
            &["activate-now", "activate-tonight", "cancel"],
        ),
        (
            Scene::StagedTonight,
            "Version 0.2.0 starts tonight",
            &["activate-now", "activate-reboot", "cancel"],
        ),
        (
            Scene::StagedWaits,
            "Version 0.2.0 is ready, but cannot start yet",
            &["activate-now", "activate-reboot", "cancel"],
        ),
        (Scene::Restarting, "Restarting into version 0.2.0", &[]),
        (Scene::Trying, "Version 0.2.0 has to prove itself", &[]),
        (
            Scene::Good,
            "Version 0.2.0 is installed and works",
            &["check", "install-usb", "go-back"],
        ),
        (
            Scene::GoodWithdrawn,
            "Version 0.2.0 is installed and works",
            &["check", "install-usb"],
        ),
        (Scene::GoingBack, "Going back from version 0.2.0", &[]),
        (
            Scene::RolledBack,
            "Version 0.2.0 did not work",
            &["dismiss", "try-again", "install-usb"],
        ),
        (
            Scene::RolledBackWithNewer,
            "Version 0.2.0 did not work",
            &[
                "dismiss",
                "try-again-usb",
                "install-now",
                "install-tonight",
                "install-usb",
            ],
        ),
        (
            Scene::RolledBackFromStick,
            "Version 0.2.0 did not work",
            &["dismiss", "try-again-usb", "install-usb"],
        ),
        (
            Scene::Unhealthy,
            "Version 0.2.0 does not run well",
            &["check", "install-usb"],
        ),
    ] {
        b.show(scene);
        let page = b.get(&mut me, "/updates").await;
        assert_eq!(page.status, StatusCode::OK, "{scene:?}");
        assert_eq!(page.text("update-title"), title, "{scene:?}");
        let found: Vec<&str> = buttons.into_iter().filter(|id| page.has(id)).collect();
        let mut expected = expected.to_vec();
        expected.sort_by_key(|id| buttons.iter().position(|known| known == id));
        assert_eq!(found, expected, "{scene:?}");
        assert!(!page.body.contains("style=\"") && !page.body.contains(" onclick"));
        // The overview says the same.
        assert_eq!(b.get(&mut me, "/").await.text("update-state"), title, "{scene:?}");
    }
}

#[tokio::test]
async fn what_is_installed_and_available_is_shown_with_sizes_channel_and_local_times() {
    let (b, mut me) = logged_in().await;
    let mut status = sample::status(Scene::Available, 1_795_229_820);
    status.slots[0].installed_unix_s = Some(1_795_229_820);
    b.updater.set(status);
    let page = b.get(&mut me, "/updates").await;
    assert_eq!(page.text("value-version"), "0.1.0");
    assert_eq!(page.text("value-slot"), "A");
    assert_eq!(page.text("value-since"), "2026-11-21 03:57", "in Paris");
    assert!(page.text("value-keys").starts_with("Development keys"));
    assert_eq!(page.text("value-download"), "about 11.7 MB of 58.4 MB");
    assert_eq!(page.text("value-channel"), "stable");
    assert!(
        page.body.contains("<li>Wi-Fi comes back by itself"),
        "a list became one"
    );
    b.show(Scene::Critical);
    let page = b.get(&mut me, "/updates").await;
    assert!(page.has("critical"));
    assert_eq!(page.text("value-download"), "at most 58.4 MB");
}

#[tokio::test]
async fn what_an_update_waits_for_is_said_instead_of_a_time_that_is_past() {
    let (b, mut me) = logged_in().await;
    b.show(Scene::StagedWaits);
    let page = b.get(&mut me, "/updates").await;
    let (lead, why) = (page.text("update-lead"), page.text("waits-for"));
    assert!(!lead.contains("restarts at"), "{lead}");
    assert!(
        why.contains("not started: the data partition has only 3.1 MB free") && why.contains("delete"),
        "{why}"
    );
    b.show(Scene::AvailableWaits);
    let page = b.get(&mut me, "/updates").await;
    assert!(page.text("waits-for").starts_with("Nothing is installed: "));
    assert!(
        !page.has("check-error") && !page.has("tonight-by-itself") && !page.body.contains("attempt failed"),
        "{}",
        page.body
    );
    b.show(Scene::StagedTonight);
    assert!(!b.get(&mut me, "/updates").await.has("waits-for"));
}

#[tokio::test]
async fn a_version_that_must_not_come_back_is_named_as_the_reason_and_not_the_state_of_the_box() {
    let (b, mut me) = logged_in().await;
    b.show(Scene::GoodWithdrawn);
    let page = b.get(&mut me, "/updates").await;
    let why = page.text("go-back-why");
    assert!(
        why.contains("slot A must not come back") && why.contains("newer one will be offered"),
        "{why}"
    );
    let page = b.ask(&mut me, "/updates/go-back", &[("slot", "a")]).await;
    assert!(page.body.contains("must not come back"));
    assert!(b.updater.calls().is_empty());
}

#[tokio::test]
async fn a_description_is_text_and_never_markup() {
    let (b, mut me) = logged_in().await;
    let mut status = sample::status(Scene::Available, now());
    let evil = "<script>alert(1)</script>\n- <img src=x onerror=alert(1)>\n\n</div><h1>owned</h1>";
    let available = status.available.as_mut().unwrap();
    available.description = evil.into();
    available.version = "1.0.0<b>".into();
    available.channel = "<i>beta".into();
    b.updater.set(status);
    let mut history = sample::history(now());
    history[0].sentence = evil.into();
    b.updater.set_history(history);
    let page = b.get(&mut me, "/updates").await;
    for tag in ["<script>", "<img", "<h1>owned", "<b>", "<i>"] {
        assert!(!page.body.contains(tag), "{tag}");
    }
    assert!(page.body.contains("&lt;script&gt;"));
}

#[tokio::test]
async fn progress_is_a_bar_and_words_and_a_page_without_script_looks_again() {
    let (b, mut me) = logged_in().await;
    b.show(Scene::Downloading);
    let page = b.get(&mut me, "/updates").await;
    assert!(page.body.contains(
        "<progress max=\"100\" value=\"43\" aria-label=\"Installing version 0.2.0\" aria-valuetext=\"43 %, "
    ));
    assert_eq!(
        page.text("progress-text"),
        "25.1 MB of 58.4 MB in place · 8.4 MB downloaded · about 2 minutes left"
    );
    let refresh = "<noscript><meta http-equiv=\"refresh\"";
    assert!(page.body.contains(refresh));
    b.show(Scene::Checking);
    let page = b.get(&mut me, "/updates").await;
    assert!(!page.body.contains("value=\"0\"") && page.has("progress"));
    b.show(Scene::Idle);
    assert!(!b.get(&mut me, "/updates").await.body.contains(refresh));
}

#[tokio::test]
async fn actions_reach_the_updater_with_what_the_person_chose() {
    let (b, mut me) = logged_in().await;
    let seen = sample::hash("7f3a");
    let bundle = ("bundle", seen.as_str());
    let channel =
        |when: &str, force: bool| format!("Install {} when={when} force={force} hash={seen}", sample::SOURCE);
    let usb = |force: bool| format!("Install usb when=reboot force={force} hash=any");
    for (scene, path, fields, call) in [
        (
            Scene::Available,
            "install",
            vec![bundle, ("do", "now"), ("restart", "yes")],
            channel("now", false),
        ),
        (
            Scene::Available,
            "install",
            vec![bundle, ("do", "now")],
            channel("reboot", false),
        ),
        (
            Scene::Available,
            "install",
            vec![bundle, ("do", "tonight"), ("restart", "yes")],
            channel("tonight", false),
        ),
        (Scene::Idle, "usb", vec![], usb(false)),
        (Scene::RolledBack, "try-again", vec![bundle], channel("now", true)),
        (
            Scene::RolledBackFromStick,
            "try-again",
            vec![("bundle", "usb")],
            usb(true),
        ),
        (Scene::Downloading, "cancel", vec![], "Cancel".into()),
        (
            Scene::Staged,
            "activate",
            vec![("when", "tonight")],
            "Activate tonight".into(),
        ),
        (
            Scene::StagedTonight,
            "activate",
            vec![("when", "reboot")],
            "Activate reboot".into(),
        ),
        (Scene::Idle, "check", vec![], "Check".into()),
    ] {
        b.show(scene);
        let page = b.ask(&mut me, &format!("/updates/{path}"), &fields).await;
        assert_eq!(
            (page.status, page.location()),
            (StatusCode::SEE_OTHER, "/updates"),
            "{call}: {}",
            page.body
        );
        assert_eq!(b.updater.calls().last(), Some(&call));
    }
    b.show(Scene::Staged);
    let page = b.ask(&mut me, "/updates/activate", &[("when", "now")]).await;
    assert!(page.has("waiting") && page.body.contains("data-wait-boot=\""));
    assert_eq!(b.updater.calls().last().unwrap(), "Activate now");
}

#[tokio::test]
async fn an_update_that_was_replaced_meanwhile_is_not_installed_unseen() {
    let (b, mut me) = logged_in().await;
    b.show(Scene::RolledBackWithNewer);
    let seen = sample::hash("7f3a");
    for (path, fields) in [
        ("install", [("bundle", seen.as_str()), ("do", "now")]),
        ("install", [("bundle", ""), ("do", "now")]),
        ("install", [("bundle", "/etc/passwd"), ("do", "tonight")]),
        ("try-again", [("bundle", "https://evil.example/x"), ("do", "")]),
    ] {
        let page = b.ask(&mut me, &format!("/updates/{path}"), &fields).await;
        assert_eq!(page.status, StatusCode::CONFLICT);
        assert!(page.has("error-form") && page.body.contains("has changed since"));
    }
    for fields in [vec![("when", "yesterday")], vec![]] {
        let page = b.ask(&mut me, "/updates/activate", &fields).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
    }
    assert!(b.updater.calls().is_empty());
}

#[tokio::test]
async fn nobody_but_the_administrator_with_the_page_in_hand_changes_anything() {
    let (b, mut me) = logged_in().await;
    b.show(Scene::Good);
    let posts = [
        "/updates/install",
        "/updates/usb",
        "/updates/try-again",
        "/updates/dismiss",
        "/updates/cancel",
        "/updates/activate",
        "/updates/check",
        "/updates/policy",
        "/updates/go-back",
    ];
    let fields = [
        ("bundle", "usb"),
        ("do", "now"),
        ("when", "now"),
        ("policy", "manual"),
        ("slot", "a"),
    ];
    let mut eve = Client {
        session: "ab".repeat(32),
        browser: "cd".repeat(32),
        ..Client::at(9)
    };
    for path in ["/updates", "/updates/events", "/updates/go-back"] {
        assert_eq!(b.get(&mut eve, path).await.location(), "/login", "{path}");
    }
    let before = b.fake.calls();
    for path in posts {
        assert_eq!(
            b.ask(&mut eve, path, &fields).await.location(),
            "/login",
            "{path}"
        );
        for token in [secret::form_token(&me.browser), String::new()] {
            let mut all = vec![("token", token.as_str())];
            all.extend(fields);
            assert_eq!(
                b.post(&mut me, path, &all).await.status,
                StatusCode::FORBIDDEN,
                "{path}"
            );
        }
        let token = secret::form_token(&me.session);
        let request = b
            .request(&me, Method::POST, path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "http://evil.example")
            .body(Body::from(encode(&[("token", &token)])))
            .unwrap();
        assert_eq!(b.send(request).await.status, StatusCode::FORBIDDEN, "{path}");
        if path != "/updates/go-back" {
            assert_eq!(b.get(&mut me, path).await.status, StatusCode::METHOD_NOT_ALLOWED);
        }
    }
    assert!(b.updater.calls().is_empty());
    assert_eq!(b.fake.calls(), before);
}

#[tokio::test]
async fn refusals_become_sentences_and_a_silent_updater_is_no_error_page() {
    let (b, mut me) = logged_in().await;
    b.show(Scene::Available);
    b.updater.set_mood(fake::Mood::Refuses);
    let page = b.ask(&mut me, "/updates/usb", &[]).await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert_eq!(
        page.text("error-form"),
        "That did not work: version 0.2.0 is being installed; wait for it, or cancel it"
    );
    b.updater.set_mood(fake::Mood::WithoutChannels);
    let page = b.ask(&mut me, "/updates/check", &[]).await;
    assert!(
        page.text("error-form").contains("USB stick"),
        "{}",
        page.text("error-form")
    );
    b.updater.set_mood(fake::Mood::Absent);
    let page = b.get(&mut me, "/updates").await;
    assert_eq!(page.status, StatusCode::OK);
    assert_eq!(page.text("update-title"), "The updater does not answer");
    assert_eq!(
        page.text("value-version"),
        "0.1.0",
        "the start knows its own version"
    );
    assert!(page.has("form-policy"));
    assert_eq!(b.get(&mut me, "/").await.status, StatusCode::OK);
    for path in ["/updates/cancel", "/updates/dismiss", "/updates/go-back"] {
        let page = b.ask(&mut me, path, &[("slot", "a")]).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert!(page.text("error-form").contains("does not answer"), "{path}");
    }
}

#[tokio::test]
async fn going_back_asks_first_and_goes_only_where_it_was_asked_to() {
    let (b, mut me) = logged_in().await;
    let mut status = sample::status(Scene::Good, now());
    status.slots[0].bundle = Some(ipc::updater::BundleStatus {
        version: "0.1.0".into(),
        ..sample::bundle()
    });
    b.updater.set(status);
    let page = b.get(&mut me, "/updates/go-back").await;
    assert_eq!(page.text("heading"), "Go back to version 0.1.0?");
    assert!(page.body.contains("Your data and your settings stay") && page.body.contains("slot A"));
    assert_eq!(page.hidden("slot"), "a");
    let wrong = b.ask(&mut me, "/updates/go-back", &[("slot", "b")]).await;
    assert_eq!(wrong.status, StatusCode::CONFLICT);
    assert!(b.updater.calls().is_empty());
    let page = b.ask(&mut me, "/updates/go-back", &[("slot", "a")]).await;
    assert!(page.has("waiting"));
    assert_eq!(b.updater.calls(), ["Rollback"]);
    for (scene, reason) in [
        (Scene::Idle, "slot B holds no complete version"),
        (Scene::Downloading, "slot B is being filled"),
        (Scene::Staged, "was not started yet"),
        (Scene::RolledBack, "has not worked on this box"),
        (Scene::Trying, "has to prove itself first"),
        (Scene::GoingBack, "the box is restarting"),
    ] {
        b.show(scene);
        let page = b.get(&mut me, "/updates").await;
        assert!(page.has("go-back-disabled"), "{scene:?}");
        assert!(page.text("go-back-why").contains(reason), "{scene:?}");
        assert_eq!(
            b.get(&mut me, "/updates/go-back").await.status,
            StatusCode::CONFLICT
        );
        let page = b.ask(&mut me, "/updates/go-back", &[("slot", "b")]).await;
        assert!(page.status == StatusCode::CONFLICT && page.text("error-form").contains(reason));
    }
    assert_eq!(b.updater.calls(), ["Rollback"]);
}

#[tokio::test]
async fn a_version_without_a_name_and_stale_progress_leave_no_nonsense_behind() {
    let (b, mut me) = logged_in().await;
    for (scene, title) in [
        (Scene::Restarting, "Restarting"),
        (Scene::Trying, "The version that runs has to prove itself"),
    ] {
        let mut status = sample::status(scene, now());
        status.bundle.as_mut().unwrap().version.clear();
        status.progress = sample::status(Scene::Downloading, now()).progress;
        b.updater.set(status);
        assert_eq!(b.get(&mut me, "/updates").await.text("update-title"), title);
        assert!(!b.get(&mut me, "/").await.has("progress"), "{scene:?}");
    }
}

#[tokio::test]
async fn a_rollback_is_told_until_it_is_read_and_its_version_then_left_out() {
    let (mut b, mut me) = logged_in().await;
    b.show(Scene::RolledBack);
    let page = b.get(&mut me, "/updates").await;
    assert!(page.text("update-reason").contains("did not answer on port 80"));
    assert!(page.text("update-lead").contains("0.1.0"));
    assert_eq!(
        b.ask(&mut me, "/updates/dismiss", &[]).await.location(),
        "/updates"
    );
    assert!(
        b.updater.calls().is_empty(),
        "that it is not tried again needs no order"
    );
    b.restart();
    b.log_in(&mut me).await;
    let page = b.get(&mut me, "/updates").await;
    assert_eq!(page.text("update-title"), "Version 0.2.0 is left out");
    assert!(page.has("failed-before") && page.has("try-again") && !page.has("install-now"));
    let seen = sample::hash("7f3a");
    b.ask(&mut me, "/updates/try-again", &[("bundle", &seen)]).await;
    b.show(Scene::RolledBack);
    let page = b.get(&mut me, "/updates").await;
    assert_eq!(
        page.text("update-title"),
        "Version 0.2.0 did not work",
        "it failed again"
    );
}

#[tokio::test]
async fn the_policy_is_changed_by_the_provisioner_and_shown_as_it_is() {
    let (b, mut me) = logged_in().await;
    b.show(Scene::Available);
    let checked = |page: &Page, value: &str| {
        page.body
            .contains(&format!("name=\"policy\" value=\"{value}\" checked"))
    };
    let page = b.get(&mut me, "/updates").await;
    assert!(checked(&page, "notify") && !page.has("tonight-by-itself"));
    let page = b
        .ask(&mut me, "/updates/policy", &[("policy", "automatic")])
        .await;
    assert_eq!(page.location(), "/updates?saved");
    let page = b.get(&mut me, "/updates?saved").await;
    assert!(page.has("word") && checked(&page, "automatic") && page.has("tonight-by-itself"));
    let text = std::fs::read_to_string(b.root.join(ipc::paths::SETTINGS)).unwrap();
    let settings = Settings::parse(&text).unwrap();
    assert_eq!(settings.update_policy, UpdatePolicy::Automatic);
    let page = b
        .ask(&mut me, "/updates/policy", &[("policy", "sometimes")])
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    b.fake.set_mood(Mood::StorageFull);
    let page = b.ask(&mut me, "/updates/policy", &[("policy", "manual")]).await;
    assert!(page.text("error-form").contains("The card is full"));
    assert!(checked(&page, "automatic"), "what holds is shown");
}

#[tokio::test]
async fn the_history_is_newest_first_and_long_ones_unfold() {
    let (b, mut me) = logged_in().await;
    let page = b.get(&mut me, "/updates").await;
    assert!(page.text("history").contains("Nothing was installed"));
    b.updater.set_history(sample::history(1_795_229_820));
    let page = b.get(&mut me, "/updates").await;
    let (newest, older) = (
        page.body.find("Rolled back").unwrap(),
        page.body.find("Marked").unwrap(),
    );
    assert!(newest < older);
    assert!(page.body.contains("2026-11-21 03:48") && page.body.contains("Times are in Europe/Paris"));
    assert!(page.has("history-more"));
    let many: Vec<_> = (0..2000)
        .flat_map(|_| sample::history(1_795_229_820).into_iter().take(1))
        .collect();
    b.updater.set_history(many);
    let page = b.get(&mut me, "/updates").await;
    assert!(page.body.len() < 60_000, "{}", page.body.len());
}

#[tokio::test(start_paused = true)]
async fn an_open_page_is_told_at_once_and_only_what_changed() {
    let (b, mut me) = logged_in().await;
    b.show(Scene::Idle);
    for path in ["/updates/events", "/events"] {
        b.show(Scene::Idle);
        let request = b.request(&me, Method::GET, path).body(Body::empty()).unwrap();
        let mut stream = router(b.app.clone()).oneshot(request).await.unwrap().into_body();
        let mut next = async || {
            let wait = tokio::time::timeout(Duration::from_secs(20), stream.frame());
            let frame = wait.await.unwrap().unwrap().unwrap().into_data().unwrap();
            String::from_utf8(frame.to_vec()).unwrap()
        };
        let mut seen = String::new();
        while !seen.contains("This box is up to date") {
            seen = next().await;
        }
        b.show(Scene::Downloading);
        let began = tokio::time::Instant::now();
        let mut changed = String::new();
        while !changed.contains("Installing version 0.2.0") {
            changed = next().await;
        }
        assert!(
            began.elapsed() < Duration::from_millis(1900),
            "not only at the next look"
        );
        assert!(!changed.contains("live-system") && !changed.contains("live-installed"));
        drop(stream);
    }
    let _ = b.get(&mut me, "/updates").await;
    let calls = b.updater.calls();
    assert!(calls.is_empty(), "{calls:?}");
    let mut status = sample::status(Scene::Staged, now());
    status.starts = Some(When::Now);
    b.updater.set(status);
    assert!(b.get(&mut me, "/updates").await.has("waiting"));
}
