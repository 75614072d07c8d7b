//! The dev profile's root shell on the serial console.

use anyhow::{Context, Result};
use board_support::qemu::Vm;

use crate::patience;

/// What it says when it is ready.
pub const PROMPT: &str = "hearth-dev#";

/// Runs a command and returns what it printed.
pub fn run(vm: &mut Vm, command: &str, seconds: u64) -> Result<String> {
    // The markers are put together by the shell, so that the echo of the typed line is not taken for them.
    let id = format!("{:08x}", std::time::UNIX_EPOCH.elapsed()?.subsec_nanos());
    expect_prompt(vm)?;
    vm.type_text(&format!("echo \"<\"\"{id}>\"; {command}; echo \"</\"\"{id}>\"\n"))?;
    let (begin, end) = (format!("<{id}>"), format!("</{id}>"));
    let text = vm.wait_for(&format!("the end of `{command}`"), patience(seconds), |console| {
        let rest = console.rsplit_once(&begin)?.1;
        Some(rest.split_once(&end)?.0.to_string())
    });
    Ok(text
        .with_context(|| format!("shell: {command}"))?
        .replace('\r', "")
        .trim()
        .to_string())
}

/// Types a command that ends the boot: nobody waits for what it prints.
pub fn run_last(vm: &mut Vm, command: &str) -> Result<()> {
    expect_prompt(vm)?;
    Ok(vm.type_text(&format!("{command}\n"))?)
}

/// Types a command that restarts the machine, and returns when its boot manager is there again.
pub fn restart(vm: &mut Vm, command: &str, seconds: u64) -> Result<()> {
    let boots = |console: &str| console.matches("Hearth boot manager: ").count();
    let before = boots(&vm.console());
    run_last(vm, command)?;
    Ok(vm.wait_for("the next boot", patience(seconds), |c| {
        (boots(c) > before).then_some(())
    })?)
}

/// Of the last boot: what is typed while a machine starts is lost, and stops its serial port from hearing any more.
fn expect_prompt(vm: &mut Vm) -> Result<()> {
    Ok(vm.wait_for("the shell's prompt", patience(60), |c| {
        let boot = c.rsplit("Hearth boot manager: ").next()?;
        boot.contains(PROMPT).then_some(())
    })?)
}
