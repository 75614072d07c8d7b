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
use hearth_tests::update::{Updates, Variant, wait_for};
use hearth_tests::write_log::Log;
use hearth_tests::{patience, shell};
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
    shell::restart(machine.vm()?, "hearth-update activate now", 240)?;
    machine.expect("Hearth boot manager: slot b", 240)?;
    settle(&mut machine, NEW, "good", 400)?;
    let good_at = std::fs::metadata(&log)?.len();
    // Its last flush completes the log.
    machine.vm()?.stop_cleanly(patience(100))?;
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

/// Real kills of QEMU at random moments of updates. They take long: `cargo xtask test --end-to-end --long --only kills`.
#[cfg(feature = "long")]
mod kills {
    use super::*;

    /// Kills of each of the two machines, which run side by side.
    const KILLS: u32 = 15;
    /// Bytes per second of the download, so that it lasts for several kills …
    const RATE: u64 = 400_000;
    /// … of which there are so many in each update; …
    const SLOW: u32 = 2;
    /// … so many more come while it fetches, writes and reads back as fast as it can.
    const FAST: u32 = 2;
    /// Most seconds from the moment that the box was seen in a phase to the kill.
    const PHASES: [(&str, f64); 4] = [
        ("downloading", 8.0),
        ("verifying", 4.0),
        ("staged", 14.0),
        ("trying", 30.0),
    ];
    /// Most seconds from power-on to a kill that does not wait for the box.
    const BOOT: f64 = 22.0;

    #[test]
    fn kills_at_any_moment_of_updates_lead_back_to_a_whole_system_and_the_update_completes_1() -> Result<()> {
        kills("update-kills-1", 1)
    }

    #[test]
    fn kills_at_any_moment_of_updates_lead_back_to_a_whole_system_and_the_update_completes_2() -> Result<()> {
        kills("update-kills-2", 2)
    }

    /// One machine that is killed again and again, through as many updates as that takes.
    struct Killed {
        machine: TestMachine,
        updates: Updates,
        random: Random,
        decider: Decider,
        /// The version that is good, and the one that is being installed.
        old: String,
        new: String,
        url: String,
        rounds: u32,
        kills: u32,
        /// Kills before this update was staged.
        early: u32,
        /// Kills by the phase in which they came.
        by_phase: std::collections::BTreeMap<String, u32>,
    }

    fn kills(name: &str, seed: u64) -> Result<()> {
        let begun = Instant::now();
        let machine = TestMachine::qemu_arm64(name)?;
        let old = machine.disk.slot('a')?.version().to_owned();
        let mut killed = Killed {
            machine,
            updates: Updates::for_board("qemu-arm64", "hearth-qemu-arm64-dev.img")?,
            random: Random::new(seed ^ std::time::UNIX_EPOCH.elapsed()?.as_secs()),
            decider: Decider::new(boot_key()?),
            old,
            new: String::new(),
            url: String::new(),
            rounds: 0,
            kills: 0,
            early: 0,
            by_phase: std::collections::BTreeMap::new(),
        };
        killed.next_update()?;
        killed.machine.start()?;
        killed.machine.expect_page(240)?;
        wait_for(
            killed.machine.vm()?,
            "a system that is marked good",
            240,
            marked_good,
        )?;
        killed.updates.trust(killed.machine.vm()?)?;
        shell::run(killed.machine.vm()?, "sync", 60)?;
        while killed.kills < KILLS {
            killed
                .step()
                .with_context(|| format!("{name}, after kill {}", killed.kills))?;
        }
        killed
            .finish()
            .with_context(|| format!("{name}, after the last kill"))?;
        println!(
            "{name}: {} kills in {} updates, {:?}, {:.0} s",
            killed.kills,
            killed.rounds,
            killed.by_phase,
            begun.elapsed().as_secs_f64()
        );
        Ok(())
    }

    impl Killed {
        /// Makes another version, with a root of its own.
        fn next_update(&mut self) -> Result<()> {
            self.rounds += 1;
            self.new = format!("0.{}.0", self.rounds + 1);
            let variant = Variant {
                version: &self.new,
                words: "",
            };
            let bundle = self.updates.make_from(&variant, grow_root)?;
            self.url = self.updates.serve_file(&bundle)?;
            self.early = 0;
            self.throttle(Some(RATE));
            Ok(())
        }

