//! `xtask flash`: an image onto a card, and proof that it is there.

mod aligned;
mod bmap;
mod disks;
mod source;
mod write;

use std::io::{BufRead, ErrorKind, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use image_builder::progress::Console;

use disks::{Connection, Disk};
use source::Image;

/// Write an image to a card or USB disk, and read it back.
///
/// Without --device it shows the cards and USB disks that are there.
///
/// A disk is refused when it is mounted or otherwise in use, holds this computer's system, is
/// built in, write-protected or too small, or is only a partition; each refusal says what to do.
/// Nothing is written before the disk's name was typed.
///
/// The image is checked against its block map (the .bmap beside it) before anything is written.
/// The beginning of the disk comes last, after all the rest was read back: a card that was
/// interrupted does not start.
///
/// Disks belong to root, but cargo should not run as root. So look first, then write:
///
///     cargo xtask flash
///     sudo target/debug/xtask flash --image out/hearth-….img.zst --device /dev/sdX
#[derive(Debug, Args)]
#[command(verbatim_doc_comment)]
pub struct Options {
    /// The image: .img or .img.zst
    #[arg(long, value_name = "FILE")]
    image: Option<PathBuf>,
    /// The disk, such as /dev/sdb; everything on it is lost
    #[arg(long, value_name = "DISK", requires = "image")]
    device: Option<PathBuf>,
    /// Show the cards and USB disks, and do nothing else
    #[arg(long, conflicts_with = "device")]
    list: bool,
    /// With --list: for programs
    #[arg(long, requires = "list")]
    json: bool,
    /// Do not ask: the name of the disk that may be erased, such as sdb
    #[arg(long, value_name = "NAME", requires = "device")]
    yes_erase: Option<String>,
    /// Also allow (and list) disks that are built in; never the one this computer runs from
    #[arg(long)]
    even_if_not_removable: bool,
}

static STOP: AtomicBool = AtomicBool::new(false);

/// The verb.
pub fn flash(options: &Options) -> Result<()> {
    let root = Path::new("/");
    let all = disks::scan(root)?;
    let image = options
        .image
        .as_deref()
        .filter(|_| !options.list)
        .map(Image::open)
        .transpose()?;
    let (Some(image), Some(device)) = (&image, &options.device) else {
        list(&all, options, image.map(|image| image.bytes))?;
        ensure!(
            options.list,
            "nothing was written: say what and where with `--image FILE --device /dev/NAME`"
        );
        return Ok(());
    };
    let disk = disks::find(root, &all, &kernel_name(device)?)?;
    if let Some(reason) = disks::refusal(disk, Some(image.bytes), options.even_if_not_removable) {
        bail!(reason);
    }
    // Held from here on: nothing can mount it while a person reads the question.
    let target = write::open(&disk.path).map_err(|e| cannot_open(e, disk, options))?;
    write::require_disk(&target, disk.number, &disk.name)?;
    confirm(disk, options.yes_erase.as_deref())?;
    // A second Ctrl-C does not wait for a card that hangs.
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::Relaxed) {
            eprintln!("\nerror: stopped in the middle: the disk cannot be used until it is flashed again");
            std::process::exit(130);
        }
    })
    .context("cannot catch Ctrl-C")?;
    let stop = || STOP.load(Ordering::Relaxed);
    if image.map.is_none() {
        eprintln!(
            "  there is no block map beside the image: it is written whole, and cannot be checked before"
        );
    }
    write::check(image, &Console, &stop).with_context(|| format!("{} is as it was", disk.name))?;
    write::write(image, &target, disk.size_bytes, &Console, &stop)
        .with_context(|| format!("{} cannot be used until it is flashed again", disk.name))?;
    println!(
        "{} is written and read back. Take it out, put it into the board, switch the power on, and after a minute open \
         http://hearth.local",
        disk.name
    );
    Ok(())
}

/// `sdb` for `sdb`, `/dev/sdb` and `/dev/disk/by-id/…`.
fn kernel_name(device: &Path) -> Result<String> {
    let path = Path::new("/dev").join(device);
    let path = std::fs::canonicalize(&path).with_context(|| {
        format!(
            "there is no {}: `cargo xtask flash --list` shows the disks that are there",
            path.display()
        )
    })?;
    let name = path
        .strip_prefix("/dev")
        .ok()
        .and_then(Path::to_str)
        .filter(|name| !name.is_empty());
    let name = name.with_context(|| {
        format!(
            "{} is not a disk: take one of `cargo xtask flash --list`",
            device.display()
        )
    })?;
    Ok(name.replace('/', "!"))
}

fn cannot_open(error: std::io::Error, disk: &Disk, options: &Options) -> anyhow::Error {
    let path = disk.path.display();
    match error.kind() {
        ErrorKind::PermissionDenied => anyhow::anyhow!(
            "only root may write to {path}. Paste this line:\n\n    {}\n",
            sudo_line(
                &std::env::current_exe().unwrap_or_default(),
                &std::env::current_dir().unwrap_or_default(),
                options
            )
        ),
        ErrorKind::ResourceBusy => {
            anyhow::anyhow!("{path} is in use by another program: close it, then run again")
        }
        ErrorKind::ReadOnlyFilesystem => anyhow::anyhow!(
            "{path} is write-protected: move the small switch on the side of the card, and put it in again"
        ),
        _ => anyhow::Error::new(error).context(format!(
            "cannot open {path}: put the card in again, then run again"
        )),
    }
}

