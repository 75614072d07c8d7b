//! Drives against those of the JavaScript peer: keys, blocks, listings, versions.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::time::Duration;

use common::{content, digest, hash, hex, list, range, text, uint, vectors};
use hyper_core::core::CoreOptions;
use hyper_core::corestore::{Corestore, PrimaryKey};
use hyper_core::crypto::KeyPair;
use hyper_core::manifest::{Manifest, ManifestFields, Prologue, Signer, Verifier};
use hyper_core::session::Session;
use hyper_core::store::Store;
use hyper_drive::bee::Bee;
use hyper_drive::blobs::BLOCK_BYTES;
use hyper_drive::drive::{
    Drive, DriveBatch, DriveError, DriveOptions, Entry, EntryValue, Metadata, PutOptions, blobs_verifier,
};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

fn store() -> Corestore {
    let primary_key = PrimaryKey::new([7; 32]);
    Corestore::of_store_with(Store::in_memory().unwrap(), &primary_key).unwrap()
}

/// What was done to the peer's drive.
#[derive(Deserialize)]
struct Operation {
    r#do: String,
    #[serde(default)]
    path: String,
    #[serde(default)]
    seed: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    executable: bool,
    #[serde(default)]
    linkname: String,
    metadata: Option<Box<RawValue>>,
    #[serde(default)]
    operations: Vec<Operation>,
}

impl Operation {
    fn all() -> Vec<Self> {
        #[derive(Deserialize)]
        struct Vectors {
            drive: Operations,
        }
        #[derive(Deserialize)]
        struct Operations {
            operations: Vec<Operation>,
        }
        let all: Vectors = serde_json::from_str(include_str!("vectors/drive.json")).unwrap();
        all.drive.operations
    }

    fn content(&self) -> Vec<u8> {
        content(self.seed, self.size)
    }

    fn metadata(&self) -> Option<Metadata> {
        self.metadata
            .as_ref()
            .map(|json| Metadata::parse(json.get()).unwrap())
    }

    fn options(&self) -> PutOptions {
        PutOptions {
            executable: self.executable,
            metadata: self.metadata(),
        }
    }

    fn link(&self) -> EntryValue {
        EntryValue {
            linkname: Some(self.linkname.clone()),
            metadata: self.metadata(),
            ..EntryValue::default()
        }
    }

    async fn perform(&self, drive: &Drive) {
        match self.r#do.as_str() {
            "put" => drive
                .put_with(&self.path, &self.content(), self.options())
                .await
                .unwrap(),
            "symlink" => drive.put_entry(&self.path, &self.link()).await.unwrap(),
            "entry" => {
                let mut value = drive.entry(&self.path).await.unwrap().unwrap().value;
                (value.executable, value.metadata) = (self.executable, self.metadata());
                drive.put_entry(&self.path, &value).await.unwrap();
            }
            "del" => drop(drive.del(&self.path).await.unwrap()),
            "batch" => {
                let mut batch = drive.batch();
                for operation in &self.operations {
                    operation.add_to(&mut batch).await;
                }
                batch.flush().await.unwrap();
            }
            other => panic!("no operation {other}"),
        }
    }

    async fn add_to(&self, batch: &mut DriveBatch) {
        match self.r#do.as_str() {
            "put" => batch
                .put(&self.path, &self.content(), self.options())
                .await
                .unwrap(),
            "symlink" => batch.put_entry(&self.path, self.link()).unwrap(),
            "del" => batch.del(&self.path).unwrap(),
            other => panic!("no operation {other}"),
        }
    }
}

async fn filled() -> Drive {
    let drive = Drive::open(&store()).unwrap();
    for operation in Operation::all() {
        operation.perform(&drive).await;
    }
    drive
}

async fn collect(drive: &Drive, folder: &str) -> Vec<Entry> {
    let mut files = drive.list(folder).unwrap();
    let mut all = Vec::new();
    while let Some(entry) = files.next().await.unwrap() {
        all.push(entry);
    }
    all
}

fn paths(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| entry.path.as_str()).collect()
}

fn texts(value: &Value) -> Vec<&str> {
    list(value).iter().map(text).collect()
}

