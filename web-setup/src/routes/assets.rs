//! Style, script and icon: in the binary, with their digest in the address, so that they are cached for ever.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Response};

use crate::error::WebError;
use crate::secret::Digest;

const STYLE: &str = include_str!("../../assets/style.css");
const SCRIPT: &str = include_str!("../../assets/app.js");
const ICON: &str = include_str!("../../assets/icon.svg");

struct Urls {
    style: String,
    script: String,
    icon: String,
}

static URLS: LazyLock<Urls> = LazyLock::new(|| {
    let url = |name: &str, content: &str| format!("/assets/{name}?v={}", &Digest::of(content).to_hex()[..12]);
    Urls {
        style: url("style.css", STYLE),
        script: url("app.js", SCRIPT),
        icon: url("icon.svg", ICON),
    }
});

/// Address of the style sheet.
pub fn style_url() -> &'static str {
    &URLS.style
}

/// Address of the script.
pub fn script_url() -> &'static str {
    &URLS.script
}

/// Address of the icon.
pub fn icon_url() -> &'static str {
    &URLS.icon
}

/// One of the three.
pub async fn asset(Path(name): Path<String>) -> Response {
    let (kind, content) = match name.as_str() {
        "style.css" => ("text/css; charset=utf-8", STYLE),
        "app.js" => ("text/javascript; charset=utf-8", SCRIPT),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return WebError::NotFound.into_response(),
    };
    (
        [
            (header::CONTENT_TYPE, kind),
            (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
        ],
        content,
    )
        .into_response()
}
