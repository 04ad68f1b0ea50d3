//! What a workload asks for is what arrives: records as another client of the same broker reads them.

use client::{At, Isolation, Partition};
use e2e::driver::{Client, Driver};
use e2e::figures::figure;
use e2e::wire::Connection;
use kafka_protocol::messages::MetadataRequest;

use super::*;
use crate::native_client::with_client;

const RECORDS: usize = 1_000;

/// Ten small journals pass before anything is measured, and what the second stream's topic keeps.
const STEADY: &str = r#"
name = "small-steady-state"
version = 1
description = "As much as a small journal and a small retention make of it."
steady_state = true

[[streams]]
name = "journaled"
partitions = 2
rate = 20
record = { value_bytes = 1024 }

[[streams]]
name = "retained"
partitions = 2
rate = 20
record = { value_bytes = 1024 }

[streams.topic_config]
"retention.bytes" = "33554432"
"segment.bytes" = "4194304"
"#;
const STEADY_JOURNAL_BYTES: u64 = 16 << 20;
const STEADY_RETENTION_BYTES: i64 = 32 << 20;

/// The producers of each workload that is built in do their work, for a moment, at a low rate and with little values. Readers, and
/// what fills a disk before it is measured, have tests of their own.
#[test]
fn the_producers_of_every_workload_work() {
    let directory = new_directory();
    let (_, listed) = run("iolite-bench", command(&directory, &["workloads"]), DEADLINE);
    let names = listed.iter().filter_map(|line| line.split(" (v").next()).map(str::trim);
    let names: Vec<&str> = names.filter(|name| *name != "steady-state").collect();
    assert!(names.len() > 20, "{listed:?}");
    let broker = Broker::start(Target::Iolite, &Options { shards: 1, ..Options::default() });
    let address = broker.kafka().to_string();
    for name in names {
        let short = ["--duration", "300ms", "--warm-up", "100ms", "--rounds", "1", "--rate", "100"];
        let load = ["--bootstrap", &address, "--workload", name, "--backlog-bytes", "100000"];
        let outcome = bench("produce", &[&load[..], &short].concat());
        outcome.assert_fine();
        let contender = outcome.report()["contenders"][0].clone();
        assert_eq!(contender["workload"]["name"], name);
        let checked = contender["checked"].as_str().expect("words");
        assert!(checked.contains("read back and checked"), "{name}: {checked}");
    }
    drop(broker.stop());
}

/// The topics that a run has made.
fn topics_of_run(broker: &Broker) -> Vec<String> {
    let all = Connection::open(broker.kafka()).call(1, &MetadataRequest::default().with_topics(None));
    let names = all.topics.iter().filter_map(|topic| topic.name.as_ref()).map(|name| name.0.to_string());
    names.filter(|name| name.starts_with("bench-")).collect()
}

