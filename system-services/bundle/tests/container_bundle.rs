//! Whole bundles: what we write reads back, other tools read it, and what was changed is refused.

#![allow(clippy::unwrap_used, missing_docs)]

mod container_support;

use std::fs;
use std::io::{self, Cursor};
use std::ops::Range;
use std::sync::Mutex;

use bundle::chunks::{ChunkIndex, IndexLimits, TreeTail};
use bundle::cms;
use bundle::container::{Bundle, Limits, OpenError, raw_parts, read_cms};
use bundle::manifest::{Format, Manifest};
use bundle::payload::PayloadError;
use bundle::source::ReadAt;
use bundle::verity::{VerityError, hash_tree};
use bundle::write::{WriteError, resign, write};
use container_support::*;

fn content(bytes: &[u8], file: &str) -> Vec<u8> {
    let bundle = open(bytes).unwrap();
    let file = bundle.file(&name(file)).unwrap();
    let mut out = vec![0; file.size() as usize];
    file.read_exact_at(&mut out, 0).unwrap();
    out
}

fn images() -> (Vec<u8>, Vec<u8>) {
    (noise(70_000, 1), noise(200 * 4096, 2))
}

#[test]
fn what_was_written_reads_back() {
    let (boot, root) = images();
    for key in [None, Some([7; 32])] {
        let (bytes, written) = bundle(&boot, &root, key);
        let bundle = open(&bytes).unwrap();
        assert_eq!(
            (bundle.size(), written.size),
            (bytes.len() as u64, bytes.len() as u64)
        );
        assert_eq!(*bundle.manifest(), written.manifest);
        assert_eq!(bundle.manifest_hash(), written.manifest_hash);
        assert!(bundle.signer().subject.contains("Test signer"));
        assert_eq!(
            matches!(bundle.manifest().format, Format::Crypt { .. }),
            key.is_some()
        );
        assert!(content(&bytes, "boot.img") == boot && content(&bytes, "root.img") == root);
        let names: Vec<_> = bundle.files().map(|(name, _)| name.to_string()).collect();
        assert_eq!(
            names,
            [
                "boot.img",
                "root.img",
                "root.img.block-hash-index",
                "root.img.chunks"
            ]
        );
        assert_eq!(bundle.manifest().images[1].adaptive, ["block-hash-index"]);
        bundle.verify_payload(&mut |_, _| {}).unwrap();
        for image in &bundle.manifest().images {
            assert_eq!(bundle.hash_image(image, &mut |_, _| {}).unwrap(), image.sha256);
        }
    }
}

#[test]
fn indexes_describe_their_image() {
    let (boot, root) = images();
    let (bytes, _) = bundle(&boot, &root, None);
    let blocks: Vec<u8> = root
        .chunks(4096)
        .flat_map(bundle::manifest::manifest_hash)
        .collect();
    assert!(content(&bytes, "root.img.block-hash-index") == blocks);
    let index = ChunkIndex::read(&content(&bytes, "root.img.chunks"), &IndexLimits::default()).unwrap();
    assert_eq!(
        index,
        ChunkIndex::of(root.as_slice(), index.parameters(), None).unwrap()
    );
}

#[test]
fn the_same_inputs_give_the_same_payload() {
    let (boot, root) = images();
    let (first, _) = bundle(&boot, &root, None);
    let (second, _) = bundle(&boot, &root, None);
    let payload = raw_parts(&first).unwrap().payload;
    assert_eq!(payload, raw_parts(&second).unwrap().payload);
    assert!(first[..payload.end as usize] == second[..payload.end as usize]);
}

#[test]
fn every_image_begins_at_a_block_and_is_one_piece() {
    let (boot, root) = images();
    let (bytes, _) = bundle(&boot, &root, None);
    let start = bytes
        .windows(64)
        .position(|window| *window == root[..64])
        .unwrap();
    assert!(start.is_multiple_of(4096) && bytes[start..start + root.len()] == root);
}

