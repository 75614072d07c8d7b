//! Fuzz targets of every parser that meets foreign bytes.
//!
//! A target is one function over bytes that panics when a property does not hold. libFuzzer runs them
//! (`fuzz_targets/`, feature `libfuzzer`), and so does an ordinary test (`tests/corpus.rs`) on the checked-in corpus and
//! on mutations of it.
//!
//! Formats with a checksum are tried twice: as the bytes are, and *sealed*, with the checksum made right; otherwise nearly
//! every mutation would end at the checksum and nothing behind it would be seen.

mod boot;
mod build;
mod bundles;
mod channel_index;
mod container;
mod disk;
mod drive;
mod fat;
mod hyper;
pub mod keys;
pub mod mutate;
mod provision;
mod updater;
mod web;
mod write_log;

use std::cell::Cell;

pub use boot::{boot_payload, boot_state, command_line, kernel_gzip, modules_load};
pub use build::{board, lock, profile};
pub use bundles::{bundle_cms, bundle_manifest};
pub use channel_index::channel_index;
pub use container::{bundle_container, bundle_payload, chunk_index};
pub use disk::disk_layout;
pub use drive::{drive_block_map, drive_entry, drive_path};
pub use fat::fat_image;
pub use hyper::{
    bee_block, blind_relay, core_manifest, core_message, core_proof, core_signature, dht_handshake,
    dht_holepunch, dht_message, dht_node, dht_records, mux, noise, replicator, secret_stream, udx_packet,
    udx_stream,
};
pub use provision::{administrator, ext4, facts, redact, settings, setup_request};
pub use updater::{content_range, night, prose, updater_journal, updater_settings};
pub use web::{web_request, web_store, wizard_form};
pub use write_log::write_log;

/// A target with its name; the name is also the corpus folder and the cargo-fuzz program.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const TARGETS: &[Target] = &[
    ("administrator", administrator),
    ("bee_block", bee_block),
    ("blind_relay", blind_relay),
    ("board", board),
    ("boot_payload", boot_payload),
    ("boot_state", boot_state),
    ("bundle_cms", bundle_cms),
    ("bundle_container", bundle_container),
    ("bundle_manifest", bundle_manifest),
    ("bundle_payload", bundle_payload),
    ("channel_index", channel_index),
    ("chunk_index", chunk_index),
    ("command_line", command_line),
    ("core_manifest", core_manifest),
    ("core_message", core_message),
    ("core_proof", core_proof),
    ("core_signature", core_signature),
    ("dht_handshake", dht_handshake),
    ("dht_holepunch", dht_holepunch),
    ("dht_message", dht_message),
    ("dht_node", dht_node),
    ("dht_records", dht_records),
    ("disk_layout", disk_layout),
    ("drive_block_map", drive_block_map),
    ("drive_entry", drive_entry),
    ("drive_path", drive_path),
    ("ext4", ext4),
    ("facts", facts),
    ("fat_image", fat_image),
    ("kernel_gzip", kernel_gzip),
    ("lock", lock),
    ("modules_load", modules_load),
    ("mux", mux),
    ("night", night),
    ("noise", noise),
    ("profile", profile),
    ("prose", prose),
    ("redact", redact),
    ("replicator", replicator),
    ("secret_stream", secret_stream),
    ("settings", settings),
    ("udx_packet", udx_packet),
    ("udx_stream", udx_stream),
    ("setup_request", setup_request),
    ("updater_journal", updater_journal),
    ("updater_settings", updater_settings),
    ("content_range", content_range),
    ("web_request", web_request),
    ("web_store", web_store),
    ("wizard_form", wizard_form),
    ("write_log", write_log),
];

thread_local! {
    static ACCEPTED: Cell<u64> = const { Cell::new(0) };
}

/// Inputs of this thread that a parser took, so far. A target whose corpus is never accepted checks nothing.
pub fn accepted() -> u64 {
    ACCEPTED.get()
}

fn accept() {
    ACCEPTED.set(ACCEPTED.get() + 1);
}

/// Text parsers get text: reading a file that is not UTF-8 fails before them.
fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// Up to `N` bytes from `at` on, zeros behind them.
fn padded<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    let from = bytes.get(at..).unwrap_or_default();
    let len = from.len().min(N);
    out[..len].copy_from_slice(&from[..len]);
    out
}
