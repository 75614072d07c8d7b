//! The whole program over HTTP, with the fake provisioner behind it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use ipc::boot_facts::DataState;
use tower::ServiceExt;

use crate::app::{App, MAX_STREAMS, router};
use crate::form::{MAX_BODY_BYTES, encode};
use crate::provisioner::Provisioner;
use crate::provisioner::fake::{Fake, Mood};
use crate::secret;
use crate::system::{Root, sample};
use crate::updater;

mod updates;

const PASSWORD: &str = "tulip oven gravel 42";

struct Appliance {
    _folder: tempfile::TempDir,
    root: Root,
    fake: Arc<Fake>,
    updater: Arc<updater::fake::Fake>,
    app: Arc<App>,
}

struct Page {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

impl Page {
    fn location(&self) -> &str {
        self.headers
            .get(header::LOCATION)
            .map_or("", |v| v.to_str().unwrap())
    }

    fn cookie(&self, name: &str) -> Option<String> {
        self.headers
            .get_all(header::SET_COOKIE)
            .iter()
            .map(|v| v.to_str().unwrap())
            .find_map(|v| {
                v.strip_prefix(&format!("{name}="))?
                    .split(';')
                    .next()
                    .map(str::to_owned)
            })
    }

    fn hidden(&self, name: &str) -> String {
        let start = format!("name=\"{name}\" value=\"");
        let at = self
            .body
            .find(&start)
            .unwrap_or_else(|| panic!("no {name} in {}", self.body))
            + start.len();
        self.body[at..].split('"').next().unwrap().to_owned()
    }

    fn has(&self, testid: &str) -> bool {
        self.body.contains(&format!("data-testid=\"{testid}\""))
    }
}

/// A browser: cookies and an address.
#[derive(Clone, Default)]
struct Client {
    browser: String,
    session: String,
    last: u8,
}

impl Appliance {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::new(folder.path());
        sample::write(&root).unwrap();
        let fake = Arc::new(Fake::new(root.clone(), Duration::ZERO));
        let updater = Arc::new(updater::fake::Fake::default());
        let app = App::new(
            root.clone(),
            folder.path(),
            fake.clone(),
            updater.clone(),
            Arc::new(sample::Units),
        );
        Self {
            _folder: folder,
            root,
            fake,
            updater,
            app,
        }
    }

    /// The same disk, a new process.
    fn restart(&mut self) {
        let folder = self.root.join("/");
        // The store is opened at its first use: the old one is closed by then.
        self.app = App::new(
            self.root.clone(),
            &folder,
            self.fake.clone(),
            self.updater.clone(),
            Arc::new(sample::Units),
        );
    }

    async fn send(&self, request: Request<Body>) -> Page {
        let response = router(self.app.clone()).oneshot(request).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Page {
            status,
            headers,
            body: String::from_utf8_lossy(&body).into_owned(),
        }
    }

