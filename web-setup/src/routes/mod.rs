//! The routes: each reads the lock, judges the request, asks one thing of the world, shows one page.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderName, header};
use axum::response::{IntoResponse, Response};

use crate::app::App;
use crate::error::WebError;
use crate::secret::Digest;
use crate::system::kernel;

pub mod assets;
pub mod dashboard;
pub mod device;
pub mod events;
pub mod login;
pub mod setup;
pub mod updates;

/// Says which start this is, so that a page that waits for a reboot knows when it is over.
pub const BOOT_HEADER: HeaderName = HeaderName::from_static("hearth-boot");

/// A short name of this start; the kernel's own id stays inside.
pub fn boot_name(app: &App) -> String {
    let id = kernel::boot_id(&app.root).unwrap_or_default();
    Digest::of(&id).to_hex().chars().take(16).collect()
}

/// Answers at once, whatever else is slow.
pub async fn health(State(app): State<Arc<App>>) -> Response {
    (
        [
            (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
            (BOOT_HEADER, boot_name(&app)),
        ],
        "ok",
    )
        .into_response()
}

/// No such page.
pub async fn not_found() -> WebError {
    WebError::NotFound
}

/// No such method.
pub async fn method_not_allowed() -> WebError {
    WebError::Method
}
