//! The peer: the real `rauc`, as a program that extracts and as a service that installs.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hearth_tests::rauc::{Pki, Rauc, text_of};

use super::boxed::Boxed;
use super::peak;

/// What bundles and boxes of this benchmark are for.
pub const COMPATIBLE: &str = "hearth-bench";
const LIMIT: Duration = Duration::from_secs(15);

/// Writes a `system.conf` without slots.
pub fn conf(folder: &Path, keyring: &Path) -> Result<PathBuf> {
    let path = folder.join("system.conf");
    let text = format!(
        "[system]\ncompatible={COMPATIBLE}\nbootloader=noop\nbundle-formats=plain verity\n\n\
         [keyring]\npath={}\ncheck-purpose=codesign\n",
        keyring.display()
    );
    fs::write(&path, text)?;
    Ok(path)
}

/// Has rauc make a bundle of `rootfs.img` and `boot.img`, which are in `content`.
pub fn bundle(rauc: &Rauc, pki: &Pki, format: &str, content: &Path, more: &str, out: &Path) -> Result<()> {
    let manifest = format!(
        "[update]\ncompatible={COMPATIBLE}\nversion=1\n\n[bundle]\nformat={format}\n\n\
         [image.rootfs]\nfilename=rootfs.img\n{more}\n[image.boot]\nfilename=boot.img\n{more}"
    );
    fs::write(content.join("manifest.raucm"), manifest)?;
    let _ = fs::remove_file(out);
    let folder = out.parent().context("no folder")?;
    let output = rauc
        .command()
        .arg("--conf")
        .arg(conf(folder, &pki.root)?)
        .args(["bundle", "--cert"])
        .arg(&pki.leaf)
        .arg("--key")
        .arg(&pki.leaf_key)
        .arg("--intermediate")
        .arg(&pki.intermediate)
        .arg(content)
        .arg(out)
        .output()?;
    text_of(&output).context("rauc bundle")?;
    Ok(())
}

/// One run of the peer.
pub struct Run {
    /// Seconds until everything is on the disk.
    pub seconds: f64,
    /// Most memory in bytes of its processes, by name.
    pub peaks: BTreeMap<String, u64>,
}

impl Run {
    /// The most that any of them had.
    pub fn peak(&self) -> f64 {
        self.peaks.values().max().copied().unwrap_or_default() as f64
    }
}

/// `rauc extract` of a bundle into a folder that is not there yet, and fsync of what it wrote.
pub fn extract(rauc: &Rauc, conf: &Path, bundle: &Path, into: &Path) -> Result<Run> {
    let begun = Instant::now();
    let mut child = rauc
        .command()
        .arg("--conf")
        .arg(conf)
        .arg("extract")
        .arg(bundle)
        .arg(into)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let (status, peaks) = peak::wait(&mut child)?;
    ensure!(status.success(), "rauc extract: {status}");
    for entry in fs::read_dir(into)? {
        File::open(entry?.path())?.sync_all()?;
    }
    Ok(Run {
        seconds: begun.elapsed().as_secs_f64(),
        peaks,
    })
}

/// A process that ends with its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `rauc service` on a bus of its own, with a box's files as slots.
pub struct Service {
    rauc: Rauc,
    bus: String,
    service: Running,
    _daemon: Running,
}

impl Service {
    /// Starts it. Needs to be root: it mounts bundles through a loop device.
    pub fn start(rauc: &Rauc, folder: &Path, keyring: &Path, boxed: &Boxed) -> Result<Self> {
        let _ = fs::remove_dir_all(folder);
        for sub in ["data", "mounts"] {
            fs::create_dir_all(folder.join(sub))?;
        }
        let socket = folder.join("bus");
        let bus = format!("unix:path={}", socket.display());
        let config = folder.join("bus.conf");
        fs::write(
            &config,
            format!(
                "<busconfig><type>system</type><listen>{bus}</listen><auth>EXTERNAL</auth><policy context=\"default\">\
                 <allow user=\"*\"/><allow own=\"*\"/><allow send_destination=\"*\"/><allow receive_sender=\"*\"/></policy></busconfig>"
            ),
        )?;
        let daemon = Running(
            rauc.program("dbus-daemon")
                .arg("--config-file")
                .arg(&config)
                .args(["--nofork", "--nopidfile"])
                .stderr(Stdio::null())
                .spawn()?,
        );
        until("the private bus", || Ok(socket.exists()))?;
        let conf = slots(folder, keyring, boxed)?;
        let service = rauc
            .command()
            .arg("--conf")
            .arg(conf)
            .args(["service", "--override-boot-slot=A"])
            .env("DBUS_SYSTEM_BUS_ADDRESS", &bus)
            .stdout(Stdio::null())
            .stderr(File::create(folder.join("service.log"))?)
            .spawn()?;
        let started = Self {
            rauc: rauc.clone(),
            bus,
            service: Running(service),
            _daemon: daemon,
        };
        until("rauc's service", || {
            let output = started.client().arg("status").output()?;
            Ok(output.status.success())
        })?;
        Ok(started)
    }

    fn client(&self) -> std::process::Command {
        let mut command = self.rauc.command();
        command.env("DBUS_SYSTEM_BUS_ADDRESS", &self.bus);
        command
    }

    /// `rauc install`; the memory is the service's, which does the work.
    pub fn install(&self, bundle: &Path) -> Result<Run> {
        let begun = Instant::now();
        let output = self.client().arg("install").arg(bundle).output()?;
        let seconds = begun.elapsed().as_secs_f64();
        text_of(&output).context("rauc install")?;
        let peak = peak::of(self.service.0.id()).context("rauc's service is gone")?;
        Ok(Run {
            seconds,
            peaks: [peak].into(),
        })
    }
}

/// A `system.conf` with both slots of a box, and a boot loader that agrees to everything.
fn slots(folder: &Path, keyring: &Path, boxed: &Boxed) -> Result<PathBuf> {
    let backend = folder.join("boot-loader");
    fs::write(
        &backend,
        "#!/bin/sh\ncase \"$1\" in get-primary|get-current) echo A ;; get-state) echo good ;; esac\n",
    )?;
    fs::set_permissions(&backend, fs::Permissions::from_mode(0o755))?;
    let at = folder.display();
    let mut text = format!(
        "[system]\ncompatible={COMPATIBLE}\nbootloader=custom\nbundle-formats=plain verity\ndata-directory={at}/data\n\
         mountprefix={at}/mounts\n\n[handlers]\nbootloader-custom-backend={at}/boot-loader\n\n\
         [keyring]\npath={}\ncheck-purpose=codesign\n",
        keyring.display()
    );
    for (number, letter, name) in [(0, "a", "A"), (1, "b", "B")] {
        text += &format!(
            "\n[slot.rootfs.{number}]\ndevice={}\ntype=raw\nbootname={name}\n\n\
             [slot.boot.{number}]\ndevice={}\ntype=raw\nparent=rootfs.{number}\n",
            boxed.partition(&format!("root-{letter}")).display(),
            boxed.partition(&format!("boot-{letter}")).display(),
        );
    }
    let path = folder.join("system.conf");
    fs::write(&path, text)?;
    Ok(path)
}

fn until(what: &str, ready: impl Fn() -> Result<bool>) -> Result<()> {
    let begun = Instant::now();
    while !ready()? {
        if begun.elapsed() > LIMIT {
            bail!("{what} did not start in {} s", LIMIT.as_secs());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}
