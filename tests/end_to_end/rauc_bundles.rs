//! Bundles between us and the real rauc, both ways: what one makes, the other reads, verifies, unpacks and signs anew.
//!
//! Every case runs for rauc 1.13 and 1.15, most of them for P-256 and RSA-3072, always with an intermediate.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, anyhow, ensure};
use boot_state::{Running, Slot};
use bundle::cms::{UnixTime, is_enveloped};
use bundle::container::{Bundle, Limits, raw_parts, read_cms};
use bundle::keyring::Keyring;
use bundle::manifest::{FileName, Format, Manifest, Template, TemplateImage, manifest_hash};
use bundle::sign::{SigningIdentity, sign};
use bundle::source::ReadAt;
use bundle::write::{Chunks, Input, resign, write};
use hearth_tests::machine::artifact;
use hearth_tests::rauc::{
    BundleSource, KeyKind, Pki, Rauc, info, make_bundle, system_conf, tests_pki, text_of,
};
use image_builder::bundle::{Request, Signer, error_chain, make, slot};
use image_builder::cache::hex;
use os_io::root::Root;
use serde_json::{Value, json};
use updater::engine::{Access, Engine, EngineErrorKind, EngineProgress, Job, Observer, Source};
use updater::install::SlotEngine;

const COMPATIBLE: &str = "hearth-test";
const KINDS: [KeyKind; 2] = [KeyKind::P256, KeyKind::Rsa3072];

/// Who signs: two chains of each kind, so that one can take over from the other. Keys are made once.
struct Signers {
    _folder: tempfile::TempDir,
    own: [Pki; 2],
    next: [Pki; 2],
}

fn signers(kind: KeyKind) -> Result<(&'static Pki, &'static Pki)> {
    static SIGNERS: OnceLock<Result<Signers, String>> = OnceLock::new();
    let all = SIGNERS.get_or_init(|| {
        let make = || {
            let folder = tempfile::tempdir()?;
            let of = |name: &str, kind| tests_pki(&folder.path().join(name), kind);
            anyhow::Ok(Signers {
                own: [of("own-ec", KINDS[0])?, of("own-rsa", KINDS[1])?],
                next: [of("next-ec", KINDS[0])?, of("next-rsa", KINDS[1])?],
                _folder: folder,
            })
        };
        make().map_err(|e| format!("{e:#}"))
    });
    let all = all.as_ref().map_err(|e| anyhow!("{e}"))?;
    let at = usize::from(kind == KINDS[1]);
    Ok((&all.own[at], &all.next[at]))
}

fn now() -> UnixTime {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH);
    UnixTime(passed.unwrap_or_default().as_secs())
}

fn keyring(pki: &Pki) -> Result<Keyring> {
    Ok(Keyring::from_pem(&fs::read_to_string(&pki.root)?)?)
}

fn identity(pki: &Pki) -> Result<SigningIdentity> {
    let chain = fs::read_to_string(&pki.leaf)? + &fs::read_to_string(&pki.intermediate)?;
    Ok(SigningIdentity::from_pem(
        &fs::read_to_string(&pki.leaf_key)?,
        &chain,
    )?)
}

fn open<'a>(bytes: &'a [u8], pki: &Pki) -> Result<Bundle<&'a [u8]>> {
    Bundle::open(bytes, &keyring(pki)?, now(), Limits::default()).map_err(|e| anyhow!(error_chain(&e)))
}

/// What we say about a bundle that we refuse.
fn refusal(bytes: &[u8], pki: &Pki) -> Result<String> {
    match open(bytes, pki) {
        Ok(_) => Err(anyhow!("accepted")),
        Err(error) => Ok(error.to_string()),
    }
}

/// Bytes without any repetition.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(step).collect()
}

/// A root that packs well, with a hole and an odd end; a boot image of whole blocks that does not.
fn images() -> [(&'static str, &'static str, Vec<u8>); 2] {
    let mut root = noise(1, 300_000);
    root.extend(vec![0; 400_000]);
    root.extend(b"words that repeat ".repeat(20_000));
    root.truncate(1 << 20);
    [
        ("rootfs", "root.img", root),
        ("boot", "boot.img", noise(2, 96 << 10)),
    ]
}

