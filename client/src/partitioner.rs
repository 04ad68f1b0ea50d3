//! Which partition a record goes to when its sender does not say: as the Java client decides it.
//!
//! A record with a key goes where murmur2 of the key says, so that every client sends a key to the same partition. One
//! without a key goes to the partition in use, which changes after a batch's worth of bytes (KIP-794, without its
//! adaption to slow brokers).

use std::hash::{BuildHasher, RandomState};

use protocol::types::PartitionIndex;

/// murmur2 as the Java client has it: 32 bits, with its seed.
#[must_use]
pub fn murmur2(key: &[u8]) -> i32 {
    const SEED: u32 = 0x9747_b28c;
    const FACTOR: u32 = 0x5bd1_e995;
    const SHIFT: u32 = 24;
    // Java's lengths are 32 bits and wrap.
    let length = u32::try_from(key.len() & 0xffff_ffff).expect("masked to 32 bits");
    let mut hash = SEED ^ length;
    let (words, tail) = key.as_chunks::<4>();
    for word in words {
        let mut mixed = u32::from_le_bytes(*word).wrapping_mul(FACTOR);
        mixed ^= mixed >> SHIFT;
        hash = hash.wrapping_mul(FACTOR) ^ mixed.wrapping_mul(FACTOR);
    }
    if !tail.is_empty() {
        for (index, byte) in (0_u32..).zip(tail) {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(FACTOR);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(FACTOR);
    hash ^= hash >> 15;
    hash.cast_signed()
}

/// The partition of a key among so many.
///
/// # Panics
/// There is no partition.
#[must_use]
pub fn partition_of_key(key: &[u8], partition_count: usize) -> PartitionIndex {
    let positive = murmur2(key) & i32::MAX;
    let count = i32::try_from(partition_count).expect("a topic has fewer than 2^31 partitions");
    PartitionIndex(positive % count)
}

/// Which partition records without a key go to now.
#[derive(Debug)]
pub(crate) struct Sticky {
    at: usize,
    bytes: usize,
    random: u64,
}

impl Sticky {
    pub(crate) fn new() -> Self {
        Self { at: 0, bytes: usize::MAX, random: RandomState::new().hash_one(0) }
    }

    /// The partition for a record of `bytes`, one of `candidates`; another one after `bytes_max`.
    pub(crate) fn next(
        &mut self,
        candidates: &[PartitionIndex],
        bytes: usize,
        bytes_max: usize,
    ) -> PartitionIndex {
        assert!(!candidates.is_empty(), "a topic has partitions");
        if self.bytes >= bytes_max {
            self.bytes = 0;
            self.at = self.draw(candidates.len());
        }
        self.bytes = self.bytes.saturating_add(bytes);
        candidates[self.at % candidates.len()]
    }

    /// A number below `bound` (splitmix64).
    fn draw(&mut self, bound: usize) -> usize {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        usize::try_from(mixed % bound as u64).expect("below a usize")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `org.apache.kafka.common.utils.Utils.murmur2` answers, from Kafka's own test of it.
    #[test]
    fn hashes_are_the_java_client_s() {
        let known: [(&[u8], i32); 6] = [
            (b"21", -973_932_308),
            (b"foobar", -790_332_482),
            (b"a-little-bit-long-string", -985_981_536),
            (b"a-little-bit-longer-string", -1_486_304_829),
            (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58_897_971),
            (b"abc", 479_470_107),
        ];
        for (key, hash) in known {
            assert_eq!(murmur2(key), hash, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_key_stays_where_it_is() {
        assert_eq!(partition_of_key(b"foobar", 1), PartitionIndex(0));
        let positive = -790_332_482 & i32::MAX;
        assert_eq!(partition_of_key(b"foobar", 7), PartitionIndex(positive % 7));
    }

    #[test]
    fn records_without_a_key_stay_together_for_a_batch() {
        let candidates: Vec<PartitionIndex> = (0..16).map(PartitionIndex).collect();
        let mut sticky = Sticky::new();
        let went: Vec<PartitionIndex> = (0..1000).map(|_| sticky.next(&candidates, 10, 100)).collect();
        assert!(went.chunks(10).all(|together| together.iter().all(|one| *one == together[0])));
        let mut seen: Vec<PartitionIndex> = went.clone();
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 8, "a hundred draws out of 16 hit most of them");
    }
}