async fn assert_blobs(core: &Session, expected: &Value) {
    assert_eq!(
        (core.length(), core.byte_length()),
        (uint(&expected["length"]), uint(&expected["byteLength"]))
    );
    let mut all = Vec::new();
    for (block, length) in (0..).zip(list(&expected["lengths"])) {
        let bytes = core.get(block).await.unwrap();
        assert_eq!(bytes.len() as u64, uint(length), "block {block}");
        all.extend(bytes);
    }
    assert_eq!(digest(&all), hash(&expected["hash"]));
    assert_eq!(core.info().unwrap().tree_hash, hash(&expected["treeHash"]));
}

#[tokio::test]
async fn the_same_operations_make_the_same_blocks_as_those_of_the_peer() {
    let (drive, expected) = (filled().await, &vectors()["drive"]);
    assert_eq!(drive.key(), &hash(&expected["key"]));
    let blobs = drive.blobs().await.unwrap().core();
    assert_eq!(blobs.key(), &hash(&expected["contentKey"]));
    for (seq, block) in (0..).zip(list(&expected["db"])) {
        assert_eq!(
            drive.db().get_local(seq).unwrap().unwrap(),
            hex(block),
            "block {seq}"
        );
    }
    assert_eq!(drive.version(), uint(&expected["version"]));
    assert_blobs(blobs, &expected["blobs"]).await;
    assert_eq!(
        drive.blobs_length().await.unwrap(),
        uint(&expected["blobsLength"])
    );
}

#[tokio::test]
async fn a_drive_of_the_peer_is_listed_and_read_as_the_peer_does() {
    let (drive, expected) = (filled().await, &vectors()["drive"]);
    for (entry, file) in collect(&drive, "/").await.iter().zip(list(&expected["files"])) {
        assert_eq!(
            (entry.path.as_str(), entry.seq),
            (text(&file["key"]), uint(&file["seq"]))
        );
        assert_eq!(entry.value.encode().unwrap(), text(&file["value"]).as_bytes());
        let content = drive.get(&entry.path).await.unwrap();
        assert_eq!(content.is_some(), file["hash"].is_string());
        if let Some(content) = content {
            assert_eq!(digest(&content), hash(&file["hash"]));
        }
    }
    for case in list(&expected["listings"]) {
        let folder = text(&case["path"]);
        assert_eq!(paths(&collect(&drive, folder).await), texts(&case["list"]));
        let (mut items, mut names) = (drive.read_dir(folder).unwrap(), Vec::new());
        while let Some(item) = items.next().await.unwrap() {
            if names.last() != Some(&item.name) {
                names.push(item.name);
            }
        }
        assert_eq!(names, texts(&case["readdir"]), "{folder}");
    }
    for case in list(&expected["ranges"]) {
        let (start, end) = range(case);
        let reader = drive.read("/big.bin", start..end).await.unwrap().unwrap();
        assert_eq!(
            digest(&reader.to_vec(1 << 20).await.unwrap()),
            hash(&case["hash"])
        );
    }
}

#[tokio::test]
async fn links_versions_and_differences_are_those_of_the_peer() {
    let (drive, expected) = (filled().await, &vectors()["drive"]);
    for case in list(&expected["follow"]) {
        let found = drive.follow(text(&case["path"])).await;
        if case["error"].is_string() {
            assert!(matches!(found, Err(DriveError::TooManyLinks { .. })));
        } else {
            let path = found.unwrap().map(|entry| entry.path);
            assert_eq!(path.as_deref(), case["key"].as_str(), "{case}");
        }
    }
    for case in list(&expected["diffs"]) {
        let mut differences = drive.diff(uint(&case["from"]), text(&case["path"])).unwrap();
        for expected in list(&case["diff"]) {
            let found = differences.next().await.unwrap().unwrap();
            for (found, expected) in [(found.left, &expected["left"]), (found.right, &expected["right"])] {
                let found = found.map(|entry| serde_json::json!([entry.path, entry.seq]));
                assert_eq!(found.unwrap_or_default(), *expected);
            }
        }
        assert_eq!(differences.next().await.unwrap(), None);
    }
    let old = &expected["checkout"];
    let old_drive = drive.checkout(uint(&old["version"])).unwrap();
    assert_eq!(paths(&collect(&old_drive, "/").await), texts(&old["keys"]));
    assert!(!old_drive.is_writable() && old_drive.put("/x", b"").await.is_err());
    assert_eq!(old_drive.get("/read me.txt").await.unwrap(), Some(content(1, 11)));
}

