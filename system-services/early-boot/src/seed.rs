//! Entropy from the last boot: these boards' firmware has no random numbers for us.
//!
//! A seed file on `data` is used for one boot only: its successor is durable before it is credited to the kernel.
//! Both are derived from it by SHA-256 in different ways, so neither tells the other.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use os_io::{durable, random};
use sha2::{Digest, Sha256};

use crate::identity::FOLDER_ON_DATA;

const SEED: &str = "random-seed";
const SEED_BYTES: usize = 32;

/// What became of the seed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seeded {
    /// The kernel's pool was credited with the last boot's seed.
    Credited,
    /// There was none; one is kept for the next boot.
    FirstSeed,
}

/// Uses the seed of the last boot and keeps one for the next. `credit` gives bytes to the kernel.
pub fn use_and_replace(
    data: &Path,
    credit: &mut dyn FnMut(&[u8]) -> Result<(), os_io::Error>,
) -> Result<Seeded, os_io::Error> {
    let folder = data.join(FOLDER_ON_DATA);
    let file = folder.join(SEED);
    durable::create_folder(&folder, 0o755)?;
    let Some(old) = read(&file) else {
        let mut first = [0; SEED_BYTES];
        random::fill(&mut first)?;
        durable::write_atomically(&file, &first, 0o600)?;
        return Ok(Seeded::FirstSeed);
    };
    // What the kernel gathered in this boot goes into the next seed, if it has gathered enough yet.
    let mut fresh = [0; SEED_BYTES];
    if random::is_seeded() {
        random::fill(&mut fresh)?;
    }
    let next = Sha256::new()
        .chain_update(b"hearth seed: next boot")
        .chain_update(old)
        .chain_update(fresh)
        .finalize();
    durable::write_atomically(&file, &next, 0o600)?;
    let now = Sha256::new()
        .chain_update(b"hearth seed: this boot")
        .chain_update(old)
        .finalize();
    credit(&now)?;
    Ok(Seeded::Credited)
}

/// `None` when it is not there, not readable or not of its length: such a file is no secret to count on.
fn read(file: &Path) -> Option<[u8; SEED_BYTES]> {
    let mut seed = [0; SEED_BYTES];
    let mut file = File::open(file).ok()?;
    file.read_exact(&mut seed).ok()?;
    let whole = matches!(file.read(&mut [0]), Ok(0));
    (whole && seed != [0; SEED_BYTES]).then_some(seed)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn no_seed_is_credited_twice_and_the_next_one_is_kept_before() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir(data.path().join("state")).unwrap();
        let file = data.path().join(FOLDER_ON_DATA).join(SEED);
        let first = use_and_replace(data.path(), &mut |_| panic!("nothing to credit")).unwrap();
        assert_eq!(first, Seeded::FirstSeed);
        let mut credited = Vec::new();
        for _ in 0..3 {
            let before = fs::read(&file).unwrap();
            let seeded = use_and_replace(data.path(), &mut |seed| {
                assert_ne!(fs::read(&file).unwrap(), before, "replaced before it is credited");
                assert_ne!(seed, before);
                credited.push(seed.to_vec());
                Ok(())
            });
            assert_eq!(seeded.unwrap(), Seeded::Credited);
        }
        credited.dedup();
        assert_eq!(credited.len(), 3);
    }

    #[test]
    fn a_seed_that_was_cut_short_or_zeroed_is_not_credited() {
        let data = tempfile::tempdir().unwrap();
        fs::create_dir_all(data.path().join(FOLDER_ON_DATA)).unwrap();
        for bad in [vec![], vec![7; 31], vec![7; 33], vec![0; 32]] {
            fs::write(data.path().join(FOLDER_ON_DATA).join(SEED), bad).unwrap();
            let seeded = use_and_replace(data.path(), &mut |_| panic!("credited"));
            assert_eq!(seeded.unwrap(), Seeded::FirstSeed);
        }
    }
}