    fn request(&self, client: &Client, method: Method, path: &str) -> axum::http::request::Builder {
        let peer: SocketAddr = ([192, 168, 1, client.last], 50_000).into();
        let mut builder = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "hearth.local")
            .extension(peer);
        if !client.browser.is_empty() || !client.session.is_empty() {
            let cookies = format!(
                "hearth-browser={}; hearth-session={}",
                client.browser, client.session
            );
            builder = builder.header(header::COOKIE, cookies);
        }
        builder
    }

    async fn get(&self, client: &mut Client, path: &str) -> Page {
        let page = self
            .send(
                self.request(client, Method::GET, path)
                    .body(Body::empty())
                    .unwrap(),
            )
            .await;
        client.take(&page);
        page
    }

    async fn post(&self, client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Page {
        let request = self
            .request(client, Method::POST, path)
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(header::ORIGIN, "http://hearth.local")
            .body(Body::from(encode(fields)))
            .unwrap();
        let page = self.send(request).await;
        client.take(&page);
        page
    }

    /// Fills in the form at `path` and sends it.
    async fn fill(&self, client: &mut Client, path: &str, fields: &[(&str, &str)]) -> Page {
        let form = self.get(client, path).await;
        assert_eq!(
            form.status,
            StatusCode::OK,
            "{path}: {} {}",
            form.location(),
            form.body
        );
        let token = form.hidden("token");
        let mut all = vec![("token", token.as_str())];
        let revision = if path.starts_with("/setup/") && path != "/setup/continue" {
            form.hidden("revision")
        } else {
            String::new()
        };
        if !revision.is_empty() {
            all.push(("revision", &revision));
        }
        all.extend(fields);
        self.post(client, path, &all).await
    }

    /// Answers pages until `until`.
    async fn walk(&self, client: &mut Client, until: &str) {
        let pages: [(&str, &[(&str, &str)]); 7] = [
            ("welcome", &[("language", "en")]),
            ("name", &[("host_name", "attic")]),
            ("time-zone", &[("time_zone", "Europe/Paris")]),
            (
                "administrator",
                &[("name", "ada"), ("password", PASSWORD), ("repeat", PASSWORD)],
            ),
            ("network", &[]),
            ("storage", &[("do", "continue")]),
            ("updates", &[("policy", "notify")]),
        ];
        for (slug, fields) in pages {
            if slug == until {
                return;
            }
            let page = self.fill(client, &format!("/setup/{slug}"), fields).await;
            assert_eq!(page.status, StatusCode::SEE_OTHER, "{slug}: {}", page.body);
        }
    }

    async fn finish(&self, client: &mut Client) {
        self.walk(client, "summary").await;
        let page = self.fill(client, "/setup/summary", &[]).await;
        assert_eq!(
            (page.status, page.location()),
            (StatusCode::SEE_OTHER, "/ready"),
            "{}",
            page.body
        );
    }

    async fn log_in(&self, client: &mut Client) -> Page {
        let page = self
            .fill(client, "/login", &[("name", "ada"), ("password", PASSWORD)])
            .await;
        assert_eq!(
            (page.status, page.location()),
            (StatusCode::SEE_OTHER, "/"),
            "{}",
            page.body
        );
        page
    }
}

impl Client {
    fn at(last: u8) -> Self {
        Self {
            last,
            ..Self::default()
        }
    }

    fn take(&mut self, page: &Page) {
        if let Some(token) = page.cookie("hearth-browser") {
            self.browser = token;
        }
        if let Some(token) = page.cookie("hearth-session") {
            self.session = token;
        }
    }
}

#[tokio::test]
async fn the_whole_way_from_welcome_to_the_overview() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    assert_eq!(b.get(&mut me, "/").await.location(), "/setup");
    assert_eq!(b.get(&mut me, "/setup").await.location(), "/setup/welcome");
    b.finish(&mut me).await;
    assert!(b.get(&mut me, "/ready").await.body.contains("http://attic.local"));
    assert_eq!(b.get(&mut me, "/").await.location(), "/login");
    b.log_in(&mut me).await;
    let page = b.get(&mut me, "/").await;
    assert_eq!(page.status, StatusCode::OK);
    for testid in [
        "value-version",
        "value-slot",
        "value-uptime",
        "value-temperature",
        "value-memory",
        "value-storage",
        "value-network",
        "value-services",
        "value-boots",
        "banner-development-keys",
    ] {
        assert!(page.has(testid), "{testid}");
    }
}

#[tokio::test]
async fn a_new_process_goes_on_at_the_same_page_with_the_same_claim() {
    let mut b = Appliance::new();
    let mut me = Client::at(1);
    b.walk(&mut me, "network").await;
    b.restart();
    assert_eq!(b.get(&mut me, "/setup").await.location(), "/setup/network");
    assert_eq!(
        b.get(&mut Client::at(2), "/setup").await.location(),
        "/setup/continue"
    );
    b.finish_from_network(&mut me).await;
}

impl Appliance {
    async fn finish_from_network(&self, me: &mut Client) {
        for (slug, fields) in [
            ("network", vec![]),
            ("storage", vec![("do", "continue")]),
            ("updates", vec![("policy", "manual")]),
            ("summary", vec![]),
        ] {
            assert_eq!(
                self.fill(me, &format!("/setup/{slug}"), &fields).await.status,
                StatusCode::SEE_OTHER,
                "{slug}"
            );
        }
    }
}

