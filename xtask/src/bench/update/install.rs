//! Verifying and installing 300 MB, beside the real `rauc`.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use bundle::cms::UnixTime;
use bundle::manifest::{FileName, Template, TemplateImage};
use bundle::sign::{SigningIdentity, sign};
use bundle::write::{Chunks, Input, write};
use hearth_tests::rauc::{KeyKind, Pki, Rauc, tests_pki};
use image_builder::cache::Cache;

use super::boxed::{Boxed, Installed};
use super::peer::{self, COMPATIBLE, Run, Service};
use crate::bench::report::{Budget, Row, Unit};
use crate::bench::{How, median};

/// Bytes of the images of the bundle: 300 MB together.
const IMAGES: [(&str, u64); 2] = [("rootfs", 291_999_744), ("boot", 8_003_584)];
/// Where the box has its bundle.
const BUNDLE: &str = "/update.raucb";
/// Before each measurement.
const SETTLE: Duration = Duration::from_millis(500);

/// Bytes that do not pack, without end (SplitMix64).
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, buf: &mut [u8]) -> std::io::Result<usize> {
        for bytes in buf.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            bytes.copy_from_slice(&(mixed ^ (mixed >> 31)).to_le_bytes()[..bytes.len()]);
        }
        Ok(buf.len())
    }
}

/// The bundles with the same images.
struct Bundles {
    /// By rauc, `verity`, as small as it can be: what both sides read.
    verity: PathBuf,
    /// By rauc, `plain`.
    plain: PathBuf,
    /// By us, with our chunk index and RAUC's block index.
    own: PathBuf,
}

fn bundles(folder: &Path, rauc: &Rauc, pki: &Pki) -> Result<Bundles> {
    let content = folder.join("content");
    let _ = fs::remove_dir_all(&content);
    fs::create_dir_all(&content)?;
    for (seed, (class, size)) in (1..).zip(IMAGES) {
        let mut file = File::create(content.join(format!("{class}.img")))?;
        std::io::copy(&mut Noise(seed).take(size), &mut file)?;
    }
    let at = |name: &str| folder.join(name);
    let made = Bundles {
        verity: at("verity.raucb"),
        plain: at("plain.raucb"),
        own: at("own.raucb"),
    };
    peer::bundle(rauc, pki, "verity", &content, "", &made.verity)?;
    peer::bundle(rauc, pki, "plain", &content, "", &made.plain)?;
    own(&content, pki, &made.own)?;
    fs::remove_dir_all(content)?;
    Ok(made)
}

