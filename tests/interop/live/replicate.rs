//! Cores replicate with JavaScript peers over TCP.

use std::future::Future;
use std::ops::{Deref, DerefMut, Range};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::{Peer, tcp};
use hyper_core::core::CoreOptions;
use hyper_core::crypto::KeyPair;
use hyper_core::key;
use hyper_core::merkle::Seek;
use hyper_core::replicate::Replication;
use hyper_core::session::{DownloadRange, Session, SessionError};
use hyper_core::store::Store;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Our end: one core in memory.
struct Ours {
    session: Session,
    replication: Replication,
}

impl Ours {
    fn new(options: CoreOptions) -> Result<Self> {
        let session = Session::new(Store::in_memory()?.core(options)?)?;
        let replication = Replication::default();
        replication.add(&session);
        Ok(Self { session, replication })
    }

    fn writer(compat: bool) -> Result<Self> {
        let pair = KeyPair::from_seed(&[5; 32]);
        Self::new(if compat {
            CoreOptions::compat(pair)
        } else {
            CoreOptions::from_key_pair(pair)
        })
    }

    fn reader(key: &str) -> Result<Self> {
        Self::new(CoreOptions::from_key(key::parse(key)?))
    }

    /// Connects to a peer that listens.
    async fn connect(&self, port: u16) -> Result<()> {
        self.replication.attach(tcp::connect(port).await?);
        Ok(())
    }

    /// Listens for peers.
    async fn listen(&self) -> Result<u16> {
        let replication = self.replication.clone();
        tcp::listen(move |link| drop(replication.attach(link))).await
    }

    async fn until(&self, length: u64, fork: u64) -> Result<()> {
        let mut changes = self.session.changes();
        let there = changes.wait_for(|state| (state.length, state.fork) == (length, fork));
        within("the core's new state", there).await??;
        Ok(())
    }

    async fn append(&self, blocks: Range<u64>, bytes: usize) -> Result<()> {
        let blocks: Vec<_> = blocks.map(|number| block(number, bytes)).collect();
        for batch in blocks.chunks(1000) {
            self.session.append(batch).await?;
        }
        Ok(())
    }

    async fn download(&self, blocks: Range<u64>) -> Result<()> {
        let mut download = self.session.download(DownloadRange::from(blocks));
        within("the download", download.done()).await??;
        Ok(())
    }

    fn tree_hash(&self) -> Result<String> {
        let hash = self.session.info()?.tree_hash;
        Ok(hash.iter().map(|byte| format!("{byte:02x}")).collect())
    }
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(Duration::from_secs(40), future)
        .await
        .with_context(|| format!("{what} did not come in 40 s"))
}

fn block(number: u64, bytes: usize) -> Vec<u8> {
    let mut out = format!("block {number} ").into_bytes();
    out.resize(bytes, 0);
    out
}

fn text(value: &Value) -> Result<&str> {
    value.as_str().context("no text")
}

fn port(said: &Value) -> Result<u16> {
    Ok(u16::try_from(said["port"].as_u64().context("no port")?)?)
}

/// A JavaScript peer and its storage, which is removed after it.
struct Js {
    peer: Peer,
    _folder: TempDir,
}

impl Deref for Js {
    type Target = Peer;

    fn deref(&self) -> &Peer {
        &self.peer
    }
}

impl DerefMut for Js {
    fn deref_mut(&mut self) -> &mut Peer {
        &mut self.peer
    }
}

fn js() -> Result<Js> {
    let folder = tempfile::tempdir()?;
    let path = folder
        .path()
        .to_str()
        .context("the temporary folder is not UTF-8")?;
    Ok(Js {
        peer: Peer::start("replicate.mjs", &[path])?,
        _folder: folder,
    })
}

