use std::fs;

use bundle::manifest::{FileName, META_GROUP, ROLLBACK_INDEX, Template, TemplateImage};
use bundle::write::{Input, write};
use tempfile::TempDir;

use super::*;

/// 2026-08-31 14:05 UTC.
const NOW: UnixTime = UnixTime(1_788_185_100);
const PC: &str = "hearth-pc-x86_64";

/// An operator's desk: keys, bundles, the folder that is served.
struct Desk {
    folder: TempDir,
    signer: Signer,
    trust: Trust,
}

impl Desk {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let keys = folder.path().join("keys");
        update_keys::create(&keys).unwrap();
        let signer = Signer::new(
            &keys.join("signer.key.pem").to_string_lossy(),
            &keys.join("signer.cert.pem"),
        )
        .unwrap();
        let trust = Trust::new(fs::read_to_string(keys.join("root.cert.pem")).unwrap());
        Self {
            folder,
            signer,
            trust,
        }
    }

    fn out(&self) -> PathBuf {
        self.folder.path().join("served")
    }

    fn bundle(&self, compatible: &str, version: Option<&str>) -> PathBuf {
        self.bundle_with(compatible, version, "0")
    }

    fn bundle_with(&self, compatible: &str, version: Option<&str>, rollback_index: &str) -> PathBuf {
        let path = self
            .folder
            .path()
            .join(format!("{compatible}-{}.raucb", version.unwrap_or("none")));
        let name = FileName::new("root.img").unwrap();
        let template = Template {
            compatible: compatible.into(),
            version: version.map(Into::into),
            description: Some("Faster start.".into()),
            images: vec![TemplateImage::new("rootfs", name.clone())],
            meta: [(
                META_GROUP.into(),
                [(ROLLBACK_INDEX.into(), rollback_index.into())].into(),
            )]
            .into(),
            ..Template::default()
        };
        let content = format!("{compatible} {version:?} ").repeat(2000);
        let input = Input {
            name,
            content: Box::new(content.as_bytes()),
            size: content.len() as u64,
            block_hash_index: false,
            chunks: None,
        };
        let mut out = fs::File::options()
            .create(true)
            .truncate(true)
            .read(true)
            .write(true)
            .open(&path)
            .unwrap();
        let sign = |text: &[u8]| self.signer.sign(text, NOW).map_err(|error| error.to_string());
        write(template, vec![input], None, sign, &mut out).unwrap();
        path
    }

    fn request(&self, bundles: &[&Path]) -> Request {
        Request {
            channel: ChannelName::parse("stable").unwrap(),
            folder: self.out(),
            bundles: bundles.iter().map(|path| path.to_path_buf()).collect(),
            waves: Vec::new(),
            upgrade_from: None,
            critical: false,
            lifetime_s: 30 * DAY_S,
            stop: None,
            crls: None,
            new_channel: false,
            new_board: false,
            anew: false,
        }
    }

    fn perform(&self, request: &Request, later_s: u64) -> Result<Done> {
        perform(request, &self.signer, &self.trust, UnixTime(NOW.0 + later_s))
    }

    fn refusal(&self, request: &Request, later_s: u64) -> String {
        let before = self.files();
        let error = self.perform(request, later_s).err().expect("it is refused");
        assert_eq!(self.files(), before, "a refused publication changes nothing");
        format!("{error:#}")
    }

    /// Every file that is served, with its content.
    fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let mut files = Vec::new();
        let mut folders = vec![self.out()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(&folder).into_iter().flatten() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    files.push((path.clone(), fs::read(path).unwrap()));
                }
            }
        }
        files.sort();
        files
    }
}

fn version(text: &str) -> Version {
    Version::parse(text).unwrap()
}

#[test]
fn a_box_finds_below_the_index_exactly_the_bundle_that_was_published() {
    let desk = Desk::new();
    let pi = desk.bundle("hearth-raspberry-pi", Some("1.1.0+pi"));
    let pc = desk.bundle(PC, Some("1.1.0"));
    let done = desk.perform(&desk.request(&[&pi, &pc]), 0).unwrap();
    let der = fs::read(&done.path).unwrap();
    let opened = channel::open(&der, &desk.trust, NOW, &ChannelName::parse("stable").unwrap()).unwrap();
    let device = channel::Device {
        compatible: "hearth-raspberry-pi",
        version: "1.0.0",
        id: channel::DeviceId::from_machine_id("1"),
        minimum_version: None,
        failed: &[],
    };
    let channel::Decision::Offered { release, .. } = channel::decide(&opened.index, &device, NOW, None)
    else {
        panic!("nothing is offered");
    };
    assert_eq!(release.description, "Faster start.");
    let served = desk.out().join(release.bundle.as_str());
    assert_eq!(fs::read(&served).unwrap(), fs::read(&pi).unwrap());
    assert_eq!(fs::metadata(&served).unwrap().len(), release.size_bytes);
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(
        fs::metadata(&served).unwrap().permissions().mode() & 0o777,
        0o644,
        "a web server can read it"
    );
    assert_eq!(
        fs::metadata(&done.path).unwrap().permissions().mode() & 0o777,
        0o644
    );
    assert!(!served.to_string_lossy().contains('+'), "{}", served.display());
}

