//! The program hearth-p2p beside hypertele and hyperswarm, on a private DHT of JavaScript nodes.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use hearth_interop::{PATIENCE, Peer};
use hyper_core::key;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

/// The program, running. It is killed when this is dropped.
struct Program {
    _child: Child,
    said: Lines<BufReader<ChildStdout>>,
    _storage: TempDir,
}

impl Program {
    fn start(bootstrap: &str, arguments: &[&str]) -> Result<Self> {
        let path = std::env::var_os("HEARTH_TEST_P2P_PROGRAM").map(PathBuf::from);
        let path = path.context(
            "HEARTH_TEST_P2P_PROGRAM does not say where hearth-p2p is: run these tests with `cargo xtask test --interop`",
        )?;
        let storage = tempfile::tempdir()?;
        let mut child = Command::new(path)
            .args(arguments)
            .args([
                "--json",
                "--bind",
                "127.0.0.1",
                "--bootstrap",
                bootstrap,
                "--storage",
            ])
            .arg(storage.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let output = child.stdout.take().context("hearth-p2p has no output")?;
        Ok(Self {
            said: BufReader::new(output).lines(),
            _child: child,
            _storage: storage,
        })
    }

    async fn event(&mut self, name: &str) -> Result<Value> {
        let told = async {
            while let Some(line) = self.said.next_line().await? {
                let said: Value = serde_json::from_str(&line)?;
                match said["event"].as_str() {
                    Some(event) if event == name => return Ok(said),
                    Some("error") => bail!("hearth-p2p failed: {said}"),
                    _ => {}
                }
            }
            bail!("hearth-p2p has ended without saying {name}");
        };
        timeout(PATIENCE, told)
            .await
            .with_context(|| format!("hearth-p2p did not say {name}"))?
    }
}

async fn network() -> Result<(Peer, String)> {
    let mut script = Peer::start("program.mjs", &[])?;
    let ready = script.event("ready").await?;
    let bootstrap = ready["bootstrap"]
        .as_str()
        .context("no bootstrap node")?
        .to_owned();
    Ok((script, bootstrap))
}

/// A service that says everything back in capitals.
async fn shouting() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut heard = vec![0; 64 << 10];
            while let Ok(count @ 1..) = connection.read(&mut heard).await {
                heard[..count].make_ascii_uppercase();
                connection.write_all(&heard[..count]).await?;
            }
        }
        anyhow::Ok(())
    });
    Ok(port)
}

/// The connection is ended only when all has come: hypertele 1.1 drops what it has not sent yet when its service ends a connection.
async fn is_answered(address: &str) -> Result<()> {
    let question = "a question ".repeat(100_000);
    let asked = async {
        let (mut answers, mut asks) = TcpStream::connect(address).await?.into_split();
        let mut answer = vec![0; question.len()];
        tokio::try_join!(
            asks.write_all(question.as_bytes()),
            answers.read_exact(&mut answer)
        )?;
        ensure!(
            answer == question.to_uppercase().as_bytes(),
            "something else came back"
        );
        asks.shutdown().await?;
        ensure!(answers.read(&mut [0]).await? == 0, "more came back");
        Ok(())
    };
    timeout(PATIENCE, asked)
        .await
        .context("no answer through the tunnel")?
}

#[tokio::test]
async fn hypertele_reaches_a_service_of_ours() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    let service = format!("127.0.0.1:{}", shouting().await?);
    let mut ours = Program::start(&bootstrap, &["tunnel", "serve", &service])?;
    let serving = ours.event("serving").await?;
    let server = key::to_hex(&key::parse(serving["key"].as_str().context("no key")?)?);
    let listen = TcpListener::bind("127.0.0.1:0").await?.local_addr()?;
    let connect = json!({"do": "connect", "listen": listen.port(), "key": server});
    script.ask(&connect).await?;
    is_answered(&listen.to_string()).await
}

#[tokio::test]
async fn we_reach_a_service_of_hypertele() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    let serve = json!({"do": "serve", "service": shouting().await?, "seed": key::to_hex(&[0xab; 32])});
    let said = script.ask(&serve).await?;
    let line = said["line"].as_str().context("no line")?;
    let server = line.rsplit(' ').next().context("no key")?;
    let mut ours = Program::start(&bootstrap, &["tunnel", "connect", server])?;
    let listening = ours.event("listening").await?;
    is_answered(listening["address"].as_str().context("no address")?).await
}

#[tokio::test]
async fn a_core_that_the_program_seeds_is_found_by_a_swarm() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    let mut ours = Program::start(&bootstrap, &["core", "append", "log", "one", "two", "--seed"])?;
    let said = ours.event("length").await?;
    // Whoever looks before it is announced looks again.
    let read = json!({"do": "read", "key": said["key"], "length": 2});
    let said = script.ask(&read).await?;
    ensure!(said["blocks"] == json!(["one", "two"]), "{said}");
    Ok(())
}

#[tokio::test]
async fn a_core_that_a_swarm_seeds_is_downloaded_by_the_program() -> Result<()> {
    let (mut script, bootstrap) = network().await?;
    let blocks: Vec<_> = (0..100).map(|number| format!("block {number}")).collect();
    let said = script.ask(&json!({"do": "seed", "blocks": blocks})).await?;
    let key = said["key"].as_str().context("no key")?;
    let mut ours = Program::start(&bootstrap, &["core", "download", key])?;
    let here = ours.event("core").await?;
    ensure!(here["length"] == 100 && here["contiguousLength"] == 100, "{here}");
    Ok(())
}
