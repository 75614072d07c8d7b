//! A drive that comes from a peer, block by block as it is wanted.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::time::Duration;

use common::content;
use hyper_core::corestore::Corestore;
use hyper_core::link::Link;
use hyper_core::session::GetOptions;
use hyper_drive::bee::Bee;
use hyper_drive::blobs::BLOCK_BYTES;
use hyper_drive::drive::{Drive, DriveOptions, PutOptions};
use hyper_drive::mirror::{Folder, MirrorOptions, to_folder};

const SIZE: u64 = 100 * BLOCK_BYTES as u64 + 10;

async fn within<T>(what: impl Future<Output = T>) -> T {
    let limited = tokio::time::timeout(Duration::from_secs(20), what).await;
    limited.expect("nothing came for 20 s")
}

/// A drive with a large file and some small ones, and a peer's view of it.
async fn pair() -> (Drive, Drive) {
    let (ours, theirs) = (Corestore::in_memory().unwrap(), Corestore::in_memory().unwrap());
    let drive = Drive::open(&ours).unwrap();
    drive.put("/large", &content(3, SIZE)).await.unwrap();
    for i in 0..20 {
        drive
            .put(&format!("/small/{i}"), &content(i, 1000 * i))
            .await
            .unwrap();
    }
    let options = DriveOptions {
        get_options: GetOptions {
            wait: true,
            timeout: Some(Duration::from_secs(2)),
        },
        ..DriveOptions::default()
    };
    let copy = Drive::open_by_key_with(&theirs, drive.key(), options).unwrap();
    let (one, other) = Link::pair();
    ours.replicate(one);
    theirs.replicate(other);
    let mut watcher = copy.watch("/").unwrap();
    while copy.version() < drive.version() {
        within(watcher.next()).await.unwrap();
    }
    (drive, copy)
}

async fn stored(drive: &Drive) -> u64 {
    let core = drive.blobs().await.unwrap().core();
    (0..core.length())
        .map(|block| u64::from(core.has(block).unwrap()))
        .sum()
}

#[tokio::test]
async fn a_range_brings_its_blocks_only() {
    let (_drive, copy) = pair().await;
    let (start, end) = (50 * BLOCK_BYTES as u64 + 7, 53 * BLOCK_BYTES as u64);
    let reader = copy.read("/large", start..end).await.unwrap().unwrap();
    let bytes = within(reader.to_vec(SIZE)).await.unwrap();
    assert_eq!(bytes, &content(3, SIZE)[start as usize..end as usize]);
    let count = stored(&copy).await;
    assert!((3..=6).contains(&count), "{count} blocks came for a range of 3");
}

#[tokio::test]
async fn a_reader_that_stops_does_not_bring_the_rest() {
    let (drive, copy) = pair().await;
    drive.put("/larger", &content(4, 4 * SIZE)).await.unwrap();
    while !copy.exists("/larger").await.unwrap() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let mut reader = copy.read("/larger", ..).await.unwrap().unwrap();
    let first = within(reader.next()).await.unwrap().unwrap();
    assert_eq!(first.len(), BLOCK_BYTES);
    tokio::time::sleep(Duration::from_millis(200)).await;
    let count = stored(&copy).await;
    assert!(count <= 140, "{count} blocks of 401 came, though one was read");
}

#[tokio::test]
async fn downloads_bring_a_folder_or_what_changed() {
    let (drive, copy) = pair().await;
    let before = copy.version();
    assert_eq!(within(copy.download("/small").unwrap().done()).await.unwrap(), 19);
    assert!(copy.has("/small").await.unwrap() && !copy.has("/").await.unwrap());
    drive.put("/small/new", &content(9, 70_000)).await.unwrap();
    let mut writer = drive
        .dedup_writer("/listed", PutOptions::default())
        .await
        .unwrap();
    writer.write(&content(5, 200_000)).await.unwrap();
    writer.finish().await.unwrap();
    while copy.version() < drive.version() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        within(copy.download_diff(before, "/").unwrap().done())
            .await
            .unwrap(),
        2
    );
    assert!(copy.has("/small/new").await.unwrap() && copy.has("/listed").await.unwrap());
    assert!(!copy.has("/large").await.unwrap());
    assert_eq!(
        within(copy.get("/listed")).await.unwrap().unwrap(),
        content(5, 200_000)
    );
    assert_eq!(within(copy.download("/large").unwrap().done()).await.unwrap(), 1);
    assert!(copy.has("/large").await.unwrap());
    copy.clear("/large").await.unwrap();
    assert!(!copy.has("/large").await.unwrap());
    assert_eq!(
        within(copy.get("/large")).await.unwrap().unwrap(),
        content(3, SIZE)
    );
}

#[tokio::test]
async fn contents_that_nobody_has_are_given_up_and_the_rest_is_mirrored() {
    let (drive, copy) = pair().await;
    let files = Bee::new(drive.db().clone()).sub("files");
    let far = r#"{"blob":{"blockOffset":1000000,"byteOffset":70000000,"blockLength":9,"byteLength":500000}}"#;
    files.put("/far", far).await.unwrap();
    files
        .put("/map", far.replace("}}", r#","blockMap":true}}"#))
        .await
        .unwrap();
    while copy.version() < files.version() {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let error = within(copy.get("/far")).await.unwrap_err();
    assert!(error.to_string().contains("/far"), "{error}");
    let dir = tempfile::tempdir().unwrap();
    let options = MirrorOptions {
        timeout: Some(Duration::from_millis(500)),
        ..MirrorOptions::default()
    };
    let report = within(to_folder(
        &copy,
        &Folder::open(dir.path()).unwrap(),
        &options,
        |_| {},
    ))
    .await
    .unwrap();
    assert_eq!((report.added, report.left_out_count), (21, 2), "{report:?}");
    assert_eq!(std::fs::read(dir.path().join("large")).unwrap(), content(3, SIZE));
}
