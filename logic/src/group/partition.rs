//! Which partition of `__consumer_offsets` a group belongs to.

use protocol::types::PartitionIndex;

/// The partition of a group: Kafka's choice, so that a log written by Kafka is read where its groups are looked for.
///
/// Java's `String.hashCode`, over UTF-16 units: 31 times the hash before, plus the unit, in 32 bits that wrap. Then
/// without its sign (Kafka's `Utils.abs`: 0 for the one number without a positive twin), modulo the partitions.
#[must_use]
pub fn partition_of_group(group: &str, partition_count: i32) -> PartitionIndex {
    assert!(partition_count > 0);
    let hash = group.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    PartitionIndex(hash.cast_signed().checked_abs().unwrap_or(0) % partition_count)
}
