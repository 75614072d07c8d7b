//! Bundles that must be refused, as one table: each with its own sentence, and never with a slot that could start.

use std::fs;
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;

use boot_state::Slot;
use bundle::cms::{UnixTime, read_unverified};
use bundle::container::{raw_parts, read_cms};
use bundle::manifest::{Handler, Hooks, ImageHook, Manifest, Template, TemplateImage};
use bundle::sign::{SigningIdentity, sign};
use bundle::verity::{TreeBuilder, hash_tree};
use bundle::write::{Chunks, Input, write};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber, date_time_ymd,
};

use super::devices::tests::fake_disk;
use super::*;

const PARTITION: u64 = 1 << 20;
const BLOCK: usize = 4096;
/// What the partitions hold before: old content, and a header that could start.
const OLD_ROOT: u64 = 11;
const OLD_BOOT: u64 = 12;
const ROOT: u64 = 1;
const BOOT: u64 = 2;
const ROOT_LEN: usize = 448 << 10;
const BOOT_LEN: usize = 96 << 10;

struct Quiet;

impl Observer for Quiet {
    fn progressed(&self, _: EngineProgress) {}

    fn should_stop(&self) -> bool {
        false
    }
}

/// Bytes without any repetition.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}

struct Authority {
    pem: String,
    issuer: Issuer<'static, KeyPair>,
}

struct Leaf {
    pem: String,
    key: KeyPair,
}

