//! `xtask bench image`: sizes, and seconds from warm caches, beside mmdebstrap.

use anyhow::Result;
use board_support::Board;
use image_builder::build::Image;
use image_builder::cache::Cache;

use super::debian::Debian;
use super::report::{Budget, Row, Unit};
use super::{How, median};
use crate::doctor::{self, Need};
use crate::image;

const MIB: f64 = (1 << 20) as f64;

fn build(board: &str) -> Result<Image> {
    let options = image::Options {
        board: board.into(),
        profile: "release".into(),
        locked: false,
        boot_key: None,
        update_keyring: None,
        update_crl: None,
        version: None,
        out: Cache::open()?.folder("bench/images")?,
    };
    let built = image::make(&options)?;
    eprintln!("  {:.1} s without compiling", built.seconds.0);
    Ok(built)
}

/// Measures.
pub fn measure(how: &How) -> Result<(Vec<Row>, Vec<String>)> {
    doctor::require(&[Need::Image])?;
    if !how.no_peer {
        doctor::require(&[Need::Bench])?;
    }
    // Once for compiling and for the caches.
    let (mut pi, mut pc) = (build("raspberry-pi")?, build("pc-x86_64")?);
    let debian = if how.no_peer {
        None
    } else {
        Some(Debian::of(&Board::find("pc-x86_64")?, "")?)
    };
    if let Some(debian) = &debian {
        debian.fetch(how.renew_peer)?;
    }
    let (mut pi_seconds, mut pc_seconds, mut peer_seconds) = (vec![], vec![], vec![]);
    // In turns, so that a machine that gets slower slows both.
    for run in 1..=how.runs {
        eprintln!("Run {run} of {}", how.runs);
        pi = build("raspberry-pi")?;
        pi_seconds.push(pi.seconds.0);
        pc = build("pc-x86_64")?;
        pc_seconds.push(pc.seconds.0);
        if let Some(debian) = &debian {
            eprintln!("Building the peer with mmdebstrap");
            let seconds = debian.build()?;
            eprintln!("  {seconds:.1} s");
            peer_seconds.push(seconds);
        }
    }
    let sizes = debian.as_ref().map(Debian::sizes).transpose()?;
    let (squashfs, all) = (sizes.map(|s| s.0 as f64), sizes.map(|s| s.1 as f64));
    let seconds = median(&peer_seconds);
    let bytes = |n: u64| Some(n as f64);
    let rows = vec![
        Row::new(
            "raspberry-pi: .img.zst",
            Unit::Bytes,
            bytes(pi.compressed_bytes),
            Budget::AtMost(64.0 * MIB),
        ),
        Row::new(
            "raspberry-pi: root squashfs",
            Unit::Bytes,
            bytes(pi.squashfs_bytes),
            Budget::AtMost(48.0 * MIB),
        ),
        Row::new(
            "raspberry-pi: build",
            Unit::Seconds,
            median(&pi_seconds),
            Budget::AtMost(15.0),
        ),
        Row::new(
            "pc-x86_64: .img.zst",
            Unit::Bytes,
            bytes(pc.compressed_bytes),
            Budget::None,
        )
        .beside(all),
        Row::new(
            "pc-x86_64: root squashfs",
            Unit::Bytes,
            bytes(pc.squashfs_bytes),
            Budget::None,
        )
        .beside(squashfs),
        Row::new(
            "pc-x86_64: build",
            Unit::Seconds,
            median(&pc_seconds),
            Budget::OfPeer(0.2),
        )
        .beside(seconds),
    ];
    let mut notes = vec![
        "Builds are from warm caches, our Rust code already compiled; they end with the verified, compressed image.".into(),
        format!("Single builds: raspberry-pi {}; pc-x86_64 {}.", list(&pi_seconds), list(&pc_seconds)),
    ];
    notes.push(match debian {
        Some(_) => format!("mmdebstrap and packing: {}.", list(&peer_seconds)),
        None => "The peer was left out.".into(),
    });
    Ok((rows, notes))
}

/// `1.0, 2.0 s`
pub fn list(seconds: &[f64]) -> String {
    let numbers: Vec<String> = seconds.iter().map(|s| format!("{s:.1}")).collect();
    format!("{} s", numbers.join(", "))
}
