//! Every target on its whole corpus, then on mutations of it for some seconds.

use std::collections::BTreeMap;
use std::io::Write;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hearth_fuzz::mutate::Mutator;
use hearth_fuzz::{TARGETS, Target, accepted};

/// Each target's time on mutations. `HEARTH_FUZZ_SECONDS` says otherwise.
const SECONDS: f64 = 2.0;
/// An input of some KiB that takes this long is a defect too, on the slowest machine.
const TOO_SLOW: Duration = Duration::from_secs(10);
/// Targets that run at the same time: with 30 targets this keeps the whole at about 30 seconds.
const WORKERS: usize = 2;
/// Bytes of a seed: a whole bundle is the longest.
const MAX_SEED: usize = 24 << 10;
/// Accepted mutations that are kept for changing further.
const KEPT: usize = 64;

fn here() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn seconds() -> Result<f64> {
    match std::env::var("HEARTH_FUZZ_SECONDS") {
        Ok(text) => text.parse().context("HEARTH_FUZZ_SECONDS"),
        Err(_) => Ok(SECONDS),
    }
}

/// The targets to run: all, or those that `HEARTH_FUZZ_TARGETS` names, with commas between them.
fn chosen() -> Result<Vec<Target>> {
    let Ok(names) = std::env::var("HEARTH_FUZZ_TARGETS") else {
        return Ok(TARGETS.to_vec());
    };
    let find = |wanted: &str| TARGETS.iter().find(|(name, _)| *name == wanted).copied();
    names
        .split(',')
        .map(|name| find(name).with_context(|| format!("HEARTH_FUZZ_TARGETS: there is no target {name:?}")))
        .collect()
}

/// The seeds by name.
fn corpus(target: &str) -> Result<BTreeMap<String, Vec<u8>>> {
    let folder = here().join("corpus").join(target);
    let entries = std::fs::read_dir(&folder).with_context(|| folder.display().to_string())?;
    entries
        .map(|entry| {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            Ok((name, std::fs::read(entry.path())?))
        })
        .collect()
}

/// FNV-1a.
fn hash(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// Saves an input that failed and says where.
fn save(target: &str, bytes: &[u8]) -> Result<PathBuf> {
    let folder = here().join("../../target/fuzz-failures");
    std::fs::create_dir_all(&folder)?;
    let path = folder
        .canonicalize()?
        .join(format!("{target}-{:016x}", hash(bytes)));
    std::fs::write(&path, bytes)?;
    Ok(path)
}

/// Runs one input; the problem says where it was saved.
fn run((name, target): Target, bytes: &[u8]) -> Result<()> {
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| target(bytes)));
    let said = match result {
        Ok(()) if start.elapsed() < TOO_SLOW => return Ok(()),
        Ok(()) => format!("took {:?}", start.elapsed()),
        Err(panic) => match (panic.downcast_ref::<String>(), panic.downcast_ref::<&str>()) {
            (Some(text), _) => text.clone(),
            (_, Some(text)) => (*text).to_owned(),
            _ => "panicked".to_owned(),
        },
    };
    bail!("{said}\n  input: {}", save(name, bytes)?.display())
}

/// The corpus, then mutations for `seconds`.
fn fuzz(target: Target, seconds: f64) -> Result<()> {
    let (name, _) = target;
    let mut pool: Vec<Vec<u8>> = Vec::new();
    for (seed, bytes) in corpus(name)? {
        let before = accepted();
        run(target, &bytes).with_context(|| format!("seed {seed}"))?;
        // Otherwise the format has moved on, and what follows would try nothing behind the first check.
        let taken = accepted() > before || !seed.starts_with("valid");
        ensure!(
            taken,
            "the seed {seed} is not accepted any more; see tests/fuzz/README.md"
        );
        pool.push(bytes);
    }
    let start = Instant::now();
    let (mut executions, mut taken) = (0_u64, 0_u64);
    let mut mutator = Mutator::new(hash(name.as_bytes()));
    let seeds = pool.len();
    while start.elapsed().as_secs_f64() < seconds {
        let from = &pool[mutator.below(pool.len())];
        let other = &pool[mutator.below(pool.len())];
        let bytes = mutator.mutate(from, other);
        let before = accepted();
        run(target, &bytes)?;
        executions += 1;
        if accepted() > before {
            taken += 1;
            // What a parser takes is worth changing further; the seeds stay.
            if pool.len() < seeds + KEPT {
                pool.push(bytes);
            } else {
                pool[seeds + mutator.below(KEPT)] = bytes;
            }
        }
    }
    // Past the test harness's capture: how much was tried is part of the result.
    let line = format!("{name:16} {executions:8} executions, {taken:7} accepted, {seeds} seeds\n");
    std::io::stderr().write_all(line.as_bytes())?;
    Ok(())
}

#[test]
fn every_target_holds_on_its_corpus_and_on_mutations_of_it() {
    let seconds = seconds().unwrap();
    let chosen = chosen().unwrap();
    let queue = Mutex::new(chosen.iter());
    let failures = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some(target) = queue.lock().unwrap().next() else {
                        break;
                    };
                    if let Err(failure) = fuzz(*target, seconds) {
                        failures
                            .lock()
                            .unwrap()
                            .push(format!("{}: {failure:#}", target.0));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    assert!(
        failures.is_empty(),
        "{} targets failed\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_target_has_seeds_and_a_program_and_nothing_else_has() {
    let mut named: Vec<String> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    named.sort();
    let list = |folder: &str| {
        let mut names: Vec<String> = std::fs::read_dir(here().join(folder))
            .unwrap()
            .map(|entry| {
                entry
                    .unwrap()
                    .path()
                    .file_stem()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect();
        names.sort();
        names
    };
    assert_eq!(list("corpus"), named);
    assert_eq!(list("fuzz_targets"), named);
    for name in named {
        let seeds = corpus(&name).unwrap();
        assert!(seeds.len() >= 3, "{name} has {} seeds", seeds.len());
        assert!(
            seeds.keys().any(|seed| seed.starts_with("valid")),
            "{name} has no valid seed"
        );
        assert!(
            seeds.values().all(|bytes| bytes.len() <= MAX_SEED),
            "{name} has a big seed"
        );
    }
}
