//! `hearth_fuzz::bee_block` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::bee_block(bytes));
