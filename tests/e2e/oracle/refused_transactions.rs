//! What is refused of a transaction changes nothing: neither logs, nor what coordinators know, nor what readers see.

use std::process::Command;
use std::sync::OnceLock;
use std::time::Instant;

use e2e::batch::Batch;
use e2e::broker::{Broker, Options, Target};
use e2e::wire::{await_group, init_transactions, text, topic_name};
use e2e::{DEADLINE, process, unique};
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    BrokerId, DescribeProducersRequest, DescribeTransactionsRequest, GroupId, InitProducerIdRequest,
    ListGroupsRequest, ListOffsetsRequest, ListTransactionsRequest, OffsetCommitRequest, OffsetFetchRequest,
    TransactionalId,
};

use super::transactions::{
    NOW, Producer, TIMEOUT_MS, add, add_offsets, commit, end, initialise, mark, producer, send, write,
};
use super::{Side, side};

const PARTITIONS: [i32; 2] = [0, 1];
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// A broker of its own, with one partition for all groups and one for all transactions: nobody else writes to those.
fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    BROKER.get_or_init(|| {
        let configs = ["offsets.topic.num.partitions", "transaction.state.log.num.partitions"];
        let configs = configs.map(|key| (key.to_owned(), "1".to_owned())).to_vec();
        Broker::start(Target::chosen(), &Options { configs, ..Options::default() })
    })
}

/// A producer in an open transaction, and who may not touch that.
struct Cast {
    open: Producer,
    /// The instance before it, which was fenced.
    fenced: Producer,
    /// The transaction holds an offset of this one.
    group: String,
    /// A producer that is idempotent, and not transactional.
    idempotent: (i64, i16),
}

impl Cast {
    /// One like the open one, but for something.
    fn like_open(&self, change: impl FnOnce(&mut Producer)) -> Producer {
        let Producer { name, id, epoch, sequence } = &self.open;
        let mut other = Producer { name: name.clone(), id: *id, epoch: *epoch, sequence: *sequence };
        change(&mut other);
        other
    }

    fn of_the_future(&self) -> Producer {
        self.like_open(|producer| producer.epoch += 5)
    }

    fn of_another_id(&self) -> Producer {
        self.like_open(|producer| producer.id += 1_000_000)
    }

    fn of_unknown_name(&self) -> Producer {
        self.like_open(|producer| producer.name = TransactionalId(text("nobody-has-this-name")))
    }

    fn of_no_name(&self) -> Producer {
        self.like_open(|producer| producer.name = TransactionalId::default())
    }
}

/// Where they meet: a topic, with one record of the open transaction.
struct Scene {
    side: Side,
    cast: Cast,
}

impl Scene {
    fn new() -> Self {
        let mut side = side(broker());
        let (fenced, group) = (producer(&mut side), unique("g"));
        let (id, epoch) = init_transactions(&mut side.connection, &fenced.name, TIMEOUT_MS);
        let mut open = Producer { name: fenced.name.clone(), id, epoch, sequence: 0 };
        assert!((id, epoch) > (fenced.id, fenced.epoch));
        assert_eq!(add(&mut side, 3, &open, &[0]), [0]);
        assert_eq!(write(&mut side, 9, &mut open), 0);
        await_group(&mut side.connection, &GroupId(text(&group)));
        assert_eq!(add_offsets(&mut side, &open, &group), 0);
        commit_plainly(&mut side, &group);
        assert_eq!(commit(&mut side, &open, &group, -1, 0, ""), 0);
        let made = side.connection.call(4, &InitProducerIdRequest::default().with_transactional_id(None));
        let idempotent = (made.producer_id.0, made.producer_epoch);
        Self { side, cast: Cast { open, fenced, group, idempotent } }
    }

    /// All that there is to be seen of it.
    fn seen(&mut self) -> Seen {
        Seen {
            ends: self.ends(),
            internal_ends: ["__transaction_state", "__consumer_offsets"]
                .map(|topic| self.offset(topic, 0, LATEST, 0)),
            transaction: self.transaction(),
            transactions: self.transactions(),
            producers: self.producers(),
            offsets: self.offsets(),
            groups: self.groups(),
        }
    }

