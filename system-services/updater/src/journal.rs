//! The updater's notes on `data` (redb): the record and the history, one transaction for each `Persist`.
//!
//! The notes are no authority: what booted is what the boot manager says. So a journal that cannot be read is set aside and
//! a new one begun, with a line in its history that says so.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ipc::updater::{HistoryEntry, Outcome};
use redb::backends::InMemoryBackend;
use redb::{Database, Durability, ReadableDatabase, ReadableTable, TableDefinition};
use rustix::fs::FallocateFlags;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use crate::channel::Known;
use crate::state::Record;

/// Lines of the history that are kept.
pub const MAX_HISTORY: usize = 200;
/// Longest stored value that is read.
const MAX_VALUE: usize = 1 << 20;
/// A few kilobytes are stored; redb's default cache is for databases.
const CACHE_BYTES: usize = 128 * 1024;
const FORMAT: u32 = 1;
/// More than the file grows at once: redb doubles a small one.
const RESERVE_BYTES: u64 = 4 << 20;

const RECORD: TableDefinition<&str, &[u8]> = TableDefinition::new("record");
const HISTORY: TableDefinition<u64, &[u8]> = TableDefinition::new("history");
/// What is known of each channel, by its name.
const CHANNELS: TableDefinition<&str, &[u8]> = TableDefinition::new("channels");
const KEY: &str = "current";

/// Why the journal failed.
#[derive(Debug, Error)]
pub enum JournalError {
    /// redb says no.
    #[error("the journal {path}")]
    Database {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: Box<redb::Error>,
    },
    /// A damaged file cannot be moved out of the way.
    #[error("set the damaged journal {path} aside")]
    SetAside {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What is stored is not what this version writes.
    #[error("the journal {path} is not understood: {problem}")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    format: u32,
    value: T,
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    /// None only while it is being opened anew.
    database: Mutex<Option<Database>>,
    path: PathBuf,
}

impl Journal {
    /// Opens or begins the journal in `folder`. `opening` is a mark in a folder that is gone after a boot: it is there while
    /// the journal is being opened, so that a file over which this program dies is opened only once.
    ///
    /// With a journal that was lost, the history's last line says so at `now_unix_s`.
    pub fn open(folder: &Path, opening: &Path, now_unix_s: u64) -> Result<(Self, Record), JournalError> {
        let path = folder.join("updater.redb");
        // Over a file that is not there nothing died.
        let died = opening.exists() && path.exists();
        // Best effort: without the mark a file that kills would be met again, and the slot's tries would count down.
        let _ = fs::write(opening, b"");
        let opened = if died {
            Err(content(&path, "the updater died over it"))
        } else {
            match Self::try_open(&path) {
                Err(error) if is_out_of_room(&error) && give_up_reserve(&path) => Self::try_open(&path),
                opened => opened,
            }
        };
        let result = match opened {
            Ok(opened) => Ok(opened),
            Err(error) if is_damage(&error) => Self::begin_anew(&path, &error, now_unix_s),
            Err(error) => Err(error),
        };
        let _ = fs::remove_file(opening);
        if result.is_ok()
            && let Err(error) = keep_reserve(&path)
        {
            tracing::warn!("no room is kept for the journal: {error}");
        }
        result
    }

    /// A journal that is forgotten with the process: for a box whose `data` takes nothing.
    pub fn in_memory() -> Result<Self, JournalError> {
        let path = PathBuf::from("in memory");
        let database = Database::builder()
            .set_cache_size(CACHE_BYTES)
            .create_with_backend(InMemoryBackend::new())
            .map_err(failed(&path))?;
        Ok(Self::of(database, &path))
    }

    /// An empty journal, which is there whole or not at all: redb makes a file in several writes, and one that was cut in
    /// between could not be told from one that was damaged later.
    fn create(path: &Path) -> Result<(), JournalError> {
        let unfinished = unfinished(path);
        let steps = || -> Result<(), redb::Error> {
            drop(
                Database::builder()
                    .set_cache_size(CACHE_BYTES)
                    .create(&unfinished)?,
            );
            File::open(&unfinished)?.sync_all()?;
            fs::rename(&unfinished, path)?;
            File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()?;
            Ok(())
        };
        steps().map_err(failed(path))
    }

    fn of(database: Database, path: &Path) -> Self {
        Self {
            database: Mutex::new(Some(database)),
            path: path.into(),
        }
    }

    fn open_file(path: &Path) -> Result<Database, JournalError> {
        Database::builder()
            .set_cache_size(CACHE_BYTES)
            .open(path)
            .map_err(failed(path))
    }

