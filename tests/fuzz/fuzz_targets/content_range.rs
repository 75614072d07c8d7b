//! `hearth_fuzz::content_range` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::content_range(bytes));