/// A JavaScript peer that writes, and its core's key.
async fn js_writer(compat: bool) -> Result<(Js, String)> {
    let mut peer = js()?;
    let opened = peer
        .ask(&json!({"do": "open", "compat": compat, "seed": 3}))
        .await?;
    let key = text(&opened["key"])?.to_owned();
    Ok((peer, key))
}

async fn js_reader_of(ours: &Ours) -> Result<Js> {
    let mut peer = js()?;
    let key: String = ours
        .session
        .key()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    peer.ask(&json!({"do": "open", "key": key})).await?;
    let port = ours.listen().await?;
    peer.ask(&json!({"do": "connect", "port": port})).await?;
    Ok(peer)
}

async fn read_from_js(compat: bool) -> Result<()> {
    let (mut peer, key) = js_writer(compat).await?;
    peer.ask(&json!({"do": "append", "from": 0, "count": 1000, "bytes": 100}))
        .await?;
    let listening = peer.ask(&json!({"do": "listen"})).await?;
    let ours = Ours::reader(&key)?;
    ours.connect(port(&listening)?).await?;
    ours.until(1000, 0).await?;
    ours.download(0..1000).await?;
    ensure!(ours.session.get(999).await? == block(999, 100));
    let tree = peer.ask(&json!({"do": "tree"})).await?;
    ensure!(ours.tree_hash()? == tree["hash"]);
    // Live: what is appended now comes by itself.
    let session = ours.session.clone();
    let waiting = tokio::spawn(async move { session.get(1004).await });
    peer.ask(&json!({"do": "append", "from": 1000, "count": 5, "bytes": 100}))
        .await?;
    ensure!(within("the live block", waiting).await??? == block(1004, 100));
    Ok(())
}

async fn read_by_js(compat: bool) -> Result<()> {
    let ours = Ours::writer(compat)?;
    ours.append(0..1000, 100).await?;
    let mut peer = js_reader_of(&ours).await?;
    peer.ask(&json!({"do": "until", "length": 1000})).await?;
    peer.ask(&json!({"do": "download", "start": 0, "end": 1000}))
        .await?;
    let done = peer.ask(&json!({"do": "done"})).await?;
    ensure!(done["contiguous"] == 1000, "{done}");
    let tree = peer.ask(&json!({"do": "tree"})).await?;
    ensure!(ours.tree_hash()? == tree["hash"]);
    peer.send(&json!({"do": "get", "blocks": [1004]})).await?;
    ours.append(1000..1005, 100).await?;
    let live = peer.event("get").await?;
    ensure!(text(&live["values"][0])?.starts_with("block 1004 "), "{live}");
    Ok(())
}

#[tokio::test]
async fn a_core_of_a_javascript_peer_is_read_and_followed() -> Result<()> {
    read_from_js(false).await
}

#[tokio::test]
async fn a_compat_core_of_a_javascript_peer_is_read_and_followed() -> Result<()> {
    read_from_js(true).await
}

#[tokio::test]
async fn a_core_of_ours_is_read_and_followed_by_a_javascript_peer() -> Result<()> {
    read_by_js(false).await
}

#[tokio::test]
async fn a_compat_core_of_ours_is_read_and_followed_by_a_javascript_peer() -> Result<()> {
    read_by_js(true).await
}

/// 200 blocks out of 100,000, by chance but always the same.
fn scattered() -> Vec<u64> {
    (0..200u64)
        .map(|at| at.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 100_000)
        .collect()
}

#[tokio::test]
async fn scattered_blocks_of_a_long_core_are_read_from_a_javascript_peer() -> Result<()> {
    let (mut peer, key) = js_writer(false).await?;
    peer.ask(&json!({"do": "append", "from": 0, "count": 100_000, "bytes": 20}))
        .await?;
    let listening = peer.ask(&json!({"do": "listen"})).await?;
    let ours = Ours::reader(&key)?;
    ours.connect(port(&listening)?).await?;
    let mut waiting = Vec::new();
    for number in scattered() {
        let session = ours.session.clone();
        waiting.push(tokio::spawn(async move { (number, session.get(number).await) }));
    }
    for waiting in waiting {
        let (number, value) = within("a block", waiting).await??;
        ensure!(value? == block(number, 20));
    }
    let found = within("the seek", ours.session.seek(20 * 77_777 + 3)).await??;
    ensure!(
        found
            == Seek::Block {
                block: 77_777,
                offset: 3
            }
    );
    Ok(())
}

