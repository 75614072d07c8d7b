//! A bundle on an HTTPS server, read by ranges.
//!
//! Announced ranges ([`ReadAt::will_read`]) are asked for in one request each and read as a stream; a broken or stalled
//! connection goes on where it stopped. The end of the file (trailer and signature) comes with the first request.

use std::io::{self, Read};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bundle::source::ReadAt;
use thiserror::Error;
use ureq::http::{Response, StatusCode, header};
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::{Agent, Body, BodyReader};

/// The first request asks for this many bytes at the end: trailer and signature of nearly every bundle.
const TAIL_BYTES: u64 = 8 * 1024;
/// Data, hash blocks and the chunk index are read in turn, each in ascending order.
const MAX_STREAMS: usize = 4;
/// A file beyond this is no bundle of ours.
const MAX_BYTES: u64 = 16 << 30;
/// Longest time for a file that is read at once.
const WHOLE_PATIENCE: Duration = Duration::from_secs(60);
/// Announced ranges that are remembered.
const MAX_RANGES: usize = 65_536;

/// Where and how. Not to be printed: headers may be secrets.
#[derive(Clone)]
pub struct Options {
    /// `https://…`
    pub url: String,
    /// Certificates (PEM) of the authorities that may sign the server's.
    pub authorities_pem: String,
    /// How long a server may say nothing before the connection is made anew.
    pub stall: Duration,
    /// How long is tried without a single new byte.
    pub patience: Duration,
    /// More headers: name and value.
    pub headers: Vec<(String, String)>,
}

impl Options {
    /// Only the address and the authorities; the rest by default.
    pub fn new(url: &str, authorities_pem: String) -> Self {
        Self {
            url: url.into(),
            authorities_pem,
            stall: Duration::from_secs(30),
            patience: Duration::from_secs(180),
            headers: Vec::new(),
        }
    }
}

/// Why a server is of no use.
#[derive(Debug, Error)]
pub enum HttpsError {
    /// Not `https://`.
    #[error("{0} is not an https:// address; updates are fetched over HTTPS only")]
    NotHttps(String),
    /// The certificates of the configured authority cannot be read.
    #[error("the configured certificate authority is not a PEM certificate")]
    Authorities,
    /// Name resolution, connection, TLS, or no answer.
    #[error("{url} {}", advice(source))]
    Unreachable {
        /// The address.
        url: String,
        /// What happened.
        #[source]
        source: Box<ureq::Error>,
    },
    /// Another answer than the one asked for.
    #[error("{url} answered {status}{}", hint(*.status))]
    Status {
        /// The address.
        url: String,
        /// Its answer.
        status: u16,
    },
    /// An answer that makes no sense.
    #[error("{url} answered with {what}")]
    Answer {
        /// The address.
        url: String,
        /// What is wrong.
        what: String,
    },
}

/// A certificate of a server of one's own is the owner's to trust, a clock that is wrong the owner's to set.
fn advice(error: &ureq::Error) -> &'static str {
    let tls = match error {
        ureq::Error::Io(error) => error.get_ref().and_then(|e| e.downcast_ref()),
        ureq::Error::Rustls(error) => Some(error),
        _ => None,
    };
    if let Some(rustls::Error::InvalidCertificate(_)) = tls {
        return "has a certificate that this box does not trust; check the address and the clock, or put the certificate \
                of its authority into /var/lib/hearth-updater/authorities.pem";
    }
    "cannot be reached; check the network and the clock"
}

fn hint(status: u16) -> &'static str {
    match status {
        200 => " to a range request: this server cannot send parts of a file, which updates need",
        300..=399 => {
            ": give the address that it leads to; headers other than Authorization are not sent on to another place"
        }
        401 | 403 => " (not allowed)",
        404 | 410 => " (no such file)",
        _ => "",
    }
}

/// One request's answer, read so far up to `position`.
struct Stream {
    position: u64,
    end: u64,
    reader: BodyReader<'static>,
}

#[derive(Default)]
struct Inner {
    /// Announced, ascending, not overlapping.
    announced: Vec<Range<u64>>,
    /// The one used last is last.
    streams: Vec<Stream>,
}

/// The file on the server.
pub struct Https {
    agent: Agent,
    options: Options,
    size: u64,
    validator: Option<String>,
    tail: Vec<u8>,
    fetched: AtomicU64,
    stop: Arc<AtomicBool>,
    inner: Mutex<Inner>,
}

