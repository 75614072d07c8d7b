//! What a store holds beside its cores: the primary key, and the lists of what is there.

use redb::{ReadableTable, WriteTransaction};

use super::change::Change;
use super::error::failed;
use super::op::Op;
use super::tables::{DISCOVERY_KEYS, KEYS, NAMES, SECRETS};
use super::{Changed, DamagedPart, Store, StoreError};
use crate::crypto::Hash;

/// Name of the secret that is the primary key: 32 bytes.
const PRIMARY_KEY: &str = "primary-key";

impl Store {
    /// The primary key, which is kept with the store. The first one that is given stays.
    pub(crate) fn primary_key_or_set(&self, first: &[u8; 32]) -> Result<[u8; 32], StoreError> {
        self.transaction(|txn, change| {
            let step = "read or keep its primary key";
            let secrets = txn.open_table(SECRETS).map_err(failed(step))?;
            let stored = secrets.get(PRIMARY_KEY).map_err(failed(step))?;
            let stored = stored.map(|bytes| bytes.value().try_into());
            drop(secrets);
            match stored {
                Some(Ok(stored)) => Ok(Changed::No(stored)),
                Some(Err(_)) => Err(StoreError::DamagedPrimaryKey),
                None => {
                    put_secret(txn, change, PRIMARY_KEY, first)?;
                    Ok(Changed::Yes(*first))
                }
            }
        })
    }

    /// The discovery keys of its cores, at most `limit` of those that sort after `after`, in their order.
    pub fn discovery_keys(&self, after: Option<&Hash>, limit: usize) -> Result<Vec<Hash>, StoreError> {
        let step = "list its cores";
        let table = self
            .begin_read()
            .open_table(DISCOVERY_KEYS)
            .map_err(failed(step))?;
        let all = match after {
            Some(after) => table.range((std::ops::Bound::Excluded(*after), std::ops::Bound::Unbounded)),
            None => table.range::<Hash>(..),
        };
        all.map_err(failed(step))?
            .take(limit)
            .map(|entry| Ok(entry.map_err(failed(step))?.0.value()))
            .collect()
    }

    /// The key of a core.
    pub(crate) fn key_of(&self, number: u64) -> Result<Hash, StoreError> {
        let step = "read a core's key";
        let table = self.begin_read().open_table(KEYS).map_err(failed(step))?;
        let key = table.get(number).map_err(failed(step))?.map(|key| key.value());
        key.ok_or(StoreError::Damaged {
            core: number,
            part: DamagedPart::Key,
        })
    }

    /// The names that begin with `prefix`, without it, and the numbers of their cores, in the order of the names.
    pub(crate) fn names_with_prefix(&self, prefix: &str) -> Result<Vec<(String, u64)>, StoreError> {
        let step = "list the names of its cores";
        let table = self.begin_read().open_table(NAMES).map_err(failed(step))?;
        let mut out = Vec::new();
        for entry in table.range(prefix..).map_err(failed(step))? {
            let (name, number) = entry.map_err(failed(step))?;
            match name.value().strip_prefix(prefix) {
                Some(name) => out.push((name.to_owned(), number.value())),
                None => break,
            }
        }
        Ok(out)
    }
}

pub(super) fn put_secret(
    txn: &WriteTransaction,
    change: &mut Change,
    name: &str,
    value: &[u8],
) -> Result<(), StoreError> {
    let step = "keep a secret";
    change.note(&Op::Secret { name, value });
    txn.open_table(SECRETS)
        .map_err(failed(step))?
        .insert(name, value)
        .map_err(failed(step))?;
    Ok(())
}