#[test]
fn headers_and_skewed_keys_arrive() {
    let broker = Broker::start(Target::Iolite, &Options::default());
    let directory = new_directory();
    let address = broker.kafka().to_string();
    let words = ["produce", "--workload", "headers-and-skewed-keys", "--bootstrap", &address, "--out", "run"];
    let load =
        ["--partitions", "1", "--rate", "2000", "--duration", "60s", "--warm-up", "0s", "--rounds", "1"];
    let mut tool = Process::start("iolite-bench", command(&directory, &[&words[..], &load].concat()));
    tool.wait_for_line(DEADLINE, "a second of load", |line| line.contains("records/s").then_some(()));
    let topic = topics_of_run(&broker).pop().expect("the run has a topic");
    let records = Driver::start(Client::Native, broker.kafka()).consume(&topic, &[(0, 0, RECORDS)]);
    tool.signal(Signal::SIGINT);
    assert_eq!(tool.wait(DEADLINE).code(), Some(PARTIAL), "{}", tool.lines().join("\n"));
    let records = records.expect("they come in while they are read");
    assert_eq!(records.len(), RECORDS);
    for record in &records {
        let bytes: Vec<_> = record.headers.iter().map(|(_, value)| value.as_ref().map(Vec::len)).collect();
        assert_eq!(bytes, [Some(24); 4], "{record:?}");
    }
    let lengths: Vec<usize> =
        records.iter().map(|record| record.value.as_ref().expect("a value").len()).collect();
    assert!(lengths.iter().all(|bytes| (100..=2_000).contains(bytes)), "{lengths:?}");
    assert!(
        lengths.iter().any(|bytes| *bytes < 600) && lengths.iter().any(|bytes| *bytes > 1_500),
        "{lengths:?}"
    );
    // The first of 100,000 keys comes with one record in twelve, where all alike would have it in one of a hundred such runs.
    let key = |record: &e2e::records::Record| record.key.clone().expect("a key");
    let first = records.iter().filter(|record| key(record) == b"kkkkkkkk00000000").count();
    assert!((25..250).contains(&first), "{first} of {RECORDS}");
    let distinct: std::collections::BTreeSet<_> = records.iter().map(key).collect();
    assert!(distinct.len() > RECORDS / 4, "{} keys", distinct.len());
    drop(broker.stop());
}

/// What was written when the first round begins, as the broker tells: its load, 20 records a second, adds next to nothing to it.
#[test]
fn a_steady_state_is_reached_before_it_is_measured() {
    let configs = [
        ("journal.bytes", STEADY_JOURNAL_BYTES.to_string()),
        ("journal.file.bytes", (STEADY_JOURNAL_BYTES / 4).to_string()),
    ];
    let configs = configs.map(|(key, value)| (key.to_owned(), value)).to_vec();
    let broker = Broker::start(Target::Iolite, &Options { shards: 1, configs, ..Options::default() });
    let directory = new_directory();
    fs::write(directory.path().join("steady.toml"), STEADY).expect("the directory is writable");
    let (kafka, admin) =
        (broker.kafka().to_string(), broker.admin().expect("it has an admin port").to_string());
    let words = ["produce", "--workload", "steady.toml", "--bootstrap", &kafka, "--admin", &admin];
    let lengths = ["--duration", "60s", "--warm-up", "0s", "--rounds", "1", "--out", "run"];
    let mut tool = Process::start("iolite-bench", command(&directory, &[&words[..], &lengths].concat()));
    let is_round = |line: &str| line.contains("produce 1/1").then_some(());
    tool.wait_for_line(DEADLINE, "the first second of the round", is_round);
    let journaled = figure(&broker, "journal_written_bytes_total");
    let topics = topics_of_run(&broker);
    let ends = with_client(broker.kafka(), async |client| {
        let ends = |name: &str| {
            let topic = topics.iter().find(|topic| topic.contains(name)).expect("each stream has a topic");
            let wanted = [0, 1].map(|index| (Partition::new(topic, index), At::Latest));
            let admin = client.admin();
            async move {
                let found =
                    admin.offsets(&wanted, Isolation::ReadUncommitted).await.expect("the broker tells");
                found.into_iter().map(|end| end.expect("there is an end").get()).sum::<i64>()
            }
        };
        [ends("-journaled-").await, ends("-retained-").await]
    });
    tool.signal(Signal::SIGINT);
    assert_eq!(tool.wait(DEADLINE).code(), Some(PARTIAL), "{}", tool.lines().join("\n"));
    let volumes = ends[0] * 1024 / i64::try_from(STEADY_JOURNAL_BYTES).expect("small");
    assert!(volumes >= 10, "{volumes} journals were passed by {} records", ends[0]);
    assert!(journaled >= 10 * STEADY_JOURNAL_BYTES, "{journaled} bytes went through the journal");
    assert!(ends[1] * 1024 > 2 * STEADY_RETENTION_BYTES, "{} records are no more than is kept", ends[1]);
    let told = tool.lines().join("\n");
    assert!(told.contains("bytes were written before anything was measured"), "{told}");
    drop(broker.stop());
}