        fn throttle(&self, bytes_per_second: Option<u64>) {
            self.updates.server.behave(https_server::Behaviour {
                bytes_per_second,
                ..https_server::Behaviour::default()
            });
        }

        /// Brings the installation further, and pulls the plug.
        fn step(&mut self) -> Result<()> {
            let status = self.look()?;
            let phase = status["phase"].as_str().unwrap_or_default().to_owned();
            if phase == "good" && status["version"] == self.new.as_str() {
                self.old = std::mem::take(&mut self.new);
                self.next_update()?;
                return Ok(());
            }
            match phase.as_str() {
                // It goes on by itself.
                "downloading" | "verifying" if self.early >= SLOW + FAST => {
                    std::thread::sleep(std::time::Duration::from_secs(1));
                    return Ok(());
                }
                "downloading" | "verifying" => self.early += 1,
                "staged" => shell::run_last(self.machine.vm()?, "hearth-update activate now")?,
                "trying" if self.tries_left()? == 0 => return self.prove(),
                "trying" => {}
                _ => self.install()?,
            }
            let phase = if phase == "idle" || phase == "good" {
                "downloading".into()
            } else {
                phase
            };
            let longest = PHASES
                .iter()
                .find(|(name, _)| *name == phase)
                .map_or(5.0, |p| p.1);
            self.sleep(longest);
            self.kill(&phase)?;
            if self.early == SLOW {
                self.throttle(None);
            }
            // One in three comes before the box is up, unless that would be the new version's last try.
            if self.kills < KILLS && self.random.unit() < 0.33 && self.tries_left()? > 1 {
                self.machine.start()?;
                self.sleep(BOOT);
                self.kill("boot")?;
            }
            self.machine.start()?;
            self.machine.expect_page(240)?;
            Ok(())
        }

        fn sleep(&mut self, longest: f64) {
            std::thread::sleep(std::time::Duration::from_secs_f64(self.random.unit() * longest));
        }

        fn install(&mut self) -> Result<()> {
            let command = format!("hearth-update install {} --force --no-wait", self.url);
            shell::run(self.machine.vm()?, &command, 60).map(drop)
        }

        /// What the box says once its shell answers; it must run one of the two versions.
        fn look(&mut self) -> Result<Value> {
            let status = wait_for(self.machine.vm()?, "the updater", 120, |s| {
                s["phase"].is_string() && s["version"].is_string()
            })?;
            let version = status["version"].as_str().unwrap_or_default();
            ensure!(version == self.old || version == self.new, "{status:#}");
            Ok(status)
        }

        /// Boots that the slot that is tried first has left, by the disk.
        fn tries_left(&self) -> Result<u8> {
            let state = self.machine.disk.boot_state()?.state();
            Ok(state.slot(state.primary()).tries_left())
        }

        /// Pulls the plug, and looks at the disk that is left.
        fn kill(&mut self, phase: &str) -> Result<()> {
            self.machine.stop();
            self.kills += 1;
            *self.by_phase.entry(phase.into()).or_default() += 1;
            let bytes = std::fs::read(&self.machine.disk.path)?;
            let walk = self.decider.walk(&Image::new(bytes)?)?;
            // Later boots may fall back to the version before the old one, while nothing is written over it yet.
            let next = &walk.boots[0].1;
            ensure!(*next == self.old || *next == self.new, "{walk:?}");
            self.machine.disk.check_data()?;
            println!(
                "kill {} while {phase}: next boots {:?}",
                self.kills, walk.boots[0]
            );
            Ok(())
        }

        /// Lets the new version prove itself, without a kill.
        fn prove(&mut self) -> Result<()> {
            let new = self.new.clone();
            settle(&mut self.machine, &new, "good", 400).map(drop)
        }

        /// No more kills: the installation completes.
        fn finish(&mut self) -> Result<()> {
            self.throttle(None);
            let begun = Instant::now();
            loop {
                let status = self.look()?;
                match status["phase"].as_str().unwrap_or_default() {
                    "good" if status["version"] == self.new.as_str() => return Ok(()),
                    "staged" => shell::restart(self.machine.vm()?, "hearth-update activate now", 240)?,
                    "trying" => return self.prove(),
                    "downloading" | "verifying" => std::thread::sleep(std::time::Duration::from_secs(1)),
                    _ => self.install()?,
                }
                ensure!(begun.elapsed().as_secs() < 400, "{status:#}");
            }
        }
    }
}
