//! Consumer groups: members share the partitions, a group goes on where it was, and Kafka's tools see and change it.

use std::collections::BTreeSet;
use std::process::Command;

use e2e::broker::{Broker, Options, Target, java};
use e2e::process::{self, Finished, Process};
use e2e::{DEADLINE, wire};
use nix::sys::signal::Signal;

pub const TOPIC: &str = "shared";
pub const PARTITIONS: i32 = 4;

fn options(shards: u16) -> Options {
    let configs = vec![("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned())];
    Options { shards, configs, ..Options::default() }
}

fn start() -> Broker {
    let broker = Broker::start(Target::chosen(), &options(2));
    wire::create_topic(broker.kafka(), TOPIC, PARTITIONS, &[]);
    broker
}

pub fn produce(broker: &Broker, values: std::ops::Range<u32>) {
    let lines: String = values.map(|value| format!("{value}\n")).collect();
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.kafka().to_string(), "-P", "-t", TOPIC]);
    let finished = process::run_with_input("kcat", command, lines.as_bytes(), DEADLINE);
    assert!(finished.status.success(), "{finished}");
}

fn member(broker: &Broker, group: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.kafka().to_string(), "-G", group, "-X", "auto.offset.reset=earliest"]);
    command.args(["-X", "session.timeout.ms=6000"]).args(arguments).arg(TOPIC);
    command
}

/// What a member reads until it has come to the end of all partitions; it commits when it leaves.
fn read_to_the_end(broker: &Broker, group: &str) -> BTreeSet<u32> {
    let finished = process::run_with_input("kcat -G", member(broker, group, &["-e"]), b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
    let values: Vec<u32> =
        finished.stdout.iter().map(|line| line.parse().expect("a value that was written")).collect();
    let distinct: BTreeSet<u32> = values.iter().copied().collect();
    assert_eq!(distinct.len(), values.len(), "no record comes twice");
    distinct
}

#[test]
fn a_group_goes_on_where_it_was_after_kill_9_on_another_number_of_shards() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let broker = start();
    produce(&broker, 0..1_000);
    assert_eq!(read_to_the_end(&broker, "one"), (0..1_000).collect());
    assert_eq!(read_to_the_end(&broker, "one"), BTreeSet::new());
    let broker = Broker::start_on(broker.kill(), Target::Iolite, &options(1));
    produce(&broker, 1_000..1_100);
    assert_eq!(read_to_the_end(&broker, "one"), (1_000..1_100).collect());
    assert_eq!(read_to_the_end(&broker, "two"), (0..1_100).collect());
}

/// The partitions that a line of a member's output says it was given.
pub fn assigned(line: &str) -> Option<BTreeSet<i32>> {
    let (_, list) = line.split_once("assigned: ")?;
    let number = |part: &str| part.split_once(']')?.0.parse().ok();
    Some(list.split('[').skip(1).filter_map(number).collect())
}

/// Waits until the members have all partitions between them, each an equal share.
fn wait_until_shared(members: &[&Process]) {
    let share = usize::try_from(PARTITIONS).expect("a count") / members.len();
    let mut all = BTreeSet::new();
    for member in members {
        all.extend(member.wait_for_line(DEADLINE, "an assignment", |line| {
            assigned(line).filter(|partitions| partitions.len() == share)
        }));
    }
    assert_eq!(all, (0..PARTITIONS).collect(), "together they have every partition, each once");
}

#[test]
fn members_share_the_partitions_and_take_over_from_one_that_dies() {
    let broker = start();
    let mut first = Process::start("first member", member(&broker, "shared", &["-u"]));
    wait_until_shared(&[&first]);
    let second = Process::start("second member", member(&broker, "shared", &["-u"]));
    wait_until_shared(&[&first, &second]);
    first.kill();
    wait_until_shared(&[&second]);
    second.signal(Signal::SIGTERM);
}

pub fn groups(broker: &Broker, arguments: &[&str]) -> Finished {
    const CLASS: &str = "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand";
    let mut command = java(CLASS);
    command.args(["--bootstrap-server", &broker.kafka().to_string()]).args(arguments);
    let finished = process::run_with_input(CLASS, command, b"", DEADLINE);
    assert!(finished.status.success(), "{arguments:?}: {finished}");
    finished
}

/// Committed offset and end of each partition that the tool shows.
pub fn described(broker: &Broker, group: &str) -> Vec<(i64, i64)> {
    let shown = groups(broker, &["--describe", "--group", group]);
    let number = |word: Option<&str>| word.and_then(|word| word.parse().ok());
    let line = |line: &String| {
        let mut words = line.split_whitespace().skip(3);
        Some((number(words.next())?, number(words.next())?))
    };
    let lines: Vec<_> = shown.stdout.iter().filter_map(line).collect();
    assert!(!lines.is_empty(), "{shown}");
    lines
}

#[test]
fn kafkas_tool_lists_describes_resets_and_deletes_groups() {
    let broker = start();
    produce(&broker, 0..100);
    assert_eq!(read_to_the_end(&broker, "tooled").len(), 100);
    assert_eq!(groups(&broker, &["--list"]).stdout, ["tooled"]);
    let all = described(&broker, "tooled");
    assert_eq!(all.iter().map(|(committed, _)| committed).sum::<i64>(), 100);
    assert!(all.iter().all(|(committed, end)| committed == end));
    let topic = ["--group", "tooled", "--topic", TOPIC];
    groups(&broker, &[&["--reset-offsets", "--to-earliest", "--execute"][..], &topic].concat());
    assert!(described(&broker, "tooled").iter().all(|(committed, _)| *committed == 0));
    assert_eq!(read_to_the_end(&broker, "tooled").len(), 100);
    groups(&broker, &[&["--delete-offsets"][..], &topic].concat());
    assert_eq!(read_to_the_end(&broker, "tooled").len(), 100);
    groups(&broker, &["--delete", "--group", "tooled"]);
    assert_eq!(groups(&broker, &["--list"]).stdout, Vec::<String>::new());
}

#[test]
fn javas_group_consumers_read_all_and_commit() {
    let broker = start();
    produce(&broker, 0..500);
    let bootstrap = broker.kafka().to_string();
    let mut performance = java("org.apache.kafka.tools.ConsumerPerformance");
    performance.args([
        "--bootstrap-server",
        &bootstrap,
        "--topic",
        TOPIC,
        "--messages",
        "500",
        "--group",
        "p",
    ]);
    let finished = process::run_with_input("ConsumerPerformance", performance, b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
    assert_eq!(described(&broker, "p").iter().map(|(committed, _)| committed).sum::<i64>(), 500);
    let mut verifiable = java("org.apache.kafka.tools.VerifiableConsumer");
    verifiable.args(["--bootstrap-server", &bootstrap, "--topic", TOPIC, "--group-id", "v"]);
    verifiable.args(["--max-messages", "500", "--reset-policy", "earliest"]);
    let finished = process::run_with_input("VerifiableConsumer", verifiable, b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
    assert_eq!(described(&broker, "v").iter().map(|(committed, _)| committed).sum::<i64>(), 500);
}
