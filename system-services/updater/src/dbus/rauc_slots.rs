//! Slots and bundles in RAUC's words: `rootfs.0` is slot a, `boot.0` its boot payload.

use std::collections::HashMap;

use boot_state::{Running, Slot};
use bundle::cms::UnixTime;
use zbus::{OwnedVariant, Variant};

use super::arguments::owned;
use crate::engine::BundleInfo;
use crate::service::Snapshot;
use crate::state::slot_of_record;

/// `a{sv}`.
pub type Dict = HashMap<String, OwnedVariant>;

/// A dictionary under construction.
#[derive(Default)]
struct Builder(Dict);

impl Builder {
    fn put<'a>(mut self, key: &str, value: impl Into<Variant<'a>>) -> Self {
        if let Some(value) = owned(value) {
            self.0.insert(key.into(), value);
        }
        self
    }

    fn put_some<'a>(self, key: &str, value: Option<impl Into<Variant<'a>>>) -> Self {
        match value {
            Some(value) => self.put(key, value),
            None => self,
        }
    }
}

/// The name of a slot's root.
pub fn root_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "rootfs.0",
        Slot::B => "rootfs.1",
    }
}

fn boot_name(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "boot.0",
        Slot::B => "boot.1",
    }
}

fn bootname(slot: Slot) -> &'static str {
    match slot {
        Slot::A => "A",
        Slot::B => "B",
    }
}

/// The slot that a caller of `Mark` means.
pub fn slot(identifier: &str, running: Running) -> Result<Slot, String> {
    match identifier {
        "booted" => Ok(running.slot()),
        "other" => Ok(running.inactive().slot()),
        name => Slot::ALL
            .into_iter()
            .find(|slot| root_name(*slot) == name)
            .ok_or_else(|| {
                if Slot::ALL.into_iter().any(|slot| boot_name(slot) == name) {
                    format!("Slot {name} has no bootname set")
                } else {
                    format!("No slot named {name} found; use booted, other, rootfs.0 or rootfs.1")
                }
            }),
    }
}

/// The answer of `GetSlotStatus`.
pub fn slot_status(snapshot: &Snapshot) -> Vec<(String, Dict)> {
    Slot::ALL
        .into_iter()
        .flat_map(|slot| {
            let root = (root_name(slot).to_owned(), root_slot(snapshot, slot));
            let boot = (boot_name(slot).to_owned(), boot_slot(snapshot, slot));
            [root, boot]
        })
        .collect()
}

fn root_slot(snapshot: &Snapshot, slot: Slot) -> Dict {
    let around = &snapshot.around;
    let running = slot == around.running.slot();
    let known = around.boot.slot(slot);
    let bootable = known.bootable() && (known.good() || slot == around.boot.primary());
    let builder = Builder::default()
        .put("class", "rootfs")
        .put("device", format!("/dev/disk/by-partlabel/root-{slot}"))
        .put("type", "raw")
        .put("bootname", bootname(slot))
        .put("state", if running { "booted" } else { "inactive" })
        .put("description", format!("Root file system of slot {slot}"))
        .put("boot-status", if bootable { "good" } else { "bad" })
        .put_some("mountpoint", running.then_some("/"));
    content(builder, snapshot, slot, "rootfs").0
}

fn boot_slot(snapshot: &Snapshot, slot: Slot) -> Dict {
    let running = slot == snapshot.around.running.slot();
    let builder = Builder::default()
        .put("class", "boot")
        .put("device", format!("/dev/disk/by-partlabel/boot-{slot}"))
        .put("type", "raw")
        .put("state", if running { "active" } else { "inactive" })
        .put("description", format!("Kernel and initramfs of slot {slot}"))
        .put("parent", root_name(slot));
    content(builder, snapshot, slot, "boot").0
}