#[tokio::test]
async fn a_stale_form_is_answered_with_the_present_state_and_changes_nothing() {
    let b = Appliance::new();
    let (mut me, mut other) = (Client::at(1), Client::at(2));
    b.walk(&mut me, "time-zone").await;
    let old = b.get(&mut other, "/setup/name").await;
    b.fill(&mut me, "/setup/name", &[("host_name", "cellar")]).await;
    let (token, revision) = (old.hidden("token"), old.hidden("revision"));
    let page = b
        .post(
            &mut other,
            "/setup/name",
            &[("token", &token), ("revision", &revision), ("host_name", "roof")],
        )
        .await;
    assert_eq!(page.status, StatusCode::CONFLICT);
    assert!(page.has("stale") && page.body.contains("cellar") && !page.body.contains("roof"));
}

#[tokio::test]
async fn a_second_browser_is_refused_until_it_knows_the_password() {
    let b = Appliance::new();
    let (mut me, mut other) = (Client::at(1), Client::at(2));
    let before = b.get(&mut other, "/setup/welcome").await;
    b.walk(&mut me, "network").await;
    for path in ["/setup", "/setup/welcome", "/setup/summary"] {
        assert_eq!(
            b.get(&mut other, path).await.location(),
            "/setup/continue",
            "{path}"
        );
    }
    let token = before.hidden("token");
    let stolen = [
        ("token", token.as_str()),
        ("revision", "4"),
        ("name", "eve"),
        ("password", PASSWORD),
        ("repeat", PASSWORD),
    ];
    assert_eq!(
        b.post(&mut other, "/setup/administrator", &stolen)
            .await
            .location(),
        "/setup/continue"
    );
    let page = b
        .fill(
            &mut other,
            "/setup/continue",
            &[("name", "ada"), ("password", "a guess that is wrong")],
        )
        .await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    let page = b
        .fill(
            &mut other,
            "/setup/continue",
            &[("name", "ada"), ("password", PASSWORD)],
        )
        .await;
    assert_eq!(page.location(), "/setup");
    assert_eq!(b.get(&mut other, "/setup").await.location(), "/setup/network");
    assert_eq!(
        b.fake
            .calls()
            .iter()
            .filter(|c| **c == "SetAdministrator")
            .count(),
        1
    );
}

#[tokio::test]
async fn a_lost_draft_gives_the_box_to_nobody() {
    let b = Appliance::new();
    let mut eve = Client::at(2);
    b.fake.put_administrator("ada", PASSWORD);
    b.fill(&mut eve, "/setup/welcome", &[("language", "en")]).await;
    assert_eq!(b.get(&mut eve, "/setup").await.location(), "/setup/continue");
    assert!(!b.fake.calls().contains(&"SetAdministrator"));
}

#[tokio::test]
async fn a_finished_setup_is_locked_even_for_the_browser_that_finished_it() {
    let mut b = Appliance::new();
    let (mut me, mut other) = (Client::at(1), Client::at(2));
    let open = b.get(&mut other, "/setup/welcome").await;
    b.finish(&mut me).await;
    for round in 0..2 {
        for client in [&mut me, &mut other] {
            for path in [
                "/setup",
                "/setup/name",
                "/setup/administrator",
                "/setup/continue",
                "/setup/storage-status",
            ] {
                assert_eq!(
                    b.get(client, path).await.location(),
                    "/login",
                    "{path}, round {round}"
                );
            }
            let token = open.hidden("token");
            for path in [
                "/setup/administrator",
                "/setup/summary",
                "/setup/continue",
                "/setup/strength",
            ] {
                let page = b
                    .post(client, path, &[("token", &token), ("revision", "0")])
                    .await;
                assert_eq!(page.status, StatusCode::GONE, "{path}");
                assert!(page.has("setup-locked"));
            }
        }
        b.restart();
    }
    assert_eq!(
        b.fake.calls().iter().filter(|c| **c == "CompleteSetup").count(),
        1
    );
}