#[test]
fn drives_of_namespaces_have_the_keys_that_they_have_at_the_peer() {
    let keys = &vectors()["keys"];
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    for case in list(&keys["drives"]) {
        let store = texts(&case["path"])
            .iter()
            .fold(store(), |store, name| store.namespace(name));
        let drive = Drive::open(&store).unwrap();
        assert_eq!(drive.key(), &hash(&case["key"]));
        let blobs = runtime.block_on(drive.blobs()).unwrap();
        assert_eq!(blobs.core().key(), &hash(&case["contentKey"]));
    }
    let several = &keys["several"];
    let signer = |(seed, namespace): (&Value, &Value)| Signer {
        namespace: [uint(namespace) as u8; 32],
        public_key: KeyPair::from_seed(&[uint(seed) as u8; 32]).public_key(),
    };
    let manifest = Manifest::new(ManifestFields {
        version: 1,
        allow_patch: true,
        quorum: 2,
        signers: list(&several["seeds"])
            .iter()
            .zip(list(&several["namespaces"]))
            .map(signer)
            .collect(),
        prologue: Some(Prologue {
            hash: [4; 32],
            length: 3,
        }),
        linked: None,
        user_data: None,
    });
    let db = Verifier::of_manifest(manifest.unwrap());
    assert_eq!(db.key(), &hash(&several["key"]));
    assert_eq!(blobs_verifier(&db).unwrap().key(), &hash(&several["contentKey"]));
    assert!(blobs_verifier(&Verifier::compat([1; 32])).is_none());
}

#[tokio::test]
async fn a_drive_of_hyperdrive_10_is_read() {
    let vectors = vectors();
    let expected = &vectors["compat"];
    let store = store();
    let db = store
        .get(CoreOptions::compat(KeyPair::from_seed(&[1; 32])))
        .unwrap();
    let blobs = store
        .get(CoreOptions::compat(KeyPair::from_seed(&[2; 32])))
        .unwrap();
    let blocks: Vec<_> = list(&expected["db"]).iter().map(hex).collect();
    db.append(&blocks).await.unwrap();
    let content = content(uint(&expected["seed"]), uint(&expected["size"]));
    blobs
        .append(&content.chunks(BLOCK_BYTES).collect::<Vec<_>>())
        .await
        .unwrap();
    let drive = Drive::open_by_key(&store, &hash(&expected["key"])).unwrap();
    assert_eq!(
        drive.blobs().await.unwrap().core().key(),
        &hash(&expected["contentKey"])
    );
    assert_eq!(drive.get(text(&expected["path"])).await.unwrap(), Some(content));
    assert_blobs(drive.blobs().await.unwrap().core(), &expected["blobs"]).await;
}

#[tokio::test]
async fn an_encrypted_drive_is_read_with_its_key_only() {
    let (store, key) = (store(), [5; 32]);
    let with_key = || DriveOptions {
        encryption_key: Some(key),
        ..DriveOptions::default()
    };
    let drive = Drive::open_with(&store, with_key()).unwrap();
    drive.put("/secret", &content(1, 100_000)).await.unwrap();
    let again = Drive::open_by_key_with(&store, drive.key(), with_key()).unwrap();
    assert_eq!(again.get("/secret").await.unwrap(), Some(content(1, 100_000)));
    let middle = again.read("/secret", 70_000..80_000).await.unwrap().unwrap();
    assert_eq!(
        middle.to_vec(1 << 20).await.unwrap(),
        &content(1, 100_000)[70_000..80_000]
    );
    let without = Drive::open_by_key(&store, drive.key()).unwrap();
    assert!(without.get("/secret").await.is_err());
}

#[tokio::test]
async fn a_watcher_tells_of_changes_below_its_folder_only() {
    let drive = Drive::open(&store()).unwrap();
    let mut watcher = drive.watch("/in").unwrap();
    drive.put("/out", b"1").await.unwrap();
    let quiet = tokio::time::timeout(Duration::from_millis(50), watcher.next()).await;
    assert!(quiet.is_err());
    drive.put("/in/a", b"2").await.unwrap();
    let (now, before) = tokio::time::timeout(Duration::from_secs(5), watcher.next())
        .await
        .unwrap()
        .unwrap();
    assert!(now.exists("/in/a").await.unwrap());
    let mut differences = now.diff(before.version(), "/").unwrap();
    assert_eq!(
        differences.next().await.unwrap().unwrap().left.unwrap().path,
        "/in/a"
    );
}

