//! Reads bundles and writes the inactive slot: the real [`Engine`].

mod at_hand;
mod blame;
pub mod devices;
mod estimate;
pub mod https;
pub mod open;
mod slot_file;
mod usb;

#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod tests;

use std::io;
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use boot_state::{Inactive, Running};
use bundle::chunks::{self, ChunkIndex, ExecuteError, IndexLimits, Target as _};
use bundle::manifest::{FileName, Format, Image};
use bundle::source::ReadAt;
use os_io::root::Root;
use ring::digest::{Context, SHA256};

use at_hand::{AtHand, Pace};
use devices::{Active, CLASSES, DeviceError, Target};
use open::{Opened, chain, damaged, open, reading, refused, sentence};
use slot_file::{Medium, Region, SlotFile, hash_medium};

use crate::engine::{
    Access, BundleInfo, Engine, EngineError, EngineErrorKind, EngineProgress, ImageInfo, Job, ManifestHash,
    Observer, Source, Written, WrittenImage,
};

/// Ending of an image's chunk index in a bundle.
const CHUNKS: &str = ".chunks";
/// Copied at once where there is no index.
const PIECE: usize = 256 * 1024;

/// The engine for the disk that booted.
#[derive(Debug, Clone)]
pub struct SlotEngine {
    root: Root,
    disk: PathBuf,
    running: Running,
}

impl SlotEngine {
    /// `disk` is the whole-disk node from the facts of this boot.
    pub fn new(root: Root, disk: impl Into<PathBuf>, running: Running) -> Self {
        Self {
            root,
            disk: disk.into(),
            running,
        }
    }

    fn target(&self, slot: Inactive) -> Result<Target, EngineError> {
        if slot != self.running.inactive() {
            return Err(storage("the slot to be written is not the inactive one", None));
        }
        Target::find(&self.root, &self.disk, slot).map_err(device)
    }
}

impl Engine for SlotEngine {
    fn inspect(&self, source: &Source, access: &Access) -> Result<BundleInfo, EngineError> {
        let opened = open(&self.root, source, access, &Arc::default())?;
        Ok(info(&opened))
    }

    fn stream(&self, job: &Job, observer: &dyn Observer) -> Result<Written, EngineError> {
        stoppable(observer, |stop| self.stream_images(job, observer, stop))
    }

    fn estimate(
        &self,
        source: &Source,
        access: &Access,
        hash: ManifestHash,
        observer: &dyn Observer,
    ) -> Result<u64, EngineError> {
        stoppable(observer, |stop| {
            self.lacking((source, access), hash, observer, stop)
        })
    }

    fn read_back(&self, job: &Job, written: &Written, observer: &dyn Observer) -> Result<(), EngineError> {
        let target = self.target(job.target)?;
        let total_bytes = written.images.iter().map(|i| i.size_bytes).sum();
        let mut before = 0;
        for image in &written.images {
            let path = target
                .path(&image.class)
                .ok_or_else(|| storage("an unknown image was written", None))?;
            let found = hash_medium(&mut Medium::new(path, image.size_bytes), &mut |done| {
                observer.progressed(EngineProgress {
                    done_bytes: before + done,
                    total_bytes,
                    fetched_bytes: 0,
                });
                if observer.should_stop() {
                    return Err(EngineError::stopped());
                }
                Ok(())
            })?;
            if ManifestHash(found).to_string() != image.sha256 {
                let error = stoppable(observer, |stop| {
                    let opened = open(&self.root, &job.source, &job.access, stop)?;
                    blame::judge(&opened, &image.class, path)
                })
                .unwrap_or_else(|error| match error.kind {
                    EngineErrorKind::Stopped => error,
                    // Without the bundle nothing speaks for the disk.
                    _ => blame::worn_out(path),
                });
                // What is on the slot now must not start.
                return match open_for_writing(&target, "boot").map(SlotFile::without_header) {
                    Ok(Ok(_)) => Err(error),
                    Ok(Err(source)) => Err(storage("the slot cannot be written", Some(source.into()))),
                    Err(device) => Err(device),
                };
            }
            before += image.size_bytes;
        }
        Ok(())
    }
}

