//! An appliance below a folder: the real updater service, with the real engine, on a private bus.
//!
//! Partitions are files; the facts of the boot, sysfs and the keyring are what the service finds on a box. [`Appliance::boot`]
//! does what boot manager and early-boot do, with the code that the boot manager runs.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use boot_state::{Boot, Bootstate, COPY_OFFSETS, Running, SECTOR_LEN, Slot, State, Step};
use os_io::root::Root;
use tokio::sync::oneshot;
use updater::config::Config;
use updater::install::SlotEngine;
use updater::service::{Inbox, Parts, Service};
use zbus::Connection;

use crate::private_bus::{self, PrivateBus};
use crate::rauc::Pki;

/// What bundles for it must be made for.
pub const COMPATIBLE: &str = "hearth-qemu-arm64";
/// The version of its factory image.
pub const FACTORY_VERSION: &str = "1.0.0";

/// Bytes of each partition of a slot.
const PARTITION_BYTES: u64 = 4 << 20;
/// Nothing that a test waits for takes so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// The box.
pub struct Appliance {
    folder: tempfile::TempDir,
    root: Root,
    bus: PrivateBus,
    page: Page,
    running: Slot,
    versions: [String; 2],
    boots: u32,
    service: Option<ServiceThread>,
}

impl Appliance {
    /// A fresh box that runs slot a, which nobody has marked good yet: its page does not answer before
    /// [`Appliance::come_up`]. It trusts the root of `pki`.
    ///
    /// # Errors
    /// When the files cannot be made or the service does not start.
    pub fn start(bus: PrivateBus, pki: &Pki) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("hearth-box-").tempdir()?;
        let root = Root::at(folder.path());
        lay_out(&root)?;
        link_to_itself(&root, folder.path())?;
        let keyring = root.path(ipc::paths::UPDATE_KEYRING);
        fs::create_dir_all(keyring.parent().context("no folder")?)?;
        fs::copy(&pki.root, keyring)?;
        let mut appliance = Self {
            folder,
            root,
            bus,
            page: Page::start()?,
            running: Slot::A,
            versions: [FACTORY_VERSION.into(), FACTORY_VERSION.into()],
            boots: 0,
            service: None,
        };
        for (copy, offset) in Bootstate::initial().iter().zip(COPY_OFFSETS) {
            appliance.boot_state_device()?.write_all_at(copy, offset)?;
        }
        appliance.boot()?;
        Ok(appliance)
    }

    /// The page answers, and the service marks the slot good.
    ///
    /// # Errors
    /// When it does not.
    pub fn come_up(&self) -> Result<()> {
        self.page.answers(true);
        self.until("the running slot is marked good", |state| {
            state.slot(self.running).good()
        })
    }

    /// From now on the page does not answer, so that the service marks nothing good by itself.
    pub fn go_silent(&self) {
        self.page.answers(false);
    }

    /// Waits until something holds for the boot state.
    ///
    /// # Errors
    /// When it never does.
    pub fn until(&self, what: &str, holds: impl Fn(&State) -> bool) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            if holds(&self.boot_state()?) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        bail!("it never holds that {what}: {:?}", self.boot_state()?)
    }

    /// What the boot manager would read now.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn boot_state(&self) -> Result<State> {
        Ok(self.store()?.state())
    }

    /// The slot that runs.
    pub fn running(&self) -> Slot {
        self.running
    }

    /// Where `/` is.
    pub fn root(&self) -> &Root {
        &self.root
    }

    /// Its system bus.
    pub fn bus(&self) -> &PrivateBus {
        &self.bus
    }

    /// Makes a file; what is returned names it for the service as for every other program.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&self, path: &str, bytes: &[u8]) -> Result<PathBuf> {
        let file = self.root.path(path);
        fs::create_dir_all(file.parent().context("no folder")?)?;
        fs::write(&file, bytes)?;
        Ok(file)
    }

    /// The first bytes of the partition `root` or `boot` of a slot.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn partition(&self, name: &str, slot: Slot, len: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; len];
        File::open(self.root.path(node(name, slot)?))?.read_exact_at(&mut bytes, 0)?;
        Ok(bytes)
    }

    /// Says which version the system in a slot calls itself when it runs.
    pub fn set_version(&mut self, slot: Slot, version: &str) {
        self.versions[usize::from(slot == Slot::B)] = version.into();
    }

    /// Starts the box anew: boot manager, early-boot, the service.
    ///
    /// # Errors
    /// When no slot can be started, or the service does not start.
    pub fn boot(&mut self) -> Result<()> {
        self.service = None;
        let mut boot = Boot::new(self.store()?);
        let Step::Try(attempt) = boot.choose() else {
            bail!("no slot is left to be tried");
        };
        self.boot_state_device()?
            .write_all_at(&attempt.write.bytes(), attempt.write.offset())?;
        self.boots += 1;
        self.running = attempt.slot;
        let facts = format!(
            r#"{{"slot":"{}","healed":{},"version":"{}","profile":"dev","board":"qemu-arm64","development_keys":true,
                "disk":"/dev/vda","data_device":"/dev/vda7","bootstate_device":"/dev/vda2","data":{{"state":"mounted"}},
                "handed_over_ms":1}}"#,
            attempt.slot,
            attempt.healed,
            self.versions[usize::from(attempt.slot == Slot::B)]
        );
        self.put(ipc::paths::BOOT_FACTS, facts.as_bytes())?;
        self.put(
            "/proc/sys/kernel/random/boot_id",
            self.boots.to_string().as_bytes(),
        )?;
        let config = format!(
            "[health]\npage = [\"{}\"]\nunits = []\ndata_free_bytes = 4096\npatience_s = 60\nsoak_s = 1\ninterval_s = 1\n\
             hiccup_s = 1\n[activation]\nnight_hour = 3\n",
            self.page.address
        );
        let engine = SlotEngine::new(self.root.clone(), "/dev/vda", Running::from_boot(attempt.slot));
        self.service = Some(ServiceThread::start(
            self.root.clone(),
            Config::parse(&config)?,
            engine,
            self.bus.address(),
        )?);
        Ok(())
    }

    fn boot_state_device(&self) -> Result<File> {
        let path = self.root.path("/dev/vda2");
        Ok(File::options().read(true).write(true).open(path)?)
    }

    fn store(&self) -> Result<Bootstate> {
        let device = self.boot_state_device()?;
        let mut copies = [[0; SECTOR_LEN]; 2];
        for (copy, offset) in copies.iter_mut().zip(COPY_OFFSETS) {
            device.read_exact_at(copy, offset)?;
        }
        Ok(Bootstate::load([&copies[0], &copies[1]]))
    }

    /// The folder that stands for `/`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Appliance {
    fn drop(&mut self) {
        // Before the bus goes.
        self.service = None;
    }
}

