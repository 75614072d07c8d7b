//! Who may call the updater and who may be it: the policy files that we ship, on a real `dbus-daemon`.

use std::fs;
use std::future::Future;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use hearth_tests::appliance::Appliance;
use hearth_tests::patience;
use hearth_tests::private_bus::{self, PrivateBus};
use hearth_tests::rauc::interface::{BUS_NAME, INTERFACE, OBJECT};
use hearth_tests::rauc::{KeyKind, Rauc, tests_pki};
use rustix::process::{Gid, Uid, geteuid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use zbus::{Connection, fdo};

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { tokio::time::timeout(patience(30), future).await? })
}

/// The bus of the appliance: Debian's own policy of the system bus, then ours for both names.
fn shipped_policy(rauc: &Rauc, group: &str) -> Result<String> {
    let system = fs::read_to_string(rauc.file("usr/share/dbus-1/system.conf"))?;
    let updater = Path::new(env!("CARGO_MANIFEST_DIR")).join("../system-services/updater");
    let own = ["org.hearth.Updater1.conf", "de.pengutronix.rauc.conf"]
        .map(|name| fs::read_to_string(updater.join(name)));
    let mut text = String::new();
    for file in [Ok(system)].into_iter().chain(own) {
        let file = file?;
        let start = file.find("<policy").context("no policy")?;
        let end = file.rfind("</policy>").context("no end of the policy")?;
        text += &file[start..end];
        text += "</policy>";
    }
    // The group of the appliance need not exist on this machine.
    Ok(text.replace("group=\"hearth\"", &format!("group=\"{group}\"")))
}

/// A group of this machine: name and number.
fn some_group() -> Result<(String, u32)> {
    let text = fs::read_to_string("/etc/group")?;
    let group = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, number) = (fields.next()?, fields.nth(1)?.parse().ok()?);
        (number != 0 && number < 1000).then(|| (name.to_owned(), number))
    });
    group.context("no group in /etc/group")
}

/// What a user hears who calls both services, and who tries to be them: `true` is an answer.
fn as_user(address: &str, groups: &[u32]) -> Result<Vec<(String, bool)>> {
    let gids: Vec<Gid> = groups.iter().map(|group| Gid::from_raw(*group)).collect();
    let address = address.to_owned();
    // Linux has users per thread; this one ends with the calls.
    let calls = std::thread::spawn(move || {
        let (nobody, no_group) = (Uid::from_raw(65_534), Gid::from_raw(65_534));
        set_thread_groups(&gids)?;
        set_thread_res_gid(Some(no_group), Some(no_group), Some(no_group))?;
        set_thread_res_uid(Some(nobody), Some(nobody), Some(nobody))?;
        block_on(async { try_all(&private_bus::connect(&address).await?).await })
    });
    calls.join().map_err(|_| anyhow::anyhow!("the calls ended"))?
}

async fn try_all(connection: &Connection) -> Result<Vec<(String, bool)>> {
    let mut answers = Vec::new();
    for (name, object, interface, method) in [
        (BUS_NAME, OBJECT, INTERFACE, "GetPrimary"),
        (
            BUS_NAME,
            OBJECT,
            "org.freedesktop.DBus.Introspectable",
            "Introspect",
        ),
        (
            ipc::updater::BUS_NAME,
            ipc::updater::OBJECT,
            ipc::updater::INTERFACE,
            "Status",
        ),
        (
            ipc::updater::BUS_NAME,
            ipc::updater::OBJECT,
            "org.freedesktop.DBus.Introspectable",
            "Introspect",
        ),
    ] {
        let answer = connection
            .call_method(Some(name), object, Some(interface), method, &())
            .await;
        let allowed = match answer {
            Ok(_) => true,
            Err(zbus::Error::FDO(error)) if matches!(*error, fdo::Error::AccessDenied(_)) => false,
            Err(zbus::Error::MethodError(error, ..)) if error.as_str().ends_with(".AccessDenied") => false,
            Err(error) => return Err(error).context(name),
        };
        answers.push((format!("{name} {method}"), allowed));
    }
    for name in [BUS_NAME, ipc::updater::BUS_NAME] {
        let owned = match connection.request_name(name).await {
            Ok(()) => bail!("{name} was taken from the service"),
            // The policy would have given it.
            Err(zbus::Error::NameTaken) => true,
            Err(_) => false,
        };
        answers.push((format!("own {name}"), owned));
    }
    Ok(answers)
}

#[test]
fn only_root_and_the_appliances_group_may_call_and_only_root_may_be_the_service() -> Result<()> {
    let rauc = Rauc::version_1_15()?;
    let (group, gid) = some_group()?;
    let bus = PrivateBus::start(rauc.program("dbus-daemon"), &shipped_policy(&rauc, &group)?)?;
    if !geteuid().is_root() {
        // Not even the service may start for another user; calls as several users need root.
        let keys = tempfile::tempdir()?;
        let started = Appliance::start(bus, &tests_pki(keys.path(), KeyKind::P256)?);
        let Err(refused) = started else {
            bail!("somebody else than root may own the names");
        };
        let refused = format!("{refused:#}");
        ensure!(refused.contains("AccessDenied"), "{refused}");
        return Ok(());
    }
    let keys = tempfile::tempdir()?;
    let appliance = Appliance::start(bus, &tests_pki(keys.path(), KeyKind::P256)?)?;
    let root = block_on(async { try_all(&appliance.bus().connect().await?).await })?;
    ensure!(root.iter().all(|(_, allowed)| *allowed), "root: {root:?}");
    let address = appliance.bus().address();
    let nobody = as_user(address, &[])?;
    ensure!(nobody.iter().all(|(_, allowed)| !allowed), "nobody: {nobody:?}");
    let member = as_user(address, &[gid])?;
    for (what, allowed) in &member {
        ensure!(
            *allowed != what.starts_with("own "),
            "a member of the group: {member:?}"
        );
    }
    Ok(())
}
