//! A core beside a JavaScript one: the same operations, and the same state after each of them.

use anyhow::{Context, Result, ensure};
use hearth_interop::{Peer, hex};
use hyper_core::core::{Core, CoreOptions};
use hyper_core::crypto::KeyPair;
use hyper_core::key;
use hyper_core::merkle::Seek;
use hyper_core::store::{Durability, Store, StoreOptions};
use serde_json::{Value, json};

/// A fixed sequence of pseudo-random numbers (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn blocks(&mut self) -> Value {
        let count = match self.below(12) {
            0 => self.below(400),
            1 => 1 + self.below(40),
            _ => 1 + self.below(4),
        };
        let size = |random: &mut Self| match random.below(30) {
            0 => random.below(70_000),
            1..10 => random.below(3000),
            _ => random.below(60),
        };
        let blocks: Vec<_> = (0..count).map(|_| json!([size(self), self.below(256)])).collect();
        json!(blocks)
    }

    /// Something to do with a core of this length and so many bytes; `fork` is its fork. Either clearing or what needs tree nodes: the
    /// peer removes nodes of blocks beside those that it clears, and can then neither seek nor truncate.
    fn operation(&mut self, length: u64, bytes: u64, fork: u64, clears: bool) -> Value {
        let start = self.below(length + 1);
        let end = (start + self.below(20)).min(length);
        match self.below(20) {
            0..8 => json!({"op": "append", "blocks": self.blocks()}),
            8 if !clears && self.below(2) == 0 => {
                let newer = (self.below(3) == 0).then(|| fork + 1 + self.below(5));
                json!({"op": "truncate", "length": start, "fork": newer})
            }
            9..12 if clears && start < end => json!({"op": "clear", "start": start, "end": end}),
            12..15 if start < length => json!({"op": "get", "block": start}),
            15..17 => json!({"op": "has", "start": start, "end": end + 2}),
            17..19 if !clears && bytes > 0 => json!({"op": "seek", "bytes": self.below(bytes)}),
            19 => json!({"op": "reopen"}),
            _ => json!({"op": "append", "blocks": [[self.below(40), 7]]}),
        }
    }
}

/// A block of so many bytes, the same in both worlds.
fn block(of: &Value) -> Result<Vec<u8>> {
    let number = |place: usize| of[place].as_u64().context("no number");
    let (size, fill) = (number(0)?, number(1)?);
    Ok((0..size).map(|i| (fill + 3 * i + (i >> 8)) as u8).collect())
}

/// Our side: small files, so that checkpoints are made and block files end meanwhile.
struct Ours {
    folder: tempfile::TempDir,
    core: Core,
}

impl Ours {
    fn new(options: CoreOptions) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let core = store(&folder)?.core(options)?;
        Ok(Self { folder, core })
    }

    fn reopen(self) -> Result<Self> {
        let Self { folder, core } = self;
        drop(core);
        let core = store(&folder)?.core_by_number(0)?;
        Ok(Self { folder, core })
    }

    fn read(&self, operation: &Value) -> Result<Value> {
        let number = |name: &str| operation[name].as_u64().context("no number");
        let core = &self.core;
        Ok(match operation["op"].as_str().context("no operation")? {
            "append" => {
                let blocks = operation["blocks"].as_array().context("no blocks")?;
                core.append(&blocks.iter().map(block).collect::<Result<Vec<_>>>()?)?;
                Value::Null
            }
            "truncate" => {
                core.truncate(number("length")?, operation["fork"].as_u64())?;
                Value::Null
            }
            "clear" => {
                core.clear(number("start")?..number("end")?)?;
                Value::Null
            }
            "get" => json!(core.get(number("block")?)?.map(|block| hex(&block))),
            "has" => {
                let blocks = number("start")?..number("end")?;
                json!(
                    blocks
                        .map(|block| core.has(block))
                        .collect::<Result<Vec<_>, _>>()?
                )
            }
            "seek" => match core.seek(number("bytes")?, 0)? {
                Seek::Block { block, offset } => json!([block, offset]),
                _ => Value::Null,
            },
            other => anyhow::bail!("no such operation: {other}"),
        })
    }

    fn state(&self, read: &Value) -> Result<Value> {
        let info = self.core.info()?;
        let signature = hex(&self.core.snapshot()?.head().signature);
        Ok(json!({
            "read": read,
            "fork": info.fork,
            "length": info.length,
            "byteLength": info.byte_length,
            "contiguousLength": info.contiguous_length,
            "treeHash": hex(&info.tree_hash),
            "signature": if signature.is_empty() { Value::Null } else { json!(signature) },
        }))
    }
}

fn store(folder: &tempfile::TempDir) -> Result<Store> {
    let options = StoreOptions {
        durability: Durability::ProcessCrash,
        log_bytes: 100_000,
        block_file_bytes: 200_000,
    };
    Ok(Store::open_with(&folder.path().join("cores"), options)?)
}

#[tokio::test]
async fn random_operations_make_the_same_core_in_both_worlds() -> Result<()> {
    for seed in 1..=6u8 {
        let compat = seed % 3 == 0;
        let mut random = Random(u64::from(seed).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut peer = Peer::start("differential-core.mjs", &[])?;
        let opened = peer
            .ask(&json!({"do": "open", "seed": seed, "compat": compat}))
            .await?;
        let pair = KeyPair::from_seed(&[seed; 32]);
        let options = if compat {
            CoreOptions::compat(pair)
        } else {
            CoreOptions::from_key_pair(pair)
        };
        let mut ours = Ours::new(options)?;
        ensure!(
            opened["key"] == json!(key::to_hex(ours.core.key())),
            "the keys differ"
        );
        let (mut operations, mut states) = (Vec::new(), Vec::new());
        for _ in 0..250 {
            let info = ours.core.info()?;
            let operation = random.operation(info.length, info.byte_length, info.fork, seed % 2 == 0);
            let read = if operation["op"] == "reopen" {
                ours = ours.reopen()?;
                Value::Null
            } else {
                ours.read(&operation)?
            };
            states.push(ours.state(&read)?);
            operations.push(operation);
        }
        let answer = peer.ask(&json!({"do": "run", "operations": operations})).await?;
        let theirs = answer["states"].as_array().context("no states")?;
        ensure!(theirs.len() == states.len(), "states are missing");
        for (step, (ours, theirs)) in states.iter().zip(theirs).enumerate() {
            let operation = &operations[step];
            ensure!(
                ours == theirs,
                "seed {seed}, step {step}, {operation}: ours is {ours}, theirs is {theirs}"
            );
        }
    }
    Ok(())
}
