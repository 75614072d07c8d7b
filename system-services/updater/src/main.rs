//! Marks the running slot good once the appliance is healthy, and shows the state of the slots.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use os_io::root::Root;

use updater::health::{self, Health};
use updater::state_disk::StateDisk;
use updater::{facts, mark_good, status};

const HELP: &str = "\
updater: the slots of this appliance

Usage:
  updater mark-good        give the running slot all its tries back once the page answers and all of root is intact
  updater status [--json]  show both copies of the boot state and both slots
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments[..] {
        ["mark-good"] => mark_good(),
        ["status"] => show_status(false),
        ["status", "--json"] => show_status(true),
        ["help" | "--help" | "-h"] => {
            print!("{HELP}");
            Ok(())
        }
        _ => {
            eprint!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn mark_good() -> anyhow::Result<()> {
    let root = Root::system();
    let facts = facts::read(&root)?;
    if let Some(reason) = facts::data_problem(&facts) {
        // The other slot would meet the same data: trying it heals nothing.
        eprintln!("data is damaged, which is no fault of this slot: {reason}");
    }
    health::wait_for_page(&Health::default()).context("the slot is not marked good")?;
    let checked = health::check_root(&root).context("the slot is not marked good")?;
    println!(
        "the page answers; {} MiB of the verified root are intact",
        checked >> 20
    );
    let outcome = mark_good::mark_good(&StateDisk::at(&facts.bootstate_device), facts::running(&facts))?;
    println!("{outcome}");
    Ok(())
}

fn show_status(json: bool) -> anyhow::Result<()> {
    let facts = facts::read(&Root::system())?;
    let store = StateDisk::at(Path::new(&facts.bootstate_device)).load()?;
    let status = status::Status::new(&facts, &store);
    if json {
        println!("{}", serde_json::to_string(&status)?);
    } else {
        print!("{status}");
    }
    Ok(())
}
