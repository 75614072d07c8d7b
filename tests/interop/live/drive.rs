//! Drives over TCP, in both directions: a thousand small files and a large one, a range out of its middle, room that is freed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::{Peer, hex, tcp};
use hyper_core::corestore::Corestore;
use hyper_core::key;
use hyper_drive::drive::{Drive, PutOptions};
use hyper_drive::mirror::{Folder, MirrorOptions, to_folder};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use tempfile::TempDir;

const SCRIPT: &str = "drive.mjs";
const FILES: u64 = 1000;
const MIB: u64 = 1 << 20;
const BLOCK: u64 = 64 << 10;

/// Bytes of the large file.
const LARGE: u64 = 256 * MIB;

/// The content that both sides know how to make: byte `j` of MiB `k`.
fn mebibyte(seed: u64, k: u64) -> Vec<u8> {
    (0..MIB).map(|j| (seed + k + 3 * j + (j >> 8)) as u8).collect()
}

fn content(seed: u64, size: u64) -> impl Iterator<Item = Vec<u8>> {
    (0..size.div_ceil(MIB)).map(move |k| {
        let mut part = mebibyte(seed, k);
        part.truncate((size - k * MIB) as usize);
        part
    })
}

/// The hash of these bytes of a content.
fn hash_of(seed: u64, size: u64, range: std::ops::Range<u64>) -> String {
    let mut hash = Sha256::new();
    for (k, part) in (0..).zip(content(seed, size)) {
        let within = |byte: u64| byte.saturating_sub(k * MIB).min(part.len() as u64) as usize;
        hash.update(&part[within(range.start)..within(range.end)]);
    }
    hex(&hash.finalize())
}

/// A drive of ours, in a folder of its own, and theirs.
struct Both {
    script: Peer,
    folder: TempDir,
    store: Corestore,
    drive: Drive,
}

impl Both {
    /// They have a drive, and we read it.
    async fn theirs() -> Result<Self> {
        let mut script = Peer::start(SCRIPT, &[])?;
        let key = script.ask(&json!({"do": "open"})).await?;
        let key = key::parse(key["key"].as_str().context("no key")?)?;
        let (folder, store) = store()?;
        let drive = Drive::open_by_key(&store, &key)?;
        let port = script.ask(&json!({"do": "listen"})).await?["port"].as_u64();
        let port = u16::try_from(port.context("no port")?)?;
        store.replicate(tcp::connect(port).await?);
        Ok(Self {
            script,
            folder,
            store,
            drive,
        })
    }

    /// We have a drive, and they read it.
    async fn ours() -> Result<Self> {
        let mut script = Peer::start(SCRIPT, &[])?;
        let (folder, store) = store()?;
        let drive = Drive::open(&store)?;
        script
            .ask(&json!({"do": "open", "key": key::to_hex(drive.key())}))
            .await?;
        let serving = store.clone();
        let port = tcp::listen(move |link| drop(serving.replicate(link))).await?;
        script.ask(&json!({"do": "connect", "port": port})).await?;
        Ok(Self {
            script,
            folder,
            store,
            drive,
        })
    }

    async fn tell(&mut self, command: Value) -> Result<Value> {
        self.script.ask(&command).await
    }

    /// Waits until the drive has a file.
    async fn until(&self, path: &str) -> Result<()> {
        let mut watcher = self.drive.watch("/")?;
        while !within(self.drive.exists(path)).await?? {
            within(watcher.next()).await??;
        }
        Ok(())
    }

    /// Blocks of contents that are stored here.
    async fn stored(&self) -> Result<u64> {
        let core = self.drive.blobs().await?.core();
        let mut count = 0;
        for block in 0..core.length() {
            count += u64::from(core.has(block)?);
        }
        Ok(count)
    }
}

fn store() -> Result<(TempDir, Corestore)> {
    let folder = tempfile::tempdir()?;
    let store = Corestore::open(&folder.path().join("store"))?;
    Ok((folder, store))
}

