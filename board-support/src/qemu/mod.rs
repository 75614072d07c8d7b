//! How QEMU runs a board: one command line, for `xtask run`, the tests and the benchmarks alike.

mod vm;

use std::path::Path;
use std::process::Command;

use serde::Deserialize;

pub use vm::{Vm, VmError};

/// The machine, as the board's file has it. `{disk}` and `{serial}` are filled in.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Qemu {
    /// The program.
    pub program: String,
    /// Package that holds the machine's boot firmware.
    pub firmware_package: Option<String>,
    /// Path of that firmware inside the package.
    pub firmware_path: Option<String>,
    /// File of the FAT partition that QEMU starts in place of the firmware that would load it.
    pub kernel_on_card: Option<String>,
    /// Device tree for it, also on the FAT partition.
    pub device_tree_on_card: Option<String>,
    /// Nodes that are switched off in that device tree, because QEMU's model of them would mislead.
    #[serde(default)]
    pub device_tree_disable: Vec<String>,
    /// Machine, CPU, memory, devices.
    pub arguments: Vec<String>,
    /// The disk.
    pub disk: Vec<String>,
    /// The network card.
    pub network: Vec<String>,
    /// The console.
    pub serial: Vec<String>,
}

/// What starts the machine.
#[derive(Debug, Clone, Copy)]
pub enum Firmware<'a> {
    /// Boot firmware, `-bios`.
    Bios(&'a Path),
    /// A boot loader and a device tree from the card.
    Card {
        /// The boot loader.
        kernel: &'a Path,
        /// The device tree.
        device_tree: &'a Path,
    },
    /// A Linux kernel, started by QEMU itself: no firmware, no boot loader.
    Linux {
        /// The kernel.
        kernel: &'a Path,
        /// Its initramfs.
        initramfs: &'a Path,
        /// Its command line.
        command_line: &'a str,
    },
}

/// One machine to start.
#[derive(Debug, Clone, Copy)]
pub struct Machine<'a> {
    /// What starts it.
    pub firmware: Firmware<'a>,
    /// Raw disk image, written to.
    pub disk: &'a Path,
    /// Raw image of a USB stick that is plugged in.
    pub usb_stick: Option<&'a Path>,
    /// Port on localhost that leads to port 80; `None` for no network at all.
    pub http_port: Option<u16>,
    /// File that gets every packet of the network card (pcap).
    pub capture: Option<&'a Path>,
    /// File that gets all that the console says.
    pub console: &'a Path,
    /// Path for a socket that types at the console.
    pub keyboard: &'a Path,
    /// Path for the control socket (QMP).
    pub control: &'a Path,
}

impl Qemu {
    /// The same machine with a disk whose every write and flush is also recorded in the file `log`, as the kernel's dm-log-writes
    /// does; `None` when its disk is not given with `-drive`. The host need not keep what the guest flushes: the log says it.
    pub fn with_write_log(&self, log: &Path) -> Option<Self> {
        let drive = self.disk.iter().position(|a| a == "-drive")?;
        let id = self
            .disk
            .get(drive + 1)?
            .split(',')
            .find_map(|o| o.strip_prefix("id="))?;
        let nodes = [
            "driver=file,node-name=plain,cache.no-flush=on,filename={disk}".to_owned(),
            format!(
                "driver=file,node-name=log,cache.no-flush=on,filename={}",
                quoted(log)
            ),
            format!("driver=blklogwrites,node-name={id},file=plain,log=log"),
        ];
        let nodes = nodes.into_iter().flat_map(|node| ["-blockdev".to_owned(), node]);
        let mut logged = self.clone();
        logged.disk.splice(drive..drive + 2, nodes);
        Some(logged)
    }

    /// The command line. Software emulation: it is the same on every machine, and a `/dev/kvm` for another architecture is of no use.
    pub fn command(&self, machine: &Machine<'_>) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-nodefaults", "-display", "none", "-accel", "tcg,thread=multi"]);
        command.args(&self.arguments);
        match machine.firmware {
            Firmware::Bios(path) => command.arg("-bios").arg(path),
            Firmware::Card { kernel, device_tree } => {
                command.arg("-kernel").arg(kernel).arg("-dtb").arg(device_tree)
            }
            Firmware::Linux {
                kernel,
                initramfs,
                command_line,
            } => command
                .arg("-kernel")
                .arg(kernel)
                .arg("-initrd")
                .arg(initramfs)
                .arg("-append")
                .arg(command_line),
        };
        let disk = quoted(machine.disk);
        command.args(self.disk.iter().map(|a| a.replace("{disk}", &disk)));
        if let Some(stick) = machine.usb_stick {
            command.args(["-device", "qemu-xhci", "-device", "usb-storage,drive=stick"]);
            command
                .arg("-drive")
                .arg(format!("if=none,id=stick,format=raw,file={}", quoted(stick)));
        }
        command.arg("-chardev").arg(format!(
            "socket,id=console,server=on,wait=off,path={},logfile={}",
            quoted(machine.keyboard),
            quoted(machine.console)
        ));
        command.args(
            self.serial
                .iter()
                .map(|a| a.replace("{serial}", "chardev:console")),
        );
        if let Some(port) = machine.http_port {
            command
                .arg("-netdev")
                .arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{port}-:80"));
            command.args(&self.network);
            if let Some(capture) = machine.capture {
                command.arg("-object").arg(format!(
                    "filter-dump,id=capture,netdev=net,file={}",
                    quoted(capture)
                ));
            }
        }
        command
            .arg("-qmp")
            .arg(format!("unix:{},server=on,wait=off", quoted(machine.control)));
        command
    }
}

/// A path as a value among others: a comma is written twice.
fn quoted(path: &Path) -> String {
    path.display().to_string().replace(',', ",,")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Board;

    #[test]
    fn every_board_has_a_command_line_without_blanks_to_fill() {
        for name in Board::names() {
            let machine = Machine {
                firmware: Firmware::Bios(Path::new("fw")),
                disk: Path::new("a,b.img"),
                usb_stick: Some(Path::new("s,t.img")),
                http_port: Some(8080),
                capture: None,
                console: Path::new("log"),
                keyboard: Path::new("keys"),
                control: Path::new("qmp"),
            };
            let line = format!("{:?}", Board::find(name).unwrap().qemu.unwrap().command(&machine));
            assert!(
                !line.contains('{')
                    && line.contains("a,,b.img")
                    && line.contains("s,,t.img")
                    && line.contains("logfile=log"),
                "{line}"
            );
        }
    }

    #[test]
    fn a_recorded_disk_keeps_its_device_and_gets_a_log() {
        let logged = |name: &str| {
            let qemu = Board::find(name).unwrap().qemu.unwrap();
            qemu.with_write_log(Path::new("a,b.log"))
        };
        let disk = logged("qemu-arm64").unwrap().disk.join(" ");
        assert!(
            disk.contains("filename={disk}") && disk.contains("a,,b.log") && !disk.contains("-drive"),
            "{disk}"
        );
        assert!(
            disk.contains("node-name=disk,") && disk.contains("drive=disk"),
            "{disk}"
        );
    }
}
