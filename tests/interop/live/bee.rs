//! Bees beside JavaScript ones, and bees of JavaScript peers.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::{Peer, tcp};
use hyper_core::core::CoreOptions;
use hyper_core::crypto::KeyPair;
use hyper_core::key;
use hyper_core::replicate::Replication;
use hyper_core::session::Session;
use hyper_core::store::Store;
use hyper_drive::bee::{Bee, KeyRange};
use serde_json::{Value, json};

#[path = "../../../system-services/hyper-drive/tests/operations/mod.rs"]
#[allow(clippy::unwrap_used)]
mod operations;

use operations::{apply, hex, read};

const KEYS: u64 = 10_000;

/// A fixed sequence of pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn bytes(&mut self, at_most: u64) -> Vec<u8> {
        let len = self.below(at_most + 1);
        (0..len)
            .map(|_| b"\0\x01ab\xfe\xff"[self.below(6) as usize])
            .collect()
    }

    fn change(&mut self, puts: u64) -> Value {
        let key = hex(&self.bytes(4));
        let cas = match self.below(8) {
            0 => json!(true),
            1 => json!(false),
            2 => json!(hex(&self.bytes(1))),
            _ => Value::Null,
        };
        if self.below(10) >= puts {
            return json!({"op": "del", "key": key, "cas": cas});
        }
        let value = match self.below(20) {
            0 => Value::Null,
            1 => json!(hex(&self.bytes(300))),
            _ => json!(hex(&self.bytes(1))),
        };
        json!({"op": "put", "key": key, "value": value, "cas": cas})
    }

    /// Changes and batches of them; `puts` of ten are puts.
    fn operation(&mut self, puts: u64) -> Value {
        if self.below(10) > 0 {
            return self.change(puts);
        }
        let changes: Vec<_> = (0..self.below(60)).map(|_| self.change(puts)).collect();
        json!({"op": "batch", "ops": changes})
    }

    fn range(&mut self) -> Value {
        let mut range = json!({});
        if let Some(start) = ["gt", "gte"].get(self.below(3) as usize) {
            range[start] = json!(hex(&self.bytes(2)));
        }
        if let Some(end) = ["lt", "lte"].get(self.below(3) as usize) {
            range[end] = json!(hex(&self.bytes(2)));
        }
        range
    }

    /// A read of any kind, between versions that are whole.
    fn query(&mut self, versions: &[u64]) -> Value {
        let mut query = self.range();
        let version = |random: &mut Self| versions[random.below(versions.len() as u64) as usize];
        query["read"] = json!(["scan", "history", "diff", "get"][self.below(4) as usize]);
        query["version"] = json!(version(self));
        query["other"] = json!(version(self));
        if query["read"] == "history" {
            // Beyond the version hyperbee waits.
            let end = query["version"].as_u64().unwrap_or(1);
            query["gte"] = json!(self.below(end));
            query["lt"] = json!(1 + self.below(end));
        }
        query["key"] = json!(hex(&self.bytes(3)));
        query["reverse"] = json!(self.below(2) == 0);
        if self.below(2) == 0 {
            query["limit"] = json!(self.below(30));
        }
        query
    }
}

fn bee(options: CoreOptions) -> Result<Bee> {
    let session = Session::new(Store::in_memory()?.core(options)?)?;
    Ok(Bee::new(session))
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> Result<T> {
    tokio::time::timeout(Duration::from_secs(50), future)
        .await
        .with_context(|| format!("{what} did not come in 50 s"))
}

#[tokio::test]
async fn random_changes_of_a_bee_make_the_same_blocks_in_both_worlds() -> Result<()> {
    for seed in 1..=4u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut peer = Peer::start("bee.mjs", &[])?;
        peer.ask(&json!({"do": "open", "seed": seed})).await?;
        let pair = KeyPair::from_seed(&[u8::try_from(seed)?; 32]);
        let ours = bee(CoreOptions::from_key_pair(pair))?;
        let mut versions = vec![1];
        for step in 0..12 {
            // The tree grows, shrinks, and grows again.
            let puts = [8, 8, 7, 3, 1, 6][step % 6];
            let operations: Vec<_> = (0..60).map(|_| random.operation(puts)).collect();
            let start = ours.session().length();
            peer.ask(&json!({"do": "apply", "operations": operations}))
                .await?;
            for operation in &operations {
                apply(&ours, operation).await;
                versions.push(ours.version());
            }
            let theirs = peer.ask(&json!({"do": "blocks", "start": start})).await?;
            ensure!(
                theirs["length"] == ours.session().length(),
                "seed {seed}, step {step}: lengths"
            );
            for (seq, block) in (start..).zip(theirs["blocks"].as_array().context("no blocks")?) {
                let ours = hex(&ours.session().get(seq).await?);
                ensure!(
                    *block == ours,
                    "seed {seed}, step {step}, block {seq}: {block} is {ours} here"
                );
            }
            let info = ours.session().info()?;
            ensure!(
                theirs["tree_hash"] == hex(&info.tree_hash),
                "seed {seed}, step {step}: tree hash"
            );
            ensure!(theirs["byte_length"] == info.byte_length);
            for _ in 0..12 {
                let query = random.query(&versions);
                let mut said = query.clone();
                said["do"] = json!("read");
                // Its own name for the event is that of the command.
                let theirs = peer.ask(&said).await?;
                let found = Value::from(read(&ours, &query).await);
                ensure!(
                    theirs["items"] == found,
                    "seed {seed}: {query} gives {} there, {found} here",
                    theirs["items"]
                );
            }
        }
    }
    Ok(())
}

