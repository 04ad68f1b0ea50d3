//! Assignors: who is to own what. Pure functions of what members want and what they were to own before.
//!
//! | name | what it does |
//! | --- | --- |
//! | `uniform` | as many partitions for each member as for the others, as few moves as that takes |
//! | `range` | of each topic a run of partitions for each member, the first members one more |

use super::{Name, Partitions};
use protocol::types::{PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};

/// Who decides which member is to own what.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Assignor {
    /// Gives each member as much as the others, and moves little.
    Uniform,
    /// Gives each member a run of each topic.
    Range,
}

/// Rounds of balancing between members that read different topics; what is left then is nearly balanced.
const BALANCE_ROUNDS_MAX: usize = 8;

impl Assignor {
    /// Its name in Kafka.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }

    /// The assignor of this name.
    #[must_use]
    pub fn of_name(name: &str) -> Option<Self> {
        [Self::Uniform, Self::Range].into_iter().find(|assignor| assignor.name() == name)
    }
}

/// What an assignor knows.
pub(super) struct Wanted<'a> {
    /// The members in the order in which they are served, with the topics that each reads.
    pub(super) members: Vec<(&'a Name, BTreeSet<TopicId>)>,
    /// The partition counts of the topics read.
    pub(super) topics: BTreeMap<TopicId, i32>,
    /// What members were to own before.
    pub(super) before: &'a BTreeMap<Name, Partitions>,
}

/// What each member is to own.
pub(super) fn assign(assignor: Assignor, wanted: &Wanted<'_>) -> BTreeMap<Name, Partitions> {
    let by_member = match assignor {
        Assignor::Uniform => uniform(wanted),
        Assignor::Range => range(wanted),
    };
    assert_eq!(by_member.len(), wanted.members.len());
    let names = wanted.members.iter().map(|(name, _)| (*name).clone());
    names.zip(by_member).collect()
}

/// The indexes of the members that read each topic.
fn readers(wanted: &Wanted<'_>) -> BTreeMap<TopicId, Vec<usize>> {
    let mut readers: BTreeMap<TopicId, Vec<usize>> = BTreeMap::new();
    for (index, (_, topics)) in wanted.members.iter().enumerate() {
        for topic in topics.iter().filter(|topic| wanted.topics.contains_key(topic)) {
            readers.entry(*topic).or_default().push(index);
        }
    }
    readers
}

fn range(wanted: &Wanted<'_>) -> Vec<Partitions> {
    let mut assigned = vec![Partitions::new(); wanted.members.len()];
    for (topic, readers) in readers(wanted) {
        let partition_count = wanted.topics[&topic];
        let reader_count = i32::try_from(readers.len()).expect("members are bounded far below");
        let (quota, one_more) = (partition_count / reader_count, partition_count % reader_count);
        let mut next = 0;
        for (place, reader) in (0..).zip(readers) {
            let count = quota + i32::from(place < one_more);
            if count > 0 {
                let run = (next..next + count).map(PartitionIndex);
                assigned[reader].insert(topic, run.collect());
                next += count;
            }
        }
        assert_eq!(next, partition_count);
    }
    assigned
}

/// Assignments in the making, with the load of each member.
struct Balance {
    assigned: Vec<Partitions>,
    load: Vec<usize>,
}

impl Balance {
    fn give(&mut self, member: usize, topic: TopicId, partition: PartitionIndex) {
        let is_new = self.assigned[member].entry(topic).or_default().insert(partition);
        assert!(is_new, "a partition is given once");
        self.load[member] += 1;
    }

    fn take(&mut self, member: usize, topic: TopicId) -> PartitionIndex {
        let partitions = self.assigned[member].get_mut(&topic).expect("it has some");
        let partition = partitions.pop_last().expect("it has some");
        if partitions.is_empty() {
            self.assigned[member].remove(&topic);
        }
        self.load[member] -= 1;
        partition
    }

