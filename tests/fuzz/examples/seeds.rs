//! Writes the corpus: `cargo run -p hearth-fuzz --example seeds`.
//!
//! Run it when a format changed on purpose; the same sources give the same files. A seed whose name begins with `valid` must be
//! accepted by its parser. Files that a fuzzer found and that are worth keeping lie beside these and are not touched.

use std::io::{Cursor, Write};
use std::path::Path;

use anyhow::Result;
use board_support::Board;
use boot_payload::Payload;
use boot_state::{Bootstate, Running, Slot, State, encode};
use bundle::chunks::{ChunkIndex, Parameters, TreeTail};
use bundle::container::raw_parts;
use bundle::manifest::{FileName, Template};
use bundle::verity::TreeBuilder;
use bundle::write::{Input, write};
use disk_layout::{Guid, Mbr, Partition, SECTOR, Table, types};
use updater::engine::ManifestHash;
use updater::journal::encode_record;
use updater::state::{Bundle, Record};

/// What a peer of the swarm sends.
#[path = "seeds/hyper.rs"]
mod hyper;

const CORPUS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus");

fn seed(target: &str, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let folder = Path::new(CORPUS).join(target);
    std::fs::create_dir_all(&folder)?;
    Ok(std::fs::write(folder.join(name), bytes)?)
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = flate2::GzBuilder::new()
        .filename("vmlinuz")
        .write(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

fn boot_state() -> Result<()> {
    let good = State::default().mark_good(Running::from_boot(Slot::A));
    let inactive = Running::from_boot(Slot::A).inactive();
    let installing = good.begin_install(inactive)?;
    let activated = installing.finish_install(inactive)?.activate(inactive)?;
    let exhausted = good.mark_bad(Slot::A).mark_bad(Slot::B);
    seed("boot_state", "valid-new", Bootstate::initial().concat())?;
    seed(
        "boot_state",
        "valid-installing",
        [encode(&installing, 8), encode(&good, 7)].concat(),
    )?;
    seed(
        "boot_state",
        "valid-activated",
        [encode(&installing, 8), encode(&activated, 9)].concat(),
    )?;
    seed(
        "boot_state",
        "valid-exhausted",
        [encode(&exhausted, 300), encode(&exhausted, 299)].concat(),
    )?;
    let mut torn = [encode(&good, 8), encode(&good, 7)].concat();
    torn[100..512].fill(0xff);
    seed("boot_state", "valid-one-copy-torn", torn)?;
    seed("boot_state", "empty", [])
}

fn boot_payload() -> Result<()> {
    let kernel = b"MZ: a kernel that starts nothing. ".repeat(20);
    let payload = Payload {
        compatible: "hearth-qemu-arm64",
        version: "0.1.0",
        kernel_gzip: &gzip(&kernel)?,
        kernel_unpacked_len: kernel.len() as u64,
        initramfs: b"070701 an archive of nothing",
        command_line: "console=ttyAMA0 hearth.root-blocks=7000",
        development_keys: false,
    };
    let key = hearth_fuzz::keys::signing();
    let whole = payload.write(&key)?;
    seed("boot_payload", "valid-signed", &whole)?;
    let development = Payload {
        development_keys: true,
        version: "0.1.0+dev",
        ..payload
    };
    seed("boot_payload", "valid-development-keys", development.write(&key)?)?;
    let mut damaged = whole.clone();
    damaged[4100] ^= 1;
    seed("boot_payload", "valid-header-damaged-kernel", damaged)?;
    let mut forged = whole.clone();
    forged[330] ^= 1;
    seed("boot_payload", "valid-header-wrong-signature", forged)?;
    seed("boot_payload", "header-alone", &whole[..4096])?;

    let member = |len: usize, member: &[u8]| [&(len as u16).to_le_bytes(), member].concat();
    seed("kernel_gzip", "valid-text", member(kernel.len(), &gzip(&kernel)?))?;
    seed("kernel_gzip", "valid-empty", member(0, &gzip(b"")?))?;
    let noise: Vec<u8> = (0..600_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    seed("kernel_gzip", "valid-stored", member(noise.len(), &gzip(&noise)?))?;
    seed(
        "kernel_gzip",
        "wrong-length",
        member(kernel.len() - 1, &gzip(&kernel)?),
    )?;
    let cut = gzip(&kernel)?;
    seed("kernel_gzip", "cut", member(kernel.len(), &cut[..cut.len() / 2]))
}

fn disk_layout() -> Result<()> {
    let names = [
        "firmware",
        "bootstate",
        "boot-a",
        "boot-b",
        "root-a",
        "root-b",
        "data",
    ];
    let partitions = (1..).zip(names).map(|(number, name)| Partition {
        number,
        name: name.into(),
        type_guid: if number == 1 {
            types::EFI_SYSTEM
        } else {
            types::LINUX_DATA
        },
        unique_guid: Guid::from_u128(u128::from(number) << 64 | 7),
        first_lba: u64::from(number) * 2048,
        last_lba: u64::from(number) * 2048 + 2047,
        attributes: 0,
    });
    let table = Table::new(Guid::from_u128(42), 20_000, partitions.collect())?;
    let primary = table.primary(Mbr::Hybrid { firmware: 1 })?;
    let header = &primary[SECTOR..2 * SECTOR];
    let entries = &primary[2 * SECTOR..][..names.len() * 128];
    let backup = table.backup();
    let backup = &backup[backup.len() - SECTOR..];
    let disk = |sectors: u64, primary: &[u8], backup: &[u8], entries: &[u8]| {
        [&sectors.to_le_bytes(), primary, backup, entries].concat()
    };
    let none = [0; SECTOR];
    seed("disk_layout", "valid", disk(20_000, header, backup, entries))?;
    seed(
        "disk_layout",
        "valid-bigger-disk",
        disk(1 << 25, header, &none, entries),
    )?;
    seed(
        "disk_layout",
        "valid-backup-only",
        disk(20_000, &none, backup, entries),
    )?;
    seed(
        "disk_layout",
        "smaller-disk",
        disk(10_000, header, &none, entries),
    )?;
    seed("disk_layout", "empty", [])
}

fn boot_text() -> Result<()> {
    let hash = "5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef";
    let ours = format!(
        "hearth.root-hash={hash} hearth.root-salt=00ff hearth.root-blocks=7000 hearth.profile=dev hearth.board=qemu-arm64 \
         hearth.version=0.1.0 hearth.dev-keys=1 hearth.slot=b hearth.disk=0f4c2d1e-aaaa-bbbb-cccc-0123456789ab \
         hearth.state-seq=42 hearth.healed=0"
    );
    seed(
        "command_line",
        "valid",
        format!("console=ttyAMA0 quiet gpt {ours} hearth.built=1700000000\n"),
    )?;
    seed(
        "command_line",
        "valid-quotes",
        format!("dyndbg=\"hearth.slot=a on\" {ours} hearth.test=stop hearth.new=1"),
    )?;
    seed("command_line", "twice", format!("{ours} hearth.slot=a"))?;
    seed(
        "command_line",
        "nothing-of-ours",
        "console=tty0 root=/dev/sda1 quiet",
    )?;

    let modules = "# qemu-arm64\nusr/lib/modules/7/kernel/drivers/md/dm-mod.ko\n\n /usr/lib/modules/7/kernel/fs/ext4.ko \n";
    seed("modules_load", "valid", modules)?;
    seed("modules_load", "valid-empty", "# none\r\n")?;
    seed("modules_load", "climbs", "a.ko\n../b.ko")?;
    seed("modules_load", "compressed", "usr/lib/a.ko.xz")
}

fn configuration() -> Result<()> {
    let request = "host_name = \"attic-1\"\ntime_zone = \"America/Argentina/Ushuaia\"\nlanguage = \"en\"\n";
    let policy = |name: &str| format!("update_policy = \"{name}\"\n");
    seed(
        "setup_request",
        "valid",
        format!("{request}{}", policy("automatic")),
    )?;
    seed(
        "setup_request",
        "valid-order",
        format!("{}{request}", policy("notify")),
    )?;
    seed(
        "setup_request",
        "climbs",
        format!("{}{}", request.replace("America", ".."), policy("manual")),
    )?;
    seed(
        "setup_request",
        "unknown-key",
        format!("{request}{}wizard = true\n", policy("manual")),
    )?;

    let owned = format!(
        "provisioned = true\nadministrator = \"ada\"\n{request}{}",
        policy("manual")
    );
    seed("settings", "valid", &owned)?;
    seed(
        "settings",
        "valid-before-setup",
        format!("provisioned = false\n{request}{}", policy("automatic")),
    )?;
    seed("settings", "wrong-type", owned.replace("true", "\"yes\""))?;
    seed(
        "settings",
        "inline",
        "host_name = {a=[1,'b',\"\\u00e9\",1979-05-27T07:32:00Z]}",
    )?;

    for name in Board::names() {
        let path = format!(
            "{}/../../board-support/boards/{name}.toml",
            env!("CARGO_MANIFEST_DIR")
        );
        seed("board", &format!("valid-{name}"), std::fs::read(path)?)?;
    }
    let board = std::fs::read_to_string(format!(
        "{}/../../board-support/boards/qemu-arm64.toml",
        env!("CARGO_MANIFEST_DIR")
    ))?;
    seed(
        "board",
        "huge-slots",
        board.replace("boot_slot_mib = 48", "boot_slot_mib = 4294967295"),
    )?;
    seed(
        "board",
        "blank-in-compatible",
        board.replace("hearth-qemu-arm64", "hearth qemu"),
    )?;
    let profiles = concat!(env!("CARGO_MANIFEST_DIR"), "/../../image/profiles");
    for name in ["base", "dev", "release"] {
        seed(
            "profile",
            &format!("valid-{name}"),
            std::fs::read(format!("{profiles}/{name}.toml"))?,
        )?;
    }
    seed(
        "profile",
        "bad-pattern",
        "[files]\ndrop = ['a[', '{a,{b,c}}', '**/x?']\n",
    )?;

    let package = |role: &str, name: &str| {
        format!(
            "\n[[package]]\nrole = \"{role}\"\nname = \"{name}\"\nversion = \"1:2.3~rc1+deb13u7\"\narchitecture = \"arm64\"\n\
             size_bytes = 88244\nsha256 = \"{}\"\n",
            "53".repeat(32)
        )
    };
    let lock = ["root", "dev", "kernel", "extra"]
        .map(|role| package(role, "libstdc++6"))
        .concat();
    seed("lock", "valid", format!("# A comment\nformat = 1\n{lock}"))?;
    seed("lock", "valid-empty", "format = 1")?;
    seed("lock", "newer-format", format!("format = 2\n{lock}"))?;
    seed(
        "lock",
        "name-is-an-option",
        format!("format = 1\n{}", package("root", "-y")),
    )?;
    seed(
        "lock",
        "hash-is-a-path",
        format!("format = 1\n{}", package("root", "udev").replace("5353", "../.")),
    )
}

fn provisioner() -> Result<()> {
    let hash = format!(
        "$argon2id$v=19$m=19456,t=2,p=1$c29tZX+hbHR/b21lc2FsdA${}A",
        "Ab+/".repeat(10) + "Ab"
    );
    seed(
        "administrator",
        "valid",
        format!("name = \"ada\"\npassword_hash = \"{hash}\"\n"),
    )?;
    seed(
        "administrator",
        "valid-single-quotes",
        format!("password_hash = '{hash}'\nname = 'b.o_b-1'"),
    )?;
    seed(
        "administrator",
        "cut",
        format!("name = \"ada\"\npassword_hash = \"{}", &hash[..40]),
    )?;
    seed(
        "administrator",
        "no-hash",
        "name = 'ada'\npassword_hash = 'hunter2'",
    )?;

    let superblock = |blocks: u64, log_block: u32, wide: u32| {
        let mut raw = vec![0; 1024];
        let mut put = |at: usize, bytes: &[u8]| raw[at..at + bytes.len()].copy_from_slice(bytes);
        put(4, &(blocks as u32).to_le_bytes());
        put(24, &log_block.to_le_bytes());
        put(32, &(8192_u32 << log_block).to_le_bytes());
        put(40, &8192_u32.to_le_bytes());
        put(56, &0xef53_u16.to_le_bytes());
        put(88, &256_u16.to_le_bytes());
        put(96, &wide.to_le_bytes());
        put(254, &64_u16.to_le_bytes());
        put(336, &((blocks >> 32) as u32).to_le_bytes());
        raw
    };
    seed("ext4", "valid-64bit", superblock((1 << 33) + 5, 2, 0x80))?;
    seed("ext4", "valid-small-blocks", superblock(65_536, 0, 0))?;
    let mut groups = superblock(u64::MAX, 2, 0x80);
    groups[32..36].copy_from_slice(&1_u32.to_le_bytes());
    groups[254..256].copy_from_slice(&u16::MAX.to_le_bytes());
    seed("ext4", "valid-more-groups-than-numbers", groups)?;
    seed(
        "ext4",
        "no-magic",
        superblock(65_536, 0, 0)
            .iter()
            .map(|byte| byte & 0x0f)
            .collect::<Vec<_>>(),
    )?;
    seed("ext4", "short", &superblock(65_536, 2, 0x80)[..400])?;

    seed(
        "redact",
        "valid-log",
        "10:00 hearth kernel: EXT4-fs mounted\n10:01 sshd: root:$6$salt$hash:1\nPSK=x\n",
    )?;
    seed("redact", "valid-option-before-key", "iwd --psk abc token=x\n")?;
    seed(
        "redact",
        "valid-url-beside-hash",
        "http://h/?to=http://a:b@c/$6$salt$hash,t=2\n",
    )?;
    seed("redact", "valid-hash", format!("user ada, hash {hash}\n"))?;
    seed(
        "redact",
        "valid-key",
        "a\n-----BEGIN PRIVATE KEY-----\nMIG\n-----END PRIVATE KEY-----\nb\n",
    )?;
    seed(
        "redact",
        "valid-words",
        "Authorization: Bearer abc, \"token\": \"x\"\n--psk y http://a:b@c/?d='e' ä-pass=ü\n",
    )?;

    let facts = r#"{"slot":"a","healed":false,"version":"0.1.0","profile":"dev","board":"qemu-arm64","development_keys":true,
"disk":"/dev/vda","data_device":"/dev/vda7","bootstate_device":"/dev/vda2","data":{"state":"mounted"},"handed_over_ms":4100}"#;
    seed("facts", "valid-boot", facts)?;
    let damaged = facts.replace("\"mounted\"", "\"damaged\",\"reason\":\"e2fsck says 4\\n\"");
    seed("facts", "valid-damaged-data", damaged)?;
    let storage =
        r#"{"disk":"/dev/vda","disk_bytes":536870912,"data_bytes":100,"data_free_bytes":50,"growth":"#;
    seed(
        "facts",
        "valid-storage",
        format!("{storage}{{\"phase\":\"growing\",\"done_bytes\":1,\"total_bytes\":2}}}}"),
    )?;
    seed("facts", "storage-cut", storage)
}

fn web() -> Result<()> {
    seed(
        "wizard_form",
        "valid-name",
        "token=0123456789abcdef&revision=3&host_name=attic-1",
    )?;
    seed(
        "wizard_form",
        "valid-zone",
        "token=00&revision=4&time_zone=Europe%2FParis&",
    )?;
    let administrator =
        "revision=5&name=+ada+&password=korrektes+Pferd%2C+Batterie&repeat=%C3%A4%E2%82%AC%26%3D";
    seed("wizard_form", "valid-administrator", administrator)?;
    seed(
        "wizard_form",
        "valid-choices",
        "language=en&policy=notify&do=grow&empty",
    )?;
    seed("wizard_form", "twice", "a=1&a=2")?;
    seed("wizard_form", "bad-encoding", "a=%zz&b=%ff&c=%0a")?;

    let token = "0123456789abcdef".repeat(4);
    seed(
        "web_request",
        "valid-name",
        format!("Attic-2.local.:8080\nx=y; hearth-session={token}; hearth-browser={token}"),
    )?;
    seed("web_request", "valid-address", "192.168.1.20:80\n")?;
    seed(
        "web_request",
        "valid-address-6",
        "[2001:db8::1]:8080\nhearth-session=short",
    )?;
    seed("web_request", "foreign", "attic.local.evil.example:80\n=;;==")?;

    let open = r#"{"revision":9,"changed_at":1700000000,"language":"en","host_name":"attic","time_zone":"Europe/Paris",
"network_seen":true,"storage":"grow-seen","update_policy":"manual","claim":null}"#;
    seed("web_store", "valid-open", open)?;
    let claim = format!("{{\"administrator\":\"ada\",\"browsers\":[\"{token}\",\"{token}\"]}}");
    seed("web_store", "valid-claimed", open.replace("null", &claim))?;
    let boot = r#"{"id":"6f1c","seen_at":1,"clock_set":false,"slot":"b","version":"0.1.0","healed":true,"repaired":false}"#;
    seed("web_store", "boots", format!("[{boot},{boot}]"))?;
    seed(
        "web_store",
        "provisioned",
        open.replace("9,", "9,\"provisioned\":true,"),
    )
}

/// Signatures are not reproducible: they were made once, for keys that were thrown away (`src/bundles/`).
fn bundles() -> Result<()> {
    let signed = include_bytes!("../src/bundles/signed-p256.der");
    seed("bundle_cms", "valid-p256", signed)?;
    seed(
        "bundle_cms",
        "valid-rsa",
        include_bytes!("../src/bundles/signed-rsa.der"),
    )?;
    let by_openssl = include_bytes!("../src/bundles/signed-by-openssl.der");
    seed("bundle_cms", "valid-by-openssl", by_openssl)?;
    seed("bundle_cms", "cut", &signed[..signed.len() / 2])?;
    seed("bundle_cms", "roots", include_bytes!("../src/bundles/roots.pem"))?;
    seed("bundle_cms", "lists", include_bytes!("../src/bundles/lists.pem"))?;

    let (hash, other) = ("0123456789abcdef".repeat(4), "f".repeat(64));
    let update = "[update]\ncompatible=hearth-pc\nversion=1.2.3\n";
    let verity =
        format!("[bundle]\nformat=verity\nverity-hash={hash}\nverity-salt={other}\nverity-size=8192\n");
    seed("bundle_manifest", "valid-small", format!("{update}{verity}"))?;
    seed(
        "bundle_manifest",
        "valid-full",
        format!(
            "# all keys\n{update}description=a\\nb\nbuild=7\nmin-rauc-version=1.14\n\n{verity}\n[handler]\nfilename=run\nargs=-x\n\n\
             [hooks]\nfilename=hook\nhooks=install-check;\n\n[image.rootfs.big]\nsha256={hash}\nsize=4096\nfilename=root.squashfs\n\
             type=raw\nhooks=pre-install;post-install;\nadaptive=block-hash-index;\n\n[image.apps/web]\nsha256={other}\nsize=1\n\
             filename=web.tar\nconvert=tar-extract;\nconverted=web.tree;\n\n[meta.hearth]\nsbom=sbom.json\n\n[rollout]\nx=y\n"
        ),
    )?;
    let crypt = verity.replace("=verity", "=crypt");
    seed(
        "bundle_manifest",
        "valid-crypt",
        format!("{update}{crypt}crypt-key={hash}\n"),
    )?;
    seed(
        "bundle_manifest",
        "plain",
        format!("{update}[bundle]\nformat=plain\n"),
    )?;
    seed(
        "bundle_manifest",
        "template",
        format!("{update}[image.rootfs]\nfilename=root.squashfs\nadaptive=block-hash-index;\n"),
    )
}

/// The bundles are signed, as above. Payloads and volumes named after a tool are its own: they lie beside what is made here.
fn containers() -> Result<()> {
    let signed = include_bytes!("../src/bundles/container-verity.raucb");
    seed("bundle_container", "valid-verity", signed)?;
    seed(
        "bundle_container",
        "valid-crypt",
        include_bytes!("../src/bundles/container-crypt.raucb"),
    )?;
    let parts = raw_parts(&signed[..])?;
    let tail = &signed[parts.payload.end as usize..];
    seed("bundle_container", "no-payload", tail)?;
    seed("bundle_container", "cut", &tail[..tail.len() - 9])?;
    let length = tail.len() as u64;
    let over_all = [&tail[..tail.len() - 8], &length.to_be_bytes()].concat();
    seed("bundle_container", "length-over-all", over_all)?;

    let payload = payload()?;
    seed("bundle_payload", "valid-ours", &payload)?;
    seed("bundle_payload", "superblock-alone", &payload[..96])?;
    let packed = std::fs::read(Path::new(CORPUS).join("bundle_payload/valid-mksquashfs-gzip"))?;
    seed("bundle_payload", "tables-cut", &packed[..packed.len() - 200])?;

    let parameters = Parameters::new(512, 1024, 2048)?;
    let noise = noise(8192);
    let zeros = [&noise[..3000], &[0; 5000], &noise[..1000]].concat();
    let moved = [&noise[..700], b"new", &noise[700..3000]].concat();
    delta(
        "valid-moved",
        &zeros,
        &moved,
        ChunkIndex::of(&zeros[..], parameters, None)?,
    )?;
    let salt = [3; 32];
    let tree = hash_tree_of(&noise, salt)?;
    let tail = TreeTail {
        data_size: 8192,
        salt,
    };
    let index = ChunkIndex::of(&tree[..], parameters, Some(tail))?;
    delta("valid-tree", &tree, &noise[4096..6000], index)?;
    let short = &zeros[..4000];
    delta(
        "valid-resumed",
        short,
        &short[..2500],
        ChunkIndex::of(short, parameters, None)?,
    )?;
    delta(
        "valid-empty",
        &[],
        &[],
        ChunkIndex::of(&[][..], parameters, None)?,
    )?;
    delta(
        "valid-other-image",
        &noise,
        &[],
        ChunkIndex::of(&zeros[..], Parameters::default(), None)?,
    )?;
    seed(
        "chunk_index",
        "header-alone",
        [&[80, 0, 0, 0][..], b"HTHCHUNK\x01\0", &[0; 70]].concat(),
    )
}

fn hash_tree_of(data: &[u8], salt: [u8; 32]) -> Result<Vec<u8>> {
    let mut builder = TreeBuilder::new(salt);
    builder.update(data);
    Ok([data, &builder.finish()?.tree].concat())
}

/// A chunk index, its image and what a slot holds, as the target takes them.
fn delta(name: &str, image: &[u8], old: &[u8], index: ChunkIndex) -> Result<()> {
    let index = index.to_bytes();
    let lengths = [index.len() as u16, image.len() as u16]
        .map(u16::to_le_bytes)
        .concat();
    seed("chunk_index", name, [&lengths, &index, image, old].concat())
}

/// The payload of a bundle of two files, as we write it.
fn payload() -> Result<Vec<u8>> {
    let input = |name: &str, content: &'static [u8]| -> Result<Input<'_>> {
        Ok(Input {
            name: FileName::new(name)?,
            size: content.len() as u64,
            content: Box::new(content),
            block_hash_index: false,
            chunks: None,
        })
    };
    let template = Template {
        compatible: "hearth-fuzz".into(),
        ..Template::default()
    };
    let inputs = vec![input("boot.img", b"boot")?, input("rootfs.img", &[7; 4096])?];
    let mut out = Cursor::new(Vec::new());
    let unsigned = |_: &[u8]| Ok::<_, std::io::Error>(vec![1]);
    let written = write(template, inputs, None, unsigned, &mut out)?;
    let mut bytes = out.into_inner();
    // The payload alone: without the tree and the nine bytes behind it.
    bytes.truncate(bytes.len() - 9 - written.manifest.format.tree().size as usize);
    Ok(bytes)
}

/// Bytes that do not repeat.
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_u32;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as u8
    };
    (0..len).map(|_| next()).collect()
}

