//! Which partition a record goes to.

use client::partitioner::partition_of_key;

use crate::workload::Spread;

/// Chooses partitions for one producer. Those of several topics are numbered through: topic by topic.
#[derive(Clone, Debug)]
pub struct Spreader {
    topics: u32,
    partitions: u32,
    spread: Spread,
    /// Where a sticky producer sends to until a batch is full.
    sticky_bytes_max: usize,
    current: u32,
    bytes: usize,
    topic: u32,
}

impl Spreader {
    /// For `topics` of `partitions` each; `begin` differs between producers so that they don't all begin at one.
    pub fn new(topics: u32, partitions: u32, spread: Spread, sticky_bytes_max: usize, begin: u32) -> Self {
        let all = topics * partitions;
        Self {
            topics,
            partitions,
            spread,
            sticky_bytes_max,
            current: begin % all,
            bytes: 0,
            topic: begin % topics,
        }
    }

    /// For a record of so many bytes.
    pub fn choose(&mut self, key: Option<&[u8]>, bytes: usize) -> u32 {
        if let Some(key) = key {
            self.topic = (self.topic + 1) % self.topics;
            return self.topic * self.partitions + partition_of(key, self.partitions);
        }
        let chosen = self.current;
        self.bytes += bytes;
        if self.spread == Spread::RoundRobin || self.bytes >= self.sticky_bytes_max {
            self.current = (self.current + 1) % (self.topics * self.partitions);
            self.bytes = 0;
        }
        chosen
    }
}

fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let count = usize::try_from(partitions).expect("a bounded number of partitions");
    u32::try_from(partition_of_key(key, count).0).expect("a partition's index is not negative")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(spreader: &mut Spreader, count: usize) -> Vec<u32> {
        std::iter::repeat_with(|| spreader.choose(None, 100)).take(count).collect()
    }

    #[test]
    fn sticky_changes_with_the_batch() {
        assert_eq!(chosen(&mut Spreader::new(1, 3, Spread::Sticky, 200, 1), 7), [1, 1, 2, 2, 0, 0, 1]);
    }

    #[test]
    fn round_robin_changes_with_the_record() {
        assert_eq!(chosen(&mut Spreader::new(2, 2, Spread::RoundRobin, 200, 0), 5), [0, 1, 2, 3, 0]);
    }

    #[test]
    fn a_key_keeps_its_partition_in_every_topic() {
        let mut spreader = Spreader::new(2, 7, Spread::Sticky, 200, 0);
        let first: Vec<u32> = (0..4).map(|_| spreader.choose(Some(b"key"), 1)).collect();
        assert_eq!(first[0], first[2]);
        assert_eq!(first[1], first[3]);
        assert_eq!(first[0] % 7, first[1] % 7);
        assert_ne!(first[0], first[1]);
    }
}
