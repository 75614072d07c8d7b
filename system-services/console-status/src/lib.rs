//! The status screen of the appliance: its address and a QR code, on the serial console and on HDMI.

pub mod addresses;
pub mod qr;
pub mod screen;