/// A bundle of ours with everything that we put into one; with a key it is encrypted.
fn ours(pki: &Pki, crypt_key: Option<[u8; 32]>) -> Result<Vec<u8>> {
    let images = images();
    let name = |file: &str| FileName::new(file).context("no name");
    let meta = [
        ("chunks", "1"),
        ("minimum-version", "1.2.3"),
        ("text", "a;b \\ c = d # e ä"),
    ];
    let template = Template {
        compatible: COMPATIBLE.into(),
        version: Some("2026.8.1-rc.1+build".into()),
        description: Some("What changed:\n\t\"much\"; ünd more \\ ".into()),
        build: Some("20260801".into()),
        images: images
            .iter()
            .map(|(class, file, _)| Ok(TemplateImage::new(class, name(file)?)))
            .collect::<Result<_>>()?,
        meta: [("hearth".into(), meta.map(|(k, v)| (k.into(), v.into())).into())].into(),
        ..Template::default()
    };
    let inputs = images
        .iter()
        .map(|(_, file, bytes)| {
            Ok(Input {
                name: name(file)?,
                content: Box::new(bytes.as_slice()),
                size: bytes.len() as u64,
                block_hash_index: true,
                chunks: Some(Chunks::default()),
            })
        })
        .collect::<Result<_>>()?;
    let identity = identity(pki)?;
    let mut out = std::io::Cursor::new(Vec::new());
    let signer = |manifest: &[u8]| sign(manifest, &identity, now());
    write(template, inputs, crypt_key.map(Into::into), signer, &mut out)?;
    Ok(out.into_inner())
}

/// The payload of a bundle under another manifest, signed by us.
fn retext(bundle: &[u8], pki: &Pki, text: &str) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    resign(bundle, &sign(text.as_bytes(), &identity(pki)?, now())?, &mut out)?;
    Ok(out)
}

fn manifest_text(bundle: &[u8]) -> Result<String> {
    let cms = read_cms(bundle, &raw_parts(bundle)?)?;
    Ok(String::from_utf8(bundle::cms::read_unverified(&cms)?.content)?)
}

/// A folder in which one rauc works, with a `system.conf` that trusts one chain.
struct Bench {
    rauc: Rauc,
    folder: tempfile::TempDir,
    config: PathBuf,
}

