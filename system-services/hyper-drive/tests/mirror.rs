//! Folders and drives that become like each other, and drives that try to write elsewhere.

#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::{Arc, Mutex};

use common::content;
use hyper_core::corestore::Corestore;
use hyper_drive::drive::{Drive, EntryValue, PutOptions};
use hyper_drive::mirror::{
    Compare, Folder, Ignore, MirrorError, MirrorOptions, Progress, Report, to_drive, to_folder,
};
use proptest::prelude::*;
use tempfile::TempDir;

fn drive() -> Drive {
    Drive::open(&Corestore::in_memory().unwrap()).unwrap()
}

fn folder() -> (TempDir, Folder) {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::open(dir.path()).unwrap();
    (dir, folder)
}

async fn export(drive: &Drive, folder: &Folder) -> Report {
    to_folder(drive, folder, &MirrorOptions::default(), |_| {})
        .await
        .unwrap()
}

async fn import(folder: &Folder, drive: &Drive) -> Report {
    to_drive(folder, drive, &MirrorOptions::default(), |_| {})
        .await
        .unwrap()
}

/// Everything in a folder: a file's content and whether it may be run, or a link's target.
fn tree(root: &Path) -> BTreeMap<String, (Vec<u8>, bool)> {
    let (mut all, mut todo) = (BTreeMap::new(), vec![root.to_owned()]);
    while let Some(folder) = todo.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let meta = path.symlink_metadata().unwrap();
            if meta.is_dir() {
                todo.push(path);
                continue;
            }
            let name = format!("/{}", path.strip_prefix(root).unwrap().display());
            let what = if meta.is_symlink() {
                (
                    fs::read_link(&path)
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .as_bytes()
                        .to_vec(),
                    false,
                )
            } else {
                (fs::read(&path).unwrap(), meta.mode() & 0o100 != 0)
            };
            all.insert(name, what);
        }
    }
    all
}

fn write(root: &Path, path: &str, content: &[u8], executable: bool) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, content).unwrap();
    fs::set_permissions(
        &path,
        fs::Permissions::from_mode(if executable { 0o755 } else { 0o644 }),
    )
    .unwrap();
}

#[tokio::test]
async fn a_folder_goes_into_a_drive_and_out_again_unchanged() {
    let (dir, from) = folder();
    write(dir.path(), "a.txt", b"a", false);
    write(dir.path(), "a", b"", false);
    write(dir.path(), "b/run", &content(1, 200_000), true);
    write(dir.path(), "b!/ü ö/x", &content(2, 65536), false);
    symlink("run", dir.path().join("b/rel")).unwrap();
    symlink(
        dir.path().canonicalize().unwrap().join("b/run"),
        dir.path().join("abs"),
    )
    .unwrap();
    let drive = drive();
    let report = import(&from, &drive).await;
    assert_eq!(
        (
            report.files,
            report.added,
            report.left_out_count,
            report.bytes_copied
        ),
        (6, 6, 0, 265_537)
    );
    assert_eq!(
        drive
            .entry("/abs")
            .await
            .unwrap()
            .unwrap()
            .value
            .linkname
            .unwrap(),
        "/b/run"
    );
    let (other, to) = folder();
    let report = export(&drive, &to).await;
    assert_eq!((report.files, report.added, report.left_out_count), (6, 6, 0));
    let mut expected = tree(dir.path());
    expected.insert("/abs".to_owned(), (b"b/run".to_vec(), false));
    assert_eq!(tree(other.path()), expected);

    let version = drive.version();
    for report in [
        export(&drive, &to).await,
        import(&to, &drive).await,
        import(&from, &drive).await,
    ] {
        assert_eq!(
            (report.added, report.changed, report.removed, report.bytes_copied),
            (0, 0, 0, 0)
        );
    }
    assert_eq!(drive.version(), version);
}

