//! Tests of the log as a whole, on the memory disk. `model` knows what the log should hold; `crash` cuts the power.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use protocol::types::{Offset, PartitionIndex, PartitionKey, Timestamp, TopicId};

use super::*;
use crate::disk::Disk;
use crate::disk::memory::{MemoryDisk, MemoryOptions, block_on};

mod crash;
mod damage;
mod kafka;
mod model;
mod reads;

const KEY: PartitionKey = PartitionKey { topic_id: TopicId([7; 16]), partition: PartitionIndex(3) };

fn directory() -> PathBuf {
    partition_directory("topic", KEY.partition)
}

/// Small, so that a few batches make segments and index entries.
fn config() -> LogConfig {
    LogConfig { segment_bytes: 20_000, index_interval_bytes: 1000, ..LogConfig::default() }
}

/// A wire batch of so many offsets, and so many bytes in all.
fn batch(base: i64, count: i32, timestamp: i64, size_bytes: usize) -> Bytes {
    assert!(size_bytes >= 61);
    let mut bytes = vec![0; size_bytes];
    bytes[..8].copy_from_slice(&base.to_be_bytes());
    bytes[8..12].copy_from_slice(&i32::try_from(size_bytes - 12).expect("small").to_be_bytes());
    bytes[16] = 2;
    bytes[23..27].copy_from_slice(&(count - 1).to_be_bytes());
    bytes[27..35].copy_from_slice(&timestamp.to_be_bytes());
    bytes[35..43].copy_from_slice(&timestamp.to_be_bytes());
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    for (position, byte) in bytes[61..].iter_mut().enumerate() {
        *byte = u8::try_from((position + usize::try_from(base).expect("positive")) % 251).expect("below 251");
    }
    Bytes::from(bytes)
}

fn open_files<D: Disk>(disk: &D) -> OpenFiles<D> {
    OpenFiles::new(disk.clone(), 8)
}

fn create<D: Disk>(disk: &D) -> PartitionLog<D> {
    PartitionLog::create(&open_files(disk), KEY, directory(), config(), Offset(0))
}

async fn open<D: Disk>(disk: &D, cut: i64, log_start: i64) -> Result<PartitionLog<D>, SegmentError> {
    PartitionLog::open(&open_files(disk), KEY, directory(), config(), Offset(cut), Offset(log_start)).await
}

/// Everything from an offset on, by reads of so many bytes.
async fn read_all<D: Disk>(
    log: &PartitionLog<D>,
    from: Offset,
    bytes_max: usize,
) -> Result<Vec<u8>, SegmentError> {
    let (mut all, mut offset) = (Vec::new(), from);
    while offset < log.end() {
        let batches = log.read(offset, log.end(), bytes_max).await?;
        assert!(batches.next > offset, "a read makes progress at {offset}");
        assert_eq!(batches.bytes, batches.chunks.iter().map(Bytes::len).sum::<usize>());
        batches.chunks.iter().for_each(|chunk| all.extend_from_slice(chunk));
        offset = batches.next;
    }
    Ok(all)
}

/// Twenty batches of ten offsets and 1,500 bytes each, timestamps ascending: two segments.
fn twenty() -> Vec<Bytes> {
    (0..20).map(|number| batch(number * 10, 10, 1000 + number, 1500)).collect()
}

fn names(disk: &MemoryDisk) -> Vec<String> {
    block_on(disk.list(&directory())).expect("no faults")
}

#[test]
fn what_is_appended_is_read() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    block_on(async {
        log.append(&twenty()).await?;
        assert_eq!((log.start(), log.end(), log.size_bytes()), (Offset(0), Offset(200), 30_000));
        for bytes_max in [1, 1500, 4000, 1 << 20] {
            assert_eq!(read_all(&log, Offset(0), bytes_max).await?, twenty().concat());
        }
        let one = log.read(Offset(57), Offset(200), 1).await?;
        assert_eq!(one.chunks, [twenty()[5].clone()], "the whole batch that has the offset");
        assert_eq!(one.next, Offset(60));
        let three = log.read(Offset(50), Offset(200), 4500).await?;
        assert_eq!((three.bytes, three.next), (4500, Offset(80)));
        let limited = log.read(Offset(50), Offset(70), 1 << 20).await?;
        assert_eq!((limited.bytes, limited.next), (3000, Offset(70)));
        assert_eq!(log.read(Offset(200), Offset(300), 1000).await?.bytes, 0);
        assert_eq!(log.read(Offset(50), Offset(50), 1000).await?.next, Offset(50));
        Ok::<_, SegmentError>(())
    })
    .expect("no faults");
}

