//! The syntax of GKeyFile (GLib), without its leniencies.
//!
//! Read: comments, blank lines, `[group]`, `key=value` with blanks around the key and before the value, the escapes
//! `\s \n \t \r \\`, and lists with `;` (escaped `\;`). Refused, though GLib takes them: a repeated group or key.
//! Locale keys (`key[de]`) are not keys here.

use super::{MAX_MANIFEST, ManifestError};

/// A group with its entries, in the order of the file.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub name: &'a str,
    pub line: usize,
    pub entries: Vec<Entry<'a>>,
}

/// A key with its value as written, escapes and all.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    pub key: &'a str,
    pub raw: &'a str,
    pub line: usize,
}

/// Splits a file into groups.
pub(super) fn groups(text: &[u8]) -> Result<Vec<Group<'_>>, ManifestError> {
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (index, line) in self::text(text)?.split('\n').enumerate() {
        let number = index + 1;
        let line = line
            .strip_suffix('\r')
            .unwrap_or(line)
            .trim_start_matches(is_space);
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if line.starts_with('[') {
            let name = group_name(line).map_err(|reason| ManifestError::Syntax { line: number, reason })?;
            if groups.iter().any(|group| group.name == name) {
                return Err(ManifestError::DuplicateGroup {
                    line: number,
                    group: name.to_owned(),
                });
            }
            groups.push(Group {
                name,
                line: number,
                entries: Vec::new(),
            });
            continue;
        }
        let entry = entry(line, number)?;
        let Some(group) = groups.last_mut() else {
            return Err(ManifestError::Syntax {
                line: number,
                reason: "a key before the first [group]",
            });
        };
        if group.entries.iter().any(|other| other.key == entry.key) {
            return Err(ManifestError::DuplicateKey {
                line: number,
                group: group.name.to_owned(),
                key: entry.key.to_owned(),
            });
        }
        group.entries.push(entry);
    }
    Ok(groups)
}

fn text(bytes: &[u8]) -> Result<&str, ManifestError> {
    if bytes.len() > MAX_MANIFEST {
        return Err(ManifestError::TooLong { size: bytes.len() });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| ManifestError::NotText {
        offset: error.valid_up_to(),
    })?;
    match text.find('\0') {
        Some(offset) => Err(ManifestError::NotText { offset }),
        None => Ok(text),
    }
}

/// `g_ascii_isspace`, without the newline, which ends a line.
fn is_space(c: char) -> bool {
    matches!(c, ' ' | '\t' | '\r' | '\x0b' | '\x0c')
}

fn group_name(line: &str) -> Result<&str, &'static str> {
    let (name, rest) = line[1..].split_once(']').ok_or("a [group] that is not closed")?;
    if !rest.trim_matches(is_space).is_empty() {
        return Err("something follows a [group]");
    }
    if !is_group_name(name) {
        return Err("a [group] with an empty name, a bracket or a control character");
    }
    Ok(name)
}

/// Whether `name` can stand between brackets.
pub(super) fn is_group_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| matches!(c, '[' | ']') || c.is_control())
}

/// Whether `key` can stand before a `=`: words of letters, digits, `-`, `_`, `.` and the like, no blanks around.
pub(super) fn is_key(key: &str) -> bool {
    !key.is_empty()
        && !key.starts_with('#')
        && !key.starts_with(is_space)
        && !key.ends_with(is_space)
        && !key.contains(|c: char| matches!(c, '=' | '[' | ']') || c.is_control())
}

fn entry(line: &str, number: usize) -> Result<Entry<'_>, ManifestError> {
    let (key, raw) = line.split_once('=').ok_or(ManifestError::Syntax {
        line: number,
        reason: "neither a comment, nor a [group], nor key=value",
    })?;
    let key = key.trim_end_matches(is_space);
    if !is_key(key) {
        return Err(ManifestError::Syntax {
            line: number,
            reason: "a key that is empty or holds a bracket",
        });
    }
    Ok(Entry {
        key,
        raw: raw.trim_start_matches(is_space),
        line: number,
    })
}

