//! Block maps (`.img.bmap`, format 2.0 of bmap-tools): which blocks of an image are to be written, and their SHA-256.
//!
//! The reader is strict, because what it believes is written to a disk: known elements only, each once; ranges that
//! ascend, do not overlap and stay within the image; counts that add up; the file's own checksum.

use std::collections::HashMap;
use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};
use sha2::{Digest, Sha256};

/// Most bytes of a map: room for [`MAX_RANGES`].
pub const MAX_BYTES: usize = 16 << 20;
/// Most ranges.
const MAX_RANGES: usize = 1 << 17;
/// Biggest block, in bytes.
const MAX_BLOCK: u64 = 1 << 20;
/// Biggest image, in bytes (16 TiB).
const MAX_IMAGE: u64 = 1 << 44;

/// Bytes of the image that hold something, and their hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mapped {
    /// Where, in bytes from the beginning of the image.
    pub bytes: Range<u64>,
    /// Their SHA-256.
    pub sha256: [u8; 32],
}

/// A checked block map.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockMap {
    /// Size of the image, in bytes.
    pub image_bytes: u64,
    /// What is not zero: ascending, without overlaps, within the image.
    pub mapped: Vec<Mapped>,
}

/// Reads a map.
pub(crate) fn parse(text: &str) -> Result<BlockMap> {
    ensure!(text.len() <= MAX_BYTES, "longer than {MAX_BYTES} bytes");
    let mut scanner = Scanner { text, at: 0 };
    let root = scanner.tag()?;
    ensure!(
        root == Tag::Open {
            name: "bmap",
            attribute: Some(("version", "2.0"))
        },
        "not a block map of version 2.0"
    );
    let mut values: HashMap<&str, (&str, usize)> = HashMap::new();
    let mut ranges = None;
    loop {
        match scanner.tag()? {
            Tag::Open {
                name: "BlockMap",
                attribute: None,
            } if ranges.is_none() => ranges = Some(scanner.ranges()?),
            Tag::Open {
                name,
                attribute: None,
            } if SIMPLE.contains(&name) => {
                let value = scanner.value(name)?;
                ensure!(values.insert(name, value).is_none(), "<{name}> twice");
            }
            Tag::Close("bmap") => break,
            other => bail!("unexpected {other}"),
        }
    }
    scanner.skip_space_and_comments()?;
    ensure!(scanner.rest().is_empty(), "something follows </bmap>");
    let ranges = ranges.context("no <BlockMap>")?;

    let value = |name: &str| {
        values
            .get(name)
            .map(|v| v.0)
            .with_context(|| format!("no <{name}>"))
    };
    ensure!(
        value("ChecksumType")? == "sha256",
        "its checksums are {}, not sha256",
        value("ChecksumType")?
    );
    let (own, own_at) = *values.get("BmapFileChecksum").context("no <BmapFileChecksum>")?;
    check_own(text, own, own_at)?;

    let image_bytes = number(value("ImageSize")?)?;
    let block = number(value("BlockSize")?)?;
    ensure!(
        image_bytes > 0 && image_bytes <= MAX_IMAGE,
        "an image of {image_bytes} bytes"
    );
    ensure!(
        block.is_power_of_two() && (512..=MAX_BLOCK).contains(&block),
        "blocks of {block} bytes"
    );
    let blocks = number(value("BlocksCount")?)?;
    ensure!(
        blocks == image_bytes.div_ceil(block),
        "{blocks} blocks are not {image_bytes} bytes"
    );
    check_ranges(&ranges, blocks, number(value("MappedBlocksCount")?)?)?;
    let mapped = ranges
        .into_iter()
        .map(|r| Mapped {
            bytes: r.first * block..((r.last + 1) * block).min(image_bytes),
            sha256: r.sha256,
        })
        .collect();
    Ok(BlockMap { image_bytes, mapped })
}

/// Elements that hold one value.
const SIMPLE: [&str; 6] = [
    "ImageSize",
    "BlockSize",
    "BlocksCount",
    "MappedBlocksCount",
    "ChecksumType",
    "BmapFileChecksum",
];

/// Blocks, both ends included.
struct Blocks {
    first: u64,
    last: u64,
    sha256: [u8; 32],
}

fn check_ranges(ranges: &[Blocks], blocks: u64, mapped: u64) -> Result<()> {
    let mut next = 0;
    let mut sum = 0;
    for range in ranges {
        let Blocks { first, last, .. } = *range;
        ensure!(first <= last, "blocks {first} to {last} run backwards");
        ensure!(first >= next, "blocks {first} to {last} overlap those before");
        ensure!(
            last < blocks,
            "blocks {first} to {last} lie beyond the image's {blocks}"
        );
        sum += last - first + 1;
        next = last + 1;
    }
    ensure!(sum == mapped, "{sum} blocks are mapped, not {mapped} as it says");
    Ok(())
}