    fn offset(&mut self, topic: &str, partition: i32, at: i64, isolation: i8) -> i64 {
        let wanted = ListOffsetsPartition::default().with_partition_index(partition).with_timestamp(at);
        let topic = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![wanted]);
        let request = ListOffsetsRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_isolation_level(isolation)
            .with_topics(vec![topic]);
        let found = &self.side.connection.call(5, &request).topics[0].partitions[0];
        assert_eq!(found.error_code, 0);
        found.offset
    }

    /// Of each partition: its start, up to where all is decided, its end.
    fn ends(&mut self) -> [[i64; 3]; 2] {
        let topic = self.side.topic.clone();
        PARTITIONS.map(|partition| {
            [(EARLIEST, 0), (LATEST, 1), (LATEST, 0)]
                .map(|(at, isolation)| self.offset(&topic, partition, at, isolation))
        })
    }

    fn transaction(&mut self) -> String {
        let names = vec![self.cast.open.name.clone()];
        let request = DescribeTransactionsRequest::default().with_transactional_ids(names);
        format!("{:?}", self.side.connection.call(0, &request).transaction_states)
    }

    fn transactions(&mut self) -> Vec<String> {
        let answer = self.side.connection.call(0, &ListTransactionsRequest::default());
        assert_eq!(answer.error_code, 0);
        let mut all: Vec<String> = answer.transaction_states.iter().map(|one| format!("{one:?}")).collect();
        all.sort();
        all
    }

    fn producers(&mut self) -> Vec<Vec<String>> {
        let topic = TopicRequest::default()
            .with_name(topic_name(&self.side.topic))
            .with_partition_indexes(PARTITIONS.to_vec());
        let answer =
            self.side.connection.call(0, &DescribeProducersRequest::default().with_topics(vec![topic]));
        let mut lines = answer.topics[0].partitions.clone();
        lines.sort_by_key(|line| line.partition_index);
        let shown = |line: &kafka_protocol::messages::describe_producers_response::PartitionResponse| {
            let mut all: Vec<String> = line.active_producers.iter().map(|one| format!("{one:?}")).collect();
            all.sort();
            all
        };
        lines.iter().map(shown).collect()
    }

    fn offsets(&mut self) -> Vec<(i32, i64, i16)> {
        let request =
            OffsetFetchRequest::default().with_group_id(GroupId(text(&self.cast.group))).with_topics(None);
        let answer = self.side.connection.call(7, &request);
        let lines = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let mut all: Vec<_> =
            lines.map(|line| (line.partition_index, line.committed_offset, line.error_code)).collect();
        all.sort_unstable();
        all
    }

    fn groups(&mut self) -> Vec<String> {
        let answer = self.side.connection.call(4, &ListGroupsRequest::default());
        let mut all: Vec<String> = answer.groups.iter().map(|one| format!("{one:?}")).collect();
        all.sort();
        all
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Seen {
    ends: [[i64; 3]; 2],
    internal_ends: [i64; 2],
    transaction: String,
    transactions: Vec<String>,
    producers: Vec<Vec<String>>,
    offsets: Vec<(i32, i64, i16)>,
    groups: Vec<String>,
}

/// Commits offset 7 of both partitions outside of any transaction.
fn commit_plainly(side: &mut Side, group: &str) {
    let partition =
        |index| OffsetCommitRequestPartition::default().with_partition_index(index).with_committed_offset(7);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(topic_name(&side.topic))
        .with_partitions(PARTITIONS.map(partition).to_vec());
    let request = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic]);
    let answer = side.connection.call(8, &request);
    assert!(answer.topics[0].partitions.iter().all(|line| line.error_code == 0), "{answer:?}");
}

fn batch(producer: &Producer) -> Batch {
    Batch::of_values(NOW, &["refused"])
        .by_producer(producer.id, producer.epoch, producer.sequence)
        .in_transaction()
}

fn initialised(side: &mut Side, producer: &Producer, timeout_ms: i32) -> Vec<i16> {
    let name = producer.name.to_string();
    vec![initialise(side, &name, timeout_ms, (producer.id, producer.epoch))]
}

/// What is asked, and the errors that Apache Kafka answers.
type Refusal = (&'static str, fn(&mut Side, &Cast) -> Vec<i16>, &'static [i16]);

