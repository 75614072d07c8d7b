//! A box below a temporary folder: boot state, boot manager, page, bus, systemd.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use boot_state::{Boot, Bootstate, COPY_OFFSETS, SECTOR_LEN, Slot, Step};
use ipc::updater::{BUS_NAME, INTERFACE, OBJECT, Phase, Status, WireError};
use os_io::root::Root;
use updater::config::Config;
use updater::service::{Parts, Service};
use zbus::connection::Builder;
use zbus::{Connection, OwnedObjectPath};

use crate::engine::{Fake, Shared};

/// A bus of our own, gone with the test.
pub struct Bus {
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

    pub async fn connect(&self) -> Connection {
        let address = self.address.as_str().parse::<zbus::Address>().unwrap();
        Builder::address(address).build().await.unwrap()
    }
}

impl Drop for Bus {
    fn drop(&mut self) {
        self.daemon.kill().unwrap();
        self.daemon.wait().unwrap();
    }
}

/// What systemd was asked, and what it says of units.
#[derive(Default)]
struct Systemd {
    started: Mutex<Vec<String>>,
    unit_failed: AtomicBool,
}

struct FakeSystemd(Arc<Systemd>);

type RawUnit = (
    String,
    String,
    String,
    String,
    String,
    String,
    OwnedObjectPath,
    u32,
    String,
    OwnedObjectPath,
);

fn path() -> OwnedObjectPath {
    zbus::ObjectPath::try_from("/org/freedesktop/systemd1/job/1")
        .unwrap()
        .into()
}

#[zbus::interface(name = "org.freedesktop.systemd1.Manager")]
impl FakeSystemd {
    fn start_unit(&self, name: String, mode: String) -> OwnedObjectPath {
        assert_eq!(mode, "replace-irreversibly");
        self.0.started.lock().unwrap().push(name);
        path()
    }

    fn list_units_by_names(&self, names: Vec<String>) -> Vec<RawUnit> {
        let state = if self.0.unit_failed.load(Ordering::SeqCst) {
            "failed"
        } else {
            "active"
        };
        let text = String::new;
        names
            .into_iter()
            .map(|name| {
                (
                    name,
                    text(),
                    "loaded".into(),
                    state.into(),
                    text(),
                    text(),
                    path(),
                    0,
                    text(),
                    path(),
                )
            })
            .collect()
    }
}

/// Answers every request with 200, as long as it is told to.
fn page(well: Arc<AtomicBool>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let line = if well.load(Ordering::SeqCst) {
                "200 OK"
            } else {
                "503 Sorry"
            };
            let _ = stream.write_all(format!("HTTP/1.1 {line}\r\n\r\n").as_bytes());
        }
    });
    address
}

/// A service that runs.
struct Run {
    connection: Connection,
    tasks: [tokio::task::JoinHandle<()>; 2],
}

/// The box.
pub struct Appliance {
    pub root: tempfile::TempDir,
    pub fake: Arc<Fake>,
    pub caller: Connection,
    pub page_well: Arc<AtomicBool>,
    /// What the health gate asks for, from the next start of the service on.
    pub data_free_bytes: u64,
    /// Between the announcement of a restart and the restart, from the next start of the service on.
    pub last_words: Duration,
    page: SocketAddr,
    systemd: Arc<Systemd>,
    boots: u32,
    pub running: Slot,
    versions: [String; 2],
    run: Option<Run>,
    _systemd: Connection,
    pub bus: Bus,
}

