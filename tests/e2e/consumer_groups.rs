//! Consumer groups of KIP-848: the broker assigns, to librdkafka and to Java, as members come, go and die.

use std::cell::Cell;
use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use e2e::broker::{Broker, Options, Target, free_port, java};
use e2e::driver::Client;
use e2e::process::{self, Process};
use e2e::{DEADLINE, cache, project, wire};
use nix::sys::signal::Signal;

use crate::groups::{PARTITIONS, TOPIC, described, groups, produce};

/// A topic and a partition of it, as members print them.
pub type Owned = BTreeSet<String>;

/// Sessions of KIP-848 that end soon.
const SHORT: [(&str, &str); 2] =
    [("group.consumer.min.session.timeout.ms", "6000"), ("group.consumer.session.timeout.ms", "6000")];

/// Members that are heard often, groups that wait for nobody to begin, and sessions as they are given.
fn options(sessions: [(&str, &str); 2]) -> Options {
    let quick = [
        ("group.consumer.min.heartbeat.interval.ms", "200"),
        ("group.consumer.heartbeat.interval.ms", "200"),
        ("group.initial.rebalance.delay.ms", "0"),
    ];
    let configs = sessions.iter().chain(&quick).map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    Options { configs: configs.collect(), ..Options::default() }
}

/// A broker with the topic of these tests, and sessions that end soon.
pub fn start() -> Broker {
    start_with(SHORT)
}

/// The same, with other sessions.
pub fn start_with(sessions: [(&str, &str); 2]) -> Broker {
    let broker = Broker::start(Target::chosen(), &options(sessions));
    wire::create_topic(broker.kafka(), TOPIC, PARTITIONS, &[]);
    broker
}

/// A member of the group `g`; `tests/clients/python/member.py` says what it prints.
pub struct Member(pub Process);

