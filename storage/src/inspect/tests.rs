//! What is told of a directory is what a store wrote there; what rots is found and named.

use std::path::{Path, PathBuf};
use std::task::Poll;

use protocol::types::{LeaderEpoch, Offset};

use super::*;
use crate::disk::memory::MemoryDisk;
use crate::disk::{DiskFile, IoBuffer, OpenMode};
use crate::segment::LogConfig;
use crate::store::testing::{append, block_on, open, options, run_with, spec};
use crate::store::{OpenError, PartitionSpec, ShardStore};

const JOURNAL: &str = "journal/1/0/00000000.journal";
const LOG: &str = "topics/topic-1-0/00000000000000000000.log";
const INDEX: &str = "topics/topic-1-0/00000000000000000000.index";
const TIME_INDEX: &str = "topics/topic-1-0/00000000000000000000.timeindex";

/// An index entry for each batch but the first.
fn live() -> Vec<PartitionSpec> {
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    [0, 1].map(|partition| PartitionSpec { config, ..spec(1, partition) }).into()
}

/// A journal with a frame for each of ten batches of two records, in two partitions by turns; a store that was killed then, or
/// closed.
fn written(is_closed: bool) -> MemoryDisk {
    let disk = MemoryDisk::default();
    let (store, _, _) = open(&disk, options(), live()).expect("a fresh store");
    let slots = [0, 1].map(|partition| store.slot(spec(1, partition).key).expect("it is live"));
    for base in [0, 2, 4, 6, 8_i64] {
        for slot in slots {
            store.append(slot, append(base, 2, &base.to_be_bytes())).expect("appended");
            run_with(&store, synced(&store, slot, base + 2));
        }
    }
    if is_closed {
        run_with(&store, store.close()).expect("closed");
    }
    disk
}

async fn synced(store: &ShardStore<MemoryDisk>, slot: crate::store::PartitionSlot, end: i64) {
    std::future::poll_fn(|_| match store.synced_end(slot) {
        Some(synced) if synced >= Offset(end) => Poll::Ready(()),
        _ => Poll::Pending,
    })
    .await;
}

/// Flips a bit of a file.
fn rot(disk: &MemoryDisk, path: &str, at: usize) {
    let file = block_on(disk.open(&PathBuf::from(path), OpenMode::Write)).expect("the file is there");
    let size = block_on(file.size_bytes()).expect("no faults");
    let block = at / 4096 * 4096;
    let position = u64::try_from(block).expect("small");
    let bytes = block_on(file.read_at(position, 4096)).expect("no faults");
    let mut buffer = IoBuffer::allocate(4096);
    buffer[..bytes.len()].copy_from_slice(&bytes);
    buffer[at - block] ^= 1;
    block_on(file.write_at(&buffer.freeze(bytes.len()), position)).expect("no faults");
    block_on(file.truncate(size)).expect("no faults");
}

/// The batches that the journal's frames have: number, partition, offsets, whether they have rotted.
type Batches = Vec<(u64, i32, i64, i64, bool)>;

fn journal(disk: &MemoryDisk) -> (Batches, JournalView) {
    let mut batches = Vec::new();
    let mut each = |frame: &FrameView<'_>| {
        for entry in &frame.entries {
            let EntryKind::Batch { base, end, epoch, bytes, is_damaged } = entry.kind else {
                panic!("nothing else was written: {entry:?}")
            };
            assert_eq!(epoch, LeaderEpoch(0));
            assert!(bytes.len() > 61);
            let partition = entry.key.partition.get();
            batches.push((frame.sequence.0, partition, base.get(), end.get(), is_damaged));
        }
    };
    let view = block_on(shard_journal(disk, 1, 0, &mut each)).expect("it can be followed");
    (batches, view)
}

/// The frames as they were written.
fn all_frames() -> Batches {
    (0..10_u64)
        .map(|frame| {
            let partition = i32::try_from(frame % 2).expect("small");
            let base = i64::try_from(frame / 2 * 2).expect("small");
            (frame, partition, base, base + 2, false)
        })
        .collect()
}

fn judged(disk: &MemoryDisk, partition: usize) -> Judgement {
    let files = block_on(partitions(disk)).expect("readable");
    let slots = block_on(checkpoints(disk, 1, 0)).expect("readable");
    let checkpoint = counting(&slots).expect("one is whole");
    let key = spec(1, i32::try_from(partition).expect("small")).key;
    let state = checkpoint.partitions.iter().find(|state| state.key == key).expect("it is named");
    block_on(judge(disk, &files[partition], state.log_start, Some(state.destaged))).expect("readable")
}

fn faults(disk: &MemoryDisk) -> Vec<Finding> {
    judged(disk, 0).findings
}

fn finding(path: &str, fault: Fault) -> Finding {
    Finding { path: PathBuf::from(path), fault }
}

