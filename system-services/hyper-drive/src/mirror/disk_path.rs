//! Which names of a drive may become names on a disk, and where links may lead.
//!
//! A drive's names come from whoever writes it. Pure: nothing here looks at a disk.

/// The most bytes of one name, as file systems have it.
const MAX_NAME_BYTES: usize = 255;
/// The most bytes of a path, as Linux has it.
const MAX_PATH_BYTES: usize = 4096;
/// The most folders one within another: each is an open file while it is walked through.
pub const MAX_DEPTH: usize = 128;

/// What names of unfinished files begin with. They are no files of anybody: never copied, and removed when nobody writes them any more.
pub const UNFINISHED: &str = ".hyper-drive-part-";

/// A name that does not go onto a disk, or from there into a drive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadName {
    /// Not in the one form of names in a drive.
    #[error("it is not rooted, or has an empty name, `.` or `..` in it")]
    Form,
    /// Bytes that end a name on a disk, or separate names in a drive.
    #[error("it has a zero byte or a backslash in it")]
    Byte,
    /// Longer than a disk takes.
    #[error("it has a name of more than {MAX_NAME_BYTES} bytes, or more than {MAX_PATH_BYTES} in all")]
    TooLong,
    /// Deeper than we go.
    #[error("it lies more than {MAX_DEPTH} folders deep")]
    TooDeep,
    /// A name of ours.
    #[error("names that begin with {UNFINISHED} are those of unfinished files")]
    Reserved,
    /// Drives have text.
    #[error("it is not UTF-8")]
    NotUtf8,
}

/// A path whose names are all plain: each is one name in one folder, on any disk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DiskPath(String);

impl DiskPath {
    /// Checks the name of a file in a drive. It is not brought into form: a name that is not in its form could not be found again.
    pub fn new(path: &str) -> Result<Self, BadName> {
        let names = path.strip_prefix('/').ok_or(BadName::Form)?;
        if path.len() > MAX_PATH_BYTES {
            return Err(BadName::TooLong);
        }
        if names.split('/').count() > MAX_DEPTH {
            return Err(BadName::TooDeep);
        }
        names.split('/').try_for_each(check_name)?;
        Ok(Self(names.to_owned()))
    }

    /// The path in the drive.
    pub fn in_drive(&self) -> String {
        format!("/{}", self.0)
    }

    /// The folders above, from the outermost, and the name.
    pub fn split(&self) -> (impl Iterator<Item = &str>, &str) {
        let (folders, name) = self.0.rsplit_once('/').unwrap_or(("", &self.0));
        (folders.split('/').filter(|name| !name.is_empty()), name)
    }

    /// How many folders are above.
    fn depth(&self) -> usize {
        self.0.matches('/').count()
    }
}

/// Checks a single name.
pub fn check_name(name: &str) -> Result<(), BadName> {
    if matches!(name, "" | "." | "..") {
        return Err(BadName::Form);
    }
    if name.contains(['\0', '\\', '/']) {
        return Err(BadName::Byte);
    }
    if name.len() > MAX_NAME_BYTES {
        return Err(BadName::TooLong);
    }
    if name.starts_with(UNFINISHED) {
        return Err(BadName::Reserved);
    }
    Ok(())
}

/// A link that would lead out of its folder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLink {
    /// Above the root.
    #[error("its target lies outside the folder")]
    Outside,
    /// Where it leads depends on other links.
    #[error("its target goes up again after it went down, through what may be a link")]
    UpAfterDown,
    /// No text that a link can hold.
    #[error("its target is empty, longer than {MAX_PATH_BYTES} bytes or has a zero byte in it")]
    Text,
}

/// What a link at `link` has to say on a disk, to lead where the drive says. Rooted targets count from the root of the folder, others
/// from the folder of the link.
///
/// The result only goes up first, by no more folders than there are, and then down: whatever it goes down through is a folder, or a
/// link of which the same is true. So no chain of such links leads out.
pub fn link_on_disk(link: &DiskPath, target: &str) -> Result<String, BadLink> {
    if target.is_empty() || target.len() > MAX_PATH_BYTES || target.contains('\0') {
        return Err(BadLink::Text);
    }
    let rooted = target.starts_with('/');
    let (mut up, mut down) = (if rooted { link.depth() } else { 0 }, Vec::new());
    for name in target.split('/') {
        match name {
            "" | "." => {}
            ".." if !down.is_empty() => return Err(BadLink::UpAfterDown),
            ".." => up += 1,
            name => down.push(name),
        }
    }
    if up > link.depth() {
        return Err(BadLink::Outside);
    }
    let names: Vec<_> = std::iter::repeat_n("..", up).chain(down).collect();
    Ok(if names.is_empty() {
        ".".to_owned()
    } else {
        names.join("/")
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn at(path: &str) -> DiskPath {
        DiskPath::new(path).unwrap()
    }

    #[test]
    fn only_plain_names_go_onto_a_disk() {
        for good in ["/a", "/a/b.c", "/ü/...", "/a:b/ c"] {
            assert_eq!(at(good).in_drive(), good);
        }
        let long = format!("/{}", "x".repeat(256));
        let longer = "/x".repeat(2049);
        let deep = "/x".repeat(MAX_DEPTH + 1);
        let bad = [
            "",
            "/",
            "a",
            "/a/",
            "//a",
            "/a//b",
            "/..",
            "/a/../b",
            "/./a",
            "/a\0",
            "/a\\b",
            "/.hyper-drive-part-1-0",
            &long,
            &longer,
            &deep,
        ];
        for bad in bad {
            assert!(DiskPath::new(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn links_lead_where_the_drive_says_or_are_refused() {
        let link = at("/a/b/link");
        let good = [
            ("x", "x"),
            ("/x/y", "../../x/y"),
            ("../x", "../x"),
            ("../../x", "../../x"),
            ("./x//y/", "x/y"),
            ("/", "../.."),
            (".", "."),
        ];
        for (target, on_disk) in good {
            assert_eq!(link_on_disk(&link, target).as_deref(), Ok(on_disk));
        }
        for target in [
            "../../../x",
            "/../x",
            "x/../../../../y",
            "x/..",
            "/x/../..",
            "",
            "a\0",
        ] {
            assert!(link_on_disk(&link, target).is_err(), "{target:?}");
        }
    }

    proptest! {
        // Follows every link by hand in a folder full of those that passed, and looks whether it ever gets above the root.
        #[test]
        fn no_chain_of_links_leads_out(targets in proptest::collection::vec("(/)?((\\.\\.|a|b|c|\\.)/){0,4}(a|b|\\.\\.)", 9)) {
            let places = ["", "/a", "/a/b"].map(|folder| ["l", "m", "c"].map(|name| format!("{folder}/{name}"))).concat();
            let links: HashMap<_, _> = places
                .iter()
                .zip(&targets)
                .filter_map(|(place, target)| Some((place.clone(), link_on_disk(&at(place), target).ok()?)))
                .collect();
            for (place, target) in &links {
                let mut here: Vec<&str> = place.split('/').skip(1).collect();
                here.pop();
                let mut to_go: Vec<&str> = target.split('/').rev().collect();
                for _ in 0..200 {
                    match to_go.pop() {
                        None => break,
                        Some(".") => {}
                        Some("..") => prop_assert!(here.pop().is_some(), "{place} -> {target} leads out"),
                        Some(name) => match links.get(&format!("/{}", [&here[..], &[name]].concat().join("/"))) {
                            Some(next) => to_go.extend(next.split('/').rev()),
                            None => here.push(name),
                        },
                    }
                }
            }
        }
    }
}