/// The same command as root, without cargo (which would leave files of root's in `target`).
fn sudo_line(program: &Path, here: &Path, options: &Options) -> String {
    let program = match program.strip_prefix(here) {
        Ok(relative) if relative.components().count() > 1 => relative,
        _ => program,
    };
    let mut words = vec![
        "sudo".to_string(),
        quoted(&program.to_string_lossy()),
        "flash".into(),
    ];
    let mut option = |name: &str, value: Option<&str>| {
        if let Some(value) = value {
            words.extend([name.to_string(), quoted(value)]);
        }
    };
    option("--image", options.image.as_deref().and_then(Path::to_str));
    option("--device", options.device.as_deref().and_then(Path::to_str));
    option("--yes-erase", options.yes_erase.as_deref());
    if options.even_if_not_removable {
        words.push("--even-if-not-removable".into());
    }
    words.join(" ")
}

/// A word for a shell.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "/._-+:@%=,".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// As on the package of a card: powers of ten.
fn gigabytes(bytes: u64) -> String {
    format!("{}.{} GB", bytes / 1_000_000_000, bytes / 100_000_000 % 10)
}

/// Asks for the name of the disk. `yes_erase` is the answer where nobody can be asked.
fn confirm(disk: &Disk, yes_erase: Option<&str>) -> Result<()> {
    let name = &disk.name;
    if let Some(answer) = yes_erase {
        ensure!(
            answer == name,
            "--yes-erase says {answer}, but the disk is {name}: nothing was written"
        );
        return Ok(());
    }
    ensure!(
        std::io::stdin().is_terminal(),
        "nobody can be asked here (not a terminal): add `--yes-erase {name}` if everything on {name} may be lost"
    );
    eprintln!("\nEVERYTHING on this disk will be lost:\n\n{}", described(disk));
    eprint!("Type its name ({name}) to go on: ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    ensure!(answer.trim() == name, "that is not {name}: nothing was written");
    Ok(())
}

fn list(all: &[Disk], options: &Options, image_bytes: Option<u64>) -> Result<()> {
    let even = options.even_if_not_removable;
    let shown = all
        .iter()
        .filter(|disk| (disk.removable || even) && disk.size_bytes > 0);
    if options.json {
        let listed: Vec<_> = shown
            .map(|disk| Listed {
                disk,
                refusal: disks::refusal(disk, None, even),
            })
            .collect();
        println!("{}", serde_json::to_string_pretty(&listed)?);
        return Ok(());
    }
    let shown: Vec<&Disk> = shown.collect();
    if shown.is_empty() {
        println!("There is no card and no USB disk here: put one in, and run this again.");
    }
    for disk in shown {
        print!("{}", described(disk));
        match disks::refusal(disk, image_bytes, even) {
            Some(reason) => println!("    not now: {reason}\n"),
            None => println!("    --device {}\n", disk.path.display()),
        }
    }
    Ok(())
}

/// A disk in `--list --json`.
#[derive(serde::Serialize)]
struct Listed<'a> {
    #[serde(flatten)]
    disk: &'a Disk,
    /// Why it cannot be flashed now; null when it can.
    refusal: Option<String>,
}

fn described(disk: &Disk) -> String {
    let connection = match disk.connection {
        Connection::Usb => ", USB",
        Connection::SdCard => ", card slot",
        Connection::Other => "",
    };
    let mut text = format!(
        "  {}  {}, {}{connection}\n",
        disk.name,
        disk.model,
        gigabytes(disk.size_bytes)
    );
    for part in &disk.partitions {
        text += &format!("    {}  {}", part.name, gigabytes(part.size_bytes));
        text += &part
            .file_system
            .as_ref()
            .map(|f| format!(", {f}"))
            .unwrap_or_default();
        text += &part
            .label
            .as_ref()
            .map(|l| format!(", \"{l}\""))
            .unwrap_or_default();
        text += &part
            .mounted_at
            .iter()
            .map(|at| format!(", mounted at {at}"))
            .collect::<String>();
        text += "\n";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_for_sudo_names_the_program_itself_and_quotes_what_a_shell_would_split() {
        let options = Options {
            image: Some("my images/it's.img".into()),
            device: Some("/dev/sdb".into()),
            list: false,
            json: false,
            yes_erase: None,
            even_if_not_removable: true,
        };
        let line = sudo_line(
            Path::new("/src/hearth/target/debug/xtask"),
            Path::new("/src/hearth"),
            &options,
        );
        assert_eq!(
            line,
            r"sudo target/debug/xtask flash --image 'my images/it'\''s.img' --device /dev/sdb --even-if-not-removable"
        );
    }

    #[test]
    fn sizes_are_those_on_the_package() {
        assert_eq!(gigabytes(31_914_983_424), "31.9 GB");
        assert_eq!(gigabytes(536_870_912), "0.5 GB");
    }
}
