//! `hearth_fuzz::ext4` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::ext4(bytes));
