//! The provisioner on a private bus, with a fake systemd beside it, through the public door.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use ipc::provisioner::{BUS_NAME, INTERFACE, MAX_ATTEMPTS_PER_MINUTE, OBJECT, WireError};
use provisioner::places::Places;
use provisioner::service::Service;
use zbus::{Connection, connection::Builder};

/// A bus of our own, gone with the test.
struct Bus {
    daemon: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl Bus {
    fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("bus.conf");
        let socket = folder.path().join("socket");
        let text = format!(
            "<busconfig><listen>unix:path={}</listen><auth>EXTERNAL</auth><policy context='default'>\
             <allow own='*'/><allow send_destination='*'/><allow receive_sender='*'/></policy></busconfig>",
            socket.display()
        );
        std::fs::write(&config, text).unwrap();
        let mut daemon = Command::new("dbus-daemon")
            .arg(format!("--config-file={}", config.display()))
            .args(["--nofork", "--print-address"])
            .stdout(Stdio::piped())
            .spawn()
            .expect("this test needs dbus-daemon: apt-get install dbus-daemon");
        let mut address = String::new();
        BufReader::new(daemon.stdout.take().unwrap())
            .read_line(&mut address)
            .unwrap();
        Self {
            daemon,
            address: address.trim().to_owned(),
            _folder: folder,
        }
    }

    fn builder(&self) -> Builder<'static> {
        Builder::address(self.address.as_str().parse::<zbus::Address>().unwrap())
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

/// Remembers what it was asked to start.
struct FakeSystemd(Arc<Mutex<Vec<(String, String)>>>);

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl FakeSystemd {
    fn start_unit(&self, name: String, mode: String) -> zbus::OwnedObjectPath {
        self.0.lock().unwrap().push((name, mode));
        zbus::ObjectPath::try_from("/org/freedesktop/systemd1/job/1")
            .unwrap()
            .into()
    }
}

/// A box below a temporary folder, its provisioner on the bus, and a caller.
struct Box1 {
    root: tempfile::TempDir,
    started: Arc<Mutex<Vec<(String, String)>>>,
    caller: Connection,
    _service: Connection,
    _systemd: Connection,
    _bus: Bus,
}

impl Box1 {
    async fn start(data: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in [
            "run/hearth",
            "var/lib/hearth-provisioner",
            "etc",
            "data",
            "usr/share/zoneinfo/Europe",
        ] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        std::fs::write(root.path().join("usr/share/zoneinfo/Europe/Paris"), "TZif").unwrap();
        let facts = format!(
            r#"{{"slot":"a","healed":false,"version":"1","profile":"dev","board":"qemu-arm64","development_keys":true,
                "disk":"/dev/vda","data_device":"/dev/vda7","bootstate_device":"/dev/vda2","data":{data},"handed_over_ms":1}}"#
        );
        std::fs::write(root.path().join("run/hearth/boot.json"), facts).unwrap();
        let bus = Bus::start();
        let started = Arc::default();
        let systemd = bus
            .builder()
            .serve_at("/org/freedesktop/systemd1", FakeSystemd(Arc::clone(&started)))
            .name("org.freedesktop.systemd1")
            .build()
            .await
            .unwrap();
        let service = serve(&bus, root.path()).await;
        let caller = bus.builder().build().await.unwrap();
        Self {
            root,
            started,
            caller,
            _service: service,
            _systemd: systemd,
            _bus: bus,
        }
    }

    async fn call<B>(&self, method: &str, body: &B) -> Result<zbus::Message, (WireError, String)>
    where
        B: serde::Serialize + zbus::wire::DynamicType,
    {
        match self
            .caller
            .call_method(Some(BUS_NAME), OBJECT, Some(INTERFACE), method, body)
            .await
        {
            Ok(reply) => Ok(reply),
            Err(zbus::Error::MethodError(name, text, _)) => {
                Err((WireError::from_bus_name(name.as_str()), text.unwrap_or_default()))
            }
            Err(e) => panic!("{method}: {e}"),
        }
    }

    async fn verify(&self, name: &str, password: &str) -> Result<bool, WireError> {
        let reply = self
            .call("VerifyPassword", &(name, password))
            .await
            .map_err(|(wire, _)| wire)?;
        Ok(reply.body().deserialize::<bool>().unwrap())
    }

    async fn refusal<B: serde::Serialize + zbus::wire::DynamicType>(
        &self,
        method: &str,
        body: &B,
    ) -> WireError {
        self.call(method, body).await.expect_err("must be refused").0
    }
}

