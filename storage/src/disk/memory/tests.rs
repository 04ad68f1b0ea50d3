use std::collections::BTreeSet;

use super::*;
use crate::disk::IoBuffer;

fn disk() -> MemoryDisk {
    MemoryDisk::default()
}

/// Blocks that are all of one byte each.
fn blocks(values: &[u8]) -> SharedBuffer {
    let mut buffer = IoBuffer::allocate(values.len() * 4096);
    for (block, value) in buffer.chunks_exact_mut(4096).zip(values) {
        block.fill(*value);
    }
    let filled = buffer.len();
    buffer.freeze(filled)
}

/// The first byte of each block.
fn content(disk: &MemoryDisk, path: &str) -> Vec<u8> {
    disk.file_content(Path::new(path))
        .expect("the file is there")
        .chunks(4096)
        .map(|block| block[0])
        .collect()
}

async fn durable_file(disk: &MemoryDisk, path: &str, values: &[u8]) -> io::Result<MemoryFile> {
    let file = disk.open(Path::new(path), OpenMode::Create).await?;
    file.write_at(&blocks(values), 0).await?;
    file.sync().await?;
    disk.sync_directory(Path::new("")).await?;
    Ok(file)
}

#[test]
fn keeps_the_contract() {
    block_on(crate::disk::contract::check(&disk()));
    let slow =
        MemoryDisk::new(MemoryOptions { block_bytes: 512, delay_polls_max: 10, ..MemoryOptions::default() });
    block_on(crate::disk::contract::check(&slow));
}

#[test]
fn synced_data_is_in_every_image() {
    let disk = disk();
    block_on(durable_file(&disk, "a", &[1, 2, 3])).expect("no faults");
    for seed in 0..100 {
        assert_eq!(content(&disk.crash_image(seed), "a"), [1, 2, 3]);
    }
}

#[test]
fn unsynced_blocks_arrive_in_any_subset() {
    let disk = disk();
    block_on(async {
        let file = durable_file(&disk, "a", &[1, 1]).await?;
        file.write_at(&blocks(&[2, 2]), 0).await?;
        file.write_at(&blocks(&[3, 3]), 0).await
    })
    .expect("no faults");
    let seen: BTreeSet<Vec<u8>> = (0..500).map(|seed| content(&disk.crash_image(seed), "a")).collect();
    let all: BTreeSet<Vec<u8>> = (1..=3).flat_map(|a| (1..=3).map(move |b| vec![a, b])).collect();
    assert_eq!(seen, all);
}

#[test]
fn a_size_that_was_not_synced_may_be_lost() {
    let disk = disk();
    block_on(async {
        let file = durable_file(&disk, "a", &[1]).await?;
        file.write_at(&blocks(&[2]), 4096).await
    })
    .expect("no faults");
    let seen: BTreeSet<Vec<u8>> = (0..100).map(|seed| content(&disk.crash_image(seed), "a")).collect();
    // Grown without its data, too.
    assert_eq!(seen, BTreeSet::from([vec![1], vec![1, 0], vec![1, 2]]));
}

#[test]
fn a_cut_that_was_not_synced_may_be_undone() {
    let disk = disk();
    block_on(async {
        let file = durable_file(&disk, "a", &[1, 2]).await?;
        file.truncate(100).await?;
        assert_eq!(disk.file_content(Path::new("a"))?, vec![1; 100]);
        file.write_at(&blocks(&[9]), 8192).await?;
        assert_eq!(content(&disk, "a"), [1, 0, 9], "what was cut reads as zeros");
        assert_eq!(disk.file_content(Path::new("a"))?[99..102], [1, 0, 0]);
        io::Result::Ok(())
    })
    .expect("no faults");
    let sizes: BTreeSet<usize> = (0..100)
        .map(|seed| disk.crash_image(seed).file_content(Path::new("a")).expect("the file is there").len())
        .collect();
    assert_eq!(sizes, BTreeSet::from([100, 8192, 12_288]));
}

#[test]
fn names_need_their_directory_synced() {
    let disk = disk();
    let presence = |disk: &MemoryDisk, seed: u64| {
        let image = disk.crash_image(seed);
        block_on(image.list(Path::new("d"))).expect("no faults").join(" ")
    };
    block_on(async {
        disk.create_directory(Path::new("d")).await?;
        disk.sync_directory(Path::new("")).await?;
        let file = disk.open(Path::new("d/a"), OpenMode::Create).await?;
        file.write_at(&blocks(&[1]), 0).await?;
        file.sync().await
    })
    .expect("no faults");
    let seen: BTreeSet<String> = (0..50).map(|seed| presence(&disk, seed)).collect();
    assert_eq!(seen, BTreeSet::from([String::new(), "a".to_owned()]));

    block_on(async {
        disk.sync_directory(Path::new("d")).await?;
        disk.rename(Path::new("d/a"), Path::new("d/b")).await
    })
    .expect("no faults");
    let seen: BTreeSet<String> = (0..50).map(|seed| presence(&disk, seed)).collect();
    assert_eq!(seen, BTreeSet::from(["a".to_owned(), "b".to_owned()]), "a rename is atomic");

    block_on(disk.sync_directory(Path::new("d"))).expect("no faults");
    block_on(disk.remove_file(Path::new("d/b"))).expect("no faults");
    let seen: BTreeSet<String> = (0..50).map(|seed| presence(&disk, seed)).collect();
    assert_eq!(seen, BTreeSet::from([String::new(), "b".to_owned()]));
}