#[tokio::test]
async fn only_what_changed_is_copied_and_what_is_gone_goes() {
    let (dir, folder) = folder();
    let drive = drive();
    for (path, content) in [
        ("/same", "same"),
        ("/changed", "old!"),
        ("/longer", "1"),
        ("/gone/a", "a"),
        ("/gone/b/c", "c"),
        ("/bit", "#!"),
        ("/was/folder", "f"),
    ] {
        drive.put(path, content.as_bytes()).await.unwrap();
    }
    export(&drive, &folder).await;
    drive.put("/changed", b"new!").await.unwrap();
    drive.put("/longer", b"12").await.unwrap();
    for path in ["/gone/a", "/gone/b/c", "/was/folder"] {
        drive.del(path).await.unwrap();
    }
    drive.put("/was", b"a file now").await.unwrap();
    let value = drive.entry("/bit").await.unwrap().unwrap().value;
    drive
        .put_entry(
            "/bit",
            &EntryValue {
                executable: true,
                ..value
            },
        )
        .await
        .unwrap();

    let plan = MirrorOptions {
        dry_run: true,
        ..MirrorOptions::default()
    };
    let before = tree(dir.path());
    let planned = to_folder(&drive, &folder, &plan, |_| {}).await.unwrap();
    assert_eq!(tree(dir.path()), before);
    let report = export(&drive, &folder).await;
    assert_eq!(
        (report.added, report.changed, report.removed, report.bytes_copied),
        (1, 3, 3, 16)
    );
    assert_eq!(planned, report);
    assert!(!dir.path().join("gone").exists());
    let now = tree(dir.path());
    assert_eq!(now["/changed"], (b"new!".to_vec(), false));
    assert_eq!(now["/bit"], (b"#!".to_vec(), true));
    assert_eq!(now["/was"].0, b"a file now");

    // And the other way round.
    fs::remove_file(dir.path().join("same")).unwrap();
    write(dir.path(), "changed", b"back", false);
    write(dir.path(), "bit", b"#!", false);
    let planned = to_drive(&folder, &drive, &plan, |_| {}).await.unwrap();
    let report = import(&folder, &drive).await;
    assert_eq!(
        (report.added, report.changed, report.removed, report.bytes_copied),
        (0, 2, 1, 4)
    );
    assert_eq!(planned, report);
    assert!(!drive.exists("/same").await.unwrap());
    assert_eq!(drive.get("/changed").await.unwrap().unwrap(), b"back");
    assert!(!drive.entry("/bit").await.unwrap().unwrap().value.executable);
}

#[tokio::test]
async fn what_is_ignored_or_not_to_be_pruned_stays() {
    let (dir, folder) = folder();
    let drive = drive();
    drive.put("/mine/secret", b"drive").await.unwrap();
    drive.put("/new", b"new").await.unwrap();
    write(dir.path(), "mine/secret", b"folder", false);
    write(dir.path(), "minetoo", b"kept", false);
    let options = MirrorOptions {
        prune: false,
        ignore: Ignore::new(["mine/"]).unwrap(),
        ..MirrorOptions::default()
    };
    to_folder(&drive, &folder, &options, |_| {}).await.unwrap();
    let pruned = MirrorOptions {
        prune: true,
        ..options
    };
    assert_eq!(tree(dir.path()).len(), 3);
    to_folder(&drive, &folder, &pruned, |_| {}).await.unwrap();
    let names: Vec<_> = tree(dir.path()).into_keys().collect();
    assert_eq!(names, ["/mine/secret", "/new"]);
    assert_eq!(tree(dir.path())["/mine/secret"].0, b"folder");
    to_drive(&folder, &drive, &pruned, |_| {}).await.unwrap();
    assert_eq!(drive.get("/mine/secret").await.unwrap().unwrap(), b"drive");
}

#[tokio::test]
async fn files_of_the_same_length_are_compared_only_if_that_is_wished() {
    let (dir, folder) = folder();
    let drive = drive();
    drive.put("/a", b"one").await.unwrap();
    write(dir.path(), "a", b"two", false);
    let by_size = MirrorOptions {
        compare: Compare::Size,
        ..MirrorOptions::default()
    };
    to_folder(&drive, &folder, &by_size, |_| {}).await.unwrap();
    assert_eq!(tree(dir.path())["/a"].0, b"two");
    export(&drive, &folder).await;
    assert_eq!(tree(dir.path())["/a"].0, b"one");
}

