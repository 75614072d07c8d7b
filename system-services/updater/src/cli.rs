//! `hearth-update`: the updater for a person, over the bus.

mod client;
mod show;

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::Context;
use ipc::updater::{Phase, Status, When};

use client::Client;

const HELP: &str = "\
hearth-update: the versions of this appliance

Usage:
  hearth-update status [--json]      what runs, what is installed, what happens
  hearth-update check                look for an update now
  hearth-update install SOURCE       install an update into the slot that does not run
      SOURCE is https://..., the whole path of a file, or usb (a stick labelled HEARTH)
      --when now|reboot|tonight      when to start it; at the next restart, unless you say more
      --force                        also a bundle that failed here before
      --allow-downgrade              also a version that is older than one that was good here, or that was withdrawn;
                                     asks first, unless --yes is given too
      --no-wait                      come back at once; look at `status` for how it goes
  hearth-update activate now|reboot|tonight
                                     when to start what is installed
  hearth-update cancel               give up an installation, or what waits for its start
  hearth-update rollback             go back to the version before, with a restart
      --allow-downgrade              also to one that was withdrawn, for instance because of a hole in it;
                                     asks first, unless --yes is given too
  hearth-update mark good|bad|active [booted|other|a|b]
                                     say of a slot that it works, that it does not, or that it is to be started next;
                                     without a slot: the one that runs
  hearth-update history [--json]     what became of updates so far

A new version must prove itself after its start: services, page, network and storage are watched for a minute. If it does
not, the box goes back to the old version by itself; `status` says why.

Exit codes: 0 done, 1 it did not work (the reason is on stderr), 2 wrong usage, 3 another operation is under way.
";

/// How often progress is asked for.
const POLL: std::time::Duration = std::time::Duration::from_millis(500);

