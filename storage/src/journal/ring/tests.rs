use super::*;
use crate::disk::memory::MemoryDisk;
use crate::store::testing::block_on;

const FILE: u64 = 16 << 10;
/// No file of these rings.
const NOWHERE: [u32; 2] = [100, 100];

fn ring(disk: &MemoryDisk, count: u32, files_max: usize) -> Ring<<MemoryDisk as Disk>::File> {
    let directory = directory(0, 1);
    block_on(disk.create_directory(&directory)).expect("no faults");
    for number in 0..count {
        block_on(create_file(disk, &directory, number, FILE, SyncMethod::Dsync)).expect("no faults");
    }
    let files = block_on(open_files(disk, &directory, SyncMethod::Dsync)).expect("no faults");
    assert_eq!(files.len(), usize::try_from(count).expect("small"));
    assert!(files.iter().all(|(_, _, size_bytes)| *size_bytes == FILE));
    Ring::new(files, FILE, files_max)
}

fn place<F: DiskFile>(ring: &mut Ring<F>, sequence: u64, length: u64) -> Option<(u32, u64)> {
    ring.place(length, FrameSequence(sequence)).map(|location| (location.file, location.position))
}

#[test]
fn frames_fill_a_file_and_then_the_next() {
    let disk = MemoryDisk::default();
    let mut ring = ring(&disk, 2, 2);
    assert_eq!(place(&mut ring, 0, 8192), Some((0, 0)));
    assert_eq!(place(&mut ring, 1, 4096), Some((0, 8192)));
    assert_eq!(place(&mut ring, 2, 8192), Some((1, 0)), "4,096 bytes are left in the first");
    assert_eq!(ring.occupancy(), (FILE + 8192, 2 * FILE));
    assert_eq!(place(&mut ring, 3, 16384), None, "no file is free");
    assert!(ring.is_tight());
}

#[test]
fn a_file_is_recycled_when_nobody_needs_it() {
    let disk = MemoryDisk::default();
    let mut ring = ring(&disk, 2, 2);
    place(&mut ring, 0, FILE);
    place(&mut ring, 1, 4096);
    assert_eq!(ring.recycle(FrameSequence(0), NOWHERE), 0, "a replay would need it");
    let reader = ring.pin(0);
    assert_eq!(ring.recycle(FrameSequence(1), NOWHERE), 0, "somebody reads it");
    drop(reader);
    assert_eq!(ring.recycle(FrameSequence(1), NOWHERE), 1);
    assert_eq!(ring.recycle(FrameSequence(9), NOWHERE), 0, "the one that is written stays");
    assert_eq!(place(&mut ring, 2, FILE), Some((0, 0)));
}

#[test]
fn a_file_in_which_a_replay_begins_stays() {
    let disk = MemoryDisk::default();
    let mut ring = ring(&disk, 3, 3);
    for sequence in 0..3 {
        place(&mut ring, sequence, FILE);
    }
    assert_eq!(ring.recycle(FrameSequence(2), [0, 1]), 0, "by the older checkpoint");
    assert_eq!(ring.recycle(FrameSequence(2), [1, 1]), 1);
    assert_eq!(ring.recycle(FrameSequence(2), [2, 1]), 0, "by the last one");
    assert_eq!(ring.recycle(FrameSequence(2), [2, 2]), 1);
}

#[test]
fn the_ring_grows_ahead_of_need_and_not_beyond() {
    let disk = MemoryDisk::default();
    let mut ring = ring(&disk, 1, 3);
    place(&mut ring, 0, 4096);
    for expected in [1, 2] {
        let number = ring.wanted_file().expect("one more");
        assert_eq!(number, expected);
        let path = directory(0, 1);
        let file = block_on(create_file(&disk, &path, number, FILE, SyncMethod::Dsync)).expect("no faults");
        ring.add(number, file, FILE);
        assert_eq!(ring.wanted_file(), None, "one is free");
        place(&mut ring, u64::from(number), FILE);
    }
    assert_eq!(ring.wanted_file(), None, "three are the most");
}

#[test]
fn a_file_that_was_not_finished_is_not_of_the_ring() {
    let disk = MemoryDisk::default();
    ring(&disk, 1, 1);
    let directory = directory(0, 1);
    let unfinished = directory.join("00000001.journal.new");
    block_on(disk.open(&unfinished, OpenMode::Create)).expect("no faults");
    let files = block_on(open_files(&disk, &directory, SyncMethod::Dsync)).expect("no faults");
    assert_eq!(files.iter().map(|(number, ..)| *number).collect::<Vec<_>>(), [0]);
    assert!(!block_on(disk.exists(&unfinished)).expect("no faults"));
}

#[test]
fn a_short_file_holds_what_fits_and_leaves_when_two_others_are_there() {
    let disk = MemoryDisk::default();
    let path = directory(0, 1);
    let mut ring = ring(&disk, 2, 3);
    let made = |number, bytes| {
        block_on(create_file(&disk, &path, number, bytes, SyncMethod::Dsync)).expect("no faults")
    };
    // As after the option was raised: both are short now.
    ring.file_bytes = 2 * FILE;
    assert_eq!(place(&mut ring, 0, FILE), Some((0, 0)));
    assert_eq!(place(&mut ring, 1, 2 * FILE), None, "it would not fit");
    assert!(ring.is_single() && !ring.is_tight());
    assert_eq!(ring.wanted_file(), Some(2));
    ring.add(2, made(2, 2 * FILE), 2 * FILE);
    assert_eq!(place(&mut ring, 1, 2 * FILE), Some((2, 0)));
    assert_eq!(ring.recycle(FrameSequence(1), NOWHERE), 1);
    assert_eq!(ring.retired(), None, "there is no second one for the longest frame");
    assert_eq!(ring.wanted_file(), Some(3));
    ring.add(3, made(3, 2 * FILE), 2 * FILE);
    for (sequence, file) in [(2, 1), (3, 0), (4, 3)] {
        assert_eq!(place(&mut ring, sequence, FILE), Some((file, 0)));
    }
    assert_eq!(ring.recycle(FrameSequence(4), NOWHERE), 3, "a whole one and both short ones");
    assert_eq!(ring.occupancy().0, FILE);
    assert_eq!(ring.wanted_file(), None, "the whole one is free");
    place(&mut ring, 5, 2 * FILE);
    assert_eq!(ring.wanted_file(), Some(4), "what is still to be removed is no free number");
    for number in [1, 0] {
        assert_eq!(ring.retired(), Some(number));
        block_on(remove_file(&disk, &path, number)).expect("no faults");
    }
    assert_eq!(ring.retired(), None);
    assert_eq!(ring.wanted_file(), Some(0));
    let left = block_on(open_files(&disk, &path, SyncMethod::Dsync)).expect("no faults");
    assert_eq!(left.into_iter().map(|(number, ..)| number).collect::<Vec<_>>(), [2, 3]);
}
