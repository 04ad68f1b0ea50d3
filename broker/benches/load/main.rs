//! A raw load for the broker: prepared requests over plain sockets, no client library in between.
//!
//! `cargo bench -p iolite-broker --bench load -- SCENARIO` starts the broker that was built with it on core 0 with one
//! shard, loads it from core 1, lets ten journal volumes go through, and then measures rounds. Every answer is checked:
//! no errors, answers in order, offsets dense and given once. Each figure is the median of the rounds and, in brackets,
//! between what they lay. A round in which other processes use the machine is done again, twice at most ("others" in the
//! table says what is left of that). Compare figures of one run only.
//!
//! `groups`, `members` and `transactions` are about coordinators. Their rounds are not done again, since what a round makes
//! stays: look at "others". `groups` has a broker of its own, on an empty directory, for each round.
//!
//! `--broker NAME=PATH` (several times) measures other binaries, in turn, round by round. `bench/peers/kafka-as-broker` is
//! Apache Kafka as such a binary; to it, "synced" topics are topics with its own defaults, which sync nothing.

mod bare;
mod broker;
mod calls;
mod classic;
mod consumer;
mod fetch;
mod figures;
mod floor;
mod groups;
mod members;
mod poller;
mod produce;
mod scenarios;
mod topic;
mod transactions;
mod wire;

use std::path::PathBuf;
use std::time::Duration;

use broker::{BrokerOptions, LOAD_CORE, pin};
use clap::{Parser, ValueEnum};
use figures::Table;
use scenarios::Plan;

/// Measures the broker under a raw load.
#[derive(Parser)]
struct Arguments {
    /// What is measured.
    scenario: Scenario,
    /// How often each case is measured.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// How long each time.
    #[arg(long, default_value_t = 1500)]
    round_ms: u64,
    /// The broker's journal; ten of it go through before anything is measured.
    #[arg(long, default_value_t = 256)]
    journal_mib: u64,
    /// Bytes of a small record's value.
    #[arg(long, default_value_t = 1024)]
    record_bytes: usize,
    /// Groups of the scenario of many.
    #[arg(long, default_value_t = 10_000)]
    groups: usize,
    /// Members of the scenario of one group.
    #[arg(long, default_value_t = 100)]
    members: usize,
    /// A setting of the broker.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// A broker binary to measure instead of the one built here; several are measured in turn.
    #[arg(long = "broker", value_name = "NAME=PATH")]
    brokers: Vec<String>,
    /// What cargo gives every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Scenario {
    /// One record in flight, synced and from memory, beside the floor.
    Ack,
    /// Small records at saturation, synced, on 1, 288 and 1,000 partitions.
    Small,
    /// Small records at saturation on one partition, synced and from memory.
    OnePartition,
    /// Batches of 100 KB.
    Large,
    /// 15,000 and 50,000 records a second, whatever comes back.
    OpenLoop,
    /// The tail from memory and a backlog from the disk, beside a bare socket.
    Fetch,
    /// Draining a backlog while producers go on.
    Drain,
    /// From the start to the first acknowledgement.
    Start,
    /// Nothing to do.
    Idle,
    /// 10,000 classic groups of one member: made, heartbeats, commits, memory, and served again after kill -9.
    Groups,
    /// One group of 100 members, classic and KIP-848: formed, one leaves, one joins.
    Members,
    /// Transactions of one record, one producer and 50 at once.
    Transactions,
}

fn main() {
    let arguments = Arguments::parse();
    pin(LOAD_CORE);
    let plan = plan(&arguments);
    let table: Table = match arguments.scenario {
        Scenario::Ack => scenarios::ack(&plan),
        Scenario::Small => scenarios::small(&plan),
        Scenario::OnePartition => scenarios::one_partition(&plan),
        Scenario::Large => scenarios::large(&plan),
        Scenario::OpenLoop => scenarios::open_loop(&plan),
        Scenario::Fetch => scenarios::fetch(&plan),
        Scenario::Drain => scenarios::drain(&plan),
        Scenario::Start => scenarios::start(&plan),
        Scenario::Idle => scenarios::idle(&plan),
        Scenario::Groups => groups::groups(&plan),
        Scenario::Members => members::members(&plan),
        Scenario::Transactions => transactions::transactions(&plan),
    };
    println!("\n{} rounds of {} ms: median (least..most)\n\n{table}", arguments.rounds, arguments.round_ms);
}

fn plan(arguments: &Arguments) -> Plan {
    let journal_bytes = arguments.journal_mib << 20;
    let mut settings = vec![
        format!("journal.bytes={journal_bytes}"),
        format!("journal.file.bytes={}", journal_bytes / 8),
        "log.retention.check.interval.ms=1000".to_owned(),
        // What a new group waits for more members with is not what is measured.
        "group.initial.rebalance.delay.ms=0".to_owned(),
    ];
    settings.extend(arguments.settings.iter().cloned());
    let options = |binary| BrokerOptions { binary, settings: settings.clone() };
    let mut contenders: Vec<(String, BrokerOptions)> = arguments
        .brokers
        .iter()
        .map(|given| {
            let (name, path) = given.split_once('=').expect("a broker is given as NAME=PATH");
            (name.to_owned(), options(PathBuf::from(path)))
        })
        .collect();
    if contenders.is_empty() {
        contenders.push(("this".to_owned(), options(PathBuf::from(env!("CARGO_BIN_EXE_iolite-broker")))));
    }
    Plan {
        rounds: arguments.rounds,
        measured: Duration::from_millis(arguments.round_ms),
        journal_bytes,
        record_bytes: arguments.record_bytes,
        groups: arguments.groups,
        members: arguments.members,
        contenders,
    }
}
