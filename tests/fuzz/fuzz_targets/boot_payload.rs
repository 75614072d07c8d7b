//! `hearth_fuzz::boot_payload` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::boot_payload(bytes));
