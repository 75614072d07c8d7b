//! Serves a made-up appliance that is set up already, for looking at its pages: log in as `ada` with `tulip oven gravel 42`.
//!
//! Each line of the standard input is a scene of updates (`idle`, `downloading` …, see `updater::sample`), `absent`,
//! `history`, `no-history` or `long-history`.
//!
//! `cargo run -p web-setup --features demo --example preview -- 127.0.0.1:8080`

use std::io::BufRead;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use ipc::settings::{AccountName, HostName, Settings, TimeZone, UpdatePolicy};
use web_setup::app::App;
use web_setup::provisioner::fake::Fake as FakeProvisioner;
use web_setup::run;
use web_setup::setup::desk::now;
use web_setup::system::{Root, sample};
use web_setup::updater::fake::{Fake, Mood};
use web_setup::updater::sample as updates;

fn main() -> anyhow::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".into());
    let listener = std::net::TcpListener::bind(&address).with_context(|| format!("listen on {address}"))?;
    let folder = tempfile::tempdir().context("a temporary folder")?;
    let root = Root::new(folder.path());
    sample::write(&root).context("make up an appliance")?;
    let settings = Settings {
        provisioned: true,
        administrator: AccountName::parse("ada").ok(),
        host_name: HostName::parse("attic").map_err(anyhow::Error::msg)?,
        time_zone: TimeZone::parse("Europe/Paris").map_err(anyhow::Error::msg)?,
        language: "en".into(),
        update_policy: UpdatePolicy::Notify,
    };
    let file = root.join(ipc::paths::SETTINGS);
    std::fs::create_dir_all(file.parent().context("a folder for the settings")?)?;
    std::fs::write(&file, settings.to_toml()?)?;
    let provisioner = Arc::new(FakeProvisioner::new(root.clone(), Duration::from_secs(20)));
    provisioner.put_administrator("ada", "tulip oven gravel 42");
    let updater = Arc::new(Fake::default());
    let shown = updater.clone();
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().lines().map_while(Result::ok) {
            show(&shown, line.trim());
            println!("{line}");
        }
    });
    let app = App::new(root, folder.path(), provisioner, updater, Arc::new(sample::Units));
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?
        .block_on(run::run(app, listener))
        .context("serve")
}

fn show(updater: &Fake, what: &str) {
    let now = now();
    updater.set_mood(if what == "absent" {
        Mood::Absent
    } else {
        Mood::Well
    });
    match what {
        "absent" => {}
        "history" => updater.set_history(updates::history(now)),
        "no-history" => updater.set_history(vec![]),
        "long-history" => {
            let many = (0..12).flat_map(|n| updates::history(now - (12 - n) * 5_400_000));
            updater.set_history(many.collect());
        }
        name => {
            if let Some((_, scene)) = updates::Scene::ALL.iter().find(|(known, _)| *known == name) {
                updater.set(updates::status(*scene, now));
            }
        }
    }
}
