//! From groups to a checked manifest.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::keyfile::{self, Entry, Group};
use super::{
    FileName, Format, Handler, Hooks, Image, ImageHook, Manifest, ManifestError, Template, TemplateImage,
    Tree, version,
};

/// Blocks of the hash tree, in bytes.
const TREE_BLOCK: u64 = 4096;

/// Reads a complete manifest.
pub(super) fn complete(text: &[u8]) -> Result<Manifest, ManifestError> {
    let mut file = File::read(text)?;
    let format = format(file.bundle.take())?;
    let images = file.images.drain(..).map(image).collect::<Result<_, _>>()?;
    let update = file.update()?;
    Ok(Manifest {
        compatible: update.compatible,
        version: update.version,
        description: update.description,
        build: update.build,
        min_rauc_version: update.min_rauc_version,
        format,
        handler: file.handler.take().map(handler).transpose()?,
        hooks: file.hooks.take().map(hooks).transpose()?,
        images,
        meta: file.meta,
    })
}

/// Reads a manifest that is an input.
pub(super) fn template(text: &[u8]) -> Result<Template, ManifestError> {
    let mut file = File::read(text)?;
    if let Some(bundle) = file.bundle.take() {
        template_format(bundle)?;
    }
    let images = file
        .images
        .drain(..)
        .map(template_image)
        .collect::<Result<_, _>>()?;
    let update = file.update()?;
    Ok(Template {
        compatible: update.compatible,
        version: update.version,
        description: update.description,
        build: update.build,
        min_rauc_version: update.min_rauc_version,
        handler: file.handler.take().map(handler).transpose()?,
        hooks: file.hooks.take().map(hooks).transpose()?,
        images,
        meta: file.meta,
    })
}

/// What a label or key of `[meta.LABEL]` must be.
const META: &str = "labels and keys of [meta.…] are words of the letters a to z and A to Z, digits, - and _";

fn is_variable(word: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    word.bytes().all(fits)
}

/// The groups, sorted by what they are.
#[derive(Default)]
struct File<'a> {
    update: Option<Keys<'a>>,
    bundle: Option<Keys<'a>>,
    handler: Option<Keys<'a>>,
    hooks: Option<Keys<'a>>,
    images: Vec<Keys<'a>>,
    meta: BTreeMap<String, BTreeMap<String, String>>,
}

struct Update {
    compatible: String,
    version: Option<String>,
    description: Option<String>,
    build: Option<String>,
    min_rauc_version: Option<String>,
}

impl<'a> File<'a> {
    fn read(text: &'a [u8]) -> Result<Self, ManifestError> {
        let mut file = Self::default();
        for group in keyfile::groups(text)? {
            match group.name {
                "update" => file.update = Some(Keys(group)),
                "bundle" => file.bundle = Some(Keys(group)),
                "handler" => file.handler = Some(Keys(group)),
                "hooks" => file.hooks = Some(Keys(group)),
                // Written for hawkBit, of no meaning to an installer; RAUC skips it too.
                "rollout" => {}
                name if name.starts_with("image.") => file.images.push(Keys(group)),
                name if name.starts_with("meta.") => {
                    let label = name["meta.".len()..].to_owned();
                    if label.is_empty() {
                        return Err(ManifestError::UnknownGroup {
                            line: group.line,
                            group: name.to_owned(),
                        });
                    }
                    // RAUC hands these to programs as the names of environment variables, and refuses others.
                    let entries = group.entries.iter().map(|entry| (entry.line, entry.key));
                    if let Some((line, _)) = std::iter::once((group.line, &*label))
                        .chain(entries)
                        .find(|(_, word)| !is_variable(word))
                    {
                        return Err(ManifestError::Syntax { line, reason: META });
                    }
                    file.meta.insert(label, Keys(group).every()?);
                }
                name => {
                    return Err(ManifestError::UnknownGroup {
                        line: group.line,
                        group: name.to_owned(),
                    });
                }
            }
        }
        Ok(file)
    }

    fn update(&mut self) -> Result<Update, ManifestError> {
        let mut keys = self
            .update
            .take()
            .ok_or(ManifestError::MissingGroup { group: "update" })?;
        let update = Update {
            compatible: keys.required("compatible")?,
            version: keys.text("version")?,
            description: keys.text("description")?,
            build: keys.text("build")?,
            min_rauc_version: min_rauc_version(&mut keys)?,
        };
        keys.done()?;
        Ok(update)
    }
}

fn min_rauc_version(keys: &mut Keys<'_>) -> Result<Option<String>, ManifestError> {
    let line = keys.line_of("min-rauc-version");
    let text = keys.text("min-rauc-version")?;
    if let Some(text) = &text {
        version::check(text).map_err(|source| ManifestError::MinRaucVersion { line, source })?;
    }
    Ok(text)
}

