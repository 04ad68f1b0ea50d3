//! Rot in what was acknowledged: named, refused, and gone on without only by the operator's word.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use e2e::DEADLINE;
use e2e::broker::{Broker, Options, Target};
use e2e::wire::{self, Connection};
use tempfile::TempDir;

use super::{fetch, numbered, produce};

/// `ExitCode::Damaged` (docs/operations.md).
const DAMAGED: i32 = 20;
const RECORDS: usize = 40;
const RECORD_BYTES: usize = 5_000;

fn options(accept: bool) -> Options {
    let configs = vec![("recovery.accept.damage".to_owned(), accept.to_string())];
    Options { shards: 1, configs, ..Options::default() }
}

/// A broker with records, one frame each.
fn written() -> Broker {
    let broker = Broker::start(Target::Iolite, &options(false));
    wire::create_topic(broker.kafka(), "rotten", 1, &[("retention.ms", "-1")]);
    let mut connection = Connection::open(broker.kafka());
    for number in 0..RECORDS {
        produce(&mut connection, "rotten", &numbered(number, RECORD_BYTES)).expect("acknowledged");
    }
    broker
}

fn check_refused(directory: &TempDir, words: &[&str]) {
    let (status, lines) = Broker::refuse_to_start_on(directory, &options(false));
    let told = lines.join("\n");
    assert_eq!(status.code(), Some(DAMAGED), "{told}");
    for word in words {
        assert!(told.contains(word), "{word:?} in:\n{told}");
    }
}

/// With the operator's word it starts, keeps what is before the damage, and takes what is new.
fn check_goes_on(directory: TempDir, kept: usize) {
    let broker = Broker::start_on(directory, Target::Iolite, &options(true));
    let mut connection = Connection::open(broker.kafka());
    let mut next = 0;
    while next < kept {
        let bytes = fetch(&mut connection, "rotten", i64::try_from(next).expect("small"))
            .expect("what is before the damage is read");
        let records = e2e::batch::walk(&bytes);
        assert!(!records.is_empty(), "offset {next} of {kept} is there");
        for record in records.iter().take(kept - next) {
            assert_eq!(record.value, numbered(next, RECORD_BYTES));
            next += 1;
        }
    }
    produce(&mut connection, "rotten", b"new").expect("it takes what is new");
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("readable").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// Flips a bit of the record with this number, in whichever file below the folder it is.
fn rot(folder: &Path, number: usize) {
    let wanted = format!("<{number}>....");
    for path in files_below(folder) {
        let bytes = fs::read(&path).expect("readable");
        if let Some(at) = bytes.windows(wanted.len()).position(|window| window == wanted.as_bytes()) {
            let file = File::options().write(true).open(&path).expect("writable");
            let spoiled = [bytes[at + 100] ^ 1];
            file.write_all_at(&spoiled, at as u64 + 100).expect("writable");
            return;
        }
    }
    panic!("{wanted} is in no file below {}", folder.display());
}

#[test]
fn rot_in_an_acknowledged_frame_is_named_and_refused() {
    let broker = written();
    let data = broker.topics_directory().parent().expect("the data directory").to_owned();
    let directory = broker.kill();
    // Of the last ones, which no checkpoint vouches for yet; those behind prove that it was acknowledged.
    let spoiled = RECORDS - 3;
    rot(&data.join("journal"), spoiled);
    check_refused(
        &directory,
        &[&format!("rotten-0: offsets {spoiled} to {spoiled}"), "recovery.accept.damage"],
    );
    check_goes_on(directory, spoiled);
}

#[test]
fn a_segment_that_lost_its_end_is_named_and_refused() {
    let broker = written();
    let topics = broker.topics_directory();
    let (status, directory) = broker.stop();
    assert!(status.success(), "{status}");
    let segment = topics.join("rotten-0/00000000000000000000.log");
    let size = segment.metadata().expect("it was destaged").len();
    let kept = 10;
    File::options()
        .write(true)
        .open(&segment)
        .and_then(|file| file.set_len(size / RECORDS as u64 * kept))
        .expect("cut");
    check_refused(&directory, &[&format!("rotten-0: offsets {kept} to"), "recovery.accept.damage"]);
    check_goes_on(directory, usize::try_from(kept).expect("small"));
}

/// A record that rots where it lies is told of and not served; what lies around it is, and so is what is new.
#[test]
fn a_record_that_rots_in_its_segment_is_told_of_and_not_served() {
    const CORRUPT_MESSAGE: i16 = 2;
    let broker = written();
    let topics = broker.topics_directory();
    let (status, directory) = broker.stop();
    assert!(status.success(), "{status}");
    let rotten = RECORDS / 2;
    rot(&topics, rotten);
    let broker = Broker::start_on(directory, Target::Iolite, &options(false));
    let mut connection = Connection::open(broker.kafka());
    for from in 0..RECORDS {
        let read = fetch(&mut connection, "rotten", i64::try_from(from).expect("small"));
        if from == rotten {
            assert_eq!(read, Err(CORRUPT_MESSAGE));
            continue;
        }
        let records = e2e::batch::walk(&read.expect("what is sound is read"));
        assert_eq!(records[0].value, numbered(from, RECORD_BYTES));
        assert!(records.iter().all(|record| usize::try_from(record.offset) != Ok(rotten)));
    }
    broker.process().wait_for_line(DEADLINE, "where it is damaged", |line| {
        let words =
            ["ERROR", "topic=rotten", "partition=0", &format!("offsets {rotten} to {rotten} is damaged")];
        words.iter().all(|word| line.contains(word)).then_some(())
    });
    let offset = produce(&mut connection, "rotten", b"new").expect("it takes what is new");
    assert_eq!(usize::try_from(offset), Ok(RECORDS));
}
