//! The squashfs reader against mksquashfs.

#![allow(clippy::unwrap_used, missing_docs)]

mod container_support;

use std::fs;
use std::path::Path;

use bundle::payload::{Payload, PayloadError, PayloadLimits};
use bundle::source::ReadAt;
use container_support::{name, noise, run};
use proptest::prelude::*;

/// Text that packs, noise that does not, a hole, an end that shares a block, an empty file.
fn files() -> Vec<(&'static str, Vec<u8>)> {
    let text: Vec<u8> = (0..70_000u32)
        .flat_map(|i| format!("line {i}\n").into_bytes())
        .collect();
    let mut hole = vec![0; 700_000];
    hole[650_000..650_010].copy_from_slice(b"0123456789");
    vec![
        ("empty", Vec::new()),
        ("hole", hole),
        ("mixed", [&text[..300_000], &noise(400_000, 1), &text].concat()),
        ("noise", noise(500_001, 2)),
        ("one-block", noise(131_072, 3)),
        ("small", b"small".to_vec()),
        ("small-too", b"small too".to_vec()),
        ("text", text),
    ]
}

fn squashfs(folder: &Path, options: &[&str]) -> Vec<u8> {
    let content = folder.join("content");
    fs::create_dir_all(content.join("folder")).unwrap();
    for (name, bytes) in files() {
        fs::write(content.join(name), bytes).unwrap();
    }
    fs::write(content.join("folder/inside"), "inside").unwrap();
    std::os::unix::fs::symlink("../../etc/passwd", content.join("link")).unwrap();
    let arguments = [
        &["content", "payload", "-all-root", "-noappend", "-no-progress"],
        options,
    ]
    .concat();
    run("mksquashfs", &arguments, folder);
    fs::read(folder.join("payload")).unwrap()
}

const VARIANTS: [&[&str]; 8] = [
    &[],
    &["-comp", "zstd"],
    &["-comp", "zstd", "-b", "1M"],
    &["-b", "4K"],
    &["-always-use-fragments"],
    &["-no-fragments"],
    &["-noD", "-noF"],
    &["-noI", "-noD", "-noF", "-noX", "-noId"],
];

#[test]
fn every_file_that_mksquashfs_packs_reads_the_same() {
    for options in VARIANTS {
        let folder = tempfile::tempdir().unwrap();
        let payload = Payload::open(squashfs(folder.path(), options), &PayloadLimits::default()).unwrap();
        let found: Vec<_> = payload
            .files()
            .map(|(name, size)| (name.to_string(), size))
            .collect();
        let expected: Vec<_> = files()
            .iter()
            .map(|(name, bytes)| (name.to_string(), bytes.len() as u64))
            .collect();
        assert_eq!(found, expected, "{options:?}");
        for (file, bytes) in files() {
            let file = payload.file(&name(file)).unwrap();
            let mut read = vec![1; bytes.len()];
            file.read_exact_at(&mut read, 0).unwrap();
            assert!(read == bytes, "{options:?}");
            assert!(file.read_exact_at(&mut [0; 1], file.size()).is_err());
        }
    }
}

#[test]
fn folders_and_links_are_no_files() {
    let folder = tempfile::tempdir().unwrap();
    let payload = Payload::open(squashfs(folder.path(), &[]), &PayloadLimits::default()).unwrap();
    for other in ["folder", "link"] {
        let refused = payload.file(&name(other)).map(|_| ()).unwrap_err();
        assert!(matches!(refused, PayloadError::NotAFile { .. }), "{refused}");
    }
    for absent in ["inside", "passwd"] {
        assert!(matches!(
            payload.file(&name(absent)),
            Err(PayloadError::Missing { .. })
        ));
    }
}

#[test]
fn a_compression_that_is_not_built_in_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let refused = Payload::open(
        squashfs(folder.path(), &["-comp", "xz"]),
        &PayloadLimits::default(),
    );
    let refused = refused.map(|_| ()).unwrap_err().to_string();
    assert!(
        refused.contains("xz") && refused.contains("-comp gzip"),
        "{refused}"
    );
}

#[test]
fn more_names_or_blocks_than_allowed_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = squashfs(folder.path(), &[]);
    for limits in [
        PayloadLimits {
            names: 9,
            ..PayloadLimits::default()
        },
        PayloadLimits {
            blocks: 20,
            ..PayloadLimits::default()
        },
    ] {
        let refused = Payload::open(image.as_slice().to_vec(), &limits)
            .map(|_| ())
            .unwrap_err();
        assert!(matches!(refused, PayloadError::TooMany { .. }), "{refused}");
    }
}

#[test]
fn every_cut_off_file_system_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let image = squashfs(folder.path(), &[]);
    let used = u64::from_le_bytes(image[40..48].try_into().unwrap()) as usize;
    for length in (0..used).step_by(used / 97).chain([95, 96, used - 1]) {
        assert!(
            Payload::open(image[..length].to_vec(), &PayloadLimits::default()).is_err(),
            "{length} bytes"
        );
    }
}

/// Reads everything that can be read.
fn read_all(image: Vec<u8>) {
    let Ok(payload) = Payload::open(image, &PayloadLimits::default()) else {
        return;
    };
    let mut buf = vec![0; 100_000];
    for (file, size) in payload
        .files()
        .map(|(name, size)| (name.clone(), size))
        .collect::<Vec<_>>()
    {
        let file = payload.file(&file).unwrap();
        let mut at = 0;
        while at < size.min(3_000_000) {
            let length = (size - at).min(buf.len() as u64);
            let _ = file.read_exact_at(&mut buf[..length as usize], at);
            at += length;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_access_equals_the_content(variant in 0..VARIANTS.len(), reads in prop::collection::vec((0f64..1.0, 0usize..300_000), 40)) {
        thread_local! {
            static IMAGES: Vec<Payload<Vec<u8>>> = VARIANTS
                .iter()
                .map(|options| {
                    let folder = tempfile::tempdir().unwrap();
                    Payload::open(squashfs(folder.path(), options), &PayloadLimits::default()).unwrap()
                })
                .collect();
            static FILES: Vec<(&'static str, Vec<u8>)> = files();
        }
        IMAGES.with(|images| FILES.with(|files| {
            for (number, (at, length)) in reads.into_iter().enumerate() {
                let (file, bytes) = &files[number % files.len()];
                let file = images[variant].file(&name(file)).unwrap();
                let start = (at * bytes.len() as f64) as usize;
                let length = length.min(bytes.len() - start);
                let mut read = vec![1; length];
                file.read_exact_at(&mut read, start as u64).unwrap();
                assert!(read == bytes[start..start + length]);
            }
        }));
    }

    #[test]
    fn damaged_tables_never_panic_and_never_run_away(flips in prop::collection::vec((0f64..1.0, any::<u8>()), 1..4), in_tables in any::<bool>()) {
        thread_local! {
            static IMAGE: Vec<u8> = {
                let folder = tempfile::tempdir().unwrap();
                squashfs(folder.path(), &["-noI"])
            };
        }
        let mut image = IMAGE.with(Clone::clone);
        // Tables are at the end, the superblock at the beginning: that is where damage is interesting.
        let tables = u64::from_le_bytes(image[64..72].try_into().unwrap()) as usize;
        let used = u64::from_le_bytes(image[40..48].try_into().unwrap()) as usize;
        for (at, value) in flips {
            let range = if in_tables { tables..used } else { 4..96 };
            image[range.start + (at * range.len() as f64) as usize] = value;
        }
        read_all(image);
    }
}
