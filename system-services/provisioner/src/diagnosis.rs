//! One file for support: what this boot is, what it said, how it stands. No secrets.
//!
//! The secrets' folder is never opened; everything else goes through [`redact`] as a second fence.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use flate2::Compression;
use flate2::write::GzEncoder;
use ipc::boot_facts::BootFacts;
use os_io::program::Program;
use rustix::fs::{MemfdFlags, SealFlags, memfd_create};
use zbus::Connection;

use crate::journal_tail::{LAST, MAX_TAIL_BYTES, PREVIOUS};
use crate::places::Places;
use crate::redact::redact;

/// Most text that goes in, before compression: it is all in memory for a moment.
pub const MAX_TOTAL_BYTES: usize = 8 * 1024 * 1024;
const MAX_FILE_BYTES: usize = 512 * 1024;
const MAX_JOURNAL_BYTES: usize = 3 * 1024 * 1024;

/// Collects everything into a sealed memory file (tar.gz), positioned at 0.
pub fn collect(places: &Places, facts: &BootFacts, network: String) -> io::Result<OwnedFd> {
    let mut sections = files(places);
    sections.extend(programs());
    sections.push(("network.json", network));
    sections.push(("block-devices.txt", block_devices(&places.at("/sys/class/block"))));
    sections.push(("bootstate.txt", boot_state(&places.at(&facts.bootstate_device))));
    archive(sections)
}

/// What networkd knows (addresses, links, DNS); it holds no Wi-Fi passwords.
pub async fn network(connection: &Connection) -> String {
    let call = connection.call_method(
        Some("org.freedesktop.network1"),
        "/org/freedesktop/network1",
        Some("org.freedesktop.network1.Manager"),
        "Describe",
        &(),
    );
    let answer = match tokio::time::timeout(Duration::from_secs(5), call).await {
        Ok(Ok(reply)) => reply.body().deserialize::<String>(),
        Ok(Err(e)) => Err(e),
        Err(_) => return "networkd did not answer in 5 s".into(),
    };
    answer.unwrap_or_else(|e| format!("networkd did not answer: {e}"))
}

fn files(places: &Places) -> Vec<(&'static str, String)> {
    let tail = places.journal_tail();
    vec![
        (
            "boot.json",
            read(&places.at(ipc::paths::BOOT_FACTS), MAX_FILE_BYTES),
        ),
        ("settings.toml", read(&places.settings(), MAX_FILE_BYTES)),
        (
            "os-release",
            read(&places.at("/usr/lib/os-release"), MAX_FILE_BYTES),
        ),
        (
            "command-line.txt",
            read(&places.at("/proc/cmdline"), MAX_FILE_BYTES),
        ),
        ("uptime.txt", read(&places.at("/proc/uptime"), MAX_FILE_BYTES)),
        ("meminfo.txt", read(&places.at("/proc/meminfo"), MAX_FILE_BYTES)),
        (
            "mounts.txt",
            read(&places.at("/proc/self/mountinfo"), MAX_FILE_BYTES),
        ),
        ("journal-tail-last.txt", read(&tail.join(LAST), MAX_TAIL_BYTES)),
        (
            "journal-tail-previous.txt",
            read(&tail.join(PREVIOUS), MAX_TAIL_BYTES),
        ),
    ]
}

fn programs() -> Vec<(&'static str, String)> {
    let journalctl = || {
        Program::new("/usr/bin/journalctl")
            .arg("--boot")
            .arg("--no-pager")
            .arg("--output=short-iso")
    };
    let limit = |program: Program| {
        program
            .timeout(Duration::from_secs(20))
            .output_limit(MAX_JOURNAL_BYTES)
    };
    let systemctl = Program::new("/usr/bin/systemctl")
        .arg("list-units")
        .arg("--failed")
        .arg("--no-pager")
        .arg("--plain");
    vec![
        ("units-failed.txt", run(&limit(systemctl))),
        (
            "kernel.txt",
            run(&limit(journalctl().arg("--dmesg").arg("--lines=3000"))),
        ),
        ("journal.txt", run(&limit(journalctl().arg("--lines=5000")))),
    ]
}

/// The beginning of a file; what is wrong stands in its place.
fn read(path: &Path, limit: usize) -> String {
    let mut bytes = Vec::new();
    match File::open(path).and_then(|file| file.take(limit as u64).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8_lossy(&bytes).into_owned(),
        Err(e) => format!("{}: {e}\n", path.display()),
    }
}

fn run(program: &Program) -> String {
    match program.run(&mut |_| {}) {
        Ok(finished) if finished.code == 0 => finished.stdout,
        Ok(finished) => format!(
            "{program}: status {}\n{}\n{}",
            finished.code, finished.stderr, finished.stdout
        ),
        Err(e) => format!("{e}\n"),
    }
}