#[test]
fn a_killed_stores_journal_is_told_as_it_was_written() {
    let disk = written(false);
    let (batches, view) = journal(&disk);
    assert_eq!(batches, all_frames());
    assert_eq!((view.frames, view.next, view.tail), (10, FrameSequence(10), Tail::Clean));
    assert_eq!((view.next_file, view.next_position), (0, 10 * 4096));
    assert!(view.lost.is_empty() && view.lost_records.is_empty());
    assert_eq!(block_on(shards(&disk)).expect("readable"), [(1, 0)]);
}

#[test]
fn what_rots_in_the_journal_is_told_from_what_is_torn() {
    let batch = 64 + 48 + 61 + 3;
    let key = |partition| spec(1, partition).key;
    let disk = written(false);
    rot(&disk, JOURNAL, 4 * 4096 + batch);
    let (batches, view) = journal(&disk);
    let rotten: Vec<_> = batches.into_iter().filter(|batch| batch.4).collect();
    assert_eq!(rotten, [(4, 0, 4, 6, true)]);
    assert_eq!(view.lost_records, [(key(0), Offset(4), Offset(6))]);

    let disk = written(false);
    rot(&disk, JOURNAL, 5 * 4096 + 17);
    let (batches, view) = journal(&disk);
    assert_eq!(batches.len(), 9);
    let lost: Vec<_> = view.lost.iter().map(|lost| (lost.first.0, lost.end.0)).collect();
    assert_eq!(lost, [(5, 6)]);
    assert_eq!(view.lost_records, [(key(1), Offset(4), Offset(6))]);

    // Nobody names the last one as synced.
    let disk = written(false);
    rot(&disk, JOURNAL, 9 * 4096 + batch);
    let (batches, view) = journal(&disk);
    assert_eq!(batches, all_frames()[..9]);
    assert_eq!((view.next, view.tail), (FrameSequence(9), Tail::Torn));
    assert!(view.lost.is_empty() && view.lost_records.is_empty());
}

#[test]
fn a_closed_stores_segments_are_told_as_they_were_written() {
    let disk = written(true);
    let (batches, view) = journal(&disk);
    assert_eq!((batches, view.frames, view.tail), (vec![], 0, Tail::Clean));
    let files = block_on(partitions(&disk)).expect("readable");
    let names: Vec<&str> = files.iter().map(|files| files.name.as_str()).collect();
    assert_eq!(names, ["topic-1-0", "topic-1-1"]);
    assert_eq!(files[0].topic_id, Some(spec(1, 0).key.topic_id));
    let mut found = Vec::new();
    let mut each = |batch: &SegmentBatch<'_>| {
        let body = batch.body.expect("bodies were asked for");
        assert!(body.crc_fits);
        assert_eq!(Some(body.bytes.len()), batch.header.size_bytes());
        found.push((batch.position, batch.header.base_offset().get(), batch.header.next_offset().get()));
    };
    let view = block_on(segment(&disk, &files[0], Offset(0), true, &mut each)).expect("readable");
    let size = view.filled_bytes / 5;
    assert_eq!(
        found,
        [0, 1, 2, 3, 4].map(|number| (number * size, 2 * number.cast_signed(), 2 * number.cast_signed() + 2))
    );
    assert_eq!((view.batches, view.end, view.behind), (5, Offset(10), Behind::Nothing));
    for partition in [0, 1] {
        let judged = judged(&disk, partition);
        assert_eq!((judged.batches, judged.records, judged.findings.as_slice()), (5, 10, &[][..]));
        assert!(judged.index_entries > 4, "{judged:?}");
    }
}

#[test]
fn what_rots_in_segments_and_indexes_is_named() {
    let disk = written(true);
    rot(&disk, LOG, 62);
    let (position, base, end) = (0, Offset(0), Offset(2));
    assert_eq!(faults(&disk), [finding(LOG, Fault::Crc { position, base, end })]);
    // A segment that says nothing of its indexes' entries has those wrong, too.
    let disk = written(true);
    rot(&disk, LOG, 16);
    assert!(faults(&disk).contains(&finding(LOG, Fault::Unreadable { position: 0, offset: Offset(0) })));
    assert!(
        faults(&disk)
            .contains(&finding("topics/topic-1-0", Fault::Missing { from: Offset(0), end: Offset(10) }))
    );

    let disk = written(true);
    rot(&disk, INDEX, 7);
    let [Finding { path, fault: Fault::OffsetEntry { number: 0, offset: Offset(3), .. } }] =
        &faults(&disk)[..]
    else {
        panic!("one fault: {:?}", faults(&disk))
    };
    assert_eq!(path, Path::new(INDEX));
    let disk = written(true);
    rot(&disk, TIME_INDEX, 7);
    let faults_of_times = faults(&disk);
    let [Finding { path, fault: Fault::TimeEntry { number: 0, .. } }, ..] = &faults_of_times[..] else {
        panic!("a fault: {faults_of_times:?}")
    };
    assert_eq!(path, Path::new(TIME_INDEX));
}

