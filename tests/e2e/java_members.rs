//! Java's consumers beside each other in one group, by both protocols: when one is killed, the other reads on for it.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::ops::Range;
use std::process::Command;

use e2e::DEADLINE;
use e2e::broker::{Broker, java};
use e2e::process::{self, Process};
use serde_json::Value;

use crate::consumer_groups::start;
use crate::groups::{PARTITIONS, TOPIC};

/// Kafka's consumer for system tests, which tells all that happens to it, one JSON object a line.
struct Member(Process);

impl Member {
    fn start(broker: &Broker, name: &str, arguments: &[&str]) -> Self {
        let mut command = java("org.apache.kafka.tools.VerifiableConsumer");
        command.args(["--bootstrap-server", &broker.kafka().to_string(), "--topic", TOPIC]);
        command.args(["--group-id", "javas", "--reset-policy", "earliest", "--verbose"]).args(arguments);
        Self(Process::start(name, command))
    }

    /// Waits until it owns so many partitions for the first time, and returns them.
    fn wait_for_share(&self, share: usize) -> BTreeSet<i64> {
        let owned = RefCell::new(BTreeSet::new());
        self.0.wait_for_line(DEADLINE, "an assignment", |line| {
            let event = event(line)?;
            let partitions = event["partitions"].as_array().map_or(&[][..], Vec::as_slice);
            let partitions = partitions.iter().filter_map(|one| one["partition"].as_i64());
            let mut owned = owned.borrow_mut();
            match event["name"].as_str()? {
                "partitions_assigned" => owned.extend(partitions),
                "partitions_revoked" => partitions.for_each(|partition| {
                    owned.remove(&partition);
                }),
                _ => return None,
            }
            (owned.len() == share).then(|| owned.clone())
        })
    }

    /// The values that it has read.
    fn values(&self) -> BTreeSet<u32> {
        self.0.lines().iter().filter_map(|line| value(line)).collect()
    }

    /// Waits until it has read all of these.
    fn wait_for_values(&self, mut wanted: BTreeSet<u32>) {
        if wanted.is_empty() {
            return;
        }
        let wanted = RefCell::new(&mut wanted);
        self.0.wait_for_line(DEADLINE, "all values", |line| {
            let mut wanted = wanted.borrow_mut();
            wanted.remove(&value(line)?);
            wanted.is_empty().then_some(())
        });
    }
}

fn event(line: &str) -> Option<Value> {
    serde_json::from_str(line).ok()
}

fn value(line: &str) -> Option<u32> {
    let event = event(line).filter(|event| event["name"] == "record_data")?;
    event["value"].as_str()?.parse().ok()
}

/// Each partition gets its share of the values.
fn produce(broker: &Broker, values: Range<u32>) {
    for partition in 0..PARTITIONS {
        let is_its = |value: &u32| i64::from(*value) % i64::from(PARTITIONS) == i64::from(partition);
        let lines: String = values.clone().filter(is_its).map(|value| format!("{value}\n")).collect();
        let mut command = Command::new("kcat");
        command.args(["-b", &broker.kafka().to_string(), "-P", "-t", TOPIC, "-p", &partition.to_string()]);
        let finished = process::run_with_input("kcat", command, lines.as_bytes(), DEADLINE);
        assert!(finished.status.success(), "{finished}");
    }
}

/// Two share the work; one dies with some of it done, and the other does the rest and all that comes.
fn share_and_take_over(arguments: &[&str]) {
    let broker = start();
    let all = usize::try_from(PARTITIONS).expect("a count");
    let mut first = Member::start(&broker, "first member", arguments);
    first.wait_for_share(all);
    let second = Member::start(&broker, "second member", arguments);
    let (of_first, of_second) = (first.wait_for_share(all / 2), second.wait_for_share(all / 2));
    assert_eq!(of_first.union(&of_second).count(), all, "{of_first:?} {of_second:?}");

    produce(&broker, 0..1_000);
    first.0.wait_for_line(DEADLINE, "a value", value);
    second.0.wait_for_line(DEADLINE, "a value", value);
    first.0.kill();
    assert!(first.0.ends_within(DEADLINE), "all that it said is known");
    let of_first = first.values();
    assert_eq!(second.wait_for_share(all), (0..i64::from(PARTITIONS)).collect());
    produce(&broker, 1_000..1_500);
    second.wait_for_values((0..1_500).filter(|value| !of_first.contains(value)).collect());
}

#[test]
fn of_two_classic_members_one_dies_and_the_other_reads_all() {
    share_and_take_over(&["--group-protocol", "classic", "--session-timeout", "6000"]);
}

#[test]
fn of_two_consumers_of_the_newer_protocol_one_dies_and_the_other_reads_all() {
    share_and_take_over(&["--group-protocol", "consumer"]);
}
