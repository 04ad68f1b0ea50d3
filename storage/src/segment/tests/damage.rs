//! Files that are not what was written: indexes are rebuilt, segments are reported.

use proptest::prelude::*;

use super::*;

/// A closed log of twenty batches in two segments, each at 13 and 7.
fn closed_log() -> MemoryDisk {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    block_on(log.append(&twenty())).expect("no faults");
    block_on(log.close()).expect("no faults");
    disk
}

fn path(name: &str) -> PathBuf {
    directory().join(name)
}

const CLOSED: &str = "00000000000000000000";
const LAST: &str = "00000000000000000130";

/// Opens, reads everything, looks up each batch by offset and by time.
fn check_whole(disk: &MemoryDisk) {
    block_on(async {
        let log = open(disk, 200, 0).await?;
        assert_eq!(read_all(&log, Offset(0), 3000).await?, twenty().concat());
        for (number, expected) in (0..20).zip(twenty()) {
            let found = log.read(Offset(number * 10 + 5), Offset(200), 1).await?;
            assert_eq!(found.chunks.concat(), expected);
            assert_eq!(log.batch_at_time(Timestamp(1000 + number), Offset(200)).await?, Some(expected));
        }
        log.sync().await
    })
    .expect("nothing is lost");
}

#[test]
fn a_missing_index_is_rebuilt() {
    let whole = closed_log();
    for name in [CLOSED, LAST] {
        for suffix in ["index", "timeindex"] {
            let disk = whole.crash_image(1);
            let path = path(&format!("{name}.{suffix}"));
            let content = disk.file_content(&path).expect("it is there");
            block_on(disk.remove_file(&path)).expect("it is there");
            check_whole(&disk);
            if name == CLOSED {
                assert_eq!(disk.file_content(&path).expect("it is there again"), content, "{path:?}");
            }
        }
    }
}

#[test]
fn an_index_of_an_impossible_length_is_rebuilt() {
    for suffix in ["index", "timeindex"] {
        let disk = closed_log();
        let path = path(&format!("{CLOSED}.{suffix}"));
        let content = disk.file_content(&path).expect("it is there");
        disk.set_file_content(&path, &content[..content.len() - 3]).expect("it is there");
        check_whole(&disk);
        assert_eq!(disk.file_content(&path).expect("it is there"), content);
    }
}

#[test]
fn an_index_that_leads_astray_is_not_believed_and_then_rebuilt() {
    let disk = closed_log();
    let path = path(&format!("{CLOSED}.index"));
    let content = disk.file_content(&path).expect("it is there");
    // The position of the fifth entry.
    disk.rot(&path, 4 * 8 + 7, 0x55).expect("it is there");
    check_whole(&disk);
    assert_eq!(disk.file_content(&path).expect("it is there"), content, "by the sync");
}