/// Volumes by dosfstools and mtools lie in the folder; here is what is wrong with one.
fn volumes() -> Result<()> {
    let volume = std::fs::read(Path::new(CORPUS).join("fat_image/valid-fat12"))?;
    seed("fat_image", "boot-sector-alone", &volume[..512])?;
    // The root folder's first file begins where it is: a chain without an end.
    let mut looped = volume;
    looped[512..560].fill(0x33);
    seed("fat_image", "looped", looped)
}

fn updater() -> Result<()> {
    let good = encode_record(&Record::default()).map_err(anyhow::Error::msg)?;
    seed("updater_journal", "valid-idle", &good)?;
    let text = String::from_utf8(good)?;
    seed(
        "updater_journal",
        "newer-format",
        text.replace("\"format\":1", "\"format\":2"),
    )?;
    let bundle = Bundle {
        manifest_hash: ManifestHash([0xab; 32]),
        version: "1.2.3".into(),
        ..Bundle::default()
    };
    let record = Record {
        state: updater::state::State::Good {
            slot: ipc::boot_facts::Slot::B,
            bundle,
        },
        last_error: Some("Once.".into()),
        ..Record::default()
    };
    let good = encode_record(&record).map_err(anyhow::Error::msg)?;
    seed("updater_journal", "valid-good", good)?;
    seed(
        "updater_journal",
        "valid-line",
        r#"{"format":1,"value":{"unix_s":1780000000,"outcome":"failed","version":"1.2.3","slot":"b","sentence":"No."}}"#,
    )?;
    seed(
        "updater_journal",
        "valid-channel",
        r#"{"format":1,"value":{"serial":7,"checked_unix_s":5,"url":"https://updates.example/stable.hearth-channel","available":null}}"#,
    )?;
    seed(
        "updater_journal",
        "valid-of-a-newer-version",
        r#"{"format":1,"value":{"state":{"rolled-back":{"why":1}},"rollback_index":1,"failed":[],"more":[2]}}"#,
    )?;
    seed(
        "updater_journal",
        "valid-access",
        r#"{"format":1,"source":{"https":"https://a/b"},"tls_certificate":null,"tls_key":null,"tls_authorities":"/ca.pem","tls_no_verify":false,"headers":["A: b"]}"#,
    )?;
    seed("content_range", "valid", "bytes 0-99/1234")?;
    seed(
        "content_range",
        "valid-last",
        "bytes 0-18446744073709551613/18446744073709551614",
    )?;
    seed("content_range", "outside", "bytes 90-100/100")?;

    let default = updater::config::DEFAULT;
    seed("updater_settings", "valid-default", default)?;
    seed(
        "updater_settings",
        "valid-owners",
        "address = \"https://updates.example/hearth/\"\nname = \"beta\"\nmetered = true\n[quiet_hours]\nfrom = \"22:30\"\nto = \"06:00\"\n",
    )?;
    seed(
        "updater_settings",
        "valid-address",
        default.replace("address = \"\"", "address = \"https://updates.example\""),
    )?;
    seed(
        "updater_settings",
        "not-https",
        "address = \"http://updates.example\"",
    )?;

    seed("night", "valid-paris", time_zone(1_780_000_000, 2))?;
    seed("night", "valid-before-all", time_zone(-5_000_000_000, 2))?;
    seed("night", "version-1", time_zone(0, 1))?;
    seed("night", "empty", [])?;

    seed(
        "prose",
        "valid-list",
        "Faster and\nsafer.\n\n- Wi-Fi reconnects\n  after a night\n* <b>smaller</b>\n\nThanks.\r\n\r\n- one",
    )?;
    seed("prose", "valid-turned", "\u{202e}gnp.exe\u{7} &amp; <script>\n")?;
    seed("prose", "blank", "\n\n \t\n")
}

