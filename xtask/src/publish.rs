//! `xtask publish`: bundles and the signed index of a channel, in a folder for a static web server.

mod folder;
mod report;
#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use bundle::cms::Signer as SignedBy;
use channel::edit::{Published, parse_span, parse_waves};
use channel::{ChannelName, Index, Location, Release, Trust, UnixTime, Wave, date};
use clap::Args;
use image_builder::bundle::Signer;
use image_builder::update_keys::{self, UpdateTrust};
use ipc::updater_version::Version;

use crate::bundle::Signing;
use folder::{Folder, Judged};

/// Channels that boxes can be set to; another one is made on purpose only.
const KNOWN: [&str; 2] = ["stable", "beta"];
const EXAMPLES: &str = "Examples:
  cargo xtask publish --channel beta --bundle out/hearth-pc-x86_64-release-1.2.3.raucb
  cargo xtask publish --channel stable --bundle out/*.raucb --wave 1%@+0h,10%@+24h,100%@+72h
  cargo xtask publish --channel stable --stop 1.2.3
  cargo xtask publish --show out/channels";
/// Clocks are not exact.
const DAY_S: u64 = 86_400;

/// Publish update bundles on a channel: writes the folder that a static web server or an S3 bucket serves.
///
/// The folder gets the bundles and, last, the signed index <channel>.hearth-channel, which boxes ask for. Serve it with
/// HTTPS and range requests; upload the bundles first, then the index. See docs/update-channels.md.
///
/// With neither --bundle nor --stop nor --resume the index is only renewed, which must happen before it expires. The same
/// --bundle again with another --wave changes its waves.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub struct Options {
    /// Print the indexes in this folder, checked, and change nothing
    #[arg(long, value_name = "FOLDER", conflicts_with_all = ["channel", "bundle", "stop", "resume", "crl", "json"])]
    show: Option<PathBuf>,
    /// stable or beta, or another with --new-channel
    #[arg(long, value_name = "NAME", required_unless_present = "show")]
    channel: Option<String>,
    /// Bundles to publish, one for each board
    #[arg(long, value_name = "FILE", num_args = 1..)]
    bundle: Vec<PathBuf>,
    /// The folder
    #[arg(long, value_name = "FOLDER", default_value = "out/channels")]
    out: PathBuf,
    /// Who gets it when, in steps from now on; without it everybody at once
    #[arg(long, value_name = "PERCENT@+TIME,…", requires = "bundle")]
    wave: Option<String>,
    /// The oldest version from which it may be installed
    #[arg(long, value_name = "VERSION", requires = "bundle")]
    upgrade_from: Option<String>,
    /// It mends something that should not wait: boxes install it without waiting for the night
    #[arg(long, requires = "bundle")]
    critical: bool,
    /// From when on boxes do nothing because of this index, unless it is renewed
    #[arg(long, value_name = "TIME", default_value = "30d")]
    expires: String,
    /// Offer this version to nobody any more
    #[arg(long, value_name = "VERSION")]
    stop: Option<String>,
    /// Offer it again
    #[arg(long, value_name = "VERSION", conflicts_with = "stop")]
    resume: Option<String>,
    /// Revocation lists (PEM) that boxes take over from this index; without it those of the last one stay
    #[arg(long, value_name = "PEM")]
    crl: Option<PathBuf>,
    #[command(flatten)]
    signing: Signing,
    /// Roots that boxes trust: bundles and index must satisfy them; without it the development root
    #[arg(long, value_name = "PEM")]
    keyring: Option<PathBuf>,
    /// Begin a channel that is neither stable nor beta
    #[arg(long)]
    new_channel: bool,
    /// Also a board that this channel has not served so far
    #[arg(long)]
    new_board: bool,
    /// Forget the index that is there: it is lost or damaged, or its signer was revoked. Publish every bundle again
    #[arg(long)]
    anew: bool,
    /// For machines
    #[arg(long)]
    json: bool,
}

/// What is to be done, understood.
struct Request {
    channel: ChannelName,
    folder: PathBuf,
    bundles: Vec<PathBuf>,
    waves: Vec<Wave>,
    upgrade_from: Option<Version>,
    critical: bool,
    lifetime_s: u64,
    stop: Option<(Version, bool)>,
    crls: Option<String>,
    new_channel: bool,
    new_board: bool,
    anew: bool,
}

/// What was done.
struct Done {
    index: Index,
    path: PathBuf,
    signer: SignedBy,
    notes: Vec<String>,
}

/// The verb.
pub fn publish(options: &Options) -> Result<()> {
    let now = crate::bundle::now();
    if let Some(folder) = &options.show {
        return report::show(folder, &trust(options.keyring.as_deref())?, now);
    }
    let request = Request::read(options, now)?;
    let signer = options.signing.signer().context(
        "nothing can be signed; give --key and --certificate as docs/update-keys.md makes them, or neither for development",
    )?;
    let done = perform(&request, &signer, &trust(options.keyring.as_deref())?, now)?;
    if options.json {
        println!("{:#}", report::json(&done, now));
    } else {
        report::print(&done, now);
    }
    Ok(())
}

/// Whom boxes trust before they read an index.
fn trust(keyring: Option<&Path>) -> Result<Trust> {
    let read = match keyring {
        Some(path) => UpdateTrust::read(path, None)?,
        None => {
            let (keys, _) = update_keys::development()?;
            UpdateTrust::read(&keys.keyring(), Some(&keys.crls()))?
        }
    };
    Ok(Trust::new(read.keyring_pem).with_crls(read.crls_pem))
}

impl Request {
    fn read(options: &Options, now: UnixTime) -> Result<Self> {
        let version = |key: &str, text: &Option<String>| {
            text.as_deref()
                .map(|text| Version::parse(text).with_context(|| format!("--{key}")))
                .transpose()
        };
        let stop = version("stop", &options.stop)?.map(|version| (version, true));
        let resume = version("resume", &options.resume)?.map(|version| (version, false));
        let crls = options.crl.as_deref().map(|path| {
            std::fs::read_to_string(path)
                .with_context(|| format!("cannot read the revocation list {}", path.display()))
        });
        let lifetime_s = parse_span(&options.expires).context("--expires")?;
        ensure!(
            lifetime_s >= DAY_S,
            "--expires: an index that holds for less than 1d is easily missed; give more"
        );
        Ok(Self {
            channel: ChannelName::parse(options.channel.as_deref().unwrap_or_default())
                .context("--channel")?,
            folder: options.out.clone(),
            bundles: options.bundle.clone(),
            waves: options
                .wave
                .as_deref()
                .map_or(Ok(Vec::new()), |text| parse_waves(text, now))
                .context("--wave")?,
            upgrade_from: version("upgrade-from", &options.upgrade_from)?,
            critical: options.critical,
            lifetime_s,
            stop: stop.or(resume),
            crls: crls.transpose()?,
            new_channel: options.new_channel,
            new_board: options.new_board,
            anew: options.anew,
        })
    }
}

/// Everything is judged first and the index is written last: when this fails, boxes see what they saw before.
fn perform(request: &Request, signer: &Signer, trust: &Trust, now: UnixTime) -> Result<Done> {
    let mut folder = Folder::open(&request.folder)?;
    let mut index = present(request, &folder, trust, now)?;
    if let Some(crls) = &request.crls {
        index.crls = Some(crls.clone());
    }
    let keyring = trust
        .clone()
        .with_crls(index.crls.clone().unwrap_or_default())
        .keyring()
        .context("--crl")?;
    let mut notes = Vec::new();
    let judged = request
        .bundles
        .iter()
        .map(|path| folder::judge(path, &keyring, now))
        .collect::<Result<Vec<_>>>()?;
    let served: Vec<String> = index.compatibles.iter().map(|entry| entry.name.clone()).collect();
    for bundle in &judged {
        notes.extend(add(request, &mut index, &served, bundle, now)?);
    }
    if let Some((version, stopped)) = &request.stop {
        let boards = index.set_stopped(version, *stopped)?.join(", ");
        let verb = if *stopped { "stopped" } else { "offered again" };
        notes.push(format!("{version} is {verb} for {boards}"));
    }
    index.renew(now, request.lifetime_s);
    // Before bundles are copied: most mistakes are found here.
    let text = index
        .to_toml()
        .context("the index would be refused by every box")?;
    let der = signer
        .sign(text.as_bytes(), now)
        .map_err(|error| anyhow!(error))?;
    let opened = channel::open(&der, trust, now, &request.channel).context(
        "every box would refuse the new index, so nothing was published. Is this the keyring that the boxes have, and is the signer's certificate valid?",
    )?;
    ensure!(
        opened.index == index,
        "the new index would be read as another one; nothing was published"
    );
    if opened.signer.not_after < index.expires.0 {
        notes.push(format!(
            "the signer's certificate expires on {}, before the index: from then on boxes refuse it",
            date(UnixTime(opened.signer.not_after))
        ));
    }
    for bundle in &judged {
        folder.put_bundle(bundle, &keyring, now)?;
    }
    let path = folder.put_index(&request.channel, &der)?;
    Ok(Done {
        index,
        path,
        signer: opened.signer,
        notes,
    })
}

/// The index that is published at the moment, verified; or a new one.
fn present(request: &Request, folder: &Folder, trust: &Trust, now: UnixTime) -> Result<Index> {
    let name = &request.channel;
    let path = folder.index_path(name);
    let Some(der) = folder.read_index(name)? else {
        let known = KNOWN.contains(&name.as_str());
        ensure!(
            known || request.new_channel,
            "there is no channel {name} in {} yet, and boxes are set to {}; mistyped? Add --new-channel to begin it",
            request.folder.display(),
            KNOWN.join(" or ")
        );
        ensure!(
            !request.bundles.is_empty(),
            "the channel {name} is new and would have no bundle; give --bundle (is --out the right folder?)"
        );
        return Ok(Index::new(name.clone(), now, request.lifetime_s));
    };
    if request.anew {
        return Ok(Index::new(name.clone(), now, request.lifetime_s));
    }
    let opened = channel::open(&der, trust, now, name).with_context(|| {
        format!(
            "the published index {} is refused; nothing was changed. If its signer was revoked or it is damaged, begin anew with --anew and every bundle",
            path.display()
        )
    })?;
    ensure!(
        opened.index.issued.0 <= now.0 + DAY_S,
        "the published index is of {}, and this machine's clock says {}; set the clock",
        date(opened.index.issued),
        date(now)
    );
    Ok(opened.index)
}

/// Adds one bundle to the index, which `served` those boards so far. Returns what a person should know.
fn add(
    request: &Request,
    index: &mut Index,
    served: &[String],
    bundle: &Judged,
    now: UnixTime,
) -> Result<Vec<String>> {
    let Judged {
        path,
        compatible,
        version,
        ..
    } = bundle;
    ensure!(
        served.is_empty() || served.contains(compatible) || request.new_board,
        "{} is for {compatible}, but {} serves {} so far; the wrong bundle? Add --new-board to serve that too",
        path.display(),
        request.channel,
        served.join(", ")
    );
    let release = Release {
        version: version.clone(),
        bundle: Location::parse(&bundle.location).with_context(|| path.display().to_string())?,
        manifest_hash: bundle.manifest_hash,
        size_bytes: bundle.size_bytes,
        description: bundle.description.clone(),
        upgrade_from: request.upgrade_from.clone(),
        rollback_index: bundle.rollback_index,
        critical: request.critical,
        stopped: false,
        published: now,
        waves: request.waves.clone(),
    };
    let published = index
        .publish(compatible, release)
        .with_context(|| path.display().to_string())?;
    Ok(match published {
        Published::Renewed => vec![format!(
            "{version} for {compatible} was published before: its waves are new"
        )],
        Published::New { dropped } => dropped
            .iter()
            .map(|old| {
                format!(
                    "{} for {compatible} is no longer in the index; {} may be deleted",
                    old.version, old.bundle
                )
            })
            .collect(),
    })
}
