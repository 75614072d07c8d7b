//! How much of a bundle would be downloaded, without writing anything.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use bundle::chunks::Step;
use bundle::source::ReadAt;

use super::at_hand::{Pace, scan};
use super::devices::{Active, Target};
use super::open::open;
use super::{SlotEngine, another_bundle, device, places, refused, sentence};
use crate::engine::{Access, EngineError, ManifestHash, Observer, Source};

impl SlotEngine {
    /// What an installation would fetch: what was fetched to find out, which it fetches too, and the ranges that it would
    /// ask a server for.
    pub(super) fn lacking(
        &self,
        (source, access): (&Source, &Access),
        hash: ManifestHash,
        observer: &dyn Observer,
        stop: &Arc<AtomicBool>,
    ) -> Result<u64, EngineError> {
        let opened = open(&self.root, source, access, stop)?;
        if ManifestHash(opened.bundle.manifest_hash()) != hash {
            return Err(another_bundle());
        }
        let target = Target::find(&self.root, &self.disk, self.running.inactive()).map_err(device)?;
        let active = Active::find(&self.root, &self.disk, self.running).map_err(device)?;
        let mut from_images = 0;
        let mut fetches = Vec::new();
        for place in places(&opened)? {
            let mut ranges = Vec::new();
            match &place.chunks {
                Some(wanted) => {
                    let slots = (&target, &active);
                    let found = scan(wanted, place.class, slots, Pace::Gentle, observer)?;
                    for step in found.plan.steps() {
                        if let Step::Fetch { offset, length } = *step {
                            ranges.push(offset..offset + length);
                        }
                    }
                }
                None => ranges.push(0..place.image.size),
            }
            from_images += ranges.iter().map(|range| range.end - range.start).sum::<u64>();
            fetches.push((place.image, ranges));
        }
        let Some(https) = &opened.https else {
            return Ok(from_images);
        };
        // Announced as an installation does it, so that blocks of packed files and of the hash tree count as well.
        let before = https.announced();
        for (image, ranges) in fetches {
            let file = opened.bundle.file(&image.filename);
            file.map_err(|e| refused(sentence("The bundle is refused", &e)))?
                .will_read(&ranges);
        }
        Ok(https.fetched() + https.announced().saturating_sub(before))
    }
}
