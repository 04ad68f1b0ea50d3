//! What a segment asks of a batch: where it stands, how long it is, how late. From a file it is outside input.

use protocol::batch::{BatchHeader, Encoding};
use protocol::types::{Offset, Timestamp};

pub(super) use protocol::batch::HEADER_BYTES;

/// The place of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchPlace {
    pub(super) base: Offset,
    /// The offset of the last record.
    pub(super) last: Offset,
    pub(super) max_timestamp: Timestamp,
    pub(super) size_bytes: u64,
    pub(super) is_native: bool,
}

impl BatchPlace {
    /// The place of the batch at the front of `bytes`; none where these are not a header that can be true.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let header = BatchHeader::from_prefix(bytes)?;
        let size_bytes = u64::try_from(header.size_bytes()?).ok()?;
        let (base, delta) = (header.base_offset(), header.last_offset_delta());
        let last = base.get().checked_add(i64::from(delta)).filter(|&last| last < i64::MAX)?;
        let is_native = header.encoding()? == Encoding::Native;
        let plausible = base.get() >= 0 && delta >= 0;
        let max_timestamp = header.max_timestamp();
        plausible.then_some(Self { base, last: Offset(last), max_timestamp, size_bytes, is_native })
    }

    /// The offset after the last record.
    pub(super) fn next(&self) -> Offset {
        self.last.plus(1)
    }
}
