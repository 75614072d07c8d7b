//! `bee put`, `bee del`.

use std::io::{self, BufRead, Read};

use anyhow::{Context as _, Result};
use clap::Args;
use hyper_core::session::GetOptions;
use hyper_drive::bee::{Batch, Bee, Entry};

use super::{WhichBee, say_version};
use crate::context::Context;
use crate::refusal::Refusal;

/// The JavaScript stack appends no larger block.
const MAX_BYTES: u64 = 15 << 20;

/// Changes that are written together at most: a batch is held in memory.
const BATCH_LINES: usize = 10_000;

/// Who writes a bee has all of it.
const NOT_WAITING: GetOptions = GetOptions {
    wait: false,
    timeout: None,
};

/// Sets what keys stand for. The bee is made if it is not there.
#[derive(Debug, Args)]
pub(super) struct PutOptions {
    #[command(flatten)]
    which: WhichBee,
    /// The key.
    #[arg(value_name = "KEY", required_unless_present = "lines")]
    key: Option<String>,
    /// What it shall stand for. Without it standard input is read.
    #[arg(value_name = "VALUE", requires = "key")]
    value: Option<String>,
    /// Read many from standard input: a key, a tab and a value in each line.
    #[arg(long, conflicts_with_all = ["key", "if_value", "if_absent"])]
    lines: bool,
    /// Only if the key stands for this now, otherwise exit code 6.
    #[arg(long, value_name = "VALUE", conflicts_with = "if_absent")]
    if_value: Option<String>,
    /// Only if the key stands for nothing now, otherwise exit code 6.
    #[arg(long)]
    if_absent: bool,
}

/// Removes a key. One that is not there is exit code 3.
#[derive(Debug, Args)]
pub(super) struct DelOptions {
    #[command(flatten)]
    which: WhichBee,
    /// The key.
    #[arg(value_name = "KEY")]
    key: String,
    /// Only if the key stands for this now, otherwise exit code 6.
    #[arg(long, value_name = "VALUE")]
    if_value: Option<String>,
}

pub(super) async fn put(options: PutOptions, context: &Context) -> Result<()> {
    let store = context.open()?;
    let bee = options.which.open_or_create(&store)?;
    match &options.key {
        Some(key) => put_one(&bee, key, &options).await?,
        None => put_lines(&bee).await?,
    }
    say_version(context, &bee)
}

async fn put_one(bee: &Bee, key: &str, options: &PutOptions) -> Result<()> {
    let value = match &options.value {
        Some(value) => value.clone().into_bytes(),
        None => read_value()?,
    };
    if options.if_value.is_none() && !options.if_absent {
        bee.put(key, value).await?;
        return Ok(());
    }
    let mut held = false;
    let expected = options.if_value.as_deref();
    let condition = |entry: Option<&Entry>| {
        held = entry.map(|entry| entry.value.as_deref().unwrap_or_default()) == expected.map(str::as_bytes);
        held
    };
    bee.put_if(key, value, condition).await?;
    must_have_held(held, key)
}

fn read_value() -> Result<Vec<u8>> {
    let mut value = Vec::new();
    io::stdin()
        .take(MAX_BYTES + 1)
        .read_to_end(&mut value)
        .context("the value cannot be read from standard input")?;
    if value.len() as u64 > MAX_BYTES {
        return Err(Refusal::Usage(format!(
            "the value is longer than {MAX_BYTES} bytes: a drive holds files"
        ))
        .into());
    }
    Ok(value)
}

async fn put_lines(bee: &Bee) -> Result<()> {
    let mut batch = bee.batch();
    for (number, line) in (1..).zip(io::stdin().lock().lines()) {
        let line = line.with_context(|| format!("line {number} of standard input cannot be read"))?;
        put_line(&mut batch, number, &line).await?;
        if batch.len() >= BATCH_LINES {
            std::mem::replace(&mut batch, bee.batch()).flush().await?;
        }
    }
    batch.flush().await?;
    Ok(())
}

async fn put_line(batch: &mut Batch, number: u64, line: &str) -> Result<()> {
    let Some((key, value)) = line.split_once('\t') else {
        return Err(Refusal::Usage(format!(
            "line {number} has no tab between a key and a value: {line:?}"
        ))
        .into());
    };
    batch.put(key, value).await?;
    Ok(())
}

pub(super) async fn del(options: DelOptions, context: &Context) -> Result<()> {
    let store = context.open()?;
    let bee = options.which.open(&store, NOT_WAITING)?;
    let mut held = true;
    let condition = |entry: &Entry| {
        let expected = options.if_value.as_deref();
        held = expected.is_none_or(|expected| entry.value.as_deref() == Some(expected.as_bytes()));
        held
    };
    let removed = bee.del_if(&options.key, condition).await?;
    must_have_held(held, &options.key)?;
    if removed.is_none() {
        return Err(Refusal::NotFound(format!("the bee has no key {:?}", options.key)).into());
    }
    say_version(context, &bee)
}

fn must_have_held(held: bool, key: &str) -> Result<()> {
    match held {
        true => Ok(()),
        false => Err(Refusal::Refused(format!(
            "{key:?} stands for something else now: nothing was changed"
        ))
        .into()),
    }
}
