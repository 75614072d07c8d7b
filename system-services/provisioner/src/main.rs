//! The small privileged service: the few typed changes that need root.
//!
//! `provisioner` serves `org.hearth.Provisioner1` on the system bus;
//! `provisioner journal-tail` keeps a small tail of the journal on `data`.

use anyhow::{Context, bail};
use provisioner::places::Places;
use provisioner::service::Service;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .without_time()
        .with_ansi(false)
        .with_target(false)
        .init();
    let mut arguments = std::env::args().skip(1);
    match (arguments.next().as_deref(), arguments.next()) {
        (None, None) => serve(),
        (Some("journal-tail"), None) => {
            provisioner::journal_tail::keep(&Places::appliance()).context("keep the tail of the journal")
        }
        _ => bail!("usage: provisioner [journal-tail]"),
    }
}

fn serve() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // A password, a growing disk, a diagnosis, a status: more at once only costs memory.
        .max_blocking_threads(4)
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        let service = Service::start(Places::appliance())?;
        let _connection = provisioner::dbus::serve(zbus::connection::Builder::system(), service)
            .await
            .context("take the name on the system bus")?;
        std::future::pending::<()>().await;
        Ok(())
    })
}
