//! Takes secrets out of text that leaves the appliance.
//!
//! The diagnosis is made of parts that should hold no secret; this is the second fence, so it removes too much
//! rather than too little: after a telling word and `=` or `:` the rest of the line goes.

const REDACTED: &str = "[redacted]";

/// A key that ends with one of these (in any case, `-` and `_` alike) has a secret value.
const TELLING: [&str; 14] = [
    "password",
    "passwd",
    "passphrase",
    "pass",
    "pwd",
    "psk",
    "secret",
    "token",
    "apikey",
    "privatekey",
    "credential",
    "authorization",
    "cookie",
    "privkey",
];

/// The text without secrets. Lines stay lines, so that the time stamps of a log still line up.
pub fn redact(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut in_private_key = false;
    for line in text.split_inclusive('\n') {
        let (body, end) = match line.strip_suffix('\n') {
            Some(body) => (body, "\n"),
            None => (line, ""),
        };
        if body.contains("-----BEGIN") && body.contains("PRIVATE KEY") {
            in_private_key = true;
        }
        if in_private_key {
            in_private_key = !(body.contains("-----END") && body.contains("PRIVATE KEY"));
            out.push_str(REDACTED);
        } else {
            out.push_str(&redact_line(body));
        }
        out.push_str(end);
    }
    out
}

fn redact_line(line: &str) -> String {
    let cut = secret_value(line);
    let kept = &line[..cut.unwrap_or(line.len())];
    let mut out = redact_words(kept);
    // One mark for two secrets side by side: redacting once more then changes nothing.
    if cut.is_some() && !out.ends_with(REDACTED) {
        out.push_str(REDACTED);
    }
    out
}

/// Where the value behind the first telling key or option begins.
fn secret_value(line: &str) -> Option<usize> {
    [value_of_key(line), value_of_option(line)]
        .into_iter()
        .flatten()
        .min()
}

fn value_of_key(line: &str) -> Option<usize> {
    line.match_indices(['=', ':']).find_map(|(at, separator)| {
        let key = line[..at].trim_end_matches([' ', '\t', '"', '\'', ']']);
        let key = &key[key
            .rfind(|c: char| !(c.is_ascii_alphanumeric() || matches!(c, '_' | '-')))
            .map_or(0, |i| i + last_len(key, i))..];
        let value = at + separator.len();
        (is_telling(key) && !line[value..].trim().is_empty()).then_some(value)
    })
}

/// `--psk VALUE`: an option's value follows a space.
fn value_of_option(line: &str) -> Option<usize> {
    let mut from = 0;
    for word in line.split_inclusive(' ') {
        from += word.len();
        let name = word.trim_end();
        if name.starts_with("--") && is_telling(name) && from < line.len() {
            return Some(from);
        }
    }
    None
}

/// Bytes of the character at `at`.
fn last_len(text: &str, at: usize) -> usize {
    text[at..].chars().next().map_or(1, char::len_utf8)
}

fn is_telling(key: &str) -> bool {
    let plain: String = key
        .chars()
        .filter(char::is_ascii_alphanumeric)
        .map(|c| c.to_ascii_lowercase())
        .collect();
    TELLING.iter().any(|word| plain.ends_with(word))
        || plain
            .strip_suffix('s')
            .is_some_and(|one| TELLING.iter().any(|word| one.ends_with(word)))
}

/// Words that are secrets by themselves: hashes, `Bearer x`, `user:password@host`.
fn redact_words(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut after_scheme = false;
    let mut in_hash = false;
    for word in line.split_inclusive([' ', '\t', ',', ';', '"', '\'', '(', ')', '<', '>']) {
        let core = word.trim_end_matches([' ', '\t', ',', ';', '"', '\'', '(', ')', '<', '>']);
        let tail = &word[core.len()..];
        if core.is_empty() {
            out.push_str(tail);
            in_hash = false;
            continue;
        }
        let hash = hash_start(core);
        if after_scheme || in_hash {
            out.push_str(REDACTED);
        } else {
            redact_urls(&core[..hash.unwrap_or(core.len())], &mut out);
            if hash.is_some() {
                out.push_str(REDACTED);
            }
        }
        // A PHC string has commas between its parameters; salt and hash stand behind the last one.
        in_hash = (in_hash || hash.is_some()) && tail == ",";
        after_scheme = core.eq_ignore_ascii_case("bearer") || core.eq_ignore_ascii_case("basic");
        out.push_str(tail);
    }
    out
}