/// Somebody put another one there.
fn another_bundle() -> EngineError {
    refused("The bundle was replaced by another one meanwhile; ask for the update again.")
}

/// Runs what may wait for a network; such a wait ends soon after the observer says so.
fn stoppable<T>(
    observer: &dyn Observer,
    run: impl FnOnce(&Arc<AtomicBool>) -> Result<T, EngineError>,
) -> Result<T, EngineError> {
    let stop = Arc::new(AtomicBool::new(false));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                if observer.should_stop() {
                    stop.store(true, Ordering::Relaxed);
                    return;
                }
                std::thread::sleep(Duration::from_millis(100));
            }
        });
        let result = run(&stop);
        done.store(true, Ordering::Relaxed);
        match result {
            Err(_) if observer.should_stop() => Err(EngineError::stopped()),
            other => other,
        }
    })
}

/// One image, with the partition it goes to.
struct Place<'a> {
    image: &'a Image,
    class: &'static str,
    chunks: Option<ChunkIndex>,
}

/// The images for our slots, the root first: the boot payload leads to it.
fn places(opened: &Opened) -> Result<Vec<Place<'_>>, EngineError> {
    let manifest = opened.bundle.manifest();
    if manifest.hooks.is_some() || manifest.images.iter().any(|i| !i.hooks.is_empty()) {
        return Err(refused(
            "The bundle has hooks: programs of its own that would run on this box. This box never runs them; make the \
             bundle without.",
        ));
    }
    if manifest.handler.is_some() {
        return Err(refused(
            "The bundle has a handler: a program of its own that would install it. This box never runs one; make the \
             bundle without.",
        ));
    }
    for image in &manifest.images {
        if let Some(artifact) = &image.artifact {
            return Err(refused(format!(
                "The bundle has an artifact, {}/{artifact}; this box takes images for rootfs and boot only.",
                image.class
            )));
        }
        if let Some(variant) = &image.variant {
            return Err(refused(format!(
                "The bundle has an image for {} of the variant \"{variant}\"; this box has no variants.",
                image.class
            )));
        }
        if !CLASSES.iter().any(|(name, _)| *name == image.class) {
            return Err(refused(format!(
                "The bundle has an image for \"{}\", which this box does not have; it has rootfs and boot.",
                image.class
            )));
        }
        if !is_raw(image) {
            return Err(refused(format!(
                "The image {} is an archive or of an unknown type; this box takes images of whole partitions (type=raw).",
                image.filename.as_str()
            )));
        }
    }
    CLASSES
        .iter()
        .map(|(class, _)| {
            let mut found = manifest.images.iter().filter(|i| i.class == *class);
            match (found.next(), found.next()) {
                (Some(image), None) => Ok(Place {
                    image,
                    class,
                    chunks: index(opened, image)?,
                }),
                (None, _) => Err(refused(format!(
                    "The bundle has no image for {class}; both slots' parts must be renewed together."
                ))),
                (Some(_), Some(_)) => Err(refused(format!("The bundle has two images for {class}."))),
            }
        })
        .collect()
}

/// Whether an image is written as it is. Without a type the name says it, as in RAUC: `.tar`, `.tar.gz`, `.caibx` …
fn is_raw(image: &Image) -> bool {
    match image.image_type.as_deref() {
        Some(named) => named == "raw",
        None => {
            let name = image.filename.as_str();
            let archive = [".tar", ".catar", ".caibx", ".caidx"];
            !name.contains(".tar.") && !archive.iter().any(|ending| name.ends_with(ending))
        }
    }
}

/// What is reported while several images are written one after the other.
struct Meter<'a> {
    observer: &'a dyn Observer,
    opened: &'a Opened,
    total: u64,
    before: u64,
    fetched_before: u64,
}

impl Meter<'_> {
    fn report(&self, done: u64, fetched: u64) -> ControlFlow<()> {
        self.observer.progressed(EngineProgress {
            done_bytes: self.before + done,
            total_bytes: self.total,
            fetched_bytes: self.fetched(fetched),
        });
        if self.observer.should_stop() {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    }

    fn fetched(&self, fetched: u64) -> u64 {
        self.opened
            .https
            .as_ref()
            .map_or(self.fetched_before + fetched, |https| https.fetched())
    }
}

