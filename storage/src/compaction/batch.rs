//! Which records of one batch stay.

use bytes::Bytes;
use protocol::batch::{Batch, BatchHeader, BatchIter, check_crc};
use protocol::records::{ControlKind, ControlRecord, Record, RecordIter, Retained, without_records};
use protocol::types::{Offset, Timestamp};

use super::keys::Keys;
use crate::limits::COMPACTION_RECORDS_BYTES_MAX;

/// By what a round decides.
pub(super) struct Rules<'a> {
    /// Where each key was written last, below `mapped_end`.
    pub(super) keys: &'a Keys,
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
pub(super) struct Opened<'a> {
    pub(super) batch: Batch<'a>,
    /// None where it has more than a broker would have taken: it stays as it is.
    pub(super) records: Option<std::borrow::Cow<'a, [u8]>>,
}

/// Opens a whole batch.
pub(super) fn open(bytes: &[u8]) -> Result<Opened<'_>, String> {
    let mut batches = BatchIter::new(bytes);
    let batch = match batches.next() {
        Some(Ok(batch)) if batch.bytes().len() == bytes.len() => batch,
        Some(Err(error)) => return Err(error.to_string()),
        _ => return Err("it is not one batch".to_owned()),
    };
    check_crc(batch).map_err(|error| error.to_string())?;
    let records = match batch.records(COMPACTION_RECORDS_BYTES_MAX) {
        Ok(records) => Some(records),
        Err(protocol::compression::DecompressError::TooLarge { .. }) => None,
        Err(error) => return Err(error.to_string()),
    };
    Ok(Opened { batch, records })
}

impl Opened<'_> {
    pub(super) fn header(&self) -> &BatchHeader {
        self.batch.header()
    }

    /// The records with keys, in order, up to one that can't be read.
    pub(super) fn keyed(&self) -> impl Iterator<Item = Result<(Offset, &[u8]), String>> {
        let records = self.records.as_deref().unwrap_or_default();
        RecordIter::new(records, self.batch.header()).filter_map(|record| match record {
            Ok(record) => record.key.map(|key| Ok((record.offset, key))),
            Err(problem) => Some(Err(problem.to_string())),
        })
    }

    /// What a control batch says.
    pub(super) fn marker(&self) -> Option<ControlKind> {
        let record = RecordIter::new(self.records.as_deref()?, self.batch.header()).next()?.ok()?;
        ControlRecord::read(&record).ok()?.map(|marker| marker.kind)
    }

    /// Decides.
    pub(super) fn clean(&self, standing: Standing, rules: &Rules<'_>) -> Result<Cleaned, String> {
        let header = self.batch.header();
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
                true => Cleaned::Changed(without_records(self.batch).into()),
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

impl Rules<'_> {
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
