//! A corestore of ours and one of the JavaScript stack: the same keys, and encrypted cores over TCP in both directions.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hearth_interop::{Peer, tcp};
use hyper_core::core::CoreOptions;
use hyper_core::corestore::{Corestore, PrimaryKey};
use hyper_core::crypto::{Hash, KeyPair};
use hyper_core::encryption::BlockCipher;
use hyper_core::key;
use hyper_core::session::Session;
use hyper_core::store::Store;
use serde_json::{Value, json};

const SCRIPT: &str = "corestore.mjs";
const PRIMARY_KEY: [u8; 32] = [9; 32];
const ENCRYPTION_KEY: [u8; 32] = [5; 32];

/// Both corestores, of the same primary key unless theirs is another.
struct Both {
    script: Peer,
    ours: Corestore,
}

impl Both {
    async fn new(their_primary_key: [u8; 32]) -> Result<Self> {
        let mut script = Peer::start(SCRIPT, &[])?;
        let open = json!({"do": "open", "primaryKey": key::to_hex(&their_primary_key)});
        script.ask(&open).await?;
        let ours = Corestore::of_store_with(Store::in_memory()?, &PrimaryKey::new(PRIMARY_KEY))?;
        Ok(Self { script, ours })
    }

    /// We connect to them.
    async fn connect_to_them(&mut self) -> Result<()> {
        let port = self.script.ask(&json!({"do": "listen"})).await?["port"].as_u64();
        let port = u16::try_from(port.context("no port")?)?;
        self.ours.replicate(tcp::connect(port).await?);
        Ok(())
    }

    /// They connect to us.
    async fn let_them_connect(&mut self) -> Result<()> {
        let ours = self.ours.clone();
        let port = tcp::listen(move |link| drop(ours.replicate(link))).await?;
        self.script.ask(&json!({"do": "connect", "port": port})).await?;
        Ok(())
    }

    async fn their_core(&mut self, ask: Value) -> Result<Hash> {
        let said = self.script.ask(&ask).await?;
        key_of(&said)
    }
}

fn key_of(said: &Value) -> Result<Hash> {
    Ok(key::parse(said["key"].as_str().context("no key")?)?)
}

fn decrypted(session: Session) -> Session {
    let cipher = BlockCipher::new(&ENCRYPTION_KEY, session.key());
    session.with_encryption(cipher)
}

async fn within<T>(what: impl Future<Output = T>) -> Result<T> {
    let limited = tokio::time::timeout(Duration::from_secs(30), what).await;
    limited.context("nothing came for 30 s")
}

#[tokio::test]
async fn the_same_primary_key_gives_the_same_cores() -> Result<()> {
    let mut both = Both::new(PRIMARY_KEY).await?;
    for (namespaces, name) in [
        (&[][..], "log"),
        (&["app"], "log"),
        (&["app", "inner"], "log"),
        (&["Öffentlich"], "größer"),
        (&[""], "0"),
    ] {
        let ask = json!({"do": "get", "namespaces": namespaces, "name": name});
        let said = both.script.ask(&ask).await?;
        let ours = namespaces
            .iter()
            .fold(both.ours.clone(), |store, name| store.namespace(name))
            .get_by_name(name)?;
        ensure!(*ours.key() == key_of(&said)?, "{namespaces:?} {name}");
        ensure!(said["discoveryKey"] == key::to_hex(&ours.discovery_key()));
        ensure!(said["writable"] == true && ours.is_writable());
    }
    Ok(())
}

#[tokio::test]
async fn what_one_wrote_the_other_goes_on_with() -> Result<()> {
    // Two computers with the same primary key: the core of one is read, and then written, at the other.
    let mut both = Both::new(PRIMARY_KEY).await?;
    let key = both.their_core(json!({"do": "get", "name": "log"})).await?;
    let append = json!({"do": "append", "key": key::to_hex(&key), "blocks": ["one", "two"]});
    both.script.ask(&append).await?;
    let ours = both.ours.get_by_key(&key)?;
    both.connect_to_them().await?;
    ensure!(within(ours.get(1)).await?? == b"two");
    ensure!(within(ours.get(0)).await?? == b"one");
    let ours = both.ours.get_by_name("log")?;
    ours.append(&["three"]).await?;
    let read = json!({"do": "read", "key": key::to_hex(&key), "length": 3});
    let said = both.script.ask(&read).await?;
    ensure!(said["blocks"] == json!(["one", "two", "three"]), "{said}");
    Ok(())
}

#[tokio::test]
async fn our_encrypted_cores_are_read_by_them() -> Result<()> {
    let mut both = Both::new([8; 32]).await?;
    let compat = CoreOptions::compat(KeyPair::from_seed(&[3; 32]));
    let cores = [both.ours.get_by_name("diary")?, both.ours.get(compat)?];
    both.let_them_connect().await?;
    for core in cores {
        let core = decrypted(core);
        core.append(&["dear", "", "diary"]).await?;
        core.truncate(2, None).await?;
        core.append(&["secret"]).await?;
        let key = key::to_hex(core.key());
        both.script.ask(&json!({"do": "get", "key": key})).await?;
        let decrypt = json!({"do": "decrypt", "key": key, "encryptionKey": key::to_hex(&ENCRYPTION_KEY)});
        both.script.ask(&decrypt).await?;
        let said = both
            .script
            .ask(&json!({"do": "read", "key": key, "length": 3}))
            .await?;
        ensure!(said["blocks"] == json!(["dear", "", "secret"]), "{said}");
        ensure!(said["byteLength"] == core.byte_length(), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn their_encrypted_cores_are_read_by_us() -> Result<()> {
    let mut both = Both::new([8; 32]).await?;
    let encryption_key = key::to_hex(&ENCRYPTION_KEY);
    let get = json!({"do": "get", "name": "diary", "encryptionKey": encryption_key});
    let compat = json!({"do": "compat", "seed": key::to_hex(&[4; 32]), "encryptionKey": encryption_key});
    let cores = [both.their_core(get).await?, both.their_core(compat).await?];
    both.connect_to_them().await?;
    for key in cores {
        let text = key::to_hex(&key);
        let append = |blocks: &[&str]| json!({"do": "append", "key": text, "blocks": blocks});
        both.script.ask(&append(&["dear", "", "diary"])).await?;
        both.script
            .ask(&json!({"do": "truncate", "key": text, "length": 2}))
            .await?;
        both.script.ask(&append(&["secret"])).await?;
        let raw = both.ours.get_by_key(&key)?;
        let ours = decrypted(raw.clone());
        for (block, expected) in (0..).zip(["dear", "", "secret"]) {
            ensure!(within(ours.get(block)).await?? == expected.as_bytes());
            ensure!(within(raw.get(block)).await??.len() == expected.len() + 8);
        }
        ensure!(ours.byte_length() == 10);
    }
    Ok(())
}