impl Member {
    fn start(broker: &Broker, name: &str, protocol: &str, topic: &str) -> Self {
        Self::configured(broker, name, &format!(r#""group.protocol": "{protocol}""#), topic)
    }

    /// A member of the classic protocol.
    fn classic(broker: &Broker, name: &str, strategy: &str) -> Self {
        let config = format!(
            r#""session.timeout.ms": 6000, "heartbeat.interval.ms": 200, "partition.assignment.strategy": "{strategy}""#
        );
        Self::configured(broker, name, &config, TOPIC)
    }

    pub fn configured(broker: &Broker, name: &str, config: &str, topic: &str) -> Self {
        assert!(!Client::Confluent.left_out(), "tests/clients/install left confluent-kafka out");
        let mut command = Command::new(cache().join("venv/bin/python"));
        command.arg(project().join("tests/clients/python/member.py")).arg(broker.kafka().to_string());
        command.arg(format!(r#"{{"group.id": "g", {config}}}"#)).arg(topic);
        Self(Process::start(name, command))
    }

    fn consumer(broker: &Broker, name: &str) -> Self {
        Self::start(broker, name, "consumer", TOPIC)
    }

    /// Each assignment that it had, oldest first.
    pub fn assignments(&self) -> Vec<Owned> {
        self.0.lines().iter().filter_map(|line| owned(line)).collect()
    }

    /// Waits until it owns so many partitions.
    pub fn wait_for_share(&self, share: usize) -> Owned {
        loop {
            let assignments = self.assignments();
            match assignments.last() {
                Some(last) if last.len() == share => return last.clone(),
                _ => self.wait_for_change(assignments.len()),
            }
        }
    }

    fn wait_for_change(&self, assignment_count: usize) {
        let seen = Cell::new(0);
        self.0.wait_for_line(DEADLINE, "another assignment", |line| {
            owned(line)?;
            seen.set(seen.get() + 1);
            (seen.get() > assignment_count).then_some(())
        });
    }

    pub fn wait_for_value(&self, value: &str) {
        self.0.wait_for_line(DEADLINE, value, |line| (line == value).then_some(()));
    }
}

fn owned(line: &str) -> Option<Owned> {
    // Lines come without the blank at the end of one that lists nothing.
    let list = line.strip_prefix("assigned:")?.trim_start();
    Some(list.split(", ").filter(|one| !one.is_empty()).map(str::to_owned).collect())
}

pub fn partitions_of(topic: &str, count: i32) -> Owned {
    (0..count).map(|partition| format!("{topic} [{partition}]")).collect()
}

/// Waits until members have all partitions between them, each an equal share and none twice. Returns what each has.
pub fn wait_until_shared(members: &[&Member], all: &Owned) -> Vec<Owned> {
    let shares: Vec<Owned> =
        members.iter().map(|member| member.wait_for_share(all.len() / members.len())).collect();
    let together: Owned = shares.iter().flatten().cloned().collect();
    assert_eq!(&together, all, "together they have every partition, each once");
    shares
}

pub fn produce_to_each_partition(broker: &Broker, note: &str) {
    for partition in 0..PARTITIONS {
        let mut command = Command::new("kcat");
        command.args(["-b", &broker.kafka().to_string(), "-P", "-t", TOPIC, "-p", &partition.to_string()]);
        let finished =
            process::run_with_input("kcat", command, format!("{note}{partition}\n").as_bytes(), DEADLINE);
        assert!(finished.status.success(), "{finished}");
    }
}

/// Waits until each member has read the note from every partition that it owns.
pub fn wait_until_read(members: &[&Member], shares: &[Owned], note: &str) {
    for (member, share) in members.iter().zip(shares) {
        for partition in share {
            let (_, number) = partition.split_once('[').expect("a partition");
            member.wait_for_value(&format!("{note}{}", number.trim_end_matches(']')));
        }
    }
}

fn grow(broker: &Broker, partitions: i32) {
    let mut command = java("org.apache.kafka.tools.TopicCommand");
    command.args(["--bootstrap-server", &broker.kafka().to_string(), "--alter", "--topic", TOPIC]);
    command.args(["--partitions", &partitions.to_string()]);
    let finished = process::run_with_input("TopicCommand", command, b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
}

#[test]
fn members_are_assigned_all_as_they_come_leave_and_die_and_as_the_topic_grows() {
    let broker = start();
    let all = partitions_of(TOPIC, PARTITIONS);
    let mut first = Member::consumer(&broker, "first member");
    wait_until_shared(&[&first], &all);
    let second = Member::consumer(&broker, "second member");
    wait_until_shared(&[&first, &second], &all);
    first.0.kill();
    wait_until_shared(&[&second], &all);
    let third = Member::consumer(&broker, "third member");
    let shares = wait_until_shared(&[&second, &third], &all);
    produce_to_each_partition(&broker, "shared ");
    wait_until_read(&[&second, &third], &shares, "shared ");
    second.0.signal(Signal::SIGTERM);
    wait_until_shared(&[&third], &all);
    grow(&broker, PARTITIONS + 2);
    wait_until_shared(&[&third], &partitions_of(TOPIC, PARTITIONS + 2));
}

#[test]
fn a_pattern_takes_in_topics_that_come_later() {
    let broker = start();
    let member = Member::start(&broker, "member", "consumer", "^many-.*");
    wire::create_topic(broker.kafka(), "many-a", 2, &[]);
    member.wait_for_share(2);
    wire::create_topic(broker.kafka(), "many-b", 3, &[]);
    let both = &partitions_of("many-a", 2) | &partitions_of("many-b", 3);
    assert_eq!(member.wait_for_share(5), both);
}

#[test]
fn members_keep_what_they_own_through_kill_9_of_the_broker() {
    if Target::chosen() == Target::Kafka {
        return;
    }
    let options = Options { port: free_port(), ..options(SHORT) };
    let broker = Broker::start(Target::Iolite, &options);
    wire::create_topic(broker.kafka(), TOPIC, PARTITIONS, &[]);
    let all = partitions_of(TOPIC, PARTITIONS);
    let (first, second) =
        (Member::consumer(&broker, "first member"), Member::consumer(&broker, "second member"));
    let members = [&first, &second];
    let shares = wait_until_shared(&members, &all);
    let assignment_counts = members.map(|member| member.assignments().len());
    produce_to_each_partition(&broker, "before ");
    wait_until_read(&members, &shares, "before ");
    let broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    produce_to_each_partition(&broker, "after ");
    wait_until_read(&members, &shares, "after ");
    assert_eq!(
        members.map(|member| member.assignments().len()),
        assignment_counts,
        "nobody was assigned anew"
    );
    members.iter().for_each(|member| member.0.signal(Signal::SIGTERM));
}

/// The type of the group, as Kafka's tool lists it.
fn kind_of_group(broker: &Broker) -> String {
    let listed = groups(broker, &["--list", "--type"]);
    let line = listed.stdout.iter().find(|line| line.starts_with("g ")).expect("the group");
    line.split_whitespace().last().expect("a type").to_owned()
}

fn migrate_and_back(strategy: &str) {
    let options = Options { port: free_port(), ..options(SHORT) };
    let mut broker = Broker::start(Target::chosen(), &options);
    wire::create_topic(broker.kafka(), TOPIC, PARTITIONS, &[]);
    let all = partitions_of(TOPIC, PARTITIONS);
    let old = Member::classic(&broker, "classic member", strategy);
    wait_until_shared(&[&old], &all);
    assert_eq!(kind_of_group(&broker), "Classic");
    let new = Member::consumer(&broker, "new member");
    let shares = wait_until_shared(&[&old, &new], &all);
    assert_eq!(kind_of_group(&broker), "Consumer");
    produce_to_each_partition(&broker, "together ");
    wait_until_read(&[&old, &new], &shares, "together ");
    if broker.target() == Target::Iolite {
        broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
        produce_to_each_partition(&broker, "restarted ");
        wait_until_read(&[&old, &new], &shares, "restarted ");
    }
    new.0.signal(Signal::SIGTERM);
    let shares = wait_until_shared(&[&old], &all);
    assert_eq!(kind_of_group(&broker), "Classic");
    produce_to_each_partition(&broker, "alone ");
    wait_until_read(&[&old], &shares, "alone ");
    old.0.signal(Signal::SIGTERM);
}

#[test]
fn a_group_changes_its_protocol_member_by_member_and_back_through_kill_9() {
    migrate_and_back("range");
}

#[test]
fn a_group_changes_its_protocol_while_its_classic_members_read_on() {
    migrate_and_back("cooperative-sticky");
}

#[test]
fn kafkas_tools_read_with_the_consumer_protocol_and_show_its_groups() {
    let broker = start();
    produce(&broker, 0..500);
    let bootstrap = broker.kafka().to_string();
    let read = |class: &str, arguments: &[&str]| {
        let mut command = java(class);
        command.args(["--bootstrap-server", &bootstrap]).args(arguments);
        let finished = process::run_with_input(class, command, b"", DEADLINE);
        assert!(finished.status.success(), "{finished}");
        finished.stdout
    };
    let protocol = ["--consumer-property", "group.protocol=consumer"];
    let console = ["--topic", TOPIC, "--group", "console", "--from-beginning", "--max-messages", "500"];
    let values = read("org.apache.kafka.tools.consumer.ConsoleConsumer", &[&console[..], &protocol].concat());
    assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), 500);
    assert_eq!(described(&broker, "console").iter().map(|(committed, _)| committed).sum::<i64>(), 500);
    let directory = tempfile::tempdir().expect("a directory");
    let properties = directory.path().join("consumer.properties");
    fs::write(&properties, "group.protocol=consumer\n").expect("it is writable");
    let properties = properties.to_str().expect("it has a plain name");
    let performance =
        ["--topic", TOPIC, "--group", "fast", "--messages", "500", "--consumer.config", properties];
    read("org.apache.kafka.tools.ConsumerPerformance", &performance);
    assert_eq!(described(&broker, "fast").iter().map(|(committed, _)| committed).sum::<i64>(), 500);
    let reset = ["--reset-offsets", "--group", "console", "--topic", TOPIC, "--to-earliest", "--execute"];
    groups(&broker, &reset);
    assert!(described(&broker, "console").iter().all(|(committed, _)| *committed == 0));
    let values = read("org.apache.kafka.tools.consumer.ConsoleConsumer", &[&console[..], &protocol].concat());
    assert_eq!(values.iter().collect::<BTreeSet<_>>().len(), 500, "it reads all of them again");
    let member = Member::consumer(&broker, "member");
    member.wait_for_share(4);
    let listed = groups(&broker, &["--list", "--type", "consumer"]);
    let listed: BTreeSet<&str> =
        listed.stdout.iter().filter_map(|line| line.strip_suffix("Consumer").map(str::trim)).collect();
    assert_eq!(listed, ["console", "fast", "g"].into());
    let refused = groups(&broker, &["--delete", "--group", "g"]);
    assert!(refused.stdout.iter().any(|line| line.contains("GroupNotEmptyException")), "{refused}");
    groups(&broker, &["--delete", "--group", "console"]);
    let left: BTreeSet<String> = groups(&broker, &["--list"]).stdout.into_iter().collect();
    assert_eq!(left, ["fast", "g"].map(str::to_owned).into());
    let members = groups(&broker, &["--describe", "--group", "g", "--members", "--verbose"]);
    let shown = members.stdout.iter().find(|line| line.starts_with("g ")).expect("a member");
    assert!(shown.contains(&format!("{TOPIC}:0,1,2,3")), "{members}");
    member.0.signal(Signal::SIGTERM);
}
