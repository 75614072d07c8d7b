//! `xtask bench update`: installing and deltas beside the real `rauc` in the same run, and a whole update of a machine.

mod boxed;
mod delta;
mod install;
mod machine;
mod peak;
mod peer;
mod versions;

use anyhow::Result;

use super::How;
use super::report::Row;
use crate::doctor::{self, Need};

/// Measures.
pub fn measure(how: &How) -> Result<(Vec<Row>, Vec<String>)> {
    doctor::require(&[Need::Image, Need::Qemu])?;
    let (mut rows, mut notes) = install::measure(how)?;
    for more in [delta::measure, machine::measure] {
        let (more_rows, more_notes) = more(how)?;
        rows.extend(more_rows);
        notes.extend(more_notes);
    }
    Ok((rows, notes))
}
