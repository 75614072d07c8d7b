//! Which blocks are meant: `7`, `10..20`, `100..`, several with commas between them.

use std::str::FromStr;

/// Blocks, in the order in which they were named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Blocks(Vec<Part>);

/// A range of blocks; its end may be that of the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Part {
    /// The first block.
    pub start: u64,
    /// The block after the last; `None`: the core's end.
    pub end: Option<u64>,
}

impl Blocks {
    /// All blocks.
    pub fn all() -> Self {
        Self(vec![Part { start: 0, end: None }])
    }

    /// The ranges of a core with so many blocks.
    pub fn within(&self, length: u64) -> impl Iterator<Item = std::ops::Range<u64>> {
        self.0
            .iter()
            .map(move |part| part.start..part.end.unwrap_or(length))
    }

    /// How long the core must be to have all of them.
    pub fn needs(&self) -> u64 {
        self.0
            .iter()
            .map(|part| part.end.unwrap_or(part.start))
            .max()
            .unwrap_or(0)
    }
}

impl FromStr for Blocks {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split(',').map(part).collect::<Result<_, _>>().map(Self)
    }
}

fn part(text: &str) -> Result<Part, String> {
    let number = |text: &str| {
        let wrong = |_| {
            format!("`{text}` is no number of a block: write 7, 10..20 or 100.., with commas between them")
        };
        text.parse::<u64>().map_err(wrong)
    };
    let part = match text.split_once("..") {
        None => {
            let start = number(text)?;
            let end = start.checked_add(1).ok_or("there are not so many blocks")?;
            Part {
                start,
                end: Some(end),
            }
        }
        Some((start, "")) => Part {
            start: number(start)?,
            end: None,
        },
        Some((start, end)) => Part {
            start: number(start)?,
            end: Some(number(end)?),
        },
    };
    match part.end {
        Some(end) if end <= part.start => Err(format!(
            "`{text}` is an empty range: the block after the last is named"
        )),
        _ => Ok(part),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_single_ranges_and_open() {
        let blocks: Blocks = "7,10..20,100..".parse().unwrap();
        assert_eq!(blocks.within(200).collect::<Vec<_>>(), [7..8, 10..20, 100..200]);
        assert_eq!(blocks.needs(), 100);
        assert_eq!(Blocks::all().within(3).next(), Some(0..3));
        assert_eq!(Blocks::all().needs(), 0);
    }

    #[test]
    fn what_is_no_range_is_refused() {
        for text in [
            "",
            "x",
            "1,,2",
            "5..5",
            "5..4",
            "-1",
            "..5",
            "18446744073709551615",
        ] {
            assert!(text.parse::<Blocks>().is_err(), "{text}");
        }
    }
}
