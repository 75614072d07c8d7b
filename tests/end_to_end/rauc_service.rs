//! The real rauc, 1.13 and 1.15, in front of our updater service: its command line, its own service beside ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::future::Future;
use std::process::Output;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use boot_state::{MAX_TRIES, Slot};
use hearth_tests::appliance::{Appliance, COMPATIBLE, FACTORY_VERSION};
use hearth_tests::bounded::{self, Running};
use hearth_tests::patience;
use hearth_tests::private_bus::{OPEN, PrivateBus};
use hearth_tests::rauc::interface::{self, BUS_NAME, INTERFACE, OBJECT};
use hearth_tests::rauc::{KeyKind, OurBundle, Pki, Rauc, tests_pki, text_of};
use serde_json::Value;
use zbus::{Connection, OwnedVariant};

/// No command of rauc may take longer.
const LIMIT: Duration = patience(30);

/// A fresh box, whose bus is the `dbus-daemon` of this rauc's root, and who signs its bundles.
struct Bench {
    rauc: Rauc,
    appliance: Appliance,
    pki: Pki,
    _keys: tempfile::TempDir,
}

impl Bench {
    fn new(rauc: &Rauc) -> Result<Self> {
        let keys = tempfile::tempdir()?;
        let pki = tests_pki(keys.path(), KeyKind::P256)?;
        let bus = PrivateBus::start(rauc.program("dbus-daemon"), OPEN)?;
        Ok(Self {
            rauc: rauc.clone(),
            appliance: Appliance::start(bus, &pki)?,
            pki,
            _keys: keys,
        })
    }

    /// Runs `rauc`, whatever its exit status.
    fn run(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.rauc.command();
        self.appliance.bus().serve_to(&mut command);
        let output = bounded::output(command.args(arguments), LIMIT)?;
        println!(
            "$ rauc {} -> {}\n{}{}",
            arguments.join(" "),
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(output)
    }

    /// Runs it to its good end.
    fn ok(&self, arguments: &[&str]) -> Result<String> {
        text_of(&self.run(arguments)?).with_context(|| arguments.join(" "))
    }

    /// Runs it to its bad end: what it said on both streams.
    fn refused(&self, arguments: &[&str]) -> Result<String> {
        let output = self.run(arguments)?;
        ensure!(!output.status.success(), "{arguments:?} succeeded");
        let both = [output.stdout, output.stderr].concat();
        Ok(String::from_utf8_lossy(&both).into_owned())
    }

    fn status(&self) -> Result<Value> {
        let said = self.ok(&["status", "--detailed", "--output-format=json"])?;
        serde_json::from_str(&said).with_context(|| said)
    }

    /// Puts a bundle into the box.
    fn put(&self, name: &str, bytes: &[u8]) -> Result<String> {
        let path = self.appliance.put(name, bytes)?;
        Ok(path.to_string_lossy().into_owned())
    }
}

fn each(test: impl Fn(Bench) -> Result<()>) -> Result<()> {
    for rauc in Rauc::both()? {
        test(Bench::new(&rauc)?).with_context(|| format!("rauc {:?}", rauc.version()))?;
    }
    Ok(())
}

fn slot<'a>(status: &'a Value, name: &str) -> Result<&'a Value> {
    let slots = status["slots"].as_array().context("no slots")?;
    let found = slots.iter().find_map(|slot| slot.get(name));
    found.with_context(|| format!("no {name} in {status:#}"))
}

fn says(said: &str, words: &[&str]) -> Result<()> {
    for word in words {
        ensure!(said.contains(word), "no {word:?} in {said}");
    }
    Ok(())
}