#[test]
fn each_publication_raises_the_serial_and_keeps_what_was_there() {
    let desk = Desk::new();
    let first = desk
        .perform(&desk.request(&[&desk.bundle(PC, Some("1.1.0"))]), 0)
        .unwrap()
        .index;
    let request = Request {
        waves: parse_waves("1%@+0h,100%@+24h", NOW).unwrap(),
        upgrade_from: Some(version("1.1.0")),
        critical: true,
        ..desk.request(&[&desk.bundle(PC, Some("1.2.0"))])
    };
    let second = desk.perform(&request, 0).unwrap().index;
    assert!(second.serial > first.serial);
    let releases = &second.compatible(PC).unwrap().releases;
    assert_eq!(releases.len(), 2);
    assert_eq!(releases[1], first.compatible(PC).unwrap().releases[0]);
    assert!(releases[0].critical && releases[0].waves.len() == 2);
    let line = report::offer(&releases[0], NOW);
    assert!(
        line.contains("critical): 1 % of boxes from 1.1.0 on now, 100 % from 2026-09-01 14:05 UTC"),
        "{line}"
    );
    let renewed = desk.perform(&desk.request(&[]), 5).unwrap().index;
    assert_eq!(
        (renewed.serial, &renewed.compatibles),
        (NOW.0 + 5, &second.compatibles)
    );
}

#[test]
fn a_stopped_version_is_offered_to_nobody_until_it_is_resumed() {
    let desk = Desk::new();
    desk.perform(&desk.request(&[&desk.bundle(PC, Some("1.1.0"))]), 0)
        .unwrap();
    let stop = Request {
        stop: Some((version("1.1.0"), true)),
        ..desk.request(&[])
    };
    let done = desk.perform(&stop, 1).unwrap();
    let json = report::json(&done, NOW);
    assert_eq!(json["compatibles"][0]["releases"][0]["percent_now"], 0);
    assert!(report::offer(&done.index.compatibles[0].releases[0], NOW).contains("offered to nobody"));
    let resume = Request {
        stop: Some((version("1.1.0"), false)),
        ..desk.request(&[])
    };
    let done = desk.perform(&resume, 2).unwrap();
    assert_eq!(
        report::json(&done, UnixTime(NOW.0 + 2))["compatibles"][0]["releases"][0]["percent_now"],
        100
    );
    let unknown = Request {
        stop: Some((version("3.0.0"), true)),
        ..desk.request(&[])
    };
    assert!(desk.refusal(&unknown, 3).contains("it has 1.1.0"));
}

#[test]
fn each_mistake_of_an_operator_is_refused_before_anything_is_changed() {
    let desk = Desk::new();
    let first = desk.bundle(PC, Some("1.1.0"));
    let typo = Request {
        channel: ChannelName::parse("stabel").unwrap(),
        ..desk.request(&[&first])
    };
    assert!(desk.refusal(&typo, 0).contains("--new-channel"));
    assert!(desk.refusal(&desk.request(&[]), 0).contains("give --bundle"));
    desk.perform(&desk.request(&[&first]), 0).unwrap();

    let refused = |bundle: &Path| desk.refusal(&desk.request(&[bundle]), 10);
    assert!(refused(&desk.bundle(PC, Some("1.0.9"))).contains("a version above 1.1.0"));
    assert!(refused(&desk.bundle(PC, None)).contains("names no version"));
    assert!(refused(&desk.bundle("hearth-qemu-arm64", Some("1.2.0"))).contains("--new-board"));
    assert!(refused(&desk.bundle(PC, Some("01.2.0"))).contains("is not a version"));
    assert!(refused(Path::new("nowhere.raucb")).contains("nowhere.raucb"));

    let foreign = Desk::new();
    let foreign = perform(
        &desk.request(&[&desk.bundle(PC, Some("1.2.0"))]),
        &foreign.signer,
        &desk.trust,
        NOW,
    );
    let error = format!("{:#}", foreign.err().expect("a foreign signer is refused"));
    assert!(error.contains("every box would refuse the new index"), "{error}");

    // 2045: the development certificates are expired.
    let late = desk.refusal(&desk.request(&[]), 600_000_000);
    assert!(late.contains("expired since"), "{late}");
}