#[tokio::test]
async fn a_hostile_drive_writes_nothing_outside_the_folder() {
    let outer = tempfile::tempdir().unwrap();
    write(outer.path(), "secret", b"secret", false);
    let root = outer.path().join("root");
    fs::create_dir(&root).unwrap();
    let folder = Folder::open(&root).unwrap();
    // What the owner has linked himself is not followed either.
    symlink(outer.path(), root.join("own")).unwrap();
    symlink(outer.path().join("secret"), root.join("file")).unwrap();
    let drive = drive();
    let files = hyper_drive::bee::Bee::new(drive.db().clone()).sub("files");
    let blob = r#"{"blob":{"blockOffset":0,"byteOffset":0,"blockLength":1,"byteLength":4}}"#;
    drive.blobs().await.unwrap().put(b"evil").await.unwrap();
    let link = |target: &str| format!(r#"{{"linkname":{target:?}}}"#);
    for path in [
        "../secret",
        "/../secret",
        "/x/../../secret",
        "/./x",
        "//x",
        "/x//y",
        "/",
        "",
        "/a\\..\\b",
        "/.hyper-drive-part-0-0",
        "/own/secret",
        "/file/x",
    ] {
        files.put(path, blob).await.unwrap();
    }
    files.put(b"/nul\0", blob).await.unwrap();
    files.put(b"/\xff", blob).await.unwrap();
    for (path, target) in [
        ("/l1", "../secret"),
        ("/l2", "/../secret"),
        ("/d/l3", "../../secret"),
        ("/l4", "d/../../secret"),
        ("/l5", "/etc/passwd"),
    ] {
        files.put(path, link(target)).await.unwrap();
    }
    // A link, and a file behind it: only one of the two can be.
    files.put("/hop", link("/own")).await.unwrap();
    files.put("/hop/secret", blob).await.unwrap();
    files.put("/good", blob).await.unwrap();
    files.put("/file", blob).await.unwrap();
    let options = MirrorOptions {
        prune: false,
        ..MirrorOptions::default()
    };
    let report = to_folder(&drive, &folder, &options, |_| {}).await.unwrap();
    assert_eq!(fs::read(outer.path().join("secret")).unwrap(), b"secret");
    let outside: Vec<_> = fs::read_dir(outer.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    assert_eq!(outside.len(), 2, "{outside:?}");
    let now = tree(&root);
    let names: Vec<_> = now.keys().map(String::as_str).collect();
    assert_eq!(now["/good"].0, b"evil");
    assert_eq!(now["/l5"].0, b"etc/passwd");
    assert!(
        names
            .iter()
            .all(|name| ["/good", "/l5", "/own", "/file", "/hop", "/hop/secret", "/file/x"].contains(name)),
        "{names:?}"
    );
    assert!(report.left_out_count == 16, "{:#?}", report.left_out);
    // Pruning removes the owner's links, not what they lead to.
    export(&drive, &folder).await;
    assert_eq!(fs::read(outer.path().join("secret")).unwrap(), b"secret");
}

#[tokio::test]
async fn what_cannot_be_read_or_named_is_left_out_and_not_pruned() {
    use std::os::unix::ffi::OsStrExt;
    let (dir, folder) = folder();
    let drive = drive();
    for path in ["/a\u{1}/x", "/out", "/keep"] {
        drive.put(path, b"x").await.unwrap();
    }
    write(dir.path(), "keep", b"x", false);
    write(dir.path(), "back\\slash", b"x", false);
    fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"n\xff")), b"x").unwrap();
    symlink("/etc/passwd", dir.path().join("out")).unwrap();
    let report = import(&folder, &drive).await;
    assert_eq!(
        (report.left_out_count, report.removed),
        (3, 1),
        "{:?}",
        report.left_out
    );
    assert_eq!(drive.get("/out").await.unwrap().unwrap(), b"x");
}

#[tokio::test]
async fn unfinished_files_are_tidied_away_but_not_those_that_are_being_written() {
    let (dir, folder) = folder();
    let drive = drive();
    drive.put("/a/b", b"x").await.unwrap();
    let (left, open) = (
        dir.path().join(".hyper-drive-part-1-1"),
        dir.path().join(".hyper-drive-part-1-2"),
    );
    fs::write(&left, b"half").unwrap();
    let writer = fs::File::create(&open).unwrap();
    rustix::fs::flock(&writer, rustix::fs::FlockOperation::LockExclusive).unwrap();
    assert_eq!(import(&folder, &self::drive()).await.files, 0);
    export(&drive, &folder).await;
    assert!(!left.exists() && open.exists());
}

