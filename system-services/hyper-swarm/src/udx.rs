//! UDX, reliable streams over UDP, as libudx has them on the wire.

pub mod packet;
