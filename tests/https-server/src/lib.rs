//! For tests: an HTTPS file server with ranges that counts, stalls and breaks connections on request.
//!
//! Its certificate is made at start, for `localhost`, `127.0.0.1` and the names it is given; [`Server::authority_pem`] signs it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair, KeyUsagePurpose};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What the server does to its answers.
#[derive(Debug, Clone, Default)]
pub struct Behaviour {
    /// Breaks each connection after so many bytes of bodies.
    pub cut_after: Option<u64>,
    /// Says nothing more after so many bytes of bodies, with the connection open.
    pub stall_after: Option<u64>,
    /// Bytes per second of each connection.
    pub bytes_per_second: Option<u64>,
    /// Ignores `Range`.
    pub no_ranges: bool,
    /// Answers everything with this status.
    pub status: Option<u16>,
    /// Lets in only who has this value in `Authorization`.
    pub authorization: Option<String>,
}

/// A file's bytes and its entity tag.
type Content = Arc<(Vec<u8>, String)>;

struct Shared {
    files: Mutex<BTreeMap<String, Content>>,
    behaviour: Mutex<Behaviour>,
    sent: AtomicU64,
    requests: Mutex<Vec<String>>,
    stop: AtomicBool,
}

/// A running server; it ends when it is dropped.
pub struct Server {
    shared: Arc<Shared>,
    address: SocketAddr,
    authority: String,
}

impl Server {
    /// Listens on a free port of loopback; `names` are further names or addresses for the certificate.
    pub fn start(names: &[&str]) -> Result<Self> {
        let (config, authority) = tls(names)?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            files: Mutex::default(),
            behaviour: Mutex::default(),
            sent: AtomicU64::new(0),
            requests: Mutex::default(),
            stop: AtomicBool::new(false),
        });
        let server = Arc::clone(&shared);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if server.stop.load(Ordering::Relaxed) {
                    return;
                }
                let (Ok(stream), server, config) = (stream, Arc::clone(&server), Arc::clone(&config)) else {
                    continue;
                };
                // A client that goes away is no matter of the server's.
                thread::spawn(move || serve(stream, config, &server).ok());
            }
        });
        Ok(Self {
            shared,
            address,
            authority,
        })
    }

    /// Its port on loopback.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// The address of a file.
    pub fn url(&self, path: &str) -> String {
        format!("https://localhost:{}{path}", self.port())
    }

    /// The certificate of the authority that signed the server's.
    pub fn authority_pem(&self) -> &str {
        &self.authority
    }

    /// Serves these bytes at `path` (which begins with a slash).
    pub fn put(&self, path: &str, bytes: Vec<u8>) {
        let tag = format!("\"{}-{:x}\"", bytes.len(), sum(&bytes));
        lock(&self.shared.files).insert(path.into(), Arc::new((bytes, tag)));
    }

    /// Takes a file away.
    pub fn remove(&self, path: &str) {
        lock(&self.shared.files).remove(path);
    }

    /// From the next request on.
    pub fn behave(&self, behaviour: Behaviour) {
        *lock(&self.shared.behaviour) = behaviour;
    }

    /// Bytes of bodies sent so far.
    pub fn sent(&self) -> u64 {
        self.shared.sent.load(Ordering::Relaxed)
    }

    /// `METHOD path range` of every request so far.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.shared.requests).clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Wakes the thread that waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn tls(names: &[&str]) -> Result<(Arc<ServerConfig>, String)> {
    let authority_key = KeyPair::generate()?;
    let mut authority = CertificateParams::new(vec![])?;
    authority.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    authority.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority_cert = authority.self_signed(&authority_key)?;
    let key = KeyPair::generate()?;
    let all = ["localhost", "127.0.0.1"].iter().chain(names);
    let leaf = CertificateParams::new(all.map(|n| (*n).to_owned()).collect::<Vec<_>>())?
        .signed_by(&key, &Issuer::from_params(&authority, &authority_key))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(
            vec![leaf.der().clone()],
            PrivateKeyDer::Pkcs8(key.serialize_der().into()),
        )?;
    Ok((Arc::new(config), authority_cert.pem()))
}

