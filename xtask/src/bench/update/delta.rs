//! Bytes that an update fetches, beside RAUC's adaptive way on the same pair of images.

use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use bundle::cms::UnixTime;
use hearth_tests::rauc::{KeyKind, Rauc, tests_pki};
use https_server::Server;
use image_builder::bundle::{Request, Signer, make, slot};
use image_builder::cache::Cache;
use image_builder::update_keys;
use sha2::{Digest, Sha256};

use super::boxed::Boxed;
use super::peer;
use super::versions::{self, Pair};
use crate::bench::How;
use crate::bench::report::{Budget, Row, Unit};

const BLOCK: usize = 4096;
/// Blocks whose hashes are in one block of a dm-verity tree.
const PER_HASH_BLOCK: u64 = 128;
/// Bytes of a block of the squashfs that rauc makes.
const SQUASHFS_BLOCK: u64 = 128 * 1024;

/// Measures. Bytes do not vary: one run.
pub fn measure(how: &How) -> Result<(Vec<Row>, Vec<String>)> {
    let folder = Cache::open()?.folder("bench/update/delta")?;
    let (mut rows, mut notes) = (vec![], vec![NOTE.to_owned()]);
    for pair in versions::pairs(how.renew_peer)? {
        let ours = ours(&pair, &folder)?;
        let theirs = if how.no_peer {
            None
        } else {
            Some(theirs(&pair, &folder)?)
        };
        let fetched = theirs.as_ref().map(|t| t.fetched() as f64);
        let what = format!("delta, {}: fetched; rauc's adaptive figure", pair.what);
        rows.push(
            Row::new(what, Unit::Bytes, Some(ours.fetched as f64), Budget::OfPeer(0.5)).beside(fetched),
        );
        let whole = theirs.as_ref().map(|t| t.bundle as f64);
        let what = format!("delta, {}: the whole bundle", pair.what);
        rows.push(Row::new(what, Unit::Bytes, Some(ours.bundle as f64), Budget::None).beside(whole));
        let share = |part: u64, of: u64| part as f64 * 100.0 / of.max(1) as f64;
        let mut note = format!(
            "Delta, {}: {}. Hearth fetches {:.1} % of its bundle",
            pair.what,
            pair.changes,
            share(ours.fetched, ours.bundle)
        );
        if let Some(theirs) = theirs {
            note += &format!(
                ", rauc {:.1} % of its own: {} bytes of blocks, {} of indices, {} of hash tree and signature. As squashfs \
                 hands out whole blocks of 128 KiB, it would really be {:.1} MiB.",
                share(theirs.fetched(), theirs.bundle),
                theirs.blocks,
                theirs.indices,
                theirs.tree,
                (theirs.in_squashfs_blocks + theirs.indices + theirs.tree) as f64 / f64::from(1 << 20)
            );
        }
        notes.push(note);
    }
    Ok((rows, notes))
}

const NOTE: &str = "Delta: both slots have the older image. Hearth: the real engine over HTTPS; what the server sent, all of it \
    (trailer, signature, hash tree, tables, chunk index, chunks; HTTP headers and TLS are counted for neither). rauc: computed by its documented way for \
    `block-hash-index`, since streaming needs NBD and dm-verity, which build machines often lack: zero blocks, what was written so \
    far, the old content of the target, the active slot, else the bundle; block by block of 4 KiB, with the indices and the \
    hash blocks above what is read. That is the least it can be: reading ahead is not counted.";

/// What an update took.
struct Fetched {
    fetched: u64,
    bundle: u64,
}

fn ours(pair: &Pair, folder: &Path) -> Result<Fetched> {
    let (keys, _) = update_keys::development()?;
    let path = folder.join("update.raucb");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    make(&Request {
        image: &pair.new,
        description: Some("Made for a measurement."),
        build: None,
        signer: &Signer::new(&keys.key().to_string_lossy(), &keys.certificates())?,
        now: UnixTime(now.as_secs()),
        out: &path,
    })?;
    let boxed = Boxed::new(&folder.join("box"), &keys.keyring())?;
    let (old, new) = (slot(&pair.old)?, slot(&pair.new)?);
    for letter in ["a", "b"] {
        boxed.fill(&format!("boot-{letter}"), &mut part(&pair.old, &old.boot)?)?;
        boxed.fill(&format!("root-{letter}"), &mut part(&pair.old, &old.root)?)?;
    }
    // A slot is larger than what is in it.
    for (name, bytes) in [
        ("boot-b", new.boot.end - new.boot.start),
        ("root-b", new.root.end - new.root.start),
    ] {
        let file = File::options().write(true).open(boxed.partition(name))?;
        file.set_len(file.metadata()?.len().max(bytes))?;
    }
    let server = Server::start(&[])?;
    let bytes = fs::read(&path)?;
    let bundle = bytes.len() as u64;
    server.put("/update.raucb", bytes);
    fs::write(boxed.path("/ca.pem"), server.authority_pem())?;
    let installed = boxed.install(&server.url("/update.raucb"))?;
    for (name, range) in [("boot-b", &new.boot), ("root-b", &new.root)] {
        let mut wanted = Vec::new();
        part(&pair.new, range)?.read_to_end(&mut wanted)?;
        let mut found = Vec::new();
        File::open(boxed.partition(name))?
            .take(wanted.len() as u64)
            .read_to_end(&mut found)?;
        ensure!(found == wanted, "{name} is not as in the image");
    }
    eprintln!(
        "  {}: {} bytes of {bundle} sent; the engine counted {} of its last call",
        pair.what,
        server.sent(),
        installed.fetched_bytes
    );
    Ok(Fetched {
        fetched: server.sent(),
        bundle,
    })
}

