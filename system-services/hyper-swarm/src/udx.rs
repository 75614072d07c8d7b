//! UDX, reliable streams over UDP, as libudx has them on the wire.

pub mod congestion;
pub mod mtu;
pub mod packet;
pub mod rtt;
pub mod stream;
