//! A hawkBit server for one device: the part of its Direct Device Integration API that a client needs for an update.
//!
//! Paths, fields and words are those of hawkBit's DDI documentation. It speaks plain HTTP on loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};

use anyhow::{Context, Result};
use axum::Json;
use axum::Router;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use ring::digest::{Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;

/// The tenant.
pub const TENANT: &str = "DEFAULT";
/// The device's name.
pub const TARGET: &str = "attic";
/// What the device shows to be let in.
pub const TOKEN: &str = "a7c4e1b0d2f34965";

/// Where the device gets the bundle.
#[derive(Debug, Clone)]
pub enum Download {
    /// From this server, over plain HTTP.
    Here,
    /// From another address.
    At(String),
}

/// What the device is to install.
struct Deployment {
    id: String,
    version: String,
    bundle: Vec<u8>,
    download: Download,
}

#[derive(Default)]
struct Desk {
    deployment: Option<Deployment>,
    feedback: Vec<Value>,
    attributes: Option<Value>,
    requests: Vec<String>,
}

struct Shared {
    address: SocketAddr,
    desk: Mutex<Desk>,
}

impl Shared {
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn url(&self, rest: &str) -> String {
        format!("http://{}/{TENANT}/controller/v1/{TARGET}{rest}", self.address)
    }
}

/// A running server; it ends when it is dropped.
pub struct Hawkbit {
    shared: Arc<Shared>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Hawkbit {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// When there is none.
    pub fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let shared = Arc::new(Shared {
            address: listener.local_addr()?,
            desk: Mutex::default(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let router = router(Arc::clone(&shared));
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                let Ok(listener) = TcpListener::from_std(listener) else {
                    return;
                };
                tokio::select! {
                    _ = axum::serve(listener, router) => {}
                    _ = stopped => {}
                }
            });
        });
        Ok(Self {
            shared,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// Host and port.
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Offers a bundle until the device closes the action.
    pub fn deploy(&self, id: &str, version: &str, bundle: Vec<u8>, download: Download) {
        let mut desk = self.shared.desk();
        desk.feedback.clear();
        desk.deployment = Some(Deployment {
            id: id.into(),
            version: version.into(),
            bundle,
            download,
        });
    }

    /// What the device said about the last deployment: `(execution, finished)` of each report, with its details.
    ///
    /// # Errors
    /// When a report is not what DDI wants.
    pub fn feedback(&self) -> Result<Vec<(String, String, String)>> {
        let desk = self.shared.desk();
        desk.feedback
            .iter()
            .map(|report| {
                let status = &report["status"];
                let word = |value: &Value| value.as_str().map(str::to_owned);
                let details = status["details"]
                    .as_array()
                    .map(Vec::as_slice)
                    .unwrap_or_default();
                let details: Vec<&str> = details.iter().filter_map(Value::as_str).collect();
                Ok((
                    word(&status["execution"]).with_context(|| report.to_string())?,
                    word(&status["result"]["finished"]).with_context(|| report.to_string())?,
                    details.join(" "),
                ))
            })
            .collect()
    }

    /// What the device told of itself.
    pub fn attributes(&self) -> Option<Value> {
        self.shared.desk().attributes.clone()
    }

    /// `METHOD path status` of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.desk().requests.clone()
    }
}

impl Drop for Hawkbit {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn router(shared: Arc<Shared>) -> Router {
    let base = format!("/{TENANT}/controller/v1/{TARGET}");
    Router::new()
        .route(&base, get(poll))
        .route(&format!("{base}/configData"), put(identify))
        .route(&format!("{base}/deploymentBase/{{id}}"), get(deployment))
        .route(&format!("{base}/deploymentBase/{{id}}/feedback"), post(report))
        .route(&format!("{base}/bundle.raucb"), get(bundle))
        .layer(middleware::from_fn_with_state(Arc::clone(&shared), let_in))
        .with_state(shared)
}

/// Only who has the token.
async fn let_in(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let line = format!("{} {}", request.method(), request.uri().path());
    let response = if known(request.headers()) {
        next.run(request).await
    } else {
        StatusCode::UNAUTHORIZED.into_response()
    };
    shared
        .desk()
        .requests
        .push(format!("{line} {}", response.status().as_u16()));
    response
}

fn known(headers: &HeaderMap) -> bool {
    headers
        .get(header::AUTHORIZATION)
        .is_some_and(|value| value == format!("TargetToken {TOKEN}").as_str())
}

async fn poll(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let desk = shared.desk();
    let mut links = json!({});
    if desk.attributes.is_none() {
        links["configData"] = json!({ "href": shared.url("/configData") });
    }
    if let Some(deployment) = &desk.deployment {
        let href = shared.url(&format!("/deploymentBase/{}?c=1", deployment.id));
        links["deploymentBase"] = json!({ "href": href });
    }
    Json(json!({ "config": { "polling": { "sleep": "00:01:00" } }, "_links": links }))
}

async fn identify(State(shared): State<Arc<Shared>>, Json(said): Json<Value>) {
    shared.desk().attributes = Some(said["data"].clone());
}

async fn deployment(State(shared): State<Arc<Shared>>, Path(id): Path<String>) -> Response {
    let desk = shared.desk();
    let Some(deployment) = desk.deployment.as_ref().filter(|known| known.id == id) else {
        return StatusCode::NOT_FOUND.into_response();
    };
    let links = match &deployment.download {
        Download::Here => json!({ "download-http": { "href": shared.url("/bundle.raucb") } }),
        Download::At(href) => json!({ "download": { "href": href } }),
    };
    let artifact = json!({
        "filename": "bundle.raucb",
        "hashes": {
            "sha1": hex(&digest(&SHA1_FOR_LEGACY_USE_ONLY, &deployment.bundle)),
            "sha256": hex(&digest(&SHA256, &deployment.bundle)),
        },
        "size": deployment.bundle.len(),
        "_links": links,
    });
    let chunk =
        json!({ "part": "os", "version": deployment.version, "name": "hearth", "artifacts": [artifact] });
    let action = json!({ "download": "forced", "update": "forced", "chunks": [chunk] });
    Json(json!({ "id": id, "deployment": action })).into_response()
}

async fn report(
    State(shared): State<Arc<Shared>>,
    Path(id): Path<String>,
    Json(said): Json<Value>,
) -> StatusCode {
    let mut desk = shared.desk();
    if desk.deployment.as_ref().is_none_or(|known| known.id != id) {
        // As hawkBit does with an action that is over.
        return StatusCode::GONE;
    }
    if said["status"]["execution"] == "closed" {
        desk.deployment = None;
    }
    desk.feedback.push(said);
    StatusCode::OK
}

async fn bundle(State(shared): State<Arc<Shared>>) -> Response {
    match &shared.desk().deployment {
        Some(deployment) => deployment.bundle.clone().into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    }
}

fn hex(digest: &Digest) -> String {
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}
