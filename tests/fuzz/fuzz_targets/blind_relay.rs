//! `hearth_fuzz::blind_relay` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::blind_relay(bytes));
