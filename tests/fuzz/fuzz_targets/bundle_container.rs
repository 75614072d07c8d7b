//! `hearth_fuzz::bundle_container` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::bundle_container(bytes));
