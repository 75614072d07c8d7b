//! `core append`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use clap::Args;
use hyper_core::key;
use hyper_core::session::Session;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, BufReader};

use super::download;
use crate::context::Context;
use crate::event::Event;
use crate::network::{Network, Reach, Role};
use crate::progress::Progress;
use crate::refusal::{self, Refusal};
use crate::select::Which;

/// The JavaScript stack appends no larger block.
const MAX_BLOCK_BYTES: usize = 15 << 20;

/// Bytes of the blocks that files and standard input are cut into.
const CHUNK_BYTES: usize = 64 << 10;

/// Bytes and lines that are appended in one commit at most.
const BATCH_BYTES: usize = 4 << 20;
const BATCH_LINES: usize = 4096;

/// Appends blocks: those that are given, or a file or standard input, by lines or in pieces of 64 KiB.
#[derive(Debug, Args)]
pub(super) struct Options {
    #[command(flatten)]
    which: Which,
    /// Blocks. Without them standard input is read.
    #[arg(value_name = "BLOCK", conflicts_with = "file")]
    blocks: Vec<String>,
    /// A file to append instead.
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Every line is a block, without its line end.
    #[arg(long, conflicts_with = "blocks")]
    lines: bool,
    /// Give the core to its peers meanwhile, and go on with that until Ctrl-C.
    #[arg(long)]
    seed: bool,
    #[command(flatten)]
    reach: Reach,
}

pub(super) async fn run(options: Options, context: &Context) -> Result<()> {
    let store = context.open()?;
    let session = options.which.open_or_create(&store)?;
    if !session.is_writable() {
        return Err(Refusal::Refused(format!(
            "the core {} was not made in this storage, so nothing can be appended to it here",
            key::to_z32(session.key())
        ))
        .into());
    }
    if !options.seed {
        let all = append_all(&options, context, &session);
        context
            .stop
            .or(all)
            .await
            .unwrap_or(Err(Refusal::CutOff.into()))?;
        return say_length(context, &session);
    }
    let network = Network::start(context, &store, &options.reach, [&session], Role::Giving).await?;
    let serving = async {
        append_all(&options, context, &session).await?;
        download::tell_length(context.output, &session).await
    };
    let done = context.stop.or(serving).await;
    network.close().await;
    done.unwrap_or(Ok(()))
}

async fn append_all(options: &Options, context: &Context, session: &Session) -> Result<()> {
    let mut to = Appending {
        context,
        session,
        progress: None,
        done: 0,
    };
    if !options.blocks.is_empty() {
        let blocks: Vec<_> = options
            .blocks
            .iter()
            .map(|block| block.as_bytes().to_vec())
            .collect();
        return to.append(&blocks).await;
    }
    let (input, size) = open(options.file.as_deref()).await?;
    to.progress = size.map(|size| Progress::bytes(context.output, size));
    match options.lines {
        true => append_lines(&mut to, input).await,
        false => append_chunks(&mut to, input).await,
    }
}

fn say_length(context: &Context, session: &Session) -> Result<()> {
    if !context.output.is_json() {
        context
            .output
            .raw(format!("{} blocks\n", session.length()).as_bytes())?;
    }
    Ok(())
}

/// A core that is appended to.
struct Appending<'a> {
    context: &'a Context,
    session: &'a Session,
    progress: Option<Progress>,
    /// Bytes appended.
    done: u64,
}

impl Appending<'_> {
    async fn append(&mut self, blocks: &[Vec<u8>]) -> Result<()> {
        let length = self.session.append(blocks).await?;
        self.done += blocks.iter().map(|block| block.len() as u64).sum::<u64>();
        if let Some(progress) = &mut self.progress {
            progress.set(self.done)?;
        }
        let key = key::to_z32(self.session.key());
        self.context.output.note(&Event::Appended { key: &key, length })?;
        Ok(())
    }
}

type Input = Box<dyn AsyncBufRead + Send + Unpin>;

/// What is read, and how much it is if that is known.
async fn open(file: Option<&Path>) -> Result<(Input, Option<u64>)> {
    let Some(path) = file else {
        return Ok((Box::new(BufReader::new(tokio::io::stdin())), None));
    };
    let file = tokio::fs::File::open(path)
        .await
        .map_err(|error| refusal::of_file(path, "read", error))?;
    let metadata = file
        .metadata()
        .await
        .map_err(|error| refusal::of_file(path, "read", error))?;
    let size = metadata.is_file().then_some(metadata.len());
    Ok((Box::new(BufReader::with_capacity(CHUNK_BYTES, file)), size))
}

/// Lines that are there are appended together, and none waits for the next.
async fn append_lines(to: &mut Appending<'_>, mut input: Input) -> Result<()> {
    let mut blocks: Vec<Vec<u8>> = Vec::new();
    let mut bytes = 0;
    loop {
        let mut line = Vec::new();
        let mut limited = (&mut input).take(MAX_BLOCK_BYTES as u64 + 1);
        let read = limited.read_until(b'\n', &mut line).await;
        let ended = read.context("the lines cannot be read")? == 0;
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if line.len() > MAX_BLOCK_BYTES {
            return Err(Refusal::Usage(format!(
                "a line is longer than {MAX_BLOCK_BYTES} bytes, the most of a block"
            ))
            .into());
        }
        if !ended {
            bytes += line.len();
            blocks.push(line);
        }
        let more = !ended && has_line(&mut input).await;
        if (!more || bytes >= BATCH_BYTES || blocks.len() >= BATCH_LINES) && !blocks.is_empty() {
            to.append(&std::mem::take(&mut blocks)).await?;
            bytes = 0;
        }
        if ended {
            return Ok(());
        }
    }
}

/// Whether something more can be read at once.
async fn has_line(input: &mut Input) -> bool {
    tokio::select! {
        biased;
        filled = input.fill_buf() => filled.is_ok_and(|bytes| bytes.contains(&b'\n')),
        () = std::future::ready(()) => false,
    }
}

async fn append_chunks(to: &mut Appending<'_>, mut input: Input) -> Result<()> {
    let mut blocks = Vec::new();
    loop {
        let mut block = Vec::new();
        let mut limited = (&mut input).take(CHUNK_BYTES as u64);
        let read = limited.read_to_end(&mut block).await;
        let ended = read.context("the input cannot be read")? == 0;
        if !ended {
            blocks.push(block);
        }
        if ended && blocks.is_empty() {
            return Ok(());
        }
        if ended || blocks.len() * CHUNK_BYTES >= BATCH_BYTES {
            to.append(&std::mem::take(&mut blocks)).await?;
        }
    }
}
