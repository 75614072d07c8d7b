//! UEFI boot manager: chooses the slot, checks it, starts the kernel.
//!
//! This is firmware code. Everywhere else than on UEFI the program only says so; its logic is the library.

#![cfg_attr(target_os = "uefi", no_main, no_std)]

#[cfg(target_os = "uefi")]
extern crate alloc;

#[cfg(target_os = "uefi")]
mod firmware;

#[cfg(not(target_os = "uefi"))]
fn main() -> std::process::ExitCode {
    eprintln!(
        "The boot manager is UEFI firmware code: build it for aarch64-unknown-uefi or x86_64-unknown-uefi."
    );
    std::process::ExitCode::FAILURE
}
