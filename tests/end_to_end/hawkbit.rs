//! The real `rauc-hawkbit-updater`, between a hawkBit server and our updater service.

use std::fs;
use std::process::Output;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use boot_state::{MAX_TRIES, Slot};
use hearth_tests::appliance::{Appliance, COMPATIBLE};
use hearth_tests::bounded;
use hearth_tests::hawkbit::{Download, Hawkbit, TARGET, TENANT, TOKEN};
use hearth_tests::patience;
use hearth_tests::private_bus::{OPEN, PrivateBus};
use hearth_tests::rauc::{KeyKind, OurBundle, Pki, Rauc, tests_pki};

/// One look at the server with everything that follows from it.
const LIMIT: Duration = patience(40);

/// A box that is well, a server, and who signs.
struct Fleet {
    rauc: Rauc,
    appliance: Appliance,
    hawkbit: Hawkbit,
    pki: Pki,
    _keys: tempfile::TempDir,
}

impl Fleet {
    fn new() -> Result<Self> {
        let rauc = Rauc::version_1_15()?;
        let keys = tempfile::tempdir()?;
        let pki = tests_pki(keys.path(), KeyKind::P256)?;
        let bus = PrivateBus::start(rauc.program("dbus-daemon"), OPEN)?;
        let appliance = Appliance::start(bus, &pki)?;
        appliance.come_up()?;
        Ok(Self {
            rauc,
            appliance,
            hawkbit: Hawkbit::start()?,
            pki,
            _keys: keys,
        })
    }

    /// Has the client look once, with settings as in `docs/update-channels.md` and `more`.
    fn look(&self, token: &str, more: &str) -> Result<Output> {
        let settings = format!(
            "[client]\nhawkbit_server = {}\nssl = false\nssl_verify = true\ntenant_id = {TENANT}\ntarget_name = {TARGET}\n\
             auth_token = {token}\npost_update_reboot = false\nretry_wait = 1\nlog_level = debug\n{more}\n\
             [device]\ncompatible = {COMPATIBLE}\n",
            self.hawkbit.address(),
        );
        let path = self.appliance.put("/media/hawkbit.conf", settings.as_bytes())?;
        let mut command = self.rauc.program("rauc-hawkbit-updater");
        self.appliance.bus().serve_to(&mut command);
        command
            .arg("--config-file")
            .arg(path)
            .args(["--run-once", "--debug"]);
        let output = bounded::output(&mut command, LIMIT)?;
        println!(
            "{}{}{}\n{:#?}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.hawkbit.feedback()?
        );
        Ok(output)
    }

    /// The setting for a client that stores the bundle before it is installed.
    fn stored(&self) -> String {
        let path = self.appliance.folder().join("media/download.raucb");
        format!("bundle_download_location = {}", path.display())
    }

    /// How the client closed the action.
    fn closed(&self) -> Result<String> {
        let feedback = self.hawkbit.feedback()?;
        let (execution, finished, _) = feedback.last().context("no feedback")?;
        ensure!(execution == "closed", "{feedback:#?}");
        Ok(finished.clone())
    }

    /// Everything that the client wrote into its reports.
    fn details(&self) -> Result<String> {
        let feedback = self.hawkbit.feedback()?;
        Ok(feedback
            .into_iter()
            .map(|(_, _, details)| details + "\n")
            .collect())
    }

    fn installed(&self, bundle: &OurBundle) -> Result<()> {
        for (name, image) in [("root", &bundle.root), ("boot", &bundle.boot)] {
            ensure!(
                self.appliance.partition(name, Slot::B, image.len())? == **image,
                "{name}"
            );
        }
        let state = self.appliance.boot_state()?;
        let slot = state.slot(Slot::B);
        ensure!(
            slot.complete() && slot.tries_left() == MAX_TRIES && state.primary() == Slot::B,
            "{state:?}"
        );
        Ok(())
    }
}

