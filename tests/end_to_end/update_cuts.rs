//! Power cuts of a whole update: every one that its writes allow, on disks in memory.

use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use boot_manager::Key;
use boot_state::{COPY_OFFSETS, Running, Slot, State, encode};
use bundle::verity::{BLOCK, hash_tree};
use hearth_tests::disk::{self, Disk};
use hearth_tests::machine::TestMachine;
use hearth_tests::random::Random;
use hearth_tests::replay::{DataCheck, Decider, Facts, Image, PIECE, Replay};
use hearth_tests::shell;
use hearth_tests::update::{Updates, Variant, wait_for};
use hearth_tests::write_log::Log;
use serde_json::Value;

/// Version of the update.
const NEW: &str = "0.2.0";
/// Data that the update's root has more than the old one's, in blocks of 4096: 8 MiB.
const GROWN: usize = 2048;
/// File systems that are looked at, spread evenly over the run; those around writes of the boot state come on top.
const SAMPLES: u64 = 40;

/// The variable that names a folder for the recorded run, so that a replay can be repeated on the same record …
const RECORD: &str = "HEARTH_TEST_RECORD";
/// … and the one that makes its random subsets the same.
const SEED: &str = "HEARTH_TEST_SEED";

/// A run that was recorded.
struct Recorded {
    base: Vec<u8>,
    log: PathBuf,
    facts: Facts,
}

#[test]
fn a_cut_after_any_write_of_an_update_leaves_a_box_that_boots_a_whole_system() -> Result<()> {
    let begun = Instant::now();
    let folder = tempfile::Builder::new().prefix("hearth-cuts-").tempdir()?;
    let recorded = match std::env::var_os(RECORD) {
        Some(kept) => keep(Path::new(&kept))?,
        None => record(folder.path())?,
    };
    let recorded_s = begun.elapsed().as_secs_f64();
    let facts = &recorded.facts;
    println!("{facts:?}; recorded in {recorded_s:.0} s");
    let seed = match std::env::var(SEED) {
        Ok(seed) => seed.parse()?,
        Err(_) => std::time::UNIX_EPOCH.elapsed()?.as_secs(),
    };
    println!("{SEED}={seed}");
    let open = || -> Result<Log<BufReader<File>>> {
        let file = BufReader::new(File::open(&recorded.log)?);
        Ok(Log::open(file, recorded.base.len() as u64)?)
    };
    let replay = || -> Result<Replay<'_>> {
        let image = Image::new(recorded.base.clone())?;
        Ok(Replay::new(image, Decider::new(boot_key()?), facts, seed))
    };
    let pieces = std::fs::metadata(&recorded.log)?.len() / PIECE as u64;
    let mut data = DataCheck::new(folder.path(), SAMPLES, pieces, facts.asked_at);
    let (tally, counts) = replay()?
        .run(&mut open()?, &mut data)
        .with_context(|| format!("seed {seed}"))?;
    println!(
        "{tally:?} {counts:?} journals {} unfinished {}",
        data.journals, data.unfinished
    );
    // Would it be seen if something were wrong? The same update on a disk that does not carry out flushes must not pass.
    let lies = replay()?.without_flushes().run(&mut open()?, &mut ());
    let found = lies.err().context("an update without flushes passed")?;
    println!("without flushes: {found:#}");
    ensure!(
        format!("{found:#}").contains("is not whole"),
        "without flushes something else was found"
    );
    println!(
        "{:.0} s, of which {recorded_s:.0} s in QEMU",
        begun.elapsed().as_secs_f64()
    );
    ensure!(
        tally.cuts > 10_000 && tally.flushes > 50 && tally.state_writes > 5,
        "this was no whole update"
    );
    Ok(())
}

/// Records a run into a folder that stays, or takes the one that is there.
fn keep(folder: &Path) -> Result<Recorded> {
    let facts = folder.join("facts");
    if !facts.exists() {
        std::fs::create_dir_all(folder)?;
        let recorded = record(folder)?;
        std::fs::write(folder.join("base"), &recorded.base)?;
        let f = &recorded.facts;
        std::fs::write(
            &facts,
            format!("{} {} {} {}", f.old, f.new, f.asked_at, f.good_at),
        )?;
        return Ok(recorded);
    }
    let text = std::fs::read_to_string(&facts)?;
    let words: Vec<&str> = text.split(' ').collect();
    Ok(Recorded {
        base: std::fs::read(folder.join("base"))?,
        log: folder.join("writes.log"),
        facts: Facts {
            old: words[0].into(),
            new: words[1].into(),
            target: Slot::B,
            asked_at: words[2].parse()?,
            good_at: words[3].parse()?,
        },
    })
}

