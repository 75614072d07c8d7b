//! What the box does when it is switched on with a disk: the code that runs on the device decides.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use anyhow::{Context, Result, bail, ensure};
use boot_manager::{Disk, DiskError, Kernel, Key, Platform, run};
use boot_state::{Bootstate, COPY_OFFSETS, SECTOR_LEN, Slot, State};
use bundle::source::ReadAt;
use bundle::verity::{VerifiedReader, Verity, tree_size};
use disk_layout::SECTOR;

use super::image::{Image, part};

/// What stands in some parts of the disk, by [`Image::contents`].
type Contents = Vec<u128>;

/// Boots that are walked from every state: both slots' tries, and healing.
const WALK: usize = 8;

/// One boot.
#[derive(Debug, Clone)]
struct Boot {
    slot: Slot,
    version: String,
    /// What the boot manager read.
    reads: u8,
    next: State,
    root: Verity,
}

/// What happens on a disk, boot after boot, when no system ever marks itself good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Walk {
    /// The slot and version of each boot.
    pub boots: Vec<(Slot, String)>,
    /// What of the disk decided that.
    pub reads: u8,
}

/// How much work it was.
#[derive(Debug, Clone, Copy, Default)]
pub struct Counts {
    /// Disks for which both copies of the boot state were loaded and a walk was made or known.
    pub decided: u64,
    /// Whole runs of the boot manager: table, state, signature, hashes, unpacking.
    pub runs: u64,
    /// Root slots read as a whole against their hash tree.
    pub roots: u64,
}

/// Decides for disk after disk. What was decided for the same bytes is not done again: the boot manager has no other input.
pub struct Decider {
    key: Key,
    /// By table and state: the boots, each with the contents of what it read.
    known: BTreeMap<(Contents, String), Vec<(Contents, Boot)>>,
    whole_roots: BTreeSet<(u8, Contents, String)>,
    counts: Counts,
}

impl Decider {
    /// With the key that the image's boot manager has.
    pub fn new(key: Key) -> Self {
        Self {
            key,
            known: BTreeMap::new(),
            whole_roots: BTreeSet::new(),
            counts: Counts::default(),
        }
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// The boots from this disk. An error: a boot that starts nothing, or a system that is not whole.
    pub fn walk(&mut self, image: &Image) -> Result<Walk> {
        self.counts.decided += 1;
        let mut view = View {
            image,
            state_at: image.state_at(),
            written: BTreeMap::new(),
            reads: Cell::new(0),
        };
        let (mut boots, mut reads) = (vec![], part::TABLE | part::STATE);
        for number in 0..WALK {
            let boot = self
                .boot(&mut view)
                .with_context(|| format!("boot {number} from here"))?;
            let root = part::ROOT[index(boot.slot)];
            self.check_root(image, root, &boot.root)
                .with_context(|| format!("boot {number} from here starts slot {}", boot.slot))?;
            reads |= boot.reads | root;
            boots.push((boot.slot, boot.version));
        }
        Ok(Walk { boots, reads })
    }

    /// Switches the box on, and pulls the plug once the kernel runs.
    fn boot(&mut self, view: &mut View<'_>) -> Result<Boot> {
        let store = view.boot_state()?;
        // The boot manager sees the copies only through `Bootstate::load`; their number goes to the kernel and decides nothing.
        let key = (
            view.image.contents(part::TABLE),
            format!("{:?} {}", store.state(), store.is_default()),
        );
        let known = self.known.get(&key).and_then(|all| {
            let same = |(contents, boot): &&(Contents, Boot)| view.image.contents(boot.reads) == *contents;
            all.iter().find(same)
        });
        if let Some((_, boot)) = known {
            let boot = boot.clone();
            let write = store.prepare(boot.next);
            view.written.insert(
                ((view.state_at + write.offset() as usize) / SECTOR) as u64,
                write.bytes(),
            );
            return Ok(boot);
        }
        self.counts.runs += 1;
        view.reads.set(0);
        let mut platform = Console::default();
        let slot = match run(view, &mut platform, &self.key) {
            Ok(slot) => slot,
            Err(stuck) => bail!("the boot manager is stuck: {stuck}; it said: {:?}", platform.said),
        };
        let boot = Boot {
            slot,
            version: word(&platform.command_line, "hearth.version")?.into(),
            // The state is part of the key.
            reads: view.reads.get() & !part::STATE,
            next: view.boot_state()?.state(),
            root: root(&platform.command_line)?,
        };
        let contents = view.image.contents(boot.reads);
        self.known.entry(key).or_default().push((contents, boot.clone()));
        Ok(boot)
    }

    /// Every block of the root against its tree, and the tree against the hash on the signed command line.
    fn check_root(&mut self, image: &Image, root: u8, verity: &Verity) -> Result<()> {
        let key = (root, image.contents(root), format!("{verity:?}"));
        if self.whole_roots.contains(&key) {
            return Ok(());
        }
        self.counts.roots += 1;
        let name = if root == part::ROOT[0] { "root-a" } else { "root-b" };
        let start = image.partition(name)?.start;
        let len = (verity.data_size + tree_size(verity.data_size)?) as usize;
        let reader = VerifiedReader::new(image.bytes()[start..start + len].to_vec(), *verity)?;
        reader
            .verify_tree()
            .with_context(|| format!("{name} is not whole"))?;
        let mut buffer = vec![0; 1 << 20];
        for at in (0..verity.data_size).step_by(buffer.len()) {
            let len = (verity.data_size - at).min(buffer.len() as u64) as usize;
            reader
                .read_exact_at(&mut buffer[..len], at)
                .with_context(|| format!("{name} is not whole"))?;
        }
        self.whole_roots.insert(key);
        Ok(())
    }
}

/// 0 for a, 1 for b.
fn index(slot: Slot) -> usize {
    usize::from(slot == Slot::B)
}

fn word<'a>(line: &'a str, key: &str) -> Result<&'a str> {
    line.split(' ')
        .find_map(|w| w.strip_prefix(key)?.strip_prefix('='))
        .with_context(|| format!("no {key} on the command line {line:?}"))
}

