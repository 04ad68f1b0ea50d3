//! Members join, leave and die at random while records flow, and the broker is killed too if wanted: no record is lost, none is
//! processed twice in transactions, no partition ever has two owners, and each has one whenever the group has settled.
//!
//! `tests/soak MINUTES [--kill-broker]` runs it for long. By itself it runs for twenty seconds. `IOLITE_SOAK_SECONDS` sets how
//! long, `IOLITE_SOAK_KILL=1` has the broker killed, `IOLITE_SOAK_SEED` repeats the choices of a run, though not its moments.

mod departures;
mod group;
mod judge;

use std::collections::BTreeMap;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use e2e::broker::{Broker, Options, Target, free_port};
use e2e::process::{self, Process};
use e2e::segments::bases;
use e2e::{DEADLINE, cache, project, wire};
use nix::sys::signal::Signal;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use crate::group_records::decoded;
use departures::SESSION_MS;
use group::{Group, Sharing, Work, now_ns};

pub const INPUT: &str = "flow";
pub const PARTITIONS: i32 = 6;
const RECORDS_PER_SECOND: u32 = 250;
/// Between two looks at all that was copied.
const COUNT_PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at members that say nothing when they have settled.
const LOOK_PAUSE: Duration = Duration::from_millis(50);

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

fn options() -> Options {
    let configs = [
        ("offsets.topic.num.partitions", 1),
        // Nothing of the groups' history is compacted away.
        ("offsets.topic.segment.bytes", 1 << 30),
        ("group.initial.rebalance.delay.ms", 100),
        ("group.consumer.min.session.timeout.ms", SESSION_MS),
        ("group.consumer.session.timeout.ms", SESSION_MS),
        ("group.consumer.min.heartbeat.interval.ms", 500),
        ("group.consumer.heartbeat.interval.ms", 500),
    ];
    let configs = configs.map(|(key, value)| (key.to_owned(), value.to_string())).to_vec();
    Options { port: free_port(), configs, ..Options::default() }
}

struct Soak {
    options: Options,
    broker: Option<Broker>,
    groups: Vec<Group>,
    random: SmallRng,
    kills_broker: bool,
    /// When each broker was started.
    started_ns: Vec<u64>,
    settled: usize,
}

impl Soak {
    fn broker(&self) -> &Broker {
        self.broker.as_ref().expect("it is put back")
    }

    /// Some members come and go, in some of all groups.
    fn churn(&mut self) {
        for _ in 0..self.random.random_range(3..10) {
            let which = self.random.random_range(0..self.groups.len());
            self.groups[which].change(&mut self.random);
            if self.kills_broker && self.random.random_ratio(1, 8) {
                let directory = self.broker.take().expect("it is put back").kill();
                self.started_ns.push(now_ns());
                self.broker = Some(Broker::start_on(directory, Target::Iolite, &self.options));
            }
            let pause = Duration::from_millis(self.random.random_range(20..1_200));
            let died = self.broker().process().ends_within(pause);
            assert!(!died, "the broker ended by itself\n{}", self.broker().process().last_lines());
        }
    }

    /// Waits until each group has given every partition to one member.
    fn settle(&mut self) {
        for group in &mut self.groups {
            let end = Instant::now() + DEADLINE;
            while group.settled().is_none() {
                assert!(Instant::now() < end, "{} does not settle\n{}", group.name, group.last_lines());
                thread::park_timeout(LOOK_PAUSE);
            }
            self.settled += 1;
        }
    }

    /// Waits until each group is through with so many records, as long as it gets on, and checks what it did with them.
    fn finish(&mut self, produced: u64) {
        for which in 0..self.groups.len() {
            let is_copying = self.groups[which].work == Work::Copy;
            let (mut before, mut end) = (0, Instant::now() + DEADLINE);
            loop {
                let values = if is_copying {
                    copied(self.broker(), &self.groups[which].output())
                } else {
                    self.groups[which].values()
                };
                let group = &mut self.groups[which];
                let unknown = values.keys().find(|value| **value >= produced);
                assert_eq!(unknown, None, "{}: a value that nobody produced", group.name);
                let twice = values.iter().find(|(_, count)| **count > 1);
                assert!(!is_copying || twice.is_none(), "{}: processed twice: {twice:?}", group.name);
                let count = u64::try_from(values.len()).expect("few");
                if count == produced {
                    let more: usize = values.values().map(|count| count - 1).sum();
                    println!("{:>20}: {count} records, {more} of them again; {:?}", group.name, group.counts);
                    break;
                }
                if count > before {
                    (before, end) = (count, Instant::now() + DEADLINE);
                }
                assert!(
                    Instant::now() < end,
                    "{}: {count} of {produced}\n{}",
                    group.name,
                    group.last_lines()
                );
                group.staff();
                thread::park_timeout(COUNT_PAUSE);
            }
        }
    }

