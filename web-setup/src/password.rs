//! How hard a password is to guess: the idea of zxcvbn (cheapest way to compose the password from words, runs, rows of
//! keys, years and single characters) over a word list that stays in the binary.
//!
//! The zxcvbn crate builds hash maps of its 90,000 words on first use, several MiB that never come back; this program has
//! 12 MiB in all. Nothing here allocates more than a few hundred bytes.

use std::cmp::Ordering;

/// Shortest password, in characters.
pub const MIN_CHARS: usize = 8;
/// Longest password, in bytes: the hash needs no more, and a longer one only costs the appliance time.
pub const MAX_BYTES: usize = 256;
/// Characters that are looked at; what follows counts as nothing.
const CONSIDERED: usize = 64;

/// Sorted lines `word rank`; lower-case ASCII letters and digits only.
const WORDS: &str = include_str!("../assets/common-words.txt");
const ROWS: [&str; 8] = [
    "qwertyuiop",
    "asdfghjkl",
    "zxcvbnm",
    "qwertzuiop",
    "yxcvbnm",
    "1234567890",
    "1qaz2wsx3edc4rfv5tgb",
    "abcdefghijklmnopqrstuvwxyz",
];

/// Five grades, as people know them from zxcvbn: guesses below 10^3, 10^6, 10^8, 10^10, or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    /// Among the first a stranger would try.
    VeryWeak,
    /// Guessed in no time.
    Weak,
    /// Guessed by someone who tries.
    Fair,
    /// Good enough; the least that is accepted.
    Good,
    /// Very good.
    Strong,
}

impl Grade {
    /// 0 to 4, for a meter.
    pub fn score(self) -> u8 {
        self as u8
    }
}

/// Grades a password. `known` are words that a stranger would try first (the account's name, the name of the box).
pub fn grade(password: &str, known: &[&str]) -> Grade {
    if password.chars().count() < MIN_CHARS {
        return if guess_bits(password, known) < 10.0 {
            Grade::VeryWeak
        } else {
            Grade::Weak
        };
    }
    match guess_bits(password, known) {
        bits if bits < 9.97 => Grade::VeryWeak,
        bits if bits < 19.93 => Grade::Weak,
        bits if bits < 26.58 => Grade::Fair,
        bits if bits < 33.22 => Grade::Good,
        _ => Grade::Strong,
    }
}

/// Base-2 logarithm of the guesses that the cheapest composition costs.
pub fn guess_bits(password: &str, known: &[&str]) -> f64 {
    let original: Vec<char> = password.chars().take(CONSIDERED).collect();
    let plain: Vec<char> = original.iter().map(|c| unleet(*c)).collect();
    let lower: Vec<char> = original.iter().map(|c| c.to_ascii_lowercase()).collect();
    let mut best = vec![f64::INFINITY; original.len() + 1];
    best[0] = 0.0;
    for end in 1..=original.len() {
        for start in 0..end {
            let part = start..end;
            let bits = segment_bits(&original[part.clone()], &lower[part.clone()], &plain[part], known);
            best[end] = best[end].min(best[start] + bits);
        }
    }
    best[original.len()]
}

fn segment_bits(original: &[char], lower: &[char], plain: &[char], known: &[&str]) -> f64 {
    if original.len() == 1 {
        // zxcvbn's ten guesses for each character that nothing explains.
        return 3.33;
    }
    let mut bits = f64::INFINITY;
    if lower.windows(2).all(|w| w[0] == w[1]) {
        bits = bits.min(4.0 + (original.len() as f64).log2());
    }
    if original.len() >= 3 && is_row(lower) {
        bits = bits.min(4.0 + (original.len() as f64).log2());
    }
    if original.len() == 4 && is_year(original) {
        bits = bits.min(7.0);
    }
    for (candidate, extra) in [(lower, 0.0), (plain, 1.0)] {
        if let Some(rank) = word_rank(candidate, known) {
            let changed = original.iter().filter(|c| c.is_ascii_uppercase()).count();
            let capitals = match changed {
                0 => 0.0,
                1 => 1.0,
                _ => 2.0,
            };
            // One bit more for the choice of the list.
            bits = bits.min(f64::from(rank).log2() + 1.0 + capitals + extra);
        }
    }
    // The same part again costs little: `abcXabcX`.
    let half = original.len() / 2;
    if original.len() >= 6 && original.len().is_multiple_of(2) && lower[..half] == lower[half..] {
        bits = bits.min(3.33 * half as f64 + 1.0);
    }
    bits
}

