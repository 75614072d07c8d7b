//! `hearth_fuzz::updater_settings` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::updater_settings(bytes));