#[test]
fn its_command_line_installs_marks_and_tells_the_state_of_the_box() -> Result<()> {
    each(|mut bench| {
        // Large enough that its progress can be watched.
        let bundle = OurBundle {
            root: OurBundle::small("", "", 7).root.repeat(5),
            ..OurBundle::small(COMPATIBLE, "1.1.0", 1)
        };
        let path = bench.put("/media/update.raucb", &bundle.make(&bench.pki)?)?;

        let status = bench.status()?;
        for (key, wanted) in [
            ("compatible", COMPATIBLE),
            ("variant", ""),
            ("booted", "rootfs.0"),
            ("boot_primary", "rootfs.0"),
        ] {
            ensure!(status[key] == wanted, "{key}: {status:#}");
        }
        let names = ["rootfs.0", "boot.0", "rootfs.1", "boot.1"];
        let states = ["booted", "active", "inactive", "inactive"];
        for (name, state) in names.into_iter().zip(states) {
            ensure!(slot(&status, name)?["state"] == state, "{name}: {status:#}");
        }
        ensure!(slot(&status, "rootfs.0")?["boot_status"] == "good");
        ensure!(
            slot(&status, "rootfs.1")?["slot_status"]["status"] == Value::Null,
            "{status:#}"
        );
        let root = slot(&status, "rootfs.0")?;
        ensure!(
            root["slot_status"]["bundle"]["version"] == FACTORY_VERSION,
            "{root:#}"
        );
        says(
            &bench.ok(&["status"])?,
            &[COMPATIBLE, "Booted from: rootfs.0", "Activated: rootfs.0"],
        )?;

        // Not before this boot was judged; that the operator does here.
        let said = bench.refused(&["install", &path])?;
        says(&said, &["not marked good yet"])?;
        let said = bench.ok(&["status", "mark-good"])?;
        says(&said, &["marked slot(s) rootfs.0 as good"])?;
        ensure!(bench.appliance.boot_state()?.slot(Slot::A).good());

        let said = bench.ok(&["install", &path])?;
        says(
            &said,
            &[
                "installing\n  0% Checking bundle\n",
                "% Updating slots\n",
                "100% Installing done.\nidle\n",
                "succeeded",
            ],
        )?;
        rises(&said)?;
        installed(&bench.appliance, &bundle)?;
        let status = bench.status()?;
        ensure!((&status["booted"], &status["boot_primary"]) == (&"rootfs.0".into(), &"rootfs.1".into()));
        let new = slot(&status, "rootfs.1")?;
        let held = &new["slot_status"];
        ensure!(new["boot_status"] == "good" && held["status"] == "ok", "{new:#}");
        ensure!(held["bundle"]["version"] == "1.1.0" && held["bundle"]["compatible"] == COMPATIBLE);
        ensure!(
            held["installed"]["count"] == 1 && held["activated"]["count"] == 1,
            "{held:#}"
        );

        // Back and forth before the restart.
        let said = bench.ok(&["status", "mark-active", "booted"])?;
        says(&said, &["activated slot rootfs.0"])?;
        ensure!(bench.appliance.boot_state()?.primary() == Slot::A);
        bench.ok(&["install", &path])?;
        installed(&bench.appliance, &bundle)?;

        bench.appliance.set_version(Slot::B, "1.1.0");
        bench.appliance.boot()?;
        ensure!(
            bench.appliance.running() == Slot::B,
            "the restart does not lead to the new slot"
        );
        let status = bench.status()?;
        ensure!(status["booted"] == "rootfs.1" && slot(&status, "rootfs.1")?["state"] == "booted");
        bench.ok(&["status", "mark-good"])?;
        let state = bench.appliance.boot_state()?;
        ensure!(state.slot(Slot::B).good() && state.slot(Slot::B).tries_left() == MAX_TRIES);

        let said = bench.ok(&["status", "mark-active", "other"])?;
        says(&said, &["activated slot rootfs.0"])?;
        ensure!(bench.appliance.boot_state()?.primary() == Slot::A);
        bench.ok(&["status", "mark-active", "rootfs.1"])?;
        let said = bench.ok(&["status", "mark-bad", "other"])?;
        says(&said, &["marked slot(s) rootfs.0 as bad"])?;
        ensure!(slot(&bench.status()?, "rootfs.0")?["boot_status"] == "bad");
        // The last slot that starts is not given away.
        says(&bench.refused(&["status", "mark-bad"])?, &["slot a"])?;
        says(
            &bench.refused(&["status", "mark-good", "rootfs.7"])?,
            &["rootfs.7"],
        )
    })
}

