//! Users and groups from sysusers.d(5), with pinned numbers: files on `data` outlive every update, so must their owners' ids.

use std::collections::BTreeMap;

use crate::error::{BuildError, Result};
use crate::tree::Tree;

/// Makes `/etc/passwd`, `/etc/group` and `/etc/shadow` from the `usr/lib/sysusers.d` of a tree.
///
/// # Errors
/// A user or group without a number that `pins` does not name.
pub fn apply(tree: &mut Tree, pins: &BTreeMap<String, u32>) -> Result<()> {
    let mut lines: Vec<(String, String)> = Vec::new();
    for (path, _) in tree
        .iter()
        .filter(|(p, _)| p.starts_with("usr/lib/sysusers.d/") && p.ends_with(".conf"))
    {
        let text = String::from_utf8_lossy(tree.bytes(path).unwrap_or_default()).into_owned();
        lines.extend(text.lines().map(|l| (path.to_string(), l.to_string())));
    }
    let made = parse(&lines, pins)?;
    tree.file("etc/passwd", made.passwd().into_bytes(), 0o644);
    tree.file("etc/group", made.group().into_bytes(), 0o644);
    tree.file("etc/shadow", made.shadow().into_bytes(), 0o000);
    Ok(())
}

#[derive(Debug, Default)]
struct Accounts {
    users: BTreeMap<u32, (String, u32, String, String, String)>,
    groups: BTreeMap<u32, (String, Vec<String>)>,
}

fn parse(lines: &[(String, String)], pins: &BTreeMap<String, u32>) -> Result<Accounts> {
    let mut accounts = Accounts::default();
    let mut members: Vec<(String, String)> = Vec::new();
    // A number that any file gives to a name holds for the lines of other files that leave it open.
    let given_elsewhere: BTreeMap<String, u32> = lines
        .iter()
        .filter_map(|(_, line)| {
            let words = words(line);
            let number = words.get(2)?.split(':').next()?.parse().ok()?;
            matches!(words.first()?.as_str(), "g" | "u" | "u!").then(|| (words[1].clone(), number))
        })
        .collect();
    for (file, line) in lines {
        let words = words(line);
        let word = |i: usize| words.get(i).map(String::as_str).filter(|w| *w != "-");
        let (Some(kind), Some(name)) = (word(0), word(1)) else {
            continue;
        };
        if kind.starts_with('#') {
            continue;
        }
        let id = || -> Result<(u32, u32)> {
            let given = word(2).unwrap_or_default();
            let (user, group) = given.split_once(':').map_or((given, None), |(u, g)| (u, Some(g)));
            let number = user
                .parse()
                .ok()
                .or_else(|| pins.get(name).or_else(|| given_elsewhere.get(name)).copied())
                .ok_or_else(|| {
                    BuildError::invalid(
                        file,
                        format!("{name} has no number; pin one in [user_ids] of the profile"),
                    )
                })?;
            let group = group.and_then(|g| g.parse().ok()).unwrap_or(number);
            Ok((number, group))
        };
        match kind.trim_end_matches('!') {
            "g" => {
                accounts
                    .groups
                    .entry(id()?.0)
                    .or_insert_with(|| (name.into(), Vec::new()));
            }
            "u" => {
                let (user, group) = id()?;
                if user == group {
                    accounts
                        .groups
                        .entry(group)
                        .or_insert_with(|| (name.into(), Vec::new()));
                }
                let home = word(4).unwrap_or("/");
                let shell = word(5).unwrap_or("/usr/sbin/nologin");
                let entry = (
                    name.into(),
                    group,
                    word(3).unwrap_or("").into(),
                    home.into(),
                    shell.into(),
                );
                accounts.users.entry(user).or_insert(entry);
            }
            "m" => members.extend(word(2).map(|group| (group.to_string(), name.to_string()))),
            "r" => {}
            other => {
                return Err(BuildError::invalid(
                    file,
                    format!("line type {other:?} is not known"),
                ));
            }
        }
    }
    for (group, user) in members {
        let found = accounts.groups.values_mut().find(|(name, _)| *name == group);
        let (_, list) =
            found.ok_or_else(|| BuildError::invalid("sysusers", format!("{user}: no group {group}")))?;
        list.push(user);
    }
    Ok(accounts)
}

impl Accounts {
    fn passwd(&self) -> String {
        let line =
            |(id, (name, group, gecos, home, shell)): (&u32, &(String, u32, String, String, String))| {
                format!("{name}:x:{id}:{group}:{gecos}:{home}:{shell}\n")
            };
        self.users.iter().map(line).collect()
    }

    fn group(&self) -> String {
        self.groups
            .iter()
            .map(|(id, (name, members))| format!("{name}:x:{id}:{}\n", members.join(",")))
            .collect()
    }

    /// Nobody has a password here: `*` matches none.
    fn shadow(&self) -> String {
        self.users
            .values()
            .map(|(name, ..)| format!("{name}:*::0:99999:7:::\n"))
            .collect()
    }
}

/// Words separated by spaces, with double quotes.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut any = false;
    for c in line.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                any = true;
            }
            c if c.is_whitespace() && !quoted => {
                if any {
                    words.push(std::mem::take(&mut word));
                    any = false;
                }
            }
            c => {
                word.push(c);
                any = true;
            }
        }
    }
    if any {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accounts(text: &str) -> Result<Accounts> {
        let lines: Vec<_> = text
            .lines()
            .map(|l| ("x.conf".to_string(), l.to_string()))
            .collect();
        parse(&lines, &BTreeMap::from([("hearth-web".to_string(), 901)]))
    }

    #[test]
    fn users_groups_and_members_are_made() {
        let made =
            accounts("u root 0 \"Super User\" /root\ng tty 5\nu! hearth-web - \"Web\"\nm hearth-web tty\n")
                .unwrap();
        assert_eq!(
            made.passwd(),
            "root:x:0:0:Super User:/root:/usr/sbin/nologin\nhearth-web:x:901:901:Web:/:/usr/sbin/nologin\n"
        );
        assert_eq!(made.group(), "root:x:0:\ntty:x:5:hearth-web\nhearth-web:x:901:\n");
        assert!(made.shadow().lines().all(|l| l.contains(":*:")));
    }

    #[test]
    fn a_user_without_a_pinned_number_is_refused_by_name() {
        let said = accounts("u newcomer - \"New\"").unwrap_err().to_string();
        assert!(said.contains("newcomer") && said.contains("user_ids"), "{said}");
    }
}