impl Https {
    /// Asks for the end of the file. `stop` ends every wait soon after it is set.
    pub fn open(options: Options, stop: Arc<AtomicBool>) -> Result<Self, HttpsError> {
        if !options.url.starts_with("https://") {
            return Err(HttpsError::NotHttps(options.url));
        }
        let agent = agent(&options)?;
        let response = request(&agent, &options, &format!("bytes=-{TAIL_BYTES}"), None)?;
        let answer = |what: &str| HttpsError::Answer {
            url: options.url.clone(),
            what: what.into(),
        };
        let (range, size) =
            range_of(&response).ok_or_else(|| answer("no or a wrong Content-Range header"))?;
        if size > MAX_BYTES {
            return Err(answer("a file larger than 16 GiB"));
        }
        if range.end != size || range.end - range.start != TAIL_BYTES.min(size) {
            return Err(answer("another range than the one asked for"));
        }
        let validator = response
            .headers()
            .get(header::ETAG)
            .and_then(|v| v.to_str().ok())
            .filter(|tag| !tag.starts_with("W/"))
            .map(str::to_owned);
        let mut tail = vec![0; (range.end - range.start) as usize];
        response
            .into_body()
            .into_with_config()
            .limit(TAIL_BYTES)
            .reader()
            .read_exact(&mut tail)
            .map_err(|_| answer("fewer bytes than it promised"))?;
        let fetched = AtomicU64::new(tail.len() as u64);
        Ok(Self {
            agent,
            options,
            size,
            validator,
            tail,
            fetched,
            stop,
            inner: Mutex::default(),
        })
    }

    /// Bytes of bodies that came over the network so far.
    pub fn fetched(&self) -> u64 {
        self.fetched.load(Ordering::Relaxed)
    }

    /// Bytes of the ranges that were announced so far, whether they were read or not.
    pub fn announced(&self) -> u64 {
        let inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.announced.iter().map(|range| range.end - range.start).sum()
    }

    fn open_stream(&self, range: Range<u64>) -> Result<Stream, HttpsError> {
        let text = format!("bytes={}-{}", range.start, range.end - 1);
        let response = request(&self.agent, &self.options, &text, self.validator.as_deref())?;
        if range_of(&response) != Some((range.clone(), self.size)) {
            return Err(HttpsError::Answer {
                url: self.options.url.clone(),
                what: "another range than the one asked for".into(),
            });
        }
        Ok(Stream {
            position: range.start,
            end: range.end,
            reader: response
                .into_body()
                .into_with_config()
                .limit(range.end - range.start)
                .reader(),
        })
    }

    /// Takes the stream that stands at `offset`, or makes one up to the end of the announced range.
    fn stream_at(&self, inner: &mut Inner, offset: u64, len: u64) -> Result<Stream, HttpsError> {
        if let Some(index) = inner
            .streams
            .iter()
            .position(|s| s.position == offset && s.end > offset)
        {
            return Ok(inner.streams.remove(index));
        }
        let after = inner.announced.partition_point(|r| r.start <= offset);
        let end = after
            .checked_sub(1)
            .and_then(|i| inner.announced.get(i))
            .map_or(0, |r| r.end)
            .max(offset + len)
            .min(self.size);
        self.open_stream(offset..end)
    }

    /// Fills as much as one stream gives; the rest is the next call's.
    fn read_some(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut stream = self
            .stream_at(&mut inner, offset, buf.len() as u64)
            .map_err(into_io)?;
        let want = buf
            .len()
            .min(usize::try_from(stream.end - offset).unwrap_or(usize::MAX));
        let read = stream.reader.read(&mut buf[..want])?;
        if read == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                "the server closed the connection early",
            ));
        }
        self.fetched.fetch_add(read as u64, Ordering::Relaxed);
        stream.position += read as u64;
        if stream.position < stream.end {
            inner.streams.push(stream);
            if inner.streams.len() > MAX_STREAMS {
                inner.streams.remove(0);
            }
        } else {
            // Reading to the end gives the connection back to the agent.
            let _ = stream.reader.read(&mut [0; 1]);
        }
        Ok(read)
    }

    fn read_tail(&self, buf: &mut [u8], offset: u64) -> bool {
        let begin = self.size - self.tail.len() as u64;
        let found = offset
            .checked_sub(begin)
            .and_then(|start| self.tail.get(start as usize..)?.get(..buf.len()));
        found.is_some_and(|bytes| {
            buf.copy_from_slice(bytes);
            true
        })
    }

    fn wait(&self, time: Duration) -> io::Result<()> {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
            }
            std::thread::sleep(Duration::from_millis(50).min(time));
        }
        Ok(())
    }
}

