//! How long verifying a bundle on the way through takes, and how much memory: `verify_speed [MEGABYTES]`.
//!
//! The bundle is made by a second process, so that the peak is that of reading alone.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use bundle::cms::UnixTime;
use bundle::container::{Bundle, Limits};
use bundle::keyring::Keyring;
use bundle::manifest::{FileName, Template, TemplateImage};
use bundle::sign::{SigningIdentity, sign};
use bundle::source::ReadAt;
use bundle::write::{Chunks, Input, write};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

const NOW: UnixTime = UnixTime(1_780_000_000);

struct OnDisk(File, u64);

impl ReadAt for OnDisk {
    fn size(&self) -> u64 {
        self.1
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_exact_at(buf, offset)
    }
}

/// Bytes that do not pack, without end.
struct Noise(u64);

impl Read for Noise {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        for bytes in buf.chunks_mut(8) {
            self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            bytes.copy_from_slice(&(mixed ^ (mixed >> 27)).to_le_bytes()[..bytes.len()]);
        }
        Ok(buf.len())
    }
}

fn make(folder: &Path, megabytes: u64) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Speed root");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    std::fs::write(folder.join("root.pem"), params.self_signed(&key).unwrap().pem()).unwrap();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Speed signer");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    let leaf = params.signed_by(&key, &issuer).unwrap().pem();
    let identity = SigningIdentity::from_pem(&key.serialize_pem(), &leaf).unwrap();

    let name = FileName::new("root.img").unwrap();
    let template = Template {
        compatible: "speed".to_owned(),
        images: vec![TemplateImage::new("rootfs", name.clone())],
        ..Template::default()
    };
    let size = megabytes * 1_000_000 / 4096 * 4096;
    let content = Box::new(Noise(1).take(size));
    let input = Input {
        name,
        content,
        size,
        block_hash_index: true,
        chunks: Some(Chunks::default()),
    };
    let mut out = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(folder.join("bundle"))
        .unwrap();
    let start = Instant::now();
    write(
        template,
        vec![input],
        None,
        |text| sign(text, &identity, NOW),
        &mut out,
    )
    .unwrap();
    println!("written in {:.2?}, peak {}", start.elapsed(), peak());
}

fn peak() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    status
        .lines()
        .find(|line| line.starts_with("VmHWM"))
        .unwrap()
        .split_whitespace()
        .skip(1)
        .collect()
}

fn read(folder: &Path) {
    let keyring = Keyring::from_pem(&std::fs::read_to_string(folder.join("root.pem")).unwrap()).unwrap();
    for _ in 0..4 {
        let file = File::open(folder.join("bundle")).unwrap();
        let size = file.metadata().unwrap().len();
        let start = Instant::now();
        let bundle = Bundle::open(OnDisk(file, size), &keyring, NOW, Limits::default()).unwrap();
        let opened = start.elapsed();
        let image = &bundle.manifest().images[0];
        assert_eq!(bundle.hash_image(image, &mut |_, _| {}).unwrap(), image.sha256);
        println!(
            "{} MB: opened in {opened:.2?}, verified and hashed in {:.2?}, peak {}",
            size / 1_000_000,
            start.elapsed(),
            peak()
        );
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match &arguments[..] {
        [verb, folder, megabytes] if verb == "make" => make(Path::new(folder), megabytes.parse().unwrap()),
        [verb, folder] if verb == "read" => read(Path::new(folder)),
        _ => {
            let folder = tempfile::tempdir().unwrap();
            let folder = folder.path().to_str().unwrap();
            let megabytes = arguments.first().map_or("300", String::as_str);
            let program = std::env::current_exe().unwrap();
            for arguments in [&["make", folder, megabytes][..], &["read", folder]] {
                assert!(Command::new(&program).args(arguments).status().unwrap().success());
            }
        }
    }
}
