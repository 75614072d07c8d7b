//! `hearth_fuzz::core_signature` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::core_signature(bytes));
