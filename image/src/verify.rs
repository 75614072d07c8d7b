//! Re-reads a finished image with other people's tools: what is wrong is a list, empty when it is sound.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::process::Command;

use board_support::{Architecture, Board};
use boot_payload::{HEADER_LEN, Header, PartKind};
use object::elf::{FileHeader64, PT_DYNAMIC, PT_INTERP};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, elf};

use crate::cache::hex;
use crate::error::{BuildError, FileContext, Result};
use crate::program::run;
use crate::tree::{Node, Tree};

/// Most bytes of a `.img.zst` (raspberry-pi release) and of a root squashfs.
pub const COMPRESSED_BUDGET: u64 = 64 << 20;
/// Most bytes of a root squashfs.
pub const SQUASHFS_BUDGET: u64 = 48 << 20;

/// Budgets that are not kept.
pub fn budgets(board: &Board, profile: &str, squashfs: u64, compressed: u64) -> Vec<String> {
    let mut problems = Vec::new();
    if squashfs > SQUASHFS_BUDGET {
        problems.push(format!(
            "the root squashfs has {squashfs} bytes; the budget is {SQUASHFS_BUDGET}"
        ));
    }
    if board.name == "raspberry-pi" && profile == "release" && compressed > COMPRESSED_BUDGET {
        problems.push(format!(
            "the compressed image has {compressed} bytes; the budget is {COMPRESSED_BUDGET}"
        ));
    }
    problems
}

/// Every ELF file is of the right architecture, and its loader and libraries are there.
pub fn libraries(tree: &Tree, architecture: Architecture) -> Vec<String> {
    let mut problems = Vec::new();
    for (path, node) in tree.iter() {
        let Node::File { bytes, .. } = node else { continue };
        // What the `firmware` partition holds runs on other processors, such as the Pi's VideoCore.
        if !bytes.starts_with(b"\x7fELF") || path.starts_with(crate::build::FIRMWARE_FOLDER) {
            continue;
        }
        match needs(bytes) {
            Err(problem) => problems.push(format!("{path}: {problem}")),
            Ok(needs) if needs.machine != architecture.elf_machine() => {
                problems.push(format!(
                    "{path}: is for machine {} of the ELF list",
                    needs.machine
                ));
            }
            Ok(needs) => {
                let missing = needs
                    .libraries
                    .iter()
                    .filter(|name| !found(tree, name, architecture, path));
                problems.extend(missing.map(|name| format!("{path}: {name} is missing")));
                if let Some(loader) = needs.loader.filter(|l| tree.resolve(l).is_none()) {
                    problems.push(format!("{path}: its loader {loader} is missing"));
                }
            }
        }
    }
    problems
}

struct Needs {
    machine: u16,
    loader: Option<String>,
    libraries: Vec<String>,
}

fn needs(bytes: &[u8]) -> std::result::Result<Needs, String> {
    let bad = |e: object::Error| format!("not a sound ELF file: {e}");
    let header = FileHeader64::<Endianness>::parse(bytes).map_err(bad)?;
    let endian = header.endian().map_err(bad)?;
    let mut needs = Needs {
        machine: header.e_machine(endian).0,
        loader: None,
        libraries: Vec::new(),
    };
    if header.e_type(endian) == elf::ET_REL {
        return Ok(needs); // kernel modules
    }
    let segments = header.program_headers(endian, bytes).map_err(bad)?;
    // Addresses of the dynamic section are virtual: find them in the loaded segments.
    let at = |address: u64| {
        let inside = |s: &&object::elf::ProgramHeader64<Endianness>| {
            (s.p_vaddr(endian)..s.p_vaddr(endian) + s.p_filesz(endian)).contains(&address)
        };
        segments
            .iter()
            .find(inside)
            .map(|s| s.p_offset(endian) + (address - s.p_vaddr(endian)))
    };
    for segment in segments {
        if segment.p_type(endian) == PT_INTERP {
            let data = segment
                .data(endian, bytes)
                .map_err(|()| "its loader's name is outside of the file")?;
            needs.loader = Some(String::from_utf8_lossy(data).trim_end_matches('\0').to_string());
        }
        if segment.p_type(endian) != PT_DYNAMIC {
            continue;
        }
        let entries = segment.dynamic(endian, bytes).map_err(bad)?.unwrap_or_default();
        let value = |tag| {
            entries
                .iter()
                .find(|d| d.d_tag(endian) == tag)
                .map(|d| d.d_val(endian))
        };
        let Some(strings) = value(elf::DT_STRTAB).and_then(at) else {
            continue;
        };
        for entry in entries.iter().filter(|d| d.d_tag(endian) == elf::DT_NEEDED) {
            let start = (strings + entry.d_val(endian)) as usize;
            let text = bytes
                .get(start..)
                .and_then(|b| b.split(|c| *c == 0).next())
                .unwrap_or_default();
            needs.libraries.push(String::from_utf8_lossy(text).into_owned());
        }
    }
    Ok(needs)
}

