//! `updater serve` is the service behind `org.hearth.Updater1` and `de.pengutronix.rauc`; as `hearth-update`, and with any
//! other verb, it is the command line of a person.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use os_io::root::Root;
use updater::config::{CONFIG_PATH, Config};
use updater::install::SlotEngine;
use updater::service::{LAST_WORDS, Parts, Service};
use updater::{cli, dbus, facts};
use zbus::Connection;

/// Tries to reach the bus, a second apart.
const BUS_TRIES: u32 = 10;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let words: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // The engine, the health gate, the journal, the boot state: more at once only costs memory.
        .max_blocking_threads(6)
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let by_person = arguments
        .first()
        .is_some_and(|name| Path::new(name).ends_with("hearth-update"));
    if by_person || words != ["serve"] {
        return runtime.block_on(cli::run(&words));
    }
    match runtime.block_on(serve()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn serve() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .init();
    let root = Root::system();
    let facts = facts::read(&root)?;
    if let Some(reason) = facts::data_problem(&facts) {
        // The other slot would meet the same data: trying it heals nothing.
        tracing::error!("data is damaged, which is no fault of this slot: {reason}");
    }
    let engine = SlotEngine::new(root.clone(), &facts.disk, facts::running(&facts));
    let bus = reach_bus().await;
    let parts = Parts {
        config: Config::read(&root.path(CONFIG_PATH))?,
        root,
        engine: Arc::new(engine),
        bus: bus.clone(),
        last_words: LAST_WORDS,
    };
    let (service, inbox) = Service::start(parts)?;
    // A slot that works is marked good also when nobody can call.
    if let Some(bus) = &bus
        && let Err(error) = dbus::serve(bus, service.clone()).await
    {
        tracing::error!("the names on the system bus are not ours: {error}");
    }
    sd_notify::notify(&[sd_notify::NotifyState::Ready]).context("tell systemd that it runs")?;
    service.run(inbox).await;
    Ok(())
}

async fn reach_bus() -> Option<Connection> {
    for _ in 0..BUS_TRIES {
        match Connection::system().await {
            Ok(connection) => return Some(connection),
            Err(error) => tracing::warn!("the system bus does not answer: {error}"),
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    None
}
