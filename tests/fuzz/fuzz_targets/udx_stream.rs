//! `hearth_fuzz::udx_stream` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::udx_stream(bytes));