    /// Stops the broker, and checks by what groups kept of themselves that no partition ever had two owners.
    fn check_owners(&mut self) {
        let broker = self.broker.take().expect("it is put back");
        let topics = broker.topics_directory();
        let (status, _directory) = broker.stop();
        assert!(status.success() || Target::chosen() == Target::Kafka, "{status}");
        let directory = topics.join("__consumer_offsets-0");
        let segment = |base| directory.join(format!("{base:020}.log"));
        let records = decoded(&bases(&directory).into_iter().map(segment).collect::<Vec<_>>());
        self.groups.iter_mut().for_each(|group| group.check_owners(&records, &self.started_ns));
    }
}

/// How often each value is in a topic, as a consumer of committed records sees it.
fn copied(broker: &Broker, topic: &str) -> BTreeMap<u64, usize> {
    let mut command = Command::new("kcat");
    command.args(["-b", &broker.kafka().to_string(), "-C", "-e", "-q", "-t", topic, "-o", "beginning"]);
    command.args(["-X", "isolation.level=read_committed"]);
    let finished = process::run_with_input("kcat", command, b"", DEADLINE);
    assert!(finished.status.success(), "{finished}");
    let mut values = BTreeMap::new();
    for line in finished.stdout {
        *values.entry(line.parse().expect("a number")).or_default() += 1;
    }
    values
}

#[test]
fn members_come_and_go_and_every_record_is_processed() {
    let seconds = setting("IOLITE_SOAK_SECONDS", 20);
    let kills_broker = setting("IOLITE_SOAK_KILL", 0) > 0 && Target::chosen() == Target::Iolite;
    let seed = setting("IOLITE_SOAK_SEED", rand::random());
    println!("IOLITE_SOAK_SEED={seed} IOLITE_SOAK_SECONDS={seconds} broker is killed: {kills_broker}");
    let options = options();
    let started_ns = vec![now_ns()];
    let broker = Broker::start(Target::chosen(), &options);
    let directory = tempfile::tempdir().expect("a directory");
    let kinds = [
        ("eager", Sharing::Eager, Work::Read),
        ("cooperative", Sharing::Cooperative, Work::Read),
        ("served", Sharing::Served, Work::Read),
        ("copying", Sharing::Cooperative, Work::Copy),
        ("copying-served", Sharing::Served, Work::Copy),
    ];
    let group = |(name, sharing, work)| Group::new(name, sharing, work, broker.kafka(), directory.path());
    let groups: Vec<Group> = kinds.into_iter().map(group).collect();
    wire::create_topic(broker.kafka(), INPUT, PARTITIONS, &[]);
    for group in groups.iter().filter(|group| group.work == Work::Copy) {
        wire::create_topic(broker.kafka(), &group.output(), 2, &[]);
    }
    let mut producer = Command::new(cache().join("venv/bin/python"));
    producer.arg(project().join("tests/clients/python/soak_producer.py"));
    producer.args([&broker.kafka().to_string(), INPUT, &RECORDS_PER_SECOND.to_string()]);
    let mut producer = Process::start("producer", producer);

    let random = SmallRng::seed_from_u64(seed);
    let mut soak =
        Soak { options, broker: Some(broker), groups, random, kills_broker, started_ns, settled: 0 };
    let end = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < end {
        soak.churn();
        soak.settle();
    }
    producer.signal(Signal::SIGTERM);
    let status = producer.wait(DEADLINE);
    assert!(status.success(), "{}", producer.last_lines());
    let count = |line: &str| line.strip_prefix("produced ")?.parse().ok();
    let produced: u64 = producer.lines().iter().find_map(|line| count(line)).expect("it says how many");
    soak.finish(produced);
    soak.groups.iter_mut().for_each(Group::end);
    soak.check_owners();
    println!(
        "{produced} records, none lost, none copied twice; {} times settled, the broker killed {} times",
        soak.settled,
        soak.started_ns.len() - 1
    );
}
