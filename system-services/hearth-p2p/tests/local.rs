//! The verbs that need no network: what they print, what they leave behind, how they end.

#![allow(clippy::unwrap_used)]

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

struct Cli {
    folder: TempDir,
}

impl Cli {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self { folder }
    }

    fn storage(&self) -> std::path::PathBuf {
        self.folder.path().join("storage")
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn run_with(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = Command::new(env!("CARGO_BIN_EXE_hearth-p2p"))
            .args(arguments)
            .arg("--storage")
            .arg(self.storage())
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // A verb that reads nothing may have ended.
        let _ = child.stdin.take().unwrap().write_all(input);
        child.wait_with_output().unwrap()
    }

    /// What it prints, if it ends well.
    fn ok(&self, arguments: &[&str], input: &[u8]) -> Vec<u8> {
        let output = self.run_with(arguments, input);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {errors}");
        assert!(errors.is_empty(), "{arguments:?}: {errors}");
        output.stdout
    }

    fn json(&self, arguments: &[&str], input: &[u8]) -> Vec<Value> {
        let mut arguments = arguments.to_vec();
        arguments.push("--json");
        lines(&self.ok(&arguments, input))
    }

    /// The exit code and what is said of it.
    fn fails(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run_with(arguments, b"");
        assert!(output.stdout.is_empty(), "{arguments:?}");
        (
            output.status.code().unwrap(),
            String::from_utf8(output.stderr).unwrap(),
        )
    }
}

