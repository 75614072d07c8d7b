//! What the boot chain reads before anything is trusted.

use std::cmp::Ordering;
use std::io::Read;
use std::path::Path;
use std::sync::OnceLock;

use boot_payload::{Compression, HEADER_LEN, Header, PartKind, SigningKey};
use boot_state::{Boot, Bootstate, SECTOR_LEN, Step, decode, encode};
use early_boot::cmdline::{self, CommandLine};
use early_boot::modules;
use ipc::boot_facts::Slot;
use os_io::root::Root;
use p256::ecdsa::Signature;
use p256::ecdsa::signature::hazmat::PrehashSigner;
use sha2::{Digest, Sha256};

use crate::{accept, keys, padded, text};

/// Two boot state sectors, 512 bytes each: what decodes encodes to the same; writing goes to the copy that is not the newest
/// valid one and is the newest then; a boot writes before each try and ends after few tries.
pub fn boot_state(bytes: &[u8]) {
    let raw = [padded(bytes, 0), padded(bytes, SECTOR_LEN)];
    let sealed = raw.map(|mut copy: [u8; SECTOR_LEN]| {
        let crc = crc32fast::hash(&copy[..SECTOR_LEN - 4]);
        copy[SECTOR_LEN - 4..].copy_from_slice(&crc.to_le_bytes());
        copy
    });
    for copies in [raw, sealed] {
        let sequences = copies.each_ref().map(|copy| match decode(copy) {
            Ok((state, sequence)) => {
                accept();
                assert_eq!(
                    encode(&state, sequence),
                    *copy,
                    "decoded, and encoded to other bytes"
                );
                Some(sequence)
            }
            Err(_) => None,
        });
        let store = Bootstate::load(copies.each_ref());
        assert_eq!(store.is_default(), sequences == [None; 2]);
        assert_eq!(
            store.damage().map(|damage| damage.is_none()),
            sequences.map(|s| s.is_some())
        );
        // A copy that is not there is older than any; with equal numbers either copy may go.
        let newest = match sequences[0].cmp(&sequences[1]) {
            Ordering::Less => Some(1),
            Ordering::Greater => Some(0),
            Ordering::Equal => None,
        };
        assert_eq!(store.sequence(), sequences[0].max(sequences[1]).unwrap_or(0));
        boots(copies, newest, store);
    }
}

/// A boot in which no slot starts.
fn boots(mut copies: [[u8; SECTOR_LEN]; 2], mut newest: Option<usize>, store: Bootstate) {
    // The sequence number counts writes; at its very end no write is newer, and no appliance lives that long.
    if store.sequence() > u64::MAX - 16 {
        return;
    }
    let mut boot = Boot::new(store);
    // Each slot before and after healing.
    for _ in 0..=4 {
        match boot.choose() {
            Step::Hopeless(hopeless) => {
                let state = boot.store().state();
                let incomplete = boot_state::Slot::ALL.map(|slot| !state.slot(slot).complete());
                assert_eq!(hopeless.incomplete, incomplete);
                return;
            }
            Step::Try(attempt) => {
                let copy = attempt.write.copy();
                assert_ne!(newest, Some(copy), "the newest valid copy would be written over");
                newest = Some(copy);
                copies[copy] = attempt.write.bytes();
                boot.written(&attempt.write);
                let again = Bootstate::load(copies.each_ref());
                assert_eq!(
                    (again.state(), again.sequence()),
                    (boot.store().state(), attempt.write.sequence())
                );
                assert!(
                    again.state().slot(attempt.slot).complete(),
                    "an incomplete slot is tried"
                );
                assert_eq!(again.state().slot(attempt.slot).tries_left(), attempt.tries_left);
                boot.mark_unusable_this_boot(attempt.slot);
            }
        }
    }
    panic!("a boot that never ends");
}

fn key() -> &'static SigningKey {
    static KEY: OnceLock<SigningKey> = OnceLock::new();
    KEY.get_or_init(keys::signing)
}

