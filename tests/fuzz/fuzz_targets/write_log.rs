//! `hearth_fuzz::write_log` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::write_log(bytes));
