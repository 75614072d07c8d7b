//! Is this slot healthy? The page answers, and no block of its root is damaged.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use os_io::block;
use os_io::root::Root;
use thiserror::Error;

/// Name of the verity device, as early-boot gave it.
const ROOT_DEVICE: &str = "hearth-root";

/// What is asked, and how long.
#[derive(Debug, Clone)]
pub struct Health {
    /// Where the page may be; the first that answers counts.
    pub addresses: Vec<SocketAddr>,
    /// How long the page may take to come up.
    pub patience: Duration,
    /// How long one answer may take.
    pub attempt: Duration,
    /// Between two attempts.
    pub pause: Duration,
}

impl Default for Health {
    fn default() -> Self {
        let addresses = [
            IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::from(Ipv6Addr::LOCALHOST),
        ];
        Self {
            addresses: addresses.map(|ip| SocketAddr::new(ip, 80)).into(),
            patience: Duration::from_secs(120),
            attempt: Duration::from_secs(10),
            pause: Duration::from_millis(500),
        }
    }
}

/// Why a slot is not healthy.
#[derive(Debug, Error)]
pub enum HealthError {
    /// The page did not come up.
    #[error("/health did not answer 200 within {} s; the last answer was: {last}", patience.as_secs())]
    Page {
        /// How long it had.
        patience: Duration,
        /// What came instead.
        last: String,
    },
    /// There is no verified root: this system was not started by early-boot.
    #[error("there is no device-mapper device named {ROOT_DEVICE}")]
    NoRoot,
    /// A block of root cannot be read. (A block that does not match its hash restarts the box before we get here.)
    #[error("the verified root is not intact")]
    Root(#[source] os_io::Error),
}

/// Waits until the page answers 200.
pub fn wait_for_page(health: &Health) -> Result<(), HealthError> {
    let started = Instant::now();
    loop {
        let mut last = String::from("nothing");
        for address in &health.addresses {
            match status_line(*address, health.attempt) {
                Ok(line) if is_ok(&line) => return Ok(()),
                Ok(line) => last = line,
                Err(error) => last = format!("{address}: {error}"),
            }
        }
        if started.elapsed() >= health.patience {
            return Err(HealthError::Page {
                patience: health.patience,
                last,
            });
        }
        thread::sleep(health.pause);
    }
}

/// Reads every block of the verified root once, past the page cache, and returns their bytes.
///
/// Without this a slot whose damage lies in a rarely read place would be marked good at every boot and restart the box
/// for ever; so it loses its tries and the other slot takes over.
pub fn check_root(root: &Root) -> Result<u64, HealthError> {
    let device = root_device(root).ok_or(HealthError::NoRoot)?;
    block::read_through(&root.path(device)).map_err(HealthError::Root)
}

fn root_device(root: &Root) -> Option<PathBuf> {
    fs::read_dir(root.path("/sys/block"))
        .ok()?
        .flatten()
        .find_map(|entry| {
            let name = fs::read_to_string(entry.path().join("dm/name")).ok()?;
            (name.trim_end() == ROOT_DEVICE).then(|| Path::new("/dev").join(entry.file_name()))
        })
}

/// The first line of the answer to `GET /health`.
fn status_line(address: SocketAddr, timeout: Duration) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let deadline = Instant::now() + timeout;
    let mut line = Vec::new();
    let mut chunk = [0; 256];
    while !line.contains(&b'\n') && line.len() < 1024 && Instant::now() < deadline {
        match stream.read(&mut chunk)? {
            0 => break,
            length => line.extend_from_slice(&chunk[..length]),
        }
    }
    let line = line
        .split(|byte| matches!(byte, b'\r' | b'\n'))
        .next()
        .unwrap_or_default();
    Ok(String::from_utf8_lossy(line).into_owned())
}

fn is_ok(line: &str) -> bool {
    let mut words = line.split(' ');
    words.next().is_some_and(|version| version.starts_with("HTTP/1.")) && words.next() == Some("200")
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// A server that gives each of `answers` once, then closes.
    fn server(answers: &'static [&'static str]) -> Health {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut request = [0; 1024];
                let length = stream.read(&mut request).unwrap();
                assert!(request[..length].starts_with(b"GET /health HTTP/1.1\r\nHost: "));
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        Health {
            addresses: vec![address],
            patience: Duration::from_millis(200),
            attempt: Duration::from_millis(500),
            pause: Duration::from_millis(10),
        }
    }

    #[test]
    fn a_page_that_comes_up_late_counts() {
        let health = server(&[
            "HTTP/1.1 503 Service Unavailable\r\n\r\n",
            "HTTP/1.1 200 OK\r\n\r\nok",
        ]);
        wait_for_page(&health).unwrap();
    }

    #[test]
    fn nothing_but_200_counts_and_the_last_answer_is_shown() {
        for answer in [
            &["HTTP/1.1 500 Oops\r\n\r\n"][..],
            &["HTTP/1.1 2000 Oops\r\n\r\n"],
            &["200 OK\r\n"],
            &[""],
        ] {
            let mut health = server(answer);
            health.patience = Duration::ZERO;
            let error = wait_for_page(&health).unwrap_err().to_string();
            let line = answer[0].lines().next().unwrap_or_default();
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn the_verified_root_is_found_by_name_and_read_to_its_end() {
        let folder = tempfile::tempdir().unwrap();
        let root = Root::at(folder.path());
        assert!(matches!(check_root(&root), Err(HealthError::NoRoot)));
        for (device, name) in [("dm-0", "other\n"), ("dm-1", "hearth-root\n")] {
            fs::create_dir_all(root.path(format!("/sys/block/{device}/dm"))).unwrap();
            fs::write(root.path(format!("/sys/block/{device}/dm/name")), name).unwrap();
        }
        assert!(
            matches!(check_root(&root), Err(HealthError::Root(_))),
            "the device is not there"
        );
        fs::create_dir(root.path("/dev")).unwrap();
        fs::write(root.path("/dev/dm-1"), vec![1; 3 << 20]).unwrap();
        assert_eq!(check_root(&root).unwrap(), 3 << 20);
    }
}