/// Runs a command line without the program's name.
pub async fn run(arguments: &[&str]) -> ExitCode {
    let Some(command) = parse(arguments) else {
        eprint!("{HELP}");
        return ExitCode::from(2);
    };
    match carry_out(command).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("hearth-update: {error:#}");
            if client::is_busy(&error) {
                ExitCode::from(3)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Command {
    Help,
    Status { json: bool },
    History { json: bool },
    Install(Install),
    Check,
    Activate(When),
    Cancel,
    Rollback { downgrade: Option<Consent> },
    Mark { state: String, slot: String },
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
struct Install {
    source: String,
    when: When,
    force: bool,
    downgrade: Option<Consent>,
    no_wait: bool,
}

/// How a downgrade was agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Consent {
    /// The person at the terminal is asked.
    Ask,
    /// With the command line.
    Given,
}

fn parse(arguments: &[&str]) -> Option<Command> {
    Some(match arguments {
        ["help" | "--help" | "-h"] => Command::Help,
        ["status"] => Command::Status { json: false },
        ["status", "--json"] => Command::Status { json: true },
        ["history"] => Command::History { json: false },
        ["history", "--json"] => Command::History { json: true },
        ["install", rest @ ..] => Command::Install(parse_install(rest)?),
        ["activate", when] => Command::Activate(When::from_name(when)?),
        ["check"] => Command::Check,
        ["cancel"] => Command::Cancel,
        ["rollback"] => Command::Rollback { downgrade: None },
        ["rollback", "--allow-downgrade"] => Command::Rollback {
            downgrade: Some(Consent::Ask),
        },
        ["rollback", "--allow-downgrade", "--yes"] => Command::Rollback {
            downgrade: Some(Consent::Given),
        },
        ["mark", state @ ("good" | "bad" | "active")] => Command::Mark {
            state: (*state).into(),
            slot: "booted".into(),
        },
        [
            "mark",
            state @ ("good" | "bad" | "active"),
            slot @ ("booted" | "other" | "a" | "b"),
        ] => Command::Mark {
            state: (*state).into(),
            slot: (*slot).into(),
        },
        _ => return None,
    })
}

fn parse_install(arguments: &[&str]) -> Option<Install> {
    if arguments.contains(&"--yes") && !arguments.contains(&"--allow-downgrade") {
        return None;
    }
    let mut install = Install::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match *argument {
            "--force" => install.force = true,
            "--allow-downgrade" => install.downgrade = install.downgrade.or(Some(Consent::Ask)),
            "--yes" => install.downgrade = Some(Consent::Given),
            "--no-wait" => install.no_wait = true,
            "--when" => install.when = When::from_name(rest.next()?)?,
            source if !source.starts_with('-') && install.source.is_empty() => install.source = source.into(),
            _ => return None,
        }
    }
    (!install.source.is_empty()).then_some(install)
}

async fn carry_out(command: Command) -> anyhow::Result<()> {
    match command {
        Command::Help => print!("{HELP}"),
        Command::Status { json } => status(json).await?,
        Command::History { json } => {
            let entries = Client::connect().await?.history().await?;
            if json {
                println!("{}", serde_json::to_string(&entries)?);
            } else {
                print!("{}", show::history(&entries));
            }
        }
        Command::Install(options) => install(options).await?,
        Command::Activate(when) => Client::connect().await?.activate(when).await?,
        Command::Check => {
            let client = Client::connect().await?;
            client.check().await?;
            match show::channel(&client.status().await?) {
                nothing if nothing.is_empty() => println!("There is nothing newer for this box."),
                text => print!("{text}"),
            }
        }
        Command::Cancel => Client::connect().await?.cancel().await?,
        Command::Rollback { downgrade } => {
            agree(downgrade)?;
            let client = Client::connect().await?;
            match downgrade {
                Some(_) => client.downgrade().await?,
                None => client.rollback().await?,
            }
            println!("The box restarts into the version before.");
        }
        Command::Mark { state, slot } => {
            let (_, sentence) = Client::connect().await?.mark(&state, &slot).await?;
            println!("{sentence}");
        }
    }
    Ok(())
}

/// What the service says; without it, what the boot state says.
async fn status(json: bool) -> anyhow::Result<()> {
    let service = match Client::connect().await {
        Ok(client) => client.status().await,
        Err(error) => Err(error),
    };
    let slots = tokio::task::spawn_blocking(crate::status::read).await?;
    match (service, slots) {
        (Ok(service), slots) => {
            if json {
                let whole = show::Whole {
                    updater: &service,
                    boot_state: slots.ok(),
                };
                println!("{}", serde_json::to_string(&whole)?);
            } else {
                print!("{}", show::status(&service));
            }
        }
        (Err(why), Ok(slots)) => {
            eprintln!(
                "hearth-update: the updater does not answer ({why:#}); this is what the boot state says:"
            );
            if json {
                println!("{}", serde_json::to_string(&slots)?);
            } else {
                print!("{slots}");
            }
        }
        (Err(why), Err(slots)) => return Err(slots.context(format!("the updater does not answer ({why:#})"))),
    }
    Ok(())
}

/// Asks whether an older version is really wanted.
fn agree(downgrade: Option<Consent>) -> anyhow::Result<()> {
    if downgrade != Some(Consent::Ask) {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        anyhow::bail!("nobody can be asked about a downgrade here; add --yes to agree to it beforehand");
    }
    eprint!(
        "An older version may have holes that were mended since, and may not understand what newer ones have stored.\n\
         Go on all the same? [y/N] "
    );
    let mut answer = String::new();
    std::io::stdin()
        .read_line(&mut answer)
        .context("read the answer")?;
    anyhow::ensure!(matches!(answer.trim(), "y" | "Y" | "yes"), "nothing was changed");
    Ok(())
}

async fn install(options: Install) -> anyhow::Result<()> {
    agree(options.downgrade)?;
    let client = Client::connect().await?;
    client
        .install(
            &options.source,
            options.force,
            options.downgrade.is_some(),
            options.when,
        )
        .await?;
    if options.no_wait {
        return Ok(());
    }
    let mut bar = show::Bar::new();
    loop {
        let status = client.status().await.context("ask how it goes")?;
        match status.phase {
            Phase::Downloading | Phase::Verifying => bar.draw(&status),
            _ => {
                bar.end();
                return installed(&status);
            }
        }
        tokio::time::sleep(POLL).await;
    }
}

fn installed(status: &Status) -> anyhow::Result<()> {
    match (status.phase, &status.last_error) {
        (Phase::Staged | Phase::Trying, _) => {
            println!("{}", show::headline(status));
            Ok(())
        }
        (_, Some(error)) => anyhow::bail!("{error}"),
        (_, None) => anyhow::bail!("the installation was cancelled"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_are_what_the_help_says() {
        let install = |install| Some(Command::Install(install));
        for (line, command) in [
            ("status --json", Some(Command::Status { json: true })),
            (
                "install --when now /a --force",
                install(Install {
                    source: "/a".into(),
                    when: When::Now,
                    force: true,
                    ..Install::default()
                }),
            ),
            (
                "install --yes /a --allow-downgrade",
                install(Install {
                    source: "/a".into(),
                    downgrade: Some(Consent::Given),
                    ..Install::default()
                }),
            ),
            ("install /a --yes", None),
            ("install", None),
            ("install /a /b", None),
            ("install /a --when", None),
            ("install /a --when soon", None),
            ("install /a --fast", None),
            ("mark great", None),
            (
                "mark good",
                Some(Command::Mark {
                    state: "good".into(),
                    slot: "booted".into(),
                }),
            ),
            ("mark bad c", None),
            ("activate tonight", Some(Command::Activate(When::Tonight))),
            (
                "rollback --allow-downgrade",
                Some(Command::Rollback {
                    downgrade: Some(Consent::Ask),
                }),
            ),
            ("rollback --force", None),
            ("check", Some(Command::Check)),
            ("", None),
        ] {
            let words: Vec<&str> = line.split_whitespace().collect();
            assert_eq!(parse(&words), command, "{line}");
        }
    }
}