#[tokio::test]
async fn answers_of_the_provisioner_that_are_lost_leave_nothing_half_done() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.walk(&mut me, "administrator").await;
    b.fake.set_mood(Mood::LosesAnswers);
    let fields = [("name", "ada"), ("password", PASSWORD), ("repeat", PASSWORD)];
    assert_eq!(
        b.fill(&mut me, "/setup/administrator", &fields).await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    b.fake.set_mood(Mood::Well);
    // It may have been set by anyone: the password decides.
    let page = b
        .fill(
            &mut me,
            "/setup/administrator",
            &[("name", "eve"), ("password", PASSWORD), ("repeat", PASSWORD)],
        )
        .await;
    assert_eq!(page.location(), "/setup/continue");
    b.fill(
        &mut me,
        "/setup/continue",
        &[("name", "ada"), ("password", PASSWORD)],
    )
    .await;
    assert_eq!(b.get(&mut me, "/setup").await.location(), "/setup/network");
    for (slug, fields) in [
        ("network", vec![]),
        ("storage", vec![]),
        ("updates", vec![("policy", "manual")]),
    ] {
        b.fill(&mut me, &format!("/setup/{slug}"), &fields).await;
    }
    b.fake.set_mood(Mood::LosesAnswers);
    assert_eq!(
        b.fill(&mut me, "/setup/summary", &[]).await.location(),
        "/ready",
        "the settings file is the truth"
    );
}

#[tokio::test]
async fn without_the_provisioner_pages_come_and_say_what_is_missing() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.fake.set_mood(Mood::Absent);
    b.walk(&mut me, "administrator").await;
    let page = b
        .fill(
            &mut me,
            "/setup/administrator",
            &[("name", "ada"), ("password", PASSWORD), ("repeat", PASSWORD)],
        )
        .await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.has("error-form") && !page.body.contains(PASSWORD));
    b.fake.set_mood(Mood::Well);
    b.walk_from_administrator(&mut me).await;
    b.fake.set_mood(Mood::Absent);
    let page = b.get(&mut me, "/setup/storage").await;
    assert!(page.status == StatusCode::OK && page.has("storage-unavailable"));
    b.fake.set_mood(Mood::StorageFull);
    let page = b.fill(&mut me, "/setup/storage", &[("do", "grow")]).await;
    assert!(
        page.has("error-form") && page.body.contains("The card is full"),
        "{}",
        page.body
    );
}

impl Appliance {
    async fn walk_from_administrator(&self, me: &mut Client) {
        let fields = [("name", "ada"), ("password", PASSWORD), ("repeat", PASSWORD)];
        assert_eq!(
            self.fill(me, "/setup/administrator", &fields).await.location(),
            "/setup/network"
        );
        assert_eq!(
            self.fill(me, "/setup/network", &[]).await.location(),
            "/setup/storage"
        );
    }
}

#[tokio::test]
async fn a_refused_value_stays_in_its_field_and_a_password_never_does() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.walk(&mut me, "name").await;
    let page = b.fill(&mut me, "/setup/name", &[("host_name", "my <box>")]).await;
    assert_eq!(page.status, StatusCode::UNPROCESSABLE_ENTITY);
    assert!(page.has("error-host_name") && page.body.contains("value=\"my &lt;box&gt;\""));
    assert!(
        page.body
            .contains("aria-invalid=\"true\" aria-describedby=\"host_name-error host_name-hint\" autofocus")
    );
    b.walk(&mut me, "administrator").await;
    for (password, repeat, error) in [
        ("short", "short", "error-password"),
        ("password123", "password123", "error-password"),
        ("", "", "error-password"),
        (PASSWORD, "tulip oven", "error-repeat"),
    ] {
        let page = b
            .fill(
                &mut me,
                "/setup/administrator",
                &[("name", "ada"), ("password", password), ("repeat", repeat)],
            )
            .await;
        assert!(page.has(error), "{password}");
        assert!(page.body.contains("value=\"ada\"") && !page.body.contains("tulip oven"));
    }
    let page = b
        .fill(&mut me, "/setup/time-zone", &[("time_zone", "Europe/Atlantis")])
        .await;
    assert!(page.has("error-time_zone"));
}