/// The checksum is over the whole file with zeros in the checksum's place.
fn check_own(text: &str, own: &str, at: usize) -> Result<()> {
    let mut hasher = Sha256::new();
    hasher.update(&text[..at]);
    hasher.update([b'0'; 64]);
    hasher.update(&text[at + own.len()..]);
    let actual: [u8; 32] = hasher.finalize().into();
    ensure!(
        sha256(own)? == actual,
        "its own checksum is wrong: it was changed or cut"
    );
    Ok(())
}

fn number(text: &str) -> Result<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse()
        .ok()
        .filter(|_| digits)
        .with_context(|| format!("{text:?} is not a number"))
}

fn sha256(text: &str) -> Result<[u8; 32]> {
    let mut hash = [0; 32];
    let hex = text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    ensure!(hex, "{text:?} is not a SHA-256");
    for (byte, pair) in hash.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair)?, 16)?;
    }
    Ok(hash)
}

/// A tag; elements have at most one attribute.
#[derive(Debug, PartialEq, Eq)]
enum Tag<'a> {
    Open {
        name: &'a str,
        attribute: Option<(&'a str, &'a str)>,
    },
    Close(&'a str),
}

impl std::fmt::Display for Tag<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Open { name, .. } => write!(f, "<{name}>"),
            Self::Close(name) => write!(f, "</{name}>"),
        }
    }
}

