//! Doing again what a record of the log says.

use redb::WriteTransaction;

use super::StoreError;
use super::change::{Change, Record};
use super::cores::{enter_as, put_name};
use super::directory::put_secret;
use super::op::Op;
use super::write::Writer;
use crate::messages::codec::Reader;

/// Does all steps of a record. `offset` is where it lies in the log, for errors.
pub(super) fn replay(
    txn: &WriteTransaction,
    change: &mut Change,
    mut record: Record<'_>,
    offset: u64,
) -> Result<(), StoreError> {
    let steps = &mut record.steps;
    let mut next = read(steps, offset)?;
    while let Some(step) = next {
        next = match step {
            Op::Core(core) => core_steps(txn, change, core, steps, offset)?,
            Op::Entered { number, key } => {
                enter_as(txn, change, &key, number)?;
                read(steps, offset)?
            }
            Op::Named { name, number } => {
                put_name(txn, change, name, number)?;
                read(steps, offset)?
            }
            Op::Secret { name, value } => {
                put_secret(txn, change, name, value)?;
                read(steps, offset)?
            }
            _ => return Err(StoreError::Record { offset }),
        };
    }
    Ok(())
}

fn read<'a>(steps: &mut Reader<'a>, offset: u64) -> Result<Option<Op<'a>>, StoreError> {
    if steps.is_empty() {
        return Ok(None);
    }
    Op::decode(steps).map(Some).ok_or(StoreError::Record { offset })
}

/// Does the steps of one core, and gives the first one that is not.
fn core_steps<'a>(
    txn: &WriteTransaction,
    change: &mut Change,
    core: u64,
    steps: &mut Reader<'a>,
    offset: u64,
) -> Result<Option<Op<'a>>, StoreError> {
    let mut writer = Writer::new(txn, change, core)?;
    while let Some(step) = read(steps, offset)? {
        match step {
            Op::Node(node) => writer.put_nodes([node])?,
            Op::Block { block, stored } => writer.put_block_again(block, stored)?,
            Op::Dropped(blocks) => writer.drop_blocks(blocks)?,
            Op::Truncated(length) => writer.remove_nodes_over(length)?,
            Op::Marked { blocks, stored } => writer.mark(blocks, stored)?,
            Op::Head(bytes) => writer.put_encoded_head(bytes)?,
            Op::Manifest(bytes) => writer.put_encoded_manifest(bytes)?,
            Op::KeyPair(bytes) => writer.put_secret_key(bytes)?,
            Op::UserData { key, value } => writer.put_user_data(key, value)?,
            Op::Core(_) | Op::Entered { .. } | Op::Named { .. } | Op::Secret { .. } => {
                writer.finish()?;
                return Ok(Some(step));
            }
        }
    }
    writer.finish()?;
    Ok(None)
}