fn unleet(c: char) -> char {
    match c {
        '0' => 'o',
        '1' | '!' => 'i',
        '3' => 'e',
        '4' | '@' => 'a',
        '5' | '$' => 's',
        '7' => 't',
        _ => c.to_ascii_lowercase(),
    }
}

fn is_row(part: &[char]) -> bool {
    let forward: String = part.iter().collect();
    let backward: String = part.iter().rev().collect();
    ROWS.iter()
        .any(|row| row.contains(&forward) || row.contains(&backward))
}

fn is_year(part: &[char]) -> bool {
    let text: String = part.iter().collect();
    text.parse::<u16>()
        .is_ok_and(|year| (1900..=2060).contains(&year))
}

fn word_rank(part: &[char], known: &[&str]) -> Option<u32> {
    if part.len() < 3 {
        return None;
    }
    let word: String = part.iter().collect();
    if known.iter().any(|k| k.eq_ignore_ascii_case(&word)) {
        return Some(1);
    }
    if word.len() > 20 || !word.bytes().all(|b| b.is_ascii_alphanumeric()) {
        return None;
    }
    lookup(WORDS, &word)
}

/// Binary search by byte position in sorted lines `word rank`.
fn lookup(lines: &str, word: &str) -> Option<u32> {
    let bytes = lines.as_bytes();
    let (mut low, mut high) = (0, bytes.len());
    while low < high {
        let middle = low + (high - low) / 2;
        let start = bytes[low..middle]
            .iter()
            .rposition(|b| *b == b'\n')
            .map_or(low, |at| low + at + 1);
        let end = bytes[middle..high]
            .iter()
            .position(|b| *b == b'\n')
            .map_or(high, |at| middle + at);
        let (found, rank) = lines.get(start..end)?.split_once(' ')?;
        match found.cmp(word) {
            Ordering::Equal => return rank.parse().ok(),
            Ordering::Less => low = (end + 1).min(high),
            Ordering::Greater => high = start,
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_of_the_list_is_found_with_its_rank() {
        let mut last = "";
        for line in WORDS.lines() {
            let (word, rank) = line.split_once(' ').unwrap();
            assert!(last < word, "{last} {word}");
            last = word;
            assert_eq!(lookup(WORDS, word), rank.parse().ok(), "{word}");
        }
        assert_eq!(lookup(WORDS, "xqzzy"), None);
        assert_eq!(lookup(WORDS, "zzzzzzzzzz"), None);
        assert_eq!(lookup(WORDS, "0"), None);
    }

    #[test]
    fn what_strangers_try_first_is_weak() {
        for weak in [
            "password",
            "Passw0rd!",
            "12345678",
            "qwertyuiop",
            "aaaaaaaaaaaa",
            "letmein2024",
            "abcdefgh",
            "Dragon123",
        ] {
            assert!(grade(weak, &[]) < Grade::Good, "{weak} {}", guess_bits(weak, &[]));
        }
        assert!(grade("adalovelace-hearth", &["adalovelace", "hearth"]) < Grade::Good);
    }

    #[test]
    fn phrases_and_random_strings_are_good() {
        for good in [
            "correct horse battery staple",
            "k7#Vq9!mZx2p",
            "tulip-oven-gravel-42",
            "Bläulich!Wiese?77",
        ] {
            assert!(
                grade(good, &["ada", "hearth"]) >= Grade::Good,
                "{good} {}",
                guess_bits(good, &[])
            );
        }
    }

    #[test]
    fn a_short_password_is_never_accepted() {
        assert!(grade("x9#Kq!7", &[]) < Grade::Good);
        assert!(grade("", &[]) < Grade::Good);
    }

    proptest::proptest! {
        #[test]
        fn grading_never_panics_and_is_bounded(text in "\\PC{0,300}") {
            let bits = guess_bits(&text, &["hearth"]);
            proptest::prop_assert!((0.0..=3.34 * 64.0).contains(&bits));
        }
    }
}
