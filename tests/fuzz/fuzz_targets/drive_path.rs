//! `hearth_fuzz::drive_path` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::drive_path(bytes));