#[tokio::test]
async fn a_damaged_data_partition_opens_neither_setup_nor_login() {
    let b = Appliance::new();
    let mut facts = sample::facts();
    facts.data = DataState::Damaged {
        reason: "e2fsck gave up on /dev/mmcblk0p7.".into(),
    };
    std::fs::write(
        b.root.join(ipc::paths::BOOT_FACTS),
        serde_json::to_string(&facts).unwrap(),
    )
    .unwrap();
    for path in [
        "/",
        "/setup",
        "/setup/welcome",
        "/setup/continue",
        "/login",
        "/ready",
        "/device",
        "/events",
    ] {
        let page = b.get(&mut Client::at(1), path).await;
        assert!(
            page.status == StatusCode::SERVICE_UNAVAILABLE && page.has("closed"),
            "{path}"
        );
        assert!(page.body.contains("e2fsck gave up"), "{path}");
    }
    let mut me = Client {
        browser: "ab".repeat(32),
        ..Client::at(1)
    };
    let token = secret::form_token(&me.browser);
    for path in ["/setup/administrator", "/setup/summary", "/login"] {
        let page = b
            .post(
                &mut me,
                path,
                &[
                    ("token", &token),
                    ("revision", "0"),
                    ("name", "ada"),
                    ("password", PASSWORD),
                    ("repeat", PASSWORD),
                ],
            )
            .await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
    }
    assert!(b.fake.calls().is_empty());
    assert_eq!(b.get(&mut me, "/health").await.body, "ok");
}

#[tokio::test]
async fn a_form_without_its_token_or_from_another_site_is_refused() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    let form = b.get(&mut me, "/setup/welcome").await;
    let (token, fields) = (form.hidden("token"), [("revision", "0"), ("language", "en")]);
    assert_eq!(
        b.post(&mut me, "/setup/welcome", &fields).await.status,
        StatusCode::FORBIDDEN
    );
    let foreign = secret::form_token(&"cd".repeat(32));
    let page = b
        .post(
            &mut me,
            "/setup/welcome",
            &[("token", &foreign), fields[0], fields[1]],
        )
        .await;
    assert_eq!(page.status, StatusCode::FORBIDDEN);
    for (name, value) in [
        ("origin", "http://evil.example"),
        ("origin", "null"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let request = b
            .request(&me, Method::POST, "/setup/welcome")
            .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
            .header(name, value)
            .body(Body::from(encode(&[("token", &token), fields[0], fields[1]])))
            .unwrap();
        assert_eq!(
            b.send(request).await.status,
            StatusCode::FORBIDDEN,
            "{name}: {value}"
        );
    }
    assert_eq!(
        b.get(&mut me, "/setup").await.location(),
        "/setup/welcome",
        "nothing was changed"
    );
    b.finish(&mut me).await;
    b.log_in(&mut me).await;
    let browser_token = secret::form_token(&me.browser);
    for path in [
        "/device/reboot",
        "/device/power-off",
        "/device/factory-reset",
        "/device/diagnosis",
        "/storage/grow",
        "/logout",
        "/logout-everywhere",
    ] {
        let page = b
            .post(&mut me, path, &[("token", &browser_token), ("confirm", "attic")])
            .await;
        assert_eq!(
            page.status,
            StatusCode::FORBIDDEN,
            "{path}: the token of the login is not the session's"
        );
    }
    for call in ["Reboot", "PowerOff", "FactoryReset", "Diagnosis", "GrowData"] {
        assert!(!b.fake.calls().contains(&call), "{call}");
    }
}

#[tokio::test]
async fn nothing_behind_the_login_is_open_without_it() {
    let b = Appliance::new();
    b.finish(&mut Client::at(1)).await;
    let mut eve = Client {
        session: "ab".repeat(32),
        browser: "cd".repeat(32),
        ..Client::at(9)
    };
    for path in ["/", "/events", "/device", "/device/factory-reset"] {
        assert_eq!(b.get(&mut eve, path).await.location(), "/login", "{path}");
    }
    let token = secret::form_token(&eve.session);
    for path in [
        "/device/reboot",
        "/device/power-off",
        "/device/factory-reset",
        "/device/diagnosis",
        "/storage/grow",
        "/logout-everywhere",
    ] {
        let page = b
            .post(&mut eve, path, &[("token", &token), ("confirm", "attic")])
            .await;
        assert_eq!(page.location(), "/login", "{path}");
    }
}

