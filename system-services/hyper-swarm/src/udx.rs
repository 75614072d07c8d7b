//! UDX, reliable streams over UDP, as libudx has them on the wire.
//!
//! A [`Udx`] numbers streams; its [`Socket`]s carry them, each with one task that moves packets in batches (GSO and GRO where
//! the kernel has them). What a socket receives and is not UDX, such as the DHT's messages, comes out of a channel.
//! A [`UdxStream`] is made before anybody knows by which socket and to which address it will go: HyperDHT tells its number
//! to the peer first, and punches holes then. It is connected later through its [`StreamHandle`], also because of the
//! [`Arrival`] of a first packet, and may change its way while it is in use.
//!
//! ```
//! use hyper_swarm::udx::{StreamOptions, Udx};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let udx = Udx::new();
//! let (here, _) = udx.bind("127.0.0.1:0".parse()?)?;
//! let (there, _) = udx.bind("127.0.0.1:0".parse()?)?;
//! let (mut alice, _) = udx.create_stream(&StreamOptions::default())?;
//! let (mut bob, _) = udx.create_stream(&StreamOptions::default())?;
//! alice.handle().connect(&here, bob.handle().local_id(), there.local_addr())?;
//! bob.handle().connect(&there, alice.handle().local_id(), here.local_addr())?;
//! alice.write_all(b"hello").await?;
//! let mut heard = [0; 5];
//! bob.read_exact(&mut heard).await?;
//! assert_eq!(&heard, b"hello");
//! # Ok(())
//! # }
//! ```
//!
//! Below are machines without socket and clock: [`stream`], [`packet`], [`congestion`], [`mtu`], [`rtt`].

pub mod congestion;
mod endpoint;
mod handle;
mod io;
pub mod mtu;
pub mod packet;
pub mod rtt;
mod shared;
mod socket;
pub mod stream;

pub use endpoint::{StreamOptions, Udx};
pub use handle::{StreamHandle, UdxError};
pub use io::UdxStream;
pub use socket::{Arrival, Datagram, Socket};
pub use stream::CloseReason;

#[cfg(test)]
mod tests;
