//! What is measured: each scenario runs its cases in turn, round after round, so that they meet the same machine.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::bare::BareServer;
use super::broker::{Broker, BrokerOptions, LOAD_CORE, Target, pin, rest};
use super::fetch::{self, Reading};
use super::figures::Table;
use super::floor;
use super::produce::{self, Ledger, Load, Pace, Round, Timing};
use super::topic;
use super::wire::batch;

/// How a scenario is run.
pub struct Plan {
    pub rounds: usize,
    pub measured: Duration,
    pub journal_bytes: u64,
    pub record_bytes: usize,
    /// How many groups there are, and members in one.
    pub groups: usize,
    pub members: usize,
    /// The brokers that are compared, with what they are called.
    pub contenders: Vec<(String, BrokerOptions)>,
}

/// Journal volumes that go through a broker before it is measured.
const JOURNAL_VOLUMES: u64 = 10;
/// Loaded before each round, unmeasured.
pub const WARM_UP: Duration = Duration::from_millis(300);
/// What other processes may take of a core, in user mode, for a round to count.
const OTHERS_MAX: f64 = 0.05;
/// How often a round is tried at most.
const TRIES_MAX: usize = 3;
/// A batch of the large kind: 100 KB.
const LARGE_RECORDS: u32 = 96;
/// What a topic keeps, so that a run does not fill the disk.
const RETAINED_BYTES: u64 = 256 << 20;

/// A case of producing: what is sent, into which topic.
struct Case {
    name: String,
    load: Load,
    synced: bool,
    ledger: Ledger,
}

impl Plan {
    fn timing(&self) -> Timing {
        Timing { warm_up: WARM_UP, measured: self.measured }
    }

    fn case(&self, name: &str, connections: usize, pace: Pace, partitions: i32, synced: bool) -> Case {
        let load = Load {
            topic: format!("t{}p{partitions}", if synced { "s" } else { "r" }),
            partitions,
            connections,
            pace,
            records_per_batch: 1,
            record_bytes: self.record_bytes,
        };
        Case { name: name.to_owned(), ledger: Ledger::new(&load), load, synced }
    }

    /// Starts the contenders and lets ten journal volumes through each.
    pub fn start(&self) -> Vec<(String, Broker)> {
        let start = |(name, options): &(String, BrokerOptions)| {
            let broker = Broker::start(options);
            let volumes = self.pass_journal_volumes(&broker);
            println!(
                "{name}: {volumes:.1} journal volumes of {} MiB have gone through",
                self.journal_bytes >> 20
            );
            (name.clone(), broker)
        };
        self.contenders.iter().map(start).collect()
    }

    fn pass_journal_volumes(&self, broker: &Broker) -> f64 {
        let mut load = large_load("warm", 4, 4);
        load.partitions = 4;
        make_topic(broker, &load, true, Some(RETAINED_BYTES));
        let timing = Timing { warm_up: Duration::ZERO, measured: Duration::from_millis(500) };
        let mut ledger = Ledger::new(&load);
        let mut bytes = 0;
        while bytes < JOURNAL_VOLUMES * self.journal_bytes {
            bytes += produce::run(broker, &load, timing, &mut ledger).bytes;
        }
        bytes as f64 / self.journal_bytes as f64
    }

    /// Runs all cases on all brokers, round after round.
    fn run_cases(&self, make_cases: impl Fn() -> Vec<Case>, mut between: impl FnMut(&mut Table)) -> Table {
        let mut table = Table::default();
        let mut brokers: Vec<(String, Broker, Vec<Case>)> =
            self.start().into_iter().map(|(name, broker)| (name, broker, make_cases())).collect();
        for (_, broker, cases) in &brokers {
            let mut made: Vec<&str> = Vec::new();
            for case in cases {
                if !made.contains(&&*case.load.topic) {
                    make_topic(broker, &case.load, case.synced, Some(RETAINED_BYTES));
                    made.push(&case.load.topic);
                }
            }
        }
        for _ in 0..self.rounds {
            between(&mut table);
            for (name, broker, cases) in &mut brokers {
                for case in cases {
                    let round = self.quiet_round(broker, case);
                    table.note_round(&self.label(&case.name, name), &round);
                }
            }
        }
        table
    }