#[tokio::test]
async fn wrong_passwords_wait_and_a_wrong_name_looks_the_same() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.finish(&mut me).await;
    let mut eve = Client::at(66);
    let wrong_name = b
        .fill(
            &mut eve,
            "/login",
            &[("name", "nobody"), ("password", "guess one")],
        )
        .await;
    let wrong_password = b
        .fill(&mut eve, "/login", &[("name", "ada"), ("password", "guess one")])
        .await;
    assert_eq!(wrong_name.status, wrong_password.status);
    assert_eq!(wrong_name.body.replace("nobody", "ada"), wrong_password.body);
    let asked = b.fake.calls().iter().filter(|c| **c == "VerifyPassword").count();
    b.fill(&mut eve, "/login", &[("name", "ada"), ("password", "guess two")])
        .await;
    let page = b
        .fill(&mut eve, "/login", &[("name", "ada"), ("password", PASSWORD)])
        .await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.headers.contains_key(header::RETRY_AFTER));
    assert_eq!(
        b.fake.calls().iter().filter(|c| **c == "VerifyPassword").count(),
        asked + 1,
        "not even asked"
    );
    b.log_in(&mut me).await;
}

#[tokio::test]
async fn the_limit_over_all_addresses_is_passed_on() {
    let b = Appliance::new();
    b.finish(&mut Client::at(1)).await;
    for n in 0..10 {
        b.fill(
            &mut Client::at(100 + n),
            "/login",
            &[("name", "ada"), ("password", "guess")],
        )
        .await;
    }
    let page = b
        .fill(
            &mut Client::at(200),
            "/login",
            &[("name", "ada"), ("password", PASSWORD)],
        )
        .await;
    assert_eq!(page.status, StatusCode::TOO_MANY_REQUESTS);
    assert!(page.has("error-form"));
}

#[tokio::test]
async fn cookies_are_http_only_strict_and_new_at_login() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    let page = b.get(&mut me, "/setup/welcome").await;
    b.finish(&mut me).await;
    let before = me.session.clone();
    let login = b.log_in(&mut me).await;
    for (page, name) in [(&page, "hearth-browser"), (&login, "hearth-session")] {
        let cookie = page.headers.get(header::SET_COOKIE).unwrap().to_str().unwrap();
        assert!(cookie.starts_with(name), "{cookie}");
        for flag in ["; Path=/", "; HttpOnly", "; SameSite=Strict", "; Max-Age="] {
            assert!(cookie.contains(flag), "{cookie}");
        }
        assert!(!page.body.contains(&me.browser) && !page.location().contains(&me.browser));
    }
    assert_ne!(before, me.session);
}

#[tokio::test]
async fn logout_ends_this_session_and_logout_everywhere_ends_all() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.finish(&mut me).await;
    let (mut phone, mut desk) = (Client::at(2), Client::at(3));
    b.log_in(&mut phone).await;
    b.log_in(&mut desk).await;
    let token = secret::form_token(&desk.session);
    let stolen = desk.session.clone();
    assert_eq!(
        b.post(&mut desk, "/logout", &[("token", &token)])
            .await
            .location(),
        "/login?out"
    );
    assert!(b.get(&mut desk, "/login?out").await.has("word"));
    let mut thief = Client {
        session: stolen,
        ..Client::at(4)
    };
    assert_eq!(b.get(&mut thief, "/").await.location(), "/login");
    assert_eq!(b.get(&mut phone, "/").await.status, StatusCode::OK);
    b.log_in(&mut desk).await;
    let token = secret::form_token(&desk.session);
    b.post(&mut desk, "/logout-everywhere", &[("token", &token)])
        .await;
    assert_eq!(b.get(&mut phone, "/").await.location(), "/login");
}

