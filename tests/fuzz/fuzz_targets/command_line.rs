//! `hearth_fuzz::command_line` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::command_line(bytes));
