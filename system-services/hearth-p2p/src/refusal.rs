//! Why a verb ends without having done what it should, and the exit code of it.

use std::error::Error;
use std::io;
use std::path::Path;
use std::process::ExitCode;

use hyper_core::core::CoreError;
use hyper_core::corestore::CorestoreError;
use hyper_core::session::SessionError;
use hyper_core::store::StoreError;
use hyper_drive::bee::BeeError;
use hyper_drive::blobs::BlobError;
use hyper_drive::mirror::MirrorError;

use crate::event::Event;
use crate::output::Output;

/// The exit codes, for the help.
pub const EXIT_CODES: &str = "\
Exit codes:
  0  done, or ended by Ctrl-C where that is the way to end
  1  failed; the message says where and what to do
  2  the command line is wrong
  3  what was asked for is not there (a name, a block, a key, a file)
  4  no peer could be reached, or none answered in time
  5  the storage cannot be opened, or is damaged
  6  refused: the core cannot be written here, or a condition does not hold
  130  cut off by Ctrl-C before it was done

docs/p2p.md is the manual, with the JSON events.";

/// What is not the fault of any part: the sentence says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The command line contradicts itself.
    #[error("{0}")]
    Usage(String),
    /// It is not there.
    #[error("{0}")]
    NotFound(String),
    /// Nobody answers.
    #[error("{0}")]
    NoPeers(String),
    /// It may not be done, or a condition does not hold.
    #[error("{0}")]
    Refused(String),
    /// The disk has damaged something.
    #[error("{0}")]
    Damaged(String),
    /// Some of it could not be done; what could be is done.
    #[error("{0}")]
    Partly(String),
    /// The user ended it.
    #[error("cut off before it was done; what was stored until then stays")]
    CutOff,
}

impl Refusal {
    fn code(&self) -> u8 {
        match self {
            Self::Partly(_) => 1,
            Self::Usage(_) => 2,
            Self::NotFound(_) => 3,
            Self::NoPeers(_) => 4,
            Self::Damaged(_) => 5,
            Self::Refused(_) => 6,
            Self::CutOff => 130,
        }
    }
}

/// The exit code of an error: the first part of its chain that has one says it.
fn code(error: &anyhow::Error) -> u8 {
    error.chain().find_map(code_of).unwrap_or(1)
}

fn code_of(error: &(dyn Error + 'static)) -> Option<u8> {
    if let Some(refusal) = find::<Refusal>(error) {
        return Some(refusal.code());
    }
    if let Some(error) = find::<SessionError>(error) {
        return match error {
            SessionError::Core(core) => code_of_core(core),
            SessionError::TimedOut { .. } => Some(4),
            SessionError::Frozen { .. } => Some(6),
            _ => None,
        };
    }
    if let Some(error) = find::<CorestoreError>(error) {
        return match error {
            CorestoreError::Random(_) => None,
            CorestoreError::OtherPrimaryKey => Some(6),
            _ => Some(5),
        };
    }
    if let Some(core) = find::<CoreError>(error) {
        return code_of_core(core);
    }
    match (
        find::<BeeError>(error),
        find::<BlobError>(error),
        find::<MirrorError>(error),
    ) {
        (Some(BeeError::ReadOnly(_)), ..) | (.., Some(MirrorError::NotWritable(_))) => Some(6),
        (Some(BeeError::NotStored { .. }), ..) | (_, Some(BlobError::NotStored { .. }), _) => Some(3),
        (.., Some(MirrorError::NothingKnown(_))) => Some(3),
        _ => find::<StoreError>(error).map(|_| 5),
    }
}

/// An error of this type, in a box or not.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    let boxed = || error.downcast_ref::<Box<E>>().map(|error| &**error);
    error.downcast_ref().or_else(boxed)
}

fn code_of_core(error: &CoreError) -> Option<u8> {
    match error {
        CoreError::Store(_) => Some(5),
        CoreError::NotWritable | CoreError::NeedsMoreSigners | CoreError::Prologue { .. } => Some(6),
        _ => None,
    }
}

/// Whether nobody reads any more what is said: `hearth-p2p core cat … | head`.
fn nobody_reads(error: &anyhow::Error) -> bool {
    let broken = |error: &io::Error| error.kind() == io::ErrorKind::BrokenPipe;
    error
        .chain()
        .any(|error| error.downcast_ref::<io::Error>().is_some_and(broken))
}

/// Says why it failed, once.
pub fn report(error: &anyhow::Error, output: Output) -> ExitCode {
    if nobody_reads(error) {
        return ExitCode::SUCCESS;
    }
    let code = code(error);
    let message = format!("{error:#}");
    // When not even this can be said the exit code still tells.
    let _ = output.error(
        &Event::Error {
            code,
            message: &message,
        },
        &message,
    );
    ExitCode::from(code)
}

/// A file that cannot be read or written, with the code of one that is not there.
pub fn of_file(path: &Path, doing: &str, error: io::Error) -> anyhow::Error {
    let what = format!("{} cannot be {doing}", path.display());
    match error.kind() {
        io::ErrorKind::NotFound => Refusal::NotFound(format!("{what}: it is not there")).into(),
        _ => anyhow::Error::new(error).context(what),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper_core::core::Conflict;

    #[test]
    fn the_exit_code_is_that_of_the_cause() {
        let lost: anyhow::Error = Refusal::NotFound("no such core".into()).into();
        assert_eq!(code(&lost.context("while looking")), 3);
        assert_eq!(code(&SessionError::from(CoreError::NotWritable).into()), 6);
        let (key, conflict) = ([1; 32], Conflict { fork: 0, length: 1 });
        assert_eq!(code(&SessionError::Frozen { key, conflict }.into()), 6);
        assert_eq!(code(&CorestoreError::from(StoreError::Foreign).into()), 5);
        assert_eq!(code(&anyhow::anyhow!("anything")), 1);
    }
}
