//! `hearth_fuzz::chunk_index` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::chunk_index(bytes));