#[tokio::test]
async fn clearing_frees_contents_and_keeps_names() {
    let drive = filled().await;
    assert!(drive.has("/big.bin").await.unwrap() && drive.has("/").await.unwrap());
    drive.clear("/big.bin").await.unwrap();
    drive.clear("/link").await.unwrap();
    assert!(!drive.has("/big.bin").await.unwrap() && !drive.has("/").await.unwrap());
    assert!(drive.has("/bin/").await.unwrap() && drive.exists("/big.bin").await.unwrap());
    drive.clear_all().await.unwrap();
    assert!(!drive.has("/bin/run").await.unwrap());
    assert!(!drive.has("/nothing").await.unwrap());
    assert_eq!(drive.download("/empty").unwrap().done().await.unwrap(), 0);
    drive.purge().await.unwrap();
    assert!(!drive.db().has(1).unwrap());
}

#[tokio::test]
async fn a_drive_goes_back_to_a_version_with_its_contents() {
    let drive = filled().await;
    drive.truncate(5).await.unwrap();
    assert_eq!(
        (drive.version(), drive.blobs().await.unwrap().core().length()),
        (5, 6)
    );
    assert_eq!(drive.get("/read me.txt").await.unwrap(), Some(content(1, 11)));
    drive.put("/after", b"after").await.unwrap();
    assert_eq!(drive.get("/after").await.unwrap().unwrap(), b"after");
    assert!(matches!(drive.truncate(50).await, Err(DriveError::Length { .. })));
}

#[tokio::test]
async fn a_writer_that_is_dropped_leaves_no_file() {
    let drive = Drive::open(&store()).unwrap();
    let mut writer = drive.writer("/a", PutOptions::default()).await.unwrap();
    writer.write(&vec![1; 40 * BLOCK_BYTES]).await.unwrap();
    drop(writer);
    let mut batch = drive.batch();
    batch
        .put("/b", &vec![2; 40 * BLOCK_BYTES], PutOptions::default())
        .await
        .unwrap();
    drop(batch);
    assert_eq!(collect(&drive, "/").await, []);
    let mut writer = drive.dedup_writer("/a", PutOptions::default()).await.unwrap();
    writer.write(&vec![1; 10 * BLOCK_BYTES]).await.unwrap();
    writer.finish().await.unwrap();
    assert_eq!(drive.get("/a").await.unwrap().unwrap(), vec![1; 10 * BLOCK_BYTES]);
}

#[tokio::test]
async fn notes_that_lie_are_named_and_those_after_them_are_read() {
    let drive = Drive::open(&store()).unwrap();
    drive.put("/a", b"a").await.unwrap();
    let files = Bee::new(drive.db().clone()).sub("files");
    let lies: [(&[u8], &str); 5] = [
        (b"/b", "not json"),
        (
            b"/c\xff",
            r#"{"blob":{"blockOffset":0,"byteOffset":0,"blockLength":1,"byteLength":1}}"#,
        ),
        (
            b"/d",
            r#"{"blob":{"blockOffset":1000,"byteOffset":0,"blockLength":9,"byteLength":9}}"#,
        ),
        (
            b"/e",
            r#"{"blob":{"blockOffset":0,"byteOffset":0,"blockLength":1,"byteLength":1000000}}"#,
        ),
        (
            b"/f/../../../etc/passwd",
            r#"{"blob":{"blockOffset":0,"byteOffset":0,"blockLength":9007199254740991,"byteLength":9}}"#,
        ),
    ];
    for (key, json) in lies {
        files.put(key, json).await.unwrap();
    }
    let (mut listed, mut wrong) = (Vec::new(), 0);
    let mut entries = drive.list("/").unwrap();
    loop {
        match entries.next().await {
            Ok(Some(entry)) => listed.push(entry.path),
            Ok(None) => break,
            Err(error @ DriveError::Entry { .. }) => {
                wrong += 1;
                assert!(error.to_string().contains("\"/b\""), "{error}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!((listed.len(), wrong), (5, 1));
    let (mut items, mut count) = (drive.read_dir("/").unwrap(), 0);
    while items.next().await.transpose().is_some() {
        count += 1;
    }
    assert_eq!(count, 6);
    for path in ["/d", "/e"] {
        let error = drive.get(path).await.unwrap_err();
        assert!(error.to_string().contains(path), "{error}");
    }
}
