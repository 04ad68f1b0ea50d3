//! kill -9 at random moments under load, again and again: every acknowledged record is there afterwards.
//!
//! `IOLITE_KILL_ROUNDS` sets how often (5, and 50 in `./check`), `IOLITE_KILL_SEED` repeats the choices of a run; moments
//! can't be repeated, so the same seed need not find the same bug at once. kill -9 proves no sync: the kernel keeps what
//! was written. It proves recovery, and that nothing is acknowledged before it is written.

mod chores;
mod judge;
mod load;
mod world;

use std::thread;
use std::time::Duration;

use e2e::DEADLINE;
use e2e::broker::{Broker, Options, Target};
use e2e::wire::Connection;
use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

use load::Producer;
use world::World;

/// Half of them are idempotent.
const PRODUCERS: u32 = 4;

/// A number from the environment.
fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name)
        .map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{name}={text}: a number")))
}

/// What goes on besides plain producing, deleting topics and making them again.
struct Trouble {
    /// Every other producer is idempotent and sends again what was in flight.
    idempotent: bool,
    /// Records are deleted by request.
    deletes_records: bool,
    /// From how many shards each start chooses.
    shards: &'static [u16],
}

#[test]
fn plain_producers_survive_kill_9() {
    survive(&Trouble { idempotent: false, deletes_records: false, shards: &[2] });
}

#[test]
fn what_was_acknowledged_survives_kill_9() {
    survive(&Trouble { idempotent: true, deletes_records: true, shards: &[1, 2, 4] });
}

fn survive(trouble: &Trouble) {
    let rounds = setting("IOLITE_KILL_ROUNDS", 5);
    let seed = setting("IOLITE_KILL_SEED", rand::random());
    println!("IOLITE_KILL_SEED={seed} IOLITE_KILL_ROUNDS={rounds}");
    let mut random = SmallRng::seed_from_u64(seed);
    let world = World::default();
    let mut producers: Vec<Producer> = (0..PRODUCERS)
        .map(|number| {
            Producer::new(
                number,
                SmallRng::seed_from_u64(random.random()),
                trouble.idempotent && number % 2 == 0,
            )
        })
        .collect();
    let mut ready_after = Vec::new();
    let mut directory = None;
    for round in 0..rounds {
        let options = options(trouble, &mut random);
        let broker = match directory.take() {
            None => Broker::start(Target::chosen(), &options),
            Some(kept) => Broker::start_on(kept, Target::chosen(), &options),
        };
        ready_after.push(broker.ready_after);
        judge::everything(&broker, &world, &format!("before round {round}, {} shards", options.shards));
        one_round(&broker, &world, trouble, &mut producers, &mut random);
        directory = Some(broker.kill());
        if random.random_ratio(1, 4) {
            directory = directory.map(|kept| kill_while_starting(kept, &options, &mut random));
        }
    }

    let options = options(trouble, &mut random);
    let broker = Broker::start_on(directory.expect("a round"), Target::chosen(), &options);
    judge::everything(&broker, &world, "after the last kill");
    let (status, directory) = broker.stop();
    assert!(status.success() || Target::chosen() == Target::Kafka, "SIGTERM is a clean stop: {status}");
    let broker = Broker::start_on(directory, Target::chosen(), &options);
    judge::everything(&broker, &world, "after a clean stop");
    ready_after.sort();
    let acked = world.lock().acked;
    let longest = ready_after.last().expect("a round");
    println!(
        "{acked} records acknowledged, none lost; ready after {longest:?} at most, {:?} at the median",
        { ready_after[ready_after.len() / 2] }
    );
}

fn options(trouble: &Trouble, random: &mut SmallRng) -> Options {
    let shards = trouble.shards[random.random_range(0..trouble.shards.len())];
    let configs = vec![("log.retention.check.interval.ms".to_owned(), "300".to_owned())];
    Options { shards, configs, ..Options::default() }
}

/// Load until the moment of the kill; on return every thread has seen its connection close or has stopped.
fn one_round(
    broker: &Broker,
    world: &World,
    trouble: &Trouble,
    producers: &mut [Producer],
    random: &mut SmallRng,
) {
    world.lock().stopping = false;
    let acks = random.random_range(100..3_000);
    let longer = Duration::from_micros(random.random_range(0..30_000));
    let mut chores_random = SmallRng::seed_from_u64(random.random());
    thread::scope(|scope| {
        let address = broker.kafka();
        for producer in producers {
            scope.spawn(move || producer.run(address, world));
        }
        scope.spawn(move || chores::run(address, world, trouble.deletes_records, &mut chores_random));
        world.wait_for_acks(acks, DEADLINE);
        let died = broker.process().ends_within(longer);
        world.lock().stopping = true;
        assert!(!died, "the broker ended by itself\n{}", broker.process().last_lines());
        broker.process().signal(nix::sys::signal::Signal::SIGKILL);
    });
    let wrongs = std::mem::take(&mut world.lock().wrongs);
    assert!(wrongs.is_empty(), "{}\n{}", wrongs.join("\n"), broker.process().last_lines());
}

/// A second crash on top of the first, somewhere in recovery.
fn kill_while_starting(
    directory: tempfile::TempDir,
    options: &Options,
    random: &mut SmallRng,
) -> tempfile::TempDir {
    let moment = Duration::from_millis(random.random_range(0..150));
    Broker::kill_while_starting(directory, Target::chosen(), options, moment)
}

/// Connects, or says why that can't be.
fn connect(broker: &Broker) -> Connection {
    Connection::try_open(broker.kafka()).unwrap_or_else(|error| {
        panic!("the broker said it was ready: {error}\n{}", broker.process().last_lines())
    })
}
