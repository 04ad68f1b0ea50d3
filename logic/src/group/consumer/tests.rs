//! The assignors: what each owns, how balanced, how few moves.

use super::assign::{Assignor, Wanted, assign};
use super::{Name, Partitions};
use proptest::prelude::*;
use protocol::types::{PartitionIndex, TopicId};
use std::collections::{BTreeMap, BTreeSet};

fn topic(number: u8) -> TopicId {
    TopicId([number; 16])
}

fn names(count: usize) -> Vec<Name> {
    (0..count).map(|index| format!("m{index:02}").into()).collect()
}

fn run(
    assignor: Assignor,
    members: &[(Name, BTreeSet<TopicId>)],
    topics: &[(u8, i32)],
    before: &BTreeMap<Name, Partitions>,
) -> BTreeMap<Name, Partitions> {
    let members = members.iter().map(|(name, topics)| (name, topics.clone())).collect();
    let topics = topics.iter().map(|(number, count)| (topic(*number), *count)).collect();
    assign(assignor, &Wanted { members, topics, before })
}

fn alike(count: usize, topics: &[(u8, i32)]) -> Vec<(Name, BTreeSet<TopicId>)> {
    let read: BTreeSet<TopicId> = topics.iter().map(|(number, _)| topic(*number)).collect();
    names(count).into_iter().map(|name| (name, read.clone())).collect()
}

fn loads(assigned: &BTreeMap<Name, Partitions>) -> Vec<usize> {
    assigned.values().map(|partitions| partitions.values().map(BTreeSet::len).sum()).collect()
}

fn places(partitions: &Partitions) -> BTreeSet<(TopicId, PartitionIndex)> {
    partitions.iter().flat_map(|(topic, list)| list.iter().map(|index| (*topic, *index))).collect()
}

#[test]
fn range_gives_runs_and_the_first_one_more() {
    let topics = [(1, 5), (2, 2)];
    let assigned = run(Assignor::Range, &alike(3, &topics), &topics, &BTreeMap::new());
    let of = |name: &str, number: u8| -> Vec<i32> {
        let partitions = assigned[name].get(&topic(number));
        partitions.into_iter().flatten().map(|index| index.get()).collect()
    };
    assert_eq!((of("m00", 1), of("m01", 1), of("m02", 1)), (vec![0, 1], vec![2, 3], vec![4]));
    assert_eq!((of("m00", 2), of("m01", 2), of("m02", 2)), (vec![0], vec![1], vec![]));
}

#[test]
fn uniform_moves_no_more_than_it_must() {
    let topics = [(1, 6), (2, 6)];
    let first = run(Assignor::Uniform, &alike(2, &topics), &topics, &BTreeMap::new());
    assert_eq!(loads(&first), [6, 6]);
    let second = run(Assignor::Uniform, &alike(3, &topics), &topics, &first);
    assert_eq!(loads(&second), [4, 4, 4]);
    let kept: usize =
        first.iter().map(|(name, had)| places(had).intersection(&places(&second[name])).count()).sum();
    assert_eq!(kept, 8, "the third got its four, nobody else got any");
    assert_eq!(
        run(Assignor::Uniform, &alike(3, &topics), &topics, &second),
        second,
        "what is balanced stays"
    );
}

#[test]
fn who_reads_what_nobody_else_reads_gets_it() {
    let members = vec![
        ("a".into(), BTreeSet::from([topic(1)])),
        ("b".into(), BTreeSet::from([topic(1), topic(2)])),
        ("c".into(), BTreeSet::new()),
    ];
    let assigned = run(Assignor::Uniform, &members, &[(1, 4), (2, 2)], &BTreeMap::new());
    assert_eq!(loads(&assigned), [3, 3, 0]);
    assert_eq!(assigned["b"][&topic(2)].len(), 2);
}

proptest! {
    #[test]
    fn every_partition_has_one_owner_who_reads_it(
        reads in proptest::collection::vec(0_u8..16, 1..12),
        counts in proptest::collection::vec(1_i32..20, 4),
        again in proptest::collection::vec(0_u8..16, 1..12),
        assignor in prop_oneof![Just(Assignor::Uniform), Just(Assignor::Range)],
    ) {
        let topics: Vec<(u8, i32)> = (0..4).zip(counts).collect();
        let read = |bits: &u8| (0..4_u8).filter(|bit| bits & (1 << bit) != 0).map(topic).collect::<BTreeSet<_>>();
        let mut before = BTreeMap::new();
        for reads in [reads, again] {
            let members: Vec<_> = names(reads.len()).into_iter().zip(reads.iter().map(read)).collect();
            let assigned = run(assignor, &members, &topics, &before);
            let mut owned = BTreeSet::new();
            for (name, topics_read) in &members {
                for place in places(&assigned[name]) {
                    prop_assert!(topics_read.contains(&place.0), "{name} does not read {place:?}");
                    prop_assert!(owned.insert(place), "{place:?} has two owners");
                }
            }
            let is_read = |number: u8| members.iter().any(|(_, topics)| topics.contains(&topic(number)));
            let all: i32 = topics.iter().filter(|(number, _)| is_read(*number)).map(|(_, count)| count).sum();
            prop_assert_eq!(owned.len(), usize::try_from(all).expect("small"));
            let is_alike = members.windows(2).all(|pair| pair[0].1 == pair[1].1);
            if assignor == Assignor::Uniform && is_alike {
                let loads = loads(&assigned);
                let (least, most) = (loads.iter().min(), loads.iter().max());
                prop_assert!(most.expect("a member") - least.expect("a member") <= 1, "{loads:?}");
            }
            before = assigned;
        }
    }
}
