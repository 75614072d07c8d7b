//! Two programs that give each other cores, bees and drives, over TCP and in a private DHT on this computer.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

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

/// How long something may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

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

    /// Starts a verb that runs until Ctrl-C.
    fn start(&self, arguments: &[&str]) -> Serving {
        let mut child = command(arguments, &self.storage()).spawn().unwrap();
        let (hear, said) = mpsc::channel();
        let output = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let lines = output.lines().map_while(Result::ok);
            lines.for_each(|line| drop(hear.send(serde_json::from_str(&line).unwrap())));
        });
        Serving {
            input: child.stdin.take(),
            said,
            heard: Vec::new(),
            child,
            address: String::new(),
        }
    }

    /// Starts a verb that takes peers over TCP.
    fn serve(&self, arguments: &[&str]) -> Serving {
        self.start(&[arguments, &["--tcp-listen", "127.0.0.1:0"]].concat())
            .listening()
    }
}

/// A verb that runs until Ctrl-C.
struct Serving {
    child: Child,
    input: Option<ChildStdin>,
    said: mpsc::Receiver<Value>,
    /// What was said and not asked for yet.
    heard: Vec<Value>,
    address: String,
}

impl Serving {
    /// Waits until it can be reached, and notes where.
    fn listening(mut self) -> Self {
        let listening = self.event("listening");
        self.address = listening["address"].as_str().unwrap().to_owned();
        self
    }

    /// The next event of this name, said already or soon.
    fn event(&mut self, name: &str) -> Value {
        if let Some(at) = self.heard.iter().position(|said| said["event"] == name) {
            return self.heard.remove(at);
        }
        loop {
            let said = self.said.recv_timeout(PATIENCE);
            let said = said.unwrap_or_else(|_| panic!("no {name} after {:?}", self.heard));
            if said["event"] == name {
                return said;
            }
            self.heard.push(said);
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

/// A DHT on this computer, and how to use it. Of three nodes, because who is seen by fewer cannot know how it is seen.
struct PrivateDht {
    _nodes: Vec<Serving>,
    _computer: Computer,
    address: String,
}

impl PrivateDht {
    fn new() -> Self {
        let computer = Computer::new();
        let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let port = free.port().to_string();
        let arguments = [
            "dht",
            "bootstrap",
            "--host",
            "127.0.0.1",
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
        ];
        let node = computer.start(&arguments).listening();
        assert_eq!(node.address, free.to_string());
        let mut dht = Self {
            _nodes: vec![node],
            _computer: computer,
            address: free.to_string(),
        };
        for _ in 0..2 {
            let mut node = dht._computer.start(&dht.with(&["dht", "node", "--persistent"]));
            node.event("node");
            dht._nodes.push(node);
        }
        dht
    }

    fn with<'a>(&'a self, arguments: &[&'a str]) -> Vec<&'a str> {
        [arguments, &["--bootstrap", &self.address, "--bind", "127.0.0.1"]].concat()
    }
}

#[test]
fn a_core_is_found_in_the_dht() {
    let (here, there, dht) = (Computer::new(), Computer::new(), PrivateDht::new());
    let mut writer = here.start(&dht.with(&["core", "append", "log", "one", "two", "--seed"]));
    let key = writer.event("appended")["key"].as_str().unwrap().to_owned();
    writer.event("announced");
    assert_eq!(
        there.last(&dht.with(&["core", "cat", &key, "--online"]))["value"],
        "two"
    );
    assert_eq!(writer.interrupt(), 0);
    let gone = there.run(&dht.with(&["core", "download", &key, "--patience", "1"]));
    assert_eq!(gone.0, 4, "{gone:?}");
}

#[test]
fn a_service_is_reached_through_a_tunnel() {
    let (here, there, dht) = (Computer::new(), Computer::new(), PrivateDht::new());
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap().to_string();
    let shouting = std::thread::spawn(move || {
        let (mut connection, _) = service.accept().unwrap();
        let mut heard = String::new();
        connection.read_to_string(&mut heard).unwrap();
        connection.write_all(heard.to_uppercase().as_bytes()).unwrap();
    });
    let mut tunnel = here.start(&dht.with(&["tunnel", "serve", &address]));
    let key = tunnel.event("serving")["key"].as_str().unwrap().to_owned();
    let way_in = there.start(&dht.with(&["tunnel", "connect", &key])).listening();
    let mut client = TcpStream::connect(&way_in.address).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(b"hello").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "HELLO");
    shouting.join().unwrap();
    assert_eq!((way_in.interrupt(), tunnel.interrupt()), (0, 0));
}

#[test]
fn a_private_tunnel_keeps_strangers_out() {
    let (here, there, dht) = (Computer::new(), Computer::new(), PrivateDht::new());
    let service = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = service.local_addr().unwrap().to_string();
    let seed = here.0.path().join("seed");
    let seed = seed.to_str().unwrap();
    let key = here.last(&["key", "new", seed])["key"]
        .as_str()
        .unwrap()
        .to_owned();
    let private = dht.with(&["tunnel", "serve", &address, "--private", "--seed", seed]);
    let mut tunnel = here.start(&private);
    tunnel.event("serving");
    let mut stranger = there.start(&dht.with(&["tunnel", "connect", &key])).listening();
    let _knocking = TcpStream::connect(&stranger.address).unwrap();
    assert_eq!(stranger.event("not-connected")["peer"], key);
    let friend = there
        .start(&dht.with(&["tunnel", "connect", "--private", "--seed", seed]))
        .listening();
    let _knocking = TcpStream::connect(&friend.address).unwrap();
    service.set_nonblocking(true).unwrap();
    let began = Instant::now();
    while service.accept().is_err() {
        assert!(began.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(20));
    }
}