impl ReadAt for Https {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        if offset
            .checked_add(buf.len() as u64)
            .is_none_or(|end| end > self.size)
        {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.read_tail(buf, offset) {
            return Ok(());
        }
        let mut done = 0;
        let mut last_byte = Instant::now();
        let mut pause = Duration::from_millis(250);
        while done < buf.len() {
            self.wait(Duration::ZERO)?;
            if self.stop.load(Ordering::Relaxed) {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "cancelled"));
            }
            match self.read_some(&mut buf[done..], offset + done as u64) {
                Ok(read) => {
                    done += read;
                    last_byte = Instant::now();
                    pause = Duration::from_millis(250);
                }
                Err(error) if is_final(&error) || last_byte.elapsed() >= self.options.patience => {
                    return Err(error);
                }
                Err(error) => {
                    tracing::warn!(%error, position = offset + done as u64, "the download is interrupted; trying again");
                    self.wait(pause)?;
                    pause = (pause * 2).min(Duration::from_secs(15));
                }
            }
        }
        Ok(())
    }

    fn will_read(&self, ranges: &[Range<u64>]) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all = std::mem::take(&mut inner.announced);
        all.extend(ranges.iter().filter(|r| r.start < r.end).cloned());
        all.sort_by_key(|r| r.start);
        all.dedup_by(|next, before| {
            let touches = next.start <= before.end;
            if touches {
                before.end = before.end.max(next.end);
            }
            touches
        });
        all.truncate(MAX_RANGES);
        inner.announced = all;
    }
}

/// A small file, read at once: at most `limit` bytes, within [`WHOLE_PATIENCE`].
pub fn fetch_whole(options: &Options, limit: usize) -> Result<Vec<u8>, HttpsError> {
    if !options.url.starts_with("https://") {
        return Err(HttpsError::NotHttps(options.url.clone()));
    }
    let unreachable = |source| HttpsError::Unreachable {
        url: options.url.clone(),
        source: Box::new(source),
    };
    let response = agent(options)?
        .get(&options.url)
        .config()
        .timeout_global(Some(WHOLE_PATIENCE))
        .build()
        .header(header::ACCEPT_ENCODING, "identity")
        .call()
        .map_err(unreachable)?;
    if response.status() != StatusCode::OK {
        return Err(HttpsError::Status {
            url: options.url.clone(),
            status: response.status().as_u16(),
        });
    }
    let mut bytes = Vec::new();
    response
        .into_body()
        .into_with_config()
        // One more, to tell a longer file from one that just fits.
        .limit(limit as u64 + 1)
        .reader()
        .take(limit as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| unreachable(source.into()))?;
    if bytes.len() > limit {
        return Err(HttpsError::Answer {
            url: options.url.clone(),
            what: format!("more than {limit} bytes, which is not what belongs there"),
        });
    }
    Ok(bytes)
}

/// An answer that will be the same next time.
fn is_final(error: &io::Error) -> bool {
    error
        .get_ref()
        .and_then(|e| e.downcast_ref::<HttpsError>())
        .is_some_and(|e| match e {
            HttpsError::Status { status, .. } => *status < 500 && *status != 429 && *status != 408,
            HttpsError::Answer { .. } | HttpsError::NotHttps(_) | HttpsError::Authorities => true,
            HttpsError::Unreachable { .. } => false,
        })
}

fn into_io(error: HttpsError) -> io::Error {
    io::Error::other(error)
}