proptest! {
    #[test]
    fn garbage_in_an_index_never_loses_records(
        last: bool,
        garbage in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0_usize..100,
    ) {
        let disk = closed_log();
        let path = path(&format!("{}.index", if last { LAST } else { CLOSED }));
        let mut content = disk.file_content(&path).expect("it is there");
        content.resize(content.len().max(at + garbage.len()), 0);
        content[at..at + garbage.len()].copy_from_slice(&garbage);
        disk.set_file_content(&path, &content).expect("it is there");
        block_on(async {
            let log = open(&disk, 200, 0).await?;
            for offset in [0, 45, 123, 131, 199] {
                let read = log.read(Offset(offset), Offset(200), 1).await?;
                let expected = twenty()[usize::try_from(offset / 10).expect("small")].clone();
                assert_eq!(read.chunks, [expected], "offset {offset}");
            }
            log.append(&[batch(200, 1, 9, 3000)]).await?;
            log.sync().await?;
            assert_eq!(read_all(&log, Offset(200), 1).await?, batch(200, 1, 9, 3000));
            Ok::<_, SegmentError>(())
        })
        .expect("records do not depend on an index");
    }

    #[test]
    fn garbage_in_a_time_index_never_panics(
        last: bool,
        garbage in proptest::collection::vec(any::<u8>(), 0..300),
        at in 0_usize..100,
        time in any::<i64>(),
    ) {
        let disk = closed_log();
        let path = path(&format!("{}.timeindex", if last { LAST } else { CLOSED }));
        let mut content = disk.file_content(&path).expect("it is there");
        content.resize(content.len().max(at + garbage.len()), 0);
        content[at..at + garbage.len()].copy_from_slice(&garbage);
        disk.set_file_content(&path, &content).expect("it is there");
        block_on(async {
            let log = open(&disk, 200, 0).await?;
            for time in [0, 1005, 1015, time] {
                log.batch_at_time(Timestamp(time), Offset(200)).await?;
            }
            log.batch_of_max_timestamp(Offset(200)).await?;
            log.summaries().await?;
            assert_eq!(read_all(&log, Offset(0), 9000).await?, twenty().concat());
            log.append(&[batch(200, 1, 2000, 3000)]).await?;
            log.close().await
        })
        .expect("records do not depend on an index");
    }

    #[test]
    fn damage_in_a_segment_is_an_error_or_a_record(position in 0_u64..19_500, flip in 1_u8..) {
        let disk = closed_log();
        disk.rot(&path(&format!("{CLOSED}.log")), position, flip).expect("it is there");
        block_on(async {
            let log = open(&disk, 200, 0).await?;
            match read_all(&log, Offset(0), 2000).await {
                // Inside of records or of fields that only consumers look at: their CRC finds it.
                Ok(read) => assert_eq!(read.len(), 30_000),
                Err(SegmentError::Corrupt { file, .. }) => assert_eq!(file, path(&format!("{CLOSED}.log"))),
                Err(other) => return Err(other),
            }
            Ok(())
        })
        .expect("no other error");
    }
}

#[test]
fn an_index_that_rots_while_the_log_is_open_is_rebuilt() {
    for (suffix, entry) in [("index", 8), ("timeindex", 12)] {
        let disk = MemoryDisk::default();
        let log = create(&disk);
        block_on(log.append(&twenty())).expect("no faults");
        block_on(log.release_memory()).expect("no faults");
        // The last entry's first byte: an offset or a time that nothing can follow.
        disk.rot(&path(&format!("{LAST}.{suffix}")), 5 * entry, 0x7f).expect("it is there");
        let more: Vec<Bytes> = (20..25).map(|number| batch(number * 10, 10, 1000 + number, 1500)).collect();
        block_on(log.append(&more)).expect("records do not depend on an index");
        block_on(log.close()).expect("no faults");
        assert_eq!(
            block_on(read_all(&log, Offset(0), 1000)).expect("no faults"),
            [twenty(), more].concat().concat()
        );
        let found = block_on(log.batch_at_time(Timestamp(1024), Offset(250))).expect("no faults");
        assert_eq!(found, Some(batch(240, 10, 1024, 1500)));
    }
}

#[test]
fn a_closed_segments_latest_time_is_not_believed_without_its_batch() {
    let disk = closed_log();
    disk.rot(&path(&format!("{CLOSED}.timeindex")), 11 * 12, 0x7f).expect("it is there");
    let log = block_on(open(&disk, 200, 0)).expect("nobody has looked yet");
    let summaries = block_on(log.summaries()).expect("no faults");
    assert_eq!(summaries[0].max_timestamp, None);
    block_on(log.sync()).expect("no faults");
    let summaries = block_on(log.summaries()).expect("no faults");
    assert_eq!(summaries[0].max_timestamp, Some(Timestamp(1012)), "the index is rebuilt");
}

#[test]
fn the_last_segments_latest_time_is_not_believed_without_its_batch() {
    let disk = MemoryDisk::default();
    let log = create(&disk);
    let batches: Vec<Bytes> = (0..10).map(|number| batch(number * 10, 10, 900 - number, 1500)).collect();
    block_on(log.append(&batches)).expect("no faults");
    block_on(log.close()).expect("no faults");
    disk.rot(&path(&format!("{CLOSED}.timeindex")), 0, 0x7f).expect("it is there");
    let log = block_on(open(&disk, 100, 0)).expect("all is there");
    assert_eq!(block_on(log.summaries()).expect("no faults")[0].max_timestamp, Some(Timestamp(900)));
}

