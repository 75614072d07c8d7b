//! What a browser sends, and what the web service keeps.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use axum::http::{HeaderMap, HeaderValue, header};
use ipc::settings::{AccountName, HostName, TimeZone};
use web_setup::form::{self, Form, MAX_BODY_BYTES, MAX_FIELDS, MAX_VALUE_BYTES};
use web_setup::setup::machine::Setup;
use web_setup::setup::store;
use web_setup::system::boots;
use web_setup::{cookies, guard, password, secret};

use crate::accept;

/// The body of a form: what is accepted reads as another implementation reads it and survives being encoded; the log's view of
/// it shows no value; every field parser of the wizard answers.
pub fn wizard_form(bytes: &[u8]) {
    let Ok(form) = Form::parse(bytes) else {
        return;
    };
    accept();
    let pairs: Vec<_> = form_urlencoded::parse(bytes).collect();
    let names: BTreeSet<_> = pairs.iter().map(|(name, _)| name).collect();
    assert!(bytes.len() <= MAX_BODY_BYTES && pairs.len() <= MAX_FIELDS && names.len() == pairs.len());
    for (name, value) in &pairs {
        assert!(!name.is_empty() && value.len() <= MAX_VALUE_BYTES);
        assert_eq!(form.get(name), value, "field {name:?}");
    }
    let borrowed: Vec<(&str, &str)> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
    let encoded = form::encode(&borrowed);
    // Each byte may become three.
    if encoded.len() <= MAX_BODY_BYTES {
        assert_eq!(Form::parse(encoded.as_bytes()).as_ref(), Ok(&form));
    }
    let shown: Vec<_> = pairs.iter().map(|(name, _)| name).collect();
    assert_eq!(
        format!("{form:?}"),
        format!("{shown:?}"),
        "Debug shows more than names"
    );
    fields(&form);
}

fn fields(form: &Form) {
    if let Ok(name) = HostName::parse(form.trimmed("host_name")) {
        assert_eq!(HostName::parse(&name.as_str().to_ascii_lowercase()), Ok(name));
    }
    if let Ok(zone) = TimeZone::parse(form.trimmed("time_zone")) {
        assert!(!zone.as_str().contains("..") && !zone.as_str().starts_with('/'));
    }
    let name = form.trimmed("name");
    if let Ok(name) = AccountName::parse(name) {
        assert!(name.as_str().len() <= 32);
    }
    let bits = password::guess_bits(form.get("password"), &[name, "hearth"]);
    assert!(bits >= 0.0 && bits.is_finite(), "{bits} bits");
}

/// The stored draft and the list of boots: what parses is written out to the same.
pub fn web_store(bytes: &[u8]) {
    if let Ok(setup) = store::decode(bytes) {
        accept();
        assert_ne!(
            setup,
            Setup::Provisioned,
            "a draft never unlocks what only the settings file may say"
        );
        let written = store::encode(&setup)
            .expect("a draft can be written")
            .expect("it is not finished");
        assert_eq!(store::decode(&written).expect("its own bytes are refused"), setup);
    }
    let boots = boots::decode(bytes);
    assert_eq!(boots::decode(&boots::encode(&boots)), boots);
}

/// First line: the `Host` header; the rest: the `Cookie` header. Only our own names and address literals are ours, and only a
/// token of our shape is a token.
pub fn web_request(bytes: &[u8]) {
    let end = bytes
        .iter()
        .position(|byte| *byte == b'\n')
        .unwrap_or(bytes.len());
    let (host, rest) = bytes.split_at(end);
    if let Ok(host) = std::str::from_utf8(host)
        && guard::is_own_host(host, &["attic".to_owned()])
    {
        accept();
        assert!(is_ours(host), "{host:?} passes for ours");
    }
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_bytes(rest.get(1..).unwrap_or_default()) {
        headers.insert(header::COOKIE, value);
        if let Some(token) = cookies::token(&headers, cookies::SESSION) {
            accept();
            assert!(secret::is_token(token) && token.len() == 64);
        }
    }
}

/// Said once more in other words than [`guard::is_own_host`] does.
fn is_ours(host: &str) -> bool {
    let port = host.rfind(':').filter(|at| !host[*at..].contains(']'));
    let (name, port) = host.split_at(port.unwrap_or(host.len()));
    let port_ok = port.is_empty() || port[1..].parse::<u16>().is_ok();
    let literal = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if let Some(address) = literal {
        return port_ok && address.parse::<Ipv6Addr>().is_ok();
    }
    let lower = name.to_ascii_lowercase();
    let bare = lower.trim_end_matches('.');
    let label = bare.strip_suffix(".local").unwrap_or(bare);
    let numbered = label
        .trim_end_matches(|c: char| c.is_ascii_digit())
        .trim_end_matches('-');
    port_ok
        && (name.parse::<Ipv4Addr>().is_ok()
            || label == "localhost"
            || label == "attic"
            || numbered == "attic")
}
