//! The plug is pulled at random moments of first boot and setup: QEMU gets SIGKILL while the wizard is being walked.
//! The box always comes back, nothing that it acknowledged is lost, and nothing is half done.

use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hearth_tests::http::Client;
use hearth_tests::machine::TestMachine;
use hearth_tests::setup::{self, Stage};

/// Cuts of each of the two tests, which run side by side.
const CUTS: u32 = 10;
/// Half of the cuts come within these seconds after power-on …
const BOOT: f64 = 24.0;
/// … and half within these seconds after the page first answered, while setup is walked.
const SETUP: f64 = 14.0;

#[test]
fn power_cuts_in_first_boot_and_setup_lose_nothing_acknowledged_1() -> Result<()> {
    cuts("power-cuts-1", 1)
}

#[test]
fn power_cuts_in_first_boot_and_setup_lose_nothing_acknowledged_2() -> Result<()> {
    cuts("power-cuts-2", 2)
}

fn cuts(name: &str, seed: u64) -> Result<()> {
    let mut random = Random(seed ^ u64::from(std::process::id()) << 8 | 1);
    for cut in 0..CUTS {
        // One in each fifth of either time, so that every phase gets its share.
        let half = CUTS / 2;
        let (limit, in_setup) = if cut < half { (BOOT, false) } else { (SETUP, true) };
        let at = (f64::from(cut % half) + random.unit()) * limit / f64::from(half);
        one_cut(&format!("{name}-{cut}"), at, in_setup).with_context(|| {
            format!(
                "cut {cut} at {at:.1} s of {}",
                if in_setup { "setup" } else { "boot" }
            )
        })?;
    }
    println!("{CUTS} cuts, {CUTS} recoveries");
    Ok(())
}

fn one_cut(name: &str, at: f64, in_setup: bool) -> Result<()> {
    let mut machine = TestMachine::qemu_arm64(name)?;
    machine.start()?;
    if in_setup {
        machine.expect_page(240)?;
    }
    let acknowledged = Mutex::new(Stage::Step(0));
    let port = machine.port();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        let user = scope.spawn(|| {
            let mut client = Client::new(port);
            while begun.elapsed().as_secs_f64() < at + 1.0 {
                match setup::advance(&mut client) {
                    Ok(stage) => {
                        if let Ok(mut known) = acknowledged.lock() {
                            *known = stage.max(*known);
                        }
                        if stage == Stage::Provisioned {
                            return;
                        }
                    }
                    // Not up yet, or just gone.
                    Err(_) => std::thread::sleep(Duration::from_millis(200)),
                }
            }
        });
        std::thread::sleep(Duration::from_secs_f64(at).saturating_sub(begun.elapsed()));
        machine.stop();
        user.join().ok();
    });
    let acknowledged = *acknowledged.lock().unwrap_or_else(|e| e.into_inner());

    machine.start()?;
    let up = machine.expect_page(240)?;
    let mut client = Client::new(machine.port());
    let (stage, path, page) = setup::stage(&mut client)?;
    println!(
        "{name}: cut at {at:.1} s, acknowledged {acknowledged:?}; back after {:.1} s at {path}",
        up.as_secs_f64()
    );
    ensure!(page.status == 200, "{path}: {}", page.status);
    match (acknowledged, stage) {
        (Stage::Provisioned, _) | (_, Stage::Provisioned) => {
            // The last answer may have got lost on its way; the box then is wholly set up.
            ensure!(
                stage == Stage::Provisioned,
                "setup was acknowledged as finished, but the box offers {path}"
            );
            let page = setup::log_in(&mut client)?;
            ensure!(
                page.body.contains(setup::HOST_NAME),
                "the overview does not show the name of the box"
            );
        }
        (Stage::Step(known), Stage::Step(offered)) => {
            ensure!(
                path == "/setup/continue" || offered >= known,
                "the box acknowledged step {known} but offers {path}"
            );
            // … and the rest of setup works from here.
            for _ in 0..12 {
                if setup::advance(&mut client)? == Stage::Provisioned {
                    break;
                }
            }
            setup::log_in(&mut Client::new(machine.port()))?;
        }
    }
    machine.stop();
    machine.disk.check_data()
}

/// xorshift64*, so that a run's moments are not the last run's.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) as f64 / (1u64 << 53) as f64
    }
}
