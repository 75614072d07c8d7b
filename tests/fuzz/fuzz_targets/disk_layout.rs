//! `hearth_fuzz::disk_layout` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::disk_layout(bytes));