#[test]
fn a_damaged_header_is_reported_with_its_place() {
    let disk = closed_log();
    // The magic of the third batch.
    disk.rot(&path(&format!("{CLOSED}.log")), 2 * 1500 + 16, 1).expect("it is there");
    let log = block_on(open(&disk, 200, 0)).expect("nobody has looked yet");
    let read = block_on(log.read(Offset(0), Offset(200), 1 << 20)).expect("two batches");
    assert_eq!(read.next, Offset(20));
    let error = block_on(log.read(Offset(20), Offset(200), 1 << 20)).expect_err("damage");
    let text = error.to_string();
    assert!(text.ends_with(".log is damaged at position 3000: no batch there continues offset 20"), "{text}");
    let behind =
        block_on(log.read(Offset(40), Offset(200), 1)).expect("an index entry leads past the damage");
    assert_eq!(behind.chunks, [twenty()[4].clone()]);
}

#[test]
fn a_last_segment_that_ends_before_the_cut_is_reported() {
    for (position, offset) in [(6 * 1500 + 16, 190), (16, 190)] {
        let disk = closed_log();
        disk.rot(&path(&format!("{LAST}.log")), position, 1).expect("it is there");
        for suffix in ["index", "timeindex"] {
            block_on(disk.remove_file(&path(&format!("{LAST}.{suffix}")))).expect("it is there");
        }
        let error = block_on(open(&disk, 200, 0)).err().expect("records are damaged");
        let expected = if position == 16 { Offset(130) } else { Offset(offset) };
        assert!(matches!(error, SegmentError::Corrupt { offset, .. } if offset == expected), "{error}");
    }
    let disk = closed_log();
    let content = disk.file_content(&path(&format!("{LAST}.log"))).expect("it is there");
    disk.set_file_content(&path(&format!("{LAST}.log")), &content[..4000]).expect("it is there");
    let error = block_on(open(&disk, 200, 0)).err().expect("records are missing");
    assert!(matches!(error, SegmentError::Corrupt { offset: Offset(150), .. }), "{error}");
    let kept = block_on(open(&disk, 150, 0)).expect("with the operator's word, what is there");
    assert_eq!(block_on(read_all(&kept, Offset(0), 10)).expect("no faults"), twenty()[..15].concat());
}

#[test]
fn missing_segments_are_reported() {
    let disk = closed_log();
    block_on(disk.remove_file(&path(&format!("{CLOSED}.log")))).expect("it is there");
    let error = block_on(open(&disk, 200, 50)).err().expect("records are missing");
    let expected = (Offset(50), Offset(130));
    assert!(matches!(error, SegmentError::Missing { from, end, .. } if (from, end) == expected), "{error}");

    let disk = MemoryDisk::default();
    let error = block_on(open(&disk, 200, 50)).err().expect("records are missing");
    let expected = (Offset(50), Offset(200));
    assert!(matches!(error, SegmentError::Missing { from, end, .. } if (from, end) == expected), "{error}");
    let empty = block_on(open(&disk, 200, 200)).expect("nothing is asked for");
    assert_eq!((empty.start(), empty.end()), (Offset(200), Offset(200)));
}

#[test]
fn a_failing_disk_names_the_file() {
    let disk = closed_log();
    let log = block_on(open(&disk, 200, 0)).expect("all is there");
    disk.crash_now();
    let error = block_on(log.read(Offset(0), Offset(200), 1)).expect_err("the disk is gone");
    assert!(error.to_string().starts_with("topics/topic-3/00000000000000000000.log: "), "{error}");
}

/// The batch before the end of a segment, its length a little less than it is: what follows is not looked at to read it.
#[test]
fn a_last_batch_that_says_it_is_shorter_is_damage() {
    const LAST_BATCH_LENGTH: u64 = 18_000 + 8 + 3;
    let disk = closed_log();
    let file = path(&format!("{CLOSED}.log"));
    disk.rot(&file, LAST_BATCH_LENGTH, 64).expect("it is there");
    let read = block_on(async { read_all(&open(&disk, 200, 0).await?, Offset(0), 2000).await });
    assert!(matches!(read, Err(SegmentError::Corrupt { file: found, .. }) if found == file));
}
