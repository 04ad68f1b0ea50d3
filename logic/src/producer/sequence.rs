//! Arithmetic of sequence numbers: 31 bits, 0 follows `i32::MAX`.

use protocol::types::Sequence;

/// The sequence number `count` records after `sequence`.
#[must_use]
pub fn sequence_after(sequence: Sequence, count: i32) -> Sequence {
    assert!(sequence.get() >= 0);
    assert!(count >= 0);
    Sequence(sequence.get().wrapping_add(count) & i32::MAX)
}

/// The sequence number `count` records before `sequence`.
#[must_use]
pub fn sequence_before(sequence: Sequence, count: i32) -> Sequence {
    assert!(sequence.get() >= 0);
    assert!(count >= 0);
    Sequence(sequence.get().wrapping_sub(count) & i32::MAX)
}