    fn least_loaded(&self, readers: &[usize]) -> usize {
        *readers.iter().min_by_key(|reader| (self.load[**reader], **reader)).expect("a topic has readers")
    }
}

fn uniform(wanted: &Wanted<'_>) -> Vec<Partitions> {
    let readers = readers(wanted);
    let mut balance = Balance {
        assigned: vec![Partitions::new(); wanted.members.len()],
        load: vec![0; wanted.members.len()],
    };
    let mut left = uniform_keep(wanted, &mut balance);
    // Topics that few can read first, so that those who can read others too are not filled with them.
    left.sort_by_key(|(topic, partition)| (readers[topic].len(), *topic, *partition));
    let is_alike = readers.values().all(|of_topic| of_topic.len() == wanted.members.len());
    if is_alike {
        uniform_fill_alike(&mut balance, left);
    } else {
        for (topic, partition) in left {
            let reader = balance.least_loaded(&readers[&topic]);
            balance.give(reader, topic, partition);
        }
        uniform_level(&mut balance, &readers);
    }
    balance.assigned
}

/// Lets members keep what they had and still read. Returns what nobody keeps.
fn uniform_keep(wanted: &Wanted<'_>, balance: &mut Balance) -> Vec<(TopicId, PartitionIndex)> {
    let mut kept: BTreeSet<(TopicId, PartitionIndex)> = BTreeSet::new();
    for (index, (name, topics)) in wanted.members.iter().enumerate() {
        for (topic, partitions) in wanted.before.get(*name).into_iter().flatten() {
            let Some(count) = wanted.topics.get(topic).filter(|_| topics.contains(topic)) else { continue };
            for partition in partitions.iter().filter(|partition| partition.get() < *count) {
                if kept.insert((*topic, *partition)) {
                    balance.give(index, *topic, *partition);
                }
            }
        }
    }
    let is_read = |topic: &TopicId| wanted.members.iter().any(|(_, topics)| topics.contains(topic));
    let all = wanted.topics.iter().filter(|(topic, _)| is_read(topic));
    let all = all.flat_map(|(topic, count)| (0..*count).map(|index| (*topic, PartitionIndex(index))));
    all.filter(|place| !kept.contains(place)).collect()
}

/// All members read the same: the least loaded takes, then the most loaded gives until nobody has two more than another.
fn uniform_fill_alike(balance: &mut Balance, left: Vec<(TopicId, PartitionIndex)>) {
    let mut by_load: BTreeSet<(usize, usize)> =
        balance.load.iter().copied().enumerate().map(|(member, load)| (load, member)).collect();
    for (topic, partition) in left {
        let (load, member) = by_load.pop_first().expect("a topic has readers");
        balance.give(member, topic, partition);
        by_load.insert((load + 1, member));
    }
    while let (Some(&least), Some(&most)) = (by_load.first(), by_load.last()) {
        if most.0 < least.0 + 2 {
            break;
        }
        let topic = *balance.assigned[most.1].keys().next_back().expect("who has most has some");
        let partition = balance.take(most.1, topic);
        balance.give(least.1, topic, partition);
        by_load.remove(&least);
        by_load.remove(&most);
        by_load.insert((least.0 + 1, least.1));
        by_load.insert((most.0 - 1, most.1));
    }
}

/// Members read different topics: of each topic, whoever has two more than the least loaded reader gives to it.
fn uniform_level(balance: &mut Balance, readers: &BTreeMap<TopicId, Vec<usize>>) {
    for _ in 0..BALANCE_ROUNDS_MAX {
        let mut has_moved = false;
        for (topic, readers) in readers {
            for giver in readers {
                loop {
                    let taker = balance.least_loaded(readers);
                    let has_some = balance.assigned[*giver].contains_key(topic);
                    if !has_some || balance.load[*giver] < balance.load[taker] + 2 {
                        break;
                    }
                    let partition = balance.take(*giver, *topic);
                    balance.give(taker, *topic, partition);
                    has_moved = true;
                }
            }
        }
        if !has_moved {
            break;
        }
    }
}