/// RAUC's figure, in bytes.
struct Adaptive {
    blocks: u64,
    indices: u64,
    tree: u64,
    in_squashfs_blocks: u64,
    bundle: u64,
}

impl Adaptive {
    fn fetched(&self) -> u64 {
        self.blocks + self.indices + self.tree
    }
}

fn theirs(pair: &Pair, folder: &Path) -> Result<Adaptive> {
    let rauc = Rauc::version_1_15()?;
    let pki = tests_pki(&folder.join("keys"), KeyKind::P256)?;
    let content = folder.join("content");
    let _ = fs::remove_dir_all(&content);
    fs::create_dir_all(&content)?;
    let (old, new) = (slot(&pair.old)?, slot(&pair.new)?);
    let mut figure = Adaptive {
        blocks: 0,
        indices: 0,
        tree: 0,
        in_squashfs_blocks: 0,
        bundle: 0,
    };
    let ranges = [("rootfs", &old.root, &new.root), ("boot", &old.boot, &new.boot)];
    for (class, old, new) in ranges {
        let mut file = File::create(content.join(format!("{class}.img")))?;
        std::io::copy(&mut part(&pair.new, new)?, &mut file)?;
        let have = blocks(part(&pair.old, old)?)?;
        let wanted = blocks(part(&pair.new, new)?)?;
        figure.add(&have, &wanted);
    }
    let path = folder.join("rauc.raucb");
    peer::bundle(
        &rauc,
        &pki,
        "verity",
        &content,
        "adaptive=block-hash-index\n",
        &path,
    )?;
    figure.bundle = fs::metadata(&path)?.len();
    figure.tree += signature_bytes(&path)?;
    fs::remove_dir_all(content)?;
    Ok(figure)
}

impl Adaptive {
    fn add(&mut self, have: &[[u8; 32]], wanted: &[[u8; 32]]) {
        let mut known: HashSet<[u8; 32]> = have.iter().copied().collect();
        known.insert(Sha256::digest([0; BLOCK]).into());
        let (mut hash_blocks, mut squashfs_blocks) = (HashSet::new(), HashSet::new());
        for (number, digest) in (0_u64..).zip(wanted) {
            if known.insert(*digest) {
                self.blocks += BLOCK as u64;
                hash_blocks.insert(number / PER_HASH_BLOCK);
                squashfs_blocks.insert(number * BLOCK as u64 / SQUASHFS_BLOCK);
            }
        }
        let index = wanted.len() as u64 * 32;
        self.indices += index;
        let above = index.div_ceil(PER_HASH_BLOCK * BLOCK as u64) + 1;
        self.tree += (hash_blocks.len() as u64 + above) * BLOCK as u64;
        self.in_squashfs_blocks += squashfs_blocks.len() as u64 * SQUASHFS_BLOCK;
    }
}

/// Digests of all blocks, the last one filled with zeros.
fn blocks(mut from: impl Read) -> Result<Vec<[u8; 32]>> {
    let mut digests = Vec::new();
    loop {
        let mut block = Vec::with_capacity(BLOCK);
        from.by_ref().take(BLOCK as u64).read_to_end(&mut block)?;
        if block.is_empty() {
            return Ok(digests);
        }
        block.resize(BLOCK, 0);
        digests.push(Sha256::digest(&block).into());
    }
}

/// The signature and its length, at the end of a bundle.
fn signature_bytes(path: &Path) -> Result<u64> {
    let mut file = File::open(path)?;
    file.seek(SeekFrom::End(-8))?;
    let mut length = [0; 8];
    file.read_exact(&mut length)?;
    Ok(u64::from_be_bytes(length) + 8)
}

fn part(path: &Path, range: &Range<u64>) -> Result<impl Read + use<>> {
    let mut file = File::open(path).with_context(|| format!("cannot open {}", path.display()))?;
    file.seek(SeekFrom::Start(range.start))?;
    Ok(std::io::BufReader::with_capacity(1 << 20, file).take(range.end - range.start))
}

#[cfg(test)]
mod tests {
    use super::Adaptive;

    #[test]
    fn a_block_is_fetched_once_and_zeros_never() {
        let mut figure = Adaptive {
            blocks: 0,
            indices: 0,
            tree: 0,
            in_squashfs_blocks: 0,
            bundle: 0,
        };
        let zero = super::blocks(&[0; 4096][..]).unwrap()[0];
        figure.add(&[[1; 32]], &[[1; 32], zero, [2; 32], [2; 32], [3; 32]]);
        assert_eq!(figure.blocks, 2 * 4096);
        assert_eq!(figure.indices, 5 * 32);
        assert_eq!(figure.in_squashfs_blocks, 128 * 1024);
    }
}
