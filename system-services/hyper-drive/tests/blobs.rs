//! Blobs against those of the JavaScript peer, and against what is wrong with foreign ids.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{content, core, digest, hash, hex, list, range, text, uint, vectors};
use hyper_drive::blobs::{
    BLOCK_BYTES, BlobError, BlobId, Blobs, BlockMap, MappedBlock, ReadOptions, WriteOptions,
};
use proptest::prelude::*;
use serde_json::Value;
use tokio::io::AsyncReadExt;

const LOCAL: ReadOptions = ReadOptions {
    wait: false,
    timeout: None,
};

fn id(value: &Value) -> BlobId {
    BlobId {
        block_offset: uint(&value["blockOffset"]),
        block_length: uint(&value["blockLength"]),
        byte_offset: uint(&value["byteOffset"]),
        byte_length: uint(&value["byteLength"]),
        block_map: value["blockMap"].as_bool().unwrap_or_default(),
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(future)
}

#[tokio::test]
async fn blobs_with_maps_of_the_peer_are_read_in_every_range() {
    let maps = &vectors()["maps"];
    let blobs = Blobs::new(core(3));
    let blocks: Vec<_> = list(&maps["blocks"]).iter().map(hex).collect();
    blobs.core().append(&blocks).await.unwrap();
    for case in list(&maps["cases"]) {
        let id = id(&case["id"]);
        assert_eq!(blobs.byte_length(&id).await.unwrap(), uint(&case["byteLength"]));
        assert!(blobs.has(&id).await.unwrap());
        for case in list(&case["ranges"]) {
            let (start, end) = range(case);
            let bytes = blobs.read(&id, start..end).to_vec(1 << 20).await.unwrap();
            assert_eq!(digest(&bytes), hash(&case["hash"]), "{start}..{end}");
        }
    }
}

#[test]
fn long_maps_are_written_as_the_peer_writes_them() {
    let entry = |i: u64| MappedBlock {
        index: 300 * i,
        byte_length: 65536,
    };
    let many: Vec<_> = (0..8193).map(entry).collect();
    let parts = BlockMap::encode(&many);
    let expected = vectors()["maps"]["many"].clone();
    assert_eq!(parts.len(), list(&expected).len());
    for (part, expected) in parts.iter().zip(list(&expected)) {
        assert_eq!(digest(part), hash(&expected["hash"]));
    }
}

#[tokio::test]
async fn a_block_that_was_written_before_is_not_written_again() {
    let blobs = Blobs::new(core(1));
    let first: Vec<_> = [1, 2, 1, 3]
        .iter()
        .flat_map(|seed| [*seed; BLOCK_BYTES])
        .chain([9; 5])
        .collect();
    let write = async |content: &[u8], previous| {
        let mut writer = blobs.writer(WriteOptions {
            dedup: true,
            previous,
        });
        writer.write(content).await.unwrap();
        writer.finish().await.unwrap()
    };
    let one = write(&first, None).await;
    assert_eq!((one.block_offset, one.block_length, one.block_map), (4, 1, true));
    let second: Vec<_> = [3, 4, 1].iter().flat_map(|seed| [*seed; BLOCK_BYTES]).collect();
    let two = write(&second, Some(one)).await;
    assert_eq!(two.block_offset, 6);
    assert_eq!(blobs.get(&one, 1 << 20).await.unwrap(), first);
    assert_eq!(blobs.get(&two, 1 << 20).await.unwrap(), second);
    let part = blobs
        .read(&one, 65535..65535 + 65538)
        .to_vec(1 << 20)
        .await
        .unwrap();
    assert_eq!(part, first[65535..65535 + 65538]);
    assert!(matches!(blobs.get(&two, 100).await, Err(BlobError::TooLong(100))));
}

#[tokio::test]
async fn an_empty_blob_is_nothing_at_the_end_of_the_core() {
    let blobs = Blobs::new(core(1));
    blobs.put(b"before").await.unwrap();
    let id = blobs.put(b"").await.unwrap();
    assert_eq!(
        (id.block_offset, id.byte_offset, id.block_length, id.byte_length),
        (1, 6, 0, 0)
    );
    assert_eq!(blobs.get(&id, 0).await.unwrap(), b"");
    assert!(blobs.has(&id).await.unwrap());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn any_range_is_what_was_written(sizes in proptest::collection::vec(0usize..150_000, 1..4), at in 0.0..1.0, length in 0u64..200_000, piece in 1usize..90_000) {
        run(async {
            let blobs = Blobs::new(core(1));
            for (seed, size) in sizes.into_iter().enumerate() {
                let content = content(seed as u64, size as u64);
                let mut writer = blobs.writer(WriteOptions::default());
                for piece in content.chunks(piece) {
                    writer.write(piece).await.unwrap();
                }
                let id = writer.finish().await.unwrap();
                assert_eq!(id.byte_length, size as u64);
                assert_eq!(id.block_length, size.div_ceil(BLOCK_BYTES) as u64);
                let start = (at * size as f64) as usize;
                let end = size.min(start + length as usize);
                let read = blobs.read(&id, start as u64..start as u64 + length).to_vec(1 << 20).await.unwrap();
                assert_eq!(read, &content[start..end]);
                let mut all = Vec::new();
                blobs.read(&id, ..).read_to_end(&mut all).await.unwrap();
                assert_eq!(all, content);
            }
        });
    }

    #[test]
    fn a_foreign_id_gives_bytes_or_an_error_at_once(block_offset in 0u64..6, block_length: u64, few in 0u64..6, byte_offset: u64, byte_length: u64, small in 0u64..400_000, block_map: bool, start in 0u64..300_000, shape in 0..4) {
        run(async {
            let blobs = Blobs::new(core(1));
            blobs.put(&content(1, 200_000)).await.unwrap();
            let id = BlobId {
                block_offset: if shape == 3 { u64::MAX - block_offset } else { block_offset },
                block_length: if shape == 0 { block_length } else { few },
                byte_offset: if shape == 1 { byte_offset } else { block_offset * 65536 },
                byte_length: if shape == 2 { byte_length } else { small },
                block_map,
            };
            let read = blobs.read(&id, start..).to_vec(1 << 20);
            let _ = tokio::time::timeout(Duration::from_secs(5), read).await.expect("the core is writable: nobody else has more");
            let _ = blobs.read_with(&id, start.., LOCAL).to_vec(1 << 20).await;
            let _ = blobs.has(&id).await;
            let _ = blobs.clear(&id).await;
        });
    }
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_no_bytes_and_lets_others_write() {
    let blobs = Blobs::new(core(1));
    let mut writer = blobs.writer(WriteOptions::default());
    writer.write(&vec![1; 40 * BLOCK_BYTES]).await.unwrap();
    drop(writer);
    let id = tokio::time::timeout(Duration::from_secs(5), blobs.put(b"after"))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(blobs.get(&id, 10).await.unwrap(), b"after");
    assert!(id.block_offset >= 16);
    for block in 0..id.block_offset {
        assert!(!blobs.core().has(block).unwrap(), "{block}");
    }
}

#[tokio::test]
async fn writers_of_short_blobs_do_not_wait_for_a_slow_one() {
    let blobs = Blobs::new(core(1));
    let mut slow = blobs.writer(WriteOptions::default());
    slow.write(&[1; 3 * BLOCK_BYTES]).await.unwrap();
    let quick = tokio::time::timeout(Duration::from_secs(5), blobs.put(b"quick"))
        .await
        .unwrap()
        .unwrap();
    let slow = slow.finish().await.unwrap();
    assert_eq!((quick.block_offset, slow.block_offset), (0, 1));
    assert_eq!(blobs.get(&slow, 1 << 20).await.unwrap(), vec![1; 3 * BLOCK_BYTES]);
}

#[tokio::test]
async fn blobs_that_interleave_are_refused() {
    let core = core(1);
    let (one, other) = (Blobs::new(core.clone()), Blobs::new(core));
    let long = vec![1; 20 * BLOCK_BYTES];
    let mut writer = one.writer(WriteOptions::default());
    writer.write(&long).await.unwrap();
    let short = other.put(b"between").await;
    let rest = writer.write(&long).await;
    let long_id = writer.finish().await;
    if let Ok(id) = &short {
        assert_eq!(one.get(id, 10).await.unwrap(), b"between");
    }
    if let (Ok(()), Ok(id)) = (&rest, &long_id) {
        assert_eq!(one.get(id, 1 << 30).await.unwrap(), [&long[..], &long].concat());
    }
    assert!(
        short.is_err() || rest.is_err() || long_id.is_err(),
        "both were written, one between the blocks of the other"
    );
}

#[tokio::test]
async fn what_is_cleared_is_said_to_be_missing() {
    let blobs = Blobs::new(core(1));
    let id = blobs.put(&content(1, 200_000)).await.unwrap();
    blobs.clear(&id).await.unwrap();
    assert!(!blobs.has(&id).await.unwrap());
    let missing = blobs
        .read_with(&id, 70_000.., LOCAL)
        .to_vec(1 << 20)
        .await
        .unwrap_err();
    assert!(
        missing.to_string().starts_with("block 1 of the core "),
        "{missing}"
    );
    let short = ReadOptions {
        wait: true,
        timeout: Some(Duration::from_millis(10)),
    };
    assert!(blobs.read_with(&id, .., short).to_vec(1 << 20).await.is_err());
}

#[test]
fn paths_and_links_are_resolved_as_the_peer_does() {
    use hyper_drive::drive::{FilePath, resolve};
    let vectors = vectors();
    for case in list(&vectors["paths"]) {
        let ours = FilePath::new(text(&case["name"]));
        assert_eq!(
            ours.as_ref().ok().map(FilePath::as_str),
            case["path"].as_str(),
            "{case}"
        );
    }
    for case in list(&vectors["links"]) {
        let ours = resolve(text(&case["from"]), text(&case["to"]));
        assert_eq!(ours.ok().as_deref(), case["path"].as_str(), "{case}");
    }
}

#[test]
fn the_notes_of_the_peer_are_read_and_written_again_byte_for_byte() {
    use hyper_drive::drive::EntryValue;
    let vectors = vectors();
    for file in list(&vectors["drive"]["files"]) {
        let json = text(&file["value"]);
        let value = EntryValue::decode(json.as_bytes()).unwrap();
        assert_eq!(String::from_utf8(value.encode().unwrap()).unwrap(), json);
    }
    for case in list(&vectors["maps"]["cases"]) {
        let json = format!(
            "{{\"executable\":false,\"linkname\":null,\"blob\":{},\"metadata\":null}}",
            text(&case["json"])
        );
        let value = EntryValue::decode(json.as_bytes()).unwrap();
        assert_eq!(value.blob, Some(id(&case["id"])));
        assert_eq!(String::from_utf8(value.encode().unwrap()).unwrap(), json);
    }
}
