//! `hearth_fuzz::updater_journal` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::updater_journal(bytes));
