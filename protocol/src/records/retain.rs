//! Leaves records of a batch out, as compaction does. What stays keeps its offset and its bytes.
//!
//! The batch keeps its place: base offset, last offset delta, producer, sequence and compression are those it had. A batch
//! that holds tombstones, or the marker of a transaction without records, can be given a delete horizon (KIP-534): the
//! time from which on they may go. It takes the place of the base timestamp, so the records' deltas change with it.

use std::ops::Range;

use super::build::join;
use super::read::{Record, RecordIter, RecordProblem};
use crate::batch::{Batch, BatchHeader, Encoding, TimestampType};
use crate::compression::{Compression, compress};
use crate::native::{Draft, NativeBody};
use crate::types::Timestamp;
use crate::wire::{Reader, put_varint, put_varlong, varlong_bytes};

/// Which records of a body stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retained {
    /// Where in the body they are, neighbours together: their bytes, or, in a native body, their places in order.
    ranges: Vec<Range<usize>>,
    count: i32,
    max_timestamp: Timestamp,
    has_tombstone: bool,
    is_all: bool,
}

impl Retained {
    /// Asks for each record of a decompressed body whether it stays.
    pub fn select(
        header: &BatchHeader,
        records: &[u8],
        mut stays: impl FnMut(&Record<'_>) -> bool,
    ) -> Result<Self, RecordProblem> {
        let mut found = Self {
            ranges: Vec::new(),
            count: 0,
            max_timestamp: Timestamp(-1),
            has_tombstone: false,
            is_all: true,
        };
        let is_native = header.encoding() == Some(Encoding::Native);
        let mut walk = RecordIter::new(records, header);
        let mut start = 0;
        while let Some(record) = walk.next() {
            let record = record?;
            if is_native {
                record.headers.check()?;
            }
            let end = if is_native { start + 1 } else { records.len() - walk.left() };
            if stays(&record) {
                found.add(start..end, &record);
            } else {
                found.is_all = false;
            }
            start = end;
        }
        Ok(found)
    }

    fn add(&mut self, range: Range<usize>, record: &Record<'_>) {
        match self.ranges.last_mut() {
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
        self.count += 1;
        self.max_timestamp = self.max_timestamp.max(record.timestamp);
        self.has_tombstone |= record.value.is_none();
    }

    /// Whether every record stays.
    #[must_use]
    pub const fn is_all(&self) -> bool {
        self.is_all
    }

    /// Whether no record stays.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether one of them has no value.
    #[must_use]
    pub const fn has_tombstone(&self) -> bool {
        self.has_tombstone
    }

    /// The batch with these records only, and with a delete horizon where one is given. `records` is what was selected
    /// from.
    #[must_use]
    pub fn build(&self, header: &BatchHeader, records: &[u8], horizon: Option<Timestamp>) -> Vec<u8> {
        assert!(!self.is_empty(), "a batch without records is made by `without_records`");
        let body = match header.encoding() {
            Some(Encoding::Native) => self.native_body(header, records, horizon),
            _ => self.kafka_body(header, records, horizon),
        };
        let codec = header.compression().unwrap_or_default();
        let body = if codec == Compression::None { body } else { compress(codec, None, &body) };
        let mut changed = *header;
        let max_timestamp = match header.timestamp_type() {
            TimestampType::CreateTime => self.max_timestamp,
            // It is every record's time.
            TimestampType::LogAppendTime => header.max_timestamp(),
        };
        changed.set_records(self.count, max_timestamp, horizon, &body);
        join(&changed, &body)
    }

    fn kafka_body(&self, header: &BatchHeader, records: &[u8], horizon: Option<Timestamp>) -> Vec<u8> {
        let mut body = Vec::with_capacity(self.ranges.iter().map(Range::len).sum());
        for range in &self.ranges {
            match horizon {
                None => body.extend_from_slice(&records[range.clone()]),
                Some(horizon) => {
                    rebase(&records[range.clone()], header.base_timestamp(), horizon, &mut body);
                }
            }
        }
        body
    }

    fn native_body(&self, header: &BatchHeader, records: &[u8], horizon: Option<Timestamp>) -> Vec<u8> {
        let base = header.base_timestamp();
        let mut ranges = self.ranges.iter();
        let mut range = ranges.next();
        let mut draft = Draft::default();
        let parts = NativeBody::open(records).expect("it was opened when it was selected");
        for (place, part) in parts.enumerate() {
            if range.is_some_and(|range| range.end == place) {
                range = ranges.next();
            }
            if range.is_none_or(|range| place < range.start) {
                continue;
            }
            let part = part.expect("it was walked over when it was selected");
            let delta = horizon.map_or(part.timestamp_delta, |to| rebased(part.timestamp_delta, base, to));
            let headers = part.headers.iter().flatten();
            draft.push((delta, part.offset_delta), part.key, part.value, headers);
        }
        draft.finish()
    }
}

/// A batch of which nothing is left but its place and its producer: the sequence it ended with still counts.
#[must_use]
pub fn without_records(batch: Batch<'_>) -> Vec<u8> {
    let mut header = *batch.header();
    header.set_compression(Compression::None, &[]);
    header.set_no_records();
    join(&header, &[])
}

/// Copies whole records, their timestamps told from another base.
fn rebase(records: &[u8], from: Timestamp, to: Timestamp, body: &mut Vec<u8>) {
    let mut rest = records;
    while !rest.is_empty() {
        let mut reader = Reader::new(rest, 0);
        let (fields, delta) = read_front(&mut reader).expect("it was walked over when it was selected");
        rest = reader.rest();
        let (attributes, behind) = fields;
        let delta = rebased(delta, from, to);
        let length = 1 + varlong_bytes(delta) + behind.len();
        put_varint(body, i32::try_from(length).expect("a record is far smaller than 2 GiB"));
        body.push(attributes);
        put_varlong(body, delta);
        body.extend_from_slice(behind);
    }
}

const fn rebased(delta: i64, from: Timestamp, to: Timestamp) -> i64 {
    from.0.wrapping_add(delta).wrapping_sub(to.0)
}

/// A record's attributes, what follows its timestamp, and its timestamp's delta.
fn read_front<'a>(reader: &mut Reader<'a>) -> Result<((u8, &'a [u8]), i64), RecordProblem> {
    let length = reader.varint()?;
    let length = usize::try_from(length).map_err(|_| RecordProblem::Length(length))?;
    let record = reader.take(length)?;
    let (&attributes, behind) = record.split_first().ok_or(RecordProblem::Truncated)?;
    let mut fields = Reader::new(behind, 0);
    let delta = fields.varlong()?;
    Ok(((attributes, fields.rest()), delta))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::check_crc;
    use crate::batch::{BatchIter, HEADER_BYTES};
    use crate::records::{BatchBuilder, BatchOptions, Header, ProducerStamp};
    use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    /// Five records; the fourth is a tombstone.
    fn batch(compression: Compression, timestamp_type: TimestampType) -> Vec<u8> {
        batch_in(Encoding::Kafka, compression, timestamp_type)
    }

    fn batch_in(encoding: Encoding, compression: Compression, timestamp_type: TimestampType) -> Vec<u8> {
        let mut builder = BatchBuilder::new(BatchOptions {
            base_offset: Offset(1000),
            leader_epoch: LeaderEpoch(3),
            encoding,
            compression,
            timestamp_type,
            producer: ProducerStamp {
                id: ProducerId(9),
                epoch: ProducerEpoch(2),
                base_sequence: Sequence(77),
            },
            transactional: true,
            ..BatchOptions::default()
        });
        for number in 0..5_u8 {
            let value: &[u8] = &[number; 300];
            let headers = [Header { key: b"trace", value: Some(&[number]) }];
            let value = (number != 3).then_some(value);
            builder.append(Timestamp(500 - i64::from(number)), Some(&[number % 2]), value, &headers);
        }
        builder.build()
    }

    fn only(bytes: &[u8]) -> Batch<'_> {
        let mut batches = BatchIter::new(bytes);
        let batch = batches.next().expect("a batch").expect("whole");
        assert!(batches.next().is_none());
        check_crc(batch).expect("the CRC fits");
        batch
    }

    /// Offset, timestamp, key, value, headers of each record.
    fn content(bytes: &[u8]) -> Vec<String> {
        let batch = only(bytes);
        let body = batch.records(1 << 20).expect("it was compressed here");
        let records: Vec<_> = RecordIter::new(&body, batch.header()).map(Result::unwrap).collect();
        assert_eq!(i32::try_from(records.len()), Ok(batch.header().record_count()));
        let show = |record: &Record<'_>| {
            let headers: Vec<_> = record.headers.iter().collect();
            format!("{} {} {:?} {:?} {headers:?}", record.offset, record.timestamp, record.key, record.value)
        };
        records.iter().map(show).collect()
    }

