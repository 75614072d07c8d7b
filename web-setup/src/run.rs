//! Puts the parts together: the real appliance, or a developer's made-up one.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::app::{App, router};
use crate::bus::Bus;
use crate::config::Config;
use crate::lock;
use crate::provisioner::OverBus;
use crate::server;
use crate::setup::desk::now;
use crate::system::services::Systemd;
use crate::system::{ClockState, Root, boots, kernel};
use crate::updater;

/// The parts of the real appliance. Nothing is connected yet.
pub fn appliance(config: &Config) -> Arc<App> {
    let bus = Bus::default();
    App::new(
        Root::new("/"),
        &config.state_folder,
        Arc::new(OverBus::new(bus.clone())),
        Arc::new(updater::OverBus::new(bus.clone())),
        Arc::new(Systemd::new(bus)),
    )
}

/// The parts of a made-up appliance, in a temporary folder that is removed at the end.
#[cfg(feature = "demo")]
pub fn demo() -> std::io::Result<(Arc<App>, tempfile::TempDir)> {
    use crate::provisioner::fake::Fake;
    use crate::system::sample;

    let folder = tempfile::tempdir()?;
    let root = Root::new(folder.path());
    sample::write(&root)?;
    let zones = std::fs::read("/usr/share/zoneinfo/tzdata.zi");
    if let Ok(zones) = zones {
        std::fs::write(root.join("/usr/share/zoneinfo/tzdata.zi"), zones)?;
    }
    let fake = Arc::new(Fake::new(root.clone(), Duration::from_secs(20)));
    let updater = Arc::new(updater::fake::Fake::default());
    updater.set(updater::sample::status(updater::sample::Scene::Available, now()));
    updater.set_history(updater::sample::history(now()));
    Ok((
        App::new(root, folder.path(), fake, updater, Arc::new(sample::Units)),
        folder,
    ))
}

/// Serves until SIGTERM or SIGINT.
pub async fn run(app: Arc<App>, listener: std::net::TcpListener) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    tracing::info!(address = %listener.local_addr()?, "listening");
    let (stop_sender, stop) = watch::channel(false);
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    tokio::spawn(async move {
        tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        let _ = stop_sender.send(true);
        // Kept until the end: a sender that is gone looks like a stop of its own.
        std::future::pending::<()>().await;
    });
    tokio::spawn(app.sampler.clone().keep_history());
    tokio::spawn(note_boot(app.clone()));
    if let Some(interval) = sd_notify::watchdog_enabled() {
        tokio::spawn(feed_watchdog(interval / 3));
    }
    // Ready once the socket can be served; a failure to say so only means that systemd did not start us.
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
    server::serve(listener, router(app), server::Limits::default(), stop).await;
    let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
    Ok(())
}

async fn feed_watchdog(interval: Duration) {
    let mut ticks = tokio::time::interval(interval);
    loop {
        ticks.tick().await;
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
    }
}

/// Notes this start in the list of the last ones. Waits a little for network time, so that the note has a true one.
async fn note_boot(app: Arc<App>) {
    for _ in 0..30 {
        if kernel::clock(&app.root) == Ok(ClockState::Synchronised) {
            break;
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    let (Some(id), Ok(facts)) = (kernel::boot_id(&app.root), lock::boot_facts(&app.root)) else {
        return;
    };
    let clock_set = kernel::clock(&app.root) == Ok(ClockState::Synchronised);
    let result = async {
        let mut known = app
            .store
            .boots()
            .await?
            .map(|bytes| boots::decode(&bytes))
            .unwrap_or_default();
        if boots::record(&mut known, &id, &facts, now(), clock_set) {
            app.store.set_boots(boots::encode(&known)).await?;
        }
        Ok::<(), crate::setup::store::StoreError>(())
    };
    if let Err(error) = result.await {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            "this start was not noted"
        );
    }
}