#[tokio::test]
async fn a_foreign_host_is_refused_on_every_route() {
    let b = Appliance::new();
    for path in ["/", "/setup", "/login", "/health", "/assets/app.js", "/nowhere"] {
        for host in ["evil.example", "hearth.local.evil.example", ""] {
            let request = Request::builder()
                .uri(path)
                .header(header::HOST, host)
                .body(Body::empty())
                .unwrap();
            assert_eq!(
                b.send(request).await.status,
                StatusCode::MISDIRECTED_REQUEST,
                "{path} {host}"
            );
        }
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        assert_eq!(
            b.send(request).await.status,
            StatusCode::MISDIRECTED_REQUEST,
            "{path} without a host"
        );
    }
    for host in [
        "hearth",
        "hearth.local",
        "192.168.1.20",
        "[fe80::1]",
        "localhost:18080",
        "127.0.0.1:18080",
    ] {
        let request = Request::builder()
            .uri("/health")
            .header(header::HOST, host)
            .body(Body::empty())
            .unwrap();
        assert_eq!(b.send(request).await.status, StatusCode::OK, "{host}");
    }
}

#[tokio::test]
async fn bodies_are_bounded_and_must_be_forms() {
    let b = Appliance::new();
    let me = Client {
        browser: "ab".repeat(32),
        ..Client::at(1)
    };
    for path in ["/setup/welcome", "/setup/strength", "/setup/continue"] {
        let send = |kind: &'static str, body: Vec<u8>| {
            let request = b
                .request(&me, Method::POST, path)
                .header(header::CONTENT_TYPE, kind)
                .body(Body::from(body))
                .unwrap();
            b.send(request)
        };
        let form = "application/x-www-form-urlencoded";
        assert_eq!(
            send(form, vec![b'a'; MAX_BODY_BYTES + 1]).await.status,
            StatusCode::PAYLOAD_TOO_LARGE,
            "{path}"
        );
        assert_eq!(send(form, b"a=%".to_vec()).await.status, StatusCode::BAD_REQUEST);
        assert_eq!(
            send(form, b"a=1&a=2".to_vec()).await.status,
            StatusCode::BAD_REQUEST
        );
        assert_eq!(
            send("application/json", b"{}".to_vec()).await.status,
            StatusCode::BAD_REQUEST
        );
        // Without a length, the bytes themselves are counted.
        let chunks = futures_util::stream::iter((0..20).map(|_| Ok::<_, std::io::Error>(vec![b'a'; 1024])));
        let request = b
            .request(&me, Method::POST, path)
            .header(header::CONTENT_TYPE, form)
            .body(Body::from_stream(chunks))
            .unwrap();
        assert_eq!(
            b.send(request).await.status,
            StatusCode::PAYLOAD_TOO_LARGE,
            "{path}"
        );
    }
}

#[tokio::test]
async fn every_answer_carries_the_security_headers() {
    let b = Appliance::new();
    for (path, status) in [
        ("/setup/welcome", 200),
        ("/", 303),
        ("/nowhere", 404),
        ("/assets/app.js", 200),
        ("/health", 200),
        ("/logout", 405),
    ] {
        let page = b.get(&mut Client::at(1), path).await;
        assert_eq!(page.status.as_u16(), status, "{path}");
        let csp = page
            .headers
            .get(header::CONTENT_SECURITY_POLICY)
            .unwrap()
            .to_str()
            .unwrap();
        assert!(
            csp.contains("default-src 'none'")
                && csp.contains("frame-ancestors 'none'")
                && !csp.contains("unsafe")
        );
        assert_eq!(
            page.headers.get(header::X_CONTENT_TYPE_OPTIONS).unwrap(),
            "nosniff"
        );
        let stored = page.headers.get(header::CACHE_CONTROL).unwrap().to_str().unwrap();
        assert_eq!(
            stored.contains("immutable"),
            path.starts_with("/assets"),
            "{path}"
        );
        assert!(
            !page.body.contains("style=\"") && !page.body.contains(" onclick"),
            "{path}"
        );
    }
}

