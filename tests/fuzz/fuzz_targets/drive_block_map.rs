//! `hearth_fuzz::drive_block_map` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::drive_block_map(bytes));