    fn try_open(path: &Path) -> Result<(Self, Record), JournalError> {
        remove_leftover(&unfinished(path)).map_err(failed(path))?;
        // A disk that does not answer is not one without a journal.
        if !path.try_exists().map_err(redb::Error::Io).map_err(failed(path))? {
            Self::create(path)?;
        }
        let mut database = Self::open_file(path)?;
        database.check_integrity().map_err(failed(path))?;
        let journal = Self::of(database, path);
        journal.history()?;
        let record = journal.record()?;
        Ok((journal, record))
    }

    fn begin_anew(path: &Path, why: &JournalError, now_unix_s: u64) -> Result<(Self, Record), JournalError> {
        let aside = path.with_extension("damaged");
        tracing::error!("{why}; it is set aside as {}", aside.display());
        fs::rename(path, &aside).map_err(|source| JournalError::SetAside {
            path: path.into(),
            source,
        })?;
        let (journal, record) = Self::try_open(path)?;
        let entry = HistoryEntry {
            unix_s: now_unix_s,
            outcome: Outcome::JournalLost,
            version: String::new(),
            slot: String::new(),
            sentence:
                "The updater's notes were damaged and begin anew here; which system runs is not affected."
                    .into(),
        };
        journal.persist(&record, &[entry])?;
        Ok((journal, record))
    }

    fn record(&self) -> Result<Record, JournalError> {
        let bytes = self.read(|database| {
            let reading = database.begin_read()?;
            let table = match reading.open_table(RECORD) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                other => other?,
            };
            Ok(table.get(KEY)?.map(|value| value.value().to_vec()))
        })?;
        bytes.map_or(Ok(Record::default()), |bytes| {
            decode_record(&bytes).map_err(|problem| content(&self.path, &problem))
        })
    }

    /// Every line, oldest first.
    pub fn history(&self) -> Result<Vec<HistoryEntry>, JournalError> {
        let lines = self.read(|database| {
            let reading = database.begin_read()?;
            let table = match reading.open_table(HISTORY) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(vec![]),
                other => other?,
            };
            let mut lines = vec![];
            for line in table.iter()?.take(MAX_HISTORY) {
                lines.push(line?.1.value().to_vec());
            }
            Ok(lines)
        })?;
        // A line of a newer version may say what this one has no word for.
        Ok(lines.iter().filter_map(|bytes| decode(bytes).ok()).collect())
    }

    /// Writes the record and adds the lines. When this returns, a pulled plug does not undo it; before, all of it or
    /// nothing is there. Where `data` has no room left, that of the reserve is used: a version that filled it is given up
    /// for that very reason, and the reason is to be kept.
    pub fn persist(&self, record: &Record, lines: &[HistoryEntry]) -> Result<(), JournalError> {
        match self.try_persist(record, lines) {
            Err(error) if is_out_of_room(&error) && give_up_reserve(&self.path) => {
                tracing::warn!("{error}: its reserve is used now");
                // redb does nothing more with a file that failed once.
                let mut database = self.lock();
                *database = None;
                *database = Some(Self::open_file(&self.path)?);
                drop(database);
                self.try_persist(record, lines)
            }
            outcome => outcome,
        }
    }

    fn try_persist(&self, record: &Record, lines: &[HistoryEntry]) -> Result<(), JournalError> {
        let value = self.encode(record)?;
        let lines: Vec<Vec<u8>> = lines
            .iter()
            .map(|line| self.encode(line))
            .collect::<Result<_, _>>()?;
        self.read(|database| {
            let mut writing = database.begin_write()?;
            writing.set_durability(Durability::Immediate)?;
            {
                writing.open_table(RECORD)?.insert(KEY, value.as_slice())?;
                let mut history = writing.open_table(HISTORY)?;
                let next = history.last()?.map_or(0, |(key, _)| key.value() + 1);
                for (number, line) in (next..).zip(&lines) {
                    history.insert(number, line.as_slice())?;
                }
                while redb::ReadableTableMetadata::len(&history)? > MAX_HISTORY as u64 {
                    history.pop_first()?;
                }
            }
            writing.commit()?;
            Ok(())
        })
    }

    /// What is known of a channel.
    pub fn channel(&self, name: &str) -> Result<Option<Known>, JournalError> {
        let bytes = self.read(|database| {
            let reading = database.begin_read()?;
            let table = match reading.open_table(CHANNELS) {
                Err(redb::TableError::TableDoesNotExist(_)) => return Ok(None),
                other => other?,
            };
            Ok(table.get(name)?.map(|value| value.value().to_vec()))
        })?;
        bytes.map(|bytes| self.decode(&bytes)).transpose()
    }

    /// Writes what is known of a channel; durable when it returns.
    pub fn keep_channel(&self, name: &str, known: &Known) -> Result<(), JournalError> {
        let value = self.encode(known)?;
        self.read(|database| {
            let mut writing = database.begin_write()?;
            writing.set_durability(Durability::Immediate)?;
            writing.open_table(CHANNELS)?.insert(name, value.as_slice())?;
            writing.commit()?;
            Ok(())
        })
    }

    fn read<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, JournalError> {
        match self.lock().as_ref() {
            Some(database) => work(database),
            None => Err(redb::Error::PreviousIo),
        }
        .map_err(failed(&self.path))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Database>> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn encode<T: Serialize>(&self, value: &T) -> Result<Vec<u8>, JournalError> {
        let stored = Stored {
            format: FORMAT,
            value,
        };
        serde_json::to_vec(&stored).map_err(|e| content(&self.path, &e.to_string()))
    }

    fn decode<T: for<'a> Deserialize<'a>>(&self, bytes: &[u8]) -> Result<T, JournalError> {
        decode(bytes).map_err(|problem| content(&self.path, &problem))
    }
}