#[tokio::test]
async fn live_streams_are_bounded_and_carry_the_parts() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.finish(&mut me).await;
    b.log_in(&mut me).await;
    let mut open = vec![];
    for _ in 0..MAX_STREAMS {
        let request = b
            .request(&me, Method::GET, "/events")
            .body(Body::empty())
            .unwrap();
        open.push(router(b.app.clone()).oneshot(request).await.unwrap());
    }
    assert_eq!(
        b.get(&mut me, "/events").await.status,
        StatusCode::SERVICE_UNAVAILABLE
    );
    let mut stream = open.pop().unwrap().into_body();
    let frame = stream.frame().await.unwrap().unwrap().into_data().unwrap();
    let text = String::from_utf8(frame.to_vec()).unwrap();
    assert!(
        text.starts_with("event: parts\n") && text.contains("live-memory"),
        "{text}"
    );
    drop(stream);
    let request = b
        .request(&me, Method::GET, "/events")
        .body(Body::empty())
        .unwrap();
    assert_eq!(
        router(b.app.clone()).oneshot(request).await.unwrap().status(),
        StatusCode::OK,
        "a place is free again"
    );
}

#[tokio::test]
async fn device_actions_reach_the_provisioner_once_and_say_what_went_wrong() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.finish(&mut me).await;
    b.log_in(&mut me).await;
    let token = secret::form_token(&me.session);
    let token = ("token", token.as_str());
    let page = b.post(&mut me, "/device/reboot", &[token]).await;
    assert!(page.has("waiting") && page.body.contains("data-wait-boot=\""));
    assert!(
        b.post(&mut me, "/device/power-off", &[token])
            .await
            .has("powering-off")
    );
    let bundle = b.post(&mut me, "/device/diagnosis", &[token]).await;
    let disposition = bundle
        .headers
        .get(header::CONTENT_DISPOSITION)
        .unwrap()
        .to_str()
        .unwrap();
    assert!(
        disposition.starts_with("attachment; filename=\"attic-diagnosis-2")
            && disposition.ends_with(".tar.gz\"")
    );
    assert!(bundle.body.contains("a made-up bundle"));
    let page = b
        .post(&mut me, "/device/factory-reset", &[token, ("confirm", "attik")])
        .await;
    assert!(page.status == StatusCode::UNPROCESSABLE_ENTITY && page.has("error-confirm"));
    assert!(!b.fake.calls().contains(&"FactoryReset"));
    b.fake.set_mood(Mood::StorageFull);
    let page = b.post(&mut me, "/device/reboot", &[token]).await;
    assert!(page.has("error-form") && page.body.contains("The card is full"));
    b.fake.set_mood(Mood::Well);
    assert!(
        b.post(&mut me, "/device/factory-reset", &[token, ("confirm", "attic")])
            .await
            .has("waiting")
    );
    assert_eq!(
        b.get(&mut me, "/").await.location(),
        "/setup",
        "the wizard is open again"
    );
    assert_eq!(
        b.get(&mut Client::at(3), "/setup").await.location(),
        "/setup/welcome",
        "and nobody has a claim"
    );
}

#[tokio::test]
async fn the_strength_endpoint_grades_and_keeps_nothing() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    let token = b.get(&mut me, "/setup/welcome").await.hidden("token");
    for (password, score) in [("password", "\"score\":0"), (PASSWORD, "\"score\":4")] {
        let page = b
            .post(
                &mut me,
                "/setup/strength",
                &[("token", &token), ("name", "ada"), ("password", password)],
            )
            .await;
        assert!(
            page.status == StatusCode::OK && page.body.contains(score),
            "{}",
            page.body
        );
    }
    assert!(b.fake.calls().is_empty());
}

#[tokio::test]
async fn passwords_stand_in_no_file_of_ours() {
    let b = Appliance::new();
    let mut me = Client::at(1);
    b.walk(&mut me, "summary").await;
    assert!(b.fake.verify_password("ada", PASSWORD).await.unwrap());
    let store = std::fs::read(b.root.join("/setup.redb")).unwrap();
    for secret in [PASSWORD, me.browser.as_str()] {
        assert!(!store.windows(secret.len()).any(|w| w == secret.as_bytes()));
    }
}
