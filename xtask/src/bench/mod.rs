//! `xtask bench`: the budgets, measured beside a peer in the same run.

mod appliance;
mod boot;
mod debian;
mod guest;
mod host_facts;
mod image;
mod memory;
mod p2p;
mod report;
mod second_stage;
mod update;

use anyhow::{Result, bail};
use clap::{Args, Subcommand};

use crate::host;
use report::Report;

/// Measure what the budgets are about, beside a peer in the same run: a plain Debian, the real rauc, the JavaScript stack.
///
/// Wants an idle machine. Exits with 1 when a budget is missed.
#[derive(Debug, Args)]
pub struct Options {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    how: How,
}

#[derive(Debug, Clone, Copy, Subcommand)]
enum What {
    /// Time to build images and their sizes, beside mmdebstrap
    Image,
    /// Time from QEMU's start to the first page, and memory, beside Debian with nginx
    Boot,
    /// Time and memory to install an update, and what one fetches, beside the real rauc
    Update,
    /// Speed and memory of the Hypercore stack, beside the JavaScript stack
    P2p,
}

/// How to measure.
#[derive(Debug, Clone, Args)]
pub struct How {
    /// How often each time is measured; the median counts
    #[arg(long, global = true, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=99))]
    runs: u16,
    /// Leave the peer out; budgets that need it are then not kept
    #[arg(long, global = true)]
    no_peer: bool,
    /// Make the peer anew from today's mirror
    #[arg(long, global = true)]
    renew_peer: bool,
    /// Print JSON in place of the table
    #[arg(long, global = true)]
    json: bool,
    /// Keep the result in docs/benchmarks.md
    #[arg(long, global = true)]
    write: bool,
    /// Exit with 0 even when a budget is missed
    #[arg(long, global = true)]
    no_fail: bool,
}

/// The verb.
pub fn bench(options: &Options) -> Result<()> {
    let how = &options.how;
    let facts = host_facts::read();
    if facts.load > f64::from(facts.cores) / 4.0 {
        eprintln!(
            "  warning: this machine is not idle (load {:.1}): times will be too long",
            facts.load
        );
    }
    let (name, (rows, notes)) = match options.what {
        What::Image => ("image", image::measure(how)?),
        What::Boot => ("boot", boot::measure(how)?),
        What::Update => ("update", update::measure(how)?),
        What::P2p => ("p2p", p2p::measure(how)?),
    };
    let report = Report {
        name,
        rows,
        notes,
        facts,
        runs: how.runs,
    };
    if how.json {
        println!("{:#}", report.json());
    } else {
        println!("{}", report.markdown());
    }
    if how.write {
        let path = host::checkout().join("docs/benchmarks.md");
        report.keep(&path)?;
        eprintln!("  kept in {}", path.display());
    }
    let missed = report.missed();
    if !missed.is_empty() && !how.no_fail {
        bail!("budgets not kept: {}", missed.join("; "));
    }
    Ok(())
}

/// The middle one of some measurements; the lower of the two in the middle.
fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::median;

    #[test]
    fn one_outlier_does_not_move_the_median() {
        assert_eq!(median(&[2.0, 900.0, 1.0]), Some(2.0));
        assert_eq!(median(&[4.0, 3.0]), Some(3.0));
        assert_eq!(median(&[]), None);
    }
}