/// A stored value. Keys that are not known here are passed over: a newer version that failed has written before.
fn decode<T: for<'a> Deserialize<'a>>(bytes: &[u8]) -> Result<T, String> {
    if bytes.len() > MAX_VALUE {
        return Err(format!("{} bytes are too many", bytes.len()));
    }
    let stored: Stored<T> = serde_json::from_slice(bytes).map_err(|e| e.to_string())?;
    if stored.format != FORMAT {
        return Err(format!("format {} is not known here", stored.format));
    }
    Ok(stored.value)
}

/// The record in the bytes that a journal stores; public for the fuzz tests.
pub fn decode_record(bytes: &[u8]) -> Result<Record, String> {
    let mut value: Value = decode(bytes)?;
    let state = value
        .get_mut("state")
        .map(|state| std::mem::replace(state, Value::from("idle")));
    let record: Record = serde_json::from_value(value).map_err(|e| e.to_string())?;
    match serde_json::from_value(state.unwrap_or_default()) {
        Ok(state) => Ok(Record { state, ..record }),
        Err(error) => {
            tracing::warn!(%error, "the updater's state is one of another version");
            Ok(record.without_its_state())
        }
    }
}

/// A line of the history in the bytes that a journal stores; for the fuzz tests.
pub fn decode_line(bytes: &[u8]) -> Result<HistoryEntry, String> {
    decode(bytes)
}

/// What is known of a channel, in the bytes that a journal stores; for the fuzz tests.
pub fn decode_channel(bytes: &[u8]) -> Result<Known, String> {
    decode(bytes)
}

/// The bytes that a journal stores.
pub fn encode_record(record: &Record) -> Result<Vec<u8>, String> {
    let stored = Stored {
        format: FORMAT,
        value: record,
    };
    serde_json::to_vec(&stored).map_err(|e| e.to_string())
}

/// Beside the journal: room that nothing else on `data` can take.
fn reserve(path: &Path) -> PathBuf {
    path.with_extension("reserve")
}

fn keep_reserve(path: &Path) -> io::Result<()> {
    let reserve = reserve(path);
    if fs::metadata(&reserve).is_ok_and(|m| m.len() == RESERVE_BYTES) {
        return Ok(());
    }
    let made = File::create(&reserve).and_then(|file| {
        rustix::fs::fallocate(&file, FallocateFlags::empty(), 0, RESERVE_BYTES)?;
        file.sync_all()
    });
    if made.is_err() {
        give_up_reserve(path);
    }
    made
}

/// True when there was one.
fn give_up_reserve(path: &Path) -> bool {
    fs::remove_file(reserve(path)).is_ok()
}

fn is_out_of_room(error: &JournalError) -> bool {
    let JournalError::Database { source, .. } = error else {
        return false;
    };
    match source.as_ref() {
        redb::Error::Io(io) => io.kind() == io::ErrorKind::StorageFull,
        redb::Error::PreviousIo => true,
        _ => false,
    }
}

/// Where an empty journal is made before it gets its name.
fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("unfinished")
}

fn remove_leftover(path: &Path) -> Result<(), redb::Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
}

fn failed<E: Into<redb::Error>>(path: &Path) -> impl FnOnce(E) -> JournalError {
    move |source| JournalError::Database {
        path: path.into(),
        source: Box::new(source.into()),
    }
}

fn content(path: &Path, problem: &str) -> JournalError {
    JournalError::Content {
        path: path.into(),
        problem: problem.into(),
    }
}

