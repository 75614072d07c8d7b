//! Secret streams over UDX with JavaScript peers, on a good way and on one that loses packets.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::{PATIENCE, Peer};
use hyper_swarm::connection::{self, Connection, ConnectionError, Options};
use hyper_swarm::noise::KeyPair;
use hyper_swarm::udx::{StreamHandle, StreamOptions, Udx};
use serde_json::json;
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const MESSAGE_BYTES: usize = 64 << 10;

struct Pair {
    peer: Peer,
    connection: Connection,
    stream: StreamHandle,
    _proxy: Option<JoinHandle<()>>,
}

fn port(port: u64) -> Result<SocketAddr> {
    Ok(([127, 0, 0, 1], u16::try_from(port)?).into())
}

/// Both ends, connected; one packet of so many is lost between them.
async fn connected(we_begin: bool, lose_one_of: Option<u32>) -> Result<Pair> {
    let mut peer = Peer::start("stream.mjs", &[])?;
    let ready = peer.event("ready").await?;
    let udx = Udx::new();
    let (socket, _) = udx.bind(port(0)?)?;
    let (stream, _) = udx.create_stream(&StreamOptions::default())?;
    let mut theirs = port(ready["port"].as_u64().context("no port")?)?;
    let mut ours = socket.local_addr();
    let mut proxy = None;
    if let Some(one_of) = lose_one_of {
        let between = UdpSocket::bind(port(0)?).await?;
        let address = between.local_addr()?;
        proxy = Some(tokio::spawn(pass_on(between, [ours, theirs], one_of)));
        (ours, theirs) = (address, address);
    }
    let id = u32::try_from(ready["id"].as_u64().context("no id")?)?;
    let handle = stream.handle().clone();
    handle.connect(&socket, id, theirs)?;
    let command =
        json!({"do": "connect", "port": ours.port(), "id": handle.local_id(), "initiator": !we_begin});
    let (keys, options) = (KeyPair::from_seed(&[3; 32]), Options::default());
    let shaking = async {
        if we_begin {
            connection::initiate(stream, &keys, &options).await
        } else {
            connection::accept(stream, &keys, &options).await
        }
    };
    let (connection, answer) = tokio::join!(shaking, peer.ask(&command));
    answer?;
    Ok(Pair {
        peer,
        connection: connection?,
        stream: handle,
        _proxy: proxy,
    })
}

/// Packets of each of the two go to the other.
async fn pass_on(socket: UdpSocket, ends: [SocketAddr; 2], lose_one_of: u32) {
    let mut buffer = [0; 2048];
    let mut count = 0_u32;
    while let Ok((len, from)) = socket.recv_from(&mut buffer).await {
        count += 1;
        let to = if from == ends[0] { ends[1] } else { ends[0] };
        if !count.is_multiple_of(lose_one_of) {
            // What does not go is lost, as on any way.
            let _ = socket.send_to(&buffer[..len], to).await;
        }
    }
}

fn pattern_at(at: usize) -> u8 {
    (at * 31 + at / 251) as u8
}

/// Sends so much in each direction, and sees that it comes whole and that both ends close in order.
async fn exchange(mut pair: Pair, bytes: usize) -> Result<()> {
    pair.peer.send(&json!({"do": "send", "bytes": bytes})).await?;
    let link = &mut pair.connection.link;
    let sending = async {
        for start in (0..bytes).step_by(MESSAGE_BYTES) {
            let end = bytes.min(start + MESSAGE_BYTES);
            link.outgoing.send((start..end).map(pattern_at).collect()).await?;
        }
        anyhow::Ok(())
    };
    let receiving = async {
        let mut received = 0;
        while let Some(message) = link.incoming.recv().await {
            let is_same = message
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == pattern_at(received + at));
            ensure!(is_same, "other bytes come after {received}");
            received += message.len();
        }
        ensure!(received == bytes, "{received} of {bytes} bytes came");
        Ok(())
    };
    let both = async { tokio::try_join!(sending, receiving) };
    timeout(PATIENCE, both).await??;
    drop(pair.connection.link);
    let answer = pair.peer.ask(&json!({"do": "received"})).await?;
    ensure!(answer["received"] == bytes && answer["same"] == true, "{answer}");
    timeout(PATIENCE, pair.connection.handle.closed()).await??;
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixteen_mebibytes_go_each_way_and_both_ends_close() -> Result<()> {
    exchange(connected(true, None).await?, 16 << 20).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missing_where_packets_are_lost() -> Result<()> {
    exchange(connected(false, Some(83)).await?, 4 << 20).await
}

#[tokio::test]
async fn messages_beside_the_stream_are_packets_of_the_peer() -> Result<()> {
    let pair = connected(true, None).await?;
    let mut peer = pair.peer;
    peer.ask(&json!({"do": "message", "text": "beside"})).await?;
    let message = timeout(PATIENCE, pair.stream.recv_message()).await?;
    ensure!(message.is_some_and(|message| message.len() == 8 + 16 + b"beside".len()));
    Ok(())
}

#[tokio::test]
async fn a_peer_that_destroys_its_stream_is_noticed_and_notices_us() -> Result<()> {
    let mut pair = connected(true, None).await?;
    pair.peer.send(&json!({"do": "destroy"})).await?;
    let closed = timeout(PATIENCE, pair.connection.handle.closed()).await?;
    let Err(error) = closed else {
        anyhow::bail!("it ended in order");
    };
    ensure!(matches!(&*error, ConnectionError::Io { .. }), "{error}");

    let mut pair = connected(true, None).await?;
    pair.connection.handle.destroy();
    let said = timeout(Duration::from_secs(10), pair.peer.event("closed")).await??;
    ensure!(said["code"] == "ECONNRESET", "{said}");
    Ok(())
}
