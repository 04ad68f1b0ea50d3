//! Where partitions go: pure plans over brokers, and over the shards of one broker.

use std::sync::Arc;

use protocol::types::{BrokerId, PartitionIndex, TopicId};

/// Places the replicas of the partitions `first..first + count` over brokers: leaders go round, from a broker that
/// the topic id chooses; followers stand behind their leader at a distance that grows with each round, so that the
/// partitions of a failed leader spread over all others.
///
/// Five brokers from 0, three replicas: 0 1 2, 1 2 3, 2 3 4, 3 4 0, 4 0 1, then 0 2 3, 1 3 4, ...
pub(super) fn place(
    brokers: &[BrokerId],
    id: TopicId,
    first: usize,
    count: usize,
    replication_factor: usize,
) -> Vec<Arc<[BrokerId]>> {
    assert!(replication_factor >= 1);
    assert!(replication_factor <= brokers.len(), "the caller checks the factor against the brokers");
    let broker_count = brokers.len();
    let start = usize::try_from(mix(id) % broker_count as u64).expect("below a usize");
    let mut alike: Option<Arc<[BrokerId]>> = None;
    (first..first + count)
        .map(|partition| {
            if broker_count == 1 {
                return alike.get_or_insert_with(|| Arc::from(brokers)).clone();
            }
            let leader = (start + partition) % broker_count;
            let round = partition / broker_count;
            let follower = |rank: usize| (leader + 1 + (rank + round) % (broker_count - 1)) % broker_count;
            std::iter::once(leader)
                .chain((0..replication_factor - 1).map(follower))
                .map(|index| brokers[index])
                .collect()
        })
        .collect()
}

/// The shard that owns a partition on every broker with `shard_count` shards. Consecutive partitions of a topic lie
/// on consecutive shards, and topics start at shards as their ids fall. Kept for ever: data lies by it.
///
/// # Panics
/// If there is no shard, or the partition is negative.
#[must_use]
pub fn shard_of(id: TopicId, partition: PartitionIndex, shard_count: u16) -> u16 {
    assert!(shard_count > 0);
    let partition = u64::try_from(partition.get()).expect("a partition that exists is not negative");
    let shard_count = u64::from(shard_count);
    u16::try_from((mix(id) % shard_count + partition) % shard_count).expect("below a u16")
}

/// A number that every bit of the id has a part in (the finalizer of SplitMix64 over both halves).
fn mix(id: TopicId) -> u64 {
    let half =
        |range: std::ops::Range<usize>| u64::from_le_bytes(id.0[range].try_into().expect("eight bytes"));
    let mut value = half(0..8) ^ half(8..16).rotate_left(32);
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