/// What is in the slot. The factory image has no bundle; of the running one at least the version is known.
fn content(builder: Builder, snapshot: &Snapshot, slot: Slot, class: &str) -> Builder {
    let around = &snapshot.around;
    let note = snapshot.record.note(slot_of_record(slot));
    // Of a slot that nothing was ever installed into, RAUC says no status either.
    let known = note.bundle.is_some() || slot == around.running.slot();
    let status = match around.boot.slot(slot).complete() {
        false => Some("pending"),
        true => known.then_some("ok"),
    };
    let builder = builder.put_some("status", status);
    let builder = match &note.bundle {
        Some(bundle) => builder
            .put("bundle.compatible", bundle.compatible.clone())
            .put("bundle.version", bundle.version.clone())
            .put("bundle.description", bundle.description.clone())
            .put("bundle.build", bundle.build.clone())
            .put("bundle.hash", bundle.manifest_hash.to_string()),
        None if slot == around.running.slot() => builder
            .put("bundle.compatible", around.compatible.clone())
            .put("bundle.version", around.version.clone()),
        None => builder,
    };
    let image = note
        .written
        .iter()
        .flat_map(|written| &written.images)
        .find(|image| image.class == class);
    let builder = match image {
        Some(image) => builder
            .put("sha256", image.sha256.clone())
            .put("size", image.size_bytes),
        None => builder,
    };
    let builder = match note.installed_unix_s {
        Some(at) => builder
            .put_some("installed.transaction", note.transaction.clone())
            .put("installed.timestamp", UnixTime(at).to_string())
            .put("installed.count", note.installed_count),
        None => builder,
    };
    match note.activated_unix_s.filter(|_| class == "rootfs") {
        Some(at) => builder
            .put("activated.timestamp", UnixTime(at).to_string())
            .put("activated.count", note.activated_count),
        None => builder,
    }
}

/// The answer of `InspectBundle`.
pub fn bundle_info(info: &BundleInfo) -> Dict {
    let update = Builder::default()
        .put("compatible", info.compatible.clone())
        .put_some("version", info.version.clone())
        .put_some("description", info.description.clone())
        .put_some("build", info.build.clone());
    let bundle = Builder::default()
        .put("format", info.format.clone())
        .put("verity-size", info.verity_size)
        .put("verity-salt", info.verity_salt.clone())
        .put("verity-hash", info.verity_hash.clone());
    let images: Vec<HashMap<String, Variant<'static>>> = info
        .images
        .iter()
        .map(|image| {
            let dict = Builder::default()
                .put("slot-class", image.class.clone())
                .put_some("variant", image.variant.clone())
                .put("filename", image.filename.clone())
                .put_some("type", image.image_type.clone())
                .put("checksum", image.sha256.clone())
                .put("size", image.size_bytes)
                .put("hooks", image.hooks.clone())
                .put("adaptive", image.adaptive.clone());
            variants(dict.0)
        })
        .collect();
    let meta: HashMap<String, HashMap<String, String>> = info
        .meta
        .iter()
        .map(|(label, group)| (label.clone(), group.clone().into_iter().collect()))
        .collect();
    Builder::default()
        .put("manifest-hash", info.manifest_hash.to_string())
        .put("update", nested(variants(update.0)))
        .put("bundle", nested(variants(bundle.0)))
        .put("images", nested(images))
        .put("meta", nested(meta))
        .0
}

/// RAUC's service has these groups in a variant of their own, within that of the dictionary.
fn nested(group: impl Into<Variant<'static>>) -> Variant<'static> {
    Variant::Variant(Box::new(group.into()))
}

fn variants(dict: Dict) -> HashMap<String, Variant<'static>> {
    dict.into_iter()
        .map(|(key, value)| (key, Variant::from(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_found_by_every_name_that_rauc_takes() {
        let running = Running::from_boot(Slot::B);
        for (name, found) in [
            ("booted", Slot::B),
            ("other", Slot::A),
            ("rootfs.0", Slot::A),
            ("rootfs.1", Slot::B),
        ] {
            assert_eq!(slot(name, running), Ok(found));
        }
        assert!(slot("boot.1", running).unwrap_err().contains("no bootname"));
        assert!(slot("a", running).is_err());
    }
}