#[test]
fn a_new_log_leaves_the_disk_alone() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    block_on(log.sync()).expect("no faults");
    block_on(log.close()).expect("no faults");
    assert_eq!(disk.operation_count(), 0);
    assert_eq!(block_on(log.read(Offset(0), Offset(10), 10)).expect("no faults"), ReadBatches::default());
}

#[test]
fn files_are_laid_out_as_kafkas() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    block_on(log.append(&twenty())).expect("no faults");
    block_on(log.sync()).expect("no faults");
    let content = |name: &str| disk.file_content(&directory().join(name)).expect("it is there");
    // 13 batches of 1,500 bytes are 19,500: the fourteenth would not fit.
    assert_eq!(
        content("00000000000000000000.log"),
        twenty()[..13].concat(),
        "a closed segment has no padding"
    );
    let active = content("00000000000000000130.log");
    assert_eq!(active.len(), 12_288);
    assert_eq!(active[..10_500], twenty()[13..].concat());
    assert!(active[10_500..].iter().all(|&byte| byte == 0x7f));
    // Every batch but the first has more than 1,000 bytes before it: its last offset, its position.
    let index: Vec<[u8; 4]> = content("00000000000000000000.index")
        .chunks(4)
        .map(|field| field.try_into().expect("whole"))
        .collect();
    let expected: Vec<[u8; 4]> =
        (1..13_i32).flat_map(|number| [number * 10 + 9, number * 1500].map(i32::to_be_bytes)).collect();
    assert_eq!(index, expected);
    let times = content("00000000000000000000.timeindex");
    assert_eq!(times.len(), 12 * 12);
    assert_eq!(times[..12], [0, 0, 0, 0, 0, 0, 0x03, 0xe9, 0, 0, 0, 19]);
    assert_eq!(times[132..], [0, 0, 0, 0, 0, 0, 0x03, 0xf4, 0, 0, 0, 129]);
    assert_eq!(
        content("partition.metadata"),
        b"version: 0\ntopic_id: BwcHBwcHBwcHBwcHBwcHBw\n",
        "the directory says whose it is"
    );

    block_on(log.close()).expect("no faults");
    assert_eq!(content("00000000000000000130.log"), twenty()[13..].concat());
    assert_eq!(content("00000000000000000130.index").len(), 6 * 8);
    assert_eq!(content("00000000000000000130.timeindex").len(), 6 * 12);
    assert_eq!(names(&disk).len(), 7);
}

#[test]
fn segments_roll_by_time_of_records() {
    let disk = MemoryDisk::default();
    let config = LogConfig { segment_ms: 100, ..config() };
    let log = PartitionLog::create(&open_files(&disk), KEY, directory(), config, Offset(0));
    let batches: Vec<Bytes> =
        [0, 100, 50, 101, 150, 202].iter().zip(0..).map(|(&time, base)| batch(base, 1, time, 100)).collect();
    block_on(log.append(&batches)).expect("no faults");
    let bases: Vec<Offset> =
        block_on(log.summaries()).expect("no faults").iter().map(|part| part.base).collect();
    assert_eq!(bases, [Offset(0), Offset(3), Offset(5)]);
}

#[test]
fn segments_roll_when_an_offset_is_too_far_or_the_index_full() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    let far = i64::from(i32::MAX) + 10;
    block_on(log.append(&[batch(0, 1, 0, 100), batch(far, 1, 0, 100)])).expect("no faults");
    assert_eq!(block_on(log.summaries()).expect("no faults").len(), 2);
    assert_eq!(block_on(read_all(&log, Offset(0), 10)).expect("no faults").len(), 200);

    let disk = MemoryDisk::default();
    let config = LogConfig { segment_index_bytes: 60, index_interval_bytes: 0, ..config() };
    let log = PartitionLog::create(&open_files(&disk), KEY, directory(), config, Offset(0));
    let batches: Vec<Bytes> = (0..11).map(|base| batch(base, 1, base, 100)).collect();
    block_on(log.append(&batches)).expect("no faults");
    let bases: Vec<Offset> =
        block_on(log.summaries()).expect("no faults").iter().map(|part| part.base).collect();
    assert_eq!(bases, [Offset(0), Offset(5), Offset(10)], "four entries, the first batch has none");
}

