//! Echoes one UDX stream over UDP, to try the streams by hand against another implementation:
//!
//!     cargo run -p hyper-swarm --example udx_echo -- <listen> <peer> <local id> <remote id>
//!
//! When the peer has finished and has everything back, says how it went.

use std::error::Error;
use std::io::ErrorKind;
use std::net::{SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

use hyper_swarm::udx::stream::{Config, Event, Stream};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [listen, peer, local_id, remote_id] = args.as_slice() else {
        return Err("usage: udx_echo <listen> <peer> <local id> <remote id>".into());
    };
    let socket = UdpSocket::bind(listen.parse::<SocketAddr>()?)?;
    let peer: SocketAddr = peer.parse()?;
    socket.connect(peer)?;
    let mut stream = Stream::new(&Config::new(local_id.parse()?), Instant::now());
    stream.connect(remote_id.parse()?, peer.is_ipv6());
    echo(&socket, &mut stream)?;
    Ok(())
}

/// Until the stream is gone, which is some time after it has finished: the peer may have missed the last packet.
fn echo(socket: &UdpSocket, stream: &mut Stream) -> std::io::Result<()> {
    let start = Instant::now();
    let mut datagram = [0; 2048];
    // Read, and refused by the stream so far.
    let mut pending = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    let mut bytes = 0;
    while !stream.is_gone() {
        let now = Instant::now();
        stream.handle_timeout(now);
        if pending.is_empty() {
            let len = stream.read(&mut buffer);
            pending.extend_from_slice(&buffer[..len]);
            bytes += len;
        }
        pending.drain(..stream.write(&pending, now));
        if pending.is_empty() && stream.is_at_end() {
            stream.finish(now);
        }
        while let Some(datagram) = stream.poll_transmit(now) {
            // A full or refusing socket is a lost packet.
            let _ = socket.send(&datagram);
        }
        let wait = stream
            .poll_timeout()
            .map_or(Duration::from_secs(1), |at| at.saturating_duration_since(now));
        socket.set_read_timeout(Some(
            wait.clamp(Duration::from_micros(500), Duration::from_secs(1)),
        ))?;
        // Everything that waits, before the next answer: the kernel holds little.
        for received in 0..64 {
            match socket.recv(&mut datagram) {
                Ok(len) => drop(stream.receive(&datagram[..len], Instant::now())),
                Err(error) if is_nothing(error.kind()) => break,
                Err(error) => return Err(error),
            }
            if received == 0 {
                socket.set_nonblocking(true)?;
            }
        }
        socket.set_nonblocking(false)?;
        report(stream, bytes, start);
    }
    Ok(())
}

/// Says how it ended, when it has.
fn report(stream: &mut Stream, bytes: usize, start: Instant) {
    while let Some(event) = stream.poll_event() {
        if let Event::Closed(why) = event {
            println!(
                "{why:?} after {bytes} bytes, {:?}; {} bytes per packet, round trip {:?}",
                start.elapsed(),
                stream.mtu(),
                stream.rtt()
            );
        }
    }
}

/// Nothing came in time, or the peer does not listen yet.
fn is_nothing(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::ConnectionRefused
    )
}
