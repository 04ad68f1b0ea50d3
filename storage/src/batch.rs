//! The fields of a wire batch that storage needs, read in place.
//!
//! Every batch, whatever its body's encoding, opens with Kafka's 61-byte header, big-endian:
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | base offset |
//! | 8 | 4 | length of what follows this field |
//! | 12 | 4 | leader epoch |
//! | 16 | 1 | magic |
//! | 17 | 4 | CRC-32C of all bytes from 21 on |
//! | 21 | 2 | attributes |
//! | 23 | 4 | last offset delta |
//! | 27 | 8 | base timestamp |
//! | 35 | 8 | max timestamp |
//! | 43 | 8 | producer id |
//! | 51 | 2 | producer epoch |
//! | 53 | 4 | base sequence |
//! | 57 | 4 | record count |
//! | 61 | | records |
//!
//! Base offset, length, leader epoch and magic lie outside the CRC: whoever stores a batch proves them by other means.
//! This module must not know what the records are.

use protocol::batch::MAGIC_NATIVE;
use protocol::types::{LeaderEpoch, Offset, Timestamp};

/// The length of a batch's header.
pub const BATCH_HEADER_BYTES: usize = 61;

const BASE_OFFSET: usize = 0;
const LENGTH: usize = BASE_OFFSET + 8;
const LEADER_EPOCH: usize = LENGTH + 4;
const MAGIC: usize = LEADER_EPOCH + 4;
const CRC: usize = MAGIC + 1;
const ATTRIBUTES: usize = CRC + 4;
const LAST_OFFSET_DELTA: usize = ATTRIBUTES + 2;
const BASE_TIMESTAMP: usize = LAST_OFFSET_DELTA + 4;
const MAX_TIMESTAMP: usize = BASE_TIMESTAMP + 8;
const PRODUCER_ID: usize = MAX_TIMESTAMP + 8;
const PRODUCER_EPOCH: usize = PRODUCER_ID + 8;
const BASE_SEQUENCE: usize = PRODUCER_EPOCH + 2;
const RECORD_COUNT: usize = BASE_SEQUENCE + 4;
const _: () = assert!(RECORD_COUNT + 4 == BATCH_HEADER_BYTES);

/// The bytes that the length field does not count.
const LENGTH_EXCLUDES: usize = LEADER_EPOCH;

/// Set in the attributes where the max timestamp is the time of the append, and every record's time.
const ATTRIBUTE_LOG_APPEND_TIME: u16 = 0x08;

/// One whole wire batch: header and records, nothing behind.
#[derive(Clone, Copy)]
pub(crate) struct BatchView<'a>(&'a [u8]);

impl<'a> BatchView<'a> {
    /// The first batch of `bytes`, or `None` where they do not hold one whole.
    pub(crate) fn first(bytes: &'a [u8]) -> Option<Self> {
        if bytes.len() < BATCH_HEADER_BYTES {
            return None;
        }
        let length = usize::try_from(i32::from_be_bytes(field(bytes, LENGTH))).ok()? + LENGTH_EXCLUDES;
        if length < BATCH_HEADER_BYTES || length > bytes.len() {
            return None;
        }
        let view = Self(&bytes[..length]);
        // A batch holds at least one offset, and its last one is a number.
        if view.last_offset_delta() < 0 {
            return None;
        }
        view.base_offset().get().checked_add(i64::from(view.last_offset_delta()) + 1)?;
        Some(view)
    }

    pub(crate) fn header(self) -> &'a [u8; BATCH_HEADER_BYTES] {
        self.0.first_chunk().expect("a batch is longer than its header")
    }

    /// What follows the header.
    pub(crate) fn body(self) -> &'a [u8] {
        &self.0[BATCH_HEADER_BYTES..]
    }

    pub(crate) fn length_bytes(self) -> usize {
        self.0.len()
    }

    pub(crate) fn base_offset(self) -> Offset {
        Offset(i64::from_be_bytes(field(self.0, BASE_OFFSET)))
    }

    pub(crate) fn leader_epoch(self) -> LeaderEpoch {
        LeaderEpoch(i32::from_be_bytes(field(self.0, LEADER_EPOCH)))
    }

    pub(crate) fn magic(self) -> u8 {
        self.0[MAGIC]
    }

    /// Whether its records are written for native clients.
    pub(crate) fn is_native(self) -> bool {
        self.magic() == MAGIC_NATIVE.unsigned_abs()
    }

    pub(crate) fn crc(self) -> u32 {
        u32::from_be_bytes(field(self.0, CRC))
    }

    pub(crate) fn last_offset_delta(self) -> i32 {
        i32::from_be_bytes(field(self.0, LAST_OFFSET_DELTA))
    }

    pub(crate) fn max_timestamp(self) -> Timestamp {
        Timestamp(i64::from_be_bytes(field(self.0, MAX_TIMESTAMP)))
    }

    /// The offset behind the batch's last record.
    pub(crate) fn end_offset(self) -> Offset {
        self.base_offset().plus(i64::from(self.last_offset_delta()) + 1)
    }

    /// Whether the CRC-32C in the header is that of the bytes it covers.
    pub(crate) fn crc_fits(self) -> bool {
        checksum(&self.0[ATTRIBUTES..]) == self.crc()
    }
}

