//! `hearth_fuzz::boot_state` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::boot_state(bytes));