#[test]
fn a_batch_longer_than_a_segment_has_one_of_its_own() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    let batches = [batch(0, 1, 0, 100), batch(1, 1, 0, 3 << 20), batch(2, 1, 0, 100)];
    block_on(async {
        log.append(&batches).await?;
        log.sync().await?;
        assert_eq!(log.summaries().await?.len(), 3);
        assert_eq!(read_all(&log, Offset(0), 1000).await?, batches.concat());
        Ok::<_, SegmentError>(())
    })
    .expect("no faults");
}

#[test]
fn times_lead_to_batches() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    block_on(async {
        log.append(&twenty()).await?;
        let at = async |time, limit| log.batch_at_time(Timestamp(time), Offset(limit)).await;
        assert_eq!(at(0, 200).await?, Some(twenty()[0].clone()));
        assert_eq!(at(1000, 200).await?, Some(twenty()[0].clone()));
        assert_eq!(at(1013, 200).await?, Some(twenty()[13].clone()));
        assert_eq!(at(1019, 200).await?, Some(twenty()[19].clone()));
        assert_eq!(at(1020, 200).await?, None);
        assert_eq!(at(1013, 130).await?, None);
        assert_eq!(log.batch_of_max_timestamp(Offset(200)).await?, Some(twenty()[19].clone()));
        assert_eq!(log.batch_of_max_timestamp(Offset(100)).await?, Some(twenty()[9].clone()));
        assert_eq!(log.batch_of_max_timestamp(Offset(0)).await?, None);
        Ok::<_, SegmentError>(())
    })
    .expect("no faults");
}

#[test]
fn retention_drops_the_oldest_and_reads_go_on() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    block_on(async {
        log.append(&twenty()).await?;
        let config = LogConfig { retention_bytes: Some(10_000), ..config() };
        let input = RetentionInput {
            now: Timestamp(2000),
            log_start: Offset(0),
            committed_end: Offset(200),
            tail_bytes: 0,
            config,
        };
        let plan = plan_retention(&log.summaries().await?, &input);
        assert_eq!(plan, RetentionPlan { log_start: Offset(130), segments: vec![Offset(0)] });
        log.drop_segments(&plan).await?;
        assert_eq!((log.start(), log.size_bytes()), (Offset(130), 10_500));
        let error = log.read(Offset(5), Offset(200), 10).await.expect_err("it is gone");
        assert!(matches!(error, SegmentError::OutOfRange { .. }));
        assert_eq!(read_all(&log, Offset(130), 10).await?, twenty()[13..].concat());
        log.sync().await?;
        assert!(!names(&disk).iter().any(|name| name.starts_with("00000000000000000000.")));

        let everything = RetentionPlan { log_start: Offset(200), segments: vec![Offset(130)] };
        log.drop_segments(&everything).await?;
        assert_eq!((log.start(), log.end(), log.size_bytes()), (Offset(200), Offset(200), 0));
        log.append(&[batch(200, 1, 5000, 100)]).await?;
        log.sync().await?;
        assert_eq!(read_all(&log, Offset(200), 10).await?, batch(200, 1, 5000, 100));
        Ok::<_, SegmentError>(())
    })
    .expect("no faults");
    let reopened = block_on(open(&disk.crash_image(0), 201, 200)).expect("all is there");
    assert_eq!((reopened.start(), reopened.end()), (Offset(200), Offset(201)));
}

