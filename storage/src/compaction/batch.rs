//! Which records of one batch stay.
//!
//! A batch may unfold to far more than its length. What is small is opened where it is met; all else, and whatever is done
//! with its records, is for [`super::CompactionHost::beside`].

use bytes::Bytes;
use protocol::batch::{Batch, BatchHeader, BatchIter, HEADER_BYTES, check_crc};
use protocol::compression::{Compression, DecompressError};
use protocol::records::{ControlKind, ControlRecord, Record, RecordIter, Retained, without_records};
use protocol::types::{Offset, Timestamp};

use super::keys::Keys;
use crate::limits::{COMPACTION_IN_PASSING_BYTES_MAX, COMPACTION_RECORDS_BYTES_MAX};

/// By what a round decides.
pub(super) struct Rules {
    /// Where each key was written last, below `mapped_end`.
    pub(super) keys: Keys,
    /// Up to where the table knows of keys.
    pub(super) mapped_end: Offset,
    /// The clock.
    pub(super) now: Timestamp,
    /// How long a tombstone stays after its first round (`delete.retention.ms`).
    pub(super) delete_retention_ms: i64,
    /// Whether tombstones and markers go when their time is up.
    pub(super) removes_tombstones: bool,
}

/// What the walk knows of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Standing {
    /// Its records were aborted, or its marker is not needed any more.
    pub(super) is_over: bool,
    /// It may not go in this round, even when its time is up.
    pub(super) is_held: bool,
    /// It stays even without records.
    pub(super) must_stay: bool,
}

/// What becomes of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Cleaned {
    /// It stays as it is.
    Same,
    /// This takes its place.
    Changed(Bytes),
    /// Nothing is left of it.
    Gone,
}

/// A batch with its CRC checked, decompressed as far as it can be.
#[derive(Clone)]
pub(super) struct Opened {
    /// The whole batch.
    bytes: Bytes,
    /// None where it has more than a broker would have taken: it stays as it is.
    records: Option<Bytes>,
}

/// Opens a whole batch where that takes little; none where it takes more.
pub(super) fn open_in_passing(bytes: &Bytes) -> Option<Result<Opened, String>> {
    if bytes.len() > COMPACTION_IN_PASSING_BYTES_MAX {
        return None;
    }
    match open_within(bytes, COMPACTION_IN_PASSING_BYTES_MAX) {
        Ok(Opened { records: None, .. }) => None,
        opened => Some(opened),
    }
}

/// Opens a whole batch.
pub(super) fn open(bytes: &Bytes) -> Result<Opened, String> {
    open_within(bytes, COMPACTION_RECORDS_BYTES_MAX)
}

fn open_within(bytes: &Bytes, records_bytes_max: usize) -> Result<Opened, String> {
    let batch = only_batch(bytes)?;
    check_crc(batch).map_err(|error| error.to_string())?;
    let is_compressed = batch.header().compression().is_some_and(|codec| codec != Compression::None);
    let records = match batch.records(records_bytes_max) {
        Ok(records) if is_compressed => Some(Bytes::from(records.into_owned())),
        Ok(_) => Some(bytes.slice(HEADER_BYTES..)),
        Err(DecompressError::TooLarge { .. }) => None,
        Err(error) => return Err(error.to_string()),
    };
    Ok(Opened { bytes: bytes.clone(), records })
}

fn only_batch(bytes: &[u8]) -> Result<Batch<'_>, String> {
    match BatchIter::new(bytes).next() {
        Some(Ok(batch)) if batch.bytes().len() == bytes.len() => Ok(batch),
        Some(Err(error)) => Err(error.to_string()),
        _ => Err("it is not one batch".to_owned()),
    }
}

impl Opened {
    pub(super) fn header(&self) -> &BatchHeader {
        BatchHeader::from_prefix(&self.bytes).expect("it was opened")
    }

    /// Whether it takes little to go through its records.
    pub(super) fn is_little(&self) -> bool {
        self.records.as_ref().is_none_or(|records| records.len() <= COMPACTION_IN_PASSING_BYTES_MAX)
    }

    /// The records with keys, in order, up to one that can't be read.
    pub(super) fn keyed(&self) -> impl Iterator<Item = Result<(Offset, &[u8]), String>> {
        let records = self.records.as_deref().unwrap_or_default();
        RecordIter::new(records, self.header()).filter_map(|record| match record {
            Ok(record) => record.key.map(|key| Ok((record.offset, key))),
            Err(problem) => Some(Err(problem.to_string())),
        })
    }

    /// What a control batch says.
    pub(super) fn marker(&self) -> Option<ControlKind> {
        let record = RecordIter::new(self.records.as_deref()?, self.header()).next()?.ok()?;
        ControlRecord::read(&record).ok()?.map(|marker| marker.kind)
    }

    /// Decides.
    pub(super) fn clean(&self, standing: Standing, rules: &Rules) -> Result<Cleaned, String> {
        let header = self.header();
        let Some(records) = &self.records else { return Ok(Cleaned::Same) };
        let is_past_horizon =
            rules.removes_tombstones && header.delete_horizon().is_some_and(|horizon| horizon <= rules.now);
        let goes_whole = standing.is_over && (!header.is_control() || (is_past_horizon && !standing.is_held));
        let stays = |record: &Record<'_>| {
            !goes_whole && (header.is_control() || rules.keeps(record, is_past_horizon))
        };
        let retained = Retained::select(header, records, stays).map_err(|problem| problem.to_string())?;
        if retained.is_empty() {
            return Ok(match standing.must_stay {
                false => Cleaned::Gone,
                true if header.record_count() == 0 => Cleaned::Same,
                true => Cleaned::Changed(without_records(only_batch(&self.bytes)?).into()),
            });
        }
        let is_undated = header.delete_horizon().is_none();
        let wants_date = if header.is_control() { standing.is_over } else { retained.has_tombstone() };
        let horizon = (is_undated && wants_date)
            .then(|| Timestamp(rules.now.get().saturating_add(rules.delete_retention_ms)));
        if retained.is_all() && horizon.is_none() {
            return Ok(Cleaned::Same);
        }
        Ok(Cleaned::Changed(retained.build(header, records, horizon).into()))
    }
}

impl Rules {
    fn keeps(&self, record: &Record<'_>, is_past_horizon: bool) -> bool {
        if record.offset >= self.mapped_end {
            return true;
        }
        let Some(key) = record.key else {
            // From before the topic was compacted.
            return false;
        };
        let is_last = self.keys.last(key).is_none_or(|last| record.offset >= last);
        is_last && (record.value.is_some() || !is_past_horizon)
    }
}
