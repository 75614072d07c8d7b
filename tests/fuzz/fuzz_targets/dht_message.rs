//! `hearth_fuzz::dht_message` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::dht_message(bytes));