#[test]
fn a_bundle_that_boxes_would_refuse_for_its_rollback_index_is_not_published() {
    let desk = Desk::new();
    let raised = desk.bundle_with(PC, Some("1.1.0"), "3");
    let done = desk.perform(&desk.request(&[&raised]), 0).unwrap();
    assert_eq!(done.index.compatibles[0].releases[0].rollback_index, 3);
    let refused = |version, index| {
        let bundle = desk.bundle_with(PC, Some(version), index);
        desk.refusal(&desk.request(&[&bundle]), 10)
    };
    let error = refused("1.2.0", "2");
    assert!(error.contains("rollback_index = 3 or more"), "{error}");
    assert!(refused("1.2.1", "-1").contains("is no number"));
    let stop = Request {
        stop: Some((version("1.1.0"), true)),
        ..desk.request(&[])
    };
    desk.perform(&stop, 11).unwrap();
    assert!(refused("1.2.2", "0").contains("1.1.0"), "it was good somewhere");
    let enough = desk.bundle_with(PC, Some("1.2.3"), "3");
    desk.perform(&desk.request(&[&enough]), 12).unwrap();
}

#[test]
fn a_bundle_of_another_signer_or_with_a_flipped_bit_is_not_published() {
    let desk = Desk::new();
    let other = Desk::new();
    let theirs = other.bundle(PC, Some("1.2.0"));
    let error = desk.refusal(&desk.request(&[&theirs]), 0);
    assert!(
        error.contains("the signature of the bundle is refused"),
        "{error}"
    );
    let path = desk.bundle(PC, Some("1.2.0"));
    let mut bytes = fs::read(&path).unwrap();
    bytes[200] ^= 1;
    fs::write(&path, bytes).unwrap();
    desk.refusal(&desk.request(&[&path]), 0);
}

#[test]
fn a_damaged_index_stops_everything_until_it_is_begun_anew() {
    let desk = Desk::new();
    let bundle = desk.bundle(PC, Some("1.1.0"));
    let done = desk.perform(&desk.request(&[&bundle]), 0).unwrap();
    let mut bytes = fs::read(&done.path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&done.path, &bytes).unwrap();
    assert!(desk.refusal(&desk.request(&[]), 1).contains("--anew"));
    let anew = Request {
        anew: true,
        ..desk.request(&[&bundle])
    };
    assert!(desk.perform(&anew, 2).unwrap().index.serial > done.index.serial);
}

#[test]
fn one_publishes_at_a_time() {
    let desk = Desk::new();
    let held = Folder::open(&desk.out()).unwrap();
    let error = desk.refusal(&desk.request(&[&desk.bundle(PC, Some("1.1.0"))]), 0);
    assert!(error.contains("somebody else publishes"), "{error}");
    drop(held);
}

#[test]
fn showing_a_folder_says_which_index_is_refused() {
    let desk = Desk::new();
    desk.perform(&desk.request(&[&desk.bundle(PC, Some("1.1.0"))]), 0)
        .unwrap();
    report::show(&desk.out(), &desk.trust, NOW).unwrap();
    let late = UnixTime(NOW.0 + 31 * DAY_S);
    assert!(
        report::show(&desk.out(), &desk.trust, late)
            .unwrap_err()
            .to_string()
            .contains("stable")
    );
    assert!(report::show(&desk.out(), &Desk::new().trust, NOW).is_err());
    assert!(
        report::show(desk.folder.path(), &desk.trust, NOW)
            .unwrap_err()
            .to_string()
            .contains("holds no index")
    );
}

#[test]
fn revocation_lists_travel_in_the_index_until_others_replace_them() {
    let desk = Desk::new();
    let crls = fs::read_to_string(desk.folder.path().join("keys/crl.pem")).unwrap();
    let request = Request {
        crls: Some(crls.clone()),
        ..desk.request(&[&desk.bundle(PC, Some("1.1.0"))])
    };
    desk.perform(&request, 0).unwrap();
    let renewed = desk.perform(&desk.request(&[]), 1).unwrap();
    assert_eq!(renewed.index.crls, Some(crls));
    let foreign = fs::read_to_string(Desk::new().folder.path().join("keys/crl.pem")).unwrap();
    let wrong = Request {
        crls: Some(foreign),
        ..desk.request(&[])
    };
    assert!(
        desk.refusal(&wrong, 2)
            .contains("every box would refuse the new index")
    );
}
