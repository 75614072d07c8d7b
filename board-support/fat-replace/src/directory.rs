//! The entries of one folder. Pure: bytes in, entries out.

use crate::error::{FatError, Result};
use crate::geometry::Kind;
use crate::name::{self, MAX_UNITS, UNIT_OFFSETS, UNITS_PER_SLOT};

/// Bytes of an entry.
pub(crate) const SLOT: usize = 32;
/// First byte of an entry that is free.
pub(crate) const DELETED: u8 = 0xe5;
pub(crate) const ATTRIBUTE_FOLDER: u8 = 0x10;
const ATTRIBUTE_LABEL: u8 = 0x08;
const ATTRIBUTES_LONG_NAME: u8 = 0x0f;

/// One file or folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// The long name, or the short one where there is none.
    pub name: String,
    pub short: [u8; 11],
    /// Numbers of its entries in the folder; the last is the 8.3 entry.
    pub slots: std::ops::Range<usize>,
    pub folder: bool,
    /// 0 for an empty file.
    pub first_cluster: u32,
    pub size: u32,
}

impl Node {
    /// Whether FAT takes `name` for this entry, by its long or its short name.
    pub fn is_called(&self, folded: &str) -> bool {
        name::fold(&self.name) == folded || name::fold(&name::short_text(&self.short, 0)) == folded
    }
}

/// What the entries of a folder say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Listing {
    /// Without the volume's label, `.` and `..`.
    pub nodes: Vec<Node>,
    /// Every 8.3 name, the label's too: a new alias must differ.
    pub shorts: Vec<[u8; 11]>,
    /// Number of the entry behind the last; everything from there on is unused.
    pub end: usize,
    /// Long-name entries that belong to no file: left by a cut between two sector writes of a removal.
    pub stray: Vec<usize>,
}

/// A long name that is being gathered; its parts come last first.
#[derive(Default)]
struct LongName {
    start: usize,
    /// Order number of the part that came last; 0 when there is none.
    order: u8,
    checksum: u8,
    units: Vec<u16>,
}

/// Reads the entries of a folder, a whole number of sectors.
pub(crate) fn parse(bytes: &[u8], kind: Kind, place: &str) -> Result<Listing> {
    let mut listing = Listing::default();
    let mut long = LongName::default();
    for (number, slot) in bytes.chunks_exact(SLOT).enumerate() {
        listing.end = number;
        if slot[0] == 0 {
            listing.stray.extend(long.drop_at(number));
            return Ok(listing);
        }
        if slot[0] == DELETED {
            listing.stray.extend(long.drop_at(number));
        } else if slot[11] & 0x3f == ATTRIBUTES_LONG_NAME {
            listing.stray.extend(long.take(number, slot));
        } else {
            let short = short_of(slot);
            listing.shorts.push(short);
            let start = if long.belongs_to(&short) {
                long.start
            } else {
                listing.stray.extend(long.drop_at(number));
                number
            };
            let text = (start < number).then(|| long.text(place)).transpose()?;
            long = LongName::default();
            let is_dot = short.starts_with(b".  ") || short.starts_with(b".. ");
            if slot[11] & ATTRIBUTE_LABEL == 0 && !is_dot {
                listing
                    .nodes
                    .push(node(slot, kind, start..number + 1, text, place)?);
            }
        }
        listing.end = number + 1;
    }
    listing.stray.extend(long.drop_at(listing.end));
    Ok(listing)
}

fn short_of(slot: &[u8]) -> [u8; 11] {
    let mut short = [0; 11];
    short.copy_from_slice(&slot[..11]);
    short
}