/// The batches of `bytes`, one after the other, until the end or something that is no whole batch.
pub(crate) fn batches(bytes: &[u8]) -> impl Iterator<Item = BatchView<'_>> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let batch = BatchView::first(rest)?;
        rest = &rest[batch.length_bytes()..];
        Some(batch)
    })
}

/// What the leader writes over a batch's header when it gives the batch its place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct HeaderPatch {
    pub(crate) base_offset: Offset,
    pub(crate) leader_epoch: LeaderEpoch,
    /// The time of the append, where the topic wants that as the records' time.
    pub(crate) log_append_time: Option<Timestamp>,
}

impl HeaderPatch {
    /// Patches the header of one whole batch. A changed timestamp lies under the CRC, which is then made anew.
    pub(crate) fn apply(self, batch: &mut [u8]) {
        batch[BASE_OFFSET..LENGTH].copy_from_slice(&self.base_offset.get().to_be_bytes());
        batch[LEADER_EPOCH..MAGIC].copy_from_slice(&self.leader_epoch.get().to_be_bytes());
        let Some(time) = self.log_append_time else { return };
        let attributes = u16::from_be_bytes(field(batch, ATTRIBUTES)) | ATTRIBUTE_LOG_APPEND_TIME;
        batch[ATTRIBUTES..LAST_OFFSET_DELTA].copy_from_slice(&attributes.to_be_bytes());
        batch[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&time.get().to_be_bytes());
        let crc = checksum(&batch[ATTRIBUTES..]);
        batch[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(bytes)
}

fn field<const BYTES: usize>(bytes: &[u8], at: usize) -> [u8; BYTES] {
    *bytes[at..].first_chunk().expect("a header field lies within the header")
}

#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    /// A batch of `count` records whose body is `body`, valid as far as storage looks.
    pub(crate) fn batch(count: i32, max_timestamp: Timestamp, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0; BATCH_HEADER_BYTES];
        bytes.extend_from_slice(body);
        let length = i32::try_from(bytes.len() - LENGTH_EXCLUDES).expect("a test's batch is short");
        bytes[LENGTH..LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
        bytes[MAGIC] = 2;
        bytes[LAST_OFFSET_DELTA..BASE_TIMESTAMP].copy_from_slice(&(count - 1).to_be_bytes());
        bytes[BASE_TIMESTAMP..MAX_TIMESTAMP].copy_from_slice(&max_timestamp.get().to_be_bytes());
        bytes[MAX_TIMESTAMP..PRODUCER_ID].copy_from_slice(&max_timestamp.get().to_be_bytes());
        bytes[PRODUCER_ID..PRODUCER_EPOCH].copy_from_slice(&(-1_i64).to_be_bytes());
        bytes[PRODUCER_EPOCH..BASE_SEQUENCE].copy_from_slice(&(-1_i16).to_be_bytes());
        bytes[BASE_SEQUENCE..RECORD_COUNT].copy_from_slice(&(-1_i32).to_be_bytes());
        bytes[RECORD_COUNT..BATCH_HEADER_BYTES].copy_from_slice(&count.to_be_bytes());
        let crc = checksum(&bytes[ATTRIBUTES..]);
        bytes[CRC..ATTRIBUTES].copy_from_slice(&crc.to_be_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_read_where_kafka_puts_them() {
        let mut bytes = testing::batch(3, Timestamp(77), b"records");
        HeaderPatch { base_offset: Offset(100), leader_epoch: LeaderEpoch(5), log_append_time: None }
            .apply(&mut bytes);
        bytes.extend_from_slice(b"behind");
        let batch = BatchView::first(&bytes).expect("a whole batch");
        assert_eq!(batch.length_bytes(), BATCH_HEADER_BYTES + 7);
        assert_eq!(batch.base_offset(), Offset(100));
        assert_eq!(batch.end_offset(), Offset(103));
        assert_eq!(batch.leader_epoch(), LeaderEpoch(5));
        assert_eq!(batch.max_timestamp(), Timestamp(77));
        assert_eq!(batch.magic(), 2);
        assert!(batch.crc_fits());
        assert_eq!(batches(&bytes).count(), 1, "what is behind is no batch");
    }

    #[test]
    fn log_append_time_is_patched_and_summed_again() {
        let mut bytes = testing::batch(1, Timestamp(1), b"x");
        let patch = HeaderPatch {
            base_offset: Offset(0),
            leader_epoch: LeaderEpoch(0),
            log_append_time: Some(Timestamp(99)),
        };
        patch.apply(&mut bytes);
        let batch = BatchView::first(&bytes).expect("a whole batch");
        assert_eq!(batch.max_timestamp(), Timestamp(99));
        assert!(batch.crc_fits());
        assert_eq!(bytes[22] & 8, 8);
    }

    #[test]
    fn what_is_not_whole_is_no_batch() {
        let bytes = testing::batch(1, Timestamp(1), b"x");
        for length in 0..bytes.len() {
            assert!(BatchView::first(&bytes[..length]).is_none(), "{length}");
        }
        for length in [-1_i32, 0, 48, i32::MAX] {
            let mut bytes = bytes.clone();
            bytes[LENGTH..LEADER_EPOCH].copy_from_slice(&length.to_be_bytes());
            assert!(BatchView::first(&bytes).is_none(), "{length}");
        }
        let mut overflowing = bytes;
        overflowing[BASE_OFFSET..LENGTH].copy_from_slice(&i64::MAX.to_be_bytes());
        assert!(BatchView::first(&overflowing).is_none());
    }
}
