//! The engine on files that stand for partitions, with real bundles.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use boot_state::Slot;
use bundle::cms::UnixTime;
use bundle::manifest::{Template, TemplateImage};
use bundle::sign::{SigningIdentity, sign};
use bundle::write::{Chunks, Input, write};
use https_server::{Behaviour, Server};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    date_time_ymd,
};

use super::devices::tests::fake_disk;
use super::*;

const PARTITION: u64 = 4 << 20;

/// A box that runs slot a, with a keyring and a signer.
struct Appliance {
    _folder: tempfile::TempDir,
    root: Root,
    identity: SigningIdentity,
    engine: SlotEngine,
}

#[derive(Default)]
struct Watch {
    done: AtomicU64,
    total: AtomicU64,
    fetched: AtomicU64,
    /// Stops once so many bytes are done; 0: never.
    stop_at: u64,
}

impl Observer for Watch {
    fn progressed(&self, p: EngineProgress) {
        assert!(p.done_bytes <= p.total_bytes);
        self.done.store(p.done_bytes, Ordering::Relaxed);
        self.total.store(p.total_bytes, Ordering::Relaxed);
        self.fetched.store(p.fetched_bytes, Ordering::Relaxed);
    }

    fn should_stop(&self) -> bool {
        self.stop_at > 0 && self.done.load(Ordering::Relaxed) >= self.stop_at
    }
}

fn identity() -> (String, SigningIdentity) {
    let root_key = KeyPair::generate().unwrap();
    let mut root = CertificateParams::new(vec![]).unwrap();
    root.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    root.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    root.not_before = date_time_ymd(2020, 1, 1);
    root.not_after = date_time_ymd(2100, 1, 1);
    let certificate = root.self_signed(&root_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut leaf = CertificateParams::new(vec![]).unwrap();
    leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    leaf.not_before = date_time_ymd(2020, 1, 1);
    leaf.not_after = date_time_ymd(2100, 1, 1);
    let leaf = leaf
        .signed_by(&key, &Issuer::from_params(&root, &root_key))
        .unwrap();
    (
        certificate.pem(),
        SigningIdentity::from_pem(&key.serialize_pem(), &leaf.pem()).unwrap(),
    )
}

impl Appliance {
    fn new() -> Self {
        let (folder, root) = fake_disk(PARTITION);
        let (keyring, identity) = identity();
        fs::create_dir_all(root.path("/usr/share/hearth")).unwrap();
        fs::write(root.path(ipc::paths::UPDATE_KEYRING), keyring).unwrap();
        let engine = SlotEngine::new(root.clone(), "/dev/vda", Running::from_boot(Slot::A));
        Self {
            _folder: folder,
            root,
            identity,
            engine,
        }
    }

    /// Makes `/update.raucb`.
    fn bundle(&self, images: &[(&str, &[u8])], indexed: bool) -> PathBuf {
        let file_name = |class: &str| FileName::new(&format!("{class}.img")).unwrap();
        let template = Template {
            compatible: "test".into(),
            version: Some("1.2.3".into()),
            images: images
                .iter()
                .map(|(class, _)| TemplateImage::new(class, file_name(class)))
                .collect(),
            ..Template::default()
        };
        let inputs = images
            .iter()
            .map(|(class, bytes)| Input {
                name: file_name(class),
                content: Box::new(*bytes),
                size: bytes.len() as u64,
                block_hash_index: indexed,
                chunks: indexed.then(Chunks::default),
            })
            .collect();
        let path = self.root.path("/update.raucb");
        let mut file = fs::File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&path)
            .unwrap();
        write(
            template,
            inputs,
            None,
            |manifest| sign(manifest, &self.identity, UnixTime(1_700_000_000)),
            &mut file,
        )
        .unwrap();
        path
    }

    fn job(&self, source: Source, access: Access) -> Job {
        Job {
            manifest_hash: self.engine.inspect(&source, &access).unwrap().manifest_hash,
            source,
            access,
            target: Running::from_boot(Slot::A).inactive(),
        }
    }

    fn install(&self, job: &Job, watch: &Watch) -> Result<Written, EngineError> {
        let written = self.engine.stream(job, watch)?;
        self.engine.read_back(job, &written, watch)?;
        Ok(written)
    }

    fn partition(&self, number: u32, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        fs::File::open(self.root.path(format!("/dev/vda{number}")))
            .unwrap()
            .read_exact_at(&mut bytes, 0)
            .unwrap();
        bytes
    }

    fn put(&self, number: u32, bytes: &[u8]) {
        fs::File::options()
            .write(true)
            .open(self.root.path(format!("/dev/vda{number}")))
            .unwrap()
            .write_all_at(bytes, 0)
            .unwrap();
    }
}