/// Undoes the escapes of a single value.
pub(super) fn unescape(raw: &str) -> Result<String, &'static str> {
    let mut value = String::with_capacity(raw.len());
    let mut rest = raw.chars();
    while let Some(c) = rest.next() {
        value.push(if c == '\\' {
            escaped(rest.next())?
        } else {
            plain(c)?
        });
    }
    Ok(value)
}

/// Undoes a list: each item ends with `;`, the last one need not.
pub(super) fn unescape_list(raw: &str) -> Result<Vec<String>, &'static str> {
    let mut items = Vec::new();
    let mut item = String::new();
    let mut rest = raw.chars();
    while let Some(c) = rest.next() {
        match c {
            ';' => items.push(std::mem::take(&mut item)),
            '\\' => item.push(match rest.next() {
                Some(';') => ';',
                other => escaped(other)?,
            }),
            _ => item.push(plain(c)?),
        }
    }
    if !item.is_empty() {
        items.push(item);
    }
    Ok(items)
}

fn escaped(c: Option<char>) -> Result<char, &'static str> {
    match c {
        Some('s') => Ok(' '),
        Some('n') => Ok('\n'),
        Some('t') => Ok('\t'),
        Some('r') => Ok('\r'),
        Some('\\') => Ok('\\'),
        _ => Err("has a backslash that is none of \\s \\n \\t \\r \\\\"),
    }
}

fn plain(c: char) -> Result<char, &'static str> {
    // A tab may stand as it is; every other control character would make the text lie on a screen.
    if c.is_control() && c != '\t' {
        Err("has a control character; write it as \\n, \\t or \\r")
    } else {
        Ok(c)
    }
}

/// The value as GLib writes it: leading blanks, line ends and backslashes escaped.
pub(super) fn escape(value: &str) -> String {
    let mut raw = String::with_capacity(value.len());
    let mut leading = true;
    for c in value.chars() {
        match c {
            ' ' if leading => raw.push_str("\\s"),
            '\n' => raw.push_str("\\n"),
            '\t' if leading => raw.push_str("\\t"),
            '\r' => raw.push_str("\\r"),
            '\\' => raw.push_str("\\\\"),
            _ => raw.push(c),
        }
        leading &= matches!(c, ' ' | '\t');
    }
    raw
}

/// A list as it is written.
pub(super) fn escape_list<'a>(items: impl IntoIterator<Item = &'a str>) -> String {
    items
        .into_iter()
        .map(|item| escape(item).replace(';', "\\;") + ";")
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_blanks_and_line_ends_are_read_as_glib_does() {
        let groups = groups(b"# one\r\n\n  [a b]  \n key = v  w \nother=\n\t#two\n[c]").unwrap();
        assert_eq!(groups.len(), 2);
        assert_eq!((groups[0].name, groups[0].line), ("a b", 3));
        assert_eq!(
            (groups[0].entries[0].key, groups[0].entries[0].raw),
            ("key", "v  w ")
        );
        assert_eq!(
            (
                groups[0].entries[1].key,
                groups[0].entries[1].raw,
                groups[0].entries[1].line
            ),
            ("other", "", 5)
        );
        assert!(groups[1].entries.is_empty());
    }

    #[test]
    fn lists_end_in_semicolons_and_may_escape_them() {
        assert_eq!(unescape_list("a;b\\;c;").unwrap(), ["a", "b;c"]);
        assert_eq!(unescape_list("a;b").unwrap(), ["a", "b"]);
        assert_eq!(unescape_list("").unwrap(), [""; 0]);
        assert_eq!(escape_list(["a", "b;c"]), "a;b\\;c;");
    }

    #[test]
    fn escapes_are_undone_and_strange_ones_refused() {
        assert_eq!(unescape(r"\sa\nb\t\r\\").unwrap(), " a\nb\t\r\\");
        assert_eq!(escape(" \t a\tb\n\\"), r"\s\t\sa	b\n\\");
        for raw in [r"\x", r"\", r"a\;", "a\u{1b}[2J"] {
            assert!(unescape(raw).is_err(), "{raw:?}");
        }
    }
}
