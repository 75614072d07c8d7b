//! `hearth_fuzz::secret_stream` under libFuzzer.
#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| hearth_fuzz::secret_stream(bytes));
