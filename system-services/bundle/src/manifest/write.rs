//! A manifest as text, in RAUC's order of groups.

use super::keyfile::{escape, escape_list};
use super::{FileName, Format, Image, ImageHook, Manifest};

/// The keys of our own `[meta.hearth]` in the order in which RAUC writes them.
///
/// RAUC keeps the keys of such a group in a hash table, so their order is that of their hashes: always the same, but of no
/// rule that can be told. Written like this, the manifest hash stays when RAUC signs a bundle anew (measured with 1.13
/// and 1.15 for the keys that our bundles have). Other keys follow in the order of their names.
const META_ORDER: [&str; 4] = ["sbom-sha256", "rollback-index", "chunks", "sbom"];

/// The whole file.
pub(super) fn text(manifest: &Manifest) -> String {
    let mut out = Text(String::new());
    out.group("update");
    out.value("compatible", &manifest.compatible);
    out.optional("version", manifest.version.as_deref());
    out.optional("description", manifest.description.as_deref());
    out.optional("build", manifest.build.as_deref());
    out.optional("min-rauc-version", manifest.min_rauc_version.as_deref());
    format(&mut out, &manifest.format);
    if let Some(handler) = &manifest.handler {
        out.group("handler");
        out.value("filename", handler.filename.as_str());
        out.optional("args", handler.args.as_deref());
    }
    if let Some(hooks) = &manifest.hooks {
        out.group("hooks");
        out.value("filename", hooks.filename.as_str());
        out.list("hooks", hooks.install_check.then_some("install-check"));
    }
    for each in &manifest.images {
        image(&mut out, each);
    }
    for (label, entries) in &manifest.meta {
        out.group(&format!("meta.{label}"));
        let place = |key: &str| META_ORDER.iter().position(|known| *known == key);
        let mut entries: Vec<_> = entries.iter().collect();
        entries.sort_by_key(|(key, _)| place(key).unwrap_or(META_ORDER.len()));
        for (key, value) in entries {
            out.value(key, value);
        }
    }
    out.0
}

fn format(out: &mut Text, format: &Format) {
    out.group("bundle");
    // RAUC writes this key first.
    if let Format::Crypt { key, .. } = format {
        out.value("crypt-key", &hex(key.as_ref()));
    }
    out.value(
        "format",
        if matches!(format, Format::Verity(_)) {
            "verity"
        } else {
            "crypt"
        },
    );
    let tree = format.tree();
    out.value("verity-hash", &hex(&tree.root));
    out.value("verity-salt", &hex(&tree.salt));
    out.value("verity-size", &tree.size.to_string());
}

fn image(out: &mut Text, image: &Image) {
    let (separator, second) = match (&image.artifact, &image.variant) {
        (Some(artifact), _) => ("/", artifact.as_str()),
        (None, Some(variant)) => (".", variant.as_str()),
        (None, None) => ("", ""),
    };
    out.group(&format!("image.{}{separator}{second}", image.class));
    out.value("sha256", &hex(&image.sha256));
    out.value("size", &image.size.to_string());
    out.value("filename", image.filename.as_str());
    out.optional("type", image.image_type.as_deref());
    out.list("hooks", image.hooks.iter().map(|hook| hook.name()));
    out.list("adaptive", image.adaptive.iter().map(String::as_str));
    out.list("convert", image.convert.iter().map(String::as_str));
    out.list("converted", image.converted.iter().map(FileName::as_str));
}

impl ImageHook {
    /// Every hook, in the order they are called.
    pub const ALL: [Self; 3] = [Self::PreInstall, Self::Install, Self::PostInstall];

    /// Its name in a manifest and on D-Bus.
    pub fn name(self) -> &'static str {
        match self {
            Self::PreInstall => "pre-install",
            Self::Install => "install",
            Self::PostInstall => "post-install",
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

struct Text(String);

impl Text {
    fn group(&mut self, name: &str) {
        if !self.0.is_empty() {
            self.0.push('\n');
        }
        self.0 += &format!("[{name}]\n");
    }

    fn value(&mut self, key: &str, value: &str) {
        self.0 += &format!("{key}={}\n", escape(value));
    }

    fn optional(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.value(key, value);
        }
    }

    fn list<'a>(&mut self, key: &str, items: impl IntoIterator<Item = &'a str>) {
        let items = escape_list(items);
        if !items.is_empty() {
            self.0 += &format!("{key}={items}\n");
        }
    }
}