/// Damage, and not a disk that is full or gone: then another file would fare no better.
fn is_damage(error: &JournalError) -> bool {
    match error {
        JournalError::Content { .. } => true,
        JournalError::SetAside { .. } => false,
        JournalError::Database { source, .. } => match source.as_ref() {
            redb::Error::Corrupted(_)
            | redb::Error::UpgradeRequired(_)
            | redb::Error::RepairAborted
            | redb::Error::TableTypeMismatch { .. }
            | redb::Error::TableIsMultimap(_) => true,
            redb::Error::Io(io) => {
                matches!(
                    io.kind(),
                    io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
                )
            }
            _ => false,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Bundle, State};

    fn line(number: u64) -> HistoryEntry {
        HistoryEntry {
            unix_s: number,
            outcome: Outcome::Failed,
            version: String::new(),
            slot: "b".into(),
            sentence: "No.".into(),
        }
    }

    fn good() -> Record {
        Record {
            state: State::Good {
                slot: ipc::boot_facts::Slot::B,
                bundle: Bundle::default(),
            },
            last_error: Some("Once.".into()),
            ..Record::default()
        }
    }

    fn open(folder: &Path) -> (Journal, Record) {
        Journal::open(folder, &folder.join("opening"), 7).unwrap()
    }

    #[test]
    fn what_was_persisted_is_there_after_a_restart_and_the_history_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, record) = open(folder.path());
        assert_eq!(record, Record::default());
        for number in 0..250 {
            journal.persist(&good(), &[line(number)]).unwrap();
        }
        drop(journal);
        let (journal, record) = open(folder.path());
        assert_eq!(record, good());
        let history = journal.history().unwrap();
        assert_eq!(
            (history.len(), history[0].unix_s, history[199].unix_s),
            (MAX_HISTORY, 50, 249)
        );
    }

    #[test]
    fn what_a_newer_version_wrote_before_it_failed_is_not_forgotten() {
        let hash = "ab".repeat(32);
        let text = format!(
            r#"{{"format":1,"value":{{"state":{{"dreaming":{{"of":1}}}},"failed":[{{"manifest_hash":"{hash}","reason":"No.","how":2}}],"new":[3]}}}}"#
        );
        let record = decode_record(text.as_bytes()).unwrap();
        assert_eq!(record.state, State::Idle);
        // Nor is a trial whose notes are not understood.
        let newer = good();
        let bundle = Bundle {
            manifest_hash: crate::engine::ManifestHash([7; 32]),
            ..Bundle::default()
        };
        let note = crate::state::SlotNote {
            bundle: Some(bundle),
            ..Default::default()
        };
        let slots = [note, Default::default()];
        let text = String::from_utf8(encode_record(&Record { slots, ..newer }).unwrap()).unwrap();
        let text = text.replacen("{\"good\":", "{\"better\":", 1);
        let tried = decode_record(text.as_bytes()).unwrap();
        assert_eq!(tried.state, State::Idle);
        assert_eq!(tried.failed[0].manifest_hash.0, [7; 32]);
        assert_eq!(
            (record.failed.len(), record.failed[0].reason.as_str()),
            (1, "No.")
        );
        let text = r#"{"format":1,"value":{"unix_s":1,"outcome":"failed","version":"","slot":"b","sentence":"No.","by":"me"}}"#;
        assert_eq!(decode_line(text.as_bytes()).unwrap(), line(1));
    }

    #[test]
    fn room_is_kept_for_the_day_on_which_there_is_none_and_used_then() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updater.redb");
        let (journal, _) = open(folder.path());
        assert_eq!(fs::metadata(reserve(&path)).unwrap().len(), RESERVE_BYTES);
        assert!(
            fs::metadata(&path).unwrap().len() < RESERVE_BYTES,
            "it may double"
        );
        let full = |kind: io::ErrorKind| failed(&path)(redb::Error::Io(kind.into()));
        assert!(is_out_of_room(&full(io::ErrorKind::StorageFull)));
        assert!(!is_out_of_room(&full(io::ErrorKind::PermissionDenied)));
        // As after a failed write: redb refuses the file until it is opened again.
        *journal.lock() = None;
        journal.persist(&good(), &[line(1)]).unwrap();
        assert!(!reserve(&path).exists());
        drop(journal);
        let (journal, record) = open(folder.path());
        assert_eq!((record, journal.history().unwrap()), (good(), vec![line(1)]));
        assert!(reserve(&path).exists());
    }

    #[test]
    fn a_damaged_journal_is_set_aside_and_the_new_one_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updater.redb");
        let (journal, _) = open(folder.path());
        journal.persist(&good(), &[line(1)]).unwrap();
        drop(journal);
        let whole = fs::read(&path).unwrap();
        let mut lost = 0;
        let mut damages: Vec<Vec<u8>> =
            vec![b"not a database".to_vec(), vec![0; 9000], whole[..5000].to_vec()];
        // A bit here and there in what is used.
        for at in (0..whole.len()).step_by(whole.len() / 97).chain(0..400) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            damages.push(damaged);
        }
        for damaged in damages {
            fs::write(&path, damaged).unwrap();
            // redb dies over some damage: then the service is started again, and finds the mark of the first try.
            let (journal, record) =
                std::panic::catch_unwind(|| open(folder.path())).unwrap_or_else(|_| open(folder.path()));
            let history = journal.history().unwrap();
            if record == Record::default() {
                lost += 1;
                assert_eq!((history[0].outcome, history[0].unix_s), (Outcome::JournalLost, 7));
                assert!(folder.path().join("updater.damaged").exists());
            } else {
                assert_eq!((record, history), (good(), vec![line(1)]));
            }
        }
        assert!(lost >= 3, "{lost}");
    }

    #[test]
    fn a_cut_while_the_first_journal_is_made_is_no_lost_journal() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("updater.redb");
        let unfinished = folder.path().join("updater.unfinished");
        drop(open(folder.path()));
        assert!(path.exists() && !unfinished.exists());
        let whole = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        // What was written so far: nothing, each length, and all of it before it got its name.
        let lengths = (0..whole.len())
            .step_by(whole.len() / 61)
            .chain(0..80)
            .chain([whole.len()]);
        for length in lengths {
            for opening in [false, true] {
                fs::write(&unfinished, &whole[..length]).unwrap();
                if opening {
                    // The service died in the middle, and starts again in the same boot.
                    fs::write(folder.path().join("opening"), "").unwrap();
                }
                let (journal, record) = open(folder.path());
                assert_eq!(
                    (record, journal.history().unwrap()),
                    (Record::default(), vec![]),
                    "{length}"
                );
                assert!(!unfinished.exists() && !folder.path().join("updater.damaged").exists());
                drop(journal);
                fs::remove_file(&path).unwrap();
            }
        }
    }

    #[test]
    fn a_journal_that_was_made_whole_is_not_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        journal.persist(&good(), &[line(1)]).unwrap();
        drop(journal);
        // A leftover beside it changes nothing.
        fs::write(folder.path().join("updater.unfinished"), "half").unwrap();
        let (journal, record) = open(folder.path());
        assert_eq!((record, journal.history().unwrap()), (good(), vec![line(1)]));
        assert!(
            !folder.path().join("updater.unfinished").exists(),
            "it takes no room either"
        );
    }

    #[test]
    fn a_journal_that_killed_the_program_is_not_opened_again() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        journal.persist(&good(), &[]).unwrap();
        drop(journal);
        fs::write(folder.path().join("opening"), "").unwrap();
        let (journal, record) = open(folder.path());
        assert_eq!(record, Record::default());
        assert_eq!(journal.history().unwrap()[0].outcome, Outcome::JournalLost);
        drop(journal);
        assert_eq!(open(folder.path()).1, Record::default());
    }

    #[test]
    fn each_channel_is_remembered_over_a_restart_beside_the_record() {
        let folder = tempfile::tempdir().unwrap();
        let (journal, _) = open(folder.path());
        let known = |serial| Known {
            serial,
            checked_unix_s: 5,
            url: "https://updates.example/stable.hearth-channel".into(),
            available: None,
        };
        assert_eq!(journal.channel("stable").unwrap(), None);
        journal.keep_channel("stable", &known(1)).unwrap();
        journal.keep_channel("beta", &known(2)).unwrap();
        journal.keep_channel("stable", &known(3)).unwrap();
        journal.persist(&good(), &[]).unwrap();
        drop(journal);
        let (journal, record) = open(folder.path());
        assert_eq!(record, good());
        assert_eq!(journal.channel("stable").unwrap(), Some(known(3)));
        assert_eq!(journal.channel("beta").unwrap(), Some(known(2)));
        assert!(decode_channel(b"{\"format\":1,\"value\":{\"serial\":1}}").is_err());
    }

    #[test]
    fn values_of_another_format_are_refused() {
        let bytes = encode_record(&good()).unwrap();
        assert_eq!(decode_record(&bytes).unwrap(), good());
        let text = String::from_utf8(bytes)
            .unwrap()
            .replacen("\"format\":1", "\"format\":2", 1);
        assert!(decode_record(text.as_bytes()).is_err());
    }
}