/// The inactive slot has the images, and is what the next boot tries first.
fn installed(appliance: &Appliance, bundle: &OurBundle) -> Result<()> {
    let target = appliance.running().other();
    for (name, image) in [("root", &bundle.root), ("boot", &bundle.boot)] {
        ensure!(
            appliance.partition(name, target, image.len())? == **image,
            "{name} is not on its partition"
        );
    }
    let state = appliance.boot_state()?;
    let slot = state.slot(target);
    ensure!(
        slot.complete() && !slot.good() && slot.tries_left() == MAX_TRIES && state.primary() == target,
        "{state:?}"
    );
    Ok(())
}

/// No percentage is below the one before it, and nothing is told twice in a row.
fn rises(said: &str) -> Result<()> {
    let lines: Vec<&str> = said.lines().collect();
    ensure!(
        lines.windows(2).all(|pair| pair[0] != pair[1]),
        "told twice: {said}"
    );
    let percent = |line: &&str| line.split_once('%')?.0.trim().parse::<u8>().ok();
    let percents: Vec<u8> = lines.iter().filter_map(percent).collect();
    ensure!(
        percents.is_sorted() && percents.len() > 1,
        "{percents:?} in {said}"
    );
    Ok(())
}

#[test]
fn its_command_line_shows_why_a_bundle_is_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let foreign = tests_pki(folder.path(), KeyKind::P256)?;
    each(|bench| {
        bench.appliance.come_up()?;
        let good = OurBundle::small(COMPATIBLE, "1.1.0", 2);
        let bytes = good.make(&bench.pki)?;
        let mut damaged = bytes.clone();
        damaged[70 << 10] ^= 1;
        let other = OurBundle::small("hearth-pc-x86_64", "1.1.0", 2).make(&bench.pki)?;
        let old = OurBundle::small(COMPATIBLE, "0.9.0", 2).make(&bench.pki)?;
        let cases: [(&str, &[u8], &[&str]); 5] = [
            (
                "another board",
                &other,
                &[
                    "made for \u{201c}hearth-pc-x86_64\u{201d}",
                    "Get the bundle for this box.",
                ],
            ),
            ("another signer", &good.make(&foreign)?, &["refused", "sign"]),
            ("older", &old, &["0.9.0 is older than 1.0.0"]),
            ("damaged", &damaged, &["damaged", "download or copy it again"]),
            ("no bundle", b"words", &["refused"]),
        ];
        for (name, bytes, words) in cases {
            let path = bench.put("/media/bad.raucb", bytes)?;
            let output = bench.run(&["install", &path])?;
            ensure!(output.status.code() == Some(1), "{name}: {}", output.status);
            let (said, error) = (
                String::from_utf8(output.stdout)?,
                String::from_utf8(output.stderr)?,
            );
            says(&said, words).context(name)?;
            says(&said, &["100% Installing failed.\nLastError: "]).context(name)?;
            ensure!(
                said.matches("LastError").count() == 1,
                "{name}: told twice: {said}"
            );
            rises(&said).context(name)?;
            says(&error, &["failed"]).context(name)?;
            let state = bench.appliance.boot_state()?;
            ensure!(
                state.primary() == Slot::A && state.slot(Slot::A).good(),
                "{name}: {state:?}"
            );
        }
        let path = bench.put("/media/update.raucb", &bytes)?;
        let said = bench.refused(&["install", "--ignore-compatible", &path])?;
        says(&said, &["another board cannot start"])?;
        let said = bench.refused(&["install", "http://localhost/update.raucb"])?;
        says(&said, &["http:// is not encrypted; use https://"])?;
        bench.ok(&["install", "--transaction-id=3f1c", &path])?;
        installed(&bench.appliance, &good)?;
        says(&bench.ok(&["status", "--detailed"])?, &["transaction=3f1c"])?;
        // A downgrade is deliberate.
        let path = bench.put("/media/old.raucb", &old)?;
        bench.ok(&["install", "--ignore-version-limit", &path])?;
        installed(&bench.appliance, &OurBundle::small(COMPATIBLE, "0.9.0", 2))
    })
}

