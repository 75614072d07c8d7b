//! `hearth_fuzz::modules_load` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::modules_load(bytes));