/// Start of a password hash: PHC (`$argon2id$…`) or crypt(5) (`$6$…`, `$y$…`).
fn hash_start(word: &str) -> Option<usize> {
    word.match_indices('$').map(|(at, _)| at).find(|&at| {
        let mut parts = word[at + 1..].split('$');
        let id = parts.next().unwrap_or_default();
        !id.is_empty()
            && id.len() <= 32
            && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && parts.next().is_some()
    })
}

/// Adds the word without the user and the password of any URL in it; one URL may carry another in its path or query.
fn redact_urls(word: &str, out: &mut String) {
    let mut rest = word;
    while let Some(at) = rest.find("://") {
        let (scheme, behind) = rest.split_at(at + 3);
        out.push_str(scheme);
        let authority = &behind[..behind.find('/').unwrap_or(behind.len())];
        rest = match authority.rfind('@') {
            Some(at) if authority[..at].contains(':') => {
                out.push_str(REDACTED);
                &behind[at..]
            }
            _ => behind,
        };
    }
    out.push_str(rest);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_looks_like_a_secret_goes() {
        for line in [
            "password=SECRET",
            "Password: SECRET",
            "  \"password\": \"SECRET\",",
            "wpa_psk = SECRET",
            "PSK=SECRET more SECRET",
            "Passphrase=SECRET",
            "PreSharedKey psk:SECRET",
            "api-key: SECRET",
            "API_KEY=SECRET",
            "Authorization: Bearer SECRET",
            "curl -H Bearer SECRET",
            "http://ada:SECRET@host/path",
            "http://host/?to=http://ada:SECRET@host",
            "http://ada:SECRET@host/$6$salt$SECRET",
            "iwd --passphrase SECRET",
            "iwd --passphrase SECRET token=x",
            "set-cookie: id=SECRET",
            "hash $argon2id$v=19$m=19456,t=2,p=1$SECRET$SECRET",
            "hash $argon2id$v=19$m=19456,t=2,p=1$salt+with/signs$SECRET",
            "root:$6$SECRET$SECRET:1:2",
            "root:$y$j9T$SECRET:1",
            "access_tokens=[SECRET]",
            "client_secret='SECRET'",
            "env[PASSWORD]=SECRET",
            "PrivateKey = SECRET",
            "Basic SECRET",
            "credentials=SECRET",
            "ä-password=SECRET",
        ] {
            let shown = redact(line);
            assert!(!shown.contains("SECRET"), "{line} became {shown}");
            assert!(shown.contains(REDACTED), "{line} became {shown}");
        }
    }

    #[test]
    fn a_private_key_goes_and_the_text_around_it_stays() {
        let text = "before\n-----BEGIN PRIVATE KEY-----\nSECRET\n-----END PRIVATE KEY-----\nafter\n";
        let shown = redact(text);
        assert!(
            !shown.contains("SECRET") && shown.starts_with("before\n") && shown.ends_with("\nafter\n"),
            "{shown}"
        );
        assert_eq!(shown.lines().count(), text.lines().count());
    }

    #[test]
    fn ordinary_lines_stay_as_they_are() {
        for line in [
            "2026-05-01T10:00:00+0000 hearth kernel: EXT4-fs (mmcblk0p7): mounted filesystem",
            "systemd[1]: Started hearth-web.service - Setup page.",
            "wrong password for ada",
            "root_hash=5f70bf18a086007016e948b04aed3b82103a36bea41755b6cddfaf10ace3c6ef",
            "http://hearth.local/ answers in 3 ms",
            "costs $5 or $6",
            "cookie:",
        ] {
            assert_eq!(redact(line), line);
        }
    }

    proptest! {
        #[test]
        fn any_text_keeps_its_lines_and_loses_the_value(text in "\\PC*", key in "[a-zA-Z_ ]{0,9}", value in "Q[0-9]{20}") {
            let line = format!("{text} {key}password={value}\nnext line\n");
            let shown = redact(&line);
            prop_assert!(!shown.contains(&value), "{}", shown);
            prop_assert_eq!(shown.lines().count(), line.lines().count());
        }

        #[test]
        fn redacting_twice_changes_nothing_more(text in "[a-z$:=@/ \"\n]*") {
            let once = redact(&text);
            prop_assert_eq!(redact(&once), once);
        }
    }
}