impl SlotEngine {
    fn stream_images(
        &self,
        job: &Job,
        observer: &dyn Observer,
        stop: &Arc<AtomicBool>,
    ) -> Result<Written, EngineError> {
        let opened = open(&self.root, &job.source, &job.access, stop)?;
        if ManifestHash(opened.bundle.manifest_hash()) != job.manifest_hash {
            return Err(another_bundle());
        }
        let target = self.target(job.target)?;
        let active = Active::find(&self.root, &self.disk, self.running).map_err(device)?;
        let places = places(&opened)?;
        for place in &places {
            let path = target
                .path(place.class)
                .map(ToOwned::to_owned)
                .unwrap_or_default();
            let file = std::fs::File::open(&path).and_then(|f| Region::new(f, u64::MAX));
            let room = file
                .map_err(|e| storage("the size of a slot cannot be read", Some(e.into())))?
                .size();
            if place.image.size > room {
                return Err(refused(format!(
                    "The image {} has {} bytes; the slot has room for {room}.",
                    place.image.filename.as_str(),
                    place.image.size
                )));
            }
        }
        let mut meter = Meter {
            observer,
            opened: &opened,
            total: places.iter().map(|p| p.image.size).sum(),
            before: 0,
            fetched_before: 0,
        };
        // Before anything else the header of the slot's boot payload goes; the new one comes when all else is there.
        let unwritable = |e: io::Error| storage("the slot cannot be written", Some(e.into()));
        let mut boot = SlotFile::without_header(open_for_writing(&target, "boot")?).map_err(unwritable)?;
        let mut written = Written::default();
        for place in &places {
            let mut other;
            let file = if place.class == "boot" {
                &mut boot
            } else {
                other = SlotFile::new(open_for_writing(&target, place.class)?);
                &mut other
            };
            let fetched = self.write_image(&opened, place, file, (&target, &active), &meter)?;
            file.flush().map_err(unwritable)?;
            meter.before += place.image.size;
            meter.fetched_before += fetched;
            written.images.push(WrittenImage {
                class: place.class.into(),
                sha256: ManifestHash(place.image.sha256).to_string(),
                size_bytes: place.image.size,
            });
        }
        boot.release_header().map_err(unwritable)?;
        written.fetched_bytes = meter.fetched(0);
        Ok(written)
    }

    /// Returns the bytes that came from the bundle.
    fn write_image(
        &self,
        opened: &Opened,
        place: &Place<'_>,
        file: &mut SlotFile,
        (target, active): (&Target, &Active),
        meter: &Meter<'_>,
    ) -> Result<u64, EngineError> {
        let image = opened
            .bundle
            .file(&place.image.filename)
            .map_err(|e| refused(sentence("The bundle is refused", &e)))?;
        match &place.chunks {
            Some(wanted) => {
                let slots = (target, active);
                let AtHand { plan, running } =
                    at_hand::scan(wanted, place.class, slots, Pace::Swift, meter.observer)?;
                tracing::info!(class = place.class, totals = ?plan.totals(), "planned");
                let done = chunks::execute(&plan, wanted, file, &[&running], &image, &mut |p| {
                    meter.report(p.done, p.fetched)
                })
                .map_err(execute_error)?;
                Ok(done.fetched)
            }
            None => copy(&image, place.image, file, meter),
        }
    }
}

/// Where the chunk index of our own bundles is; foreign ones have none.
fn index(opened: &Opened, image: &Image) -> Result<Option<ChunkIndex>, EngineError> {
    let Ok(name) = FileName::new(&format!("{}{CHUNKS}", image.filename.as_str())) else {
        return Ok(None);
    };
    let Ok(file) = opened.bundle.file(&name) else {
        return Ok(None);
    };
    file.will_read(std::slice::from_ref(&(0..file.size())));
    let index = ChunkIndex::read(&file, &IndexLimits::default()).map_err(|error| {
        let kind = match &error {
            chunks::IndexError::Read(source) => reading(source),
            _ => EngineErrorKind::Refused,
        };
        let sentence = match (&error, kind) {
            (chunks::IndexError::Read(source), EngineErrorKind::Refused) => damaged(source),
            (_, EngineErrorKind::Refused) => {
                sentence(&format!("The bundle is refused: {}", name.as_str()), &error)
            }
            _ => sentence("The bundle cannot be read", &error),
        };
        EngineError {
            kind,
            sentence,
            source: None,
        }
    })?;
    if index.image_size() != image.size {
        return Err(refused(format!(
            "The bundle is refused: {} is of an image of another size.",
            name.as_str()
        )));
    }
    Ok(Some(index))
}