#[test]
fn its_command_line_installs_from_an_https_server() -> Result<()> {
    each(|bench| {
        bench.appliance.come_up()?;
        let server = https_server::Server::start(&[])?;
        let bundle = OurBundle::small(COMPATIBLE, "1.1.0", 3);
        server.put("/update.raucb", bundle.make(&bench.pki)?);
        let authority = bench.put("/media/authority.pem", server.authority_pem().as_bytes())?;
        let url = server.url("/update.raucb");
        let said = bench.refused(&["install", "--tls-no-verify", &url])?;
        says(&said, &["always checked", "tls-ca"])?;
        let (ca, header) = (
            format!("--tls-ca={authority}"),
            "--http-header=Authorization: Bearer x",
        );
        bench.ok(&["install", &ca, header, &url])?;
        installed(&bench.appliance, &bundle)
    })
}

type Dict = BTreeMap<String, OwnedVariant>;

/// The service of the real rauc on a bus of its own, set up for the same board, keyring and slots as our appliance.
struct RealService {
    _process: Running,
    bus: PrivateBus,
    _folder: tempfile::TempDir,
}

impl RealService {
    fn start(rauc: &Rauc, pki: &Pki) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let at = |name: &str| folder.path().join(name);
        let mut text = format!(
            "[system]\ncompatible={COMPATIBLE}\nbootloader=noop\nbundle-formats=verity crypt\nmountprefix={}\n\
             statusfile={}\n[keyring]\npath={}\ncheck-purpose=codesign\n",
            at("mount").display(),
            at("status").display(),
            pki.root.display()
        );
        for (number, name) in ["A", "B"].into_iter().enumerate() {
            let (root, boot) = (at(&format!("root-{name}")), at(&format!("boot-{name}")));
            fs::write(&root, [])?;
            fs::write(&boot, [])?;
            text += &format!(
                "[slot.rootfs.{number}]\ndevice={}\ntype=raw\nbootname={name}\ndescription=Root\n\
                 [slot.boot.{number}]\ndevice={}\ntype=raw\nparent=rootfs.{number}\ndescription=Kernel\n",
                root.display(),
                boot.display()
            );
        }
        fs::write(at("system.conf"), text)?;
        let bus = PrivateBus::start(rauc.program("dbus-daemon"), OPEN)?;
        let mut command = rauc.command();
        command.arg("--conf").arg(at("system.conf"));
        command.args(["service", "--override-boot-slot=A"]);
        let process = bus.serve_to(&mut command).spawn()?;
        Ok(Self {
            _process: Running(process),
            bus,
            _folder: folder,
        })
    }

    /// A connection, once the service has its name.
    async fn connect(&self) -> Result<Connection> {
        let connection = self.bus.connect().await?;
        let started = Instant::now();
        loop {
            match interface::members(&connection).await {
                Ok(_) => return Ok(connection),
                Err(error) if started.elapsed() > patience(10) => return Err(error),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    }
}

fn block_on<T>(future: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async { tokio::time::timeout(LIMIT, future).await? })
}

