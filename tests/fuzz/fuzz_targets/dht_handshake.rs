//! `hearth_fuzz::dht_handshake` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::dht_handshake(bytes));