fn own(content: &Path, pki: &Pki, out: &Path) -> Result<()> {
    let chain = fs::read_to_string(&pki.leaf)? + &fs::read_to_string(&pki.intermediate)?;
    let identity = SigningIdentity::from_pem(&fs::read_to_string(&pki.leaf_key)?, &chain)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let (mut images, mut inputs) = (vec![], vec![]);
    for (class, size) in IMAGES {
        let name = FileName::new(&format!("{class}.img"))?;
        images.push(TemplateImage::new(class, name.clone()));
        inputs.push(Input {
            content: Box::new(File::open(content.join(name.as_str()))?),
            name,
            size,
            block_hash_index: true,
            chunks: Some(Chunks::default()),
        });
    }
    let template = Template {
        compatible: COMPATIBLE.into(),
        version: Some("1".into()),
        images,
        ..Template::default()
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create(true)
        .truncate(true)
        .open(out)?;
    let now = UnixTime(now.as_secs());
    write(
        template,
        inputs,
        None,
        |text| sign(text, &identity, now),
        &mut file,
    )?;
    Ok(file.sync_all()?)
}

/// Everything that was run.
#[derive(Default)]
struct Runs {
    ours: Vec<Installed>,
    indexed: Vec<Installed>,
    service: Vec<Run>,
    extract: Vec<Run>,
    extract_1_13: Vec<Run>,
}

struct Bench {
    folder: PathBuf,
    pki: Pki,
    rauc: [Rauc; 2],
    boxed: Boxed,
    bundles: Bundles,
}

impl Bench {
    fn prepare() -> Result<Self> {
        let folder = Cache::open()?.folder("bench/update/install")?;
        eprintln!("Making bundles of 300 MB");
        let pki = tests_pki(&folder.join("keys"), KeyKind::P256)?;
        let rauc = [Rauc::version_1_15()?, Rauc::version_1_13()?];
        let bundles = bundles(&folder, &rauc[0], &pki)?;
        let boxed = Boxed::new(&folder.join("box"), &pki.root)?;
        for (seed, name) in (101..).zip(["boot-a", "boot-b", "root-a", "root-b"]) {
            // As large as the images, and more: an older system that is of no use for this one.
            let size = if name.starts_with("boot") {
                12 << 20
            } else {
                300 << 20
            };
            boxed.fill(name, &mut Noise(seed).take(size))?;
        }
        Ok(Self {
            folder,
            pki,
            rauc,
            boxed,
            bundles,
        })
    }

    fn engine(&self, bundle: &Path) -> Result<Installed> {
        let path = self.boxed.path(BUNDLE);
        let _ = fs::remove_file(&path);
        fs::hard_link(bundle, &path).context("cannot put the bundle into the box")?;
        settle();
        self.boxed.install(BUNDLE)
    }

    /// Every program once; `turn` says who begins.
    fn once(&self, runs: &mut Runs, turn: u16, peer: bool) -> Result<()> {
        let first = turn.is_multiple_of(2);
        if first {
            self.ours(runs)?;
        }
        if peer {
            self.theirs(runs)?;
        }
        if !first {
            self.ours(runs)?;
        }
        Ok(())
    }

    fn ours(&self, runs: &mut Runs) -> Result<()> {
        let indexed = self.engine(&self.bundles.own)?;
        let ours = self.engine(&self.bundles.verity)?;
        eprintln!(
            "  Hearth: {:.2} s written, {:.2} s read back; {:.2} and {:.2} s with the chunk index",
            ours.seconds_written, ours.seconds, indexed.seconds_written, indexed.seconds
        );
        runs.ours.push(ours);
        runs.indexed.push(indexed);
        Ok(())
    }

    fn theirs(&self, runs: &mut Runs) -> Result<()> {
        if rustix::process::geteuid().is_root() {
            let folder = self.folder.join("service");
            let service = Service::start(&self.rauc[0], &folder, &self.pki.root, &self.boxed)?;
            settle();
            let run = service.install(&self.bundles.plain)?;
            eprintln!("  rauc install: {:.2} s", run.seconds);
            runs.service.push(run);
        }
        let conf = peer::conf(&self.folder, &self.pki.root)?;
        let into = self.folder.join("extracted");
        for (rauc, into_runs) in [
            (&self.rauc[0], &mut runs.extract),
            (&self.rauc[1], &mut runs.extract_1_13),
        ] {
            settle();
            let run = peer::extract(rauc, &conf, &self.bundles.verity, &into)?;
            fs::remove_dir_all(&into)?;
            eprintln!("  rauc extract: {:.2} s", run.seconds);
            into_runs.push(run);
        }
        Ok(())
    }
}

/// What others wrote or removed before is not to be waited for in a measurement: a file system that discards the blocks
/// of removed files does so at the next flush, whoever asks for it.
fn settle() {
    rustix::fs::sync();
    std::thread::sleep(SETTLE);
}

/// Measures.
pub fn measure(how: &How) -> Result<(Vec<Row>, Vec<String>)> {
    let bench = Bench::prepare()?;
    // Once for the caches; then in turns, so that a machine that gets slower slows both.
    bench.once(&mut Runs::default(), 0, !how.no_peer)?;
    let mut runs = Runs::default();
    for run in 1..=how.runs {
        eprintln!("Installing ({run} of {})", how.runs);
        bench.once(&mut runs, run, !how.no_peer)?;
    }
    let versions = bench.rauc.each_ref().map(Rauc::version);
    let [newer, older] = versions;
    let (newer, older) = (newer?, older?);
    fs::remove_dir_all(&bench.folder)?;
    Ok((rows(&runs), notes(&runs, newer, older)))
}

/// `1.00, 2.00 s`
fn list(seconds: &[f64]) -> String {
    let numbers: Vec<String> = seconds.iter().map(|s| format!("{s:.2}")).collect();
    format!("{} s", numbers.join(", "))
}

fn best(seconds: &[f64]) -> f64 {
    seconds.iter().copied().fold(f64::NAN, f64::min)
}

fn of<T>(runs: &[T], what: impl Fn(&T) -> f64) -> Option<f64> {
    median(&runs.iter().map(what).collect::<Vec<_>>())
}

fn rows(runs: &Runs) -> Vec<Row> {
    let ours = &runs.ours;
    let (written, whole) = (of(ours, |r| r.seconds_written), of(ours, |r| r.seconds));
    let memory = of(ours, |r| r.peak_bytes as f64);
    let (install, extract) = (of(&runs.service, |r| r.seconds), of(&runs.extract, |r| r.seconds));
    let time = |what: &str, ours, peer, budget| Row::new(what, Unit::Seconds, ours, budget).beside(peer);
    let bytes = |what: &str, ours, peer, budget| Row::new(what, Unit::Bytes, ours, budget).beside(peer);
    let limit = Budget::OfPeer(1.0);
    vec![
        time(
            "300 MB verified and installed; rauc install",
            written,
            install,
            limit,
        ),
        time("the same, and read back; rauc install", whole, install, limit),
        time(
            "300 MB verified and installed; rauc extract, fsync",
            written,
            extract,
            limit,
        ),
        time(
            "the same, and read back; rauc extract, fsync",
            whole,
            extract,
            Budget::None,
        ),
        time(
            "as a delta that finds nothing, and read back; rauc install",
            of(&runs.indexed, |r| r.seconds),
            install,
            Budget::None,
        ),
        bytes(
            "its peak memory; rauc's service (plain)",
            memory,
            of(&runs.service, Run::peak),
            Budget::OfPeer(0.1),
        ),
        bytes(
            "its peak memory; rauc extract with its unsquashfs",
            memory,
            of(&runs.extract, Run::peak),
            Budget::OfPeer(0.1),
        ),
        bytes(
            "its peak memory; rauc extract without its unsquashfs",
            memory,
            of(&runs.extract, |r| {
                r.peaks.get("rauc").copied().unwrap_or_default() as f64
            }),
            Budget::None,
        ),
        bytes(
            "as a delta that finds nothing: peak memory",
            of(&runs.indexed, |r| r.peak_bytes as f64),
            None,
            Budget::None,
        ),
    ]
}

fn notes(runs: &Runs, newer: (u32, u32), older: (u32, u32)) -> Vec<String> {
    let seconds = |runs: &[Run]| list(&runs.iter().map(|r| r.seconds).collect::<Vec<_>>());
    let mut notes = vec![
        "Installing: the engine as in the image (same profile of the compiler), on files for partitions; it verifies the \
         signature and every block, writes, flushes every 8 MiB, then reads everything back past the page cache, which rauc does not do. \
         A delta that finds nothing: our own bundle; both slots are searched for its chunks and hold other bytes."
            .to_owned(),
    ];
    if runs.extract.is_empty() {
        notes.push("The peer was left out.".into());
        return notes;
    }
    let (a, b) = (
        format!("{}.{}", newer.0, newer.1),
        format!("{}.{}", older.0, older.1),
    );
    notes.push(format!(
        "rauc extract {a} ({}) and {b} ({}): the same `verity` bundle, verified and unpacked onto the same file system, then fsync.",
        seconds(&runs.extract),
        seconds(&runs.extract_1_13)
    ));
    notes.push(if runs.service.is_empty() {
        "rauc install was not measured: its service needs to be root to mount a bundle.".into()
    } else {
        format!(
            "rauc install {a} ({}): its service on a bus of its own, the same images into the same files. The bundle is `plain`, \
             which needs a loop device only; `verity` would need the kernel's dm-verity, which build machines often lack. For `plain` it maps the whole bundle to check the signature, which is most of its memory; for \
             `verity` the row without unsquashfs is the nearest.",
            seconds(&runs.service)
        )
    });
    let all = |what: fn(&Installed) -> f64| runs.ours.iter().map(what).collect::<Vec<_>>();
    let (written, whole) = (all(|r| r.seconds_written), all(|r| r.seconds));
    notes.push(format!(
        "Hearth: {} until written and flushed, {} until read back.",
        list(&written),
        list(&whole)
    ));
    let times = |runs: &[Run]| runs.iter().map(|r| r.seconds).collect::<Vec<_>>();
    notes.push(format!(
        "The best of each, which other work on the machine changes least: Hearth {:.2} s and {:.2} s with reading back, rauc \
         install {:.2} s, rauc extract {:.2} s.",
        best(&written),
        best(&whole),
        best(&times(&runs.service)),
        best(&times(&runs.extract))
    ));
    notes
}