const REFUSALS: &[Refusal] = &[
    (
        "a plain batch in a transaction",
        |side, cast| {
            let plain = Batch::of_values(NOW, &["refused"]).by_producer(
                cast.open.id,
                cast.open.epoch,
                cast.open.sequence,
            );
            vec![send(side, 9, Some(cast.open.name.clone()), &plain)]
        },
        &[48],
    ),
    ("partitions of a fenced instance", |side, cast| add(side, 3, &cast.fenced, &[1]), &[90]),
    ("partitions of the future", |side, cast| add(side, 3, &cast.of_the_future(), &[1]), &[90]),
    ("partitions of another id", |side, cast| add(side, 3, &cast.of_another_id(), &[1]), &[49]),
    ("partitions under an unknown name", |side, cast| add(side, 3, &cast.of_unknown_name(), &[1]), &[49]),
    ("partitions under no name", |side, cast| add(side, 3, &cast.of_no_name(), &[1]), &[42]),
    ("partitions that there are not", |side, cast| add(side, 3, &cast.open, &[1, 7]), &[55, 3]),
    ("a group of a fenced instance", |side, cast| vec![add_offsets(side, &cast.fenced, "other")], &[90]),
    ("a group of the future", |side, cast| vec![add_offsets(side, &cast.of_the_future(), "other")], &[90]),
    ("a group of another id", |side, cast| vec![add_offsets(side, &cast.of_another_id(), "other")], &[49]),
    (
        "a group under an unknown name",
        |side, cast| vec![add_offsets(side, &cast.of_unknown_name(), "other")],
        &[49],
    ),
    (
        "offsets of a fenced instance",
        |side, cast| vec![commit(side, &cast.fenced, &cast.group, -1, 1, "")],
        &[47],
    ),
    (
        "offsets of the future",
        |side, cast| vec![commit(side, &cast.of_the_future(), &cast.group, -1, 1, "")],
        &[47],
    ),
    (
        "offsets of another id",
        |side, cast| vec![commit(side, &cast.of_another_id(), &cast.group, -1, 1, "")],
        &[49],
    ),
    (
        "offsets under an unknown name",
        |side, cast| {
            let mut unknown = cast.of_unknown_name();
            unknown.id += 1_000_000;
            vec![commit(side, &unknown, &cast.group, -1, 1, "")]
        },
        &[49],
    ),
    (
        "offsets of a member that there is not",
        |side, cast| vec![commit(side, &cast.open, &cast.group, 5, 1, "")],
        &[25],
    ),
    (
        "offsets of a partition that there is not",
        |side, cast| vec![commit(side, &cast.open, &cast.group, -1, 9, "")],
        &[3],
    ),
    (
        "offsets with a long note",
        |side, cast| vec![commit(side, &cast.open, &cast.group, -1, 1, &"n".repeat(5_000))],
        &[12],
    ),
    (
        "an end by a fenced instance",
        |side, cast| [true, false].map(|commits| end(side, 3, &cast.fenced, commits)).to_vec(),
        &[90, 90],
    ),
    (
        "an end of the future",
        |side, cast| [true, false].map(|commits| end(side, 3, &cast.of_the_future(), commits)).to_vec(),
        &[90, 90],
    ),
    (
        "an end of another id",
        |side, cast| [true, false].map(|commits| end(side, 3, &cast.of_another_id(), commits)).to_vec(),
        &[49, 49],
    ),
    ("an end of an unknown name", |side, cast| vec![end(side, 3, &cast.of_unknown_name(), true)], &[49]),
    ("an end of no name", |side, cast| vec![end(side, 3, &cast.of_no_name(), true)], &[42]),
    (
        "batches of a fenced instance",
        |side, cast| {
            let mut fenced = cast.like_open(|producer| producer.epoch = cast.fenced.epoch);
            [9, 12].map(|version| write(side, version, &mut fenced)).to_vec()
        },
        &[47, 47],
    ),
    (
        "a first batch of the future",
        |side, cast| {
            let producer = cast.of_the_future();
            let first = Producer { sequence: 0, ..producer };
            vec![send(side, 9, Some(first.name.clone()), &batch(&first))]
        },
        &[47],
    ),
    (
        "a batch under an unknown name",
        |side, cast| {
            let mut unknown = cast.of_unknown_name();
            unknown.id += 1_000_000;
            unknown.sequence = 0;
            vec![write(side, 9, &mut unknown)]
        },
        &[49],
    ),
    ("a batch under no name", |side, cast| vec![send(side, 9, None, &batch(&cast.open))], &[53]),
    (
        "a transaction of a producer that is idempotent only",
        |side, cast| {
            let (id, epoch) = cast.idempotent;
            let name = cast.open.name.clone();
            let idempotent = Producer { name: name.clone(), id, epoch, sequence: 0 };
            let sent = [None, Some(name)].map(|name| send(side, 9, name, &batch(&idempotent)));
            [&sent[..], &add(side, 3, &idempotent, &[1])].concat()
        },
        &[53, 49, 49],
    ),
    (
        "a batch behind a gap",
        |side, cast| {
            let later = cast.like_open(|producer| producer.sequence += 7);
            vec![send(side, 9, Some(later.name.clone()), &batch(&later))]
        },
        &[45],
    ),
    ("an instance of another id", |side, cast| initialised(side, &cast.of_another_id(), TIMEOUT_MS), &[90]),
    ("an instance without time", |side, cast| initialised(side, &cast.open, 0), &[50]),
    (
        "a marker of an old epoch",
        |side, cast| {
            let (topic, of) = (side.topic.clone(), (cast.open.id, cast.open.epoch - 1));
            vec![mark(side, &topic, 0, of)]
        },
        &[47],
    ),
    (
        "a stranger's marker for what there is not",
        |side, _| {
            let topic = side.topic.clone();
            [(topic.as_str(), 9), ("nobody-made-this", 0)]
                .map(|(topic, partition)| mark(side, topic, partition, (1_000_000_000, 0)))
                .to_vec()
        },
        &[3, 3],
    ),
];

