//! A machine that is measured: started, asked until it answers, thrown away.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::Result;
use board_support::qemu::{Firmware, Machine, Qemu, Vm};

/// Time between two attempts to get the page; an attempt may hang while the guest has no address yet.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);
const ATTEMPT: Duration = Duration::from_secs(3);

/// What is done with what the guest writes to its disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writes {
    /// Kept, and never flushed: for making disks.
    KeptUnsafe,
    /// Thrown away when the machine ends, so that every run starts alike.
    Dropped,
}

/// A running machine.
pub struct Guest {
    /// The machine.
    pub vm: Vm,
    /// Port on localhost that leads to port 80.
    pub port: u16,
}

/// When what came, counted from QEMU's start.
#[derive(Debug, Clone, Copy)]
pub struct FirstPage {
    /// The first answer with status 200 was complete.
    pub page: Duration,
    /// The mark first stood on the console.
    pub mark: Option<Duration>,
}

impl Guest {
    /// Starts a machine; its console and sockets are in `folder`. `memory_mib` overrules the board's.
    pub fn start(
        qemu: &Qemu,
        firmware: Firmware<'_>,
        disk: &Path,
        folder: &Path,
        writes: Writes,
        memory_mib: Option<u32>,
    ) -> Result<Self> {
        let mut qemu = qemu.clone();
        let replacement = match writes {
            Writes::Dropped => ("file={disk}", "file={disk},snapshot=on"),
            Writes::KeptUnsafe => ("cache=writeback", "cache=unsafe"),
        };
        qemu.disk = qemu
            .disk
            .iter()
            .map(|a| a.replace(replacement.0, replacement.1))
            .collect();
        if let Some(mib) = memory_mib
            && let Some(at) = qemu.arguments.iter().position(|a| a == "-m")
            && let Some(value) = qemu.arguments.get_mut(at + 1)
        {
            *value = mib.to_string();
        }
        let port = TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port();
        let machine = Machine {
            firmware,
            disk,
            usb_stick: None,
            http_port: Some(port),
            capture: None,
            console: &folder.join("console.log"),
            keyboard: &folder.join("keyboard.sock"),
            control: &folder.join("control.sock"),
        };
        Ok(Self {
            vm: Vm::start(&qemu, &machine)?,
            port,
        })
    }

    /// Asks for a page until it is there, and notes when the console first says `mark`.
    pub fn first_page(&mut self, path: &str, mark: &str, limit: Duration) -> Result<FirstPage> {
        let (sender, answers) = mpsc::channel();
        let mut seen = None;
        let mut last_attempt: Option<Instant> = None;
        loop {
            if last_attempt.is_none_or(|at| at.elapsed() >= BETWEEN_ATTEMPTS) {
                last_attempt = Some(Instant::now());
                let (sender, port, path) = (sender.clone(), self.port, path.to_string());
                std::thread::spawn(move || {
                    if answers_200(port, &path) {
                        // Nobody listens any more when another attempt was first.
                        let _ = sender.send(());
                    }
                });
            }
            let answered = answers.recv_timeout(Duration::from_millis(20)).is_ok();
            let now = self.vm.uptime();
            if seen.is_none() && self.vm.console().contains(mark) {
                seen = Some(now);
            }
            if answered {
                return Ok(FirstPage {
                    page: now,
                    mark: seen,
                });
            }
            if self.vm.ended().is_some() || now > limit {
                let what = format!("the page {path} (in {} s)", limit.as_secs());
                self.vm.wait_for(&what, Duration::ZERO, |_| None::<()>)?;
            }
        }
    }
}

/// One whole answer. QEMU itself accepts connections long before the guest does.
fn answers_200(port: u16, path: &str) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&SocketAddr::from(([127, 0, 0, 1], port)), ATTEMPT)?;
        stream.set_read_timeout(Some(ATTEMPT))?;
        stream.write_all(
            format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").as_bytes(),
        )?;
        let mut answer = Vec::new();
        stream.take(1 << 20).read_to_end(&mut answer)?;
        Ok(answer.starts_with(b"HTTP/1.1 200"))
    };
    ask().unwrap_or(false)
}
