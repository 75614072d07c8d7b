//! `core create`, `core info`, `core list`: what there is.

use anyhow::Result;
use hyper_core::core::CoreOptions;
use hyper_core::corestore::Corestore;
use hyper_core::crypto::KeyPair;
use hyper_core::key;
use hyper_core::session::Session;

use super::CreateOptions;
use crate::context::Context;
use crate::event::{CoreLine, Event};
use crate::refusal::Refusal;
use crate::secret;
use crate::select::{Selector, Which, mistyped};

pub(super) fn create(options: CreateOptions, context: &Context) -> Result<()> {
    let name = match options.name.parse() {
        Ok(Selector::Name(name)) => name,
        Ok(Selector::Mistyped(text, error)) => return Err(mistyped(&text, error).into()),
        Ok(Selector::Key(_)) => {
            return Err(Refusal::Usage("a new core gets a name; its key comes of itself".into()).into());
        }
    };
    let store = context.open()?;
    let session = match options.seed {
        Some(file) => {
            let pair = KeyPair::from_seed(&*secret::read(&file)?);
            let core = if options.compat {
                CoreOptions::compat(pair)
            } else {
                CoreOptions::from_key_pair(pair)
            };
            store.get_as(&name, core)?
        }
        None if options.compat => store.get_by_name_compat(&name)?,
        None => store.get_by_name(&name)?,
    };
    say(context, &session, Some(&name))
}

pub(super) fn info(which: &Which, context: &Context) -> Result<()> {
    let store = context.open()?;
    let name = match &which.core {
        Selector::Name(name) => Some(name.as_str()),
        _ => None,
    };
    say(context, &which.open_stored(&store)?, name)
}

pub(super) fn list(all: bool, context: &Context) -> Result<()> {
    let store = context.open()?;
    let names = store.names()?;
    for (name, key) in &names {
        say_short(context, &store, key, Some(name))?;
    }
    if !all {
        return Ok(());
    }
    for discovery_key in store.list()? {
        let Some(session) = store.get_by_discovery_key(&discovery_key)? else {
            continue;
        };
        if names.iter().all(|(_, key)| key != session.key()) {
            say_short(context, &store, session.key(), None)?;
        }
    }
    Ok(())
}

fn say_short(context: &Context, store: &Corestore, key: &[u8; 32], name: Option<&str>) -> Result<()> {
    let session = store.get_by_key(key)?;
    let shown = key::to_z32(key);
    let (length, name_or_key) = (session.length(), name.unwrap_or("-"));
    let sentence = format!("{shown}  {length:>8} blocks  {name_or_key}");
    with_line(&session, name, |line| {
        context.output.say(&Event::Core(line), sentence)
    })
}

pub(super) fn say(context: &Context, session: &Session, name: Option<&str>) -> Result<()> {
    let info = session.info()?;
    let mut sentence = format!("{}\n", key::to_z32(session.key()));
    let mut row = |title: &str, value: String| sentence.push_str(&format!("{title:<15}{value}\n"));
    row("discovery key", key::to_hex(&session.discovery_key()));
    row(
        "length",
        format!("{} blocks, {} bytes", session.length(), session.byte_length()),
    );
    row(
        "stored",
        format!("{} blocks from the start on", info.contiguous_length),
    );
    row("fork", session.fork().to_string());
    row(
        "writable",
        if session.is_writable() { "yes" } else { "no" }.into(),
    );
    with_line(session, name, |line| {
        context.output.say(&Event::Core(line), sentence.trim_end())
    })
}

fn with_line(
    session: &Session,
    name: Option<&str>,
    say: impl FnOnce(CoreLine<'_>) -> std::io::Result<()>,
) -> Result<()> {
    let info = session.info()?;
    say(CoreLine {
        key: &key::to_z32(session.key()),
        discovery_key: &key::to_hex(&session.discovery_key()),
        name,
        length: session.length(),
        byte_length: session.byte_length(),
        contiguous_length: info.contiguous_length,
        fork: session.fork(),
        writable: session.is_writable(),
    })?;
    Ok(())
}