#[test]
fn a_deployment_that_is_downloaded_gets_installed_and_is_closed_as_success() -> Result<()> {
    let mut fleet = Fleet::new()?;
    let bundle = OurBundle::small(COMPATIBLE, "1.1.0", 1);
    fleet
        .hawkbit
        .deploy("7", "1.1.0", bundle.make(&fleet.pki)?, Download::Here);

    let output = fleet.look("wrong", &fleet.stored())?;
    ensure!(!output.status.success() && fleet.hawkbit.feedback()?.is_empty());
    let output = fleet.look(TOKEN, &fleet.stored())?;
    ensure!(output.status.success(), "{}", output.status);
    ensure!(fleet.closed()? == "success");
    fleet.installed(&bundle)?;
    let details = fleet.details()?;
    for words in ["Checking bundle", "Installing done.", "installed successfully"] {
        ensure!(details.contains(words), "no {words:?} in {details}");
    }
    let attributes = fleet
        .hawkbit
        .attributes()
        .context("the device told nothing of itself")?;
    ensure!(attributes["compatible"] == COMPATIBLE, "{attributes}");

    // The next look finds nothing to do; the next start is that of the new system.
    let before = fleet.hawkbit.requests().len();
    let output = fleet.look(TOKEN, &fleet.stored())?;
    ensure!(output.status.success() && fleet.hawkbit.requests().len() == before + 1);
    fleet.appliance.set_version(Slot::B, "1.1.0");
    fleet.appliance.boot()?;
    ensure!(fleet.appliance.running() == Slot::B);
    Ok(())
}

#[test]
fn a_deployment_of_a_refused_bundle_is_closed_as_failure_with_our_reason() -> Result<()> {
    let fleet = Fleet::new()?;
    let before = fleet.appliance.boot_state()?;
    let bytes = OurBundle::small("hearth-pc-x86_64", "1.1.0", 2).make(&fleet.pki)?;
    fleet.hawkbit.deploy("8", "1.1.0", bytes, Download::Here);
    let output = fleet.look(TOKEN, &fleet.stored())?;
    ensure!(!output.status.success(), "{}", output.status);
    ensure!(fleet.closed()? == "failure");
    let details = fleet.details()?;
    ensure!(details.contains("Get the bundle for this box."), "{details}");
    ensure!(fleet.appliance.boot_state()? == before);
    Ok(())
}

#[test]
fn a_deployment_that_is_streamed_is_fetched_by_the_service_over_https_only() -> Result<()> {
    let fleet = Fleet::new()?;
    let server = https_server::Server::start(&[])?;
    fs::write(
        fleet
            .appliance
            .root()
            .path("/var/lib/hearth-updater/authorities.pem"),
        server.authority_pem(),
    )?;
    let bundle = OurBundle::small(COMPATIBLE, "1.1.0", 3);
    let bytes = bundle.make(&fleet.pki)?;
    server.put("/update.raucb", bytes.clone());
    server.behave(https_server::Behaviour {
        authorization: Some(format!("TargetToken {TOKEN}")),
        ..https_server::Behaviour::default()
    });

    fleet.hawkbit.deploy("9", "1.1.0", bytes.clone(), Download::Here);
    let output = fleet.look(TOKEN, "stream_bundle = true")?;
    ensure!(!output.status.success() && fleet.closed()? == "failure");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(said.contains("http:// is not encrypted; use https://"), "{said}");

    let url = server.url("/update.raucb");
    fleet.hawkbit.deploy("10", "1.1.0", bytes, Download::At(url));
    let output = fleet.look(TOKEN, "stream_bundle = true")?;
    ensure!(output.status.success(), "{}", output.status);
    ensure!(fleet.closed()? == "success");
    fleet.installed(&bundle)?;
    let requests = server.requests();
    ensure!(
        !requests.is_empty() && requests.iter().all(|line| line.contains("bytes=")),
        "{requests:?}"
    );
    Ok(())
}