fn format(keys: Option<Keys<'_>>) -> Result<Format, ManifestError> {
    let mut keys = keys.ok_or(ManifestError::Plain)?;
    let line = keys.line_of("format");
    let name = keys.text("format")?;
    let encrypted = match name.as_deref() {
        None | Some("plain") => return Err(ManifestError::Plain),
        Some("verity") => false,
        Some("crypt") => true,
        Some(other) => {
            return Err(ManifestError::UnknownFormat {
                line,
                format: other.to_owned(),
            });
        }
    };
    let tree = Tree {
        root: keys.hash("verity-hash")?,
        salt: keys.hash("verity-salt")?,
        size: keys.parsed("verity-size", "must be a multiple of 4096 above 0", |text| {
            decimal(text).filter(|size| *size > 0 && size % TREE_BLOCK == 0)
        })?,
    };
    let format = if encrypted {
        Format::Crypt {
            tree,
            key: Zeroizing::new(keys.hash("crypt-key")?),
        }
    } else {
        keys.refuse("crypt-key", "belongs to format=crypt only")?;
        Format::Verity(tree)
    };
    keys.done()?;
    Ok(format)
}

fn template_format(mut keys: Keys<'_>) -> Result<(), ManifestError> {
    let line = keys.line_of("format");
    match keys.text("format")?.as_deref() {
        None | Some("verity" | "crypt") => {}
        Some("plain") => return Err(ManifestError::Plain),
        Some(other) => {
            return Err(ManifestError::UnknownFormat {
                line,
                format: other.to_owned(),
            });
        }
    }
    for key in ["verity-hash", "verity-salt", "verity-size", "crypt-key"] {
        keys.refuse(key, FILLED_IN)?;
    }
    keys.done()
}

/// Why a template may not have a hash or size.
const FILLED_IN: &str = "is filled in while the bundle is made; leave it out";

fn handler(mut keys: Keys<'_>) -> Result<Handler, ManifestError> {
    let handler = Handler {
        filename: keys.file_name()?,
        args: keys.text("args")?,
    };
    keys.done()?;
    Ok(handler)
}

fn hooks(mut keys: Keys<'_>) -> Result<Hooks, ManifestError> {
    let filename = keys.file_name()?;
    let listed = keys.list(
        "hooks",
        |name| (name == "install-check").then_some(()),
        "knows install-check only",
    )?;
    keys.done()?;
    Ok(Hooks {
        filename,
        install_check: !listed.is_empty(),
    })
}

fn image(mut keys: Keys<'_>) -> Result<Image, ManifestError> {
    let image = common(&mut keys)?;
    let image = Image {
        class: image.class,
        variant: image.variant,
        artifact: image.artifact,
        filename: image.filename,
        sha256: keys.hash("sha256")?,
        size: keys.parsed("size", "must be a decimal number of bytes", decimal)?,
        image_type: image.image_type,
        hooks: image.hooks,
        adaptive: image.adaptive,
        convert: image.convert,
        converted: keys.list(
            "converted",
            |name| FileName::new(name).ok(),
            "must be a list of plain file names",
        )?,
    };
    keys.done()?;
    Ok(image)
}

fn template_image(mut keys: Keys<'_>) -> Result<TemplateImage, ManifestError> {
    let image = common(&mut keys)?;
    for key in ["sha256", "size", "converted"] {
        keys.refuse(key, FILLED_IN)?;
    }
    keys.done()?;
    Ok(image)
}

/// What an image has in both forms.
fn common(keys: &mut Keys<'_>) -> Result<TemplateImage, ManifestError> {
    let target = target(keys.0.name).ok_or_else(|| ManifestError::UnknownGroup {
        line: keys.0.line,
        group: keys.0.name.to_owned(),
    })?;
    Ok(TemplateImage {
        class: target.class.to_owned(),
        variant: target.variant.map(str::to_owned),
        artifact: target.artifact.map(str::to_owned),
        filename: keys.file_name()?,
        image_type: keys.text("type")?,
        hooks: keys.list("hooks", image_hook, "knows pre-install, install and post-install")?,
        adaptive: keys.list("adaptive", word, WORDS)?,
        convert: keys.list("convert", word, WORDS)?,
    })
}

struct Target<'a> {
    class: &'a str,
    variant: Option<&'a str>,
    artifact: Option<&'a str>,
}

/// `image.CLASS`, `image.CLASS.VARIANT` or `image.REPO/ARTIFACT`.
fn target(group: &str) -> Option<Target<'_>> {
    let name = group.strip_prefix("image.")?;
    if let Some((class, artifact)) = name.split_once('/') {
        FileName::new(artifact).ok()?;
        return part(class).then_some(Target {
            class,
            variant: None,
            artifact: Some(artifact),
        });
    }
    let (class, variant) = match name.split_once('.') {
        Some((class, variant)) => (class, Some(variant)),
        None => (name, None),
    };
    (part(class) && variant.is_none_or(part)).then_some(Target {
        class,
        variant,
        artifact: None,
    })
}

