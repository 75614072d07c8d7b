//! Two programs that give each other cores, bees and drives, over TCP on this computer.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Lines, Write};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;

fn command(arguments: &[&str], storage: &PathBuf) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hearth-p2p"));
    command
        .args(arguments)
        .args(["--json", "--storage"])
        .arg(storage)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    command
}

/// A computer.
struct Computer(TempDir);

impl Computer {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn storage(&self) -> PathBuf {
        self.0.path().join("storage")
    }

    /// Runs a verb to its end: the exit code and what it says.
    fn run(&self, arguments: &[&str]) -> (i32, Vec<Value>) {
        let output = command(arguments, &self.storage()).output().unwrap();
        let lines = BufReader::new(&output.stdout[..]).lines();
        let said = lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        (output.status.code().unwrap(), said.collect())
    }

    /// The last thing that a verb says of other things than peers. It ends well.
    fn last(&self, arguments: &[&str]) -> Value {
        let (code, mut said) = self.run(arguments);
        assert_eq!(code, 0, "{arguments:?}: {said:?}");
        said.retain(|said| said.get("peer").is_none());
        said.pop().unwrap()
    }

    /// Starts a verb that takes peers.
    fn serve(&self, arguments: &[&str]) -> Serving {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--tcp-listen", "127.0.0.1:0"]);
        let mut child = command(&arguments, &self.storage()).spawn().unwrap();
        let mut serving = Serving {
            input: child.stdin.take(),
            said: BufReader::new(child.stdout.take().unwrap()).lines(),
            child,
            address: String::new(),
        };
        let listening = serving.event("listening");
        serving.address = listening["address"].as_str().unwrap().to_owned();
        serving
    }
}

/// A verb that runs until Ctrl-C.
struct Serving {
    child: Child,
    input: Option<ChildStdin>,
    said: Lines<BufReader<ChildStdout>>,
    address: String,
}

impl Serving {
    fn event(&mut self, name: &str) -> Value {
        loop {
            let said: Value = serde_json::from_str(&self.said.next().unwrap().unwrap()).unwrap();
            if said["event"] == name {
                return said;
            }
        }
    }

    /// Presses Ctrl-C, and says the exit code.
    fn interrupt(mut self) -> i32 {
        let pid = self.child.id().to_string();
        assert!(
            Command::new("kill")
                .args(["-INT", &pid])
                .status()
                .unwrap()
                .success()
        );
        self.child.wait().unwrap().code().unwrap()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // It has ended unless the test failed.
        let _ = self.child.kill();
    }
}

#[test]
fn a_core_is_downloaded_and_followed() {
    let (here, there) = (Computer::new(), Computer::new());
    let mut writer = here.serve(&["core", "append", "log", "--lines", "--seed"]);
    writer.input.as_mut().unwrap().write_all(b"one\ntwo\n").unwrap();
    let key = writer.event("appended")["key"].as_str().unwrap().to_owned();
    let peer = writer.address.clone();
    let downloaded = there.last(&["core", "download", &key, "--tcp-peer", &peer]);
    assert_eq!(
        (&downloaded["event"], &downloaded["contiguousLength"]),
        (&"core".into(), &2.into())
    );
    assert_eq!(there.last(&["core", "cat", &key, "--from", "1"])["value"], "two");
    let mut reader = there.serve(&["core", "download", &key, "--live", "--tcp-peer", &peer]);
    writer.input.take().unwrap().write_all(b"three\n").unwrap();
    while reader.event("length")["contiguousLength"] != 3 {}
    assert_eq!(reader.interrupt(), 0);
    assert_eq!(writer.interrupt(), 0);
    assert_eq!(there.last(&["core", "cat", &key])["value"], "three");
}

#[test]
fn what_is_missing_is_asked_of_peers() {
    let (here, there) = (Computer::new(), Computer::new());
    here.last(&["bee", "put", "phones", "alice", "1"]);
    here.last(&["drive", "put", "films", env!("CARGO_MANIFEST_PATH"), "/toml"]);
    let drive = here.last(&["drive", "info", "films"])["key"].clone();
    let bee = here.last(&["core", "info", "phones"])["key"].clone();
    let (bee, drive) = (bee.as_str().unwrap(), drive.as_str().unwrap());
    let seeding = here.serve(&["core", "seed", "phones"]);
    let peer = ["--online", "--tcp-peer", &seeding.address.clone()];
    let with_peer = |arguments: &[&'static str]| [&["bee", "get", bee], arguments, &peer].concat();
    assert_eq!(there.last(&with_peer(&["alice"]))["value"], "1");
    assert_eq!(there.run(&with_peer(&["bob"])).0, 3);
    assert_eq!(seeding.interrupt(), 0);
    assert_eq!(there.run(&["bee", "get", bee, "alice"]).0, 0);

    let seeding = here.serve(&["drive", "seed", "films"]);
    let peer = ["--tcp-peer", &seeding.address.clone()];
    let copy = there.0.path().join("copy");
    let mirrored = there.last(
        &[
            &["drive", "mirror", drive, copy.to_str().unwrap(), "--online"],
            &peer[..],
        ]
        .concat(),
    );
    assert_eq!(mirrored["added"], 1);
    let original = std::fs::read(env!("CARGO_MANIFEST_PATH")).unwrap();
    assert_eq!(std::fs::read(copy.join("toml")).unwrap(), original);
    assert_eq!(
        there.last(&[&["drive", "download", drive], &peer[..]].concat())["files"],
        1
    );
    assert_eq!(seeding.interrupt(), 0);
}

#[test]
fn nobody_there_is_said_in_time() {
    let there = Computer::new();
    let key = "tkrq8zmwb8a3m9k15csu3q17qmfgqnp9dskbrg9uq1rydpyxp7qy";
    let (code, said) = there.run(&[
        "core",
        "download",
        key,
        "--tcp-peer",
        "127.0.0.1:1",
        "--patience",
        "1",
    ]);
    assert_eq!((code, &said[0]["code"]), (4, &4.into()));
}