/// Name, size and model of each disk and partition.
fn block_devices(folder: &Path) -> String {
    let mut names: Vec<_> = match std::fs::read_dir(folder) {
        Ok(entries) => entries.flatten().map(|entry| entry.file_name()).collect(),
        Err(e) => return format!("{}: {e}\n", folder.display()),
    };
    names.sort();
    let mut text = String::from("name sectors read-only removable model\n");
    for name in names {
        let device = folder.join(&name);
        let attribute = |path: &str| {
            let value = std::fs::read_to_string(device.join(path)).unwrap_or_default();
            if value.trim().is_empty() {
                "-".to_owned()
            } else {
                value.trim().replace(' ', "_")
            }
        };
        let model = [attribute("device/model"), attribute("device/name")]
            .into_iter()
            .find(|m| m != "-");
        text.push_str(&format!(
            "{} {} {} {} {}\n",
            name.to_string_lossy(),
            attribute("size"),
            attribute("ro"),
            attribute("removable"),
            model.as_deref().unwrap_or("-"),
        ));
    }
    text
}

/// Both copies of the slot state, as they are on the disk: also a torn one tells something.
fn boot_state(device: &Path) -> String {
    use std::os::unix::fs::FileExt;
    let mut text = String::new();
    for offset in [0, 524_288] {
        let mut sector = [0; 512];
        match File::open(device).and_then(|file| file.read_exact_at(&mut sector, offset)) {
            Ok(()) => {
                text.push_str(&format!("copy at byte {offset}:\n"));
                for line in sector.chunks(32) {
                    text.extend(line.iter().map(|byte| format!("{byte:02x}")));
                    text.push('\n');
                }
            }
            Err(e) => text.push_str(&format!("copy at byte {offset}: {}: {e}\n", device.display())),
        }
    }
    text
}

/// Packs the sections in their order; what goes beyond the total is cut, and says so.
pub fn archive(sections: Vec<(&'static str, String)>) -> io::Result<OwnedFd> {
    let fd = memfd_create(
        "hearth-diagnosis",
        MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING,
    )?;
    let mut file = File::from(fd);
    let mut left = MAX_TOTAL_BYTES;
    let mtime = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut tar = tar::Builder::new(GzEncoder::new(&mut file, Compression::default()));
    for (name, text) in sections {
        let mut text = redact(&text);
        if text.len() > left {
            let end = (0..=left)
                .rev()
                .find(|&at| text.is_char_boundary(at))
                .unwrap_or(0);
            text.truncate(end);
            text.push_str("\n[cut: the diagnosis is full]\n");
        }
        left = left.saturating_sub(text.len());
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(mtime);
        tar.append_data(&mut header, format!("hearth-diagnosis/{name}"), text.as_bytes())?;
    }
    tar.into_inner()?.finish()?.flush()?;
    file.seek(SeekFrom::Start(0))?;
    let fd = OwnedFd::from(file);
    rustix::fs::fcntl_add_seals(
        &fd,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(fd)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unpack(fd: OwnedFd) -> Vec<(String, String)> {
        let mut archive = tar::Archive::new(flate2::read::GzDecoder::new(File::from(fd)));
        let entries = archive.entries().unwrap();
        entries
            .map(|entry| {
                let mut entry = entry.unwrap();
                let mut text = String::new();
                entry.read_to_string(&mut text).unwrap();
                (entry.path().unwrap().display().to_string(), text)
            })
            .collect()
    }

    #[test]
    fn secrets_do_not_leave_and_every_section_is_there() {
        let folder = tempfile::tempdir().unwrap();
        let places = Places::below(folder.path());
        std::fs::create_dir_all(places.secrets()).unwrap();
        std::fs::write(
            places.administrator(),
            "password_hash = '$argon2id$v=19$SECRET$SECRET'",
        )
        .unwrap();
        std::fs::write(places.settings(), "administrator = 'ada'\npsk = 'SECRET'\n").unwrap();
        let facts = BootFacts {
            slot: ipc::boot_facts::Slot::A,
            healed: false,
            version: "1".into(),
            rollback_index: 0,
            profile: "dev".into(),
            board: "qemu-arm64".into(),
            development_keys: true,
            disk: "/dev/vda".into(),
            data_device: "/dev/vda7".into(),
            bootstate_device: "/dev/vda2".into(),
            data: ipc::boot_facts::DataState::Mounted,
            handed_over_ms: 1,
        };
        std::fs::create_dir_all(places.at("/dev")).unwrap();
        std::fs::write(places.at("/dev/vda2"), vec![0xab; 1 << 20]).unwrap();
        let sections = unpack(collect(&places, &facts, "Bearer SECRET".into()).unwrap());
        assert!(
            sections.iter().all(|(_, text)| !text.contains("SECRET")),
            "{sections:?}"
        );
        let text = |name: &str| &sections.iter().find(|(path, _)| path.ends_with(name)).unwrap().1;
        assert!(text("settings.toml").contains("ada"));
        assert_eq!(text("bootstate.txt").matches("abababab").count(), 256);
        assert_eq!(sections.len(), 15);
    }

    #[test]
    fn the_total_is_bounded() {
        let sections = vec![
            ("a", "x".repeat(MAX_TOTAL_BYTES - 2)),
            ("b", "yyyy".into()),
            ("c", "z".into()),
        ];
        let unpacked = unpack(archive(sections).unwrap());
        assert_eq!(unpacked[0].1.len(), MAX_TOTAL_BYTES - 2);
        assert!(unpacked[1].1.starts_with("yy\n[cut"));
        assert!(unpacked[2].1.starts_with("\n[cut"), "{:?}", unpacked[2].1);
    }
}