fn found(tree: &Tree, name: &str, architecture: Architecture, user: &str) -> bool {
    let triplet = match architecture {
        Architecture::Arm64 => "aarch64-linux-gnu",
        Architecture::Amd64 => "x86_64-linux-gnu",
    };
    let beside = user.rsplit_once('/').map_or("", |(folder, _)| folder);
    [
        format!("usr/lib/{triplet}/{name}"),
        format!("usr/lib/{name}"),
        format!("usr/lib/{triplet}/systemd/{name}"),
        format!("{beside}/{name}"),
    ]
    .iter()
    .any(|path| tree.resolve(path).is_some())
}

/// Checks a raw image with sfdisk, fsck.fat, unsquashfs, veritysetup, e2fsck and debugfs. `scratch` is made and removed.
pub fn image(path: &Path, board: &Board, scratch: &Path) -> Result<Vec<String>> {
    std::fs::create_dir_all(scratch).at("create", scratch)?;
    let problems = check(path, board, scratch);
    let _ = std::fs::remove_dir_all(scratch);
    problems
}

fn check(path: &Path, board: &Board, scratch: &Path) -> Result<Vec<String>> {
    let mut problems = Vec::new();
    let mut expect = |what: &str, result: Result<Vec<u8>>| match result {
        Ok(out) => out,
        Err(e) => {
            problems.push(format!("{what}: {e}"));
            Vec::new()
        }
    };
    let table = expect("partition table", run(tool("sfdisk").arg("--json").arg(path)));
    expect("partition table", run(tool("sfdisk").arg("--verify").arg(path)));
    let table: serde_json::Value = serde_json::from_slice(&table).unwrap_or_default();
    let listed = table["partitiontable"]["partitions"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let names: Vec<&str> = listed.iter().filter_map(|p| p["name"].as_str()).collect();
    if names != crate::disk::PARTITIONS {
        problems.push(format!("sfdisk sees the partitions {names:?}"));
        return Ok(problems);
    }
    let place = |name: &str| {
        let entry = listed.iter().find(|p| p["name"] == name);
        let number = |key: &str| entry.and_then(|p| p[key].as_u64()).unwrap_or_default() * 512;
        (number("start"), number("size"))
    };
    let mut image = File::open(path).at("open", path)?;
    let mut extract = |name: &str, length: Option<u64>| -> Result<std::path::PathBuf> {
        let (start, size) = place(name);
        let target = scratch.join(name);
        copy_sparse(&mut image, start, length.unwrap_or(size), &target).at("extract", &target)?;
        Ok(target)
    };

    let mut expect = |what: &str, result: Result<Vec<u8>>| match result {
        Ok(out) => String::from_utf8_lossy(&out).into_owned(),
        Err(e) => {
            problems.push(format!("{what}: {e}"));
            String::new()
        }
    };
    let firmware = extract("firmware", None)?;
    expect("FAT partition", run(tool("fsck.fat").arg("-n").arg(&firmware)));
    let listing = expect(
        "FAT partition",
        run(Command::new("mdir")
            .args(["-b", "-/", "-i"])
            .arg(&firmware)
            .arg("::")),
    );
    let data = extract("data", None)?;
    expect("data", run(tool("e2fsck").arg("-fn").arg(&data)));
    let files = expect("data", run(tool("debugfs").args(["-R", "ls -p /"]).arg(&data)));
    let root = extract("root-a", None)?;
    let mut later = Vec::new();
    if !listing
        .to_ascii_uppercase()
        .contains(&board.architecture.efi_boot_path().to_ascii_uppercase())
    {
        later.push(format!(
            "FAT partition: {} is missing",
            board.architecture.efi_boot_path()
        ));
    }
    for line in files.lines() {
        let name = line.split('/').nth(5).unwrap_or_default();
        if !matches!(name, "" | "." | ".." | "lost+found") {
            later.push(format!(
                "data: the image ships {name:?}, but must ship no file there"
            ));
        }
    }
    for slot in ["boot-a", "boot-b"] {
        let boot = extract(slot, None)?;
        match payload(&boot)? {
            Err(problem) => later.push(format!("{slot}: {problem}")),
            Ok(command_line) => {
                let word = |key: &str| {
                    command_line
                        .split(' ')
                        .find_map(|w| w.strip_prefix(key))
                        .unwrap_or_default()
                        .to_string()
                };
                let blocks: u64 = word("hearth.root-blocks=").parse().unwrap_or_default();
                let (a, b) = (slot.replace("boot", "root"), place(&slot.replace("boot", "root")));
                let device = if a == "root-a" {
                    root.clone()
                } else {
                    extract(&a, Some(b.1))?
                };
                let verified = run(tool("veritysetup")
                    .args([
                        "verify",
                        "--no-superblock",
                        "--data-block-size=4096",
                        "--hash-block-size=4096",
                    ])
                    .arg(format!("--data-blocks={blocks}"))
                    .arg(format!("--hash-offset={}", blocks * 4096))
                    .arg(format!("--salt={}", word("hearth.root-salt=")))
                    .args([&device, &device])
                    .arg(word("hearth.root-hash=")));
                if let Err(e) = verified {
                    later.push(format!("{a}: verity: {e}"));
                }
            }
        }
    }
    let listing = run(Command::new("unsquashfs").args(["-lls", "-d", ""]).arg(&root));
    match listing {
        Err(e) => later.push(format!("root-a: {e}")),
        Ok(out) => {
            let text = String::from_utf8_lossy(&out);
            for line in text.lines().filter(|l| l.starts_with(['-', 'd', 'l'])) {
                let words: Vec<&str> = line.split_whitespace().collect();
                if words
                    .get(1)
                    .is_some_and(|owner| *owner != "root/root" && *owner != "0/0")
                {
                    later.push(format!("root-a: not owned by root: {line}"));
                }
                if words
                    .first()
                    .is_some_and(|mode| mode.contains('s') || mode.contains('S'))
                {
                    later.push(format!("root-a: set-uid or set-gid: {line}"));
                }
            }
        }
    }
    problems.extend(later);
    Ok(problems)
}

/// Parses a boot slot and checks every hash; the command line on success.
fn payload(path: &Path) -> Result<std::result::Result<String, String>> {
    let bytes = std::fs::read(path).at("read", path)?;
    let Some(head) = bytes.first_chunk::<HEADER_LEN>() else {
        return Ok(Err("too short".into()));
    };
    let header = match Header::parse(head, bytes.len() as u64) {
        Ok(header) => header,
        Err(e) => return Ok(Err(e.to_string())),
    };
    let mut command_line = String::new();
    for kind in PartKind::ALL {
        let part = header.part(kind);
        let stored = &bytes[part.offset() as usize..][..part.stored_len() as usize];
        if crate::cache::hash(stored) != hex(part.sha256()) {
            return Ok(Err(format!("{kind:?} does not match its hash")));
        }
        if kind == PartKind::CommandLine {
            command_line = String::from_utf8_lossy(stored).into_owned();
        }
    }
    Ok(Ok(command_line))
}

fn tool(name: &str) -> Command {
    for folder in ["/usr/sbin", "/sbin", "/usr/bin"] {
        let path = format!("{folder}/{name}");
        if Path::new(&path).exists() {
            return Command::new(path);
        }
    }
    Command::new(name)
}

fn copy_sparse(from: &mut File, start: u64, length: u64, to: &Path) -> std::io::Result<()> {
    let mut out = File::create(to)?;
    out.set_len(length)?;
    from.seek(SeekFrom::Start(start))?;
    let mut buffer = vec![0; 1 << 18];
    let mut at = 0;
    while at < length {
        let n = (length - at).min(buffer.len() as u64) as usize;
        from.read_exact(&mut buffer[..n])?;
        if buffer[..n].iter().any(|b| *b != 0) {
            out.seek(SeekFrom::Start(at))?;
            out.write_all(&buffer[..n])?;
        }
        at += n as u64;
    }
    Ok(())
}

/// As [`image`], as an error.
pub fn require_sound(path: &Path, board: &Board, scratch: &Path) -> Result<()> {
    let problems = image(path, board, scratch)?;
    if problems.is_empty() {
        Ok(())
    } else {
        Err(BuildError::Unsound(problems))
    }
}
