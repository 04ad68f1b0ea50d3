//! Control records: the markers that end a transaction in a partition.
//!
//! | part | bytes | what |
//! | --- | --- | --- |
//! | key | 2 | version, 0 |
//! | key | 2 | kind: 0 abort, 1 commit |
//! | value | 2 | version, 0 |
//! | value | 4 | the coordinator's epoch |

use super::build::{BatchBuilder, BatchOptions, ProducerStamp};
use super::read::Record;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use crate::wire::{DecodeError, Reader};

/// How a transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ControlKind {
    /// Its records never happened.
    Abort,
    /// Its records count.
    Commit,
}

/// A marker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlRecord {
    /// How the transaction ended.
    pub kind: ControlKind,
    /// The epoch of the coordinator that says so.
    pub coordinator_epoch: i32,
}

impl ControlRecord {
    /// Reads a marker from a record of a control batch; none for a kind of control record that is not a marker.
    pub fn read(record: &Record<'_>) -> Result<Option<Self>, DecodeError> {
        let mut key = Reader::new(record.key.ok_or(DecodeError::Null)?, 0);
        let mut value = Reader::new(record.value.ok_or(DecodeError::Null)?, 0);
        // Later versions may add fields behind; the ones known stay where they are.
        key.i16()?;
        let kind = match key.i16()? {
            0 => ControlKind::Abort,
            1 => ControlKind::Commit,
            _ => return Ok(None),
        };
        value.i16()?;
        Ok(Some(Self { kind, coordinator_epoch: value.i32()? }))
    }
}

/// A batch with one marker, ready to be given its offset.
#[must_use]
pub fn control_batch(
    producer: (ProducerId, ProducerEpoch),
    leader_epoch: LeaderEpoch,
    timestamp: Timestamp,
    marker: ControlRecord,
) -> Vec<u8> {
    let (id, epoch) = producer;
    let mut builder = BatchBuilder::new(BatchOptions {
        base_offset: Offset(0),
        leader_epoch,
        producer: ProducerStamp { id, epoch, base_sequence: Sequence(-1) },
        transactional: true,
        control: true,
        ..BatchOptions::default()
    });
    let kind: u8 = match marker.kind {
        ControlKind::Abort => 0,
        ControlKind::Commit => 1,
    };
    let mut value = [0; 6];
    value[2..].copy_from_slice(&marker.coordinator_epoch.to_be_bytes());
    builder.append(timestamp, Some(&[0, 0, 0, kind]), Some(&value), &[]);
    builder.build()
}