/// The content of a boot slot: what parses encodes to the same; only what our key signed verifies; parts lie inside of the
/// partition and behind each other; a command line that passes is one line.
pub fn boot_payload(bytes: &[u8]) {
    let partition_len = bytes.len() as u64;
    let page: [u8; HEADER_LEN] = padded(bytes, 0);
    let Ok(header) = Header::parse(&page, partition_len) else {
        return;
    };
    accept();
    assert_eq!(header.encode(), page, "parsed, and encoded to other bytes");
    assert!(
        header
            .compatible()
            .bytes()
            .chain(header.version().bytes())
            .all(|b| b.is_ascii_graphic())
    );
    if header.verify(key().verifying_key()).is_ok() {
        // Our signatures are deterministic (RFC 6979), so there is exactly one for these bytes.
        let digest = Sha256::digest(&page[..320]);
        let ours: Signature = key().sign_prehash(&digest).expect("a digest can be signed");
        assert_eq!(
            page[320..384],
            ours.normalize_s().to_bytes()[..],
            "a forged signature"
        );
    }
    let mut free_from = HEADER_LEN as u64;
    for kind in PartKind::ALL {
        let part = header.part(kind);
        let end = part.offset() + part.stored_len();
        assert!(part.kind() == kind && part.offset() >= free_from && end <= partition_len);
        free_from = end;
        let stored = &bytes[part.offset() as usize..end as usize];
        let right = Sha256::digest(stored)[..] == part.sha256()[..];
        assert_eq!(header.check_part(kind, stored).is_ok(), right);
        if kind == PartKind::CommandLine
            && let Ok(line) = header.check_command_line(stored)
        {
            assert!(right && line.as_bytes() == stored && !line.contains(['\n', '\0']));
        }
        if right && part.compression() == Compression::Gzip && part.unpacked_len() <= 1 << 20 {
            let _ = boot_manager::unpack(stored, part.unpacked_len() as usize);
        }
    }
}

/// A gzip member behind two bytes of expected length: what is unpacked is what another implementation unpacks, and a member
/// that the other takes whole is taken here too.
pub fn kernel_gzip(bytes: &[u8]) {
    let len = usize::from(u16::from_le_bytes(padded(bytes, 0)));
    let member = bytes.get(2..).unwrap_or_default();
    let ours = boot_manager::unpack(member, len);
    let mut decoder = flate2::bufread::GzDecoder::new(member);
    let mut theirs = Vec::new();
    // One byte more than expected is enough to know that it is too long.
    let read = (&mut decoder).take(len as u64 + 1).read_to_end(&mut theirs);
    let whole = read.is_ok() && theirs.len() == len && decoder.into_inner().is_empty();
    match ours {
        Ok(unpacked) => {
            accept();
            assert_eq!(unpacked.as_slice().len(), len);
            // Ours does not look at the trailer; theirs may fail there only, after all bytes.
            assert_eq!(unpacked.as_slice(), theirs.as_slice());
        }
        Err(error) => assert!(
            !whole,
            "refused ({error}), though it is a whole member of {len} bytes"
        ),
    }
}

/// The kernel command line: what is accepted says the same when it is written out anew.
pub fn command_line(bytes: &[u8]) {
    let Some(line) = text(bytes).and_then(|text| cmdline::parse(text).ok()) else {
        return;
    };
    accept();
    assert!(bytes.len() <= cmdline::MAX_BYTES);
    assert!(line.unknown.iter().all(|key| key.starts_with("hearth.")));
    let known = CommandLine {
        unknown: vec![],
        ..line
    };
    assert_eq!(cmdline::parse(&written_out(&known)), Ok(known));
}

fn written_out(line: &CommandLine) -> String {
    let slot = match line.slot {
        Slot::A => "a",
        Slot::B => "b",
    };
    let mut words = vec![
        format!("hearth.slot={slot}"),
        format!("hearth.disk={}", line.disk),
        format!("hearth.state-seq={}", line.state_seq),
        format!("hearth.healed={}", u8::from(line.healed)),
        format!("hearth.root-hash={}", line.root_hash),
        format!("hearth.root-salt={}", line.root_salt),
        format!("hearth.root-blocks={}", line.root_blocks),
        format!("hearth.profile={}", line.profile),
        format!("hearth.board={}", line.board),
        format!("hearth.version={}", line.version),
        format!("hearth.rollback-index={}", line.rollback_index),
        format!("hearth.dev-keys={}", u8::from(line.development_keys)),
    ];
    words.extend(line.built_unix_s.map(|built| format!("hearth.built={built}")));
    words.extend(line.test.as_ref().map(|test| format!("hearth.test={test}")));
    words.extend(line.kernel_uses_backup_table.then(|| "gpt".to_owned()));
    words.join(" ")
}

/// `/modules.load`: every path stays below the root and is a module; the list written out reads the same.
pub fn modules_load(bytes: &[u8]) {
    let Some(paths) = text(bytes).and_then(|text| modules::parse(text).ok()) else {
        return;
    };
    accept();
    let root = Root::at("/initramfs");
    for path in &paths {
        let place = root.path(path);
        let stays = place.starts_with("/initramfs")
            && place
                .components()
                .all(|part| part != std::path::Component::ParentDir);
        assert!(
            stays && path.ends_with(".ko") && place != Path::new("/initramfs"),
            "{path:?}"
        );
    }
    assert_eq!(modules::parse(&paths.join("\n")), Ok(paths));
}
