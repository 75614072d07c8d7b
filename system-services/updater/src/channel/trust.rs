//! Whom to trust for an index, and the revocation lists that came with one.

use std::fs;

use channel::Trust;
use ipc::paths;
use os_io::durable;
use os_io::root::Root;

use crate::engine::EngineError;
use crate::install::open::{NEWER_CRLS, pem};

/// Lists are kept up to so many bytes: those of the newest index, then older ones.
const MAX_KEPT: usize = 128 * 1024;
const BEGIN: &str = "-----BEGIN X509 CRL-----";
const END: &str = "-----END X509 CRL-----";

/// The image's roots and lists, and the lists that came with indexes.
pub fn read(root: &Root) -> Result<Trust, EngineError> {
    let trust = Trust::new(pem(&root.path(paths::UPDATE_KEYRING))?);
    let of_image = root.path(paths::UPDATE_CRLS);
    let trust = if of_image.exists() {
        trust.with_crls(pem(&of_image)?)
    } else {
        trust
    };
    Ok(match newer(root) {
        Some(lists) => trust.with_crls(lists),
        None => trust,
    })
}

/// Keeps the lists of an index: they count for bundles from now on. Those of other issuers stay.
pub fn keep(root: &Root, lists: &str) -> Result<(), os_io::Error> {
    let before = newer(root);
    let merged = merge(lists, before.as_deref().unwrap_or_default());
    if before.as_deref() == Some(&merged) {
        return Ok(());
    }
    durable::write_atomically(&root.path(NEWER_CRLS), merged.as_bytes(), 0o600)
}

/// What was kept, when it can be used: damaged, it must not be in the way of the next index, which replaces it.
fn newer(root: &Root) -> Option<String> {
    let path = root.path(NEWER_CRLS);
    if !fs::metadata(&path).is_ok_and(|m| m.len() > 0) {
        return None;
    }
    let text = pem(&path).ok()?;
    let usable = bundle::keyring::Keyring::default().with_crls(&text).is_ok();
    if !usable {
        tracing::error!("{} is damaged and not used", path.display());
    }
    usable.then_some(text)
}

/// The new lists, then those of the old that are not among them, as far as there is room. Of one issuer's the newest counts.
fn merge(new: &str, old: &str) -> String {
    let mut merged = String::new();
    let mut seen: Vec<&str> = Vec::new();
    for block in blocks(new).chain(blocks(old)) {
        if !seen.contains(&block) && merged.len() + block.len() < MAX_KEPT {
            seen.push(block);
            merged.push_str(block);
            merged.push('\n');
        }
    }
    merged
}

fn blocks(text: &str) -> impl Iterator<Item = &str> {
    text.match_indices(BEGIN).filter_map(move |(begin, _)| {
        let len = text.get(begin..)?.find(END)? + END.len();
        text.get(begin..begin + len)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_kept_once_the_newest_first_and_not_without_bound() {
        let list = |what: &str| format!("{BEGIN}\n{what}\n{END}");
        let (a, b) = (list("a"), list("b"));
        assert_eq!(merge(&a, ""), format!("{a}\n"));
        let both = merge(&b, &format!("{a}\n"));
        assert_eq!(both, format!("{b}\n{a}\n"));
        assert_eq!(merge(&b, &both), both);
        let long = list(&"x".repeat(MAX_KEPT));
        assert_eq!(merge(&a, &long), merge(&a, ""));
        assert_eq!(merge("rubbish", BEGIN), "");
    }
}
