//! The draft on disk (redb): durable before the page moves on, read back strictly.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use ipc::settings::{AccountName, HostName, TimeZone, UpdatePolicy};
use redb::{Database, Durability, ReadableDatabase, TableDefinition};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::machine::{Claim, Draft, Setup, StorageChoice};
use crate::secret::Digest;

const TABLE: TableDefinition<&str, &[u8]> = TableDefinition::new("web");
const DRAFT: &str = "draft";
const BOOTS: &str = "boots";
const DISMISSED_ROLLBACK: &str = "dismissed-rollback";
/// The store holds a few hundred bytes; redb's default cache is for databases.
const CACHE_BYTES: usize = 64 * 1024;

/// Why the store failed.
#[derive(Debug, Error)]
pub enum StoreError {
    /// redb says no.
    #[error("store {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// The file is not a store and cannot be put aside.
    #[error("put the damaged store {path} aside")]
    PutAside {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// What was read is not a draft.
    #[error("the stored draft: {0}")]
    Content(String),
    /// The writing task died.
    #[error("the store's task ended early")]
    Task,
}

/// The store. Opened at the first use; opening never delays the first page's bytes by more than one small file.
#[derive(Debug, Clone)]
pub struct Store {
    path: PathBuf,
    database: Arc<Mutex<Option<Database>>>,
}

impl Store {
    /// In `folder`; nothing is opened yet.
    pub fn new(folder: &Path) -> Self {
        Self {
            path: folder.join("setup.redb"),
            database: Arc::default(),
        }
    }

    /// The stored draft, or an open, empty one.
    pub async fn load(&self) -> Result<Setup, StoreError> {
        match self.get(DRAFT).await? {
            Some(bytes) => decode(&bytes),
            None => Ok(Setup::default()),
        }
    }

    /// Writes the draft. When this returns, a pulled plug does not undo it.
    pub async fn save(&self, setup: &Setup) -> Result<(), StoreError> {
        match encode(setup)? {
            Some(bytes) => self.put(DRAFT, Some(bytes)).await,
            None => self.put(DRAFT, None).await,
        }
    }

    /// Removes the draft.
    pub async fn delete_draft(&self) -> Result<(), StoreError> {
        self.put(DRAFT, None).await
    }

    /// The list of last boots, as bytes that `crate::system::boots` reads.
    pub async fn boots(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(BOOTS).await
    }

    /// Writes the list of last boots.
    pub async fn set_boots(&self, bytes: Vec<u8>) -> Result<(), StoreError> {
        self.put(BOOTS, Some(bytes)).await
    }

    /// The rollback whose notice a person has put aside, see `crate::updates`.
    pub async fn dismissed_rollback(&self) -> Result<Option<Vec<u8>>, StoreError> {
        self.get(DISMISSED_ROLLBACK).await
    }

    /// Notes it, or forgets it.
    pub async fn set_dismissed_rollback(&self, name: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.put(DISMISSED_ROLLBACK, name).await
    }

    async fn get(&self, key: &'static str) -> Result<Option<Vec<u8>>, StoreError> {
        self.run(move |database| {
            let reading = database.begin_read()?;
            let table = match reading.open_table(TABLE) {
                Ok(table) => table,
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                Err(error) => return Err(error.into()),
            };
            Ok(table.get(key)?.map(|value| value.value().to_vec()))
        })
        .await
    }

