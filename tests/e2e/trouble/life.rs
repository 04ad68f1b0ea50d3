//! Stops under load, starts on much data, and a filesystem that keeps nothing.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::thread;
use std::time::Duration;

use e2e::broker::{Broker, Options, Target};
use e2e::figures::{await_figure, figure};
use e2e::wire::{self, Connection};
use e2e::{DEADLINE, unique};
use nix::sys::signal::Signal;

use super::{numbered, produce, read_all, receive_produced, send_produce};

/// Every signal that stops, under load: a clean end, and what was acknowledged until then is there after a quick start.
#[test]
fn a_signal_under_load_stops_cleanly() {
    const PRODUCERS: usize = 4;
    const ACKS_FIRST: usize = 200;
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        let broker = Broker::start(Target::Iolite, &Options::default());
        let topics: Vec<String> = (0..PRODUCERS).map(|_| unique("stopped")).collect();
        for topic in &topics {
            wire::create_topic(broker.kafka(), topic, 1, &[("retention.ms", "-1")]);
        }
        let address = broker.kafka();
        let (told, warm) = std::sync::mpsc::channel();
        let (acked, status, directory) = thread::scope(|scope| {
            let load = |topic: &String| {
                let (topic, told) = (topic.clone(), told.clone());
                scope.spawn(move || {
                    let mut connection = Connection::open(address);
                    let mut acked = 0;
                    while send_produce(&mut connection, 1, &topic, &numbered(acked, 3_000)).is_ok() {
                        match receive_produced(&mut connection, 1) {
                            Ok(Ok(offset)) => assert_eq!(usize::try_from(offset), Ok(acked)),
                            Ok(Err(code)) => panic!("error {code}"),
                            Err(_closed) => break,
                        }
                        acked += 1;
                        if acked == ACKS_FIRST {
                            told.send(()).expect("the test waits");
                        }
                    }
                    acked
                })
            };
            let producers: Vec<_> = topics.iter().map(load).collect();
            (0..PRODUCERS).for_each(|_| warm.recv_timeout(DEADLINE).expect("the load runs"));
            let (status, directory) = broker.stop_by(signal);
            let acked: Vec<usize> =
                producers.into_iter().map(|one| one.join().expect("no wrong answer")).collect();
            (acked, status, directory)
        });
        assert_eq!(status.code(), Some(0), "{signal}");
        let broker = Broker::start_on(directory, Target::Iolite, &Options::default());
        println!("{signal}: {acked:?} acknowledged, ready again after {:?}", broker.ready_after);
        let mut connection = Connection::open(broker.kafka());
        for (topic, acked) in topics.iter().zip(acked) {
            let values = read_all(&mut connection, topic);
            assert!(values.len() >= acked, "{signal}: {} of {acked} are there", values.len());
            values.iter().enumerate().for_each(|(number, value)| assert_eq!(*value, numbered(number, 3_000)));
        }
    }
}

/// A start that is told to stop, at whichever moment, ends; what was acknowledged before is there in the next one.
#[test]
fn a_signal_during_a_start_ends_it() {
    const RECORDS: usize = 50;
    const MOMENTS: u64 = 8;
    const MOMENT_MILLISECONDS: u64 = 25;
    let options = Options::default();
    let broker = Broker::start(Target::Iolite, &options);
    wire::create_topic(broker.kafka(), "begun", 1, &[("retention.ms", "-1")]);
    let mut connection = Connection::open(broker.kafka());
    for number in 0..RECORDS {
        produce(&mut connection, "begun", &numbered(number, 100)).expect("acknowledged");
    }
    let mut directory = broker.kill();
    for moment in (0..MOMENTS).map(|index| Duration::from_millis(index * MOMENT_MILLISECONDS)) {
        let (status, after) = Broker::stop_while_starting(directory, &options, Signal::SIGTERM, moment);
        // Before the broker listens to signals the kernel ends it.
        let is_expected = status.code() == Some(0) || status.signal() == Some(libc::SIGTERM);
        assert!(is_expected, "after {moment:?}: {status}");
        directory = after;
    }
    let broker = Broker::start_on(directory, Target::Iolite, &options);
    let values = read_all(&mut Connection::open(broker.kafka()), "begun");
    assert_eq!(values.len(), RECORDS);
}