fn node(name: &str, slot: Slot) -> Result<&'static str> {
    Ok(match (name, slot) {
        ("boot", Slot::A) => "/dev/vda3",
        ("boot", Slot::B) => "/dev/vda4",
        ("root", Slot::A) => "/dev/vda5",
        ("root", Slot::B) => "/dev/vda6",
        _ => bail!("a slot has no partition {name}"),
    })
}

fn lay_out(root: &Root) -> Result<()> {
    for folder in [
        "/var/lib/hearth-updater",
        "/dev",
        "/proc/net",
        "/sys/class/net/eth0",
        "/sys/block/dm-0/dm",
    ] {
        fs::create_dir_all(root.path(folder))?;
    }
    fs::write(root.path("/sys/block/dm-0/dm/name"), "hearth-root\n")?;
    fs::write(root.path("/dev/dm-0"), [0; 8192])?;
    fs::write(root.path("/sys/class/net/eth0/carrier"), "1\n")?;
    let sized = |path: &str, bytes| File::create(root.path(path))?.set_len(bytes);
    sized("/dev/vda2", 1 << 20)?;
    for name in ["boot", "root"] {
        for slot in Slot::ALL {
            let device = node(name, slot)?;
            let sysfs = root.path(device.replace("/dev", "/sys/block/vda"));
            fs::create_dir_all(&sysfs)?;
            fs::write(sysfs.join("uevent"), format!("PARTNAME={name}-{slot}\n"))?;
            sized(device, PARTITION_BYTES)?;
        }
    }
    Ok(())
}

