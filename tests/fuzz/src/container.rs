//! The parts of a bundle: chunk index, payload, the bundle as a whole.

use std::io;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use bundle::chunks::{ChunkIndex, IndexLimits, Plan, Seeds, Step, Target, execute};
use bundle::cms::UnixTime;
use bundle::container::{Bundle, Limits, raw_parts, read_cms};
use bundle::keyring::Keyring;
use bundle::manifest::FileName;
use bundle::payload::{Payload, PayloadLimits};
use bundle::source::ReadAt;
use sha2::{Digest, Sha256};

use crate::{accept, padded};

/// The root of the two bundles that are seeds. Its key and the signer's are thrown away.
const ROOT: &str = include_str!("bundles/container-root.pem");
/// What the seeds hold.
const FILES: [&str; 2] = ["boot.img", "rootfs.img"];
/// 2026-05-28, when the certificates are valid.
const NOW: UnixTime = UnixTime(1_780_000_000);
/// Plans for images up to this size are carried out.
const MAX_IMAGE: u64 = 256 << 10;
/// Bytes that are read of a file that is said to be larger.
const MAX_FILE: u64 = 256 << 10;
/// No payload of some KiB may make its reader fetch more: with 16 names, 64 blocks and one read of each file's beginning and end.
const MAX_READ: u64 = 64 << 20;

/// A `.chunks` file, the image and what a slot holds: two bytes length of the first, two of the second, then all three.
///
/// What parses writes to the same bytes; a plan covers the image without gaps; carried out, every chunk is what the index or
/// else the bundle says, and nothing outside of the image is written.
pub fn chunk_index(bytes: &[u8]) {
    let rest = bytes.get(4..).unwrap_or_default();
    let (index, rest) = split(rest, padded(bytes, 0));
    let (image, old) = split(rest, padded(bytes, 2));
    let Ok(index) = ChunkIndex::read(index, &IndexLimits { chunks: 4096 })
        .inspect(|parsed| assert_eq!(parsed.to_bytes(), index))
    else {
        return;
    };
    accept();
    let mut seeds = Seeds::new(&index);
    seeds.scan_target(&index, old).expect("slices can be read");
    seeds.scan_seed(&index, 0, image).expect("slices can be read");
    seeds.add_index(&index, 1, &index);
    let plan = Plan::new(&index, &seeds);
    let end = plan.steps().iter().fold(0, |at, step| {
        assert_eq!(step.offset(), at, "a gap in the plan");
        at + step.length()
    });
    assert_eq!(end, index.image_size());
    if end > MAX_IMAGE {
        return;
    }
    let fit = |bytes: &[u8]| {
        let mut fitted = bytes.to_vec();
        fitted.resize(end as usize, 0xa5);
        fitted
    };
    let (image, mut slot) = (fit(image), Slot(fit(old)));
    let seed: &[&dyn ReadAt] = &[&image, &image];
    let mut go = |_| ControlFlow::Continue(());
    let done = execute(&plan, &index, &mut slot, seed, &image, &mut go).expect("nothing of it can fail");
    assert_eq!(
        done.done,
        plan.steps()
            .last()
            .map_or(0, |step| step.offset() + step.length())
    );
    for chunk in index.chunks() {
        let range = chunk.offset as usize..chunk.offset as usize + chunk.length as usize;
        let is = &slot.0[range.clone()];
        assert!(
            Sha256::digest(is)[..] == chunk.digest[..] || *is == image[range],
            "a chunk is neither what the index nor what the bundle says"
        );
    }
    if let Some(Step::Tree { offset, length }) = plan.steps().last() {
        assert!(offset + length == end && length.is_multiple_of(4096));
    }
}

fn split(bytes: &[u8], length: [u8; 2]) -> (&[u8], &[u8]) {
    bytes.split_at(usize::from(u16::from_le_bytes(length)).min(bytes.len()))
}

/// A slot of exactly the image's size.
struct Slot(Vec<u8>);

impl Target for Slot {
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }

    fn write_all_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).expect("a place outside of the slot");
        let place = self
            .0
            .get_mut(start..)
            .and_then(|rest| rest.get_mut(..bytes.len()));
        place.expect("a write outside of the slot").copy_from_slice(bytes);
        Ok(())
    }
}

/// A squashfs: whatever is in it, reading it ends soon, reads little and gives as many bytes as the file is said to have.
pub fn bundle_payload(bytes: &[u8]) {
    let counted = Counted {
        bytes,
        read: AtomicU64::new(0),
    };
    let limits = PayloadLimits {
        names: 16,
        blocks: 64,
    };
    let Ok(payload) = Payload::open(counted, &limits) else {
        return;
    };
    accept();
    assert!(payload.files().count() <= limits.names);
    let names: Vec<FileName> = payload.files().map(|(name, _)| name.clone()).collect();
    for name in names {
        let file = payload.file(&name).expect("a name that was listed");
        let size = file.size();
        // Blocks of zeros are not stored: 64 of 1 MiB are the most that the limit allows, and the end of a file.
        assert!(size <= 65 << 20, "{size} bytes");
        file.will_read(&[0..size, size..u64::MAX]);
        let part = size.min(MAX_FILE);
        let mut buf = vec![0; part as usize];
        let _ = file.read_exact_at(&mut buf, 0);
        let _ = file.read_exact_at(&mut buf, size - part);
        let _ = file.read_exact_at(&mut buf[..(part / 3) as usize], size / 2);
        assert!(
            file.read_exact_at(&mut [0], size).is_err(),
            "a byte behind the end"
        );
    }
    let read = payload.data().read.load(Ordering::Relaxed);
    assert!(read <= MAX_READ, "{read} bytes were read");
}

/// Counts what is asked for.
struct Counted<'a> {
    bytes: &'a [u8],
    read: AtomicU64,
}

impl ReadAt for Counted<'_> {
    fn size(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.read.fetch_add(buf.len() as u64, Ordering::Relaxed);
        self.bytes.read_exact_at(buf, offset)
    }

    fn will_read(&self, ranges: &[std::ops::Range<u64>]) {
        for range in ranges {
            assert!(range.start <= range.end && range.end <= self.size(), "{range:?}");
        }
    }
}

/// A whole bundle: nobody can sign another, so one that opens has the seeds' files, and each is either as its manifest says
/// or cannot be read.
pub fn bundle_container(bytes: &[u8]) {
    if let Ok(parts) = raw_parts(bytes) {
        assert!(parts.payload.end == parts.cms.start && parts.cms.end + 8 == bytes.len() as u64);
        let cms = read_cms(bytes, &parts).expect("the parts are inside");
        assert_eq!(cms.len() as u64, parts.cms.end - parts.cms.start);
    }
    let keyring = Keyring::from_pem(ROOT).expect("the test keyring must be readable");
    let source = bytes.to_vec();
    let Ok(bundle) = Bundle::open(source, &keyring, NOW, Limits::default()) else {
        return;
    };
    accept();
    let manifest = bundle.manifest();
    let mut names: Vec<&str> = manifest
        .images
        .iter()
        .map(|image| image.filename.as_str())
        .collect();
    names.sort_unstable();
    assert_eq!(names, FILES);
    assert_eq!(manifest.compatible, "hearth-fuzz");
    let whole = bundle.verify_payload(&mut |_, _| {}).is_ok();
    for image in &manifest.images {
        match bundle.hash_image(image, &mut |_, _| {}) {
            Ok(hash) => assert_eq!(hash, image.sha256, "verified bytes are not what was signed"),
            Err(_) => assert!(!whole, "a whole payload cannot be read"),
        }
    }
}
