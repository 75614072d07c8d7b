//! How fast a secret stream is on loopback, over UDX and over TCP, from one process to another:
//!
//!     cargo run --release -p hyper-swarm --example bench_stream -- [MiB [program that receives, with arguments]]
//!
//! Prints one line of JSON for each. `tests/interop/bench-stream.mjs` does the same with the JavaScript peer, and either can
//! receive what the other sends.

use std::error::Error;
use std::process::Stdio;
use std::time::Instant;

use hyper_swarm::connection::{self, Connection, Options};
use hyper_swarm::noise::KeyPair;
use hyper_swarm::udx::{Socket, StreamOptions, Udx, UdxStream};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, Command};

const MESSAGE_BYTES: usize = 64 << 10;
const DEFAULT_MIB: usize = 256;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

#[tokio::main(flavor = "multi_thread", worker_threads = 2)]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--receive", what] => receive(what).await,
        [] => measure_all(DEFAULT_MIB, &[]).await,
        [mib, ref receiver @ ..] => measure_all(mib.parse()?, receiver).await,
    }
}

async fn measure_all(mib: usize, receiver: &[&str]) -> Result<()> {
    let itself = std::env::current_exe()?;
    for what in ["udx", "tcp"] {
        let mut command = match receiver {
            [] => Command::new(&itself),
            [program, ..] => Command::new(program),
        };
        let mut child = command
            .args(receiver.iter().skip(1))
            .args(["--receive", what])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut connection = reach(what, &mut child).await?;
        let start = Instant::now();
        for _ in 0..(mib << 20) / MESSAGE_BYTES {
            connection.link.outgoing.send(vec![7; MESSAGE_BYTES]).await?;
        }
        connection.link.outgoing.send(b"end".to_vec()).await?;
        connection.link.incoming.recv().await.ok_or("no answer")?;
        let mib_per_s = mib as f64 / start.elapsed().as_secs_f64();
        println!(r#"{{"what":"secret-stream-{what}","mib_per_s":{mib_per_s:.1}}}"#);
        drop(connection);
        child.wait().await?;
    }
    Ok(())
}

/// Port and number of a stream, as the processes tell them each other.
async fn read_pair(from: impl tokio::io::AsyncRead + Unpin) -> Result<(u16, u32)> {
    let line = BufReader::new(from).lines().next_line().await?;
    let line = line.ok_or("the other process said nothing")?;
    let (port, id) = line.split_once(' ').ok_or("the other process said nonsense")?;
    Ok((port.parse()?, id.parse()?))
}

fn udx_end() -> Result<(Socket, UdxStream, String)> {
    let udx = Udx::new();
    let (socket, _) = udx.bind("127.0.0.1:0".parse()?)?;
    let (stream, _) = udx.create_stream(&StreamOptions::default())?;
    let pair = format!("{} {}\n", socket.local_addr().port(), stream.handle().local_id());
    Ok((socket, stream, pair))
}

/// Connects to the process that receives, which says where it is.
async fn reach(what: &str, child: &mut Child) -> Result<Connection> {
    let (port, id) = read_pair(child.stdout.take().ok_or("no stdout")?).await?;
    let (keys, options) = (KeyPair::from_seed(&[1; 32]), Options::default());
    let peer = ([127, 0, 0, 1], port).into();
    if what == "tcp" {
        let stream = TcpStream::connect::<std::net::SocketAddr>(peer).await?;
        stream.set_nodelay(true)?;
        return Ok(connection::initiate(stream, &keys, &options).await?);
    }
    let (socket, stream, pair) = udx_end()?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    stdin.write_all(pair.as_bytes()).await?;
    stream.handle().connect(&socket, id, peer)?;
    Ok(connection::initiate(stream, &keys, &options).await?)
}

async fn receive(what: &str) -> Result<()> {
    let (keys, options) = (KeyPair::from_seed(&[2; 32]), Options::default());
    let mut connection = if what == "tcp" {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{} 0", listener.local_addr()?.port());
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        connection::accept(stream, &keys, &options).await?
    } else {
        let (socket, stream, pair) = udx_end()?;
        print!("{pair}");
        let (port, id) = read_pair(tokio::io::stdin()).await?;
        stream
            .handle()
            .connect(&socket, id, ([127, 0, 0, 1], port).into())?;
        connection::accept(stream, &keys, &options).await?
    };
    let mut bytes = 0;
    while let Some(message) = connection.link.incoming.recv().await {
        bytes += message.len();
        if message == b"end" {
            connection
                .link
                .outgoing
                .send(bytes.to_string().into_bytes())
                .await?;
        }
    }
    // However it ended: the sender has said what it measured.
    Ok(())
}
