//! The accept loop: bounded connections, bounded headers, no patience for slow ones.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};

/// What one appliance can bear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Connections at the same time.
    pub connections: usize,
    /// Connections of one address, so that one device cannot keep everyone else out.
    pub connections_each: usize,
    /// A request's head must be whole by then; it bounds idle keep-alive connections too.
    pub head_patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 64,
            connections_each: 24,
            head_patience: Duration::from_secs(15),
        }
    }
}

/// Bytes of a request's head.
const HEAD_BYTES: usize = 16 * 1024;
/// Headers of a request.
const MAX_HEADERS: usize = 64;
/// At the end, answers under way get this long: the page that waits for a reboot must reach its browser.
const GOODBYE: Duration = Duration::from_secs(3);

type Counts = Arc<Mutex<HashMap<IpAddr, usize>>>;

/// One connection of an address; dropping it makes room.
struct Place {
    counts: Counts,
    address: IpAddr,
}

impl Place {
    fn take(counts: &Counts, address: IpAddr, most: usize) -> Option<Self> {
        let mut map = counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = map.entry(address).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        drop(map);
        Some(Self {
            counts: counts.clone(),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut map = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = map.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                map.remove(&self.address);
            }
        }
    }
}

/// Serves until `stop` turns true, then lets answers under way finish.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let counts = Counts::default();
    loop {
        let permit = tokio::select! {
            permit = places.clone().acquire_owned() => permit,
            _ = stop.changed() => break,
        };
        let Ok(permit) = permit else { break };
        let (stream, peer) = tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of file descriptors, or the peer is gone already: a moment, then on.
                    tracing::warn!(%error, "accept");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
            _ = stop.changed() => break,
        };
        let Some(place) = Place::take(&counts, peer.ip().to_canonical(), limits.connections_each) else {
            continue;
        };
        let (router, stop) = (router.clone(), stop.clone());
        tokio::spawn(async move {
            connection(stream, peer, router, limits.head_patience, stop).await;
            drop((place, permit));
        });
    }
    drop(listener);
    let all = u32::try_from(limits.connections).unwrap_or(u32::MAX);
    let _ = tokio::time::timeout(GOODBYE, places.acquire_many(all)).await;
}

async fn connection(
    stream: TcpStream,
    peer: SocketAddr,
    router: Router,
    head_patience: Duration,
    mut stop: watch::Receiver<bool>,
) {
    let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
    let service = tower_service(router, peer);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_patience)
        .max_buf_size(HEAD_BYTES)
        .max_headers(MAX_HEADERS)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service));
    tokio::pin!(connection);
    loop {
        tokio::select! {
            result = connection.as_mut() => {
                if let Err(error) = result {
                    tracing::debug!(%error, "connection");
                }
                return;
            }
            changed = stop.changed() => {
                connection.as_mut().graceful_shutdown();
                if changed.is_err() || *stop.borrow() {
                    let _ = connection.as_mut().await;
                    return;
                }
            }
        }
    }
}

/// The router, with the peer's address in each request.
fn tower_service(
    router: Router,
    peer: SocketAddr,
) -> impl tower::Service<
    hyper::Request<Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    tower::service_fn(move |request: hyper::Request<Incoming>| {
        let mut router = router.clone();
        async move {
            let mut request: Request = request.map(axum::body::Body::new);
            request.extensions_mut().insert(peer);
            tower::Service::call(&mut router, request).await
        }
    })
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn start(limits: Limits) -> (SocketAddr, watch::Sender<bool>, tokio::task::JoinHandle<()>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let slow = get(|| async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            "slow"
        });
        let router = Router::new()
            .route("/", get(|| async { "ok" }))
            .route("/slow", slow);
        let (sender, stop) = watch::channel(false);
        (
            address,
            sender,
            tokio::spawn(serve(listener, router, limits, stop)),
        )
    }

    async fn ask(address: SocketAddr, head: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // A server that has seen enough closes while the rest is still being written.
        let _ = stream.write_all(head.as_bytes()).await;
        let mut bytes = vec![];
        let reading = stream.read_to_end(&mut bytes);
        let _ = tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .expect("the connection is closed");
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[tokio::test]
    async fn a_head_that_does_not_end_is_cut_off() {
        let limits = Limits {
            head_patience: Duration::from_millis(200),
            ..Limits::default()
        };
        let (address, _stop, _server) = start(limits).await;
        assert!(
            !ask(address, "GET / HTTP/1.1\r\nHost: a\r\nX: ")
                .await
                .contains("200 OK")
        );
        assert!(
            ask(address, "GET / HTTP/1.1\r\nHost: a\r\n\r\n")
                .await
                .contains("200 OK"),
            "then idle, then closed"
        );
    }

    #[tokio::test]
    async fn a_head_that_is_too_large_is_refused() {
        let (address, _stop, _server) = start(Limits::default()).await;
        let many: String = (0..=MAX_HEADERS).map(|n| format!("X-{n}: 1\r\n")).collect();
        assert!(
            ask(address, &format!("GET / HTTP/1.1\r\n{many}\r\n"))
                .await
                .contains(" 431 ")
        );
        let long = format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(HEAD_BYTES * 2));
        assert!(!ask(address, &long).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn one_address_has_its_share_of_connections_and_gets_it_back() {
        let (address, _stop, _server) = start(Limits {
            connections_each: 2,
            ..Limits::default()
        })
        .await;
        let request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let first = TcpStream::connect(address).await.unwrap();
        let second = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(ask(address, request).await, "");
        drop((first, second));
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert!(ask(address, request).await.contains("200 OK"));
    }

    #[tokio::test]
    async fn an_answer_under_way_is_finished_before_the_end() {
        let (address, stop, server) = start(Limits::default()).await;
        let answer = tokio::spawn(async move { ask(address, "GET /slow HTTP/1.1\r\nHost: a\r\n\r\n").await });
        tokio::time::sleep(Duration::from_millis(100)).await;
        stop.send(true).unwrap();
        tokio::time::timeout(Duration::from_secs(2), server)
            .await
            .expect("it ends")
            .unwrap();
        assert!(answer.await.unwrap().ends_with("slow"));
    }
}