fn file() -> Source {
    Source::File("/update.raucb".into())
}

/// Bytes without any repetition.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state as u8
        })
        .collect()
}

#[test]
fn a_bundle_from_a_file_is_in_the_inactive_slot_and_nowhere_else() {
    let b = Appliance::new();
    let (root, boot) = (noise(1, 2 << 20), noise(2, 1 << 20));
    for indexed in [true, false] {
        b.bundle(&[("rootfs", &root), ("boot", &boot)], indexed);
        let watch = Watch::default();
        let written = b.install(&b.job(file(), Access::default()), &watch).unwrap();
        assert_eq!(written.images.len(), 2);
        assert!(b.partition(6, root.len()) == root && b.partition(4, boot.len()) == boot);
        assert!(b.partition(5, 4096) == [0; 4096] && b.partition(3, 4096) == [0; 4096]);
        assert_eq!(watch.done.load(Ordering::Relaxed), 3 << 20);
    }
}

#[test]
fn only_what_neither_slot_has_comes_over_the_network() {
    let b = Appliance::new();
    let (old, boot) = (noise(1, 2 << 20), noise(2, 1 << 20));
    // 100 kB changed, and everything behind is 333 bytes further.
    let mut new = old.clone();
    new.splice(500_000..600_000, noise(3, 100_333));
    new.truncate(2 << 20);
    b.put(5, &old);
    b.put(3, &boot);
    let bundle = b.bundle(&[("rootfs", &new), ("boot", &boot)], true);
    let server = Server::start(&[]).unwrap();
    server.put("/update.raucb", fs::read(bundle).unwrap());
    fs::write(b.root.path("/ca.pem"), server.authority_pem()).unwrap();
    let access = Access {
        tls_authorities: Some("/ca.pem".into()),
        ..Access::default()
    };
    let job = b.job(Source::Https(server.url("/update.raucb")), access);
    let hash = job.manifest_hash;
    let estimate = |watch: &Watch| b.engine.estimate(&job.source, &job.access, hash, watch);
    let untouched = b.partition(6, PARTITION as usize);
    let before = server.sent();
    let expected = estimate(&Watch::default()).unwrap();
    let asked = server.sent() - before;
    assert!(asked < 40_000, "{asked} bytes were sent to find out");
    assert!(b.partition(6, PARTITION as usize) == untouched);
    let before = server.sent();
    let watch = Watch::default();
    let written = b.install(&job, &watch).unwrap();
    assert!(b.partition(6, new.len()) == new && b.partition(4, boot.len()) == boot);
    let sent = server.sent() - before;
    assert_eq!(expected, sent, "what was told before is what came");
    let again = estimate(&Watch::default()).unwrap();
    // Of each image the last chunk: in the slot it does not end where the image ends.
    assert!(again < 100_000, "everything is there now: {again}");
    assert_eq!(written.fetched_bytes, sent, "what is reported is what was sent");
    assert!(sent < 250_000, "{sent} bytes were sent for 100 kB of news");
}

#[test]
fn an_estimate_is_of_one_bundle_only_and_ends_when_it_is_told_to() {
    struct Stopped;
    impl Observer for Stopped {
        fn progressed(&self, _: EngineProgress) {}
        fn should_stop(&self) -> bool {
            true
        }
    }
    let b = Appliance::new();
    let (root, boot) = (noise(1, 2 << 20), noise(2, 1 << 20));
    b.put(5, &root[..1 << 20]);
    let none = Access::default();
    for indexed in [true, false] {
        b.bundle(&[("rootfs", &root), ("boot", &boot)], indexed);
        let hash = b.engine.inspect(&file(), &none).unwrap().manifest_hash;
        let bytes = b
            .engine
            .estimate(&file(), &none, hash, &Watch::default())
            .unwrap();
        if indexed {
            assert!((2 << 20..2_200_000).contains(&bytes), "{bytes}");
        } else {
            assert_eq!(bytes, 3 << 20, "without an index all of it comes");
        }
        if indexed {
            let error = b.engine.estimate(&file(), &none, hash, &Stopped).unwrap_err();
            assert_eq!(error.kind, EngineErrorKind::Stopped);
        }
        let other = ManifestHash([7; 32]);
        let error = b.engine.estimate(&file(), &none, other, &Watch::default());
        assert_eq!(error.unwrap_err().kind, EngineErrorKind::Refused);
    }
}

