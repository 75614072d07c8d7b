//! `hearth_fuzz::web_request` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::web_request(bytes));
