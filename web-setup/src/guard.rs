//! What stands in front of every route: the `Host` check, the same-site check, the security headers.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::WebError;

/// On every response. No inline script or style, nothing from elsewhere, no frames.
const HEADERS: [(HeaderName, &str); 7] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::X_FRAME_OPTIONS, "DENY"),
    // Not `no-referrer`: with it browsers send `Origin: null` with our own forms (Fetch, "append a request Origin header"), and
    // over plain HTTP there is no `Sec-Fetch-Site` to tell them from another site's. Other sites still learn nothing.
    (header::REFERRER_POLICY, "same-origin"),
    (
        HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), payment=(), usb=(), interest-cohort=()",
    ),
];

/// Adds the headers; pages are never cached, because they show what is true now.
pub async fn headers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    headers
        .entry(header::CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    response
}

/// Refuses a `Host` that is not ours: a web page elsewhere that points its own name at this address (DNS rebinding) would
/// otherwise be "same origin" with the appliance.
pub async fn own_host(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let host = request
        .headers()
        .get(header::HOST)
        .and_then(|h| h.to_str().ok())
        .unwrap_or_default();
    let names = app.names();
    if request.headers().get_all(header::HOST).iter().count() == 1 && is_own_host(host, &names) {
        return next.run(request).await;
    }
    WebError::Host {
        name: names.into_iter().next().unwrap_or_default(),
    }
    .into_response()
}

/// Refuses a `POST` that says it comes from another site. The form's token is checked by each route besides.
pub async fn same_site(State(_): State<Arc<App>>, request: Request, next: Next) -> Response {
    if request.method() == Method::GET || request.method() == Method::HEAD || is_same_site(request.headers())
    {
        return next.run(request).await;
    }
    WebError::Forbidden.into_response()
}

/// True for an address literal, `localhost`, or one of `names`, bare or with `.local`; any port (QEMU forwards one).
pub fn is_own_host(host: &str, names: &[String]) -> bool {
    let (name, port) = match host.strip_prefix('[') {
        Some(rest) => match rest.split_once(']') {
            Some((address, port)) => {
                return address.parse::<Ipv6Addr>().is_ok()
                    && (port.is_empty() || is_port(port.strip_prefix(':')));
            }
            None => return false,
        },
        None => match host.split_once(':') {
            Some((name, port)) => (name, Some(port)),
            None => (host, None),
        },
    };
    if port.is_some() && !is_port(port) {
        return false;
    }
    if name.parse::<Ipv4Addr>().is_ok() {
        return true;
    }
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let label = name.strip_suffix(".local").unwrap_or(&name);
    label == "localhost"
        || names
            .iter()
            .any(|own| label == own || without_number(label) == Some(without_number_or_all(own)))
}

/// When a name is taken in the network, resolved puts a number behind it (`hearth` becomes `hearth2`).
fn without_number(label: &str) -> Option<&str> {
    let short = label.trim_end_matches(|c: char| c.is_ascii_digit());
    (short.len() < label.len()).then(|| short.trim_end_matches('-'))
}

fn without_number_or_all(label: &str) -> &str {
    without_number(label).unwrap_or(label)
}

fn is_port(port: Option<&str>) -> bool {
    port.is_some_and(|p| p.parse::<u16>().is_ok())
}

/// What browsers say of where a request comes from. A client that says nothing is no browser, or an old one: the token decides.
pub fn is_same_site(headers: &HeaderMap) -> bool {
    let text = |name: HeaderName| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text(HeaderName::from_static("sec-fetch-site"))
        && site != "same-origin"
    {
        return false;
    }
    match (text(header::ORIGIN), text(header::HOST)) {
        (None, _) => true,
        (Some(origin), Some(host)) => origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"))
            .is_some_and(|o| o.eq_ignore_ascii_case(host)),
        (Some(_), None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_names_and_addresses_are_accepted() {
        let names = vec!["attic".to_owned()];
        for good in [
            "attic",
            "attic.local",
            "ATTIC.local",
            "attic.local:8080",
            "attic.local.",
            "attic2.local",
            "attic-2.local",
            "localhost",
            "localhost:8080",
            "192.168.1.20",
            "192.168.1.20:80",
            "[fe80::1]",
            "[2001:db8::1]:8080",
            "127.0.0.1:41234",
        ] {
            assert!(is_own_host(good, &names), "{good}");
        }
        for bad in [
            "",
            "evil.example",
            "attic.evil.example",
            "evil.local",
            "attic.local.evil.example",
            "attic.local:",
            "attic:80:80",
            "[fe80::1",
            "[fe80::1]x",
            "[evil]",
            "attic:99999",
            "notattic",
            "hearth.local",
            "2",
        ] {
            assert!(!is_own_host(bad, &names), "{bad}");
        }
    }

    #[test]
    fn other_sites_are_told_by_what_browsers_say() {
        let headers = |pairs: &[(&'static str, &'static str)]| {
            let mut map = HeaderMap::new();
            for (name, value) in pairs {
                map.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
            }
            map
        };
        let host = ("host", "hearth.local");
        assert!(is_same_site(&headers(&[host])));
        assert!(is_same_site(&headers(&[
            host,
            ("origin", "http://hearth.local"),
            ("sec-fetch-site", "same-origin")
        ])));
        for bad in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", "http://hearth.local:81"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            assert!(!is_same_site(&headers(&[host, bad])), "{bad:?}");
        }
    }
}
