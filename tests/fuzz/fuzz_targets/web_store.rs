//! `hearth_fuzz::web_store` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::web_store(bytes));