fn root(line: &str) -> Result<Verity> {
    let blocks: u64 = word(line, "hearth.root-blocks")?.parse()?;
    Ok(Verity {
        root: digest(word(line, "hearth.root-hash")?)?,
        salt: digest(word(line, "hearth.root-salt")?)?,
        data_size: blocks * 4096,
    })
}

fn digest(text: &str) -> Result<[u8; 32]> {
    ensure!(
        text.len() == 64 && text.is_ascii(),
        "{text:?} has no 64 hexadecimal digits"
    );
    let mut out = [0; 32];
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[at * 2..at * 2 + 2], 16)?;
    }
    Ok(out)
}

/// The disk as the boot manager sees it; what it writes is not in the image.
struct View<'a> {
    image: &'a Image,
    state_at: usize,
    written: BTreeMap<u64, [u8; SECTOR_LEN]>,
    reads: Cell<u8>,
}

impl View<'_> {
    fn boot_state(&self) -> Result<Bootstate> {
        let copy = |offset: u64| -> Result<[u8; SECTOR_LEN]> {
            let at = self.state_at + offset as usize;
            let written = self.written.get(&((at / SECTOR) as u64)).copied();
            let on_disk = || self.image.bytes()[at..].first_chunk().copied();
            written.or_else(on_disk).context("no room for the boot state")
        };
        Ok(Bootstate::load([
            &copy(COPY_OFFSETS[0])?,
            &copy(COPY_OFFSETS[1])?,
        ]))
    }
}

impl Disk for View<'_> {
    fn sectors(&self) -> u64 {
        (self.image.bytes().len() / SECTOR) as u64
    }

    fn read(&mut self, lba: u64, into: &mut [u8]) -> Result<(), DiskError> {
        let at = lba as usize * SECTOR;
        let from = self.image.bytes().get(at..at + into.len());
        into.copy_from_slice(from.ok_or(DiskError { lba })?);
        for (sector, bytes) in self.written.range(lba..lba + into.len().div_ceil(SECTOR) as u64) {
            let place = (sector - lba) as usize * SECTOR;
            into[place..place + SECTOR].copy_from_slice(bytes);
        }
        let parts = self.image.parts_of(at as u64..(at + into.len()) as u64);
        self.reads.set(self.reads.get() | parts);
        Ok(())
    }

    fn write(&mut self, lba: u64, from: &[u8]) -> Result<(), DiskError> {
        // It writes the boot state, one sector at a time, and nothing else.
        let sector = from.first_chunk().filter(|_| from.len() == SECTOR);
        let inside = self.image.parts_of(lba * 512..(lba + 1) * 512) == part::STATE;
        let sector = sector.filter(|_| inside).ok_or(DiskError { lba })?;
        self.written.insert(lba, *sector);
        Ok(())
    }

    fn flush(&mut self) -> Result<(), DiskError> {
        Ok(())
    }
}

/// A firmware that starts every kernel, and remembers its command line.
#[derive(Default)]
struct Console {
    said: Vec<String>,
    command_line: String,
}

impl Platform for Console {
    type StartError = &'static str;

    fn say(&mut self, line: fmt::Arguments<'_>) {
        self.said.push(line.to_string());
    }

    fn start(&mut self, kernel: Kernel) -> Result<(), &'static str> {
        if !kernel.image.as_slice().starts_with(b"MZ") {
            return Err("this is no EFI application");
        }
        self.command_line = kernel.command_line;
        Ok(())
    }
}
