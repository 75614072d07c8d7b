//! A small deterministic mutator: the same seed makes the same inputs, on every machine.

/// Longest input that is made.
const MAX_LEN: usize = 1 << 15;

/// Numbers at the edges of types and formats.
const NUMBERS: [u64; 16] = [
    0,
    1,
    2,
    34,
    127,
    128,
    255,
    511,
    512,
    4095,
    4096,
    0x7fff_ffff,
    0xffff_ffff,
    0x7fff_ffff_ffff_ffff,
    0xffff_ffff_ffff_fffe,
    0xffff_ffff_ffff_ffff,
];

/// Pieces of text that parsers treat specially.
const PIECES: [&[u8]; 24] = [
    b"\0",
    b"\n",
    b"\r\n",
    b"\"",
    b"'",
    b"=",
    b"==",
    b":",
    b"/",
    b"../",
    b"..",
    b"$",
    b"%",
    b"%00",
    b"&",
    b"#",
    b"[[",
    b"]",
    b"{}",
    b" ",
    b"-",
    b"\xc3\xa9",
    b"\xff",
    b"4294967295",
];

/// A stream of random numbers (xorshift64*, Vigna 2016), and what it does to inputs.
#[derive(Debug, Clone)]
pub struct Mutator(u64);

impl Mutator {
    /// Any seed; zero would never leave zero, so it is never the state.
    pub fn new(seed: u64) -> Self {
        Self(seed ^ 0x9e37_79b9_7f4a_7c15 | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number below `end`; 0 when `end` is 0.
    pub fn below(&mut self, end: usize) -> usize {
        // The high bits are the good ones.
        ((u128::from(self.next()) * end as u128) >> 64) as usize
    }

    /// A new input from an old one: one to six changes, now and then a piece of `other`.
    pub fn mutate(&mut self, from: &[u8], other: &[u8]) -> Vec<u8> {
        let mut bytes = from.to_vec();
        for _ in 0..=self.below(6) {
            self.change(&mut bytes, other);
            bytes.truncate(MAX_LEN);
        }
        bytes
    }

    fn range(&mut self, len: usize) -> std::ops::Range<usize> {
        let start = self.below(len + 1);
        // Short ranges are likelier: a long one is mostly the end of the input.
        let longest = if self.below(4) == 0 {
            len - start
        } else {
            (len - start).min(16)
        };
        start..start + self.below(longest + 1)
    }

    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        let len = bytes.len();
        match self.below(9) {
            0 if len > 0 => {
                let at = self.below(len);
                bytes[at] ^= 1 << self.below(8);
            }
            1 if len > 0 => {
                let at = self.below(len);
                bytes[at] = self.next() as u8;
            }
            2 => bytes.truncate(self.below(len + 1)),
            3 => {
                let range = self.range(len);
                bytes.drain(range);
            }
            4 => {
                let copy = bytes[self.range(len)].to_vec();
                let at = self.below(len + 1);
                bytes.splice(at..at, copy);
            }
            5 => {
                let piece = other[self.range(other.len())].to_vec();
                let range = self.range(len);
                bytes.splice(range, piece);
            }
            6 => {
                let number = NUMBERS[self.below(NUMBERS.len())];
                self.number(bytes, number);
            }
            7 => {
                let at = self.below(len + 1);
                bytes.splice(at..at, PIECES[self.below(PIECES.len())].iter().copied());
            }
            _ => self.digits(bytes),
        }
    }

    /// A little-endian number of 1, 2, 4 or 8 bytes over what is there, mostly aligned.
    fn number(&mut self, bytes: &mut [u8], number: u64) {
        let width = 1 << self.below(4);
        if bytes.len() < width {
            return;
        }
        let mut at = self.below(bytes.len() - width + 1);
        if self.below(4) > 0 {
            at -= at % width;
        }
        bytes[at..at + width].copy_from_slice(&number.to_le_bytes()[..width]);
    }

    /// Another number in place of one that is written in digits.
    fn digits(&mut self, bytes: &mut Vec<u8>) {
        let start = self.below(bytes.len() + 1);
        let Some(first) = bytes[start..].iter().position(u8::is_ascii_digit) else {
            return;
        };
        let first = start + first;
        let count = bytes[first..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count();
        let number = NUMBERS[self.below(NUMBERS.len())].to_string();
        bytes.splice(first..first + count, number.into_bytes());
    }
}