    fn without(bytes: &[u8], gone: &[i32], horizon: Option<Timestamp>) -> Vec<u8> {
        let batch = only(bytes);
        let body = batch.records(1 << 20).expect("it was compressed here");
        let retained = Retained::select(batch.header(), &body, |record| !gone.contains(&record.offset_delta))
            .expect("it was built here");
        retained.build(batch.header(), &body, horizon)
    }

    #[test]
    fn what_stays_is_as_it_was_in_every_compression() {
        let encodings = [Encoding::Kafka, Encoding::Native];
        for (codec, encoding) in CODECS.into_iter().flat_map(|codec| encodings.map(|one| (codec, one))) {
            for horizon in [None, Some(Timestamp(1 << 50)), Some(Timestamp(0))] {
                let before = batch_in(encoding, codec, TimestampType::CreateTime);
                let after = without(&before, &[0, 2], horizon);
                let kept: Vec<String> = content(&before)
                    .into_iter()
                    .enumerate()
                    .filter(|(at, _)| ![0, 2].contains(at))
                    .map(|(_, shown)| shown)
                    .collect();
                assert_eq!(content(&after), kept, "{codec} {encoding:?} {horizon:?}");
                let (before, after) = (*only(&before).header(), *only(&after).header());
                assert_eq!(after.encoding(), Some(encoding));
                assert_eq!(after.delete_horizon(), horizon);
                assert_eq!(after.max_timestamp(), Timestamp(499), "of what stays");
                assert_eq!(after.last_offset_delta(), 4, "its place is the same");
                assert_eq!(
                    (before.base_offset(), before.leader_epoch(), before.compression(), before.producer_id()),
                    (after.base_offset(), after.leader_epoch(), after.compression(), after.producer_id())
                );
                assert_eq!(
                    (before.producer_epoch(), before.base_sequence()),
                    (after.producer_epoch(), after.base_sequence())
                );
                assert!(after.is_transactional());
            }
        }
    }