#[test]
fn a_cut_leaves_nothing_behind() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    block_on(log.append(&twenty())).expect("no faults");
    block_on(log.sync()).expect("no faults");
    let content =
        |disk: &MemoryDisk, name: &str| disk.file_content(&directory().join(name)).expect("it is there");
    let image = disk.crash_image(0);
    block_on(open(&image, 150, 0)).expect("all is there");
    assert_eq!(content(&image, "00000000000000000130.log"), twenty()[13..15].concat());

    block_on(log.close()).expect("no faults");
    let image = disk.crash_image(0);
    block_on(open(&image, 150, 0)).expect("all is there");
    assert_eq!(content(&image, "00000000000000000130.log"), twenty()[13..15].concat());
    assert_eq!(content(&image, "00000000000000000130.index").len(), 8, "the first batch has no entry");
    assert_eq!(content(&image, "00000000000000000130.timeindex").len(), 12);

    let log = block_on(open(&image, 120, 0)).expect("all is there");
    assert_eq!(names(&image).len(), 4, "one segment and the identity");
    assert_eq!(content(&image, "00000000000000000000.log"), twenty()[..12].concat());
    let whole = image.crash_image(1);
    assert_eq!(content(&whole, "00000000000000000000.log").len(), 18_000, "durable");
    assert_eq!(names(&whole).len(), 4);

    block_on(log.truncate(Offset(55))).expect("no faults");
    assert_eq!(log.end(), Offset(50), "the batch that has the offset goes, too");
    assert_eq!(content(&image.crash_image(2), "00000000000000000000.log"), twenty()[..5].concat());
    block_on(log.truncate(Offset(0))).expect("no faults");
    assert_eq!((log.start(), log.end(), names(&image).len()), (Offset(0), Offset(0), 1));
    block_on(log.append(&twenty())).expect("it goes on");
    assert_eq!(block_on(read_all(&log, Offset(0), 5000)).expect("no faults"), twenty().concat());
}

#[test]
fn many_partitions_share_few_descriptors() {
    let disk = MemoryDisk::default();
    let files = OpenFiles::new(disk.clone(), 10);
    let logs: Vec<_> = (0..100)
        .map(|partition| {
            let key = PartitionKey { partition: PartitionIndex(partition), ..KEY };
            let directory = partition_directory("topic", key.partition);
            PartitionLog::create(&files, key, directory, config(), Offset(0))
        })
        .collect();
    block_on(async {
        for part in twenty().chunks(5) {
            for log in &logs {
                log.append(part).await?;
                log.sync().await?;
                log.release_memory().await?;
                assert!(files.open_count() <= 10);
            }
        }
        for log in &logs {
            assert_eq!(read_all(log, Offset(0), 5000).await?, twenty().concat());
        }
        Ok::<_, SegmentError>(())
    })
    .expect("no faults");
}

#[test]
fn many_logs_are_synced_by_few_operations() {
    let disk = MemoryDisk::default();
    let files = OpenFiles::new(disk.clone(), 10);
    let partition = |index| PartitionKey { partition: PartitionIndex(index), ..KEY };
    let logs: Vec<_> = (0..50)
        .map(|index| {
            let directory = partition_directory("topic", PartitionIndex(index));
            PartitionLog::create(&files, partition(index), directory, config(), Offset(0))
        })
        .collect();
    let logs: Vec<&PartitionLog<MemoryDisk>> = logs.iter().collect();
    let each_synced = |part: &[Bytes]| {
        logs.iter().for_each(|log| block_on(log.append(part)).expect("no faults"));
        let before = disk.operation_count();
        block_on(sync_logs(&disk, &logs, 4)).expect("no faults");
        disk.operation_count() - before
    };
    // The first time, each has its identity to write: to make, to write, to cut the file. Then nothing is left but to
    // sync, and once more where a time index must be synced before an offset index.
    assert_eq!(each_synced(&twenty()[..5]), 3 * 50 + 1);
    assert_eq!(each_synced(&twenty()[5..10]), 1);
    let config = LogConfig { segment_bytes: 1 << 20, ..config() };
    logs.iter().for_each(|log| log.set_config(config));
    let more: Vec<Bytes> = (10..30).map(|number| batch(number * 10, 10, 1000 + number, 1500)).collect();
    assert_eq!(each_synced(&more), 4 * 50 + 2, "two index files each are made and written");
    block_on(close_logs(&disk, &logs, 4)).expect("no faults");
    for index in 0..50 {
        let directory = partition_directory("topic", PartitionIndex(index));
        let last = directory.join("00000000000000000000.log");
        assert_eq!(disk.file_content(&last).expect("it is there").len(), 45_000, "closed without padding");
        let image = disk.crash_image(u64::try_from(index).expect("positive"));
        let files = OpenFiles::new(image, 10);
        let log = PartitionLog::open(&files, partition(index), directory, config, Offset(300), Offset(0));
        let log = block_on(log).expect("all is there");
        assert_eq!(block_on(read_all(&log, Offset(0), 9000)).expect("no faults").len(), 45_000);
    }
}