    /// A round in which other processes kept still; after some tries whatever there is (the table tells).
    fn quiet_round(&self, target: &impl Target, case: &mut Case) -> Round {
        let mut tries = 1;
        loop {
            let round = produce::run(target, &case.load, self.timing(), &mut case.ledger);
            let others = round.used.others.as_secs_f64() / round.seconds;
            if others < OTHERS_MAX || tries == TRIES_MAX {
                return round;
            }
            tries += 1;
        }
    }

    pub fn label(&self, case: &str, contender: &str) -> String {
        if self.contenders.len() == 1 { case.to_owned() } else { format!("{case} [{contender}]") }
    }
}

fn large_load(topic: &str, connections: usize, in_flight: usize) -> Load {
    Load {
        topic: topic.to_owned(),
        partitions: 4,
        connections,
        pace: Pace::InFlight(in_flight),
        records_per_batch: LARGE_RECORDS,
        record_bytes: 1024,
    }
}

/// Makes a load's topic; an unsynced one leaves syncing to the broker's background.
fn make_topic(broker: &Broker, load: &Load, synced: bool, retained_bytes: Option<u64>) {
    // The prepared batches have an old time: retention by time would delete them under the readers.
    let mut configs = vec![("retention.ms", "-1".to_owned())];
    if let Some(all) = retained_bytes {
        let each = (all / u64::try_from(load.partitions).expect("a count")).max(16 << 20);
        configs.push(("retention.bytes", each.to_string()));
        configs.push(("segment.bytes", (each / 4).to_string()));
    }
    if !synced {
        configs.push(("flush.messages", i64::MAX.to_string()));
    }
    topic::create(broker.address, &load.topic, load.partitions, &configs);
}

/// One 1 KiB record in flight, synced and from memory, beside the floor.
pub fn ack(plan: &Plan) -> Table {
    let cases = || {
        vec![
            plan.case("one in flight, synced", 1, Pace::InFlight(1), 1, true),
            plan.case("one in flight, from memory", 1, Pace::InFlight(1), 1, false),
        ]
    };
    let share = plan.measured / 4;
    plan.run_cases(cases, |table| {
        let floor = floor::measure(share);
        table.note_latency("floor: synced write of 4 KiB", &floor.write);
        table.note_latency("floor: round trip 1,100 B / 60 B", &floor.round_trip);
        table.note_latency("floor: both in one", &floor.both);
    })
}

/// Small records at saturation, on few and on many partitions.
pub fn small(plan: &Plan) -> Table {
    let cases = || {
        let mut cases = Vec::new();
        for (connections, in_flight) in [(16, 8), (64, 16)] {
            for partitions in [1, 288, 1000] {
                let name = format!("{connections} x {in_flight}, {partitions} partitions, synced");
                cases.push(shared(plan.case(
                    &name,
                    connections,
                    Pace::InFlight(in_flight),
                    partitions,
                    true,
                )));
            }
        }
        cases
    };
    plan.run_cases(cases, |_| {})
}

/// The cases of one scenario each have a topic of their own, so that offsets can be counted for each.
fn shared(mut case: Case) -> Case {
    case.load.topic = format!("{}c{}", case.load.topic, case.load.connections);
    case
}

/// Small records at saturation on one partition: synced and from memory, beside a server that only answers.
pub fn one_partition(plan: &Plan) -> Table {
    let cases = || {
        let mut cases = Vec::new();
        for (connections, in_flight) in [(16, 8), (64, 16)] {
            for synced in [true, false] {
                let kind = if synced { "synced" } else { "from memory" };
                let name = format!("{connections} x {in_flight}, 1 partition, {kind}");
                cases.push(shared(plan.case(&name, connections, Pace::InFlight(in_flight), 1, synced)));
            }
        }
        cases
    };
    let bare = |table: &mut Table| {
        for (connections, in_flight) in [(16, 8), (64, 16)] {
            let name = format!("{connections} x {in_flight}, bare server");
            let mut case = plan.case(&name, connections, Pace::InFlight(in_flight), 1, false);
            let server = BareServer::start(&case.load.topic, case.load.records_per_batch);
            let round = plan.quiet_round(&server, &mut case);
            table.note_round(&name, &round);
        }
    };
    plan.run_cases(cases, bare)
}