#[test]
fn what_our_service_offers_has_the_names_and_signatures_of_the_real_one() -> Result<()> {
    each(|bench| {
        let real = RealService::start(&bench.rauc, &bench.pki)?;
        block_on(async {
            let real = interface::members(&real.connect().await?).await?;
            let ours = interface::members(&bench.appliance.bus().connect().await?).await?;
            for member in &real {
                println!(
                    "{} {member}",
                    if ours.contains(member) {
                        "both     "
                    } else {
                        "rauc only"
                    }
                );
            }
            let more: BTreeSet<_> = ours.difference(&real).collect();
            ensure!(more.is_empty(), "not in rauc: {more:?}");
            ensure!(real.len() >= 15, "{real:?}");
            let missing: BTreeSet<_> = real.difference(&ours).collect();
            ensure!(missing.is_empty(), "not offered: {missing:?}");
            Ok(())
        })
    })
}

async fn call<B, T>(connection: &Connection, method: &str, body: &B) -> Result<T>
where
    B: serde::Serialize + zbus::wire::DynamicType,
    T: for<'de> serde::Deserialize<'de> + zbus::wire::Type,
{
    let reply = connection
        .call_method(Some(BUS_NAME), OBJECT, Some(INTERFACE), method, body)
        .await?;
    Ok(reply.body().deserialize()?)
}

#[test]
fn our_service_describes_a_bundle_as_the_real_one_does() -> Result<()> {
    each(|bench| {
        let bytes = OurBundle::small(COMPATIBLE, "1.1.0", 4).make(&bench.pki)?;
        let path = bench.put("/media/update.raucb", &bytes)?;
        let real = RealService::start(&bench.rauc, &bench.pki)?;
        block_on(async {
            let (real, ours) = (real.connect().await?, bench.appliance.bus().connect().await?);
            let of_real: (String, String) = call(&real, "Info", &path).await?;
            let of_ours: (String, String) = call(&ours, "Info", &path).await?;
            ensure!(of_real == of_ours, "{of_real:?}, {of_ours:?}");

            let arguments = (&path, BTreeMap::<String, OwnedVariant>::new());
            let of_real: Dict = call(&real, "InspectBundle", &arguments).await?;
            let of_ours: Dict = call(&ours, "InspectBundle", &arguments).await?;
            let (of_real, of_ours) = (serde_json::to_value(of_real)?, serde_json::to_value(of_ours)?);
            println!("rauc: {of_real}\nwe:   {of_ours}");
            contains("InspectBundle", &of_real, &of_ours)?;

            let of_real: Vec<(String, Dict)> = call(&real, "GetSlotStatus", &()).await?;
            let of_ours: BTreeMap<String, Dict> = call::<_, Vec<(String, Dict)>>(&ours, "GetSlotStatus", &())
                .await?
                .into_iter()
                .collect();
            ensure!(of_real.len() == of_ours.len());
            for (name, keys) in of_real {
                let own = of_ours.get(&name).with_context(|| format!("no slot {name}"))?;
                for (key, value) in keys {
                    let known = own
                        .get(&key)
                        .with_context(|| format!("{name} has no {key}: {own:?}"))?;
                    ensure!(value.value_signature() == known.value_signature(), "{name} {key}");
                }
            }
            Ok(())
        })
    })
}

/// Whatever is in the real answer is in ours, with the same type and value.
fn contains(path: &str, real: &Value, ours: &Value) -> Result<()> {
    match (real, ours) {
        (Value::Object(real), Value::Object(ours)) => {
            for (key, value) in real {
                if key == "type" {
                    // 1.15 derives it from the name of the file where the manifest does not say it.
                    continue;
                }
                let own = ours
                    .get(key)
                    .with_context(|| format!("{path}: no {key} in {ours:?}"))?;
                contains(&format!("{path}/{key}"), value, own)?;
            }
        }
        (Value::Array(real), Value::Array(ours)) if real.len() == ours.len() => {
            for (number, (value, own)) in real.iter().zip(ours).enumerate() {
                contains(&format!("{path}/{number}"), value, own)?;
            }
        }
        _ => ensure!(real == ours, "{path}: {real} and {ours}"),
    }
    Ok(())
}
