//! Where replicas and shards of partitions go.

use protocol::types::{BrokerId, PartitionIndex, TopicId};

use crate::metadata::placement::{place, shard_of};

fn brokers(ids: &[i32]) -> Vec<BrokerId> {
    ids.iter().copied().map(BrokerId).collect()
}

#[test]
fn leaders_go_round_and_followers_spread() {
    let five = brokers(&[0, 1, 2, 3, 4]);
    let placed = place(&five, TopicId::ZERO, 0, 10, 3);
    let shown: Vec<Vec<i32>> = placed.iter().map(|list| list.iter().map(|id| id.get()).collect()).collect();
    assert_eq!(shown[..2], [vec![0, 1, 2], vec![1, 2, 3]]);
    assert_eq!(shown[4..7], [vec![4, 0, 1], vec![0, 2, 3], vec![1, 3, 4]]);
    for replicas in &placed {
        let mut unique = replicas.to_vec();
        unique.sort_unstable();
        unique.dedup();
        assert_eq!(unique.len(), 3);
    }
}

#[test]
fn partitions_added_later_go_where_they_would_have_gone_at_once() {
    let three = brokers(&[1, 2, 7]);
    let id = TopicId([9; 16]);
    let at_once = place(&three, id, 0, 12, 2);
    assert_eq!(place(&three, id, 5, 7, 2), at_once[5..]);
}

#[test]
fn partitions_of_a_topic_lie_on_consecutive_shards() {
    let id = TopicId(*b"0123456789abcdef");
    let shards: Vec<u16> = (0..6).map(|partition| shard_of(id, PartitionIndex(partition), 4)).collect();
    assert_eq!(shards, [1, 2, 3, 0, 1, 2]);
    assert_eq!(shard_of(id, PartitionIndex(5), 1), 0);
}

#[test]
fn topics_start_on_all_shards() {
    let mut counts = [0; 4];
    for topic in 0..4_000_u64 {
        let mut id = TopicId::ZERO;
        id.0[..8].copy_from_slice(&topic.to_le_bytes());
        counts[usize::from(shard_of(id, PartitionIndex(0), 4))] += 1;
    }
    assert!(counts.iter().all(|count| (900..1_100).contains(count)), "{counts:?}");
}