/// The values that a reader of committed records gets.
fn committed(scene: &Scene) -> Vec<String> {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker().kafka().to_string(), "-C", "-e", "-q", "-o", "beginning"]);
    command.args(["-X", "isolation.level=read_committed", "-t", &scene.side.topic]);
    let read = process::run_with_input("kcat", command, b"", DEADLINE);
    assert!(read.status.success(), "{read}");
    read.stdout
}

#[test]
fn what_is_refused_changes_nothing() {
    let mut scene = Scene::new();
    let before = scene.seen();
    assert!(before.transaction.contains("Ongoing"), "{before:?}");
    assert_eq!(before.ends, [[0, 0, 1], [0, 0, 0]]);
    assert_eq!(before.offsets, [(0, 7, 0), (1, 7, 0)]);
    let mut wrong = Vec::new();
    for (name, ask, expected) in REFUSALS {
        let errors = ask(&mut scene.side, &scene.cast);
        if errors != *expected {
            wrong.push(format!("{name}: {errors:?} instead of {expected:?}"));
        }
        assert_eq!(scene.seen(), before, "{name}: {errors:?}");
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));

    // Kafka writes the marker of a producer that it doesn't know. It ends nobody's transaction.
    let topic = scene.side.topic.clone();
    assert_eq!(mark(&mut scene.side, &topic, 0, (1_000_000_000, 0)), 0);
    let mut after = scene.seen();
    assert_eq!(after.ends, [[0, 0, 2], [0, 0, 0]]);
    after.ends = before.ends;
    after.producers = before.producers.clone();
    assert_eq!(after, before);

    // The transaction goes on as if nothing had been.
    assert!(committed(&scene).is_empty());
    let mut values = vec!["one"];
    // Apache Kafka holds the first sequence of a batch that it has refused against those that come after.
    if Target::chosen() == Target::Iolite {
        assert_eq!(write(&mut scene.side, 9, &mut scene.cast.open), 0);
        values.push("one");
    }
    assert_eq!(end(&mut scene.side, 3, &scene.cast.open, true), 0);
    let deadline = Instant::now() + DEADLINE;
    while !scene.transaction().contains("CompleteCommit") {
        assert!(Instant::now() < deadline, "{}", scene.transaction());
    }
    assert_eq!(committed(&scene), values);
    assert_eq!(scene.offsets(), [(0, 1, 0), (1, 7, 0)]);
}
