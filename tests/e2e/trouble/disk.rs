//! A disk of the test's own that is full, or stands still. Needs root.

use std::os::unix::process::ExitStatusExt;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use bytes::Bytes;
use e2e::DEADLINE;
use e2e::broker::{Broker, Options, Target};
use e2e::figures::{await_figure, await_readiness, figure, page};
use e2e::segments;
use e2e::volume::Volume;
use e2e::wire::{self, Connection, text, topic_name};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{DeleteTopicsRequest, IncrementalAlterConfigsRequest, ListOffsetsRequest};
use nix::sys::signal::Signal;

use super::{
    Refused, numbered, produce, produce_keyed, read_all, receive_produced, send_produce, try_read_from,
};

const KAFKA_STORAGE_ERROR: i16 = 56;
const RECORD_BYTES: usize = 400_000;

fn options(more: &[(&str, &str)]) -> Options {
    let small = [
        ("journal.bytes", "33554432"),
        ("journal.file.bytes", "8388608"),
        ("journal.frame.max.bytes", "2097152"),
        ("disk.reserve.bytes", "16777216"),
    ];
    let configs = small.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Options { shards: 1, configs: configs.collect(), ..Options::default() }
}

fn check_values(connection: &mut Connection, topic: &str, expected: &[&[u8]]) {
    assert_eq!(read_all(connection, topic), expected);
}

fn check_kept(connection: &mut Connection, topic: &str, count: usize) {
    let values = read_all(connection, topic);
    // One that was refused is not there; none that was acknowledged is missing.
    assert_eq!(values.len(), count, "{topic}");
    for (number, value) in values.iter().enumerate() {
        assert_eq!(*value, numbered(number, RECORD_BYTES), "{topic} at {number}");
    }
}

/// How many records each of the two topics took so far.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    kept: usize,
    filler: usize,
}

/// Produces, mostly filler, until it is refused and the broker says why.
fn fill(broker: &Broker, connection: &mut Connection, taken: &mut Taken) {
    let end = Instant::now() + DEADLINE;
    for turn in 0.. {
        let (topic, count) =
            if turn % 4 == 0 { ("kept", &mut taken.kept) } else { ("filler", &mut taken.filler) };
        match produce(connection, topic, &numbered(*count, RECORD_BYTES)) {
            Ok(offset) => {
                assert_eq!(usize::try_from(offset), Ok(*count));
                *count += 1;
            }
            // What is still on its way to its segment takes room that it gives back: the disk is full when it is said so.
            Err(code) => {
                assert_eq!(code, KAFKA_STORAGE_ERROR);
                if page(broker, "/readyz").contains("disk full") {
                    println!("full after {taken:?} records of {RECORD_BYTES} B");
                    return;
                }
            }
        }
        assert!(Instant::now() < end, "it fills up, but {taken:?}: {}", broker.process().last_lines());
    }
}