fn node(
    slot: &[u8],
    kind: Kind,
    slots: std::ops::Range<usize>,
    long: Option<String>,
    place: &str,
) -> Result<Node> {
    let short = short_of(slot);
    let name = long.unwrap_or_else(|| name::short_text(&short, slot[12]));
    if name.is_empty() || !name.chars().all(name::allowed) {
        return Err(FatError::damaged(
            place,
            format!("holds the impossible name {name:?}"),
        ));
    }
    let low = u32::from(u16::from_le_bytes([slot[26], slot[27]]));
    let high = match kind {
        Kind::Fat32 => u32::from(u16::from_le_bytes([slot[20], slot[21]])),
        Kind::Fat12 | Kind::Fat16 => 0, // other systems keep something else there
    };
    Ok(Node {
        name,
        short,
        slots,
        folder: slot[11] & ATTRIBUTE_FOLDER != 0,
        first_cluster: high << 16 | low,
        size: u32::from_le_bytes([slot[28], slot[29], slot[30], slot[31]]),
    })
}

impl LongName {
    /// Takes the next part; returns the numbers of parts that turned out to belong to nothing.
    fn take(&mut self, number: usize, slot: &[u8]) -> std::ops::Range<usize> {
        let order = slot[0] & 0x3f;
        let first = slot[0] & 0x40 != 0;
        let sound = (1..=MAX_UNITS.div_ceil(UNITS_PER_SLOT)).contains(&usize::from(order));
        let follows = self.order > 1 && order == self.order - 1 && slot[13] == self.checksum;
        if !first && sound && follows {
            self.order = order;
            self.add(slot);
            return 0..0;
        }
        let dropped = self.drop_at(number);
        if first && sound {
            self.start = number;
            self.order = order;
            self.checksum = slot[13];
            self.add(slot);
            return dropped;
        }
        dropped.start..number + 1
    }

    fn add(&mut self, slot: &[u8]) {
        let part = UNIT_OFFSETS.map(|at| u16::from_le_bytes([slot[at], slot[at + 1]]));
        self.units.splice(0..0, part);
    }

    /// Forgets what was gathered, whose entries end before `number`.
    fn drop_at(&mut self, number: usize) -> std::ops::Range<usize> {
        let gathered = std::mem::take(self);
        if gathered.order == 0 {
            number..number
        } else {
            gathered.start..number
        }
    }

    fn belongs_to(&self, short: &[u8; 11]) -> bool {
        self.order == 1 && self.checksum == name::checksum(short)
    }

    fn text(&self, place: &str) -> Result<String> {
        let end = self
            .units
            .iter()
            .position(|u| *u == 0)
            .unwrap_or(self.units.len());
        String::from_utf16(&self.units[..end])
            .map_err(|_| FatError::damaged(place, "holds a long name that is no UTF-16"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(names: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for name in names {
            for slot in name::slots(name, &|_| false).unwrap() {
                bytes.extend(slot);
            }
        }
        bytes.resize(2048, 0);
        bytes
    }

    #[test]
    fn names_come_back_as_they_were_written() {
        let long = "ä long name with more than thirteen characters 😀.dtb";
        let listing = parse(&folder(&["X", long]), Kind::Fat16, "/").unwrap();
        assert_eq!(listing.nodes[0].name, "X");
        assert_eq!(listing.nodes[1].name, long);
        assert_eq!(listing.nodes[1].slots, 1..listing.end);
        assert!(listing.stray.is_empty());
    }

    #[test]
    fn long_names_without_their_file_are_stray_and_harm_nobody() {
        let mut bytes = folder(&["first long name.txt", "second long name.txt"]);
        bytes[2 * SLOT] = DELETED;
        let listing = parse(&bytes, Kind::Fat16, "/").unwrap();
        assert_eq!(listing.stray, [0, 1]);
        assert_eq!(listing.nodes.len(), 1);
        assert_eq!(listing.nodes[0].name, "second long name.txt");
    }

    #[test]
    fn any_bytes_are_read_or_refused_without_end_or_panic() {
        let mut state = 7_u32;
        for _ in 0..2000 {
            let mut bytes = folder(&["first long name.txt", "B"]);
            for _ in 0..6 {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let at = (state >> 8) as usize % 256;
                bytes[at] = state as u8;
            }
            if let Ok(listing) = parse(&bytes, Kind::Fat32, "/") {
                let last = listing.nodes.iter().map(|n| n.slots.end).max();
                assert!(last.unwrap_or_default() <= listing.end);
                assert!(listing.stray.iter().all(|s| *s < listing.end));
            }
        }
    }
}