/// Batches of 100 KB, 4 connections with 4 in flight each.
pub fn large(plan: &Plan) -> Table {
    let cases = || {
        let load = large_load("large", 4, 4);
        vec![Case {
            name: "100 KB batches, 4 x 4, synced".to_owned(),
            ledger: Ledger::new(&load),
            load,
            synced: true,
        }]
    };
    plan.run_cases(cases, |_| {})
}

/// Small records at a given rate, whatever comes back.
pub fn open_loop(plan: &Plan) -> Table {
    let cases = || {
        let case = |rate: u32| {
            let mut case =
                plan.case(&format!("open loop, {rate}/s, synced"), 16, Pace::PerSecond(rate), 16, true);
            case.load.topic = format!("open{rate}");
            case
        };
        vec![case(15_000), case(50_000)]
    };
    plan.run_cases(cases, |_| {})
}

/// A topic full of large batches: how many bytes of them a partition has, and how to read them.
fn fill(broker: &Broker, topic: &str, bytes_each: u64, bytes_max: i32) -> Reading {
    let load = large_load(topic, 4, 4);
    make_topic(broker, &load, true, None);
    let batch_bytes = batch(load.records_per_batch, load.record_bytes).len();
    let timing = Timing { warm_up: Duration::ZERO, measured: Duration::from_millis(200) };
    let mut ledger = Ledger::new(&load);
    while ledger.fewest_acknowledged() * batch_bytes as u64 <= bytes_each {
        produce::run(broker, &load, timing, &mut ledger);
    }
    let batches = i64::try_from(ledger.fewest_acknowledged()).expect("a count");
    let records_per_batch = i64::from(load.records_per_batch);
    Reading {
        topic: load.topic,
        partitions: load.partitions,
        offsets: 0..batches * records_per_batch,
        bytes_max,
        batch_bytes,
        records_per_batch,
    }
}

/// Offsets of the last `bytes` of a partition.
fn tail_of(reading: &Reading, bytes: u64) -> Reading {
    let batches = i64::try_from(bytes / reading.batch_bytes as u64).expect("a count");
    let start = (reading.offsets.end - batches * reading.records_per_batch).max(0);
    Reading { offsets: start..reading.offsets.end, ..reading.clone() }
}

/// Reading the tail from memory and a backlog from the disk, beside what a bare socket sends.
pub fn fetch(plan: &Plan) -> Table {
    const ANSWER_BYTES: i32 = 1 << 20;
    let mut table = Table::default();
    for (name, broker) in plan.start() {
        // Read before it is pushed out of memory: what is written last is read first.
        let backlog = fill(&broker, "backlog", 512 << 20, ANSWER_BYTES);
        let tail = tail_of(&fill(&broker, "tail", 24 << 20, ANSWER_BYTES), 16 << 20);
        for _ in 0..plan.rounds {
            let bare = fetch::bare_socket(4, 1 << 20, plan.measured / 2);
            table.note("bare socket, 1 MiB answers", "MB/s", bare / 1e6);
            for (case, reading) in [("tail fetch", &tail), ("backlog fetch", &backlog)] {
                let read = fetch::run(&broker, reading, plan.measured, false, None);
                let case = plan.label(case, &name);
                table.note(&case, "MB/s", read.bytes as f64 / 1e6 / read.seconds);
                table.note(&case, "CPU s/GB", read.broker_cpu.as_secs_f64() / (read.bytes as f64 / 1e9));
                table.note(&case, "KiB/answer", read.bytes as f64 / 1024.0 / read.answers.max(1) as f64);
            }
        }
    }
    table
}

/// Four readers drain a backlog while producers go on at 15,000 records a second.
pub fn drain(plan: &Plan) -> Table {
    let mut table = Table::default();
    for (name, broker) in plan.start() {
        let backlog = fill(&broker, "backlog", 512 << 20, 1 << 20);
        let mut alone = plan.case("15,000/s alone", 16, Pace::PerSecond(15_000), 16, true);
        make_topic(&broker, &alone.load, true, Some(RETAINED_BYTES));
        for _ in 0..plan.rounds {
            let round = produce::run(&broker, &alone.load, plan.timing(), &mut alone.ledger);
            table.note_round(&plan.label(&alone.name, &name), &round);
            let stop = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let reader = scope.spawn(|| {
                    pin(LOAD_CORE);
                    yield_to_others();
                    fetch::run(&broker, &backlog, Duration::from_secs(60), false, Some(&stop))
                });
                let round = produce::run(&broker, &alone.load, plan.timing(), &mut alone.ledger);
                stop.store(true, Ordering::Relaxed);
                let read = reader.join().expect("the reader ends when it is told");
                let case = plan.label("15,000/s while a backlog is drained", &name);
                table.note_round(&case, &round);
                table.note(&case, "drained MB/s", read.bytes as f64 / 1e6 / read.seconds);
            });
        }
    }
    table
}

