//! Requests about several transactions, coordinators or transactional ids at once, as brokers and tools send them.

use e2e::unique;
use e2e::wire::{init_transactions, text, topic_name};
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, FindCoordinatorRequest, ListTransactionsRequest, TransactionalId,
};

use super::transactions::{AGAIN, Producer, TIMEOUT_MS, add, described, end, producer, settled};
use super::{Case, Side, compare};

/// Of these errors the one after which clients ask again, if there is one.
fn again(errors: impl IntoIterator<Item = i16>) -> i16 {
    errors.into_iter().find(|error| AGAIN.contains(error)).unwrap_or(0)
}

/// A producer's transaction, and partitions of the case's topic.
#[derive(Clone, Copy)]
enum Asked<'a> {
    /// They join it.
    Join(&'a Producer, &'a [i32]),
    /// Are they in it?
    Verify(&'a Producer, &'a [i32]),
}

impl Asked<'_> {
    fn transaction(&self, topic: &str) -> AddPartitionsToTxnTransaction {
        let (Self::Join(producer, partitions) | Self::Verify(producer, partitions)) = self;
        let topic = AddPartitionsToTxnTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.to_vec());
        AddPartitionsToTxnTransaction::default()
            .with_transactional_id(producer.name.clone())
            .with_producer_id(producer.id.into())
            .with_producer_epoch(producer.epoch)
            .with_verify_only(matches!(self, Self::Verify(..)))
            .with_topics(vec![topic])
    }
}