fn serve(stream: TcpStream, config: Arc<ServerConfig>, server: &Shared) -> Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(60)))?;
    let mut stream = BufReader::new(StreamOwned::new(ServerConnection::new(config)?, stream));
    let mut sent_here = 0;
    loop {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let before = head.len();
            stream.by_ref().take(16 * 1024).read_until(b'\n', &mut head)?;
            if head.len() == before || head.len() > 16 * 1024 {
                return Ok(());
            }
        }
        let head = String::from_utf8(head)?;
        answer(stream.get_mut(), &head, server, &mut sent_here)?;
    }
}

fn answer(out: &mut impl Write, head: &str, server: &Shared, sent_here: &mut u64) -> Result<()> {
    let mut words = head.split(' ');
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let header = |name: &str| {
        head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
        })
    };
    let range_header = header("range");
    lock(&server.requests).push(format!(
        "{method} {path} {}",
        range_header.as_deref().unwrap_or("-")
    ));
    let behaviour = lock(&server.behaviour).clone();
    let content = lock(&server.files).get(path).cloned();
    let status = |out: &mut dyn Write, line: &str| {
        write!(out, "HTTP/1.1 {line}\r\nContent-Length: 0\r\n\r\n").and_then(|()| out.flush())
    };
    if let Some(code) = behaviour.status {
        return Ok(status(out, &format!("{code} As asked"))?);
    }
    if behaviour.authorization.is_some() && header("authorization") != behaviour.authorization {
        return Ok(status(out, "401 Unauthorized")?);
    }
    let Some(content) = content else {
        return Ok(status(out, "404 Not Found")?);
    };
    let (bytes, tag) = &*content;
    let range = match range_header.filter(|_| !behaviour.no_ranges) {
        Some(text) if header("if-range").is_none_or(|t| t == *tag) => Some(parse_range(&text, bytes.len())?),
        _ => None,
    };
    match &range {
        Some(range) => write!(
            out,
            "HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {}-{}/{}\r\n",
            range.start,
            range.end - 1,
            bytes.len()
        )?,
        None => write!(out, "HTTP/1.1 200 OK\r\n")?,
    }
    let body = &bytes[range.unwrap_or(0..bytes.len())];
    write!(
        out,
        "ETag: {tag}\r\nAccept-Ranges: bytes\r\nContent-Length: {}\r\n\r\n",
        body.len()
    )?;
    out.flush()?;
    if method == "HEAD" {
        return Ok(());
    }
    for piece in body.chunks(16 * 1024) {
        if behaviour.cut_after.is_some_and(|limit| *sent_here >= limit) {
            bail!("cut as asked");
        }
        if behaviour.stall_after.is_some_and(|limit| *sent_here >= limit) {
            while !server.stop.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(100));
            }
            bail!("stalled as asked");
        }
        out.write_all(piece)?;
        out.flush()?;
        *sent_here += piece.len() as u64;
        server.sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
        if let Some(rate) = behaviour.bytes_per_second {
            thread::sleep(Duration::from_secs_f64(piece.len() as f64 / rate as f64));
        }
    }
    Ok(())
}

/// Not cryptographic: tells versions of a test's file apart.
fn sum(bytes: &[u8]) -> u64 {
    bytes.chunks(4096).fold(0xcbf2_9ce4_8422_2325, |hash, block| {
        block
            .iter()
            .fold(hash, |h, b| (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3))
    })
}

fn parse_range(text: &str, len: usize) -> Result<Range<usize>> {
    let (first, last) = text
        .strip_prefix("bytes=")
        .and_then(|t| t.split_once('-'))
        .context("no range")?;
    let range = match (first.parse::<usize>(), last.parse::<usize>()) {
        (Ok(first), Ok(last)) => first..(last + 1).min(len),
        (Ok(first), Err(_)) => first..len,
        (Err(_), Ok(suffix)) => len.saturating_sub(suffix)..len,
        _ => bail!("no range: {text}"),
    };
    if range.start >= range.end {
        bail!("empty range: {text}");
    }
    Ok(range)
}
