//! The oracle itself: both versions of the real rauc run, make bundles and tell a good signer from a bad one.

use anyhow::{Result, ensure};
use hearth_tests::rauc::{
    BundleSource, KeyKind, Purpose, Rauc, info, make_bundle, system_conf, tests_pki, tests_pki_for, text_of,
};

#[test]
fn each_rauc_prints_its_version() -> Result<()> {
    let [old, new] = Rauc::both()?;
    ensure!(old.version()? == (1, 13), "{:?}", old.version()?);
    ensure!(new.version()? >= (1, 15), "{:?}", new.version()?);
    Ok(())
}

#[test]
fn each_rauc_accepts_and_extracts_the_bundles_of_each() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = BundleSource::small();
    for kind in [KeyKind::P256, KeyKind::Rsa3072] {
        let home = folder.path().join(format!("{kind:?}"));
        let pki = tests_pki(&home, kind)?;
        for maker in Rauc::both()? {
            let bundle = make_bundle(&maker, &pki, &source, &home, "small")?;
            let config = system_conf(&home, &[&pki.root], &source.compatible, "")?;
            for reader in Rauc::both()? {
                let said = text_of(&info(&reader, &config, &bundle)?)?;
                ensure!(
                    said.contains("hearth-test") && said.contains("verity"),
                    "{kind:?}: {said}"
                );
                let out = home.join("out");
                let _ = std::fs::remove_dir_all(&out);
                let mut extract = reader.command();
                extract.arg("--conf").arg(&config).arg("extract");
                text_of(&extract.arg(&bundle).arg(&out).output()?)?;
                ensure!(std::fs::read(out.join("root.img"))? == source.images[0].2);
            }
        }
    }
    Ok(())
}

#[test]
fn the_keyring_of_the_command_line_goes_before_that_of_the_settings() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pki = tests_pki(&folder.path().join("own"), KeyKind::P256)?;
    let other = tests_pki(&folder.path().join("other"), KeyKind::P256)?;
    let source = BundleSource::small();
    for rauc in Rauc::both()? {
        let bundle = make_bundle(&rauc, &pki, &source, folder.path(), "small")?;
        // The purpose can be set in the settings only: without them the signer would have to be one for e-mail.
        let config = system_conf(folder.path(), &[&other.root], &source.compatible, "")?;
        let keyring = format!("--keyring={}", pki.root.display());
        let (config, bundle) = (config.to_string_lossy(), bundle.to_string_lossy());
        text_of(&rauc.run(&["--conf", &config, "info", &keyring, &bundle])?)?;
    }
    Ok(())
}

#[test]
fn each_rauc_refuses_a_signer_of_another_root_or_purpose() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let pki = tests_pki(&folder.path().join("own"), KeyKind::P256)?;
    let other = tests_pki(&folder.path().join("other"), KeyKind::P256)?;
    let server = tests_pki_for(&folder.path().join("server"), KeyKind::P256, Purpose::ServerAuth)?;
    let source = BundleSource::small();
    for rauc in Rauc::both()? {
        let bundle = make_bundle(&rauc, &pki, &source, folder.path(), "own")?;
        let config = system_conf(folder.path(), &[&other.root], &source.compatible, "")?;
        let output = info(&rauc, &config, &bundle)?;
        ensure!(!output.status.success(), "a foreign root was accepted");
        let made = make_bundle(&rauc, &server, &source, folder.path(), "server");
        let refused = match made {
            Err(_) => true, // rauc checks what it has signed
            Ok(bundle) => {
                let config = system_conf(folder.path(), &[&server.root], &source.compatible, "")?;
                !info(&rauc, &config, &bundle)?.status.success()
            }
        };
        ensure!(refused, "a signer with serverAuth was accepted");
    }
    Ok(())
}

#[test]
fn the_hawkbit_updater_of_sid_runs() -> Result<()> {
    let rauc = Rauc::version_1_15()?;
    let said = text_of(&rauc.program("rauc-hawkbit-updater").arg("--version").output()?)?;
    ensure!(said.contains("ersion"), "{said}");
    Ok(())
}