#[tokio::test]
async fn a_file_that_cannot_be_had_leaves_the_old_one_and_the_others_are_copied() {
    let (dir, folder) = folder();
    let drive = drive();
    drive.put("/long", &content(1, 300_000)).await.unwrap();
    drive.put("/other", b"other").await.unwrap();
    write(dir.path(), "long", b"old", false);
    let blocks = drive
        .entry("/long")
        .await
        .unwrap()
        .unwrap()
        .value
        .blob
        .unwrap()
        .blocks();
    drive
        .blobs()
        .await
        .unwrap()
        .core()
        .clear(blocks.end - 1..blocks.end)
        .await
        .unwrap();
    let options = MirrorOptions {
        timeout: Some(std::time::Duration::from_millis(50)),
        ..MirrorOptions::default()
    };
    let report = to_folder(&drive, &folder, &options, |_| {}).await.unwrap();
    assert_eq!((report.added, report.left_out_count), (1, 1), "{report:?}");
    assert_eq!(report.left_out[0].path, "/long");
    let now = tree(dir.path());
    assert_eq!(
        (now["/long"].0.as_slice(), now["/other"].0.as_slice(), now.len()),
        (&b"old"[..], &b"other"[..], 2)
    );
}

#[tokio::test]
async fn a_drive_of_which_nothing_is_known_empties_no_folder() {
    let (dir, folder) = folder();
    write(dir.path(), "a", b"x", false);
    let unknown = Drive::open_by_key(&Corestore::in_memory().unwrap(), &[9; 32]).unwrap();
    let refused = to_folder(&unknown, &folder, &MirrorOptions::default(), |_| {})
        .await
        .unwrap_err();
    assert!(matches!(refused, MirrorError::NothingKnown(_)), "{refused}");
    let refused = to_drive(&folder, &unknown, &MirrorOptions::default(), |_| {})
        .await
        .unwrap_err();
    assert!(matches!(refused, MirrorError::NotWritable(_)), "{refused}");
    assert_eq!(tree(dir.path()).len(), 1);
}

#[tokio::test]
async fn progress_goes_up_to_its_total() {
    let (_dir, folder) = folder();
    let drive = drive();
    for i in 0..20 {
        drive
            .put(&format!("/{i}"), &content(i, i * 10_000))
            .await
            .unwrap();
    }
    let seen = Arc::new(Mutex::new(Vec::<Progress>::new()));
    let tell = Arc::clone(&seen);
    to_folder(&drive, &folder, &MirrorOptions::default(), move |progress| {
        tell.lock().unwrap().push(*progress)
    })
    .await
    .unwrap();
    let seen = seen.lock().unwrap();
    let last = seen.last().unwrap();
    assert_eq!(
        (last.files, last.total_files, last.bytes, last.total_bytes),
        (20, 20, 1_900_000, 1_900_000)
    );
    assert!(
        seen.iter()
            .all(|progress| progress.bytes <= progress.total_bytes && progress.files <= 20)
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn whatever_was_there_becomes_what_is_there(source in trees(), target in trees()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let ((dir, folder), drive) = (folder(), drive());
            for (path, (seed, executable)) in &target {
                write(dir.path(), path, &content(*seed, *seed), *executable);
            }
            for (path, (seed, executable)) in &source {
                let options = PutOptions { executable: *executable, metadata: None };
                drive.put_with(path, &content(*seed, *seed), options).await.unwrap();
            }
            let report = export(&drive, &folder).await;
            assert_eq!(report.left_out, []);
            let expected: BTreeMap<_, _> = source.iter().map(|(path, (seed, executable))| (format!("/{path}"), (content(*seed, *seed), *executable))).collect();
            assert_eq!(tree(dir.path()), expected);
            let back = self::drive();
            for (path, (seed, _)) in &target {
                back.put(path, &content(*seed, *seed)).await.unwrap();
            }
            import(&folder, &back).await;
            let again = export(&back, &folder).await;
            assert_eq!((again.added, again.changed, again.removed), (0, 0, 0));
        });
    }
}

/// Small trees in which no file lies below another.
fn trees() -> impl Strategy<Value = BTreeMap<String, (u64, bool)>> {
    let path = "[ab!0](/[ab!]){0,2}";
    proptest::collection::btree_map(path, (0u64..4, any::<bool>()), 0..8).prop_map(|mut tree| {
        let paths: Vec<String> = tree.keys().cloned().collect();
        tree.retain(|path, _| !paths.iter().any(|other| other.starts_with(&format!("{path}/"))));
        tree
    })
}
