//! `xtask bench update`: installing and deltas, beside the real `rauc` in the same run.

mod boxed;
mod delta;
mod install;
mod peak;
mod peer;
mod versions;

use anyhow::Result;

use super::How;
use super::report::Row;
use crate::doctor::{self, Need};

/// Measures.
pub fn measure(how: &How) -> Result<(Vec<Row>, Vec<String>)> {
    doctor::require(&[Need::Image])?;
    let (mut rows, mut notes) = install::measure(how)?;
    let (more_rows, more_notes) = delta::measure(how)?;
    rows.extend(more_rows);
    notes.extend(more_notes);
    Ok((rows, notes))
}