#[tokio::test]
async fn scattered_blocks_of_a_long_core_are_read_by_a_javascript_peer() -> Result<()> {
    let ours = Ours::writer(false)?;
    ours.append(0..100_000, 20).await?;
    let mut peer = js_reader_of(&ours).await?;
    peer.ask(&json!({"do": "until", "length": 100_000})).await?;
    let got = peer.ask(&json!({"do": "get", "blocks": scattered()})).await?;
    for (number, value) in scattered()
        .iter()
        .zip(got["values"].as_array().context("no values")?)
    {
        ensure!(text(value)?.as_bytes() == block(*number, 20));
    }
    let found = peer.ask(&json!({"do": "seek", "bytes": 20 * 77_777 + 3})).await?;
    ensure!(found["found"] == json!([77_777, 3]), "{found}");
    Ok(())
}

#[tokio::test]
async fn what_a_javascript_seeder_cleared_is_read_elsewhere_and_the_rest_from_it() -> Result<()> {
    let (mut peer, key) = js_writer(false).await?;
    peer.ask(&json!({"do": "append", "from": 0, "count": 2000, "bytes": 50}))
        .await?;
    let listening = peer.ask(&json!({"do": "listen"})).await?;
    let whole = Ours::reader(&key)?;
    whole.connect(port(&listening)?).await?;
    whole.until(2000, 0).await?;
    whole.download(0..1000).await?;
    peer.ask(&json!({"do": "clear", "start": 0, "end": 1000})).await?;
    let ours = Ours::reader(&key)?;
    ours.connect(port(&listening)?).await?;
    ours.until(2000, 0).await?;
    ours.download(1000..2000).await?;
    let session = ours.session.clone();
    let waiting = tokio::spawn(async move { session.get(500).await });
    let theirs = whole.listen().await?;
    ours.connect(theirs).await?;
    ensure!(within("a cleared block", waiting).await??? == block(500, 50));
    ours.download(0..2000).await?;
    Ok(())
}

#[tokio::test]
async fn what_we_cleared_is_not_given_to_a_javascript_peer_and_the_rest_is() -> Result<()> {
    let ours = Ours::writer(false)?;
    ours.append(0..2000, 50).await?;
    ours.session.clear(0..1000).await?;
    let mut peer = js_reader_of(&ours).await?;
    peer.ask(&json!({"do": "until", "length": 2000})).await?;
    peer.ask(&json!({"do": "download", "start": 1000, "end": 2000}))
        .await?;
    peer.ask(&json!({"do": "done"})).await?;
    let got = peer.ask(&json!({"do": "get", "blocks": [1000, 1999]})).await?;
    ensure!(text(&got["values"][0])?.starts_with("block 1000 "), "{got}");
    let has = peer.ask(&json!({"do": "has", "start": 0, "end": 1})).await?;
    ensure!(has["has"] == false, "{has}");
    Ok(())
}

