//! The two cookies: which browser this is (before login, and for the claim on setup), and the session.

use axum::http::{HeaderMap, HeaderValue, header};

use crate::secret;

/// Names a browser before login; its digest is the claim on a setup under way.
pub const BROWSER: &str = "hearth-browser";
/// The session after login.
pub const SESSION: &str = "hearth-session";

/// The token in the cookie `name`, if it has the shape of one of ours.
pub fn token<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(key, value)| *key == name && secret::is_token(value))
        .map(|(_, value)| value)
}

/// A `Set-Cookie` value. No `Secure`: the appliance speaks plain HTTP until it has a name that a certificate can be made for.
pub fn set(name: &str, token: &str, max_age_seconds: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!(
        "{name}={token}; Path=/; Max-Age={max_age_seconds}; HttpOnly; SameSite=Strict"
    ))
    .ok()
}

/// A `Set-Cookie` value that takes the cookie away.
pub fn clear(name: &str) -> Option<HeaderValue> {
    set(name, "", 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_tokens_of_our_shape_are_read() {
        let mut headers = HeaderMap::new();
        let token_text = "ab".repeat(32);
        headers.append(
            header::COOKIE,
            HeaderValue::from_static("hearth-session=short; other=1"),
        );
        headers.append(
            header::COOKIE,
            format!("x=y; hearth-session={token_text}").parse().unwrap(),
        );
        assert_eq!(token(&headers, SESSION), Some(token_text.as_str()));
        assert_eq!(token(&headers, BROWSER), None);
    }
}