async fn serve(bus: &Bus, root: &Path) -> Connection {
    let service = Service::start(Places::below(root)).unwrap();
    provisioner::dbus::serve(bus.builder(), service).await.unwrap()
}

const REQUEST: &str = "host_name='attic'\ntime_zone='Europe/Paris'\nlanguage='en'\nupdate_policy='notify'";

#[tokio::test]
async fn a_box_is_claimed_once_and_only_a_confirmed_reset_goes_on() {
    let hearth = Box1::start(r#"{"state":"mounted"}"#).await;
    assert_eq!(
        hearth.refusal("CompleteSetup", &REQUEST).await,
        WireError::NoAdministrator
    );
    assert_eq!(
        hearth.verify("ada", "correct horse").await,
        Err(WireError::NoAdministrator)
    );
    assert_eq!(
        hearth.refusal("SetAdministrator", &("ada", "short")).await,
        WireError::InvalidArgument
    );
    assert_eq!(
        hearth.refusal("FactoryReset", &"hearth").await,
        WireError::NotProvisioned
    );

    hearth
        .call("SetAdministrator", &("bob", "another password"))
        .await
        .unwrap();
    hearth
        .call("SetAdministrator", &("ada", "correct horse"))
        .await
        .unwrap();
    assert_eq!(hearth.verify("bob", "another password").await, Ok(false));
    assert_eq!(hearth.verify("ada", "correct horse").await, Ok(true));
    let has = hearth.call("HasAdministrator", &()).await.unwrap();
    assert!(has.body().deserialize::<bool>().unwrap());

    let nowhere = REQUEST.replace("Europe/Paris", "Europe/Atlantis");
    assert_eq!(
        hearth.refusal("CompleteSetup", &nowhere).await,
        WireError::InvalidArgument
    );
    hearth.call("CompleteSetup", &REQUEST).await.unwrap();
    assert_eq!(
        hearth.refusal("CompleteSetup", &REQUEST).await,
        WireError::AlreadyProvisioned
    );
    assert_eq!(
        hearth.refusal("SetAdministrator", &("eve", "12345678")).await,
        WireError::AlreadyProvisioned
    );
    let settings = std::fs::read_to_string(
        hearth
            .root
            .path()
            .join("var/lib/hearth-provisioner/settings.toml"),
    )
    .unwrap();
    let settings = ipc::settings::Settings::parse(&settings).unwrap();
    assert!(settings.provisioned && settings.administrator.unwrap().as_str() == "ada");
    assert_eq!(
        std::fs::read_to_string(hearth.root.path().join("etc/hostname")).unwrap(),
        "attic\n"
    );

    let marker = hearth.root.path().join("data/factory-reset");
    assert_eq!(
        hearth.refusal("FactoryReset", &"hearth").await,
        WireError::InvalidArgument
    );
    assert!(!marker.exists() && hearth.started.lock().unwrap().is_empty());
    hearth.call("FactoryReset", &"attic").await.unwrap();
    assert!(marker.exists());
    hearth.call("PowerOff", &()).await.unwrap();
    let irreversibly = |target: &str| (target.to_owned(), "replace-irreversibly".to_owned());
    assert_eq!(
        *hearth.started.lock().unwrap(),
        [irreversibly("reboot.target"), irreversibly("poweroff.target")]
    );
}

#[tokio::test]
async fn guessing_is_stopped_and_a_restarted_service_remembers_the_owner() {
    let hearth = Box1::start(r#"{"state":"mounted"}"#).await;
    hearth
        .call("SetAdministrator", &("ada", "correct horse"))
        .await
        .unwrap();
    hearth.call("CompleteSetup", &REQUEST).await.unwrap();
    hearth._service.clone().close().await.unwrap();
    let _service = serve(&hearth._bus, hearth.root.path()).await;
    assert_eq!(hearth.verify("ada", "correct horse").await, Ok(true));
    for _ in 0..MAX_ATTEMPTS_PER_MINUTE {
        assert_eq!(hearth.verify("ada", "a guess").await, Ok(false));
    }
    let (wire, text) = hearth
        .call("VerifyPassword", &("ada", "correct horse"))
        .await
        .unwrap_err();
    assert_eq!(wire, WireError::TooManyAttempts);
    assert!(text.contains("seconds"), "{text}");
    assert_eq!(
        hearth.refusal("SetAdministrator", &("eve", "12345678")).await,
        WireError::AlreadyProvisioned
    );
}

#[tokio::test]
async fn when_updates_are_installed_is_chosen_anew_after_setup_and_nothing_else_changes() {
    let hearth = Box1::start(r#"{"state":"mounted"}"#).await;
    hearth
        .call("SetAdministrator", &("ada", "correct horse"))
        .await
        .unwrap();
    assert_eq!(
        hearth.refusal("SetUpdatePolicy", &"manual").await,
        WireError::NotProvisioned
    );
    hearth.call("CompleteSetup", &REQUEST).await.unwrap();
    let read = || {
        let file = "var/lib/hearth-provisioner/settings.toml";
        let text = std::fs::read_to_string(hearth.root.path().join(file)).unwrap();
        ipc::settings::Settings::parse(&text).unwrap()
    };
    let before = read();
    assert_eq!(
        hearth.refusal("SetUpdatePolicy", &"sometimes").await,
        WireError::InvalidArgument
    );
    assert_eq!(read(), before);
    hearth.call("SetUpdatePolicy", &"manual").await.unwrap();
    let expected = ipc::settings::Settings {
        update_policy: ipc::settings::UpdatePolicy::Manual,
        ..before
    };
    assert_eq!(read(), expected);
    assert_eq!(hearth.verify("ada", "correct horse").await, Ok(true));
}

#[tokio::test]
async fn nothing_is_decided_on_a_box_whose_data_is_damaged() {
    let hearth = Box1::start(r#"{"state":"damaged","reason":"no superblock"}"#).await;
    for (wire, text) in [
        hearth
            .call("SetAdministrator", &("ada", "correct horse"))
            .await
            .unwrap_err(),
        hearth.call("CompleteSetup", &REQUEST).await.unwrap_err(),
        hearth.call("GrowData", &()).await.unwrap_err(),
        hearth.call("FactoryReset", &"hearth").await.unwrap_err(),
    ] {
        assert_eq!(wire, WireError::StorageUnavailable);
        assert!(
            text.contains("no superblock") && text.contains("Restart"),
            "{text}"
        );
    }
    assert_eq!(
        std::fs::read_dir(hearth.root.path().join("var/lib/hearth-provisioner"))
            .unwrap()
            .count(),
        0
    );
    hearth.call("Reboot", &()).await.unwrap();
}

#[tokio::test]
async fn the_diagnosis_is_a_readable_file_without_the_password_hash() {
    use std::io::Read;
    let hearth = Box1::start(r#"{"state":"repaired"}"#).await;
    hearth
        .call("SetAdministrator", &("ada", "correct horse"))
        .await
        .unwrap();
    let reply = hearth.call("Diagnosis", &()).await.unwrap();
    let fd: zbus::OwnedFd = reply.body().deserialize().unwrap();
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(fd));
    let mut text = String::new();
    flate2::read::GzDecoder::new(file)
        .read_to_string(&mut text)
        .unwrap();
    assert!(text.contains("hearth-diagnosis/boot.json") && text.contains("qemu-arm64"));
    assert!(!text.contains("argon2id"));
}
