//! Bytes of a TCP connection as messages of a link, as hypertele has them: what was read at once is one message, and each
//! direction ends by itself.

use hyper_core::link::Link;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;

/// Bytes that are read at once.
const BUFFER_BYTES: usize = 64 << 10;

/// Bytes that went through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Piped {
    /// From the TCP connection to the peer.
    pub sent: u64,
    /// From the peer to the TCP connection.
    pub received: u64,
}

/// Joins both until both directions have ended. A direction that fails ends the other too: half a conversation is of no use.
pub async fn pipe(link: Link, tcp: TcpStream) -> std::io::Result<Piped> {
    // What is typed shall go out at once; who sends much fills the packets anyway.
    tcp.set_nodelay(true)?;
    let (from, to) = tcp.into_split();
    let (sent, received) = tokio::try_join!(send(from, link.outgoing), receive(link.incoming, to))?;
    Ok(Piped { sent, received })
}

async fn send(mut from: OwnedReadHalf, outgoing: mpsc::Sender<Vec<u8>>) -> std::io::Result<u64> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut sent = 0;
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return Ok(sent);
        }
        if outgoing.send(buffer[..read].to_vec()).await.is_err() {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        sent += read as u64;
    }
}

async fn receive(mut incoming: mpsc::Receiver<Vec<u8>>, mut to: OwnedWriteHalf) -> std::io::Result<u64> {
    let mut received = 0;
    while let Some(message) = incoming.recv().await {
        to.write_all(&message).await?;
        received += message.len() as u64;
    }
    to.shutdown().await?;
    Ok(received)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn tcp_pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (here, there) = tokio::join!(TcpStream::connect(address), listener.accept());
        (here.unwrap(), there.unwrap().0)
    }

    #[tokio::test]
    async fn both_directions_go_through_and_end_by_themselves() {
        let (client, client_end) = tcp_pair().await;
        let (server, server_end) = tcp_pair().await;
        let (a, b) = Link::pair();
        let pipes = tokio::spawn(async { tokio::join!(pipe(a, client_end), pipe(b, server_end)) });
        let (mut client_reads, mut client_writes) = client.into_split();
        let (mut server_reads, mut server_writes) = server.into_split();
        let question: Vec<u8> = (0..1_000_000u32).map(|i| (i >> 3) as u8).collect();
        let expected = question.clone();
        let client = async move {
            client_writes.write_all(&question).await.unwrap();
            client_writes.shutdown().await.unwrap();
            let mut answer = Vec::new();
            client_reads.read_to_end(&mut answer).await.unwrap();
            answer
        };
        let server = async move {
            let mut question = Vec::new();
            server_reads.read_to_end(&mut question).await.unwrap();
            // The client has ended its direction: ours still goes through.
            server_writes.write_all(b"answer").await.unwrap();
            server_writes.shutdown().await.unwrap();
            question
        };
        let (answer, question) = tokio::join!(client, server);
        assert_eq!(answer, b"answer");
        assert!(question == expected);
        let (here, there) = pipes.await.unwrap();
        let (here, there) = (here.unwrap(), there.unwrap());
        assert_eq!((here.sent, here.received), (1_000_000, 6));
        assert_eq!((there.sent, there.received), (6, 1_000_000));
    }

    #[tokio::test]
    async fn a_peer_that_goes_away_ends_the_tcp_connection() {
        let (mut client, client_end) = tcp_pair().await;
        let (a, b) = Link::pair();
        let piping = tokio::spawn(pipe(a, client_end));
        drop(b);
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.unwrap();
        assert!(rest.is_empty());
        client.write_all(b"nobody hears this").await.unwrap();
        assert!(piping.await.unwrap().is_err());
    }
}