    async fn put(&self, key: &'static str, value: Option<Vec<u8>>) -> Result<(), StoreError> {
        self.run(move |database| {
            let mut writing = database.begin_write()?;
            writing.set_durability(Durability::Immediate)?;
            {
                let mut table = writing.open_table(TABLE)?;
                match &value {
                    Some(bytes) => table.insert(key, bytes.as_slice())?,
                    None => table.remove(key)?,
                };
            }
            writing.commit()?;
            Ok(())
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, redb::Error> + Send + 'static,
    ) -> Result<T, StoreError> {
        let store = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut slot = store.database.lock().unwrap_or_else(PoisonError::into_inner);
            let database = match slot.take() {
                Some(database) => slot.insert(database),
                None => slot.insert(open(&store.path)?),
            };
            work(database).map_err(|source| StoreError::Database {
                path: store.path.clone(),
                source: Box::new(source),
            })
        });
        task.await.map_err(|_| StoreError::Task)?
    }
}

/// Opens the file. One that is not a redb file is put aside and a new one begun: the draft is a convenience, the claim is
/// the provisioner's to know, so nothing is given away by forgetting it.
fn open(path: &Path) -> Result<Database, StoreError> {
    let create = || Database::builder().set_cache_size(CACHE_BYTES).create(path);
    let error = match create() {
        Ok(database) => return Ok(database),
        Err(error) => error,
    };
    let damaged = match &error {
        redb::DatabaseError::UpgradeRequired(_) | redb::DatabaseError::RepairAborted => true,
        redb::DatabaseError::Storage(redb::StorageError::Corrupted(_)) => true,
        redb::DatabaseError::Storage(redb::StorageError::Io(io)) => {
            io.kind() == std::io::ErrorKind::InvalidData
        }
        _ => false,
    };
    if damaged {
        tracing::warn!(%error, "the setup store is damaged and is put aside");
        std::fs::rename(path, path.with_extension("damaged")).map_err(|source| StoreError::PutAside {
            path: path.into(),
            source,
        })?;
        return create().map_err(|e| StoreError::Database {
            path: path.into(),
            source: Box::new(e.into()),
        });
    }
    Err(StoreError::Database {
        path: path.into(),
        source: Box::new(error.into()),
    })
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum RawStorage {
    Grow,
    GrowSeen,
    Later,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawClaim {
    administrator: Option<String>,
    browsers: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw {
    revision: u64,
    changed_at: u64,
    language: Option<String>,
    host_name: Option<String>,
    time_zone: Option<String>,
    network_seen: bool,
    storage: Option<RawStorage>,
    update_policy: Option<UpdatePolicy>,
    claim: Option<RawClaim>,
}

/// The draft as bytes; `None` when setup is finished.
pub fn encode(setup: &Setup) -> Result<Option<Vec<u8>>, StoreError> {
    let (draft, claim) = match setup {
        Setup::Provisioned => return Ok(None),
        Setup::Open(draft) => (draft, None),
        Setup::Claimed(draft, claim) => (
            draft,
            Some(RawClaim {
                administrator: claim.administrator.as_ref().map(|name| name.as_str().into()),
                browsers: claim.browsers.iter().map(|b| b.to_hex()).collect(),
            }),
        ),
    };
    let raw = Raw {
        revision: draft.revision,
        changed_at: draft.changed_at,
        language: draft.language.clone(),
        host_name: draft.host_name.as_ref().map(|n| n.as_str().into()),
        time_zone: draft.time_zone.as_ref().map(|z| z.as_str().into()),
        network_seen: draft.network_seen,
        storage: draft.storage.map(|choice| match choice {
            StorageChoice::Grow { seen: false } => RawStorage::Grow,
            StorageChoice::Grow { seen: true } => RawStorage::GrowSeen,
            StorageChoice::Later => RawStorage::Later,
        }),
        update_policy: draft.update_policy,
        claim,
    };
    serde_json::to_vec(&raw)
        .map(Some)
        .map_err(|e| StoreError::Content(e.to_string()))
}

/// The draft from bytes, checked as if a stranger had written them.
pub fn decode(bytes: &[u8]) -> Result<Setup, StoreError> {
    let raw: Raw = serde_json::from_slice(bytes).map_err(|e| StoreError::Content(e.to_string()))?;
    fn checked<T>(
        key: &str,
        value: Option<String>,
        parse: fn(&str) -> Result<T, String>,
    ) -> Result<Option<T>, StoreError> {
        value
            .map(|text| parse(&text).map_err(|e| StoreError::Content(format!("{key}: {e}"))))
            .transpose()
    }
    if raw
        .language
        .as_deref()
        .is_some_and(|l| !crate::strings::is_language(l))
    {
        return Err(StoreError::Content("language: not available".into()));
    }
    let draft = Draft {
        revision: raw.revision,
        changed_at: raw.changed_at,
        language: raw.language,
        host_name: checked("host_name", raw.host_name, HostName::parse)?,
        time_zone: checked("time_zone", raw.time_zone, TimeZone::parse)?,
        network_seen: raw.network_seen,
        storage: raw.storage.map(|choice| match choice {
            RawStorage::Grow => StorageChoice::Grow { seen: false },
            RawStorage::GrowSeen => StorageChoice::Grow { seen: true },
            RawStorage::Later => StorageChoice::Later,
        }),
        update_policy: raw.update_policy,
    };
    let Some(claim) = raw.claim else {
        return Ok(Setup::Open(draft));
    };
    let browsers: Option<Vec<Digest>> = claim.browsers.iter().map(|text| Digest::from_hex(text)).collect();
    Ok(Setup::Claimed(
        draft,
        Claim {
            administrator: checked("administrator", claim.administrator, AccountName::parse)?,
            browsers: browsers.ok_or_else(|| StoreError::Content("browsers: not digests".into()))?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimed() -> Setup {
        Setup::Claimed(
            Draft {
                revision: 9,
                language: Some("en".into()),
                host_name: HostName::parse("attic").ok(),
                storage: Some(StorageChoice::Grow { seen: false }),
                update_policy: Some(UpdatePolicy::Manual),
                ..Draft::default()
            },
            Claim {
                administrator: AccountName::parse("ada").ok(),
                browsers: vec![Digest::of("a")],
            },
        )
    }

    #[tokio::test]
    async fn a_draft_survives_a_new_process() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::new(folder.path());
        assert_eq!(store.load().await.unwrap(), Setup::default());
        store.save(&claimed()).await.unwrap();
        drop(store);
        let store = Store::new(folder.path());
        assert_eq!(store.load().await.unwrap(), claimed());
        store.delete_draft().await.unwrap();
        assert_eq!(store.load().await.unwrap(), Setup::default());
    }

    #[tokio::test]
    async fn a_damaged_file_is_put_aside_and_setup_goes_on() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("setup.redb"), vec![7; 9000]).unwrap();
        let store = Store::new(folder.path());
        assert_eq!(store.load().await.unwrap(), Setup::default());
        assert!(folder.path().join("setup.damaged").exists());
    }

    #[test]
    fn foreign_bytes_are_refused_by_name() {
        let bytes = encode(&claimed()).unwrap().unwrap();
        let text = String::from_utf8(bytes).unwrap();
        for (from, to, key) in [
            ("attic", "At tic", "host_name"),
            ("\"en\"", "\"xx\"", "language"),
            ("revision", "revisio", "revisio"),
        ] {
            let error = decode(text.replace(from, to).as_bytes()).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..200)) {
            let _ = decode(&bytes);
        }
    }
}