fn alter_topic(connection: &mut Connection, topic: &str, key: &str, value: &str) {
    const TOPIC: i8 = 2;
    let config = AlterableConfig::default().with_name(text(key)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(TOPIC)
        .with_resource_name(text(topic))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    let answer = connection.call(1, &request);
    assert_eq!(answer.responses[0].error_code, 0, "{:?}", answer.responses[0].error_message);
}

/// Produces until it is taken again, and the broker is ready.
fn await_healed(broker: &Broker, connection: &mut Connection, taken: &mut Taken) {
    let end = Instant::now() + DEADLINE;
    while let Err(code) = produce(connection, "kept", &numbered(taken.kept, RECORD_BYTES)) {
        assert_eq!(code, KAFKA_STORAGE_ERROR);
        assert!(Instant::now() < end, "room heals it\n{}", broker.process().last_lines());
    }
    taken.kept += 1;
    await_readiness(broker, |answer| answer.starts_with("HTTP/1.1 200"));
}

#[test]
fn a_full_disk_refuses_produces_serves_reads_and_is_healed_by_retention_and_by_deleting() {
    let volume = Volume::make(128 << 20);
    let options = options(&[("log.retention.check.interval.ms", "500")]);
    let broker = Broker::start_on(volume.directory(), Target::Iolite, &options);
    for topic in ["kept", "filler"] {
        wire::create_topic(broker.kafka(), topic, 1, &[("retention.ms", "-1"), ("segment.bytes", "8388608")]);
    }
    let mut connection = Connection::open(broker.kafka());
    let mut taken = Taken::default();
    fill(&broker, &mut connection, &mut taken);
    check_kept(&mut connection, "kept", taken.kept);

    // Neither a crash nor a start on the full disk loses anything.
    let broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    let mut connection = Connection::open(broker.kafka());
    check_kept(&mut connection, "kept", taken.kept);
    check_kept(&mut connection, "filler", taken.filler);

    alter_topic(&mut connection, "filler", "retention.bytes", "8388608");
    await_healed(&broker, &mut connection, &mut taken);
    fill(&broker, &mut connection, &mut taken);

    let filler = DeleteTopicState::default().with_name(Some(topic_name("filler")));
    let delete = DeleteTopicsRequest::default().with_topics(vec![filler]).with_timeout_ms(30_000);
    assert_eq!(connection.call(6, &delete).responses[0].error_code, 0);
    await_healed(&broker, &mut connection, &mut taken);
    check_kept(&mut connection, "kept", taken.kept);
}

/// The first offset of partition 0.
fn log_start(connection: &mut Connection, topic: &str) -> i64 {
    const EARLIEST: i64 = -2;
    let partition = ListOffsetsPartition::default().with_timestamp(EARLIEST);
    let asked = ListOffsetsTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
    let answer = connection.call(7, &request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
    answer.topics[0].partitions[0].offset
}

/// Where partition 0 begins and its values from there to the end. A reader that the start overtook, as room is made while it
/// reads, begins again at the new one.
fn read_what_is_left(connection: &mut Connection, topic: &str) -> (i64, Vec<Bytes>) {
    const OFFSET_OUT_OF_RANGE: i16 = 1;
    loop {
        let start = log_start(connection, topic);
        match try_read_from(connection, topic, start) {
            Ok(values) => return (start, values),
            Err(Refused { offset, code }) => {
                assert_eq!(code, OFFSET_OUT_OF_RANGE, "{topic} at {offset}");
                let start = log_start(connection, topic);
                assert!(start > offset, "{topic} begins at {start}, and {offset} was refused");
            }
        }
    }
}

/// The operator chose to keep serving: several times what the disk has is produced without one refusal, the oldest records of
/// the topics that allow it are gone, and nothing else is.
#[test]
fn a_full_disk_goes_on_by_deleting_the_oldest_where_the_operator_chose_so() {
    const RECORDS: usize = 1_200;
    const KEYS: usize = 20;
    const VOLUME_BYTES: usize = 192 << 20;
    const { assert!(RECORDS * RECORD_BYTES > 2 * VOLUME_BYTES, "more than it has room for") };
    let volume = Volume::make(VOLUME_BYTES as u64);
    let options = options(&[("disk.full.policy", "delete-oldest")]);
    let broker = Broker::start_on(volume.directory(), Target::Iolite, &options);
    for (topic, policy) in [("keyed", "compact"), ("quiet", "delete"), ("stream", "delete")] {
        let configs = [("retention.ms", "-1"), ("segment.bytes", "8388608"), ("cleanup.policy", policy)];
        wire::create_topic(broker.kafka(), topic, 1, &configs);
    }
    let mut connection = Connection::open(broker.kafka());
    let key_of = |number: usize| format!("key {number}").into_bytes();
    let values: Vec<Vec<u8>> = (0..KEYS).map(|number| numbered(number, RECORD_BYTES)).collect();
    for (number, value) in values.iter().enumerate() {
        produce_keyed(&mut connection, "keyed", &key_of(number), value).expect("there is room");
    }
    assert_eq!(produce(&mut connection, "quiet", b"alone in its segment"), Ok(0));
    for number in 0..RECORDS {
        let produced = produce(&mut connection, "stream", &numbered(number, RECORD_BYTES));
        assert_eq!(produced, Ok(i64::try_from(number).expect("few")), "{}", broker.process().last_lines());
    }
    await_readiness(&broker, |answer| answer.starts_with("HTTP/1.1 200"));
    let deleted = figure(&broker, "deleted_for_room_segments_total");
    let told = |line: &str| line.contains("the oldest records were deleted") && line.contains("stream");
    assert!(broker.process().lines().iter().any(|line| told(line)));

    let check = |connection: &mut Connection| {
        assert_eq!(read_all(connection, "keyed"), values, "what is compacted is kept");
        check_values(connection, "quiet", &[b"alone in its segment"]);
        let (start, kept) = read_what_is_left(connection, "stream");
        let first = usize::try_from(start).expect("positive");
        assert_eq!(first + kept.len(), RECORDS, "the newest are there");
        for (number, value) in (first..).zip(&kept) {
            assert_eq!(*value, numbered(number, RECORD_BYTES), "at {number}");
        }
        println!("{deleted} segments went; {} of {RECORDS} records are left", kept.len());
        start
    };
    let start = check(&mut connection);
    assert!(deleted > 0 && start > 0);
    // What is gone stays gone, and nothing more goes by a crash: the log begins where it did on the disk, unless the start, which
    // moves the journal into segments, had to delete for that.
    let directory = broker.kill();
    let kept = segments::bases(&directory.path().join("data/topics/stream-0"));
    let broker = Broker::start_on(directory, Target::Iolite, &options);
    let start_afterwards = check(&mut Connection::open(broker.kafka()));
    let has_deleted = figure(&broker, "deleted_for_room_segments_total") > 0;
    assert!(kept[0] >= start, "room was still being made, and never taken back: {start}, {kept:?}");
    assert!(
        start_afterwards == kept[0] || start_afterwards > kept[0] && has_deleted,
        "{start_afterwards}, {kept:?}"
    );
}

/// The device does not fail, it only doesn't answer: no reply before it does, and nothing is lost.
#[test]
fn a_disk_that_stands_still_is_told_of_and_replies_wait_for_it() {
    const STALL: Duration = Duration::from_millis(1_500);
    let volume = Volume::make(512 << 20);
    let options = options(&[("disk.slow.ms", "300")]);
    let broker = Broker::start_on(volume.directory(), Target::Iolite, &options);
    wire::create_topic(broker.kafka(), "kept", 1, &[("retention.ms", "-1")]);
    let mut connection = Connection::open(broker.kafka());
    for (number, offset) in (0..3).zip(0..) {
        assert_eq!(produce(&mut connection, "kept", &numbered(number, RECORD_BYTES)), Ok(offset));
    }
    await_readiness(&broker, |answer| answer.starts_with("HTTP/1.1 200"));
    let frozen = volume.freeze();
    let began = Instant::now();
    for (number, correlation) in (3..6).zip(3..) {
        send_produce(&mut connection, correlation, "kept", &numbered(number, RECORD_BYTES))
            .expect("it reads");
    }
    await_readiness(&broker, |answer| answer.starts_with("HTTP/1.1 503") && answer.contains("slow disk"));
    // It stays so, and what is in memory is read meanwhile.
    let mut reader = Connection::open(broker.kafka());
    check_kept(&mut reader, "kept", 3);
    await_readiness(&broker, |answer| answer.contains("slow disk") && began.elapsed() > STALL);
    assert!(!connection.has_something_to_read(), "nothing is acknowledged while nothing can be written");
    drop(frozen);
    for correlation in 3..6 {
        assert_eq!(receive_produced(&mut connection, correlation), Ok(Ok(i64::from(correlation))));
    }
    await_readiness(&broker, |answer| answer.starts_with("HTTP/1.1 200"));
    let broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    check_kept(&mut Connection::open(broker.kafka()), "kept", 6);
}

/// Many producers send far more than the broker may hold while its disk stands still: it stops to read them, stays small, and
/// serves everybody else; then each of them gets all its acks, in order and without an error.
#[test]
fn while_the_disk_stands_still_producers_wait_and_others_do_not() {
    const PRODUCERS: i32 = 8;
    const RECORDS: i32 = 50;
    const REQUESTS_BYTES_MAX: u64 = 96 << 20;
    /// By then producers are being slowed.
    const WAITING_BYTES: u64 = 24 << 20;
    const GROWTH_BYTES_MAX: u64 = 128 << 20;
    const OTHERS: usize = 20;
    const { assert!(RECORD_BYTES as u64 * (PRODUCERS * RECORDS) as u64 > GROWTH_BYTES_MAX, "they send more") };
    let volume = Volume::make(1 << 30);
    let limits = [("memory.tail.bytes", "8MiB"), ("queued.max.request.bytes", "96MiB")];
    let broker = Broker::start_on(volume.directory(), Target::Iolite, &options(&limits));
    let topics: Vec<String> = (0..PRODUCERS).map(|number| format!("flood-{number}")).collect();
    for topic in topics.iter().map(String::as_str).chain(["kept"]) {
        wire::create_topic(broker.kafka(), topic, 1, &[("retention.ms", "-1")]);
    }
    assert_eq!(produce(&mut Connection::open(broker.kafka()), "kept", b"before"), Ok(0));
    let before_bytes = figure(&broker, "process_resident_memory_bytes");
    thread::scope(|scope| {
        let frozen = volume.freeze();
        for topic in &topics {
            let mut sender = Connection::open(broker.kafka());
            let mut receiver = sender.share();
            scope.spawn(move || {
                for number in 0..RECORDS {
                    let value = numbered(usize::try_from(number).expect("small"), RECORD_BYTES);
                    send_produce(&mut sender, number, topic, &value).expect("it reads in the end");
                }
            });
            scope.spawn(move || {
                for number in 0..RECORDS {
                    assert_eq!(receive_produced(&mut receiver, number), Ok(Ok(i64::from(number))));
                }
            });
        }
        await_figure(&broker, "iolite_request_memory_bytes", |waiting| waiting >= WAITING_BYTES);
        for _ in 0..OTHERS {
            check_values(&mut Connection::open(broker.kafka()), "kept", &[b"before"]);
            wire::await_leaders(broker.kafka(), "flood-0", 1);
            assert!(figure(&broker, "iolite_request_memory_bytes") <= REQUESTS_BYTES_MAX);
            let grown = figure(&broker, "process_resident_memory_bytes").saturating_sub(before_bytes);
            assert!(grown <= GROWTH_BYTES_MAX, "grew by {grown} B");
        }
        drop(frozen);
    });
    let mut connection = Connection::open(broker.kafka());
    for topic in &topics {
        check_kept(&mut connection, topic, usize::try_from(RECORDS).expect("small"));
    }
}

/// A stop waits for the disk; whoever doesn't want to wait says so again, and loses nothing by it.
#[test]
fn a_second_signal_ends_a_stop_that_waits() {
    const RECORDS: usize = 3;
    let volume = Volume::make(512 << 20);
    let options = options(&[]);
    let broker = Broker::start_on(volume.directory(), Target::Iolite, &options);
    wire::create_topic(broker.kafka(), "kept", 1, &[("retention.ms", "-1")]);
    let mut connection = Connection::open(broker.kafka());
    for number in 0..RECORDS {
        produce(&mut connection, "kept", &numbered(number, RECORD_BYTES)).expect("acknowledged");
    }
    let frozen = volume.freeze();
    broker.process().signal(Signal::SIGTERM);
    broker.process().wait_for_line(DEADLINE, "that it stops", |line| line.contains("stopping").then_some(()));
    broker.process().signal(Signal::SIGINT);
    // What was handed to the device can't be taken back: the kernel waits for it.
    drop(frozen);
    let (status, directory) = broker.await_end();
    assert_eq!(status.signal(), Some(libc::SIGINT), "{status}");
    let broker = Broker::start_on(directory, Target::Iolite, &options);
    check_kept(&mut Connection::open(broker.kafka()), "kept", RECORDS);
}

/// The filesystem fails under load, as if the power had gone: the broker ends by itself, with the code that says so, and
/// what it had acknowledged is there when the filesystem is.
#[test]
fn a_filesystem_that_fails_ends_the_broker_and_keeps_what_was_acknowledged() {
    /// `ExitCode::StorageFailed` (docs/operations.md).
    const STORAGE_FAILED: i32 = 21;
    const SMALL_BYTES: usize = 30_000;
    const PRODUCERS: usize = 3;
    let volume = Volume::make(512 << 20);
    let options = options(&[]);
    let mut directory = volume.directory();
    let topics: Vec<String> = (0..PRODUCERS).map(|number| format!("kept-{number}")).collect();
    let mut acked = [0; PRODUCERS];
    for (round, acks_first) in [1, 60, 400].into_iter().enumerate() {
        let broker = Broker::start_on(directory, Target::Iolite, &options);
        let address = broker.kafka();
        if round == 0 {
            for topic in &topics {
                wire::create_topic(
                    address,
                    topic,
                    1,
                    &[("retention.ms", "-1"), ("segment.bytes", "1048576")],
                );
            }
        }
        let (told, warm) = mpsc::channel();
        acked = thread::scope(|scope| {
            let produce_on = |topic: &String, from: usize| {
                let (topic, told) = (topic.clone(), told.clone());
                scope.spawn(move || {
                    let mut connection = Connection::open(address);
                    let mut next = from;
                    while send_produce(&mut connection, 1, &topic, &numbered(next, SMALL_BYTES)).is_ok() {
                        // Once it has failed it may still say so.
                        let Ok(Ok(offset)) = receive_produced(&mut connection, 1) else { break };
                        assert_eq!(usize::try_from(offset), Ok(next));
                        next += 1;
                        if next == from + acks_first {
                            told.send(()).expect("the test waits");
                        }
                    }
                    next
                })
            };
            let producers: Vec<_> =
                topics.iter().zip(acked).map(|(topic, from)| produce_on(topic, from)).collect();
            for _ in 0..PRODUCERS {
                warm.recv_timeout(DEADLINE).expect("the load runs");
            }
            volume.shut_down();
            let next: Vec<usize> =
                producers.into_iter().map(|one| one.join().expect("no wrong answer")).collect();
            next.try_into().expect("one each")
        });
        let (status, after) = broker.await_end();
        assert_eq!(status.code(), Some(STORAGE_FAILED), "{status}");
        volume.recover();
        let broker = Broker::start_on(after, Target::Iolite, &options);
        let mut connection = Connection::open(broker.kafka());
        for (topic, acked) in topics.iter().zip(&mut acked) {
            let values = read_all(&mut connection, topic);
            assert!(values.len() >= *acked, "round {round}: {} of {acked} are there", values.len());
            let are_as_sent =
                values.iter().enumerate().all(|(number, value)| *value == numbered(number, SMALL_BYTES));
            assert!(are_as_sent, "round {round}: {topic} is as it was sent");
            // What was sent but not acknowledged may have appeared.
            *acked = values.len();
        }
        directory = broker.kill();
    }
}
