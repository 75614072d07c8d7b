//! Our side of the measurements in QEMU.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use board_support::Board;
use board_support::qemu::{Firmware, Qemu};
use image_builder::build::Image;
use image_builder::cache::Cache;

use super::guest::{Guest, Writes};
use crate::{image, qemu};

/// The wizard's first page: what a person waits for.
const PAGE: &str = "/setup/welcome";
/// What early-boot says as its last line, with the kernel's clock.
const HANDING_OVER: &str = "handing over after ";
const LIMIT: Duration = Duration::from_secs(300);

/// The QEMU Arm board with a fresh disk.
pub struct Appliance {
    /// The image that the disk is from.
    pub image: Image,
    qemu: Qemu,
    firmware: PathBuf,
    disk: PathBuf,
    folder: PathBuf,
}

/// One boot, in seconds.
#[derive(Debug, Clone, Copy)]
pub struct Boot {
    /// QEMU's start to the kernel's: U-Boot and the boot manager.
    pub firmware: f64,
    /// The kernel's start to systemd's: kernel and early-boot.
    pub kernel: f64,
    /// systemd's start to the first page.
    pub userspace: f64,
    /// All of it.
    pub page: f64,
}

impl Appliance {
    /// Builds the image of a profile.
    pub fn new(profile: &str) -> Result<Self> {
        let board = Board::find("qemu-arm64")?;
        let cache = Cache::open()?;
        let image = image::make(&image::Options {
            board: board.name.clone(),
            profile: profile.into(),
            locked: false,
            boot_key: None,
            update_keyring: None,
            update_crl: None,
            version: None,
            out: cache.folder("bench/images")?,
        })?;
        let folder = cache.folder("bench/run")?;
        let disk = folder.join("disk.img");
        qemu::copy_disk(&image.image, &disk, qemu::DISK_BYTES)?;
        let firmware = qemu::firmware(&board)?;
        Ok(Self {
            image,
            qemu: board.qemu.context("QEMU does not run this board")?,
            firmware,
            disk,
            folder,
        })
    }

    /// The machine, for the peer.
    pub fn machine(&self) -> &Qemu {
        &self.qemu
    }

    fn start(&self) -> Result<Guest> {
        Guest::start(
            &self.qemu,
            Firmware::Bios(&self.firmware),
            &self.disk,
            &self.folder,
            Writes::Dropped,
            None,
        )
    }

    /// Boots for the first time, to the first page; leaves the machine running.
    pub fn boot(&self) -> Result<(Boot, Guest)> {
        let mut guest = self.start()?;
        let first = guest.first_page(PAGE, HANDING_OVER, LIMIT)?;
        let page = first.page.as_secs_f64();
        let mark = first
            .mark
            .context("early-boot did not say that it hands over")?
            .as_secs_f64();
        let kernel = handed_over(&guest.vm.console()).context("early-boot did not say when it hands over")?;
        Ok((
            Boot {
                firmware: mark - kernel,
                kernel,
                userspace: page - mark,
                page,
            },
            guest,
        ))
    }
}

/// Seconds of the kernel's clock when early-boot handed over.
fn handed_over(console: &str) -> Option<f64> {
    let milliseconds: u32 = console
        .split(HANDING_OVER)
        .nth(1)?
        .split(' ')
        .next()?
        .parse()
        .ok()?;
    Some(f64::from(milliseconds) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::handed_over;

    #[test]
    fn the_kernels_clock_is_read_from_early_boots_line() {
        let console = "U-Boot\r\nhearth: slot a of qemu-arm64 0.1.0: handing over after 6504 ms\r\n";
        assert_eq!(handed_over(console), Some(6.504));
        assert_eq!(handed_over("hearth: handing over after"), None);
    }
}