/// From the first power-on of a flashed disk to an update that has proved itself.
fn record(folder: &Path) -> Result<Recorded> {
    let mut machine = TestMachine::qemu_arm64("update-cuts")?;
    spoil_slot_b(&machine.disk)?;
    let old = machine.disk.slot('a')?.version().to_owned();
    let base = std::fs::read(&machine.disk.path)?;
    let updates = Updates::for_board("qemu-arm64", "hearth-qemu-arm64-dev.img")?;
    let bundle = updates.make_from(
        &Variant {
            version: NEW,
            words: "",
        },
        grow_root,
    )?;
    let url = updates.serve_file(&bundle)?;

    let log = folder.join("writes.log");
    machine.record_writes(log.clone());
    machine.start()?;
    machine.expect_page(240)?;
    wait_for(machine.vm()?, "a system that is marked good", 240, marked_good)?;
    updates.trust(machine.vm()?)?;
    let asked_at = std::fs::metadata(&log)?.len();
    let said = shell::run(machine.vm()?, &format!("hearth-update install {url}"), 400)?;
    ensure!(said.contains(NEW), "{said}");
    shell::run(machine.vm()?, "hearth-update activate now", 60)?;
    machine.expect("Hearth boot manager: slot b", 240)?;
    settle(&mut machine, NEW, "good", 400)?;
    let good_at = std::fs::metadata(&log)?.len();
    // Its last flush completes the log.
    machine.vm()?.stop_cleanly(std::time::Duration::from_secs(120))?;
    machine.stop();
    Ok(Recorded {
        base,
        log,
        facts: Facts {
            old,
            new: NEW.into(),
            target: Slot::B,
            asked_at,
            good_at,
        },
    })
}

/// Slot b as an installation leaves it that was cut: incomplete, with nothing of use in it. So the update has all to write.
fn spoil_slot_b(disk: &Disk) -> Result<()> {
    let running = Running::from_boot(Slot::A);
    let state = State::default()
        .mark_good(running)
        .begin_install(running.inactive())?;
    for (copy, sequence) in [(0, 1), (1, 2)] {
        disk.set_boot_state_copy(copy, &encode(&state, sequence))?;
    }
    ensure!(disk.boot_state()?.state() == state && COPY_OFFSETS.len() == 2);
    let mut random = Random::new(1);
    let mut noise = || -> Vec<u8> {
        (0..1 << 17)
            .flat_map(|_| random.next_u64().to_le_bytes())
            .collect()
    };
    for mib in 0..40 {
        disk.write("boot-b", mib << 20, &noise())?;
    }
    for mib in 0..100 {
        disk.write("root-b", mib << 20, &noise())?;
    }
    Ok(())
}

/// Another root: the same squashfs with more behind it, and so another tree.
fn grow_root(disk: &Disk, slot: &mut disk::Slot) -> Result<()> {
    let blocks: usize = slot
        .command_line
        .split(' ')
        .find_map(|w| w.strip_prefix("hearth.root-blocks="))
        .context("no hearth.root-blocks")?
        .parse()?;
    let mut data = disk.read("root-a", 0, blocks * BLOCK)?;
    let mut random = Random::new(2);
    data.extend((0..GROWN * BLOCK / 8).flat_map(|_| random.next_u64().to_le_bytes()));
    let tree = hash_tree(&data)?;
    disk.write("root-a", 0, &data)?;
    disk.write("root-a", data.len() as u64, &tree.tree)?;
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    slot.set_argument("hearth.root-hash", &hex(&tree.root))?;
    slot.set_argument("hearth.root-salt", &hex(&tree.salt))?;
    slot.set_argument("hearth.root-blocks", &tree.data_blocks.to_string())
}

/// Has the running system all its tries again?
fn marked_good(status: &Value) -> bool {
    let slots = status["slots"].as_array();
    let mut running = slots.into_iter().flatten().filter(|s| s["running"] == true);
    running.any(|s| s["good"] == true && s["tries_left"] == 3)
}

/// Waits until the box runs a version and the updater is in a phase.
fn settle(machine: &mut TestMachine, version: &str, phase: &str, seconds: u64) -> Result<Value> {
    wait_for(
        machine.vm()?,
        &format!("{phase}, version {version}"),
        seconds,
        |s| s["version"] == version && s["phase"] == phase,
    )
}

/// The key of the image's boot manager.
fn boot_key() -> Result<Key> {
    let (key, _) = image_builder::keys::development()?;
    Ok(Key::from_sec1(
        key.key.verifying_key().to_sec1_point(false).as_bytes(),
    ))
}
