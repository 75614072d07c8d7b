//! `hearth_fuzz::kernel_gzip` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::kernel_gzip(bytes));
