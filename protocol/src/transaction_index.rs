//! An entry of a segment's transaction index (`.txnindex`): one aborted transaction, in Kafka's own layout.
//!
//! The file beside a segment holds, in the order of their markers, the transactions whose abort marker is in the segment.
//! All integers are big-endian.
//!
//! | offset | bytes | field |
//! | --- | --- | --- |
//! | 0 | 2 | version, 0 |
//! | 2 | 8 | producer id |
//! | 10 | 8 | offset of the transaction's first record in the partition |
//! | 18 | 8 | offset of its marker |
//! | 26 | 8 | last stable offset once the marker was there |

use zerocopy::big_endian::{I16, I64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use crate::types::{Offset, ProducerId};

/// Bytes of an entry.
pub const ENTRY_BYTES: usize = 34;

/// The only version there is.
const VERSION: i16 = 0;

/// An entry, in place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub struct IndexEntry {
    version: I16,
    producer_id: I64,
    first_offset: I64,
    last_offset: I64,
    last_stable_offset: I64,
}

const _: () = assert!(size_of::<IndexEntry>() == ENTRY_BYTES);

/// A transaction that was aborted, as far as one partition is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Its producer.
    pub producer_id: ProducerId,
    /// Its first record's offset.
    pub first_offset: Offset,
    /// Its marker's offset.
    pub last_offset: Offset,
    /// The last stable offset once the marker was there: what lies before it is decided.
    pub last_stable_offset: Offset,
}

impl From<&AbortedTransaction> for IndexEntry {
    fn from(aborted: &AbortedTransaction) -> Self {
        Self {
            version: VERSION.into(),
            producer_id: aborted.producer_id.get().into(),
            first_offset: aborted.first_offset.get().into(),
            last_offset: aborted.last_offset.get().into(),
            last_stable_offset: aborted.last_stable_offset.get().into(),
        }
    }
}

impl IndexEntry {
    /// The transaction; none where the version is unknown.
    #[must_use]
    pub fn transaction(&self) -> Option<AbortedTransaction> {
        (self.version.get() == VERSION).then(|| AbortedTransaction {
            producer_id: ProducerId(self.producer_id.get()),
            first_offset: Offset(self.first_offset.get()),
            last_offset: Offset(self.last_offset.get()),
            last_stable_offset: Offset(self.last_stable_offset.get()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What Kafka's `AbortedTxn` writes for these numbers: version, then four longs.
    const BYTES: [u8; ENTRY_BYTES] = [
        0, 0, //
        0, 0, 0, 0, 0, 0, 0x03, 0xe8, //
        0, 0, 0, 0, 0, 0, 0, 0x05, //
        0, 0, 0, 0, 0, 0, 0x01, 0x02, //
        0, 0, 0, 0, 0, 0, 0x01, 0x03,
    ];

    #[test]
    fn an_entry_has_kafkas_bytes() {
        let aborted = AbortedTransaction {
            producer_id: ProducerId(1000),
            first_offset: Offset(5),
            last_offset: Offset(258),
            last_stable_offset: Offset(259),
        };
        let entry = IndexEntry::from(&aborted);
        assert_eq!(entry.as_bytes(), BYTES);
        assert_eq!(IndexEntry::ref_from_bytes(&BYTES).expect("its size").transaction(), Some(aborted));
    }

    #[test]
    fn another_version_is_not_guessed_at() {
        let mut bytes = BYTES;
        bytes[1] = 1;
        assert_eq!(IndexEntry::ref_from_bytes(&bytes).expect("its size").transaction(), None);
    }
}