#[test]
fn unsquashfs_and_veritysetup_accept_the_payload() {
    let (boot, root) = images();
    let (bytes, written) = bundle(&boot, &root, None);
    let folder = tempfile::tempdir().unwrap();
    let payload = raw_parts(&bytes).unwrap().payload;
    fs::write(folder.path().join("payload"), &bytes[..payload.end as usize]).unwrap();
    run("unsquashfs", &["-d", "out", "payload"], folder.path());
    assert!(fs::read(folder.path().join("out/boot.img")).unwrap() == boot);
    assert!(fs::read(folder.path().join("out/root.img")).unwrap() == root);
    assert_eq!(fs::read_dir(folder.path().join("out")).unwrap().count(), 4);

    let tree = written.manifest.format.tree();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let data = payload.end - tree.size;
    let options = [
        "verify",
        "payload",
        "payload",
        &hex(&tree.root),
        "--no-superblock",
        "--format=1",
        "--hash=sha256",
        "--data-block-size=4096",
        "--hash-block-size=4096",
        &format!("--data-blocks={}", data / 4096),
        &format!("--hash-offset={data}"),
        &format!("--salt={}", hex(&tree.salt)),
    ];
    run("veritysetup", &options, folder.path());
}

#[test]
fn a_payload_of_many_files_is_read_by_unsquashfs_and_by_us() {
    // Enough block lists that inodes fill several metadata blocks.
    let large = noise(5_000_000, 9);
    let names: Vec<String> = (0..150)
        .map(|number| format!("file-{number:03}-{}", "x".repeat(number)))
        .collect();
    let inputs = names.iter().map(|name| {
        let length = if name.starts_with("file-07") {
            large.len()
        } else {
            name.len() * 1000
        };
        input(name, &large[..length], false, None)
    });
    let mut out = Cursor::new(Vec::new());
    let template = template(&[("rootfs", &names[0])]);
    write(
        template,
        inputs.collect(),
        None,
        |text| Ok::<_, String>(signed(text)),
        &mut out,
    )
    .unwrap();
    let bytes = out.into_inner();
    let folder = tempfile::tempdir().unwrap();
    let payload = raw_parts(&bytes).unwrap().payload;
    fs::write(folder.path().join("payload"), &bytes[..payload.end as usize]).unwrap();
    run("unsquashfs", &["-d", "out", "payload"], folder.path());
    let opened = open(&bytes).unwrap();
    for name in &names {
        let theirs = fs::read(folder.path().join("out").join(name)).unwrap();
        let file = opened.file(&container_support::name(name)).unwrap();
        let mut ours = vec![0; file.size() as usize];
        file.read_exact_at(&mut ours, 0).unwrap();
        assert!(theirs == ours && ours == large[..ours.len()], "{name}");
    }
}

#[test]
fn every_flipped_bit_is_refused() {
    let (boot, root) = images();
    let (good, _) = bundle(&boot, &root, None);
    let payload_end = raw_parts(&good).unwrap().payload.end as usize;
    for at in (0..good.len())
        .step_by(9973)
        .chain((payload_end - 4096 * 3..payload_end).step_by(501))
    {
        let mut bad = good.clone();
        bad[at] ^= 4;
        let refused = open(&bad).err().map(|error| error.to_string());
        let refused = refused.or_else(|| {
            let bundle = open(&bad).unwrap();
            bundle
                .verify_payload(&mut |_, _| {})
                .err()
                .map(|error| error.to_string())
        });
        assert!(refused.is_some(), "bit in byte {at} of {}", good.len());
    }
}

#[test]
fn a_flipped_bit_in_an_image_is_refused_when_it_is_read_and_not_before() {
    let (boot, root) = images();
    let (mut bytes, _) = bundle(&boot, &root, None);
    let start = bytes
        .windows(64)
        .position(|window| *window == root[..64])
        .unwrap();
    bytes[start + 50_000] ^= 1;
    let bundle = open(&bytes).unwrap();
    let file = bundle.file(&name("root.img")).unwrap();
    file.read_exact_at(&mut [0; 4096], 0).unwrap();
    let error = file.read_exact_at(&mut [0; 10], 50_000).unwrap_err();
    let block = (start as u64 + 50_000) / 4096;
    assert_eq!(VerityError::find(&error), Some(&VerityError::Data { block }));
}