#[test]
fn what_is_missing_is_named_and_what_the_journal_has_is_not() {
    let disk = written(true);
    block_on(disk.remove_file(&PathBuf::from(LOG))).expect("it is there");
    let missing = Fault::Missing { from: Offset(0), end: Offset(10) };
    assert_eq!(faults(&disk), [finding("topics/topic-1-0", missing)]);
    let files = block_on(partitions(&disk)).expect("readable");
    // As if the checkpoint had not come so far.
    let judged = block_on(judge(&disk, &files[0], Offset(0), Some(Offset(0)))).expect("readable");
    assert_eq!(judged.findings, []);
}

#[test]
fn without_a_checkpoint_nobody_knows_where_the_journal_begins() {
    let disk = written(false);
    for slot in ["checkpoint/1/0.a", "checkpoint/1/0.b"] {
        rot(&disk, slot, 30);
    }
    let slots = block_on(checkpoints(&disk, 1, 0)).expect("readable");
    assert_eq!(slots, [SlotView::Damaged, SlotView::Damaged]);
    assert_eq!(counting(&slots), None);
    let outcome = block_on(shard_journal(&disk, 1, 0, &mut |_| panic!("nothing can be told")));
    assert!(matches!(outcome, Err(OpenError::CheckpointsDamaged { shard: 0 })), "{outcome:?}");
}

/// Copies a file's content to another one.
fn copy(disk: &MemoryDisk, from: &str, to: &str) {
    let source = block_on(disk.open(&PathBuf::from(from), OpenMode::Read)).expect("the file is there");
    let size = block_on(source.size_bytes()).expect("no faults");
    let length = usize::try_from(size).expect("small");
    let bytes = block_on(source.read_at(0, length)).expect("no faults");
    let mut buffer = IoBuffer::allocate(length.next_multiple_of(4096));
    buffer[..length].copy_from_slice(&bytes);
    let target = block_on(disk.open(&PathBuf::from(to), OpenMode::Create)).expect("writable");
    block_on(target.write_at(&buffer.freeze(length), 0)).expect("no faults");
    block_on(target.truncate(size)).expect("no faults");
}

#[test]
fn segments_that_overlap_are_named() {
    let disk = written(true);
    copy(&disk, LOG, "topics/topic-1-0/00000000000000000007.log");
    let overlaps = |fault: &Fault| matches!(fault, Fault::Overlap { end: Offset(8), next: Offset(7), .. });
    let found = faults(&disk);
    assert!(found.iter().any(|one| one.path == Path::new(LOG) && overlaps(&one.fault)), "{found:?}");
}

/// The entry's offset is past what is settled then, which excuses entries of the last segment alone.
#[test]
fn an_entry_of_an_older_segment_that_rots_to_a_higher_offset_is_named() {
    let disk = written(true);
    let files = block_on(partitions(&disk)).expect("readable");
    let indexes = block_on(crate::segment::inspect::indexes(&disk, &files[0], Offset(0))).expect("readable");
    let last = indexes.offsets.len() - 1;
    rot(&disk, INDEX, last * 8 + 1);
    copy(&disk, LOG, "topics/topic-1-0/00000000000000000010.log");
    let found = faults(&disk);
    let is_entry = |fault: &Fault| matches!(fault, Fault::OffsetEntry { number, .. } if *number == last);
    assert!(found.iter().any(|one| one.path == Path::new(INDEX) && is_entry(&one.fault)), "{found:?}");
}

#[test]
fn an_index_of_a_file_with_the_highest_name_is_read() {
    let disk = written(true);
    let base = format!("topics/topic-1-0/{:020}", i64::MAX - 1);
    copy(&disk, INDEX, &format!("{base}.index"));
    copy(&disk, TIME_INDEX, &format!("{base}.timeindex"));
    let files = block_on(partitions(&disk)).expect("readable");
    let base = Offset(i64::MAX - 1);
    let indexes = block_on(crate::segment::inspect::indexes(&disk, &files[0], base)).expect("readable");
    assert!(!indexes.offsets.is_empty() && !indexes.times.is_empty());
    assert!(indexes.offsets.iter().all(|(offset, _)| *offset == Offset(i64::MAX)));
    assert!(indexes.times.iter().all(|(_, offset)| *offset == Offset(i64::MAX)));
}

#[test]
fn compacted_segments_that_wait_for_a_start_are_told() {
    let disk = written(true);
    let swap = "00000000000000000000-00000000000000000010.swap";
    copy(&disk, LOG, &format!("topics/topic-1-0/{swap}"));
    copy(&disk, LOG, "topics/topic-1-0/notes.swap");
    let files = block_on(partitions(&disk)).expect("readable");
    assert_eq!(files[0].swaps().collect::<Vec<_>>(), [swap]);
}
