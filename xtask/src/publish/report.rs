//! What was published, for people and for machines.

use std::path::Path;

use anyhow::{Context, Result, bail};
use bundle::cms;
use channel::{ChannelName, FILE_ENDING, Index, Release, Trust, UnixTime, date};
use image_builder::cache::hex;
use indicatif::DecimalBytes;
use serde_json::json;

use super::Done;
use super::folder::read_index;

/// After publishing.
pub fn print(done: &Done, now: UnixTime) {
    println!("{}", done.path.display());
    println!("signed by {}", done.signer.subject);
    print_index(&done.index, now);
    for note in &done.notes {
        println!("note: {note}");
    }
}

/// After publishing, for machines.
pub fn json(done: &Done, now: UnixTime) -> serde_json::Value {
    let index = &done.index;
    let release = |release: &Release| {
        let waves: Vec<_> = release
            .waves
            .iter()
            .map(|wave| json!({ "from_unix_s": wave.from.0, "percent": wave.percent }))
            .collect();
        json!({
            "version": release.version.as_str(), "bundle": release.bundle.as_str(),
            "manifest_hash": hex(&release.manifest_hash), "size_bytes": release.size_bytes,
            "description": release.description,
            "upgrade_from": release.upgrade_from.as_ref().map(|version| version.as_str()),
            "rollback_index": release.rollback_index, "critical": release.critical, "stopped": release.stopped, "published_unix_s": release.published.0,
            "waves": waves,
            "percent_now": if release.stopped { 0 } else { release.wave_at(now).percent },
        })
    };
    let compatibles: Vec<_> = index
        .compatibles
        .iter()
        .map(|entry| json!({ "name": entry.name, "releases": entry.releases.iter().map(release).collect::<Vec<_>>() }))
        .collect();
    json!({
        "index": done.path, "channel": index.channel.as_str(), "serial": index.serial,
        "issued_unix_s": index.issued.0, "expires_unix_s": index.expires.0, "crls": index.crls.is_some(),
        "signer": done.signer.subject, "compatibles": compatibles, "notes": done.notes,
    })
}

/// Prints every index of a folder. One that boxes would refuse is an error, after all were printed.
pub fn show(folder: &Path, trust: &Trust, now: UnixTime) -> Result<()> {
    let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    let mut names: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .filter(|name| name.ends_with(FILE_ENDING))
        .collect();
    names.sort();
    if names.is_empty() {
        bail!(
            "{} holds no index (*{FILE_ENDING}); publish with --out {}",
            folder.display(),
            folder.display()
        );
    }
    let mut refused = Vec::new();
    for name in &names {
        let path = folder.join(name);
        println!("{}", path.display());
        if let Err(error) = show_one(&path, name.trim_end_matches(FILE_ENDING), trust, now) {
            println!("REFUSED: {error:#}");
            refused.push(name.as_str());
        }
    }
    if !refused.is_empty() {
        bail!("boxes refuse {}", refused.join(", "));
    }
    Ok(())
}

fn show_one(path: &Path, channel: &str, trust: &Trust, now: UnixTime) -> Result<()> {
    let channel = ChannelName::parse(channel)?;
    let der = read_index(path)?.context("it is gone")?;
    let opened = match channel::open(&der, trust, now, &channel) {
        Ok(opened) => opened,
        Err(error) => {
            if let Ok(index) = cms::read_unverified(&der).map(|signed| channel::parse(&signed.content))
                && let Ok(index) = index
            {
                println!("what it claims:");
                print_index(&index, now);
            }
            return Err(error.into());
        }
    };
    println!("signed by {}", opened.signer.subject);
    print_index(&opened.index, now);
    if now >= opened.index.expires {
        bail!("it expired; renew it with cargo xtask publish --channel {channel}");
    }
    Ok(())
}

fn print_index(index: &Index, now: UnixTime) {
    let crls = if index.crls.is_some() {
        ", with revocation lists"
    } else {
        ""
    };
    println!(
        "channel {}, serial {}, issued {}, expires {}{crls}",
        index.channel,
        index.serial,
        date(index.issued),
        date(index.expires)
    );
    for entry in &index.compatibles {
        println!("  {}", entry.name);
        for release in &entry.releases {
            println!("    {}", offer(release, now));
            for line in release.description.lines() {
                println!("        {line}");
            }
        }
    }
}

/// What a box is offered, in a line.
pub fn offer(release: &Release, now: UnixTime) -> String {
    let from = match &release.upgrade_from {
        Some(from) => format!("boxes from {from} on"),
        None => "older boxes".into(),
    };
    let wave = release.wave_at(now);
    let mut who = match (release.stopped, wave.percent) {
        (true, _) => "stopped: offered to nobody".into(),
        (false, 100) => format!("all {from}"),
        (false, percent) => format!("{percent} % of {from} now"),
    };
    if !release.stopped {
        for next in release.waves.iter().filter(|wave| wave.from > now) {
            who.push_str(&format!(", {} % from {}", next.percent, date(next.from)));
        }
    }
    let critical = if release.critical { ", critical" } else { "" };
    format!(
        "{} ({}{critical}): {who}",
        release.version,
        DecimalBytes(release.size_bytes)
    )
}
