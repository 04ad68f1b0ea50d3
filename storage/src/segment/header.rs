//! What a segment asks of a batch: where it stands, how long it is, how late. From a file it is outside input.

use protocol::types::{Offset, Timestamp};

/// The length of a batch's header.
pub(super) const HEADER_BYTES: usize = 61;

/// The bytes that the length field does not count: the base offset and itself.
const OVERHEAD_BYTES: u64 = 12;

/// The one format of batches.
const MAGIC: u8 = 2;

const LENGTH_AT: usize = 8;
const MAGIC_AT: usize = 16;
const LAST_OFFSET_DELTA_AT: usize = 23;
const MAX_TIMESTAMP_AT: usize = 35;

/// The place of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchPlace {
    pub(super) base: Offset,
    /// The offset of the last record.
    pub(super) last: Offset,
    pub(super) max_timestamp: Timestamp,
    pub(super) size_bytes: u64,
}

impl BatchPlace {
    /// The place of the batch at the front of `bytes`; none where these are not a header that can be true.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let header: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let length = u64::try_from(i32::from_be_bytes(field(header, LENGTH_AT))).ok()?;
        let size_bytes = OVERHEAD_BYTES + length;
        let delta = i32::from_be_bytes(field(header, LAST_OFFSET_DELTA_AT));
        let base = i64::from_be_bytes(field(header, 0));
        let last = base.checked_add(i64::from(delta)).filter(|&last| last < i64::MAX)?;
        let max_timestamp = Timestamp(i64::from_be_bytes(field(header, MAX_TIMESTAMP_AT)));
        let true_size = size_bytes >= u64::try_from(HEADER_BYTES).expect("small");
        let plausible = true_size && delta >= 0 && base >= 0 && header[MAGIC_AT] == MAGIC;
        plausible.then_some(Self { base: Offset(base), last: Offset(last), max_timestamp, size_bytes })
    }

    /// The offset after the last record.
    pub(super) fn next(&self) -> Offset {
        self.last.plus(1)
    }
}

fn field<const LENGTH: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; LENGTH] {
    *header[at..].first_chunk().expect("the field is inside the header")
}