impl Bench {
    fn new(rauc: &Rauc, pki: &Pki) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = system_conf(folder.path(), &[&pki.root], COMPATIBLE, "")?;
        Ok(Self {
            rauc: rauc.clone(),
            folder,
            config,
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn put(&self, name: &str, bytes: &[u8]) -> Result<PathBuf> {
        fs::write(self.at(name), bytes)?;
        Ok(self.at(name))
    }

    /// Runs `rauc` to its good end.
    fn run(&self, arguments: &[&Path]) -> Result<String> {
        let mut command = self.rauc.command();
        command.arg("--conf").arg(&self.config).args(arguments);
        text_of(&command.output()?)
    }

    fn info(&self, bundle: &Path, format: &str) -> Result<Value> {
        let format = format!("--output-format={format}");
        let said = self.run(&["info".as_ref(), format.as_ref(), bundle])?;
        serde_json::from_str(&said).with_context(|| said)
    }

    fn accepts(&self, bundle: &Path) -> Result<bool> {
        Ok(info(&self.rauc, &self.config, bundle)?.status.success())
    }

    /// Unpacks with rauc's `extract`: names and contents.
    fn extract(&self, bundle: &Path) -> Result<BTreeMap<String, Vec<u8>>> {
        let out = self.at("out");
        let _ = fs::remove_dir_all(&out);
        self.run(&["extract".as_ref(), bundle, &out])?;
        fs::read_dir(out)?
            .map(|entry| {
                let entry = entry?;
                Ok((
                    entry.file_name().to_string_lossy().into_owned(),
                    fs::read(entry.path())?,
                ))
            })
            .collect()
    }

    /// Has rauc sign a bundle anew; `more` goes before the paths.
    fn resign(&self, bundle: &Path, pki: &Pki, more: &[&str]) -> Result<Vec<u8>> {
        let signed = self.at("resigned.raucb");
        let _ = fs::remove_file(&signed);
        let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let options = [
            option("cert", &pki.leaf),
            option("key", &pki.leaf_key),
            option("intermediate", &pki.intermediate),
            option("signing-keyring", &pki.root),
        ];
        let mut arguments: Vec<&Path> = vec!["resign".as_ref()];
        arguments.extend(more.iter().map(Path::new));
        arguments.extend(options.iter().map(Path::new));
        arguments.extend([bundle, &*signed]);
        self.run(&arguments)?;
        Ok(fs::read(signed)?)
    }

    /// Has rauc make a bundle of a folder with a manifest.
    fn make(
        &self,
        pki: &Pki,
        name: &str,
        manifest: &str,
        files: &[(&str, &[u8])],
        squashfs: &str,
    ) -> Result<Vec<u8>> {
        let content = self.at(name);
        fs::create_dir_all(&content)?;
        fs::write(content.join("manifest.raucm"), manifest)?;
        for (file, bytes) in files {
            fs::write(content.join(file), bytes)?;
        }
        let bundle = self.at(&format!("{name}.raucb"));
        let option = |name: &str, path: &Path| format!("--{name}={}", path.display());
        let mut options = vec![
            option("cert", &pki.leaf),
            option("key", &pki.leaf_key),
            option("intermediate", &pki.intermediate),
        ];
        if !squashfs.is_empty() {
            options.push(format!("--mksquashfs-args={squashfs}"));
        }
        let mut arguments: Vec<&Path> = vec!["bundle".as_ref()];
        arguments.extend(options.iter().map(Path::new));
        arguments.extend([&*content, &*bundle]);
        self.run(&arguments)
            .with_context(|| format!("rauc bundle: {manifest}"))?;
        Ok(fs::read(bundle)?)
    }
}

/// Each kind of key with each rauc.
fn each(test: impl Fn(&Bench, &Pki, &Pki) -> Result<()>) -> Result<()> {
    for kind in KINDS {
        let (own, next) = signers(kind)?;
        for rauc in Rauc::both()? {
            let bench = Bench::new(&rauc, own)?;
            test(&bench, own, next).with_context(|| format!("{kind:?}, rauc {:?}", rauc.version()))?;
        }
    }
    Ok(())
}

fn absent_is_null(text: &Option<String>) -> Value {
    text.as_ref().map_or(Value::Null, |text| json!(text))
}

/// What rauc's `info` must say about a manifest, in its older form.
fn as_json(manifest: &Manifest) -> Value {
    let images = manifest.images.iter().map(|image| {
        json!({ &image.class: {
            "artifact": null, "variant": absent_is_null(&image.variant), "filename": image.filename.as_str(),
            "checksum": hex(&image.sha256), "size": image.size, "hooks": [], "adaptive": image.adaptive,
        }})
    });
    json!({
        "compatible": manifest.compatible,
        "version": absent_is_null(&manifest.version),
        "description": absent_is_null(&manifest.description),
        "build": absent_is_null(&manifest.build),
        "format": if matches!(manifest.format, Format::Crypt { .. }) { "crypt" } else { "verity" },
        "hooks": [],
        "hash": hex(&manifest_hash(manifest.to_text().as_bytes())),
        "images": images.collect::<Vec<_>>(),
    })
}

/// Both forms of `info` say what we read. 1.15 tells the type of an image, which it derives from the name.
fn same_as_rauc_says(bench: &Bench, bundle: &Path, manifest: &Manifest) -> Result<()> {
    let mut said = bench.info(bundle, "json")?;
    for image in said["images"].as_array_mut().into_iter().flatten() {
        for (_, image) in image.as_object_mut().into_iter().flatten() {
            if let Some(kind) = image.as_object_mut().and_then(|image| image.remove("type")) {
                ensure!(kind == "raw", "type {kind}");
            }
        }
    }
    let wanted = as_json(manifest);
    ensure!(said == wanted, "rauc: {said:#}\nwe: {wanted:#}");
    let said = bench.info(bundle, "json-2")?;
    let tree = manifest.format.tree();
    for (of_rauc, own) in [
        (&said["manifest-hash"], &wanted["hash"]),
        (&said["bundle"]["verity-hash"], &json!(hex(&tree.root))),
        (&said["bundle"]["verity-salt"], &json!(hex(&tree.salt))),
        (&said["bundle"]["verity-size"], &json!(tree.size)),
        (&said["update"]["compatible"], &wanted["compatible"]),
        (&said["update"]["version"], &wanted["version"]),
        (&said["update"]["description"], &wanted["description"]),
        (&said["update"]["build"], &wanted["build"]),
    ] {
        ensure!(of_rauc == own, "{of_rauc} is not {own}: {said:#}");
    }
    let meta = json!(manifest.meta);
    ensure!(
        said["meta"] == meta || (meta == json!({}) && said["meta"].is_null()),
        "{said:#}"
    );
    Ok(())
}

/// Everything in a bundle, verified and read by us.
fn contents(bundle: &Bundle<&[u8]>) -> Result<BTreeMap<String, Vec<u8>>> {
    bundle.verify_payload(&mut |_, _| {})?;
    for image in &bundle.manifest().images {
        ensure!(
            bundle.hash_image(image, &mut |_, _| {})? == image.sha256,
            "{}",
            image.filename
        );
    }
    let files = bundle.files().map(|(name, size)| {
        let mut bytes = vec![0; usize::try_from(size)?];
        bundle.file(name)?.read_exact_at(&mut bytes, 0)?;
        Ok((name.to_string(), bytes))
    });
    files.collect()
}

fn ensure_images(files: &BTreeMap<String, Vec<u8>>) -> Result<()> {
    for (_, file, bytes) in images() {
        ensure!(files.get(file) == Some(&bytes), "{file} differs");
    }
    Ok(())
}

#[test]
fn each_rauc_reads_our_bundles_as_we_do_and_unpacks_the_same() -> Result<()> {
    each(|bench, own, next| {
        let bytes = ours(own, None)?;
        let path = bench.put("ours.raucb", &bytes)?;
        let bundle = open(&bytes, own)?;
        same_as_rauc_says(bench, &path, bundle.manifest())?;
        let files = bench.extract(&path)?;
        ensure!(files == contents(&bundle)?, "{:?}", files.keys());
        ensure!(files.len() == 6, "{:?}", files.keys());
        ensure_images(&files)?;
        let said = bench.run(&["info".as_ref(), "--dump-cert".as_ref(), &*path])?;
        ensure!(
            said.contains("CN = Test Signer") || said.contains("CN=Test Signer"),
            "{said}"
        );
        let stranger = Bench::new(&bench.rauc, next)?;
        ensure!(!stranger.accepts(&path)?, "accepted with a foreign root");
        Ok(())
    })
}

#[test]
fn a_bundle_from_the_image_that_the_tests_boot_is_one_for_each_rauc() -> Result<()> {
    let image = artifact("hearth-qemu-arm64-dev.img")?;
    let (pki, _) = signers(KeyKind::P256)?;
    let folder = tempfile::tempdir()?;
    let chain = folder.path().join("chain.pem");
    fs::write(
        &chain,
        [fs::read(&pki.leaf)?, fs::read(&pki.intermediate)?].concat(),
    )?;
    let out = folder.path().join("image.raucb");
    let signer = Signer::new(&pki.leaf_key.to_string_lossy(), &chain)?;
    make(&Request {
        image: &image,
        description: Some("What changed"),
        build: Some("1"),
        signer: &signer,
        now: now(),
        out: &out,
    })?;
    let bytes = fs::read(&out)?;
    let bundle = open(&bytes, pki)?;
    let slot = slot(&image)?;
    let disk = fs::File::open(&image)?;
    for rauc in Rauc::both()? {
        let bench = Bench::new(&rauc, pki)?;
        same_as_rauc_says(&bench, &out, bundle.manifest())?;
        let files = bench.extract(&out)?;
        for (file, range) in [("rootfs.img", &slot.root), ("boot.img", &slot.boot)] {
            let mut wanted = vec![0; usize::try_from(range.end - range.start)?];
            std::os::unix::fs::FileExt::read_exact_at(&disk, &mut wanted, range.start)?;
            ensure!(files[file] == wanted, "{file} differs");
        }
        let index = files["rootfs.img"].chunks(4096).flat_map(manifest_hash);
        ensure!(
            index.eq(files["rootfs.img.block-hash-index"].iter().copied()),
            "index differs"
        );
    }
    Ok(())
}

#[test]
fn what_each_rauc_signs_anew_counts_for_the_new_root_only() -> Result<()> {
    each(|bench, own, next| {
        let bytes = ours(own, None)?;
        let path = bench.put("ours.raucb", &bytes)?;
        let signed = bench.resign(&path, next, &[])?;
        let (before, after) = (open(&bytes, own)?, open(&signed, next)?);
        ensure!(before.manifest() == after.manifest(), "another manifest");
        ensure!(contents(&before)? == contents(&after)?, "another payload");
        let said = refusal(&signed, own)?;
        ensure!(said.contains("is not signed with its key"), "{said}");
        Ok(())
    })
}

/// rauc writes the manifest anew before it signs: the hash stays because we write it as rauc does. Only the keys of
/// one `[meta.LABEL]` have no order there (a hash table), so this holds for one key in each.
#[test]
fn the_manifest_hash_survives_that_rauc_signs_anew() -> Result<()> {
    each(|bench, own, next| {
        for crypt_key in [None, Some([9; 32])] {
            let bytes = ours(own, crypt_key)?;
            let mut manifest = Manifest::parse(manifest_text(&bytes)?.as_bytes())?;
            for entries in manifest.meta.values_mut() {
                entries.retain(|key, _| key == "text");
            }
            let bytes = retext(&bytes, own, &manifest.to_text())?;
            let path = bench.put("one.raucb", &bytes)?;
            let signed = bench.resign(&path, next, &[])?;
            let (ours, theirs) = (manifest_text(&bytes)?, manifest_text(&signed)?);
            ensure!(ours == theirs, "ours: {ours}\nrauc: {theirs}");
            ensure!(open(&bytes, own)?.manifest_hash() == open(&signed, next)?.manifest_hash());
        }
        Ok(())
    })
}

/// 1.15 can put a second signature beside the first. We take exactly one signer: which of two counts would be open.
#[test]
fn a_signature_that_rauc_adds_to_ours_is_refused_as_a_second_signer() -> Result<()> {
    let (own, next) = signers(KeyKind::P256)?;
    let bench = Bench::new(&Rauc::version_1_15()?, own)?;
    let path = bench.put("ours.raucb", &ours(own, None)?)?;
    let signed = bench.resign(&path, next, &["--append"])?;
    let said = refusal(&signed, own)?;
    ensure!(said.contains("2 signers; exactly one is allowed"), "{said}");
    Ok(())
}

#[test]
fn each_rauc_takes_its_own_bundle_that_we_signed_anew() -> Result<()> {
    each(|bench, own, next| {
        let source = BundleSource::small();
        let path = make_bundle(&bench.rauc, own, &source, bench.folder.path(), "theirs")?;
        let bytes = fs::read(path)?;
        let signed = retext(&bytes, next, &manifest_text(&bytes)?)?;
        let reader = Bench::new(&bench.rauc, next)?;
        let path = reader.put("signed.raucb", &signed)?;
        ensure!(
            reader.extract(&path)?["root.img"] == source.images[0].2,
            "another payload"
        );
        let stranger = Bench::new(&bench.rauc, own)?;
        ensure!(!stranger.accepts(&path)?, "accepted with the old root");
        Ok(())
    })
}

/// A manifest with every key that both raucs keep in a bundle.
fn rich(format: &str) -> String {
    format!(
        "[update]\ncompatible={COMPATIBLE}\nversion=2.0-1\ndescription=Zeile 1\\nZeile 2\nbuild=42\n\n\
         [bundle]\nformat={format}\n\n[hooks]\nfilename=hook.sh\nhooks=install-check;\n\n\
         [image.rootfs]\nfilename=root.img\nadaptive=block-hash-index;\nhooks=post-install;\n\n\
         [image.boot]\nfilename=boot.img\n\n[meta.label]\nkey=value\nother=a\\sb\n"
    )
}

/// The same without programs, as a box takes it.
fn modest(format: &str) -> String {
    format!(
        "[update]\ncompatible={COMPATIBLE}\nversion=2\n\n[bundle]\nformat={format}\n\n\
         [image.rootfs]\nfilename=root.img\nadaptive=block-hash-index\n\n[image.boot]\nfilename=boot.img\n"
    )
}

fn make_rich(bench: &Bench, pki: &Pki, format: &str, squashfs: &str) -> Result<Vec<u8>> {
    let images = images();
    let mut files: Vec<(&str, &[u8])> = images
        .iter()
        .map(|(_, file, bytes)| (*file, &bytes[..]))
        .collect();
    files.push(("hook.sh", b"#!/bin/sh\nexit 0\n"));
    bench.make(pki, "theirs", &rich(format), &files, squashfs)
}

fn make_modest(bench: &Bench, pki: &Pki, format: &str) -> Result<Vec<u8>> {
    let images = images();
    let files: Vec<(&str, &[u8])> = images
        .iter()
        .map(|(_, file, bytes)| (*file, &bytes[..]))
        .collect();
    bench.make(pki, "theirs", &modest(format), &files, "")
}

#[test]
fn we_read_what_each_rauc_makes_down_to_the_byte() -> Result<()> {
    each(|bench, own, _| {
        for squashfs in [
            "",
            "-comp gzip",
            "-comp zstd",
            "-comp zstd -b 1M",
            "-noI -noD -noF",
            "-no-fragments",
        ] {
            let bytes = make_rich(bench, own, "verity", squashfs)?;
            let _ = fs::remove_file(bench.at("theirs.raucb"));
            let bundle = open(&bytes, own).with_context(|| squashfs.to_owned())?;
            let files = contents(&bundle).with_context(|| squashfs.to_owned())?;
            ensure_images(&files)?;
            ensure!(files.contains_key("hook.sh") && files.contains_key("root.img.block-hash-index"));
            let manifest = bundle.manifest();
            let text = manifest_text(&bytes)?;
            ensure!(
                manifest.to_text() == text,
                "we write {}\nrauc {text}",
                manifest.to_text()
            );
            ensure!(
                manifest.description.as_deref() == Some("Zeile 1\nZeile 2"),
                "{manifest:?}"
            );
            ensure!(manifest.meta["label"]["other"] == "a b", "{manifest:?}");
            let path = bench.put("theirs.raucb", &bytes)?;
            ensure!(bench.extract(&path)? == files, "rauc unpacks something else");
            fs::remove_file(path)?;
        }
        Ok(())
    })
}

#[test]
fn a_compression_that_no_box_needs_is_refused_by_its_name() -> Result<()> {
    let (own, _) = signers(KeyKind::P256)?;
    for rauc in Rauc::both()? {
        for name in ["xz", "lzo", "lz4"] {
            let bench = Bench::new(&rauc, own)?;
            let said = refusal(&make_rich(&bench, own, "verity", &format!("-comp {name}"))?, own)?;
            ensure!(
                said.contains(&format!("compressed with {name};")) && said.contains("-comp zstd"),
                "{said}"
            );
        }
    }
    Ok(())
}

#[test]
fn what_each_rauc_makes_and_signs_anew_is_read_by_us() -> Result<()> {
    each(|bench, own, next| {
        let bytes = make_rich(bench, own, "verity", "")?;
        let signed = bench.resign(&bench.at("theirs.raucb"), next, &[])?;
        ensure!(open(&bytes, own)?.manifest_hash() == open(&signed, next)?.manifest_hash());
        ensure!(contents(&open(&bytes, own)?)? == contents(&open(&signed, next)?)?);
        refusal(&signed, own).map(drop)
    })
}

#[test]
fn plain_bundles_are_refused_with_the_reason() -> Result<()> {
    let (own, _) = signers(KeyKind::P256)?;
    for rauc in Rauc::both()? {
        let bench = Bench::new(&rauc, own)?;
        let said = refusal(&make_modest(&bench, own, "plain")?, own)?;
        ensure!(
            said.contains("\"plain\"") && said.contains("format=verity"),
            "{said}"
        );
    }
    Ok(())
}

/// A `crypt` bundle whose signature is not encrypted for recipients: rauc makes one as the step before `encrypt`.
#[test]
fn encrypted_payloads_are_read_both_ways() -> Result<()> {
    each(|bench, own, _| {
        let theirs = make_rich(bench, own, "crypt", "")?;
        let bundle = open(&theirs, own)?;
        ensure!(matches!(bundle.manifest().format, Format::Crypt { .. }));
        ensure_images(&contents(&bundle)?)?;
        let text = manifest_text(&theirs)?;
        ensure!(
            bundle.manifest().to_text() == text,
            "we write {}\nrauc {text}",
            bundle.manifest().to_text()
        );

        let key = manifest_hash(b"a key");
        let bytes = ours(own, Some(key))?;
        let path = bench.put("ours.raucb", &bytes)?;
        let bundle = open(&bytes, own)?;
        ensure_images(&contents(&bundle)?)?;
        same_as_rauc_says(bench, &path, bundle.manifest())?;
        ensure!(
            bench.extract(&path)? == contents(&bundle)?,
            "rauc decrypts something else"
        );
        Ok(())
    })
}

#[test]
fn a_bundle_that_rauc_encrypted_for_recipients_is_refused_as_such() -> Result<()> {
    each(|bench, own, next| {
        make_rich(bench, own, "crypt", "")?;
        let (theirs, sealed) = (bench.at("theirs.raucb"), bench.at("sealed.raucb"));
        let to = format!("--to={}", next.leaf.display());
        bench.run(&["encrypt".as_ref(), to.as_ref(), &*theirs, &*sealed])?;
        let bytes = fs::read(&sealed)?;
        ensure!(is_enveloped(&read_cms(&bytes[..], &raw_parts(&bytes[..])?)?));
        let said = refusal(&bytes, own)?;
        ensure!(said.contains("encrypted for certain recipients"), "{said}");
        // Ours can be encrypted by rauc as well, and rauc opens it again with the recipient's key.
        let path = bench.put("ours.raucb", &ours(own, Some([7; 32]))?)?;
        let _ = fs::remove_file(&sealed);
        bench.run(&["encrypt".as_ref(), to.as_ref(), &*path, &*sealed])?;
        let key = format!("--key={}", next.leaf_key.display());
        bench.run(&[
            "info".as_ref(),
            key.as_ref(),
            "--dump-recipients".as_ref(),
            &*sealed,
        ])?;
        Ok(())
    })
}

struct Quiet;

impl Observer for Quiet {
    fn progressed(&self, _: EngineProgress) {}

    fn should_stop(&self) -> bool {
        false
    }
}

/// A folder that stands for a box: sysfs, partitions as files, the keyring.
fn appliance(pki: &Pki) -> Result<(tempfile::TempDir, Root)> {
    let folder = tempfile::tempdir()?;
    let root = Root::at(folder.path());
    fs::create_dir_all(root.path("/dev"))?;
    for (number, name) in (3..).zip(["boot-a", "boot-b", "root-a", "root-b"]) {
        let sysfs = root.path(format!("/sys/block/vda/vda{number}"));
        fs::create_dir_all(&sysfs)?;
        fs::write(sysfs.join("uevent"), format!("PARTNAME={name}\n"))?;
        fs::File::create(root.path(format!("/dev/vda{number}")))?.set_len(2 << 20)?;
    }
    let keyring = root.path(ipc::paths::UPDATE_KEYRING);
    fs::create_dir_all(keyring.parent().context("no folder")?)?;
    fs::copy(&pki.root, keyring)?;
    Ok((folder, root))
}

#[test]
fn our_engine_installs_what_each_rauc_makes() -> Result<()> {
    each(|bench, own, _| {
        for format in ["verity", "crypt"] {
            let bytes = make_modest(bench, own, format)?;
            fs::remove_file(bench.at("theirs.raucb"))?;
            let (_folder, root) = appliance(own)?;
            fs::write(root.path("/update.raucb"), bytes)?;
            let running = Running::from_boot(Slot::A);
            let engine = SlotEngine::new(root.clone(), "/dev/vda", running);
            let source = Source::File("/update.raucb".into());
            let info = engine.inspect(&source, &Access::default())?;
            ensure!((info.compatible.as_str(), info.version.as_deref()) == (COMPATIBLE, Some("2")));
            let job = Job {
                source,
                access: Access::default(),
                manifest_hash: info.manifest_hash,
                target: running.inactive(),
            };
            let written = engine.stream(&job, &Quiet)?;
            engine.read_back(&job, &written, &Quiet)?;
            for ((_, file, wanted), number) in images().into_iter().zip([6, 4]) {
                let found = fs::read(root.path(format!("/dev/vda{number}")))?;
                ensure!(found[..wanted.len()] == wanted, "{file} is not on its partition");
            }
        }
        Ok(())
    })
}

#[test]
fn our_engine_refuses_programs_in_what_rauc_makes() -> Result<()> {
    let (own, _) = signers(KeyKind::P256)?;
    for rauc in Rauc::both()? {
        let bench = Bench::new(&rauc, own)?;
        let (_folder, root) = appliance(own)?;
        fs::write(root.path("/update.raucb"), make_rich(&bench, own, "verity", "")?)?;
        let running = Running::from_boot(Slot::A);
        let engine = SlotEngine::new(root, "/dev/vda", running);
        let source = Source::File("/update.raucb".into());
        let info = engine.inspect(&source, &Access::default())?;
        let job = Job {
            source,
            access: Access::default(),
            manifest_hash: info.manifest_hash,
            target: running.inactive(),
        };
        let Err(error) = engine.stream(&job, &Quiet) else {
            anyhow::bail!("installed");
        };
        ensure!(
            error.kind == EngineErrorKind::Refused && error.sentence.contains("has hooks"),
            "{error}"
        );
    }
    Ok(())
}

/// Who takes a manifest: rauc 1.13, rauc 1.15, we.
type Verdicts = (bool, bool, bool);

/// Name, how the manifest is changed, and whose `info` takes the bundle then.
type OddManifest = (&'static str, fn(String) -> String, Verdicts);

/// What both raucs refuse, we refuse. What we alone refuse, they find out while installing, or use as a path.
#[rustfmt::skip]
const MANIFESTS: &[OddManifest] = &[
    ("as it is",                 |t| t,                                                                     (true,  true,  true)),
    ("comment",                  |t| format!("# words\n{t}"),                                               (true,  true,  true)),
    ("blanks around =",          |t| t.replace("version=", "version = "),                                   (true,  true,  true)),
    ("no blank lines",           |t| t.replace("\n\n", "\n"),                                               (true,  true,  true)),
    ("CR LF",                    |t| t.replace('\n', "\r\n"),                                               (true,  true,  true)),
    ("list without last ;",      |t| t.replace("index;", "index"),                                          (true,  true,  true)),
    ("[rollout]",                |t| t + "\n[rollout]\nany=thing\n",                                        (false, true,  true)),
    ("more meta",                |t| t + "\n[meta.more]\na-b_C9=c\n",                                       (true,  true,  true)),
    ("meta key with a dot",      |t| t + "\n[meta.m]\na.b=c\n",                                             (false, false, false)),
    ("meta label with a dot",    |t| t + "\n[meta.a.b]\nk=c\n",                                             (false, false, false)),
    ("meta label with a blank",  |t| t + "\n[meta.a b]\nk=c\n",                                             (false, false, false)),
    ("meta key with a blank",    |t| t + "\n[meta.m]\na b=c\n",                                             (false, false, false)),
    ("meta key not ASCII",       |t| t + "\n[meta.m]\nä=c\n",                                               (false, false, false)),
    ("meta label not ASCII",     |t| t + "\n[meta.ä]\nk=c\n",                                               (false, false, false)),
    ("meta label digit",         |t| t + "\n[meta.1]\nk=c\n",                                               (true,  true,  true)),
    ("meta key digit",           |t| t + "\n[meta.m]\n1=c\n",                                               (true,  true,  true)),
    ("meta empty label",         |t| t + "\n[meta.]\nk=c\n",                                                (true,  true,  false)),
    ("meta key with +",          |t| t + "\n[meta.m]\na+b=c\n",                                             (false, false, false)),
    ("min-rauc-version",         |t| t.replace("version=2", "version=2\nmin-rauc-version=1.14"),            (false, true,  true)),
    ("type of an image",         |t| t.replace("filename=boot.img", "filename=boot.img\ntype=raw"),         (false, true,  true)),
    ("unknown key",              |t| t.replace("version=", "colour=red\nversion="),                         (false, false, false)),
    ("unknown key of an image",  |t| t.replace("filename=boot.img", "filename=boot.img\nmode=7"),           (false, false, false)),
    ("unknown group",            |t| t + "\n[colours]\nred=1\n",                                            (false, false, false)),
    ("duplicate key",            |t| t.replace("version=2", "version=2\nversion=3"),                        (false, false, false)),
    ("duplicate group",          |t| t + "\n[update]\nversion=3\n",                                         (false, false, false)),
    ("no compatible",            |t| t.replace("compatible=hearth-test\n", ""),                             (false, false, false)),
    ("path in a name",           |t| t.replace("filename=boot.img", "filename=../boot.img"),                (true,  true,  false)),
    ("digest too short",         |t| t.replace("sha256=", "sha256=../../x#"),                               (true,  true,  false)),
    ("unknown format",           |t| t.replace("format=verity", "format=tar"),                              (false, false, false)),
    ("no verity-hash",           |t| t.replace("verity-hash=", "#"),                                        (true,  true,  false)),
    ("verity-size odd",          |t| t.replace("verity-size=", "verity-size=1"),                            (true,  true,  false)),
    ("unknown adaptive method",  |t| t.replace("adaptive=block-hash-index", "adaptive=magic"),              (true,  true,  true)),
    ("unknown hook",             |t| t.replace("filename=boot.img", "filename=boot.img\nhooks=magic"),      (false, false, false)),
];

#[test]
fn odd_manifests_are_judged_as_by_rauc() -> Result<()> {
    let (own, _) = signers(KeyKind::P256)?;
    let [old, new] = Rauc::both()?;
    let (old, new) = (Bench::new(&old, own)?, Bench::new(&new, own)?);
    let bytes = make_modest(&new, own, "verity")?;
    let text = manifest_text(&bytes)?;
    let mut wrong = Vec::new();
    for (name, change, wanted) in MANIFESTS {
        let bytes = retext(&bytes, own, &change(text.clone()))?;
        let path = old.put("odd.raucb", &bytes)?;
        let found = (
            old.accepts(&path)?,
            new.accepts(&path)?,
            open(&bytes, own).is_ok(),
        );
        println!("{name:26} 1.13 {:5} 1.15 {:5} we {}", found.0, found.1, found.2);
        if found != *wanted {
            wrong.push(format!("{name}: {found:?}"));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
