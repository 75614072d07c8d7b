//! Time zones that this appliance has, from `tzdata.zi` (the compact form of the IANA data: `Z` begins a zone, `L` is a link).

use super::Root;

const FILE: &str = "/usr/share/zoneinfo/tzdata.zi";
/// Folders whose names mean a place to a person; the others (`Etc`, `SystemV`) are for machines.
const AREAS: [&str; 10] = [
    "Africa",
    "America",
    "Antarctica",
    "Arctic",
    "Asia",
    "Atlantic",
    "Australia",
    "Europe",
    "Indian",
    "Pacific",
];
const MAX: usize = 1000;

/// Names such as `Europe/Paris`, sorted, and `UTC`. Links are in it: browsers report old names too (`Asia/Calcutta`).
pub fn all(root: &Root) -> Vec<String> {
    let mut names = root.read(FILE).map(|text| parse(&text)).unwrap_or_default();
    if names.is_empty() {
        // No compact file in this image: the compiled ones are the truth.
        for area in AREAS {
            names.extend(
                root.list(format!("/usr/share/zoneinfo/{area}"))
                    .into_iter()
                    .map(|city| format!("{area}/{city}")),
            );
        }
    }
    names.push("UTC".into());
    names.sort();
    names.dedup();
    names
}

/// True when the appliance has this zone.
pub fn exists(root: &Root, name: &str) -> bool {
    all(root).iter().any(|known| known == name)
}

/// The names in `tzdata.zi`.
pub fn parse(text: &str) -> Vec<String> {
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_ascii_whitespace();
            match words.next()? {
                "Z" => words.next(),
                "L" => words.nth(1),
                _ => None,
            }
        })
        .filter(|name| {
            name.split_once('/')
                .is_some_and(|(area, _)| AREAS.contains(&area))
        })
        .filter(|name| ipc::settings::TimeZone::parse(name).is_ok())
        .take(MAX)
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_and_links_are_found_and_machine_names_are_not() {
        let text = "# version 2026a\nR A 1916 o - Jun 14 23s 1 S\nZ Europe/Paris 0:9:21 - LMT 1891\n0:9:21 - PMT 1911\nZ Etc/GMT-1 1 - +01\nL Asia/Kolkata Asia/Calcutta\nL ../x Europe/../../etc";
        assert_eq!(parse(text), ["Europe/Paris", "Asia/Calcutta"]);
    }

    #[test]
    fn an_image_without_zone_data_still_has_utc() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(all(&Root::new(folder.path())), ["UTC"]);
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read(text in "\\PC{0,200}") {
            proptest::prop_assert!(parse(&text).len() <= MAX);
        }
    }
}