#[tokio::test]
async fn a_truncation_of_a_javascript_peer_is_followed() -> Result<()> {
    let (mut peer, key) = js_writer(false).await?;
    peer.ask(&json!({"do": "append", "from": 0, "count": 20, "bytes": 30}))
        .await?;
    let listening = peer.ask(&json!({"do": "listen"})).await?;
    let ours = Ours::reader(&key)?;
    ours.connect(port(&listening)?).await?;
    ours.until(20, 0).await?;
    ours.download(0..20).await?;
    peer.ask(&json!({"do": "truncate", "length": 7})).await?;
    peer.ask(&json!({"do": "append_text", "blocks": ["other", "blocks"]}))
        .await?;
    ours.until(9, 1).await?;
    ensure!(within("a block", ours.session.get(8)).await?? == b"blocks");
    ensure!(ours.session.get(6).await? == block(6, 30));
    let tree = peer.ask(&json!({"do": "tree"})).await?;
    ensure!(ours.tree_hash()? == tree["hash"]);
    let fresh = Ours::reader(&key)?;
    fresh.connect(port(&listening)?).await?;
    ensure!(within("a block", fresh.session.get(7)).await?? == b"other");
    Ok(())
}

#[tokio::test]
async fn a_truncation_of_ours_is_followed_by_a_javascript_peer() -> Result<()> {
    let ours = Ours::writer(false)?;
    ours.append(0..20, 30).await?;
    let mut peer = js_reader_of(&ours).await?;
    peer.ask(&json!({"do": "until", "length": 20})).await?;
    peer.ask(&json!({"do": "download", "start": 0, "end": 20}))
        .await?;
    peer.ask(&json!({"do": "done"})).await?;
    ours.session.truncate(7, None).await?;
    ours.session.append(&["other", "blocks"]).await?;
    peer.ask(&json!({"do": "until", "length": 9, "fork": 1})).await?;
    let got = peer.ask(&json!({"do": "get", "blocks": [6, 7, 8]})).await?;
    ensure!(
        got["values"][1] == "other" && got["values"][2] == "blocks",
        "{got}"
    );
    let tree = peer.ask(&json!({"do": "tree"})).await?;
    ensure!(ours.tree_hash()? == tree["hash"]);
    Ok(())
}

#[tokio::test]
async fn ten_peers_of_one_core_of_both_kinds_get_all_of_it() -> Result<()> {
    let (mut peer, key) = js_writer(false).await?;
    peer.ask(&json!({"do": "append", "from": 0, "count": 500, "bytes": 500}))
        .await?;
    let listening = peer.ask(&json!({"do": "listen"})).await?;
    let mut others = Vec::new();
    for _ in 0..9 {
        let other = Ours::reader(&key)?;
        other.connect(port(&listening)?).await?;
        others.push(other);
    }
    // All know each other.
    for (at, other) in others.iter().enumerate() {
        let listening = other.listen().await?;
        for later in &others[at + 1..] {
            later.connect(listening).await?;
        }
    }
    for other in &others {
        other.until(500, 0).await?;
    }
    let downloads = others.iter().map(|other| {
        let session = other.session.clone();
        tokio::spawn(async move { session.download(DownloadRange::from(0..500)).done().await })
    });
    for download in downloads.collect::<Vec<_>>() {
        within("a download", download).await???;
    }
    let tree = peer.ask(&json!({"do": "tree"})).await?;
    for other in &others {
        ensure!(other.session.info()?.contiguous_length == 500 && other.tree_hash()? == tree["hash"]);
    }
    Ok(())
}