    #[test]
    fn the_time_of_an_append_stays_that_of_all_records() {
        let before = batch(Compression::None, TimestampType::LogAppendTime);
        let after = without(&before, &[0], Some(Timestamp(9)));
        assert_eq!(only(&after).header().max_timestamp(), only(&before).header().max_timestamp());
        assert_eq!(content(&after), content(&before)[1..]);
    }

    #[test]
    fn a_horizon_is_set_once_and_survives_what_goes_later() {
        let dated = without(&batch(Compression::Zstd, TimestampType::CreateTime), &[], Some(Timestamp(700)));
        let later = without(&dated, &[1], None);
        assert_eq!(only(&later).header().delete_horizon(), Some(Timestamp(700)));
        assert_eq!(content(&later)[0], content(&dated)[0]);
    }

    #[test]
    fn tombstones_are_seen_where_they_stay() {
        let bytes = batch(Compression::None, TimestampType::CreateTime);
        let batch = only(&bytes);
        let select = |gone: &[i32]| {
            Retained::select(batch.header(), batch.body(), |record| !gone.contains(&record.offset_delta))
                .expect("it was built here")
        };
        assert!(select(&[]).has_tombstone());
        assert!(select(&[]).is_all());
        assert!(!select(&[3]).has_tombstone());
        assert!(!select(&[3]).is_all());
        assert!(select(&[0, 1, 2, 3, 4]).is_empty());
    }

    #[test]
    fn a_batch_without_records_keeps_its_place_and_its_producer() {
        for encoding in [Encoding::Kafka, Encoding::Native] {
            let before = batch_in(encoding, Compression::Gzip, TimestampType::CreateTime);
            keeps_its_place_and_its_producer(&before);
        }
    }

    fn keeps_its_place_and_its_producer(before: &[u8]) {
        let after = without_records(only(before));
        assert_eq!(after.len(), HEADER_BYTES);
        let (before, after) = (*only(before).header(), *only(&after).header());
        assert_eq!(after.record_count(), 0);
        assert_eq!(after.encoding(), Some(Encoding::Kafka), "what is empty is anybody's");
        assert_eq!((after.base_offset(), after.last_offset()), (before.base_offset(), before.last_offset()));
        assert_eq!(
            (after.producer_id(), after.base_sequence()),
            (before.producer_id(), before.base_sequence())
        );
        assert_eq!(after.max_timestamp(), Timestamp(-1), "nothing in it has a time");
        assert!(after.is_transactional());
    }

    #[test]
    fn a_body_that_is_no_records_is_refused() {
        let bytes = batch(Compression::None, TimestampType::CreateTime);
        let batch = only(&bytes);
        let cut = &batch.body()[..batch.body().len() - 1];
        assert!(Retained::select(batch.header(), cut, |_| true).is_err());
    }
}