/// Connects a core with a peer that listens.
async fn join(session: &Session, port: &Value) -> Result<()> {
    let port = u16::try_from(port.as_u64().context("no port")?)?;
    let replication = Replication::default();
    replication.add(session);
    replication.attach(tcp::connect(port).await?);
    // As long as the test.
    std::mem::forget(replication);
    Ok(())
}

/// Listens for peers.
async fn serve(session: &Session) -> Result<u16> {
    let replication = Replication::default();
    replication.add(session);
    tcp::listen(move |link| drop(replication.attach(link))).await
}

fn key_of(i: u64) -> String {
    format!("key {:05}", (i * 7919) % 100_000)
}

async fn fill(bee: &Bee, keys: std::ops::Range<u64>) -> Result<u64> {
    let mut batch = bee.batch();
    for i in keys {
        batch.put(key_of(i), format!("value {i}")).await?;
    }
    Ok(batch.flush().await?)
}

fn queries(version: u64) -> Vec<Value> {
    let bound = |text: &str| hex(text.as_bytes());
    vec![
        json!({"read": "get", "key": bound(&key_of(77))}),
        json!({"read": "scan", "gt": bound("key 5"), "limit": 50}),
        json!({"read": "scan", "lte": bound("key 3"), "reverse": true, "limit": 300}),
        json!({"read": "diff", "other": version}),
        json!({"read": "diff", "version": version, "other": 2000 + 1, "gte": bound("key 7")}),
        json!({"read": "history", "gte": 9500}),
        json!({"read": "history", "reverse": true, "limit": 700}),
        json!({"read": "scan"}),
        json!({"read": "history"}),
    ]
}

#[tokio::test]
async fn a_bee_of_a_javascript_peer_is_read_block_by_block_and_watched() -> Result<()> {
    let mut peer = Peer::start("bee.mjs", &[])?;
    let opened = peer
        .ask(&json!({"do": "open", "seed": 1, "options": {"extension": true}}))
        .await?;
    peer.ask(&json!({"do": "fill", "start": 0, "end": KEYS - 500}))
        .await?;
    let version = peer
        .ask(&json!({"do": "fill", "start": KEYS - 500, "end": KEYS}))
        .await?;
    let before = KEYS - 500 + 1;
    let port = peer.ask(&json!({"do": "listen"})).await?;
    let ours = bee(CoreOptions::from_key(key::parse(
        opened["key"].as_str().context("no key")?,
    )?))?;
    // The first update waits for the peer.
    let finding = ours.session().finding_peers();
    join(ours.session(), &port["port"]).await?;
    within("news of the bee", ours.update()).await??;
    drop(finding);
    ensure!(version["version"] == ours.version());
    let entry = within("an entry", ours.get(key_of(5)))
        .await??
        .context("no entry")?;
    ensure!(entry.value.as_deref() == Some(&b"value 5"[..]));
    let stored = (0..ours.version())
        .filter(|seq| ours.session().has(*seq).unwrap_or(false))
        .count();
    ensure!(stored < 100, "{stored} blocks came for one key");
    for query in queries(before) {
        let mut said = query.clone();
        said["do"] = json!("read");
        let theirs = peer.ask(&said).await?;
        let found = Value::from(within(&query.to_string(), read(&ours, &query)).await?);
        ensure!(theirs["items"] == found, "{query}");
    }
    let mut watcher = ours.watch(KeyRange::ALL)?;
    peer.ask(&json!({"do": "fill", "start": KEYS, "end": KEYS + 1}))
        .await?;
    let (now, before) = within("the change", watcher.next()).await??;
    ensure!((now.version(), before.version()) == (KEYS + 2, KEYS + 1));
    ensure!(within("the new entry", now.get(key_of(KEYS))).await??.is_some());
    Ok(())
}

#[tokio::test]
async fn a_javascript_peer_reads_and_watches_a_bee_of_ours() -> Result<()> {
    let ours = bee(CoreOptions::from_key_pair(KeyPair::from_seed(&[2; 32])))?;
    for start in (0..KEYS - 1000).step_by(1000) {
        fill(&ours, start..start + 1000).await?;
    }
    let before = fill(&ours, KEYS - 1000..KEYS - 500).await?;
    fill(&ours, KEYS - 500..KEYS).await?;
    let port = serve(ours.session()).await?;
    let mut peer = Peer::start("bee.mjs", &[])?;
    let key = key::to_hex(ours.session().key());
    peer.ask(&json!({"do": "open", "key": key, "options": {"extension": true}}))
        .await?;
    peer.ask(&json!({"do": "connect", "port": port})).await?;
    let updated = peer.ask(&json!({"do": "update"})).await?;
    ensure!(updated["version"] == ours.version(), "{updated}");
    for query in queries(before) {
        let mut said = query.clone();
        said["do"] = json!("read");
        let theirs = peer.ask(&said).await?;
        ensure!(
            theirs["items"] == Value::from(read(&ours, &query).await),
            "{query}"
        );
    }
    peer.ask(&json!({"do": "watch"})).await?;
    ours.put("new", "entry").await?;
    let changed = peer.event("changed").await?;
    ensure!(
        changed["now"] == KEYS + 2 && changed["before"] == KEYS + 1,
        "{changed}"
    );
    Ok(())
}