/// After kill -9, a start reads the journal and not the data: 50 GiB of segments, sparse, make no difference.
#[test]
fn a_start_after_a_crash_is_bounded_by_the_journal() {
    const SEGMENTS: usize = 51;
    const SEGMENT_BYTES: u64 = 1 << 30;
    const RECORDS: usize = 200;
    const RECORD_BYTES: usize = 1_000_000;
    const UNDER_WAY: usize = 8;
    const JOURNAL_BYTES: u64 = 64 << 20;
    /// The journal, once to find the chain's end and once to rebuild what is known of producers; the ends of two logs and
    /// of their indexes, the metadata, checkpoints.
    const READ_BYTES_MAX: u64 = 2 * JOURNAL_BYTES + (8 << 20);
    const { assert!(READ_BYTES_MAX < (RECORDS * RECORD_BYTES) as u64, "less than was written") };
    let configs = [("journal.bytes", JOURNAL_BYTES), ("journal.file.bytes", JOURNAL_BYTES / 8)];
    let configs = configs.map(|(key, value)| (key.to_owned(), value.to_string())).to_vec();
    let options = Options { shards: 1, configs, ..Options::default() };
    let broker = Broker::start(Target::Iolite, &options);
    let address = broker.kafka();
    wire::create_topic(address, "old", 1, &[("retention.ms", "-1"), ("segment.bytes", "1048576")]);
    wire::create_topic(address, "new", 1, &[("retention.ms", "-1")]);
    let mut connection = Connection::open(address);
    for number in 0..SEGMENTS {
        produce(&mut connection, "old", &numbered(number, RECORD_BYTES)).expect("acknowledged");
    }
    let topics = broker.topics_directory();
    let (status, directory) = broker.stop();
    assert!(status.success(), "{status}");
    for number in 0..SEGMENTS - 1 {
        let segment = topics.join(format!("old-0/{number:020}.log"));
        let opened = File::options().write(true).open(&segment);
        opened
            .and_then(|file| file.set_len(SEGMENT_BYTES))
            .unwrap_or_else(|error| panic!("{}: {error}", segment.display()));
    }
    let broker = Broker::start_on(directory, Target::Iolite, &options);
    let read_bytes = broker.process().device_read_bytes();
    println!("{} GiB of segments: ready after {:?}, {read_bytes} B read", SEGMENTS - 1, broker.ready_after);
    assert!(read_bytes <= READ_BYTES_MAX, "{read_bytes} B were read");
    let mut connection = Connection::open(broker.kafka());
    for number in 0..RECORDS + UNDER_WAY {
        if number < RECORDS {
            send_produce(&mut connection, 1, "new", &numbered(number, RECORD_BYTES)).expect("it reads");
        }
        if number >= UNDER_WAY {
            receive_produced(&mut connection, 1).expect("it answers").expect("acknowledged");
        }
    }
    let broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    let read_bytes = broker.process().device_read_bytes();
    println!("after kill -9: ready after {:?}, {read_bytes} B read", broker.ready_after);
    assert!(read_bytes <= READ_BYTES_MAX, "{read_bytes} B were read");
    assert!(read_bytes >= RECORD_BYTES as u64, "{read_bytes} B: it is counted");
    let values = read_all(&mut Connection::open(broker.kafka()), "new");
    assert_eq!(values.len(), RECORDS);
}

#[test]
fn on_a_filesystem_in_memory_it_says_so_and_works() {
    let directory = tempfile::tempdir_in("/dev/shm").expect("a machine has memory");
    let small = [("journal.bytes", "16777216"), ("journal.file.bytes", "4194304")];
    let configs = small.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let broker =
        Broker::start_on(directory, Target::Iolite, &Options { shards: 1, configs, ..Options::default() });
    broker.process().wait_for_line(DEADLINE, "a warning", |line| {
        (line.contains("WARN") && (line.contains("page cache") || line.contains("tmpfs"))).then_some(())
    });
    wire::create_topic(broker.kafka(), "fleeting", 1, &[]);
    assert_eq!(produce(&mut Connection::open(broker.kafka()), "fleeting", b"here"), Ok(0));
}

/// A topic that syncs late is acknowledged from memory. What it was sent is on the disk soon nevertheless, though nobody sends
/// any more.
#[test]
fn what_is_synced_late_is_synced_all_the_same() {
    const LATE: [(&str, &str); 2] = [("flush.messages", "1000000"), ("flush.ms", "100")];
    let options = Options { shards: 1, ..Options::default() };
    let broker = Broker::start(Target::Iolite, &options);
    wire::create_topic(broker.kafka(), "late", 1, &LATE);
    let mut connection = Connection::open(broker.kafka());
    for number in 0..3 {
        let frames = figure(&broker, "journal_frames_total");
        let offset = i64::try_from(number).expect("few");
        assert_eq!(produce(&mut connection, "late", &numbered(number, 1_000)), Ok(offset));
        await_figure(&broker, "journal_frames_total", |count| count > frames);
    }
    let broker = Broker::start_on(broker.kill(), Target::Iolite, &options);
    let values = read_all(&mut Connection::open(broker.kafka()), "late");
    assert_eq!(values, [0, 1, 2].map(|number| numbered(number, 1_000)));
}
