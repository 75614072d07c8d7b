//! A manifest without hashes and sizes: the input of a bundle.

use std::collections::BTreeMap;

use super::{FileName, Format, Handler, Hooks, Image, ImageHook, Manifest, ManifestError, parse};

/// What a person or a build says about a bundle that is to be made.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    /// See [`Manifest::compatible`].
    pub compatible: String,
    /// See [`Manifest::version`].
    pub version: Option<String>,
    /// See [`Manifest::description`].
    pub description: Option<String>,
    /// See [`Manifest::build`].
    pub build: Option<String>,
    /// See [`Manifest::min_rauc_version`].
    pub min_rauc_version: Option<String>,
    /// See [`Manifest::handler`].
    pub handler: Option<Handler>,
    /// See [`Manifest::hooks`].
    pub hooks: Option<Hooks>,
    /// The images, in the order they shall have.
    pub images: Vec<TemplateImage>,
    /// See [`Manifest::meta`].
    pub meta: BTreeMap<String, BTreeMap<String, String>>,
}

/// An [`Image`] whose file was not measured yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TemplateImage {
    /// See [`Image::class`].
    pub class: String,
    /// See [`Image::variant`].
    pub variant: Option<String>,
    /// See [`Image::artifact`].
    pub artifact: Option<String>,
    /// See [`Image::filename`].
    pub filename: FileName,
    /// See [`Image::image_type`].
    pub image_type: Option<String>,
    /// See [`Image::hooks`].
    pub hooks: Vec<ImageHook>,
    /// See [`Image::adaptive`].
    pub adaptive: Vec<String>,
    /// See [`Image::convert`].
    pub convert: Vec<String>,
}

/// What is found out about a file of the bundle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Measured {
    /// SHA-256 of the file.
    pub sha256: [u8; 32],
    /// Bytes of the file.
    pub size: u64,
}

impl TemplateImage {
    /// An image for the slots of `class`, with nothing optional.
    pub fn new(class: &str, filename: FileName) -> Self {
        Self {
            class: class.to_owned(),
            variant: None,
            artifact: None,
            filename,
            image_type: None,
            hooks: Vec::new(),
            adaptive: Vec::new(),
            convert: Vec::new(),
        }
    }

    fn complete(self, measured: Measured) -> Image {
        Image {
            class: self.class,
            variant: self.variant,
            artifact: self.artifact,
            filename: self.filename,
            sha256: measured.sha256,
            size: measured.size,
            image_type: self.image_type,
            hooks: self.hooks,
            adaptive: self.adaptive,
            convert: self.convert,
            converted: Vec::new(),
        }
    }
}

impl Template {
    /// Reads a manifest that is the input of a bundle; hashes, sizes and tree in it are refused by name, because they
    /// would be replaced. `format=verity`, `crypt` or nothing: the maker of the bundle decides.
    pub fn parse(text: &[u8]) -> Result<Self, ManifestError> {
        parse::template(text)
    }

    /// The manifest of the bundle. `measure` is asked once for each image, in order; `None` is
    /// [`ManifestError::FileMissing`]. The result is checked by writing and reading it.
    pub fn complete(
        self,
        format: Format,
        mut measure: impl FnMut(&FileName) -> Option<Measured>,
    ) -> Result<Manifest, ManifestError> {
        let mut images = Vec::with_capacity(self.images.len());
        for image in self.images {
            let measured = measure(&image.filename).ok_or_else(|| ManifestError::FileMissing {
                name: image.filename.clone(),
            })?;
            images.push(image.complete(measured));
        }
        let manifest = Manifest {
            compatible: self.compatible,
            version: self.version,
            description: self.description,
            build: self.build,
            min_rauc_version: self.min_rauc_version,
            format,
            handler: self.handler,
            hooks: self.hooks,
            images,
            meta: self.meta,
        };
        if Manifest::parse(manifest.to_text().as_bytes())? != manifest {
            return Err(ManifestError::NotWritable);
        }
        Ok(manifest)
    }
}
