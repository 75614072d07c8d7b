//! The wizard and the dashboard: the only thing that listens on TCP.

use std::net::TcpListener;

use anyhow::Context as _;
use web_setup::config::Config;
use web_setup::run;

fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_max_level(tracing::Level::INFO)
        .without_time()
        .with_ansi(false)
        .init();
    let config = Config::parse(std::env::args_os().skip(1), std::env::var_os("STATE_DIRECTORY"))?;
    let listener = match config.listen {
        Some(address) => TcpListener::bind(address).with_context(|| format!("listen on {address}"))?,
        None => listenfd::ListenFd::from_env()
            .take_tcp_listener(0)
            .context("the socket that systemd passes on")?
            .context("no socket was passed on; start with hearth-web.socket, or say --listen")?,
    };
    // One thread serves; the store's durable writes and reads happen on one or two more, with small stacks.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(2)
        .thread_stack_size(256 * 1024)
        .build()
        .context("start the runtime")?;
    runtime.block_on(async {
        #[cfg(feature = "demo")]
        if config.demo {
            let (app, folder) = run::demo().context("make up an appliance")?;
            run::run(app, listener).await.context("serve")?;
            return folder.close().context("remove the made-up appliance");
        }
        run::run(run::appliance(&config), listener).await.context("serve")
    })
}