/// A time, then a TZif file (RFC 9636) with winter and summer.
fn time_zone(at: i64, version: u8) -> Vec<u8> {
    let header = |times: u32| {
        let counts = [0, 0, 0, times, 2, 9].map(u32::to_be_bytes).concat();
        [&b"TZif"[..], &[b'0' + version], &[0; 15], &counts].concat()
    };
    let kinds = [
        &3600_i32.to_be_bytes()[..],
        &[0, 0],
        &7200_i32.to_be_bytes(),
        &[1, 4],
    ]
    .concat();
    let names = b"CET\0CEST\0";
    let times = [1_774_746_000_i64, 1_792_890_000].map(i64::to_be_bytes).concat();
    [
        &at.to_le_bytes()[..],
        &header(0),
        &kinds,
        names,
        &header(2),
        &times,
        &[1, 0],
        &kinds,
        names,
        b"\nCET-1CEST,M3.5.0,M10.5.0/3\n",
    ]
    .concat()
}

/// Entries of a log of writes: first sector, sectors, flags, bytes of a mark; then data.
fn write_log() -> Result<()> {
    let log = |entries: &[([u64; 4], usize)]| {
        let mut bytes = sector([0x006a_7366_7773_6872, 1, entries.len() as u64, 512]);
        for (entry, data) in entries {
            bytes.extend(sector(*entry));
            bytes.resize(bytes.len() + data, 0x77);
        }
        bytes
    };
    let (flush, fua, discard, mark) = (1, 2, 4, 8);
    let all = [
        ([4, 2, 0, 0], 1024),
        ([0, 0, flush, 0], 0),
        ([0, 0, mark, 5], 512),
        ([8, 100, discard, 0], 0),
        ([6, 2, flush | fua, 0], 1024),
    ];
    seed("write_log", "valid-all", log(&all))?;
    seed("write_log", "valid-empty", log(&[]))?;
    seed("write_log", "behind-the-disk", log(&[([2047, 2, 0, 0], 1024)]))?;
    seed("write_log", "cut", &log(&all)[..2000])
}

