//! `xtask bench boot`: from QEMU's start to the first page, and memory, beside Debian with nginx.

use std::time::Duration;

use anyhow::Result;
use board_support::Board;

use super::appliance::{Appliance, Boot};
use super::image::list;
use super::report::{Budget, Row, Unit};
use super::second_stage::Peer;
use super::{How, median, memory};
use crate::doctor::{self, Need};

const LIMIT: Duration = Duration::from_secs(600);

/// Measures.
pub fn measure(how: &How) -> Result<(Vec<Row>, Vec<String>)> {
    doctor::require(&[Need::Image, Need::Qemu])?;
    if !how.no_peer {
        doctor::require(&[Need::Bench])?;
    }
    let appliance = Appliance::new("release")?;
    let peer = if how.no_peer {
        None
    } else {
        Some(Peer::make(
            &Board::find("qemu-arm64")?,
            &appliance,
            how.renew_peer,
        )?)
    };
    let (mut ours, mut theirs): (Vec<Boot>, Vec<f64>) = (vec![], vec![]);
    // In turns, so that a machine that gets slower slows both.
    for run in 1..=how.runs {
        eprintln!("Booting ({run} of {})", how.runs);
        let (boot, guest) = appliance.boot()?;
        drop(guest);
        eprintln!("  Hearth: {:.1} s", boot.page);
        ours.push(boot);
        if let Some(peer) = &peer {
            let seconds = peer
                .start(&appliance)?
                .first_page("/", "", LIMIT)?
                .page
                .as_secs_f64();
            eprintln!("  Debian: {seconds:.1} s");
            theirs.push(seconds);
        }
    }
    drop(appliance);
    let used = memory::measure()?;
    let part = |of: fn(&Boot) -> f64| median(&ours.iter().map(of).collect::<Vec<_>>());
    let plain = |what: &str, of: fn(&Boot) -> f64| Row::new(what, Unit::Seconds, part(of), Budget::None);
    let rows = vec![
        Row::new(
            "QEMU's start to the first HTTP 200",
            Unit::Seconds,
            part(|b| b.page),
            Budget::AtMost(35.0),
        ),
        Row::new(
            "the same, beside Debian and nginx",
            Unit::Seconds,
            part(|b| b.page),
            Budget::OfPeer(0.6),
        )
        .beside(median(&theirs)),
        plain("of it: U-Boot and boot manager", |b| b.firmware),
        plain("of it: kernel and early-boot", |b| b.kernel),
        plain("of it: userspace (systemd) to HTTP 200", |b| b.userspace),
        Row::new(
            "memory in use, set up and idle",
            Unit::Bytes,
            Some(used.system),
            Budget::AtMost(mib(110)),
        ),
        Row::new(
            "web-setup resident, set up and idle",
            Unit::Bytes,
            Some(used.web),
            Budget::AtMost(mib(12)),
        ),
    ];
    let pages: Vec<f64> = ours.iter().map(|b| b.page).collect();
    let mut notes = vec![
        format!("Single boots: Hearth {}{}.", list(&pages), if theirs.is_empty() { String::new() } else { format!("; Debian {}", list(&theirs)) }),
        "The kernel's start is when early-boot's line “handing over after N ms” comes, less N ms of the kernel's clock.".into(),
        format!(
            "Memory: MemTotal − MemAvailable of {:.0} MiB, {} s after the wizard was finished; the dev profile's shell is in it.",
            used.total / mib(1),
            memory::IDLE.as_secs()
        ),
    ];
    match &peer {
        Some(_) => notes
            .push("Debian's kernel is loaded by QEMU itself, without U-Boot: that favours the peer.".into()),
        None => notes.push("The peer was left out.".into()),
    }
    Ok((rows, notes))
}

fn mib(n: u32) -> f64 {
    f64::from(n) * f64::from(1 << 20)
}