#[test]
fn truncated_and_grown_bundles_are_refused() {
    let (boot, root) = images();
    let (good, _) = bundle(&boot, &root, None);
    for length in (0..good.len())
        .step_by(20_011)
        .chain([7, 8, 9, good.len() - 1, good.len() - 8])
    {
        assert!(open(&good[..length]).is_err(), "{length} of {} bytes", good.len());
    }
    for (at, count) in [
        (good.len(), 1),
        (good.len(), 4096),
        (0, 4096),
        (100_000, 1),
        (4096, 4096),
    ] {
        let mut bad = good.clone();
        bad.splice(at..at, vec![0; count]);
        assert!(open(&bad).is_err(), "{count} bytes at {at}");
    }
}

#[test]
fn every_wrong_length_of_the_signature_is_refused() {
    let (boot, root) = images();
    let (good, _) = bundle(&boot, &root, None);
    let (end, length) = (
        good.len() - 8,
        read_cms(&good, &raw_parts(&good).unwrap()).unwrap().len() as u64,
    );
    for (wrong, expected) in [
        (0, "Trailer"),
        (length - 1, "Signature"),
        (length + 1, "Signature"),
        (64 * 1024 + 1, "SignatureTooLong"),
        (good.len() as u64 - 8, "SignatureTooLong"),
        (good.len() as u64 - 7, "Trailer"),
        (u64::MAX, "Trailer"),
        (length.swap_bytes(), "Trailer"),
    ] {
        let mut bad = good.clone();
        bad[end..].copy_from_slice(&wrong.to_be_bytes());
        let refused = format!("{:?}", open(&bad).map(|_| ()).unwrap_err());
        assert!(refused.starts_with(expected), "{wrong}: {refused}");
    }
}

/// The payload of a good bundle under another manifest, signed by the same key.
fn resigned(good: &[u8], change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
    let parts = raw_parts(good).unwrap();
    let signed_content = cms::read_unverified(&read_cms(good, &parts).unwrap())
        .unwrap()
        .content;
    let mut manifest = Manifest::parse(&signed_content).unwrap();
    change(&mut manifest);
    let mut out = Vec::new();
    resign(good, &signed(manifest.to_text().as_bytes()), &mut out).unwrap();
    out
}

fn refusal(bytes: &[u8]) -> OpenError {
    open(bytes).map(|_| ()).unwrap_err()
}

#[test]
fn a_signed_manifest_that_does_not_fit_the_payload_is_refused() {
    let (boot, root) = images();
    let (good, _) = bundle(&boot, &root, None);
    open(&resigned(&good, |_| {})).unwrap();
    let tree = |manifest: &mut Manifest, change: &dyn Fn(&mut bundle::manifest::Tree)| {
        if let Format::Verity(tree) = &mut manifest.format {
            change(tree);
        }
    };
    for size in [4096u64, 1 << 40] {
        let bad = resigned(&good, |manifest| tree(manifest, &|tree| tree.size = size));
        assert!(
            matches!(refusal(&bad), OpenError::PayloadSize { .. }),
            "tree of {size} bytes"
        );
    }
    for delta in [-4096i64, 4096] {
        let bad = resigned(&good, |manifest| {
            tree(manifest, &|tree| tree.size = tree.size.strict_add_signed(delta));
        });
        assert!(
            matches!(refusal(&bad), OpenError::PayloadSize { .. }),
            "tree {delta} bytes longer"
        );
    }
    let bad = resigned(&good, |manifest| tree(manifest, &|tree| tree.salt[0] ^= 1));
    assert!(matches!(refusal(&bad), OpenError::Payload(PayloadError::Read(_))));
    let bad = resigned(&good, |manifest| tree(manifest, &|tree| tree.root[31] ^= 1));
    assert!(matches!(refusal(&bad), OpenError::Payload(PayloadError::Read(_))));

    let bad = resigned(&good, |manifest| manifest.images[0].filename = name("absent.img"));
    assert!(matches!(refusal(&bad), OpenError::FileMissing { .. }));
    for delta in [-1, 1] {
        let bad = resigned(&good, |manifest| {
            manifest.images[0].size = manifest.images[0].size.strict_add_signed(delta);
        });
        assert!(matches!(refusal(&bad), OpenError::ImageSize { .. }));
    }
}

#[test]
fn a_wrong_key_does_not_open_an_encrypted_payload() {
    let (boot, root) = images();
    let (good, _) = bundle(&boot, &root, Some([1; 32]));
    let bad = resigned(&good, |manifest| {
        if let Format::Crypt { key, .. } = &mut manifest.format {
            key[0] ^= 1;
        }
    });
    assert!(matches!(
        refusal(&bad),
        OpenError::Payload(PayloadError::NotSquashfs)
    ));
}