/// Programs beside the service name a file by its whole path; below the service's root that leads to the same file.
fn link_to_itself(root: &Root, folder: &Path) -> Result<()> {
    let link = root.path(folder);
    fs::create_dir_all(link.parent().context("no folder")?)?;
    Ok(std::os::unix::fs::symlink(folder, link)?)
}

/// The page on which health depends: `200` or `503`.
struct Page {
    address: SocketAddr,
    well: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
}

impl Page {
    fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let page = Self {
            address: listener.local_addr()?,
            well: Arc::default(),
            stop: Arc::default(),
        };
        let (well, stop) = (Arc::clone(&page.well), Arc::clone(&page.stop));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let Ok(mut stream) = stream else { continue };
                let mut request = [0; 1024];
                let _ = stream.read(&mut request);
                let status = if well.load(Ordering::Relaxed) {
                    "200 OK"
                } else {
                    "503 Not yet"
                };
                let _ = write!(stream, "HTTP/1.1 {status}\r\n\r\n");
            }
        });
        Ok(page)
    }

    fn answers(&self, well: bool) {
        self.well.store(well, Ordering::Relaxed);
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

/// The service in a thread with a runtime of its own, as its process has.
struct ServiceThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServiceThread {
    fn start(root: Root, config: Config, engine: SlotEngine, bus: &str) -> Result<Self> {
        let (stop, stopped) = oneshot::channel();
        let (say, heard) = mpsc::channel();
        let bus = bus.to_owned();
        let thread = thread::spawn(move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => {
                    let _ = say.send(Err(error.to_string()));
                    return;
                }
            };
            runtime.block_on(async {
                match serve(root, config, engine, &bus).await {
                    Ok((connection, service, inbox)) => {
                        let _ = say.send(Ok(()));
                        tokio::select! {
                            () = service.run(inbox) => {}
                            _ = stopped => {}
                        }
                        // As the end of its process would: the object on the connection holds the connection.
                        let _ = connection.close().await;
                    }
                    Err(error) => {
                        let _ = say.send(Err(format!("{error:#}")));
                    }
                }
            });
            // A health gate that waits for the page is left to itself; it holds nothing.
            runtime.shutdown_timeout(Duration::from_secs(1));
        });
        let started = heard.recv_timeout(PATIENCE);
        let service = Self {
            stop: Some(stop),
            thread: Some(thread),
        };
        match started {
            Ok(Ok(())) => Ok(service),
            Ok(Err(said)) => Err(anyhow!("the service does not start: {said}")),
            Err(_) => Err(anyhow!("the service does not start")),
        }
    }
}

impl Drop for ServiceThread {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

async fn serve(
    root: Root,
    config: Config,
    engine: SlotEngine,
    bus: &str,
) -> Result<(Connection, Service, Inbox)> {
    let connection = private_bus::connect(bus).await?;
    let parts = Parts {
        root,
        config,
        engine: Arc::new(engine),
        bus: Some(connection.clone()),
        last_words: Duration::ZERO,
    };
    let (service, inbox) = Service::start(parts)?;
    updater::dbus::serve(&connection, service.clone()).await?;
    for name in [updater::dbus::RAUC_BUS_NAME, ipc::updater::BUS_NAME] {
        await_name(&connection, name).await?;
    }
    Ok((connection, service, inbox))
}

/// The bus may still give the name to the service of the boot before.
async fn await_name(connection: &Connection, name: &str) -> Result<()> {
    let own = connection
        .unique_name()
        .context("the bus gave no name")?
        .to_string();
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let bus = "org.freedesktop.DBus";
        let reply = connection
            .call_method(
                Some(bus),
                "/org/freedesktop/DBus",
                Some(bus),
                "GetNameOwner",
                &name,
            )
            .await?;
        let owner: String = reply.body().deserialize()?;
        if owner == own {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bail!("{name} stays with another service")
}
