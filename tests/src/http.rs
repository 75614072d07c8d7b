//! Plain HTTP to a machine: enough for forms and cookies, and nothing in between that could help.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::patience;

/// An answer.
#[derive(Debug, Clone)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// Body.
    pub body: String,
}

impl Response {
    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, v)| v.as_str())
    }
}

/// Whether the page answers. Asked again and again while a box starts: a question that nobody hears must end soon.
pub fn is_healthy(port: u16) -> bool {
    exchange(port, "GET", "/health", "", "", Duration::from_secs(20)).is_ok_and(|r| r.status == 200)
}

fn exchange(
    port: u16,
    method: &str,
    path: &str,
    cookies: &str,
    body: &str,
    limit: Duration,
) -> Result<Response> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(2))?;
    stream.set_read_timeout(Some(limit))?;
    let mut request = format!("{method} {path} HTTP/1.1\r\nHost: localhost:{port}\r\nConnection: close\r\n");
    if !cookies.is_empty() {
        request.push_str(&format!("Cookie: {cookies}\r\n"));
    }
    if method == "POST" {
        request.push_str(&format!(
            "Content-Type: application/x-www-form-urlencoded\r\nOrigin: http://localhost:{port}\r\nContent-Length: {}\r\n",
            body.len()
        ));
    }
    request.push_str("\r\n");
    request.push_str(body);
    stream.write_all(request.as_bytes())?;
    let mut bytes = Vec::new();
    stream.take(4 << 20).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("no whole answer")?;
    let mut lines = head.lines();
    let status = lines
        .next()
        .and_then(|l| l.split(' ').nth(1)?.parse().ok())
        .context("no status line")?;
    let headers = lines
        .filter_map(|l| l.split_once(':'))
        .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_string()))
        .collect();
    Ok(Response {
        status,
        headers,
        body: body.into(),
    })
}

/// A browser without a screen: keeps cookies, follows redirects, finds hidden fields.
#[derive(Debug, Clone)]
pub struct Client {
    port: u16,
    cookies: Vec<(String, String)>,
}

impl Client {
    /// A new one without cookies.
    pub fn new(port: u16) -> Self {
        Self {
            port,
            cookies: Vec::new(),
        }
    }

    fn cookie_header(&self) -> String {
        self.cookies
            .iter()
            .map(|(n, v)| format!("{n}={v}"))
            .collect::<Vec<_>>()
            .join("; ")
    }

    fn keep(&mut self, response: &Response) {
        for (name, value) in response.headers.iter().filter(|(n, _)| n == "set-cookie") {
            let _ = name;
            let pair = value.split(';').next().unwrap_or_default();
            if let Some((name, value)) = pair.split_once('=') {
                self.cookies.retain(|(n, _)| n != name);
                if !value.is_empty() {
                    self.cookies.push((name.into(), value.into()));
                }
            }
        }
    }

    /// GET, following redirects; returns the path it ended at.
    pub fn get(&mut self, path: &str) -> Result<(String, Response)> {
        let mut path = path.to_string();
        for _ in 0..8 {
            let cookies = self.cookie_header();
            let response = exchange(self.port, "GET", &path, &cookies, "", patience(20))?;
            self.keep(&response);
            match (response.status, response.header("location")) {
                (300..=399, Some(next)) => path = next.to_string(),
                _ => return Ok((path, response)),
            }
        }
        anyhow::bail!("redirected for ever at {path}")
    }

    /// Fills the form that a page holds: its hidden fields and these; then GETs what it leads to.
    pub fn submit(
        &mut self,
        page: &Response,
        action: &str,
        fields: &[(&str, &str)],
    ) -> Result<(String, Response)> {
        let hidden =
            hidden_fields(&page.body, action).with_context(|| format!("no form for {action} on the page"))?;
        let mut form: Vec<String> = Vec::new();
        for (name, value) in hidden
            .iter()
            .map(|(n, v)| (n.as_str(), v.as_str()))
            .chain(fields.iter().copied())
        {
            form.push(format!("{}={}", encode(name), encode(value)));
        }
        let cookies = self.cookie_header();
        let response = exchange(self.port, "POST", action, &cookies, &form.join("&"), patience(20))?;
        self.keep(&response);
        match (response.status, response.header("location")) {
            (300..=399, Some(next)) => {
                let next = next.to_string();
                self.get(&next)
            }
            _ => Ok((action.to_string(), response)),
        }
    }
}

/// The hidden fields of the form with this action.
fn hidden_fields(html: &str, action: &str) -> Option<Vec<(String, String)>> {
    let form = html
        .split("<form")
        .skip(1)
        .find(|f| attribute(f.split('>').next().unwrap_or_default(), "action") == Some(action))?;
    let form = form.split("</form>").next()?;
    let fields = form.split("<input").skip(1).filter_map(|input| {
        let input = input.split('>').next()?;
        (attribute(input, "type") == Some("hidden")).then(|| {
            Some((
                attribute(input, "name")?.to_string(),
                attribute(input, "value")?.replace("&amp;", "&"),
            ))
        })?
    });
    Some(fields.collect())
}

fn attribute<'a>(tag: &'a str, name: &str) -> Option<&'a str> {
    tag.split(&format!(" {name}=\"")).nth(1)?.split('"').next()
}

fn encode(text: &str) -> String {
    text.bytes()
        .map(|b| match b {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' => char::from(b).to_string(),
            _ => format!("%{b:02X}"),
        })
        .collect()
}