fn agent(options: &Options) -> Result<Agent, HttpsError> {
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in parse_pem(options.authorities_pem.as_bytes()) {
        match item {
            Ok(PemItem::Certificate(certificate)) => certificates.push(certificate),
            Ok(_) => {}
            Err(_) => return Err(HttpsError::Authorities),
        }
    }
    if certificates.is_empty() {
        return Err(HttpsError::Authorities);
    }
    let tls = TlsConfig::builder()
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(RootCerts::new_with_certs(&certificates))
        .build();
    Ok(Agent::new_with_config(
        Agent::config_builder()
            .https_only(true)
            .http_status_as_error(false)
            .proxy(None)
            .user_agent(concat!("hearth-updater/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls)
            .max_redirects(redirects(&options.headers))
            .timeout_resolve(Some(Duration::from_secs(20)))
            .timeout_connect(Some(Duration::from_secs(20)))
            .timeout_recv_response(Some(options.stall))
            .timeout_per_read(Some(options.stall))
            .build(),
    ))
}

/// Headers may be secrets for this server only. ureq drops `Authorization` on a redirect, but no other.
fn redirects(headers: &[(String, String)]) -> u32 {
    let dropped = |name: &str| name.eq_ignore_ascii_case(header::AUTHORIZATION.as_str());
    if headers.iter().all(|(name, _)| dropped(name)) {
        5
    } else {
        0
    }
}

/// Asks for a part of the file; the answer is one to a range request.
fn request(
    agent: &Agent,
    options: &Options,
    range: &str,
    validator: Option<&str>,
) -> Result<Response<Body>, HttpsError> {
    let mut request = agent
        .get(&options.url)
        .header(header::RANGE, range)
        // A packed answer would count other bytes than the range.
        .header(header::ACCEPT_ENCODING, "identity");
    if let Some(validator) = validator {
        request = request.header(header::IF_RANGE, validator);
    }
    for (name, value) in &options.headers {
        request = request.header(name, value);
    }
    let response = request.call().map_err(|source| HttpsError::Unreachable {
        url: options.url.clone(),
        source: Box::new(source),
    })?;
    match response.status() {
        StatusCode::PARTIAL_CONTENT => Ok(response),
        StatusCode::OK if validator.is_some() => Err(HttpsError::Answer {
            url: options.url.clone(),
            what: "another file than before: it was replaced while it was read; ask for the update again"
                .into(),
        }),
        status => Err(HttpsError::Status {
            url: options.url.clone(),
            status: status.as_u16(),
        }),
    }
}

fn range_of(response: &Response<Body>) -> Option<(Range<u64>, u64)> {
    content_range(response.headers().get(header::CONTENT_RANGE)?.to_str().ok()?)
}

/// `bytes 0-99/1234`: range and size (RFC 9110, 14.4); public for the fuzz tests.
pub fn content_range(text: &str) -> Option<(Range<u64>, u64)> {
    let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
    let (first, last) = range.split_once('-')?;
    let (first, last, size): (u64, u64, u64) = (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
    let end = last.checked_add(1)?;
    (first < end && end <= size).then_some((first..end, size))
}

#[cfg(test)]
mod tests {
    use https_server::{Behaviour, Server};

    use super::*;

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    fn options(server: &Server, path: &str) -> Options {
        Options {
            stall: Duration::from_millis(400),
            patience: Duration::from_secs(5),
            ..Options::new(&server.url(path), server.authority_pem().into())
        }
    }

    fn open(server: &Server) -> Result<Https, HttpsError> {
        Https::open(options(server, "/a.raucb"), Arc::default())
    }

    fn server(bytes: &[u8]) -> Server {
        let server = Server::start(&[]).unwrap();
        server.put("/a.raucb", bytes.to_vec());
        server
    }

    #[test]
    fn announced_ranges_are_one_request_each_and_no_byte_comes_twice() {
        let bytes = content(3 << 20);
        let server = server(&bytes);
        let file = open(&server).unwrap();
        assert_eq!(file.size(), bytes.len() as u64);
        file.will_read(&[4096..600_000, 600_000..900_000, 2_000_000..2_100_000]);
        // Two ranges, read in turn, in pieces.
        let mut buf = vec![0; 10_000];
        for step in 0..10 {
            for base in [4096, 2_000_000] {
                let at = base + step * buf.len();
                file.read_exact_at(&mut buf, at as u64).unwrap();
                assert_eq!(buf, bytes[at..at + buf.len()]);
            }
        }
        let mut rest = vec![0; 900_000 - 104_096];
        file.read_exact_at(&mut rest, 104_096).unwrap();
        assert_eq!(rest, bytes[104_096..900_000]);
        assert_eq!(
            server.requests(),
            [
                "GET /a.raucb bytes=-8192",
                "GET /a.raucb bytes=4096-899999",
                "GET /a.raucb bytes=2000000-2099999"
            ]
        );
        assert_eq!(file.fetched(), 8192 + (900_000 - 4096) + 100_000);
    }

    #[test]
    fn the_end_of_the_file_came_with_the_first_request() {
        let bytes = content(100_000);
        let server = server(&bytes);
        let file = open(&server).unwrap();
        let mut buf = [0; 8];
        file.read_exact_at(&mut buf, 99_992).unwrap();
        assert_eq!(buf, bytes[99_992..]);
        assert_eq!(server.requests().len(), 1);
        assert!(file.read_exact_at(&mut buf, 99_993).is_err(), "behind the end");
    }

    #[test]
    fn a_broken_or_stalled_connection_goes_on_where_it_stopped() {
        let bytes = content(1 << 20);
        let server = server(&bytes);
        let file = open(&server).unwrap();
        for behaviour in [
            Behaviour {
                cut_after: Some(300_000),
                ..Behaviour::default()
            },
            Behaviour {
                stall_after: Some(500_000),
                ..Behaviour::default()
            },
        ] {
            server.behave(behaviour);
            let before = file.fetched();
            let mut buf = vec![0; 1_000_000];
            file.will_read(std::slice::from_ref(&(0..1_000_000)));
            file.read_exact_at(&mut buf, 0).unwrap();
            assert!(buf == bytes[..1_000_000]);
            assert_eq!(file.fetched() - before, 1_000_000, "no byte comes twice");
        }
    }

    fn closed_port() -> u16 {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port()
    }

    #[test]
    fn what_will_not_change_is_said_at_once() {
        let server = server(&content(100_000));
        let say = |result: Result<Https, HttpsError>| match result {
            Ok(_) => panic!("opened"),
            Err(error) => error.to_string(),
        };
        server.behave(Behaviour {
            no_ranges: true,
            ..Behaviour::default()
        });
        assert!(say(open(&server)).contains("cannot send parts of a file"));
        server.behave(Behaviour::default());
        assert!(say(Https::open(options(&server, "/none"), Arc::default())).contains("no such file"));
        assert!(
            say(Https::open(
                Options::new("http://localhost/", String::new()),
                Arc::default()
            ))
            .contains("HTTPS only")
        );
        let mut foreign = options(&server, "/a.raucb");
        foreign.authorities_pem = Server::start(&[]).unwrap().authority_pem().into();
        assert!(
            say(Https::open(foreign, Arc::default()))
                .contains("into /var/lib/hearth-updater/authorities.pem")
        );
        let nobody = format!("https://localhost:{}/", closed_port());
        let gone = Options {
            patience: Duration::ZERO,
            ..Options::new(&nobody, server.authority_pem().into())
        };
        assert!(say(Https::open(gone, Arc::default())).contains("cannot be reached"));
        let mut broken = options(&server, "/a.raucb");
        broken.authorities_pem = "no certificate".into();
        assert!(say(Https::open(broken, Arc::default())).contains("PEM"));
    }

    #[test]
    fn a_small_file_comes_whole_and_never_more_than_its_limit() {
        let bytes = content(50_000);
        let server = server(&bytes);
        let options = options(&server, "/a.raucb");
        assert!(fetch_whole(&options, 50_000).unwrap() == bytes);
        let error = fetch_whole(&options, 49_999).unwrap_err().to_string();
        assert!(error.contains("more than 49999 bytes"), "{error}");
        server.behave(Behaviour {
            cut_after: Some(20_000),
            ..Behaviour::default()
        });
        let error = fetch_whole(&options, 50_000).unwrap_err();
        assert!(matches!(error, HttpsError::Unreachable { .. }), "{error}");
        server.behave(Behaviour {
            stall_after: Some(20_000),
            ..Behaviour::default()
        });
        assert!(
            fetch_whole(&options, 50_000).is_err(),
            "a server that says nothing more"
        );
    }

    #[test]
    fn a_file_that_was_replaced_meanwhile_is_not_mixed_with_the_old_one() {
        let server = server(&content(100_000));
        let file = open(&server).unwrap();
        server.put("/a.raucb", content(100_001));
        let error = file.read_exact_at(&mut [0; 100], 0).unwrap_err().to_string();
        assert!(error.contains("replaced while it was read"), "{error}");
    }

    #[test]
    fn a_wait_ends_when_it_is_told_to_stop() {
        let server = server(&content(100_000));
        let stop = Arc::new(AtomicBool::new(false));
        let file = Https::open(options(&server, "/a.raucb"), Arc::clone(&stop)).unwrap();
        server.behave(Behaviour {
            status: Some(503),
            ..Behaviour::default()
        });
        std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(300));
            stop.store(true, Ordering::Relaxed);
        });
        let begun = Instant::now();
        let error = file.read_exact_at(&mut [0; 100], 0).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::Interrupted);
        assert!(begun.elapsed() < WHOLE_PATIENCE / 2);
    }
}
