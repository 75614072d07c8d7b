//! `hearth_fuzz::replicator` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::replicator(bytes));