#[test]
fn a_full_disk_leaves_the_log_whole_and_heals() {
    let disk = MemoryDisk::new(MemoryOptions { capacity_bytes: 5 * 4096, ..MemoryOptions::default() });
    let log = create(&disk);
    block_on(async {
        log.append(&twenty()[..5]).await?;
        log.sync().await?;
        let error = log.append(&twenty()[5..]).await.expect_err("the disk is full");
        assert!(error.is_storage_full());
        let end = log.end();
        assert!(end >= Offset(50));
        assert_eq!(
            read_all(&log, Offset(0), 5000).await?.len(),
            usize::try_from(log.size_bytes()).expect("small")
        );
        disk.set_capacity_bytes(1 << 20);
        let rest = usize::try_from(end.get() / 10).expect("small");
        log.append(&twenty()[rest..]).await?;
        log.sync().await?;
        assert_eq!(read_all(&log, Offset(0), 5000).await?, twenty().concat());
        Ok::<_, SegmentError>(())
    })
    .expect("it heals");
}

#[test]
fn a_disk_that_fills_up_anywhere_heals() {
    for blocks in 1..60 {
        let disk =
            MemoryDisk::new(MemoryOptions { capacity_bytes: blocks * 4096, ..MemoryOptions::default() });
        let log = create(&disk);
        let mut full_count = 0;
        let heal = |error: SegmentError| {
            assert!(error.is_storage_full(), "{error}");
            disk.set_capacity_bytes(disk.capacity_bytes() + 4096);
        };
        let long: Vec<Bytes> =
            (0..60).map(|number| batch(number * 10, 10, number, 500 + number_bytes(number))).collect();
        while log.end() < Offset(600) {
            let at = usize::try_from(log.end().get() / 10).expect("small");
            if let Err(error) = block_on(log.append(&long[at..(at + 5).min(60)])) {
                heal(error);
                full_count += 1;
            }
            if let Err(error) = block_on(log.sync()) {
                heal(error);
                full_count += 1;
            }
        }
        while let Err(error) = block_on(log.close()) {
            heal(error);
        }
        assert!(full_count > 0 || blocks > 20);
        assert_eq!(block_on(read_all(&log, Offset(0), 5000)).expect("no faults"), long.concat());
        let reopened = block_on(open(&disk.crash_image(blocks), 600, 0)).expect("all is there");
        assert_eq!(block_on(read_all(&reopened, Offset(0), 5000)).expect("no faults"), long.concat());
    }
}

/// Up to two thousand, without a pattern that fits blocks.
fn number_bytes(number: i64) -> usize {
    usize::try_from(number * 733 % 2000).expect("positive")
}

#[test]
fn a_deleted_partition_shares_nothing_with_its_namesake() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    let other_key = PartitionKey { topic_id: TopicId([8; 16]), ..KEY };
    block_on(async {
        log.append(&twenty()).await?;
        log.sync().await?;
        log.retire().await?;
        assert!(!disk.exists(&directory()).await.expect("no faults"));
        // The namesake begins while the old one's files are still there.
        let namesake = PartitionLog::create(&open_files(&disk), other_key, directory(), config(), Offset(0));
        namesake.append(&twenty()[..1]).await?;
        namesake.sync().await?;
        remove_retired(&disk).await.expect("no faults");
        assert_eq!(disk.list(Path::new(TOPICS_DIRECTORY)).await.expect("no faults"), ["topic-3"]);
        assert_eq!(read_all(&namesake, Offset(0), 10).await?, twenty()[0]);

        // A namesake that finds the old directory, for the rename was lost, takes it out of the way.
        let late_key = PartitionKey { topic_id: TopicId([9; 16]), ..KEY };
        let opened =
            PartitionLog::open(&open_files(&disk), late_key, directory(), config(), Offset(0), Offset(0))
                .await?;
        assert_eq!((opened.start(), opened.end()), (Offset(0), Offset(0)));
        opened.append(&twenty()[..2]).await?;
        opened.sync().await?;
        assert_eq!(read_all(&opened, Offset(0), 10).await?, twenty()[..2].concat());
        assert_eq!(disk.list(Path::new(TOPICS_DIRECTORY)).await.expect("no faults").len(), 2);
        Ok::<_, SegmentError>(())
    })
    .expect("no faults");
}

#[test]
#[should_panic(expected = "below the end")]
fn offsets_never_go_back() {
    let log = create(&MemoryDisk::default());
    block_on(log.append(&[batch(5, 1, 0, 100), batch(5, 1, 0, 100)])).expect("no faults");
}