fn part(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'.' | b'/'))
}

fn image_hook(name: &str) -> Option<ImageHook> {
    ImageHook::ALL.into_iter().find(|hook| hook.name() == name)
}

/// Why an item of a list is refused.
const WORDS: &str = "must be a list of words with ';' behind each";

fn word(text: &str) -> Option<String> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())).then(|| text.to_owned())
}

/// A decimal number and nothing else: no sign, no blanks.
fn decimal(text: &str) -> Option<u64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// 64 hex digits.
fn hash(text: &str) -> Option<[u8; 32]> {
    let mut hash = [0; 32];
    if text.len() != 64 {
        return None;
    }
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |at: usize| {
            char::from(pair[at])
                .to_digit(16)
                .and_then(|digit| u8::try_from(digit).ok())
        };
        *byte = digit(0)? << 4 | digit(1)?;
    }
    Some(hash)
}

/// A group whose entries are taken one by one; what is left over is unknown.
struct Keys<'a>(Group<'a>);

impl<'a> Keys<'a> {
    fn take(&mut self, key: &str) -> Option<Entry<'a>> {
        let at = self.0.entries.iter().position(|entry| entry.key == key)?;
        Some(self.0.entries.remove(at))
    }

    fn line_of(&self, key: &str) -> usize {
        self.0
            .entries
            .iter()
            .find(|entry| entry.key == key)
            .map_or(self.0.line, |entry| entry.line)
    }

    fn wrong(&self, entry: &Entry<'_>, reason: &'static str) -> ManifestError {
        ManifestError::Value {
            line: entry.line,
            group: self.0.name.to_owned(),
            key: entry.key.to_owned(),
            reason,
        }
    }

    fn missing(&self, key: &'static str) -> ManifestError {
        ManifestError::MissingKey {
            group: self.0.name.to_owned(),
            key,
        }
    }

    /// A value; an empty one counts as absent.
    fn text(&mut self, key: &str) -> Result<Option<String>, ManifestError> {
        let Some(entry) = self.take(key) else {
            return Ok(None);
        };
        let value = keyfile::unescape(entry.raw).map_err(|reason| self.wrong(&entry, reason))?;
        Ok(Some(value).filter(|value| !value.is_empty()))
    }

    fn required(&mut self, key: &'static str) -> Result<String, ManifestError> {
        self.text(key)?.ok_or_else(|| self.missing(key))
    }

    fn parsed<T>(
        &mut self,
        key: &'static str,
        reason: &'static str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T, ManifestError> {
        let entry = self.take(key).ok_or_else(|| self.missing(key))?;
        parse(entry.raw).ok_or_else(|| self.wrong(&entry, reason))
    }

    fn hash(&mut self, key: &'static str) -> Result<[u8; 32], ManifestError> {
        self.parsed(key, "must be exactly 64 hexadecimal digits", hash)
    }

    fn file_name(&mut self) -> Result<FileName, ManifestError> {
        let line = self.line_of("filename");
        let name = self.required("filename")?;
        FileName::new(&name).map_err(|source| ManifestError::FileName {
            line,
            group: self.0.name.to_owned(),
            key: "filename".to_owned(),
            source,
        })
    }

    fn list<T>(
        &mut self,
        key: &str,
        item: impl Fn(&str) -> Option<T>,
        reason: &'static str,
    ) -> Result<Vec<T>, ManifestError> {
        let Some(entry) = self.take(key) else {
            return Ok(Vec::new());
        };
        let items = keyfile::unescape_list(entry.raw).map_err(|reason| self.wrong(&entry, reason))?;
        items
            .iter()
            .map(|text| item(text).ok_or_else(|| self.wrong(&entry, reason)))
            .collect()
    }

    fn refuse(&mut self, key: &str, reason: &'static str) -> Result<(), ManifestError> {
        self.take(key)
            .map_or(Ok(()), |entry| Err(self.wrong(&entry, reason)))
    }

    /// Every entry, for groups with free keys.
    fn every(self) -> Result<BTreeMap<String, String>, ManifestError> {
        self.0
            .entries
            .iter()
            .map(|entry| {
                let value = keyfile::unescape(entry.raw).map_err(|reason| self.wrong(entry, reason))?;
                Ok((entry.key.to_owned(), value))
            })
            .collect()
    }

    fn done(self) -> Result<(), ManifestError> {
        match self.0.entries.first() {
            None => Ok(()),
            Some(entry) => Err(ManifestError::UnknownKey {
                line: entry.line,
                group: self.0.name.to_owned(),
                key: entry.key.to_owned(),
            }),
        }
    }
}
