//! Builds, runs, flashes and tests Hearth: every verb of the project.

mod bench;
mod bundle;
mod ci;
mod doctor;
mod flash;
mod host;
mod image;
mod keys;
mod lock;
mod publish;
mod qemu;
mod run;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Builds, runs, flashes and tests the Hearth appliance.
///
/// On a fresh machine: `cargo xtask run` builds an image for QEMU, starts it and says which address to open;
/// `cargo xtask test` runs every test.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Run(run::Options),
    Image(image::Options),
    Verify(image::VerifyOptions),
    Flash(flash::Options),
    Bundle(Box<bundle::Options>),
    Publish(Box<publish::Options>),
    Test(test::Options),
    Keys(keys::Options),
    Lock(lock::Options),
    Doctor(doctor::Options),
    Bench(bench::Options),
    Ci(ci::Options),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().verb {
        Verb::Run(options) => run::run(&options),
        Verb::Image(options) => image::build(&options),
        Verb::Verify(options) => image::verify(&options),
        Verb::Flash(options) => flash::flash(&options),
        Verb::Bundle(options) => bundle::bundle(&options),
        Verb::Publish(options) => publish::publish(&options),
        Verb::Test(options) => test::test(&options),
        Verb::Keys(options) => keys::keys(&options),
        Verb::Lock(options) => lock::lock(&options),
        Verb::Doctor(options) => doctor::doctor(&options),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Ci(options) => ci::ci(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
