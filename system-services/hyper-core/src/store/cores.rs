//! Which cores there are, and what is known of each beside its blocks.

use redb::{AccessGuard, ReadableTable, WriteTransaction};

use super::change::Change;
use super::error::failed;
use super::op::Op;
use super::tables::{DISCOVERY_KEYS, HEADS, KEY_PAIRS, KEYS, MANIFESTS, META, NAMES, USER_DATA};
use super::{Changed, DamagedPart, Head, Store, StoreError, Writer};
use crate::crypto::{self, Hash, KeyPair};
use crate::manifest::{Manifest, Verifier};

/// What a store knows of a core beside its blocks.
pub(crate) struct CoreRecord {
    pub(crate) number: u64,
    pub(crate) key: Hash,
    pub(crate) verifier: Option<Verifier>,
    pub(crate) key_pair: Option<KeyPair>,
}

impl Store {
    /// How many cores the store holds.
    pub fn cores(&self) -> Result<u64, StoreError> {
        let step = "count its cores";
        let table = self.begin_read().open_table(META).map_err(failed(step))?;
        Ok(table
            .get("cores")
            .map_err(failed(step))?
            .map_or(0, |next| next.value()))
    }

    pub(crate) fn user_data(&self, core: u64, key: &str) -> Result<Option<Vec<u8>>, StoreError> {
        let step = "read user data";
        let table = self.begin_read().open_table(USER_DATA).map_err(failed(step))?;
        let value = table.get((core, key)).map_err(failed(step))?;
        Ok(value.map(|value| value.value().to_vec()))
    }

    pub(crate) fn verifier(&self, core: u64, key: &Hash) -> Result<Option<Verifier>, StoreError> {
        let step = "read a core's manifest";
        let table = self.begin_read().open_table(MANIFESTS).map_err(failed(step))?;
        decode_verifier(core, key, table.get(core).map_err(failed(step))?)
    }

    /// The number of the core with this discovery key.
    pub(crate) fn number_of_discovery_key(&self, key: &Hash) -> Result<Option<u64>, StoreError> {
        let step = "find a core";
        let table = self
            .begin_read()
            .open_table(DISCOVERY_KEYS)
            .map_err(failed(step))?;
        Ok(table.get(key).map_err(failed(step))?.map(|number| number.value()))
    }

    /// The number of the core with this name.
    pub(crate) fn number_of_name(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let step = "find a core";
        let table = self.begin_read().open_table(NAMES).map_err(failed(step))?;
        Ok(table
            .get(name)
            .map_err(failed(step))?
            .map(|number| number.value()))
    }

    /// What is known of a core.
    pub(crate) fn record(&self, number: u64) -> Result<CoreRecord, StoreError> {
        let damaged = |part| StoreError::Damaged { core: number, part };
        let step = "read a core's keys";
        let read = self.begin_read();
        let key = read
            .open_table(KEYS)
            .map_err(failed(step))?
            .get(number)
            .map_err(failed(step))?
            .ok_or(damaged(DamagedPart::Key))?
            .value();
        let manifests = read.open_table(MANIFESTS).map_err(failed(step))?;
        let verifier = decode_verifier(number, &key, manifests.get(number).map_err(failed(step))?)?;
        let pairs = read.open_table(KEY_PAIRS).map_err(failed(step))?;
        let stored = pairs.get(number).map_err(failed(step))?;
        let key_pair = stored.map(|bytes| {
            <&[u8; 64]>::try_from(bytes.value())
                .ok()
                .and_then(KeyPair::from_secret_key)
                .ok_or(damaged(DamagedPart::KeyPair))
        });
        Ok(CoreRecord {
            number,
            key,
            verifier,
            key_pair: key_pair.transpose()?,
        })
    }

    /// Enters a core, or adds to one that is there what is not known of it yet. Says its number.
    pub(crate) fn enter(
        &self,
        key: &Hash,
        name: Option<&str>,
        manifest: Option<&Manifest>,
        pair: Option<&KeyPair>,
    ) -> Result<u64, StoreError> {
        self.transaction(|txn, change| {
            let number = number_for(txn, change, key)?;
            if let Some(name) = name {
                put_name(txn, change, name, number)?;
            }
            let mut writer = Writer::new(txn, change, number)?;
            if let Some(manifest) = manifest {
                writer.put_manifest(manifest)?;
            }
            if let Some(pair) = pair {
                writer.put_key_pair(pair)?;
            }
            writer.finish()?;
            Ok(Changed::Yes(number))
        })
    }
}

/// The number of the core with this key; a new one is entered.
fn number_for(txn: &WriteTransaction, change: &mut Change, key: &Hash) -> Result<u64, StoreError> {
    let step = "enter a core";
    let found = txn.open_table(DISCOVERY_KEYS).map_err(failed(step))?;
    let known = found.get(crypto::discovery_key(key)).map_err(failed(step))?;
    let known = known.map(|number| number.value());
    drop(found);
    if let Some(number) = known {
        let keys = txn.open_table(KEYS).map_err(failed(step))?;
        let same = keys.get(number).map_err(failed(step))?.map(|key| key.value()) == Some(*key);
        return same
            .then_some(number)
            .ok_or(StoreError::WrongDiscoveryKey(number));
    }
    let meta = txn.open_table(META).map_err(failed(step))?;
    let number = meta.get("cores").map_err(failed(step))?;
    let number = number.map_or(0, |next| next.value());
    drop(meta);
    enter_as(txn, change, key, number)?;
    Ok(number)
}

/// Enters a new core, with an empty head, under the next number.
pub(super) fn enter_as(
    txn: &WriteTransaction,
    change: &mut Change,
    key: &Hash,
    number: u64,
) -> Result<(), StoreError> {
    change.note(&Op::Entered { number, key: *key });
    let insert = || -> Result<(), redb::Error> {
        txn.open_table(META)?.insert("cores", number + 1)?;
        txn.open_table(DISCOVERY_KEYS)?
            .insert(crypto::discovery_key(key), number)?;
        txn.open_table(KEYS)?.insert(number, key)?;
        let head = Head {
            tree_hash: crypto::tree_hash([]),
            ..Head::default()
        };
        txn.open_table(HEADS)?.insert(number, &head.encode(&[])[..])?;
        Ok(())
    };
    insert().map_err(failed("enter a core"))
}

pub(super) fn put_name(
    txn: &WriteTransaction,
    change: &mut Change,
    name: &str,
    number: u64,
) -> Result<(), StoreError> {
    let step = "enter a core's name";
    let mut names = txn.open_table(NAMES).map_err(failed(step))?;
    let before = names
        .get(name)
        .map_err(failed(step))?
        .map(|before| before.value());
    match before {
        Some(other) if other != number => Err(StoreError::NameTaken(name.into())),
        Some(_) => Ok(()),
        None => {
            change.note(&Op::Named { name, number });
            names.insert(name, number).map_err(failed(step))?;
            Ok(())
        }
    }
}

pub(super) fn decode_verifier(
    core: u64,
    key: &Hash,
    stored: Option<AccessGuard<'_, &'static [u8]>>,
) -> Result<Option<Verifier>, StoreError> {
    let read = |bytes: &[u8]| Verifier::new(*key, Manifest::decode(bytes).ok()?).ok();
    let verifier = stored.map(|bytes| {
        read(bytes.value()).ok_or(StoreError::Damaged {
            core,
            part: DamagedPart::Manifest,
        })
    });
    verifier.transpose()
}
