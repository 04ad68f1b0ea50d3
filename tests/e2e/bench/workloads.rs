//! What a workload asks for is what arrives: records as another client of the same broker reads them.

use e2e::driver::{Client, Driver};
use e2e::wire::Connection;
use kafka_protocol::messages::MetadataRequest;

use super::*;

const RECORDS: usize = 1_000;

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
    let all = Connection::open(broker.kafka()).call(1, &MetadataRequest::default().with_topics(None));
    let names = all.topics.iter().filter_map(|topic| topic.name.as_ref());
    let mut topics = names.map(|name| name.0.to_string()).filter(|name| name.starts_with("bench-"));
    let topic = topics.next().expect("the run has a topic");
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
