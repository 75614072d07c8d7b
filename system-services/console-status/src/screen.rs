//! What stands on the screen, as a pure function of what is known.

use ipc::boot_facts::{BootFacts, DataState, Slot};
use ipc::settings::Settings;

use crate::addresses::{Address, url};
use crate::qr;

/// Columns of the smallest screen (VGA text mode).
const COLUMNS: usize = 80;

/// What is known now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    /// Facts of this boot, or why they cannot be read.
    pub facts: Result<BootFacts, String>,
    /// The settings, or why they cannot be read.
    pub settings: Result<Settings, String>,
    /// Usable addresses.
    pub addresses: Vec<Address>,
}

impl Known {
    /// The name under which the box answers by multicast DNS.
    fn local_name(&self) -> String {
        let host = match &self.settings {
            Ok(settings) => settings.host_name.as_str(),
            Err(_) => "hearth",
        };
        format!("{host}.local")
    }

    /// For tools that read the serial console; `None` while no browser could reach the page.
    pub fn machine_line(&self) -> Option<String> {
        url(&self.addresses).map(|url| format!("hearth: ready {url} name={}", self.local_name()))
    }
}

/// The screen: lines of at most 80 columns, the QR code last.
pub fn screen(known: &Known) -> String {
    let mut paragraphs = vec![title(&known.facts)];
    paragraphs.extend(warnings(known));
    let url = url(&known.addresses);
    paragraphs.push(invitation(known, url.as_deref()));
    if !known.addresses.is_empty() {
        let list: Vec<_> = known
            .addresses
            .iter()
            .map(|a| format!("{} ({})", a.ip, a.interface))
            .collect();
        paragraphs.push(format!("Addresses: {}", list.join(", ")));
    }
    let mut text: String = paragraphs.iter().map(|paragraph| wrap(paragraph)).collect();
    if let Some(code) = url.and_then(|url| qr::code(&url)) {
        text.push_str(&code);
        text.push('\n');
    }
    text
}

fn title(facts: &Result<BootFacts, String>) -> String {
    match facts {
        Ok(facts) => {
            let slot = match facts.slot {
                Slot::A => "a",
                Slot::B => "b",
            };
            format!("Hearth {} ({}), slot {slot}", facts.version, facts.profile)
        }
        Err(problem) => format!("Hearth (what started is unknown: {problem})"),
    }
}

fn warnings(known: &Known) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Ok(facts) = &known.facts {
        if facts.development_keys {
            warnings.push(
                "*** DEVELOPMENT KEYS: anyone can make software for this box. Not for real use. ***".into(),
            );
        }
        if facts.healed {
            warnings.push("Both copies of the system had failed to start; they were given new tries.".into());
        }
        match &facts.data {
            DataState::Mounted => {}
            DataState::Repaired => warnings.push("The data partition was repaired at this start.".into()),
            DataState::Damaged { reason } => warnings.push(format!(
                "*** THE DATA PARTITION IS DAMAGED *** {reason} Nothing was written to it. Restart the box once. If \
                 this stays, save what you need from the card with another computer and flash it anew."
            )),
        }
    }
    if let Err(problem) = &known.settings {
        warnings.push(format!("*** THE SETTINGS CANNOT BE READ *** {problem}"));
    }
    warnings
}

/// What the person in front of the screen does next.
fn invitation(known: &Known, url: Option<&str>) -> String {
    let name = known.local_name();
    let Some(url) = url else {
        return "Waiting for the network: plug in a network cable.".into();
    };
    let places = format!("http://{name} or {}", url.trim_end_matches('/'));
    let damaged = matches!(&known.facts, Ok(facts) if matches!(facts.data, DataState::Damaged { .. }));
    match &known.settings {
        Ok(settings) if settings.provisioned => format!("Ready: {places}"),
        Ok(_) if !damaged => format!("Open {places} in a browser to set up."),
        _ => format!("Open {places} in a browser to see more."),
    }
}