/// The thread runs only when no other wants its core: the producer's latencies are what is measured.
fn yield_to_others() {
    // SAFETY: takes no pointers that outlive the call.
    let outcome =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_BATCH, &libc::sched_param { sched_priority: 0 }) };
    assert_eq!(outcome, 0, "any thread may give way");
    // SAFETY: takes no pointers.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, 19) };
}

/// From the start of the process to the first acknowledgement: on an empty directory, and after a kill under load.
pub fn start(plan: &Plan) -> Table {
    let mut table = Table::default();
    for (name, options) in &plan.contenders {
        for _ in 0..plan.rounds {
            let begin = Instant::now();
            let broker = Broker::start(options);
            let ready = begin.elapsed();
            let mut case = plan.case("start", 1, Pace::InFlight(1), 1, true);
            make_topic(&broker, &case.load, true, None);
            first_ack(&broker, &mut case);
            let empty = plan.label("start on an empty directory", name);
            table.note(&empty, "ready ms", ready.as_secs_f64() * 1e3);
            table.note(&empty, "first ack ms", begin.elapsed().as_secs_f64() * 1e3);
            let load = large_load("filler", 4, 4);
            make_topic(&broker, &load, true, None);
            let bytes = fill_journal(&broker, &load, plan.journal_bytes);
            let directory = broker.kill();
            let begin = Instant::now();
            let broker = Broker::start_on(options, directory);
            let ready = begin.elapsed();
            first_ack(&broker, &mut case);
            let full = plan.label("start after kill -9 under load", name);
            table.note(&full, "ready ms", ready.as_secs_f64() * 1e3);
            table.note(&full, "first ack ms", begin.elapsed().as_secs_f64() * 1e3);
            table.note(&full, "written MB", bytes as f64 / 1e6);
        }
    }
    table
}

fn first_ack(broker: &Broker, case: &mut Case) {
    let timing = Timing { warm_up: Duration::ZERO, measured: Duration::from_micros(1) };
    while produce::run(broker, &case.load, timing, &mut case.ledger).requests == 0 {}
}

/// Produces twice what the journal holds, as fast as it goes: it is as full as it gets then.
fn fill_journal(broker: &Broker, load: &Load, journal_bytes: u64) -> u64 {
    let mut ledger = Ledger::new(load);
    let timing = Timing { warm_up: Duration::ZERO, measured: Duration::from_millis(100) };
    let mut bytes = 0;
    while bytes < 2 * journal_bytes {
        bytes += produce::run(broker, load, timing, &mut ledger).bytes;
    }
    bytes
}

/// Nothing to do.
pub fn idle(plan: &Plan) -> Table {
    let mut table = Table::default();
    for (name, options) in &plan.contenders {
        let broker = Broker::start(options);
        let case = plan.label("idle, just started", name);
        note_idle(plan, &broker, &case, &mut table);
        plan.pass_journal_volumes(&broker);
        rest(Duration::from_secs(3));
        let case = plan.label("idle after ten journal volumes", name);
        note_idle(plan, &broker, &case, &mut table);
    }
    table
}

fn note_idle(plan: &Plan, broker: &Broker, case: &str, table: &mut Table) {
    rest(Duration::from_millis(500));
    for _ in 0..plan.rounds {
        let (before, begin) = (broker.usage(), Instant::now());
        rest(plan.measured);
        let after = broker.usage();
        let share = (after.cpu - before.cpu).as_secs_f64() / begin.elapsed().as_secs_f64();
        table.note(case, "% of a core", share * 100.0);
        table.note(case, "RSS MiB", after.resident_bytes as f64 / f64::from(1 << 20));
    }
}