/// One request about all of these; the errors of each, partition by partition.
fn ask(side: &mut Side, version: i16, asked: &[Asked<'_>]) -> String {
    let transactions: Vec<_> = asked.iter().map(|one| one.transaction(&side.topic)).collect();
    let request = AddPartitionsToTxnRequest::default().with_transactions(transactions.clone());
    let mut told = Vec::new();
    let error = settled(|| {
        let answer = side.connection.call(version, &request);
        assert_eq!(answer.results_by_transaction.len(), asked.len());
        // Kafka answers in no order.
        let errors_of = |asked: &AddPartitionsToTxnTransaction| -> Vec<i16> {
            let mut results = answer.results_by_transaction.iter();
            let result = results.find(|result| result.transactional_id == asked.transactional_id);
            let mut lines = result.expect("each is answered").topic_results[0].results_by_partition.clone();
            lines.sort_by_key(|line| line.partition_index);
            lines.iter().map(|line| line.partition_error_code).collect()
        };
        told = transactions.iter().map(errors_of).collect();
        let of_all = again(told.iter().flatten().copied());
        if of_all == 0 { answer.error_code } else { of_all }
    });
    format!("error {error} {told:?}")
}

fn state(side: &mut Side, producer: &Producer) -> String {
    described(side, &producer.name.0)
}

fn stranger(side: &mut Side) -> Producer {
    Producer { name: TransactionalId(text(&unique("unknown"))), ..producer(side) }
}

fn several_join(side: &mut Side, version: i16) -> String {
    let (one, other, stranger) = (producer(side), producer(side), stranger(side));
    let of_another = Producer { id: one.id, ..producer(side) };
    let fenced = producer(side);
    init_transactions(&mut side.connection, &fenced.name, TIMEOUT_MS);
    let all = [
        Asked::Join(&one, &[0]),
        Asked::Join(&stranger, &[0]),
        Asked::Join(&other, &[0, 1]),
        Asked::Join(&of_another, &[1]),
        Asked::Join(&fenced, &[1]),
    ];
    let joined = ask(side, version, &all);
    let states = [state(side, &one), state(side, &other)].join(", ");
    let ends = [end(side, 3, &one, true), end(side, 3, &other, false), end(side, 3, &fenced, true)];
    format!("{joined}; {states}; {ends:?}")
}

fn several_verify(side: &mut Side, version: i16) -> String {
    let (one, other, empty, stranger) = (producer(side), producer(side), producer(side), stranger(side));
    let of_another = Producer { id: one.id, ..producer(side) };
    add(side, 3, &one, &[0]);
    add(side, 3, &other, &[0, 1]);
    let newer = Producer { name: other.name.clone(), epoch: other.epoch + 1, ..other };
    let all = [
        Asked::Verify(&one, &[0, 1]),
        Asked::Verify(&other, &[0, 1]),
        Asked::Verify(&empty, &[0]),
        Asked::Verify(&stranger, &[0]),
        Asked::Verify(&of_another, &[0]),
    ];
    let before = ask(side, version, &all);
    let fenced = ask(side, version, &[Asked::Verify(&newer, &[0])]);
    let states = [state(side, &one), state(side, &empty)].join(", ");
    end(side, 3, &one, true);
    let after = ask(side, version, &[Asked::Verify(&one, &[0]), Asked::Verify(&other, &[1])]);
    format!("{before}; {fenced}; {states}; {after}")
}

fn one_verifies_and_one_joins(side: &mut Side, version: i16) -> String {
    let (verifies, joins) = (producer(side), producer(side));
    let told = ask(side, version, &[Asked::Verify(&verifies, &[0]), Asked::Join(&joins, &[0])]);
    let states = [state(side, &verifies), state(side, &joins)].join(", ");
    format!("{told}; {states}")
}

fn one_names_what_there_is_not(side: &mut Side, version: i16) -> String {
    let (wrong, right) = (producer(side), producer(side));
    let told = ask(side, version, &[Asked::Join(&wrong, &[0, 7]), Asked::Join(&right, &[1])]);
    let states = [state(side, &wrong), state(side, &right)].join(", ");
    format!("{told}; {states}")
}

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;

/// Who coordinates each of the keys, in their order.
fn coordinators(side: &mut Side, version: i16, kind: i8, keys: &[&str]) -> String {
    let request = FindCoordinatorRequest::default()
        .with_key_type(kind)
        .with_coordinator_keys(keys.iter().map(|key| text(key)).collect());
    let mut told = Vec::new();
    settled(|| {
        let answer = side.connection.call(version, &request);
        let mut lines = answer.coordinators;
        lines.sort_by_key(|line| keys.iter().position(|key| *key == &*line.key));
        let errors: Vec<i16> = lines.iter().map(|line| line.error_code).collect();
        let port = i32::from(side.broker.kafka().port());
        told = lines
            .iter()
            .map(|line| {
                let place = keys.iter().position(|key| *key == &*line.key).expect("it was asked for");
                let is_here = line.port == port && &*line.host == "127.0.0.1" && line.node_id.0 >= 0;
                format!(
                    "key {place}: error {}, {}",
                    line.error_code,
                    if is_here { "here" } else { "nowhere" }
                )
            })
            .collect();
        again(errors)
    });
    format!("{told:?}")
}

/// The transactional ids whose names begin with a tag that a pattern brings, without the tag.
fn listed(side: &mut Side, tag: &str, pattern: &str, states: &[&str]) -> String {
    let request = ListTransactionsRequest::default()
        .with_state_filters(states.iter().map(|state| text(state)).collect())
        .with_duration_filter(-1)
        .with_transactional_id_pattern(Some(text(pattern)));
    let mut told = Vec::new();
    let error = settled(|| {
        let answer = side.connection.call(2, &request);
        let lines = answer.transaction_states.iter();
        told = lines
            .filter_map(|line| {
                let name = line.transactional_id.0.strip_prefix(tag)?;
                Some(format!("{name} {}", &*line.transaction_state))
            })
            .collect();
        told.sort_unstable();
        answer.error_code
    });
    format!("error {error} {told:?}")
}

fn patterns(side: &mut Side, patterns: &[&str], states: &[&str]) -> String {
    let tag = format!("{}-", unique("listed"));
    for (name, opens) in [("red", false), ("redder", true), ("blue", true)] {
        let name = TransactionalId(text(&format!("{tag}{name}")));
        let (id, epoch) = init_transactions(&mut side.connection, &name, TIMEOUT_MS);
        if opens {
            add(side, 3, &Producer { name, id, epoch, sequence: 0 }, &[0]);
        }
    }
    let told = patterns.iter().map(|pattern| listed(side, &tag, &pattern.replace("TAG", &tag), states));
    told.collect::<Vec<_>>().join(" | ")
}

const SEVERAL: &[Case] = &[
    ("several transactions are joined", |side| several_join(side, 4)),
    ("several transactions are joined, the newest version", |side| several_join(side, 5)),
    ("several transactions are verified", |side| several_verify(side, 4)),
    ("several transactions are verified, the newest version", |side| several_verify(side, 5)),
    ("one verifies and one joins", |side| one_verifies_and_one_joins(side, 4)),
    ("one verifies and one joins, the newest version", |side| one_verifies_and_one_joins(side, 5)),
    ("one of two names a partition that there is not", |side| one_names_what_there_is_not(side, 4)),
    ("coordinators of two groups", |side| coordinators(side, 4, GROUP, &[&unique("g"), &unique("g")])),
    ("coordinators of two transactional ids", |side| {
        coordinators(side, 6, TRANSACTION, &[&unique("t"), &unique("t")])
    }),
    ("coordinators of a group and of one without a name", |side| {
        coordinators(side, 5, GROUP, &[&unique("g"), ""])
    }),
    ("coordinators of the same group", |side| {
        let group = unique("g");
        coordinators(side, 6, GROUP, &[&group, &group])
    }),
    ("coordinators of no group", |side| coordinators(side, 6, GROUP, &[])),
    ("a list by a pattern", |side| {
        patterns(side, &["TAGred", "TAGred.*", "TAG(red|blue)", "TAG.*", "TAG", "red", ".*blue", ""], &[])
    }),
    ("a list by a pattern and a state", |side| patterns(side, &["TAGred.*", ".*blue"], &["Ongoing"])),
    ("a list by what is no pattern", |side| patterns(side, &["TAG(", "TAG[", "*"], &[])),
];

#[test]
fn requests_about_several_are_answered_as_kafka_does() {
    compare("several", SEVERAL);
}