impl Appliance {
    /// A fresh box whose first start is marked good.
    pub async fn start() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in [
            "run/hearth",
            "var/lib/hearth-updater",
            "dev",
            "proc/sys/kernel/random",
            "proc/net",
            "sys/class/net/eth0",
            "sys/block/dm-0/dm",
        ] {
            std::fs::create_dir_all(root.path().join(folder)).unwrap();
        }
        let put = |path: &str, bytes: &[u8]| std::fs::write(root.path().join(path), bytes).unwrap();
        put("sys/block/dm-0/dm/name", b"hearth-root\n");
        put("dev/dm-0", &[0; 8192]);
        put("sys/class/net/eth0/carrier", b"1\n");
        put("dev/vda2", &vec![0; 1 << 20]);
        let bus = Bus::start();
        let systemd = Arc::<Systemd>::default();
        let own = bus.connect().await;
        own.object_server()
            .at("/org/freedesktop/systemd1", FakeSystemd(Arc::clone(&systemd)))
            .await
            .unwrap();
        own.request_name("org.freedesktop.systemd1").await.unwrap();
        let page_well = Arc::new(AtomicBool::new(true));
        let mut appliance = Self {
            root,
            fake: Fake::new(),
            caller: bus.connect().await,
            data_free_bytes: 4096,
            last_words: Duration::ZERO,
            page: page(Arc::clone(&page_well)),
            page_well,
            systemd,
            boots: 0,
            running: Slot::A,
            versions: ["1.0.0".into(), "1.0.0".into()],
            run: None,
            _systemd: own,
            bus,
        };
        let copies = Bootstate::initial();
        for (copy, offset) in copies.iter().zip(COPY_OFFSETS) {
            appliance.device().write_all_at(copy, offset).unwrap();
        }
        appliance.boot().await;
        appliance
            .until("marked good", |a| a.boot_state().slot(a.running).good())
            .await;
        appliance
    }

    fn device(&self) -> File {
        File::options()
            .read(true)
            .write(true)
            .open(self.root.path().join("dev/vda2"))
            .unwrap()
    }

    fn store(&self) -> Bootstate {
        let mut copies = [[0; SECTOR_LEN]; 2];
        for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
            self.device().read_exact_at(copy, offset).unwrap();
        }
        Bootstate::load([&copies[0], &copies[1]])
    }

    pub fn boot_state(&self) -> boot_state::State {
        self.store().state()
    }

    /// What the boot manager and early-boot do; then the service starts.
    pub async fn boot(&mut self) {
        self.stop().await;
        self.systemd.started.lock().unwrap().clear();
        let mut boot = Boot::new(self.store());
        let Step::Try(attempt) = boot.choose() else {
            panic!("no slot is left")
        };
        self.device()
            .write_all_at(&attempt.write.bytes(), attempt.write.offset())
            .unwrap();
        self.boots += 1;
        self.running = attempt.slot;
        let version = &self.versions[usize::from(attempt.slot == Slot::B)];
        let facts = format!(
            r#"{{"slot":"{}","healed":{},"version":"{version}","profile":"dev","board":"qemu-arm64","development_keys":true,
                "disk":"/dev/vda","data_device":"/dev/vda7","bootstate_device":"/dev/vda2","data":{{"state":"mounted"}},
                "handed_over_ms":1}}"#,
            attempt.slot, attempt.healed
        );
        std::fs::write(self.root.path().join("run/hearth/boot.json"), facts).unwrap();
        let boot_id = self.root.path().join("proc/sys/kernel/random/boot_id");
        std::fs::write(boot_id, self.boots.to_string()).unwrap();
        self.start_service().await;
    }

    /// Starts the service in the boot that runs.
    pub async fn start_service(&mut self) {
        let connection = self.bus.connect().await;
        let text = format!(
            "[health]\npage = [\"{}\"]\nunits = [\"hearth-web.service\"]\ndata_free_bytes = {}\npatience_s = 1\n\
             soak_s = 1\ninterval_s = 1\nhiccup_s = 1\n[activation]\nnight_hour = 3\n",
            self.page, self.data_free_bytes
        );
        let parts = Parts {
            root: Root::at(self.root.path()),
            config: Config::parse(&text).unwrap(),
            engine: Arc::new(Shared(Arc::clone(&self.fake))),
            bus: Some(self.bus.connect().await),
            last_words: self.last_words,
        };
        let (service, inbox) = Service::start(parts).unwrap();
        let signals = updater::dbus::serve(&connection, service.clone()).await.unwrap();
        let tasks = [signals, tokio::spawn(async move { service.run(inbox).await })];
        self.run = Some(Run { connection, tasks });
    }

    /// The service is gone from one moment to the next.
    pub async fn stop(&mut self) {
        self.fake.hold.store(false, Ordering::SeqCst);
        if let Some(run) = self.run.take() {
            for task in run.tasks {
                task.abort();
                let _ = task.await;
            }
            run.connection.close().await.unwrap();
            // The journal is closed with the last task that holds it.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }

    /// Follows the restarts that systemd is asked for, until none is asked for any more.
    pub async fn follow_restarts(&mut self) {
        for _ in 0..6 {
            if !self.restart_asked() {
                return;
            }
            self.boot().await;
            self.until("at rest", |a| a.restart_asked() || a.settled()).await;
        }
        panic!("restarts for ever");
    }

    pub fn restart_asked(&self) -> bool {
        *self.systemd.started.lock().unwrap() == ["reboot.target"]
    }

    fn settled(&self) -> bool {
        self.boot_state().slot(self.running).tries_left() == boot_state::MAX_TRIES
    }

    pub fn set_unit_failed(&self, failed: bool) {
        self.systemd.unit_failed.store(failed, Ordering::SeqCst);
    }

    /// The version that runs once slot b is started.
    pub fn set_version(&mut self, slot: Slot, version: &str) {
        self.versions[usize::from(slot == Slot::B)] = version.into();
    }

    /// Waits until something holds.
    pub async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        for _ in 0..1000 {
            if holds(self) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!(
            "never {what}; {:?}; calls: {:?}",
            self.boot_state(),
            self.fake.calls()
        );
    }

    pub async fn until_phase(&self, phase: Phase) -> Status {
        for _ in 0..1000 {
            let status = self.status().await;
            if status.phase == phase {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("never {phase:?}: {:?}", self.status().await);
    }

    /// What it waits for, as soon as it says so.
    pub async fn until_it_waits(&self) -> String {
        for _ in 0..500 {
            if let Some(reason) = self.status().await.waits_for {
                return reason;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it never says why: {:?}", self.status().await);
    }

    pub async fn status(&self) -> Status {
        let text: String = self
            .call("Status", &())
            .await
            .unwrap()
            .body()
            .deserialize()
            .unwrap();
        serde_json::from_str(&text).unwrap()
    }

    pub async fn call<B>(&self, method: &str, body: &B) -> Result<zbus::Message, (WireError, String)>
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
}

impl Drop for Appliance {
    /// Or the end of a test would wait for an engine that a test holds.
    fn drop(&mut self) {
        self.fake.hold.store(false, Ordering::SeqCst);
        self.fake.hold_estimates.store(false, Ordering::SeqCst);
    }
}
