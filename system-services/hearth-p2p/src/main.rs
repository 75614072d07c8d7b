//! The Hypercore stack on the command line.

mod bee;
mod context;
mod core;
mod dht;
mod drive;
mod event;
mod key;
mod network;
mod output;
mod progress;
mod refusal;
mod secret;
mod select;
mod stop;
mod tunnel;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::context::{Context, Options};
use crate::output::Output;

/// Cores, bees, drives and tunnels from one computer to another, without a server between them.
///
/// What is written here can be read by the programs of the JavaScript stack (Hypercore 11), and the other way round.
#[derive(Debug, Parser)]
#[command(name = "hearth-p2p", version, max_term_width = 100, after_long_help = refusal::EXIT_CODES)]
struct Arguments {
    #[command(flatten)]
    options: Options,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Bee(bee::Options),
    Core(core::Options),
    Dht(dht::Options),
    Drive(drive::Options),
    Key(key::Options),
    Tunnel(tunnel::Options),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.options.json);
    output::log_to_stderr();
    let result = context::block_on(run(arguments, output));
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => refusal::report(&error, output),
    }
}

async fn run(arguments: Arguments, output: Output) -> anyhow::Result<()> {
    let context = Context::new(arguments.options, output)?;
    match arguments.verb {
        Verb::Bee(options) => bee::run(options, &context).await,
        Verb::Core(options) => core::run(options, &context).await,
        Verb::Dht(options) => dht::run(options, &context).await,
        Verb::Drive(options) => drive::run(options, &context).await,
        Verb::Key(options) => key::run(options, &context).await,
        Verb::Tunnel(options) => tunnel::run(options, &context).await,
    }
}