#[test]
fn inputs_that_are_not_what_was_said_make_no_bundle() {
    let attempt = |inputs: Vec<bundle::write::Input<'_>>| {
        let template = template(&[("rootfs", "root.img")]);
        write(
            template,
            inputs,
            None,
            |text| Ok::<_, String>(signed(text)),
            &mut Cursor::new(Vec::new()),
        )
        .map(|_| ())
        .unwrap_err()
    };
    let data = noise(8192, 1);
    for size in [8191, 8193] {
        let mut wrong = input("root.img", &data, false, None);
        wrong.size = size;
        assert!(matches!(attempt(vec![wrong]), WriteError::InputSize { .. }));
    }
    let twice = vec![
        input("root.img", &data, true, None),
        input("root.img.chunks", &data, false, None),
    ];
    assert!(matches!(attempt(twice), WriteError::Twice { .. }));
    let odd = vec![input("root.img", &data[1..], true, None)];
    assert!(matches!(attempt(odd), WriteError::NotWholeBlocks { .. }));
    let other = vec![input("other.img", &data, false, None)];
    assert!(matches!(attempt(other), WriteError::Manifest(_)));
    let tail = Some(TreeTail {
        data_size: 4096,
        salt: [0; 32],
    });
    assert!(matches!(
        attempt(vec![input("root.img", &data, true, tail)]),
        WriteError::Chunks { .. }
    ));
}

#[test]
fn an_image_with_its_tree_is_indexed_without_it() {
    let data = noise(300 * 4096, 5);
    let tree = hash_tree(&data).unwrap();
    let image = [data.clone(), tree.tree].concat();
    let tail = TreeTail {
        data_size: data.len() as u64,
        salt: tree.salt,
    };
    let mut out = Cursor::new(Vec::new());
    let inputs = vec![input("root.img", &image, true, Some(tail))];
    let template = template(&[("rootfs", "root.img")]);
    write(
        template,
        inputs,
        None,
        |text| Ok::<_, String>(signed(text)),
        &mut out,
    )
    .unwrap();
    let index = content(&out.into_inner(), "root.img.chunks");
    let index = ChunkIndex::read(&index, &IndexLimits::default()).unwrap();
    assert_eq!(
        (index.image_size(), index.data_size()),
        (image.len() as u64, data.len() as u64)
    );
}

/// Fails a read that was not announced, once something was announced.
struct Announced<'a>(&'a [u8], Mutex<Vec<Range<u64>>>);

impl ReadAt for Announced<'_> {
    fn size(&self) -> u64 {
        self.0.size()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let announced = self.1.lock().unwrap();
        let end = offset + buf.len() as u64;
        let known = announced
            .iter()
            .any(|range| range.start <= offset && end <= range.end);
        assert!(announced.is_empty() || known, "{offset}..{end} was not announced");
        self.0.read_exact_at(buf, offset)
    }

    fn will_read(&self, ranges: &[Range<u64>]) {
        assert!(
            ranges.windows(2).all(|pair| pair[0].end < pair[1].start),
            "not ascending: {ranges:?}"
        );
        *self.1.lock().unwrap() = ranges.to_vec();
    }
}

#[test]
fn what_is_announced_for_a_file_covers_its_reads_and_little_more() {
    let (boot, root) = images();
    for key in [None, Some([7; 32])] {
        let (bytes, _) = bundle(&boot, &root, key);
        let source = Announced(&bytes, Mutex::default());
        let bundle = Bundle::open(&source, &keyring(), NOW, Limits::default()).unwrap();
        let file = bundle.file(&name("root.img")).unwrap();
        let wanted = [10..5000, 200_000..400_000, 800_000..810_000];
        file.will_read(&wanted);
        let announced: u64 = source
            .1
            .lock()
            .unwrap()
            .iter()
            .map(|range| range.end - range.start)
            .sum();
        assert!(announced < 214_990 + 8 * 4096, "{announced}");
        for range in wanted {
            let mut out = vec![0; (range.end - range.start) as usize];
            file.read_exact_at(&mut out, range.start).unwrap();
            assert!(out == root[range.start as usize..range.end as usize]);
        }
    }
}
