//! `hearth_fuzz::wizard_form` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::wizard_form(bytes));