fn lines(stdout: &[u8]) -> Vec<Value> {
    let text = std::str::from_utf8(stdout).unwrap();
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

fn mode(path: &Path) -> u32 {
    path.metadata().unwrap().permissions().mode() & 0o777
}

#[test]
fn a_core_is_made_written_and_read() {
    let cli = Cli::new();
    let created = &cli.json(&["core", "create", "log"], b"")[0];
    assert_eq!(
        (&created["event"], &created["name"]),
        (&"core".into(), &"log".into())
    );
    let key = created["key"].as_str().unwrap();
    assert_eq!(key.len(), 52);
    assert_eq!(mode(&cli.storage()), 0o700);
    cli.ok(&["core", "append", "log", "one", "two"], b"");
    let appended = cli.json(&["core", "append", key, "--lines"], b"three\n\nfour");
    assert_eq!(appended.last().unwrap()["length"], 5);
    assert_eq!(cli.ok(&["core", "cat", key], b""), b"onetwothreefour");
    assert_eq!(
        cli.ok(&["core", "cat", "log", "--from", "2", "--lines"], b""),
        b"three\n\nfour\n"
    );
    let blocks = cli.json(&["core", "cat", "log", "--to", "1"], b"");
    assert_eq!(
        blocks,
        [serde_json::json!({"event": "block", "block": 0, "value": "one"})]
    );
    let info = &cli.json(&["core", "info", key], b"")[0];
    assert_eq!(
        (&info["length"], &info["byteLength"], &info["writable"]),
        (&5.into(), &15.into(), &true.into())
    );
    assert_eq!(cli.json(&["core", "list"], b"")[0]["key"], key);
}

#[test]
fn a_file_is_appended_in_pieces_and_comes_back() {
    let cli = Cli::new();
    let bytes: Vec<u8> = (0..1_000_000u32)
        .map(|i| (i.wrapping_mul(i) >> 7) as u8)
        .collect();
    std::fs::write(cli.path("file"), &bytes).unwrap();
    cli.ok(&["core", "append", "file", "--file", &cli.path("file")], b"");
    assert_eq!(cli.json(&["core", "info", "file"], b"")[0]["length"], 16);
    assert!(cli.ok(&["core", "cat", "file"], b"") == bytes);
}

#[test]
fn an_encrypted_core_is_read_with_its_key_alone() {
    let cli = Cli::new();
    let secret = cli.path("secret");
    cli.ok(&["key", "new", &secret], b"");
    assert_eq!(mode(Path::new(&secret)), 0o600);
    cli.ok(
        &[
            "core",
            "append",
            "diary",
            "dear diary",
            "--encryption-key",
            &secret,
        ],
        b"",
    );
    assert_eq!(
        cli.ok(&["core", "cat", "diary", "--encryption-key", &secret], b""),
        b"dear diary"
    );
    let stored = cli.ok(&["core", "cat", "diary"], b"");
    assert_eq!(stored.len(), 18);
    assert!(!stored.windows(4).any(|part| part == b"dear"));
}

#[test]
fn a_primary_key_gives_the_same_cores_in_another_storage() {
    let (here, there) = (Cli::new(), Cli::new());
    let key = &here.json(&["core", "create", "log"], b"")[0]["key"];
    let backup = here.path("backup");
    let exported = here.json(&["key", "export", &backup], b"");
    let created = there.json(&["core", "create", "log", "--primary-key", &backup], b"");
    assert_eq!(&created[0]["key"], key);
    assert_eq!(there.json(&["key", "show", "--primary"], b""), exported);
    let (code, said) = Cli::new().fails(&["core", "list", "--primary-key", "/nowhere/at/all"]);
    assert_eq!(code, 3, "{said}");
    let other = Cli::new();
    other.ok(&["core", "create", "log"], b"");
    let (code, said) = other.fails(&["core", "list", "--primary-key", &backup]);
    assert_eq!(code, 6, "{said}");
}

#[test]
fn keys_are_converted_and_mistyped_ones_explained() {
    let cli = Cli::new();
    let hex = "8a88e3dd7409f195fd52db2d3cba5d72ca6709bf1d94121bf3748801b40f6f5c";
    let z32 = "tkrq8zmwb8a3m9k15csu3q17qmfgqnp9dskbrg9uq1rydpyxp7qy";
    for key in [hex.to_owned(), z32.to_owned(), format!("pear://{z32}/file")] {
        let said = &cli.json(&["key", "convert", &key], b"")[0];
        assert_eq!((&said["key"], &said["hex"]), (&z32.into(), &hex.into()));
    }
    let (code, said) = cli.fails(&["key", "convert", &z32.replace('q', "l")]);
    assert_eq!(code, 2);
    assert!(said.contains("no 'l', character 4 of"), "{said}");
    let (code, said) = cli.fails(&["core", "append", &z32.replace('q', "l"), "x"]);
    assert_eq!(code, 2, "{said}");
}

#[test]
fn what_is_not_there_is_said_with_the_next_step() {
    let cli = Cli::new();
    let (code, said) = cli.fails(&["core", "cat", "log"]);
    assert_eq!(code, 3);
    assert!(said.contains("core create log"), "{said}");
    cli.ok(&["core", "append", "log", "one"], b"");
    let (code, _) = cli.fails(&["core", "cat", "log", "--to", "2"]);
    assert_eq!(code, 3);
    let unknown = "tkrq8zmwb8a3m9k15csu3q17qmfgqnp9dskbrg9uq1rydpyxp7qy";
    let (code, said) = cli.fails(&["core", "info", unknown]);
    assert_eq!(code, 3);
    assert!(said.contains("core download"), "{said}");
    let (code, _) = cli.fails(&["core", "append", unknown, "x"]);
    assert_eq!(code, 6);
    let output = cli.run_with(&["core", "cat", "nothing", "--json"], b"");
    let said = lines(&output.stdout);
    assert_eq!(
        (&said[0]["event"], &said[0]["code"]),
        (&"error".into(), &3.into())
    );
}

#[test]
fn a_secret_is_not_overwritten() {
    let cli = Cli::new();
    let secret = cli.path("secret");
    let key = cli.json(&["key", "new", &secret], b"");
    let (code, _) = cli.fails(&["key", "new", &secret]);
    assert_eq!(code, 6);
    assert_eq!(cli.json(&["key", "show", &secret], b""), key);
    let text = std::fs::read(&secret).unwrap();
    assert_eq!(cli.json(&["key", "show", "-"], &text), key);
}

#[test]
fn a_damaged_storage_is_named() {
    let cli = Cli::new();
    let cores = cli.storage().join("cores");
    std::fs::create_dir_all(&cores).unwrap();
    std::fs::write(cores.join("index"), b"not a database").unwrap();
    let (code, said) = cli.fails(&["core", "list"]);
    assert_eq!(code, 5);
    assert!(said.contains("cores"), "{said}");
}

#[test]
fn an_audit_names_damaged_blocks_and_forgets_them_when_told_to() {
    let cli = Cli::new();
    cli.ok(&["core", "append", "log", "one", "two", "three"], b"");
    let whole = cli.json(&["core", "audit", "--all"], b"");
    assert_eq!(
        (&whole[0]["event"], &whole[0]["blocks"]),
        (&json!("audited"), &json!(3))
    );
    let blocks = cli.storage().join("cores/blocks-00000000");
    let mut bytes = std::fs::read(&blocks).unwrap();
    let at = bytes.windows(3).position(|bytes| bytes == b"two").unwrap();
    bytes[at] ^= 1;
    std::fs::write(&blocks, bytes).unwrap();
    let damaged = cli.run_with(&["core", "audit", "log", "--clear"], b"");
    assert_eq!(damaged.status.code(), Some(5));
    let said = String::from_utf8(damaged.stdout).unwrap();
    assert!(said.contains("block 1 is not what was stored"), "{said}");
    cli.ok(&["core", "audit", "log"], b"");
    assert_eq!(cli.run_with(&["core", "cat", "log"], b"").status.code(), Some(3));
    // A key that is nowhere in the storage is not looked through, and not entered.
    let unknown = cli.run_with(&["core", "audit", &"ab".repeat(32)], b"");
    assert_eq!(unknown.status.code(), Some(3));
    assert_eq!(cli.json(&["core", "list", "--all"], b"").len(), 1);
}

#[test]
fn a_storage_that_lost_changes_is_read_and_not_written_until_they_are_given_up() {
    let cli = Cli::new();
    // What is left when the power goes after three appends, and the disk then loses the second.
    let cut_off = tempfile::tempdir().unwrap();
    let pair = hyper_core::crypto::KeyPair::from_seed(&[1; 32]);
    let store = hyper_core::corestore::Corestore::open(cut_off.path()).unwrap();
    let core = store
        .store()
        .core(hyper_core::core::CoreOptions::from_key_pair(pair))
        .unwrap();
    let log = cut_off.path().join("cores/log");
    let ends = ["one", "two", "three"].map(|block| {
        core.append(&[block]).unwrap();
        std::fs::metadata(&log).unwrap().len()
    });
    copy(cut_off.path(), &cli.storage());
    let damaged = cli.storage().join("cores/log");
    let mut bytes = std::fs::read(&damaged).unwrap();
    bytes[ends[1] as usize - 1] ^= 1;
    std::fs::write(&damaged, bytes).unwrap();

    let key = hyper_core::key::to_z32(core.key());
    let read = cli.run_with(&["core", "cat", &key], b"");
    assert!(read.status.success() && read.stdout == b"one", "{read:?}");
    let said = String::from_utf8(read.stderr).unwrap();
    assert!(
        said.contains("open for reading only") && said.contains("core audit --all --clear"),
        "{said}"
    );
    let (code, said) = cli.fails(&["core", "append", &key, "other"]);
    let place = format!("damaged at byte {}", ends[0]);
    assert!(
        code == 5 && said.contains("takes no changes") && said.contains(&place),
        "{said}"
    );
    let audit = |clear: &[&str]| {
        let ended = cli.run_with(&[&["core", "audit", "--all"], clear].concat(), b"");
        (ended.status.code(), String::from_utf8(ended.stderr).unwrap())
    };
    let (code, said) = audit(&[]);
    assert!(
        code == Some(5) && said.contains("at least 1 of its last changes"),
        "{said}"
    );
    let (code, said) = cli.fails(&["core", "audit", &key, "--clear"]);
    assert!(code == 5 && said.contains("core audit --all --clear"), "{said}");
    let (code, said) = audit(&["--clear"]);
    assert!(code == Some(5) && said.contains("download KEY --live"), "{said}");
    assert_eq!(audit(&[]).0, Some(0));
    cli.ok(&["core", "append", &key, "other"], b"");
}

/// Copies a folder with what is in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

#[test]
fn a_bee_is_written_read_and_remembers() {
    let cli = Cli::new();
    let put = cli.json(&["bee", "put", "phones", "alice", "1"], b"");
    assert_eq!(put, [serde_json::json!({"event": "version", "version": 2})]);
    cli.ok(&["bee", "put", "phones", "alice"], b"2");
    cli.ok(
        &["bee", "put", "phones", "--lines"],
        b"bob\t3\ncarol\t4\nalbert\t5\n",
    );
    assert_eq!(cli.ok(&["bee", "get", "phones", "alice"], b""), b"2");
    assert_eq!(
        cli.ok(&["bee", "get", "phones", "alice", "--version", "2"], b""),
        b"1"
    );
    assert_eq!(
        cli.ok(&["bee", "scan", "phones", "--prefix", "al"], b""),
        b"albert\t5\nalice\t2\n"
    );
    let reversed = cli.ok(&["bee", "scan", "phones", "--reverse", "--limit", "1"], b"");
    assert_eq!(reversed, b"carol\t4\n");
    assert_eq!(
        cli.ok(&["bee", "scan", "phones", "--from", "b", "--to", "c"], b""),
        b"bob\t3\n"
    );
    cli.ok(&["bee", "del", "phones", "bob"], b"");
    let history = cli.json(&["bee", "history", "phones", "--from", "3", "--reverse"], b"");
    assert_eq!(
        history[0],
        serde_json::json!({"event": "del", "seq": 6, "key": "bob"})
    );
    assert_eq!(
        history[3],
        serde_json::json!({"event": "put", "seq": 3, "key": "bob", "value": "3"})
    );
    assert_eq!(history.len(), 4);
}

#[test]
fn a_condition_that_does_not_hold_changes_nothing() {
    let cli = Cli::new();
    cli.ok(&["bee", "put", "phones", "alice", "1", "--if-absent"], b"");
    for arguments in [
        &["bee", "put", "phones", "alice", "2", "--if-absent"][..],
        &["bee", "put", "phones", "alice", "2", "--if-value", "3"],
        &["bee", "put", "phones", "bob", "2", "--if-value", "3"],
        &["bee", "del", "phones", "alice", "--if-value", "3"],
    ] {
        assert_eq!(cli.fails(arguments).0, 6, "{arguments:?}");
    }
    cli.ok(&["bee", "put", "phones", "alice", "2", "--if-value", "1"], b"");
    cli.ok(&["bee", "del", "phones", "alice", "--if-value", "2"], b"");
    for arguments in [
        &["bee", "get", "phones", "alice"][..],
        &["bee", "del", "phones", "alice"],
        &["bee", "scan", "no"],
    ] {
        assert_eq!(cli.fails(arguments).0, 3, "{arguments:?}");
    }
}

#[test]
fn sub_databases_do_not_meet() {
    let cli = Cli::new();
    cli.ok(&["bee", "put", "all", "key", "inner", "--sub", "a"], b"");
    cli.ok(&["bee", "put", "all", "key", "outer"], b"");
    assert_eq!(cli.ok(&["bee", "get", "all", "key", "--sub", "a"], b""), b"inner");
    assert_eq!(
        cli.ok(&["bee", "scan", "all", "--sub", "a"], b""),
        b"key\tinner\n"
    );
    assert_eq!(cli.ok(&["bee", "get", "all", "key"], b""), b"outer");
}

#[test]
fn a_drive_holds_files() {
    let cli = Cli::new();
    let bytes: Vec<u8> = (0..300_000u32).map(|i| (i.wrapping_mul(i) >> 7) as u8).collect();
    std::fs::write(cli.path("film"), &bytes).unwrap();
    cli.ok(&["drive", "put", "films", &cli.path("film")], b"");
    cli.ok(&["drive", "put", "films", "-", "/notes/a.txt"], b"hello");
    assert!(cli.ok(&["drive", "get", "films", "/film"], b"") == bytes);
    let part = cli.ok(
        &[
            "drive", "get", "films", "film", "--from", "100000", "--to", "200000",
        ],
        b"",
    );
    assert!(part == bytes[100_000..200_000]);
    cli.ok(&["drive", "get", "films", "film", &cli.path("copy")], b"");
    assert!(std::fs::read(cli.path("copy")).unwrap() == bytes);
    let listed = cli.json(&["drive", "ls", "films"], b"");
    assert_eq!(
        (&listed[0]["path"], &listed[0]["bytes"]),
        (&"film".into(), &300_000.into())
    );
    assert_eq!(listed[1], serde_json::json!({"event": "folder", "path": "notes"}));
    assert_eq!(
        cli.json(&["drive", "ls", "films", "-r"], b"")[1]["path"],
        "/notes/a.txt"
    );
    cli.ok(&["drive", "del", "films", "/film"], b"");
    for arguments in [
        &["drive", "get", "films", "/film"][..],
        &["drive", "del", "films", "/film"],
        &["drive", "ls", "unknown"],
        &["drive", "put", "films", "/not/there"],
    ] {
        assert_eq!(cli.fails(arguments).0, 3, "{arguments:?}");
    }
    assert!(cli.ok(&["drive", "get", "films", "/film", "--version", "3"], b"") == bytes);
}

#[test]
fn a_folder_goes_into_a_drive_and_out_again() {
    let cli = Cli::new();
    std::fs::create_dir_all(cli.path("from/inner")).unwrap();
    std::fs::write(cli.path("from/inner/script"), b"#!/bin/sh").unwrap();
    std::fs::set_permissions(
        cli.path("from/inner/script"),
        std::fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    std::fs::write(cli.path("from/empty"), b"").unwrap();
    let up = cli.json(&["drive", "mirror", "films", &cli.path("from"), "--up"], b"");
    assert_eq!(
        (&up.last().unwrap()["event"], &up.last().unwrap()["added"]),
        (&"mirrored".into(), &2.into())
    );
    cli.ok(&["drive", "mirror", "films", &cli.path("to")], b"");
    assert_eq!(std::fs::read(cli.path("to/inner/script")).unwrap(), b"#!/bin/sh");
    assert_eq!(mode(Path::new(&cli.path("to/inner/script"))) & 0o100, 0o100);
    std::fs::remove_file(cli.path("from/empty")).unwrap();
    cli.ok(
        &["drive", "mirror", "films", &cli.path("from"), "--up", "--prune"],
        b"",
    );
    cli.ok(&["drive", "mirror", "films", &cli.path("to"), "--prune"], b"");
    assert!(!Path::new(&cli.path("to/empty")).exists());
}