/// As much XML as block maps are made of: no entities, no CDATA, no document type.
struct Scanner<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Scanner<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn skip_space_and_comments(&mut self) -> Result<()> {
        loop {
            self.at = self.text.len() - self.rest().trim_ascii_start().len();
            // Comments hold no "--" but at their end, and the declaration no "?>".
            let end = match self.rest() {
                rest if rest.starts_with("<!--") => "-->",
                rest if rest.starts_with("<?xml ") && self.at == 0 => "?>",
                _ => return Ok(()),
            };
            self.until(end)?;
        }
    }

    /// Goes behind the next `end`; what stands before it.
    fn until(&mut self, end: &str) -> Result<&'a str> {
        let (before, _) = self
            .rest()
            .split_once(end)
            .with_context(|| format!("{end:?} is missing: it was cut"))?;
        self.at += before.len() + end.len();
        Ok(before)
    }

    fn tag(&mut self) -> Result<Tag<'a>> {
        self.skip_space_and_comments()?;
        ensure!(
            self.rest().starts_with('<'),
            "a tag is missing at byte {}",
            self.at
        );
        self.at += 1;
        let inside = self.until(">")?;
        if let Some(name) = inside.strip_prefix('/') {
            return Ok(Tag::Close(name.trim_ascii_end()));
        }
        let Some((name, rest)) = inside.split_once(' ') else {
            return Ok(Tag::Open {
                name: inside,
                attribute: None,
            });
        };
        let attribute = rest
            .trim_ascii()
            .split_once("=\"")
            .and_then(|(key, value)| Some((key, value.strip_suffix('"')?)));
        let attribute = attribute
            .filter(|a| !a.1.contains('"'))
            .with_context(|| format!("<{inside}> is not understood"))?;
        Ok(Tag::Open {
            name,
            attribute: Some(attribute),
        })
    }

    /// The text of an element, and where it begins.
    fn value(&mut self, name: &str) -> Result<(&'a str, usize)> {
        let from = self.at;
        let text = self.until("<")?;
        self.at -= 1;
        let close = self.tag()?;
        ensure!(close == Tag::Close(name), "unexpected {close} in <{name}>");
        Ok((
            text.trim_ascii(),
            from + text.len() - text.trim_ascii_start().len(),
        ))
    }

    fn ranges(&mut self) -> Result<Vec<Blocks>> {
        let mut ranges = Vec::new();
        loop {
            match self.tag()? {
                Tag::Open {
                    name: "Range",
                    attribute: Some(("chksum", checksum)),
                } => {
                    ensure!(ranges.len() < MAX_RANGES, "more than {MAX_RANGES} ranges");
                    let (text, _) = self.value("Range")?;
                    let (first, last) = text.split_once('-').unwrap_or((text, text));
                    ranges.push(Blocks {
                        first: number(first)?,
                        last: number(last)?,
                        sha256: sha256(checksum)?,
                    });
                }
                Tag::Close("BlockMap") => return Ok(ranges),
                other => bail!("unexpected {other} in <BlockMap>"),
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    fn hex(bytes: impl AsRef<[u8]>) -> String {
        bytes.as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }

    /// A map in the words of bmap-tools, its own checksum right.
    pub fn document(size: u64, block: u64, mapped: u64, ranges: &[(&str, String)]) -> String {
        let ranges: String = ranges
            .iter()
            .map(|(r, hash)| format!("        <Range chksum=\"{hash}\"> {r} </Range>\n"))
            .collect();
        let with = |checksum: &str| {
            format!(
                "<?xml version=\"1.0\" ?>\n<!-- This file contains the block map -->\n<bmap version=\"2.0\">\n    \
                 <!-- Image size in bytes -->\n    <ImageSize> {size} </ImageSize>\n    <BlockSize> {block} </BlockSize>\n    \
                 <BlocksCount> {} </BlocksCount>\n    <MappedBlocksCount> {mapped}    </MappedBlocksCount>\n    \
                 <ChecksumType> sha256 </ChecksumType>\n    <BmapFileChecksum> {checksum} </BmapFileChecksum>\n    \
                 <BlockMap>\n{ranges}    </BlockMap>\n</bmap>\n",
                size.div_ceil(block)
            )
        };
        with(&hex(Sha256::digest(with(&"0".repeat(64)))))
    }

    fn some_hash() -> String {
        "ab".repeat(32)
    }

    fn problem(text: &str) -> String {
        format!("{:#}", parse(text).expect_err("refused"))
    }

    #[test]
    fn a_good_map_is_read_and_its_last_block_ends_with_the_image() {
        let text = document(10_000, 4096, 2, &[("0", some_hash()), ("2", some_hash())]);
        let map = parse(&text).unwrap();
        assert_eq!(map.image_bytes, 10_000);
        assert_eq!(
            map.mapped.iter().map(|m| m.bytes.clone()).collect::<Vec<_>>(),
            [0..4096, 8192..10_000]
        );
        assert_eq!(map.mapped[0].sha256, [0xab; 32]);
    }

    #[test]
    fn hostile_ranges_are_refused() {
        let map = |mapped, ranges: &[&str]| {
            problem(&document(
                40_960,
                4096,
                mapped,
                &ranges.iter().map(|r| (*r, some_hash())).collect::<Vec<_>>(),
            ))
        };
        assert!(map(5, &["0-2", "2-3"]).contains("overlap"));
        assert!(map(2, &["5", "1"]).contains("overlap"));
        assert!(map(2, &["9-10"]).contains("beyond"));
        assert!(map(2, &["0-18446744073709551615"]).contains("beyond"));
        assert!(map(2, &["3-2"]).contains("backwards"));
        assert!(map(3, &["0-1"]).contains("not 3"));
        assert!(map(1, &["+1"]).contains("not a number"));
        assert!(map(1, &["-1"]).contains("not a number"));
        assert!(map(1, &["1-2-3"]).contains("not a number"));
        assert!(map(1, &["99999999999999999999"]).contains("not a number"));
    }

    #[test]
    fn hostile_sizes_are_refused() {
        assert!(problem(&document(u64::MAX, 4096, 0, &[])).contains("an image of"));
        assert!(problem(&document(0, 4096, 0, &[])).contains("an image of"));
        assert!(problem(&document(8192, 3, 0, &[])).contains("blocks of 3"));
        assert!(problem(&document(8192, 1 << 40, 0, &[])).contains("blocks of"));
        assert!(problem(&" ".repeat(MAX_BYTES + 1)).contains("longer"));
    }

    #[test]
    fn other_versions_checksums_and_elements_are_refused() {
        let good = document(8192, 4096, 1, &[("0", some_hash())]);
        assert!(problem(&good.replace("2.0", "1.4")).contains("version 2.0"));
        assert!(problem(&good.replace(" sha256 ", " sha1 ")).contains("sha1"));
        assert!(problem(&good.replace("<BlockMap>", "<Other></Other><BlockMap>")).contains("<Other>"));
        assert!(problem(&good.replace("</bmap>", "</bmap><bmap>")).contains("follows"));
        assert!(
            problem(&good.replace("<BlockSize>", "<BlockSize> 1 </BlockSize><BlockSize>")).contains("twice")
        );
        assert!(problem("<!DOCTYPE x [<!ENTITY a \"b\">]>").contains("not understood"));
    }

    #[test]
    fn a_map_with_any_digit_changed_is_refused() {
        let good = document(40_960, 4096, 3, &[("0", some_hash()), ("2-3", some_hash())]);
        assert!(parse(&good).is_ok());
        for (at, _) in good.bytes().enumerate().filter(|(_, b)| b.is_ascii_digit()) {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'1' { b'7' } else { b'1' };
            assert!(parse(&String::from_utf8(bytes).unwrap()).is_err(), "byte {at}");
        }
        for cut in 0..good.trim_end().len() {
            assert!(parse(&good[..cut]).is_err(), "cut at {cut}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "[<>/!\\-?\" =a-cRange0-9bmpBlockM\\PC]{0,200}") {
            let _ = parse(&text);
            let _ = parse(&format!("<bmap version=\"2.0\">{text}"));
            let _ = parse(&format!("<bmap version=\"2.0\"><BlockMap><Range chksum=\"{text}"));
        }
    }
}