impl Leaf {
    fn sign(&self, content: &[u8], intermediates: &str) -> Vec<u8> {
        let chain = self.pem.clone() + intermediates;
        let identity = SigningIdentity::from_pem(&self.key.serialize_pem(), &chain).unwrap();
        sign(content, &identity, UnixTime(1_780_000_000)).unwrap()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.serial_number = Some(SerialNumber::from(0x1234));
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(2100, 1, 1);
    params
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(name: &str) -> CertificateParams {
    let mut params = params(name);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

fn self_signed(name: &str) -> Authority {
    let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
    Authority {
        pem: params.self_signed(&key).unwrap().pem(),
        issuer: Issuer::new(params, key),
    }
}

impl Authority {
    fn below(&self, name: &str) -> Self {
        let (params, key) = (authority_params(name), KeyPair::generate().unwrap());
        Self {
            pem: params.signed_by(&key, &self.issuer).unwrap().pem(),
            issuer: Issuer::new(params, key),
        }
    }

    fn leaf(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let (mut params, key) = (leaf_params("Signer"), KeyPair::generate().unwrap());
        change(&mut params);
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        Leaf { pem, key }
    }

    /// A list that revokes the serial numbers of all leaves.
    fn crl(&self) -> String {
        CertificateRevocationListParams {
            this_update: date_time_ymd(2020, 1, 1),
            next_update: date_time_ymd(2100, 1, 1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: vec![RevokedCertParams {
                serial_number: SerialNumber::from(0x1234),
                revocation_time: date_time_ymd(2021, 1, 1),
                reason_code: None,
                invalidity_date: None,
            }],
            key_identifier_method: KeyIdMethod::Sha256,
        }
        .signed_by(&self.issuer)
        .unwrap()
        .pem()
        .unwrap()
    }
}

/// Who makes bundles, and a good one of it.
struct Workshop {
    root: Authority,
    middle: Authority,
    leaf: Leaf,
    good: Vec<u8>,
}

fn workshop() -> &'static Workshop {
    static SHOP: OnceLock<Workshop> = OnceLock::new();
    SHOP.get_or_init(|| {
        let root = self_signed("Root");
        let middle = root.below("Intermediate");
        let leaf = middle.leaf(|_| {});
        let mut shop = Workshop {
            root,
            middle,
            leaf,
            good: Vec::new(),
        };
        shop.good = shop.make(&Contents::default());
        shop
    })
}

/// What goes into a bundle.
struct Contents {
    /// Class, content.
    images: Vec<(&'static str, Vec<u8>)>,
    /// Ending of the images' names.
    ending: &'static str,
    indexed: bool,
    /// Other files.
    more: Vec<(&'static str, Vec<u8>)>,
    change: fn(&mut Template),
}

impl Default for Contents {
    fn default() -> Self {
        Self {
            images: vec![("rootfs", noise(ROOT, ROOT_LEN)), ("boot", noise(BOOT, BOOT_LEN))],
            ending: ".img",
            indexed: true,
            more: Vec::new(),
            change: |_| {},
        }
    }
}

fn name(text: &str) -> FileName {
    FileName::new(text).unwrap()
}

impl Workshop {
    fn sign(&self, content: &[u8]) -> Vec<u8> {
        self.leaf.sign(content, &self.middle.pem)
    }

    fn make(&self, contents: &Contents) -> Vec<u8> {
        let file = |class: &str| name(&format!("{class}{}", contents.ending));
        let mut template = Template {
            compatible: "test".into(),
            version: Some("1.2.3".into()),
            images: contents
                .images
                .iter()
                .map(|(class, _)| TemplateImage::new(class, file(class)))
                .collect(),
            ..Template::default()
        };
        (contents.change)(&mut template);
        let images = contents.images.iter().map(|(class, bytes)| Input {
            name: file(class),
            content: Box::new(bytes.as_slice()),
            size: bytes.len() as u64,
            block_hash_index: contents.indexed,
            chunks: contents.indexed.then(Chunks::default),
        });
        let more = contents.more.iter().map(|(file, bytes)| Input {
            name: name(file),
            content: Box::new(bytes.as_slice()),
            size: bytes.len() as u64,
            block_hash_index: false,
            chunks: None,
        });
        let mut out = io::Cursor::new(Vec::new());
        let signer = |manifest: &[u8]| Ok::<_, String>(self.sign(manifest));
        write(template, images.chain(more).collect(), None, signer, &mut out).unwrap();
        out.into_inner()
    }

    /// A bundle without indexes, whose images' chunk index is `chunks`.
    fn with_chunks(&self, chunks: Vec<u8>) -> Vec<u8> {
        self.make(&Contents {
            indexed: false,
            more: vec![("rootfs.img.chunks", chunks)],
            ..Contents::default()
        })
    }

    /// The good bundle with another signature.
    fn resigned(&self, sign: impl FnOnce(&[u8]) -> Vec<u8>) -> Vec<u8> {
        joined(payload(&self.good), &sign(&content(&self.good)))
    }

    /// The good payload under a manifest whose text was changed, well signed.
    fn retext(&self, change: impl FnOnce(&str) -> String) -> Vec<u8> {
        self.resigned(|text| self.sign(change(std::str::from_utf8(text).unwrap()).as_bytes()))
    }

    /// The same with a line behind the first line that begins so.
    fn with_line(&self, behind: &str, line: &str) -> Vec<u8> {
        self.retext(|text| {
            let lines = text.lines().map(|l| match l.starts_with(behind) {
                true => format!("{l}\n{line}\n"),
                false => format!("{l}\n"),
            });
            let text: String = lines.collect();
            assert!(text.contains(line), "{text}");
            text
        })
    }

    /// The same with other words.
    fn with_words(&self, from: &str, to: &str) -> Vec<u8> {
        self.retext(|text| {
            assert!(text.contains(from), "{text}");
            text.replacen(from, to, 1)
        })
    }

    /// The good payload under a changed manifest, well signed.
    fn remanifest(&self, change: impl FnOnce(&mut Manifest)) -> Vec<u8> {
        self.resigned(|text| {
            let mut manifest = Manifest::parse(text).unwrap();
            change(&mut manifest);
            self.sign(manifest.to_text().as_bytes())
        })
    }

    /// The good payload, changed before its tree is made and the manifest signed.
    fn repacked(&self, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
        let mut manifest = Manifest::parse(&content(&self.good)).unwrap();
        let mut data = data(&self.good).to_vec();
        change(&mut data);
        let tree = hash_tree(&data).unwrap();
        manifest.format = Format::Verity(bundle::manifest::Tree {
            root: tree.root,
            salt: tree.salt,
            size: tree.tree.len() as u64,
        });
        data.extend(tree.tree);
        joined(&data, &self.sign(manifest.to_text().as_bytes()))
    }

    /// Signed with the good key, but with a certificate for that key that says something else. Our own signer refuses
    /// to do so; certificates of the same length are exchanged.
    fn exchanged(&self, change: impl Fn(&mut CertificateParams)) -> Vec<u8> {
        let mut changed = leaf_params("Signer");
        change(&mut changed);
        for _ in 0..200 {
            let key = KeyPair::generate().unwrap();
            let good = leaf_params("Signer")
                .signed_by(&key, &self.middle.issuer)
                .unwrap();
            let other = changed.signed_by(&key, &self.middle.issuer).unwrap();
            if good.der().len() == other.der().len() {
                let leaf = Leaf { pem: good.pem(), key };
                return self.resigned(|content| {
                    let mut cms = leaf.sign(content, &self.middle.pem);
                    let at = find(&cms, good.der());
                    cms[at..at + good.der().len()].copy_from_slice(other.der());
                    cms
                });
            }
        }
        panic!("no two certificates of one length");
    }
}

fn payload(bundle: &[u8]) -> &[u8] {
    &bundle[..raw_parts(bundle).unwrap().payload.end as usize]
}

/// The payload without its tree.
fn data(bundle: &[u8]) -> &[u8] {
    let tree = Manifest::parse(&content(bundle)).unwrap().format.tree().size as usize;
    let payload = payload(bundle);
    &payload[..payload.len() - tree]
}

fn content(bundle: &[u8]) -> Vec<u8> {
    let cms = read_cms(bundle, &raw_parts(bundle).unwrap()).unwrap();
    read_unverified(&cms).unwrap().content
}

fn joined(payload: &[u8], cms: &[u8]) -> Vec<u8> {
    [payload, cms, &(cms.len() as u64).to_be_bytes()].concat()
}

fn find(bytes: &[u8], what: &[u8]) -> usize {
    let mut windows = bytes.windows(what.len());
    windows.position(|window| window == what).unwrap()
}

/// The good bundle with one bit flipped, `from` bytes behind where `what` begins.
fn flipped(shop: &Workshop, what: &[u8], from: usize) -> Vec<u8> {
    let mut bytes = shop.good.clone();
    let at = find(&bytes, what) + from;
    bytes[at] ^= 1;
    bytes
}

/// The good bundle cut to so many bytes.
fn cut(shop: &Workshop, len: usize) -> Vec<u8> {
    shop.good[..len].to_vec()
}

/// The good bundle with another number at its end.
fn trailer(shop: &Workshop, number: impl FnOnce(u64) -> u64) -> Vec<u8> {
    let mut bytes = shop.good.clone();
    let at = bytes.len() - 8;
    let length = raw_parts(&bytes[..]).unwrap().cms;
    bytes[at..].copy_from_slice(&number(length.end - length.start).to_be_bytes());
    bytes
}

/// A valid chunk index of the root image with some bytes changed.
fn chunks(change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let image = noise(ROOT, ROOT_LEN);
    let mut bytes = ChunkIndex::of(&image[..], Chunks::default().parameters, None)
        .unwrap()
        .to_bytes();
    change(&mut bytes);
    bytes
}

/// A box that runs slot a; slot b holds an older version that could start.
struct Appliance {
    _folder: tempfile::TempDir,
    root: Root,
    engine: SlotEngine,
}

/// Partitions 3 to 6: boot-a, boot-b, root-a, root-b.
type Disk = [Vec<u8>; 4];

impl Appliance {
    fn new(shop: &Workshop, crl: Option<String>) -> Self {
        let (folder, root) = fake_disk(PARTITION);
        fs::create_dir_all(root.path("/usr/share/hearth")).unwrap();
        fs::write(root.path(ipc::paths::UPDATE_KEYRING), &shop.root.pem).unwrap();
        if let Some(crl) = crl {
            fs::write(root.path(ipc::paths::UPDATE_CRLS), crl).unwrap();
        }
        for (number, bytes) in [
            (3, noise(OLD_BOOT, BOOT_LEN)),
            (4, noise(OLD_BOOT, BOOT_LEN)),
            (5, noise(OLD_ROOT, ROOT_LEN)),
            (6, noise(OLD_ROOT + 100, ROOT_LEN)),
        ] {
            let file = fs::File::options()
                .write(true)
                .open(root.path(format!("/dev/vda{number}")));
            file.unwrap().write_all_at(&bytes, 0).unwrap();
        }
        let engine = SlotEngine::new(root.clone(), "/dev/vda", Running::from_boot(Slot::A));
        Self {
            _folder: folder,
            root,
            engine,
        }
    }

    fn disk(&self) -> Disk {
        [3, 4, 5, 6].map(|number| fs::read(self.root.path(format!("/dev/vda{number}"))).unwrap())
    }

    fn install(&self, bundle: &[u8]) -> (Step, Result<(), EngineError>) {
        fs::write(self.root.path("/update.raucb"), bundle).unwrap();
        let source = Source::File("/update.raucb".into());
        let info = match self.engine.inspect(&source, &Access::default()) {
            Ok(info) => info,
            Err(error) => return (Step::Open, Err(error)),
        };
        let job = Job {
            source,
            access: Access::default(),
            manifest_hash: info.manifest_hash,
            target: Running::from_boot(Slot::A).inactive(),
        };
        let before = self.disk();
        match self.engine.stream(&job, &Quiet) {
            Ok(written) => (Step::ReadBack, self.engine.read_back(&job, &written, &Quiet)),
            Err(error) if self.disk() == before => (Step::Check, Err(error)),
            Err(error) => (Step::Write, Err(error)),
        }
    }
}

/// Where a bundle is refused. Up to `Check` nothing was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Step {
    Open,
    Check,
    Write,
    ReadBack,
}

/// Name, where it is refused, how it is made, what the sentence says.
type Case = (&'static str, Step, fn(&Workshop) -> Vec<u8>, &'static str);

use Step::{Check, Open, ReadBack, Write};

#[rustfmt::skip]
const FILE: &[Case] = &[
    ("empty file",                    Open,  |_| Vec::new(),                                            "it is too short (the file has 0 bytes)"),
    ("no bundle at all",              Open,  |_| noise(9, 100_000),                                     "no length of a signature"),
    ("cut in the trailer",            Open,  |s| cut(s, s.good.len() - 1),                              "cut off"),
    ("cut before the trailer",        Open,  |s| cut(s, s.good.len() - 8),                              "no length of a signature"),
    ("cut in the signature",          Open,  |s| cut(s, s.good.len() - 700),                            "no length of a signature"),
    ("cut in the tree",               Open,  |s| cut(s, data(&s.good).len() + 5000),                    "no length of a signature"),
    ("cut in an image",               Open,  |s| cut(s, 200_000),                                       "no length of a signature"),
    ("cut in an image, tail kept",    Open,  |s| [&s.good[..200_000], &s.good[payload(&s.good).len()..]].concat(), "the bundle was cut off or changed"),
    ("grown by a byte",               Open,  |s| [&s.good[..], &[0]].concat(),                          "65536 are allowed: is this a bundle"),
    ("grown by zeros",                Open,  |s| [&s.good[..], &[0; BLOCK]].concat(),                   "last eight bytes are zero"),
    ("grown between payload and CMS", Open,  |s| joined(&[payload(&s.good), &[0; BLOCK]].concat(), &s.sign(&content(&s.good))), "does not match the signed root"),
    ("grown behind the CMS",          Open,  |s| s.resigned(|c| [&s.sign(c)[..], &[0; 7]].concat()),    "7 bytes follow the signature"),
    ("length 0",                      Open,  |s| trailer(s, |_| 0),                                     "last eight bytes are zero"),
    ("length huge",                   Open,  |s| trailer(s, |_| u64::MAX),                              "no length of a signature"),
    ("length of the file",            Open,  |s| trailer(s, |_| s.good.len() as u64 - 8),               "bytes; 65536 are allowed"),
    ("length one less",               Open,  |s| trailer(s, |l| l - 1),                                 "bytes follow the signature"),
    ("length one more",               Open,  |s| trailer(s, |l| l + 1),                                 "bytes follow the signature"),
    ("length odd",                    Open,  |s| trailer(s, |_| 777),                                   "signature"),
];

#[rustfmt::skip]
const BITS: &[Case] = &[
    ("bit of the root image",         Write, |s| flipped(s, &noise(ROOT, 64), 200_000),                 "does not match the hash tree"),
    ("bit of the boot image",         Write, |s| flipped(s, &noise(BOOT, 64), 90_000),                  "does not match the hash tree"),
    ("bit of the superblock",         Open,  |s| flipped(s, b"hsqs", 40),                               "data block 0 does not match the hash tree"),
    ("bit of the file table",         Open,  |s| flipped(s, b"rootfs.img", 2),                          "does not match the hash tree"),
    ("bit of a chunk index",          Check, |s| flipped(s, b"HTHCHUNK", 100),                          "does not match the hash tree"),
    ("bit of the tree's top",         Open,  |s| { let mut b = s.good.clone(); b[data(&s.good).len()] ^= 1; b }, "does not match the signed root"),
    ("bit of the tree's lowest level",Open,  |s| { let mut b = s.good.clone(); b[data(&s.good).len() + BLOCK] ^= 1; b }, "block 1 of the hash tree does not match the block above it"),
    ("bit of the tree's padding",     Open,  |s| { let mut b = s.good.clone(); b[data(&s.good).len() + BLOCK - 1] ^= 1; b }, "does not match the signed root"),
    ("signed padding that is not 0",  Open,  padded,                                                    "is not padded with zeros"),
    ("bit of the manifest in the CMS",Open,  |s| flipped(s, b"compatible=", 12),                        "changed after it was signed"),
    ("bit of the signature",          Open,  |s| { let mut b = s.good.clone(); let at = b.len() - 9; b[at] ^= 1; b }, "the signature is wrong"),
    ("bit of a certificate",          Open,  |s| flipped(s, b"Signer", 3),                              "Sig"),
];

/// A tree whose top block has something behind its digests, under a root that fits.
fn padded(shop: &Workshop) -> Vec<u8> {
    let mut manifest = Manifest::parse(&content(&shop.good)).unwrap();
    let mut payload = payload(&shop.good).to_vec();
    let mut tree = *manifest.format.tree();
    let top = data(&shop.good).len();
    payload[top + BLOCK - 1] = 1;
    // The root is the hash of one block: that of a tree over this block and another is in its first digest.
    let mut builder = TreeBuilder::new(tree.salt);
    builder.update(&payload[top..top + BLOCK]);
    builder.update(&[0; BLOCK]);
    tree.root.copy_from_slice(&builder.finish().unwrap().tree[..32]);
    manifest.format = Format::Verity(tree);
    joined(&payload, &shop.sign(manifest.to_text().as_bytes()))
}

#[rustfmt::skip]
const SIGNERS: &[Case] = &[
    ("foreign root",                  Open,  |s| s.resigned(|c| { let m = self_signed("Stranger").below("Intermediate"); m.leaf(|_| {}).sign(c, &m.pem) }), "nobody knows \"CN=Stranger\""),
    ("namesake of the root",          Open,  |s| s.resigned(|c| { let m = self_signed("Root").below("Intermediate"); m.leaf(|_| {}).sign(c, &m.pem) }), "not signed with its key"),
    ("missing intermediate",          Open,  |s| s.resigned(|c| s.leaf.sign(c, "")),                    "nobody knows \"CN=Intermediate\""),
    ("expired",                       Open,  |s| s.resigned(|c| s.middle.leaf(|p| p.not_after = date_time_ymd(2021, 1, 1)).sign(c, &s.middle.pem)), "is expired since 2021-01-01"),
    ("not yet valid",                 Open,  |s| s.resigned(|c| s.middle.leaf(|p| p.not_before = date_time_ymd(2099, 1, 1)).sign(c, &s.middle.pem)), "is valid from 2099-01-01"),
    ("for a web server",              Open,  |s| s.exchanged(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]), "lacks codeSigning"),
    ("for key exchange only",         Open,  |s| s.exchanged(|p| p.key_usages = vec![KeyUsagePurpose::KeyEncipherment]), "lacks digitalSignature"),
    ("no CMS",                        Open,  |s| s.resigned(|_| noise(5, 900)),                         "signature"),
];

#[rustfmt::skip]
const MANIFESTS: &[Case] = &[
    ("plain",                         Open,  |s| s.with_words("format=verity", "format=plain"),         "CVE-2020-25860"),
    ("unknown format",                Open,  |s| s.with_words("format=verity", "format=casync"),        "format \"casync\" is unknown"),
    ("unknown key",                   Open,  |s| s.with_line("version", "colour=red"),                  "the key \"colour\" in [update] is unknown"),
    ("unknown key of an image",       Open,  |s| s.with_line("filename", "mode=0777"),                  "the key \"mode\" in [image.rootfs] is unknown"),
    ("unknown group",                 Open,  |s| s.retext(|t| format!("{t}\n[colours]\nred=1\n")),      "the group [colours] is unknown"),
    ("duplicate key",                 Open,  |s| s.with_line("version", "version=9.9.9"),               "the key \"version\" in [update] is there twice"),
    ("duplicate group",               Open,  |s| s.retext(|t| format!("{t}\n[update]\nversion=9\n")),   "the group [update] is there twice"),
    ("duplicate image",               Open,  |s| s.retext(|t| format!("{t}\n[image.boot]\n")),          "the group [image.boot] is there twice"),
    ("no compatible",                 Open,  |s| s.with_words("compatible=test\n", ""),                 "has no key \"compatible\""),
    ("NUL in the manifest",           Open,  |s| s.retext(|t| format!("{t}#\0")),                       "neither UTF-8 nor allowed"),
    ("endless manifest",              Open,  |s| s.retext(|t| format!("{t}{}", "#\n".repeat(40_000))),  "65536 are allowed"),
    ("path: parent",                  Open,  |s| s.with_words("filename=rootfs.img", "filename=../rootfs.img"), "the file name in \"filename\" of [image.rootfs] is not allowed"),
    ("path: absolute",                Open,  |s| s.with_words("filename=rootfs.img", "filename=/etc/passwd"), "the file name in \"filename\" of [image.rootfs] is not allowed"),
    ("path: folder",                  Open,  |s| s.with_words("filename=boot.img", "filename=a/boot.img"), "the file name in \"filename\" of [image.boot] is not allowed"),
    ("path: parent alone",            Open,  |s| s.with_words("filename=boot.img", "filename=.."),      "the file name in \"filename\" of [image.boot] is not allowed"),
    ("digest is a path",              Open,  |s| s.with_words("sha256=", "sha256=../../"),              "\"sha256\" in [image.rootfs]"),
    ("file is not there",             Open,  |s| s.with_words("filename=boot.img", "filename=other.img"), "the bundle holds no file other.img"),
    ("image of another size",         Open,  |s| s.remanifest(|m| m.images[0].size += 1),               "the manifest says 458753"),
    ("verity-size too small",         Open,  |s| s.remanifest(|m| tree(m).size = 4096),                 "does not fit a tree of 4096 bytes"),
    ("verity-size huge",              Open,  |s| s.remanifest(|m| tree(m).size = 1 << 62),              "does not fit a tree of 4611686018427387904"),
    ("verity-size odd",               Open,  |s| s.with_words("verity-size=", "verity-size=1"),         "\"verity-size\" in [bundle] must be a multiple of 4096"),
    ("verity-hash of another tree",   Open,  |s| s.remanifest(|m| tree(m).root[0] ^= 1),                "does not match the signed root"),
    ("verity-salt of another tree",   Open,  |s| s.remanifest(|m| tree(m).salt[0] ^= 1),                "does not match the signed root"),
];

fn tree(manifest: &mut Manifest) -> &mut bundle::manifest::Tree {
    match &mut manifest.format {
        Format::Verity(tree) | Format::Crypt { tree, .. } => tree,
    }
}

#[rustfmt::skip]
const IMAGES: &[Case] = &[
    ("symbolic link for an image",    Open,  |s| s.repacked(|d| link(d, b"rootfs.img")),                "rootfs.img in the bundle is a symbolic link, not a regular file"),
    ("payload is no squashfs",        Open,  |s| s.repacked(|d| d[0] ^= 1),                             "no squashfs"),
    ("file beyond the payload",       Open,  |s| s.repacked(|d| far(d)), "a block is not where it can be"),
    ("larger than the slot",          Check, |s| s.make(&Contents { images: vec![("rootfs", vec![0; 3 << 20]), ("boot", noise(2, BLOCK))], ..Contents::default() }), "has 3145728 bytes; the slot has room for 1048576"),
    ("no image for boot",             Check, |s| s.make(&Contents { images: vec![("rootfs", noise(1, ROOT_LEN))], ..Contents::default() }), "no image for boot"),
    ("no image for rootfs",           Check, |s| s.make(&Contents { images: vec![("boot", noise(1, BOOT_LEN))], ..Contents::default() }), "no image for rootfs"),
    ("image of another class",        Check, |s| s.remanifest(|m| more(m, "appfs", None, None)),        "an image for \"appfs\""),
    ("image of a variant",            Check, |s| s.remanifest(|m| more(m, "rootfs", Some("pro"), None)), "of the variant \"pro\""),
    ("image of an artifact",          Check, |s| s.remanifest(|m| more(m, "files", None, Some("app"))), "an artifact"),
    ("archive for an image",          Check, |s| s.make(&Contents { ending: ".tar.gz", ..Contents::default() }), "is an archive"),
    ("type of an archive",            Check, |s| s.remanifest(|m| m.images[1].image_type = Some("tar".into())), "boot.img is an archive"),
    ("hooks",                         Check, |s| s.make(&with_program(|t| t.hooks = Some(Hooks { filename: name("program"), install_check: true }))), "has hooks"),
    ("hooks of an image",             Check, |s| s.make(&with_program(|t| { t.hooks = Some(Hooks { filename: name("program"), install_check: false }); t.images[0].hooks = vec![ImageHook::Install]; })), "has hooks"),
    ("handler",                       Check, |s| s.make(&with_program(|t| t.handler = Some(Handler { filename: name("program"), args: None }))), "a handler"),
    ("handler that is not there",     Open,  |s| s.remanifest(|m| m.handler = Some(Handler { filename: name("program"), args: None })), "the bundle holds no file program"),
    ("wrong SHA-256, first image",    Write, |s| { let b = s.make(&Contents { indexed: false, ..Contents::default() }); other_sha(s, &b, 0) }, "rootfs.img is not what its manifest says"),
    ("wrong SHA-256, second image",   Write, |s| { let b = s.make(&Contents { indexed: false, ..Contents::default() }); other_sha(s, &b, 1) }, "boot.img is not what its manifest says"),
    ("wrong SHA-256 with an index",   ReadBack, |s| other_sha(s, &s.good, 0),                           "rootfs.img is not what its manifest says"),
    ("wrong SHA-256 of the second",   ReadBack, |s| other_sha(s, &s.good, 1),                           "boot.img is not what its manifest says"),
    ("chunks: not an index",          Check, |s| s.with_chunks(noise(3, 500)),                          "rootfs.img.chunks: this is no chunk index"),
    ("chunks: empty",                 Check, |s| s.with_chunks(vec![0; 4]),                             "rootfs.img.chunks: this is no chunk index"),
    ("chunks: lengths do not add up", Check, |s| s.with_chunks(chunks(|b| b[80] ^= 1)),                 "its chunks are not as long as the image"),
    ("chunks: impossible length",     Check, |s| s.with_chunks(chunks(|b| b[83] = 0x7f)),               "a chunk has an impossible length"),
    ("chunks: of a shorter image",    Check, |s| s.with_chunks(ChunkIndex::of(&noise(1, 9000)[..], Chunks::default().parameters, None).unwrap().to_bytes()), "of an image of another size"),
    ("chunks: too many",              Check, |s| s.with_chunks(chunks(|b| b[72..76].copy_from_slice(&u32::MAX.to_le_bytes()))), "has 4294967295 chunks; 262144 are allowed"),
    ("chunks: more than are there",   Check, |s| s.with_chunks(chunks(|b| b[72] ^= 1)),                 "does not fit the number of its chunks"),
    ("chunks: impossible parameters", Check, |s| s.with_chunks(chunks(|b| b[12] = 1)),                  "rootfs.img.chunks: the chunk index cannot be used"),
    ("chunks: digests of what runs",  ReadBack, |s| s.with_chunks(ChunkIndex::of(&noise(OLD_ROOT, ROOT_LEN)[..], Chunks::default().parameters, None).unwrap().to_bytes()), "rootfs.img is not what its manifest says"),
];

/// Makes a file of the payload's folder a symbolic link: record of offset, inode, kind, length of the name, name.
fn link(data: &mut [u8], file: &[u8]) {
    let record = [&[2, 0, file.len() as u8 - 1, 0], file].concat();
    let at = find(data, &record);
    data[at] = 3;
}

/// Moves the boot image to where no payload is: in its inode place, fragment, offset in it and size.
fn far(data: &mut [u8]) {
    let fields = [BLOCK as u32, u32::MAX, 0, BOOT_LEN as u32].map(u32::to_le_bytes);
    let at = find(data, &fields.concat());
    data[at + 3] = 0x7f;
}

fn more(manifest: &mut Manifest, class: &str, variant: Option<&str>, artifact: Option<&str>) {
    manifest.images.push(Image {
        class: class.into(),
        variant: variant.map(Into::into),
        artifact: artifact.map(Into::into),
        ..manifest.images[0].clone()
    });
}

fn with_program(change: fn(&mut Template)) -> Contents {
    Contents {
        more: vec![("program", b"#!/bin/sh\n".to_vec())],
        change,
        ..Contents::default()
    }
}

fn other_sha(shop: &Workshop, bundle: &[u8], image: usize) -> Vec<u8> {
    let mut manifest = Manifest::parse(&content(bundle)).unwrap();
    manifest.images[image].sha256[31] ^= 1;
    joined(payload(bundle), &shop.sign(manifest.to_text().as_bytes()))
}

/// Tries every case, and names all that fail.
fn judge(cases: &[Case], crl: impl Fn(&Workshop) -> Option<String>) {
    let shop = workshop();
    let mut wrong = Vec::new();
    for (case, step, make, says) in cases {
        let appliance = Appliance::new(shop, crl(shop));
        let before = appliance.disk();
        let (at, result) = appliance.install(&make(shop));
        let after = appliance.disk();
        let Err(error) = result else {
            wrong.push(format!("{case}: installed"));
            continue;
        };
        println!("{case:32} {at:8?} {error}");
        let mut must = |holds: bool, what: &str| {
            if !holds {
                wrong.push(format!("{case}: {what} ({at:?}, {:?}): {error}", error.kind));
            }
        };
        must(error.sentence.contains(says), "says something else");
        must(at == *step, "refused elsewhere");
        must(error.kind == EngineErrorKind::Refused, "of another kind");
        must(
            after[0] == before[0] && after[2] == before[2],
            "the slot that runs was written",
        );
        match step {
            Open | Check => must(after == before, "something was written"),
            Write | ReadBack => must(after[1][..BLOCK] == [0; BLOCK], "the slot could start"),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_bundle_that_all_others_are_made_from_is_good() {
    let shop = workshop();
    for bundle in [&shop.good, &shop.repacked(|_| {}), &shop.exchanged(|_| {})] {
        let appliance = Appliance::new(shop, None);
        let (step, result) = appliance.install(bundle);
        result.unwrap();
        assert_eq!(step, ReadBack);
        let disk = appliance.disk();
        assert!(disk[1][..BOOT_LEN] == noise(BOOT, BOOT_LEN));
        assert!(disk[3][..ROOT_LEN] == noise(ROOT, ROOT_LEN));
    }
}

#[test]
fn a_file_that_is_cut_grown_or_none_is_refused() {
    judge(FILE, |_| None);
}

#[test]
fn a_flipped_bit_is_refused_by_what_protects_it() {
    judge(BITS, |_| None);
}

#[test]
fn a_signer_who_may_not_sign_is_refused() {
    judge(SIGNERS, |_| None);
    let revoked: &[Case] = &[(
        "revoked",
        Open,
        |s| s.good.clone(),
        "was revoked by its issuer; do not install",
    )];
    judge(revoked, |shop| Some(shop.middle.crl()));
}

#[test]
fn a_signed_manifest_that_is_wrong_is_refused() {
    judge(MANIFESTS, |_| None);
}

#[test]
fn signed_images_that_are_wrong_are_refused() {
    judge(IMAGES, |_| None);
}

/// Whatever block is hit: refused and unable to start, or (in what is not used) installed as it was signed.
#[test]
fn a_bit_flipped_in_any_block_is_refused_or_harmless() {
    let shop = workshop();
    let (mut refused, mut harmless) = (0, 0);
    let blocks = shop.good.len().div_ceil(BLOCK);
    // Of the images every third, of all else (tables, indexes, tree, signature) every one.
    for block in (0..blocks).filter(|block| block % 3 == 0 || *block > blocks - 20) {
        let mut bytes = shop.good.clone();
        let at = (block * BLOCK + block * 7 % BLOCK).min(bytes.len() - 1);
        bytes[at] ^= 1 << (block % 8);
        let appliance = Appliance::new(shop, None);
        let before = appliance.disk();
        let (step, result) = appliance.install(&bytes);
        let after = appliance.disk();
        match (result, step) {
            (Ok(()), _) => {
                harmless += 1;
                assert!(after[1][..BOOT_LEN] == noise(BOOT, BOOT_LEN), "byte {at}");
                assert!(after[3][..ROOT_LEN] == noise(ROOT, ROOT_LEN), "byte {at}");
            }
            (Err(error), step) => {
                refused += 1;
                assert_eq!(error.kind, EngineErrorKind::Refused, "byte {at}: {error}");
                let idle = after == before;
                assert!(
                    idle || after[1][..BLOCK] == [0; BLOCK],
                    "byte {at}, {step:?}: {error}"
                );
            }
        }
    }
    println!("{refused} refused, {harmless} harmless");
    assert!(
        refused > 50 && harmless > 0,
        "{refused} refused, {harmless} harmless"
    );
}

/// A bundle that is cut anywhere is refused before anything is written.
#[test]
fn a_bundle_that_is_cut_anywhere_is_refused_at_once() {
    let shop = workshop();
    let appliance = Appliance::new(shop, None);
    let before = appliance.disk();
    let end = shop.good.len();
    for len in (0..end).step_by(4 * BLOCK).chain(end - 500..end) {
        let (step, result) = appliance.install(&shop.good[..len]);
        assert_eq!(
            (step, result.unwrap_err().kind),
            (Open, EngineErrorKind::Refused),
            "{len} bytes"
        );
    }
    assert!(appliance.disk() == before);
}