#[tokio::test]
async fn messages_of_extensions_go_both_ways_between_us_and_a_javascript_peer() -> Result<()> {
    let ours = Ours::writer(false)?;
    ours.append(0..10, 20).await?;
    let (chat, other) = (ours.session.extension("chat")?, ours.session.extension("other")?);
    let mut peer = js_reader_of(&ours).await?;
    // Without an encoding the peer's messages have their length before them.
    for (name, encoding) in [("chat", json!("binary")), ("other", Value::Null)] {
        let register = json!({"do": "extension", "name": name, "encoding": encoding});
        peer.ask(&register).await?;
    }
    peer.ask(&json!({"do": "until", "length": 10})).await?;
    let [theirs] = ours.session.peer_keys()[..] else {
        anyhow::bail!("not one peer");
    };
    // Ours: names that change, stay, and that nobody there knows.
    let nobody = ours.session.extension("nobody")?;
    chat.send(&theirs, b"one").await?;
    nobody.send(&theirs, b"lost").await?;
    nobody.send(&theirs, b"lost too").await?;
    chat.send(&theirs, b"two").await?;
    chat.send(&theirs, "dr\u{e4}i".as_bytes()).await?;
    ensure!(other.broadcast(b"\x04four")? == 1);
    for (name, text) in [
        ("chat", "one"),
        ("chat", "two"),
        ("chat", "dr\u{e4}i"),
        ("other", "four"),
    ] {
        let heard = peer.event("heard").await?;
        ensure!(heard["name"] == name && heard["text"] == text, "{heard}");
    }
    // Theirs.
    peer.ask(&json!({"do": "extension", "name": "unknown"})).await?;
    let us = key::to_hex(tcp::identity().public_key());
    for (name, texts) in [
        ("unknown", json!(["lost"])),
        ("chat", json!(["one", "two", "x".repeat(100_000)])),
    ] {
        peer.ask(&json!({"do": "say", "name": name, "to": us, "texts": texts}))
            .await?;
    }
    for name in ["unknown", "other", "chat"] {
        peer.ask(&json!({"do": "broadcast", "name": name, "text": "to all"}))
            .await?;
    }
    let last = "x".repeat(100_000);
    for text in ["one", "two", &last, "to all"] {
        let heard = within("a message", chat.recv()).await?;
        ensure!(heard == (theirs, text.as_bytes().to_vec()), "{heard:?}");
    }
    ensure!(within("a message", other.recv()).await?.1 == b"\x06to all");
    Ok(())
}

/// A JavaScript writer with the key pair of [`Ours::writer`] and other blocks.
async fn js_rival() -> Result<Js> {
    let mut peer = js()?;
    peer.ask(&json!({"do": "open", "seed": 5, "distrusts": true}))
        .await?;
    let texts: Vec<_> = (0..10).map(|number| format!("rival {number}")).collect();
    peer.ask(&json!({"do": "append_text", "blocks": texts})).await?;
    Ok(peer)
}

async fn is_frozen(session: &Session) -> Result<()> {
    let mut changes = session.changes();
    while session.conflict().is_none() {
        within("the conflict", changes.changed()).await??;
    }
    let refused = session.append(&["more"]).await;
    ensure!(matches!(refused, Err(SessionError::Frozen { .. })), "{refused:?}");
    Ok(())
}

#[tokio::test]
async fn a_conflict_that_a_javascript_peer_sees_freezes_the_core_at_both_ends() -> Result<()> {
    let mut peer = js_rival().await?;
    let ours = Ours::writer(false)?;
    ours.append(0..10, 20).await?;
    peer.ask(&json!({"do": "clear", "start": 5, "end": 6})).await?;
    peer.ask(&json!({"do": "connect", "port": ours.listen().await?}))
        .await?;
    peer.send(&json!({"do": "get", "blocks": [5]})).await?;
    let conflict = peer.event("conflict").await?;
    ensure!(conflict["length"] == 10 && conflict["fork"] == 0, "{conflict}");
    is_frozen(&ours.session).await
}

#[tokio::test]
async fn a_conflict_that_we_see_freezes_the_core_at_both_ends() -> Result<()> {
    let ours = Ours::writer(false)?;
    ours.append(0..10, 20).await?;
    ours.session.clear(5..6).await?;
    let mut peer = js_rival().await?;
    let listening = peer.ask(&json!({"do": "listen"})).await?;
    ours.connect(port(&listening)?).await?;
    let refused = within("the conflict", ours.session.get(5)).await?;
    ensure!(matches!(refused, Err(SessionError::Frozen { .. })), "{refused:?}");
    is_frozen(&ours.session).await?;
    let conflict = peer.event("conflict").await?;
    ensure!(conflict["length"] == 8 && conflict["fork"] == 0, "{conflict}");
    Ok(())
}
