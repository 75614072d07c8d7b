//! Embeds the public key whose signatures the boot manager accepts.
//!
//! `HEARTH_BOOT_KEY_FILE` names a file with the key as an uncompressed SEC1 point (65 bytes, the first is 4).
//! Without it, which is the case for checks and tests on the build machine, the key is all zero: no point of the
//! curve, so the program refuses every payload and says why.

use std::path::PathBuf;
use std::{env, fs};

const VARIABLE: &str = "HEARTH_BOOT_KEY_FILE";
const KEY_LEN: usize = 65;

fn main() -> Result<(), String> {
    println!("cargo::rerun-if-env-changed={VARIABLE}");
    let key = match env::var_os(VARIABLE) {
        None => vec![0; KEY_LEN],
        Some(path) => {
            let path = PathBuf::from(path);
            println!("cargo::rerun-if-changed={}", path.display());
            let key = fs::read(&path).map_err(|e| format!("{VARIABLE}: {}: {e}", path.display()))?;
            if key.len() != KEY_LEN || key[0] != 4 {
                return Err(format!(
                    "{VARIABLE}: {} is not an uncompressed SEC1 point",
                    path.display()
                ));
            }
            key
        }
    };
    let folder = env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?;
    let target = PathBuf::from(folder).join("boot-key.sec1");
    fs::write(&target, key).map_err(|e| format!("{}: {e}", target.display()))
}