#[test]
fn a_sync_of_everything_covers_files_and_names() {
    let disk = disk();
    block_on(async {
        disk.create_directory(Path::new("d/e")).await?;
        let file = disk.open(Path::new("d/e/a"), OpenMode::Create).await?;
        file.write_at(&blocks(&[1, 2]), 0).await?;
        disk.sync_all().await?;
        file.write_at(&blocks(&[3]), 8192).await?;
        disk.open(Path::new("d/b"), OpenMode::Create).await.map(|_| ())
    })
    .expect("no faults");
    let seen: BTreeSet<Vec<u8>> = (0..100).map(|seed| content(&disk.crash_image(seed), "d/e/a")).collect();
    assert_eq!(
        seen,
        BTreeSet::from([vec![1, 2], vec![1, 2, 0], vec![1, 2, 3]]),
        "what came later may be lost"
    );
}

#[test]
fn a_synced_write_needs_no_sync() {
    let disk = disk();
    block_on(async {
        durable_file(&disk, "a", &[1]).await?;
        let synced = disk.open(Path::new("a"), OpenMode::WriteSynced).await?;
        synced.write_at(&blocks(&[2, 3]), 4096).await
    })
    .expect("no faults");
    for seed in 0..50 {
        assert_eq!(content(&disk.crash_image(seed), "a"), [1, 2, 3]);
    }
}

#[test]
fn the_operation_of_the_crash_may_arrive_and_nothing_after_it() {
    let disk = disk();
    let file = block_on(durable_file(&disk, "a", &[1, 1])).expect("no faults");
    disk.crash_at(disk.operation_count() + 1);
    block_on(file.write_at(&blocks(&[2, 2]), 0)).expect_err("the power is lost");
    assert!(disk.has_crashed());
    block_on(file.write_at(&blocks(&[3, 3]), 0)).expect_err("the power is lost");
    block_on(file.sync()).expect_err("the power is lost");
    block_on(file.read_at(0, 1)).expect_err("the power is lost");
    let seen: BTreeSet<Vec<u8>> = (0..200).map(|seed| content(&disk.crash_image(seed), "a")).collect();
    assert_eq!(seen, BTreeSet::from([vec![1, 1], vec![1, 2], vec![2, 1], vec![2, 2]]));
}

#[test]
fn a_sync_under_way_at_the_crash_promises_nothing() {
    let disk = disk();
    let file = block_on(durable_file(&disk, "a", &[1])).expect("no faults");
    block_on(file.write_at(&blocks(&[2]), 0)).expect("no faults");
    disk.crash_at(disk.operation_count() + 1);
    block_on(file.sync()).expect_err("the power is lost");
    let seen: BTreeSet<Vec<u8>> = (0..50).map(|seed| content(&disk.crash_image(seed), "a")).collect();
    assert_eq!(seen, BTreeSet::from([vec![1], vec![2]]));
}

#[test]
fn a_sync_covers_only_writes_that_were_complete_when_it_began() {
    let disk = MemoryDisk::new(MemoryOptions { delay_polls_max: 5, seed: 3, ..MemoryOptions::default() });
    let file = block_on(durable_file(&disk, "a", &[1])).expect("no faults");
    let buffer = blocks(&[2]);
    // Polled once, the write is under way; with this seed it is not complete.
    let mut write = Box::pin(file.write_at(&buffer, 0));
    let mut context = Context::from_waker(Waker::noop());
    assert!(write.as_mut().poll(&mut context).is_pending());
    block_on(file.sync()).expect("no faults");
    let seen: BTreeSet<Vec<u8>> = (0..50).map(|seed| content(&disk.crash_image(seed), "a")).collect();
    assert_eq!(seen, BTreeSet::from([vec![1], vec![2]]));
    block_on(write).expect("no faults");
    block_on(file.sync()).expect("no faults");
    assert!((0..50).all(|seed| content(&disk.crash_image(seed), "a") == [2]));
}

#[test]
fn a_full_disk_refuses_and_heals() {
    let disk = MemoryDisk::new(MemoryOptions { capacity_bytes: 3 * 4096, ..MemoryOptions::default() });
    block_on(async {
        let file = durable_file(&disk, "a", &[1, 2]).await?;
        let error = file.write_at(&blocks(&[3, 4]), 8192).await.expect_err("the disk is full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(content(&disk, "a"), [1, 2]);
        file.write_at(&blocks(&[5, 6]), 0).await?;
        file.allocate(12_288, false).await?;
        assert_eq!(disk.available_bytes().await?, 0);
        assert_eq!(file.size_bytes().await?, 8192);
        file.truncate(0).await?;
        assert_eq!(disk.available_bytes().await?, 3 * 4096);
        file.write_at(&blocks(&[7]), 0).await?;
        disk.remove_file(Path::new("a")).await?;
        assert_eq!(disk.available_bytes().await?, 3 * 4096);
        io::Result::Ok(())
    })
    .expect("no faults");
}

#[test]
fn one_seed_gives_one_image() {
    let disk = disk();
    block_on(async {
        let file = durable_file(&disk, "a", &[1, 1, 1, 1]).await?;
        file.write_at(&blocks(&[2, 3, 4, 5]), 0).await
    })
    .expect("no faults");
    for seed in 0..20 {
        assert_eq!(content(&disk.crash_image(seed), "a"), content(&disk.crash_image(seed), "a"));
    }
}

#[test]
fn rot_changes_one_byte_for_good() {
    let disk = disk();
    block_on(durable_file(&disk, "a", &[1, 1])).expect("no faults");
    disk.rot(Path::new("a"), 4097, 0x10).expect("the file is there");
    let image = disk.crash_image(1);
    assert_eq!(image.file_content(Path::new("a")).expect("the file is there")[4096..4099], [1, 0x11, 1]);
}