async fn within<T>(what: impl Future<Output = T>) -> Result<T> {
    let limited = tokio::time::timeout(Duration::from_secs(60), what).await;
    limited.context("nothing came for 60 s")
}

/// Bytes of files that take room on the disk.
fn room(folder: &Path) -> Result<u64> {
    use std::os::unix::fs::MetadataExt;
    let mut sum = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let meta = entry.metadata()?;
        sum += if meta.is_dir() {
            room(&entry.path())?
        } else {
            meta.blocks() * 512
        };
    }
    Ok(sum)
}

async fn read(drive: &Drive, path: &str, range: std::ops::Range<u64>) -> Result<String> {
    let mut reader = drive.read(path, range).await?.context("no such file")?;
    let mut hash = Sha256::new();
    while let Some(bytes) = within(reader.next()).await?? {
        hash.update(&bytes);
    }
    Ok(hex(&hash.finalize()))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_of_theirs_is_read_in_parts_and_whole_mirrored_and_cleared() -> Result<()> {
    let mut both = Both::theirs().await?;
    let size = LARGE;
    both.tell(json!({"do": "fill", "files": FILES})).await?;
    both.tell(json!({"do": "put", "path": "/large", "seed": 7, "size": size}))
        .await?;
    both.until("/large").await?;

    let (drive, middle) = (&both.drive, size / 2 + 1000..size / 2 + 1000 + 3 * BLOCK);
    ensure!(read(drive, "/large", middle.clone()).await? == hash_of(7, size, middle));
    let stored = both.stored().await?;
    ensure!(stored < 16, "{stored} blocks came for a range of 4");
    ensure!(read(drive, "/large", 0..size).await? == hash_of(7, size, 0..size));

    // The first file is empty.
    let fetched = within(drive.download("/small")?.done()).await??;
    ensure!(fetched == FILES - 1, "{fetched} files were fetched");
    let out = tempfile::tempdir()?;
    let folder = Folder::open(out.path())?;
    let report = within(to_folder(drive, &folder, &MirrorOptions::default(), |_| {})).await??;
    ensure!(
        (report.added, report.left_out_count) == (FILES + 1, 0),
        "{report:?}"
    );
    for i in [0, 1, 500, FILES - 1] {
        let path = out.path().join(format!("small/{}/{i}", i % 10));
        ensure!(std::fs::read(path)? == mebibyte(i, 0)[..i as usize], "file {i}");
    }

    let blobs = drive.blobs().await?.core();
    ensure!(both.stored().await? == blobs.length());
    let before = room(both.folder.path())?;
    drive.clear("/large").await?;
    drop(read(drive, "/small/1/1", 0..1).await?);
    ensure!(both.stored().await? == blobs.length() - size / BLOCK);
    let after = room(both.folder.path())?;
    ensure!(
        after + size / 2 < before,
        "{before} bytes before, {after} after clearing {size}"
    );
    ensure!(both.store.open_cores() >= 2);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drive_of_ours_is_read_by_them_in_parts_and_whole() -> Result<()> {
    let mut both = Both::ours().await?;
    let size = LARGE;
    let mut batch = both.drive.batch();
    for i in 0..FILES {
        let options = PutOptions {
            executable: i % 2 == 1,
            metadata: None,
        };
        let path = format!("/small/{}/{i}", i % 10);
        batch.put(&path, &mebibyte(i, 0)[..i as usize], options).await?;
    }
    batch.flush().await?;
    let mut writer = both.drive.writer("/large", PutOptions::default()).await?;
    for part in content(7, size) {
        writer.write(&part).await?;
    }
    writer.finish().await?;
    both.tell(json!({"do": "until", "path": "/large"})).await?;

    let listed = both.tell(json!({"do": "list", "path": "/"})).await?;
    let mut hash = Sha256::new();
    let mut files = both.drive.list("/")?;
    while let Some(entry) = files.next().await? {
        let value = entry.value;
        let (executable, bytes) = (value.executable, value.blob.map_or(0, |id| id.byte_length));
        hash.update(format!("{} {executable} null {bytes}\n", entry.path));
    }
    ensure!(
        listed["count"] == FILES + 1 && listed["hash"] == hex(&hash.finalize()),
        "{listed}"
    );

    let (start, length) = (size / 2 + 1000, 3 * BLOCK);
    let part = both
        .tell(json!({"do": "read", "path": "/large", "start": start, "length": length}))
        .await?;
    ensure!(part["hash"] == hash_of(7, size, start..start + length), "{part}");
    let stored = both.tell(json!({"do": "stored"})).await?;
    ensure!(
        stored["stored"].as_u64().is_some_and(|stored| stored < 16),
        "{stored}"
    );
    let whole = both.tell(json!({"do": "read", "path": "/large"})).await?;
    ensure!(whole["hash"] == hash_of(7, size, 0..size), "{whole}");
    let all = both.tell(json!({"do": "download", "path": "/"})).await?;
    ensure!(
        all["stored"] == both.drive.blobs().await?.core().length(),
        "{all}"
    );
    let cleared = both.tell(json!({"do": "clear", "path": "/large"})).await?;
    ensure!(
        cleared["stored"].as_u64() == all["stored"].as_u64().map(|all| all - size / BLOCK),
        "{cleared}"
    );
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_are_heard_of_at_once_in_both_directions() -> Result<()> {
    let mut theirs = Both::theirs().await?;
    theirs
        .tell(json!({"do": "put", "path": "/a", "seed": 1, "size": 10}))
        .await?;
    theirs.until("/a").await?;
    theirs
        .tell(json!({"do": "symlink", "path": "/link", "target": "/a"}))
        .await?;
    theirs.until("/link").await?;
    let found = theirs
        .drive
        .follow("/link")
        .await?
        .context("the link leads nowhere")?;
    ensure!(found.path == "/a");
    let mut watcher = theirs.drive.watch("/")?;
    theirs.tell(json!({"do": "del", "path": "/a"})).await?;
    let (now, before) = within(watcher.next()).await??;
    ensure!(before.exists("/a").await? && !now.exists("/a").await?);

    // A file whose blocks they list, because it shares some with an earlier version.
    let size = 5 * MIB + 10;
    theirs
        .tell(json!({"do": "put", "path": "/d", "seed": 1, "size": size, "dedup": true}))
        .await?;
    theirs.until("/d").await?;
    let entry = theirs.drive.entry("/d").await?.context("no /d")?;
    ensure!(entry.value.blob.is_some_and(|id| id.block_map));
    ensure!(read(&theirs.drive, "/d", 0..size).await? == hash_of(1, size, 0..size));

    let mut ours = Both::ours().await?;
    ours.drive.put("/a", b"a").await?;
    ours.tell(json!({"do": "until", "path": "/a"})).await?;
    ours.drive.symlink("/link", "/a").await?;
    ours.tell(json!({"do": "until", "path": "/link"})).await?;
    let found = ours.tell(json!({"do": "follow", "path": "/link"})).await?;
    ensure!(found["key"] == "/a", "{found}");
    let mut writer = ours.drive.dedup_writer("/d", PutOptions::default()).await?;
    for part in content(1, size) {
        writer.write(&part).await?;
    }
    writer.finish().await?;
    ours.tell(json!({"do": "until", "path": "/d"})).await?;
    let whole = ours.tell(json!({"do": "read", "path": "/d"})).await?;
    ensure!(whole["hash"] == hash_of(1, size, 0..size), "{whole}");
    ours.drive.del("/a").await?;
    ours.tell(json!({"do": "until", "path": "/a", "gone": true}))
        .await?;
    Ok(())
}
