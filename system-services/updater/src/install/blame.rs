//! Whose fault it is that a slot does not hold what the manifest says: the disk's, or the bundle's.

use std::io::{self, Read};
use std::path::Path;

use bundle::chunks::ChunkIndex;
use bundle::manifest::Image;
use bundle::source::ReadAt;
use bundle::verity::TreeBuilder;
use ring::digest::{SHA256, digest};

use super::open::{Opened, refused};
use super::slot_file::Medium;
use super::{index, storage};
use crate::engine::EngineError;

/// A bundle that was made wrong.
pub fn not_as_signed(image: &Image) -> EngineError {
    refused(format!(
        "The bundle was made wrong: {} is not what its manifest says (SHA-256). It is refused; get another one.",
        image.filename.as_str()
    ))
}

/// A disk that does not keep what is written to it.
pub fn worn_out(path: &Path) -> EngineError {
    let path = path.display();
    let what = format!("{path} does not keep what is written to it: the disk is worn out or damaged");
    storage(&what, None)
}

/// Compares the medium with the signed index and, where that differs, with the bundle's own bytes. When the medium has
/// what it was told to keep, then index, image and manifest contradict each other. Few bytes are fetched.
///
/// Without an index nothing speaks for the disk: such an image was hashed while it was copied.
pub fn judge(opened: &Opened, class: &str, path: &Path) -> Result<EngineError, EngineError> {
    let mut images = opened.bundle.manifest().images.iter();
    let Some(image) = images.find(|image| image.class == class) else {
        return Ok(worn_out(path));
    };
    let (Some(wanted), Ok(file)) = (index(opened, image)?, opened.bundle.file(&image.filename)) else {
        return Ok(worn_out(path));
    };
    let kept = keeps(&wanted, &file, Medium::new(path, image.size)).unwrap_or(false);
    Ok(if kept {
        not_as_signed(image)
    } else {
        worn_out(path)
    })
}

fn keeps(wanted: &ChunkIndex, image: &dyn ReadAt, mut medium: impl Read) -> io::Result<bool> {
    let mut builder = wanted.tree().map(|tail| TreeBuilder::new(tail.salt));
    let (mut found, mut signed) = (Vec::new(), Vec::new());
    for chunk in wanted.chunks() {
        found.resize(chunk.length as usize, 0);
        medium.read_exact(&mut found)?;
        if digest(&SHA256, &found).as_ref() != chunk.digest {
            signed.resize(found.len(), 0);
            image.read_exact_at(&mut signed, chunk.offset)?;
            if found != signed {
                return Ok(false);
            }
        }
        if let Some(builder) = &mut builder {
            builder.update(&found);
        }
    }
    found.clear();
    medium.read_to_end(&mut found)?;
    Ok(match builder {
        Some(builder) => builder.finish().is_ok_and(|tree| tree.tree == found),
        None => found.is_empty(),
    })
}
