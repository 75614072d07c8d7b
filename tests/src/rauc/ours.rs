//! Bundles of our own writer, for programs of the RAUC project.

use std::fs;
use std::io::Cursor;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use bundle::cms::UnixTime;
use bundle::manifest::{FileName, Template, TemplateImage};
use bundle::sign::{SigningIdentity, sign};
use bundle::write::{Chunks, Input, write};

use super::Pki;

/// What goes into a bundle of ours.
#[derive(Debug, Clone)]
pub struct OurBundle {
    /// `compatible` of the manifest.
    pub compatible: String,
    /// `version` of the manifest.
    pub version: String,
    /// The image for the slot class `rootfs`.
    pub root: Vec<u8>,
    /// The image for the slot class `boot`.
    pub boot: Vec<u8>,
}

impl OurBundle {
    /// Some hundred kilobytes without any repetition, other ones for every `seed`.
    pub fn small(compatible: &str, version: &str, seed: u64) -> Self {
        Self {
            compatible: compatible.into(),
            version: version.into(),
            root: noise(2 * seed + 1, 600 << 10),
            boot: noise(2 * seed + 2, 96 << 10),
        }
    }

    /// The bundle, with chunk indices and adaptive ones, signed by the leaf of `pki` now.
    ///
    /// # Errors
    /// When the keys cannot be read.
    pub fn make(&self, pki: &Pki) -> Result<Vec<u8>> {
        let images = [
            ("rootfs", "root.img", &self.root),
            ("boot", "boot.img", &self.boot),
        ];
        let name = |file: &str| FileName::new(file).context("no name");
        let template = Template {
            compatible: self.compatible.clone(),
            version: Some(self.version.clone()),
            description: Some(format!("What is new in {}.", self.version)),
            build: Some("20260801".into()),
            images: images
                .iter()
                .map(|(class, file, _)| Ok(TemplateImage::new(class, name(file)?)))
                .collect::<Result<_>>()?,
            meta: [("hearth".into(), [("notes".into(), "none".into())].into())].into(),
            ..Template::default()
        };
        let inputs = images
            .iter()
            .map(|(_, file, bytes)| {
                Ok(Input {
                    name: name(file)?,
                    content: Box::new(bytes.as_slice()),
                    size: bytes.len() as u64,
                    block_hash_index: true,
                    chunks: Some(Chunks::default()),
                })
            })
            .collect::<Result<_>>()?;
        let chain = fs::read_to_string(&pki.leaf)? + &fs::read_to_string(&pki.intermediate)?;
        let identity = SigningIdentity::from_pem(&fs::read_to_string(&pki.leaf_key)?, &chain)?;
        let now = UnixTime(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs());
        let mut out = Cursor::new(Vec::new());
        write(
            template,
            inputs,
            None,
            |manifest| sign(manifest, &identity, now),
            &mut out,
        )?;
        Ok(out.into_inner())
    }
}

/// xorshift64.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}