fn sector(words: [u64; 4]) -> Vec<u8> {
    let mut sector = words.map(u64::to_le_bytes).concat();
    sector.resize(512, 0);
    sector
}

/// The base, `valid-waves`, is written by hand; the channel crate's own tests read it too.
fn channel_index() -> Result<()> {
    let base = std::fs::read_to_string(Path::new(CORPUS).join("channel_index/valid-waves"))?;
    let empty = base.split("[[").next().unwrap_or_default();
    seed("channel_index", "valid-empty", empty)?;
    let crl =
        "crls = \"\"\"\n-----BEGIN X509 CRL-----\nMAA=\n-----END X509 CRL-----\n\"\"\"\n\n[[compatible]]";
    seed(
        "channel_index",
        "valid-crl",
        base.replacen("[[compatible]]", crl, 1),
    )?;
    seed(
        "channel_index",
        "climbs",
        base.replace("\"bundles/", "\"../bundles/"),
    )?;
    seed(
        "channel_index",
        "newer-format",
        base.replace("format = 1", "format = 2"),
    )?;
    seed(
        "channel_index",
        "waves-backwards",
        base.replace("percent = 10 ", "percent = 1 "),
    )
}

fn main() -> Result<()> {
    hyper::seeds()?;
    channel_index()?;
    boot_state()?;
    boot_payload()?;
    disk_layout()?;
    boot_text()?;
    configuration()?;
    provisioner()?;
    bundles()?;
    containers()?;
    volumes()?;
    updater()?;
    write_log()?;
    web()
}
