//! `hearth_fuzz::fat_image` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::fat_image(bytes));