/// Breaks at spaces. Characters that could command a terminal become `?`: reasons come from foreign bytes.
fn wrap(paragraph: &str) -> String {
    let clean: String = paragraph
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .collect();
    let mut text = String::new();
    let mut column = 0;
    for word in clean.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > COLUMNS - 1 {
            text.push('\n');
            column = 0;
        } else if column > 0 {
            text.push(' ');
            column += 1;
        }
        text.push_str(word);
        column += length;
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use ipc::settings::{AccountName, HostName};

    fn known() -> Known {
        let facts = BootFacts {
            slot: Slot::A,
            healed: false,
            version: "0.1.0".into(),
            rollback_index: 0,
            profile: "release".into(),
            board: "raspberry-pi".into(),
            development_keys: false,
            disk: "/dev/mmcblk0".into(),
            data_device: "/dev/mmcblk0p7".into(),
            bootstate_device: "/dev/mmcblk0p2".into(),
            data: DataState::Mounted,
            handed_over_ms: 4000,
        };
        let address = |ip: &str| Address {
            ip: ip.parse().unwrap(),
            interface: "end0".into(),
        };
        Known {
            facts: Ok(facts),
            settings: Ok(Settings::default()),
            addresses: vec![address("192.168.1.20"), address("fd00::7")],
        }
    }

    /// The lines before the QR code.
    fn text(known: &Known) -> String {
        screen(known)
            .lines()
            .take_while(|line| !line.starts_with('█'))
            .map(|line| format!("{line}\n"))
            .collect()
    }

    #[test]
    fn an_unclaimed_box_invites_to_set_up_and_shows_one_qr_code() {
        assert_eq!(
            text(&known()),
            "Hearth 0.1.0 (release), slot a\n\
             Open http://hearth.local or http://192.168.1.20 in a browser to set up.\n\
             Addresses: 192.168.1.20 (end0), fd00::7 (end0)\n"
        );
        assert!(screen(&known()).ends_with(&format!("{}\n", qr::code("http://192.168.1.20/").unwrap())));
        assert_eq!(
            known().machine_line().unwrap(),
            "hearth: ready http://192.168.1.20/ name=hearth.local"
        );
    }

    #[test]
    fn a_finished_box_says_its_own_name() {
        let mut known = known();
        known.settings = Ok(Settings {
            provisioned: true,
            administrator: Some(AccountName::parse("ada").unwrap()),
            host_name: HostName::parse("attic").unwrap(),
            ..Settings::default()
        });
        known.addresses.truncate(1);
        assert_eq!(
            text(&known),
            "Hearth 0.1.0 (release), slot a\n\
             Ready: http://attic.local or http://192.168.1.20\n\
             Addresses: 192.168.1.20 (end0)\n"
        );
    }

    #[test]
    fn without_an_address_it_says_what_to_do_and_shows_no_code() {
        let mut known = known();
        known.addresses.clear();
        assert_eq!(
            screen(&known),
            "Hearth 0.1.0 (release), slot a\nWaiting for the network: plug in a network cable.\n"
        );
        assert_eq!(known.machine_line(), None);
    }

    #[test]
    fn every_warning_is_loud_and_damaged_data_never_invites_to_set_up() {
        let mut known = known();
        if let Ok(facts) = &mut known.facts {
            facts.development_keys = true;
            facts.healed = true;
            facts.data = DataState::Damaged {
                reason: "e2fsck gave up.\u{1b}[2J".into(),
            };
        }
        assert_eq!(
            text(&known),
            "Hearth 0.1.0 (release), slot a\n\
             *** DEVELOPMENT KEYS: anyone can make software for this box. Not for real use.\n\
             ***\n\
             Both copies of the system had failed to start; they were given new tries.\n\
             *** THE DATA PARTITION IS DAMAGED *** e2fsck gave up.?[2J Nothing was written\n\
             to it. Restart the box once. If this stays, save what you need from the card\n\
             with another computer and flash it anew.\n\
             Open http://hearth.local or http://192.168.1.20 in a browser to see more.\n\
             Addresses: 192.168.1.20 (end0), fd00::7 (end0)\n"
        );
    }

    #[test]
    fn the_usual_screen_fits_the_smallest_text_mode() {
        let mut known = known();
        if let Ok(facts) = &mut known.facts {
            facts.development_keys = true;
        }
        known.addresses[0].ip = "255.255.255.255".parse().unwrap();
        let screen = screen(&known);
        assert!(screen.lines().count() <= 24, "{screen}");
        assert!(
            screen.lines().all(|line| line.chars().count() < COLUMNS),
            "{screen}"
        );
    }

    #[test]
    fn unreadable_files_are_said_and_the_address_is_shown_all_the_same() {
        let known = Known {
            facts: Err("no such file".into()),
            settings: Err("settings: unknown key".into()),
            ..known()
        };
        let text = text(&known);
        assert!(
            text.contains("no such file") && text.contains("unknown key") && text.contains("192.168.1.20"),
            "{text}"
        );
        assert!(!text.contains("set up"), "{text}");
    }
}
