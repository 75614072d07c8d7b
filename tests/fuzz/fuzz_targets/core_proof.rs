//! `hearth_fuzz::core_proof` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::core_proof(bytes));