#[test]
fn a_download_that_was_cut_goes_on_with_what_is_missing() {
    let b = Appliance::new();
    let (root, boot) = (noise(1, 3 << 20), noise(2, 1 << 20));
    let bundle = b.bundle(&[("rootfs", &root), ("boot", &boot)], true);
    let server = Server::start(&[]).unwrap();
    server.put("/update.raucb", fs::read(bundle).unwrap());
    fs::write(b.root.path("/ca.pem"), server.authority_pem()).unwrap();
    let access = Access {
        tls_authorities: Some("/ca.pem".into()),
        ..Access::default()
    };
    let job = b.job(Source::Https(server.url("/update.raucb")), access);
    let watch = Watch {
        stop_at: 2 << 20,
        ..Watch::default()
    };
    let error = b.install(&job, &watch).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Stopped);
    let first = server.sent();
    assert!(first > 2 << 20);
    b.install(&job, &Watch::default()).unwrap();
    assert!(b.partition(6, root.len()) == root && b.partition(4, boot.len()) == boot);
    let second = server.sent() - first;
    assert!(second < 2_400_000, "the second time {second} bytes came");
}

#[test]
fn a_server_that_is_gone_is_told_from_a_bundle_that_is_bad() {
    let b = Appliance::new();
    let bundle = b.bundle(
        &[("rootfs", &noise(1, 1 << 20)), ("boot", &noise(2, 1 << 16))],
        true,
    );
    let server = Server::start(&[]).unwrap();
    let mut bytes = fs::read(bundle).unwrap();
    server.put("/update.raucb", bytes.clone());
    fs::write(b.root.path("/ca.pem"), server.authority_pem()).unwrap();
    let access = Access {
        tls_authorities: Some("/ca.pem".into()),
        ..Access::default()
    };
    let source = Source::Https(server.url("/update.raucb"));
    let job = b.job(source.clone(), access.clone());
    server.behave(Behaviour {
        status: Some(404),
        ..Behaviour::default()
    });
    let error = b.engine.stream(&job, &Watch::default()).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Unreachable);
    assert!(error.sentence.contains("no such file"), "{error}");
    server.behave(Behaviour::default());
    bytes[300_000] ^= 1;
    server.put("/update.raucb", bytes);
    let error = b.engine.stream(&job, &Watch::default()).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Refused, "{error}");
    assert!(error.sentence.contains("damaged"), "{error}");
}

#[test]
fn what_does_not_fit_this_box_is_refused_before_anything_is_written() {
    let b = Appliance::new();
    let small = noise(1, 8192);
    let large = noise(1, PARTITION as usize + 4096);
    let before = noise(9, 8192);
    for (images, says) in [
        (vec![("rootfs", &small[..])], "no image for boot"),
        (
            vec![("rootfs", &small), ("boot", &small), ("app", &small)],
            "\"app\"",
        ),
        (vec![("rootfs", &large), ("boot", &small)], "room for"),
    ] {
        b.put(6, &before);
        b.put(4, &before);
        b.bundle(&images, false);
        let error = b
            .engine
            .stream(&b.job(file(), Access::default()), &Watch::default())
            .unwrap_err();
        assert!(error.sentence.contains(says), "{error}");
        assert_eq!(error.kind, EngineErrorKind::Refused);
        assert!(b.partition(6, 8192) == before && b.partition(4, 8192) == before);
    }
    b.bundle(&[("rootfs", &small), ("boot", &small)], false);
    let mut job = b.job(file(), Access::default());
    job.manifest_hash = ManifestHash([7; 32]);
    let error = b.engine.stream(&job, &Watch::default()).unwrap_err();
    assert!(error.sentence.contains("replaced"), "{error}");
}

#[test]
fn a_foreign_signer_and_a_missing_file_are_explained() {
    let b = Appliance::new();
    let error = b.engine.inspect(&file(), &Access::default()).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Unreachable);
    b.bundle(&[("rootfs", &noise(1, 8192))], false);
    fs::write(b.root.path(ipc::paths::UPDATE_KEYRING), identity().0).unwrap();
    let error = b.engine.inspect(&file(), &Access::default()).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Refused);
    assert!(error.sentence.contains("signature"), "{error}");
}

#[test]
fn a_medium_that_forgets_is_found_when_it_is_read_back() {
    let b = Appliance::new();
    let (root, boot) = (noise(1, 1 << 20), noise(2, 1 << 16));
    b.bundle(&[("rootfs", &root), ("boot", &boot)], true);
    let job = b.job(file(), Access::default());
    let written = b.engine.stream(&job, &Watch::default()).unwrap();
    let path: &Path = &b.root.path("/dev/vda6");
    let disk = fs::File::options().write(true).open(path).unwrap();
    disk.write_all_at(b"x", 700_000).unwrap();
    let error = b.engine.read_back(&job, &written, &Watch::default()).unwrap_err();
    assert_eq!(error.kind, EngineErrorKind::Storage);
    assert!(error.sentence.contains("does not keep"), "{error}");
}