/// The whole image, in order.
fn copy<R: ReadAt>(
    image: &R,
    signed: &Image,
    file: &mut SlotFile,
    meter: &Meter<'_>,
) -> Result<u64, EngineError> {
    let size = image.size();
    let mut hash = Context::new(&SHA256);
    image.will_read(std::slice::from_ref(&(0..size)));
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    while at < size {
        let length = usize::try_from(size - at).map_or(PIECE, |left| left.min(PIECE));
        let piece = &mut piece[..length];
        image.read_exact_at(piece, at).map_err(|source| {
            execute_error(ExecuteError::Fetch {
                offset: at,
                length: length as u64,
                source,
            })
        })?;
        hash.update(piece);
        file.write_all_at(piece, at)
            .map_err(|source| execute_error(ExecuteError::Write { offset: at, source }))?;
        at += length as u64;
        if meter.report(at, at).is_break() {
            return Err(EngineError::stopped());
        }
    }
    if hash.finish().as_ref() != signed.sha256 {
        return Err(blame::not_as_signed(signed));
    }
    Ok(size)
}

fn open_for_writing(target: &Target, class: &str) -> Result<std::fs::File, EngineError> {
    target.open(class).ok_or_else(no_partition)?.map_err(device)
}

fn no_partition() -> EngineError {
    storage("this disk has no slots", None)
}

fn device(error: DeviceError) -> EngineError {
    storage(&chain(&error), None)
}

fn storage(what: &str, source: Option<Box<dyn std::error::Error + Send + Sync>>) -> EngineError {
    let why = source
        .as_ref()
        .map(|e| format!(" ({})", chain(&**e)))
        .unwrap_or_default();
    EngineError {
        kind: EngineErrorKind::Storage,
        sentence: format!("The update cannot be written: {what}{why}."),
        source,
    }
}

fn execute_error(error: ExecuteError) -> EngineError {
    match &error {
        ExecuteError::Stopped => EngineError::stopped(),
        ExecuteError::Fetch { source, .. } => match reading(source) {
            EngineErrorKind::Stopped => EngineError::stopped(),
            kind => EngineError {
                kind,
                sentence: match kind {
                    EngineErrorKind::Refused => damaged(source),
                    _ => sentence("The download stopped", &error),
                },
                source: Some(Box::new(error)),
            },
        },
        _ => storage(&chain(&error), None),
    }
}

fn info(opened: &Opened) -> BundleInfo {
    let bundle = &opened.bundle;
    let manifest = bundle.manifest();
    let hex = |bytes: [u8; 32]| ManifestHash(bytes).to_string();
    let tree = manifest.format.tree();
    BundleInfo {
        compatible: manifest.compatible.clone(),
        version: manifest.version.clone(),
        description: manifest.description.clone(),
        build: manifest.build.clone(),
        size_bytes: bundle.size(),
        manifest_hash: ManifestHash(bundle.manifest_hash()),
        format: match manifest.format {
            Format::Verity(_) => "verity".into(),
            Format::Crypt { .. } => "crypt".into(),
        },
        verity_hash: hex(tree.root),
        verity_salt: hex(tree.salt),
        verity_size: tree.size,
        signer: bundle.signer().subject.clone(),
        images: manifest
            .images
            .iter()
            .map(|image| ImageInfo {
                class: image.class.clone(),
                variant: image.variant.clone(),
                filename: image.filename.as_str().into(),
                image_type: image.image_type.clone(),
                sha256: hex(image.sha256),
                size_bytes: image.size,
                hooks: Vec::new(),
                adaptive: image.adaptive.clone(),
            })
            .collect(),
        meta: manifest.meta.clone(),
    }
}
