//! What every disk must do: one suite, run on each of them. Loss of power is not in it: see `memory` for that.

use std::io;
use std::path::{Path, PathBuf};
use std::thread;

use super::{DirectoryEntry, Disk, DiskFile, IoBuffer, OpenMode, SharedBuffer};
use crate::wait::for_each_concurrent;

/// Runs the suite in an empty disk and leaves it empty.
///
/// # Panics
/// Where the disk breaks the contract.
pub async fn check<D: Disk>(disk: &D) {
    assert!(disk.block_bytes().is_power_of_two());
    assert!(disk.block_bytes() <= 4096);
    check_opening(disk).await.expect("opening");
    check_reading(disk).await.expect("reading");
    check_writing(disk).await.expect("writing");
    check_writes_in_flight(disk).await.expect("several writes in flight");
    check_synced_writes(disk).await.expect("synced writes");
    check_small_writes(disk).await.expect("small writes");
    check_small_writes_of_all_lengths(disk).await.expect("small writes of all lengths");
    check_sizes(disk).await.expect("sizes");
    check_allocation(disk).await.expect("allocation");
    check_names(disk).await.expect("names");
    check_removal(disk).await.expect("removal");
    check_bytes_outlive(disk).await.expect("bytes outlive their file");
    if disk.can_sync_all() {
        disk.sync_all().await.expect("syncing everything");
    }
    assert!(disk.available_bytes().await.expect("it tells") > 0);
    assert_eq!(disk.list(Path::new("")).await.expect("the root is there"), Vec::<String>::new());
}

/// A byte for each position, without a short period.
fn pattern(position: usize, seed: u8) -> u8 {
    let mixed = (position ^ (position >> 8) ^ (position >> 16)) & 0xff;
    u8::try_from(mixed).expect("masked") ^ seed
}

fn buffer(length: usize, seed: u8) -> SharedBuffer {
    let mut buffer = IoBuffer::allocate(length);
    assert_eq!(buffer.len(), length, "the suite writes whole classes");
    for (position, byte) in buffer.iter_mut().enumerate() {
        *byte = pattern(position, seed);
    }
    buffer.freeze(length)
}

fn expected(position: usize, length: usize, seed: u8) -> Vec<u8> {
    (position..position + length).map(|position| pattern(position, seed)).collect()
}

async fn check_opening<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    for mode in [OpenMode::Read, OpenMode::Write, OpenMode::WriteSynced] {
        let error = disk.open(path, mode).await.err().expect("it is not there");
        assert_eq!(error.kind(), io::ErrorKind::NotFound, "{mode:?}");
    }
    assert!(!disk.exists(path).await?);
    let file = disk.open(path, OpenMode::Create).await?;
    assert!(disk.exists(path).await?);
    assert_eq!(file.size_bytes().await?, 0);
    file.write_at(&buffer(4096, 1), 0).await?;
    file.close().await?;
    for mode in [OpenMode::Create, OpenMode::Read, OpenMode::Write, OpenMode::WriteSynced] {
        let file = disk.open(path, mode).await?;
        assert_eq!(file.size_bytes().await?, 4096, "{mode:?} keeps what is there");
        assert_eq!(file.read_at(0, 4096).await?, expected(0, 4096, 1));
        file.close().await?;
    }
    disk.remove_file(path).await
}

async fn check_reading<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    let file = disk.open(path, OpenMode::Create).await?;
    assert_eq!(file.read_at(0, 10).await?.len(), 0, "an empty file");
    let length = 20 * 4096;
    let content = buffer(length, 2);
    file.write_at(&content, 0).await?;
    for (position, wanted) in [
        (0, length),
        (0, 1),
        (1, 1),
        (511, 2),
        (4095, 2),
        (4096, 4096),
        (1000, 30_000),
        (length - 1, 1),
        (600, 0),
    ] {
        let read = file.read_at(u64::try_from(position).expect("small"), wanted).await?;
        assert_eq!(read, expected(position, wanted, 2), "{wanted} bytes at {position}");
    }
    file.truncate(10_000).await?;
    for (position, wanted, there) in
        [(0, length, 10_000), (9_999, 5, 1), (8_600, 4096, 1400), (10_000, 1, 0), (50_000, 100, 0)]
    {
        let read = file.read_at(u64::try_from(position).expect("small"), wanted).await?;
        assert_eq!(read, expected(position, there, 2), "{wanted} bytes at {position}, {there} of them there");
    }
    file.truncate(8192).await?;
    assert_eq!(file.read_at(4096, 8192).await?, expected(4096, 4096, 2), "an end at a block");
    file.close().await?;
    disk.remove_file(path).await
}

async fn check_writing<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    let file = disk.open(path, OpenMode::Create).await?;
    let large = buffer(3 << 20, 3);
    file.write_at(&large, 8192).await?;
    assert_eq!(file.size_bytes().await?, (3 << 20) + 8192);
    assert_eq!(file.read_at(0, 8192).await?, vec![0; 8192], "a gap reads as zeros");
    assert_eq!(file.read_at(8192, 4 << 20).await?, large.bytes());
    let small = buffer(4096, 4);
    for round in 0..3_u64 {
        file.write_at(&small, round * 8192).await?;
    }
    assert_eq!(file.read_at(16_384, 4096).await?, small.bytes(), "one buffer is written several times");
    assert_eq!(file.read_at(20_480, 4096).await?, large.slice(12_288..16_384), "its neighbour stays");
    let mut padded = IoBuffer::allocate(4096);
    padded[0] = 5;
    file.write_at(&padded.freeze_padded(1, 6), 0).await?;
    assert_eq!(file.read_at(0, 3).await?, [5, 6, 6].as_slice(), "the padding is written");
    file.sync().await?;
    file.close().await?;
    let file = disk.open(path, OpenMode::Read).await?;
    assert_eq!(file.read_at(16_384, 4096).await?, small.bytes());
    file.close().await?;
    disk.remove_file(path).await
}

async fn check_writes_in_flight<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    let file = disk.open(path, OpenMode::Create).await?;
    let (a, b, c) = (buffer(65_536, 5), buffer(4096, 6), buffer(8192, 7));
    let writes = futures_lite::future::zip(
        file.write_at(&a, 12_288),
        futures_lite::future::zip(file.write_at(&b, 8192), file.write_at(&c, 0)),
    );
    let (first, (second, third)) = writes.await;
    first.and(second).and(third)?;
    file.sync().await?;
    assert_eq!(file.read_at(12_288, 65_536).await?, a.bytes());
    assert_eq!(file.read_at(8192, 4096).await?, b.bytes());
    assert_eq!(file.read_at(0, 8192).await?, c.bytes());
    file.close().await?;
    disk.remove_file(path).await
}

async fn check_synced_writes<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    disk.open(path, OpenMode::Create).await?.close().await?;
    let file = disk.open(path, OpenMode::WriteSynced).await?;
    file.allocate(65_536, true).await?;
    file.write_at(&buffer(8192, 8), 4096).await?;
    assert_eq!(file.read_at(4096, 8192).await?, expected(0, 8192, 8));
    assert_eq!(file.size_bytes().await?, 65_536);
    file.close().await?;
    disk.remove_file(path).await
}

async fn check_small_writes<D: Disk>(disk: &D) -> io::Result<()> {
    let path = |number: usize| PathBuf::from(format!("small-{number}"));
    let missing = Path::new("missing").join("file");
    let error = disk.write_small(&missing, &buffer(4096, 1), 0, 0).await.expect_err("there is no directory");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let open = disk.open(&path(0), OpenMode::Create).await?;
    for (round, seed) in (0..3).zip(1_u8..) {
        let position = round * 4096;
        let position_bytes = u64::try_from(position).expect("small");
        let write = async |number: usize| {
            // Not synced, as the hint says it mostly is: nothing is lost by that.
            disk.write_small(&path(number), &buffer(8192, seed), position_bytes, position_bytes).await
        };
        for_each_concurrent((0..20).map(write), 7).await?;
        assert_eq!(open.read_at(0, 1 << 20).await?.len(), position + 8192, "an open file shows it at once");
    }
    disk.sync_all().await.or_else(|error| if disk.can_sync_all() { Err(error) } else { Ok(()) })?;
    open.sync().await?;
    open.close().await?;
    for number in 0..20 {
        let file = disk.open(&path(number), OpenMode::Read).await?;
        assert_eq!(file.read_at(0, 4096).await?, expected(0, 4096, 1), "written over from behind only");
        assert_eq!(file.read_at(4096, 4096).await?, expected(0, 4096, 2));
        assert_eq!(file.read_at(8192, 8192).await?, expected(0, 8192, 3));
        file.close().await?;
        disk.remove_file(&path(number)).await?;
    }
    Ok(())
}

/// Short and long ones in turn, each over the last block of the one before, many at a time.
async fn check_small_writes_of_all_lengths<D: Disk>(disk: &D) -> io::Result<()> {
    const WRITES: [(usize, usize); 4] = [(0, 8192), (4096, 131_072), (131_072, 8192), (135_168, 65_536)];
    let path = |number: usize| PathBuf::from(format!("small-{number}"));
    for ((position, length), seed) in WRITES.into_iter().zip(1_u8..) {
        let position = u64::try_from(position).expect("small");
        let write =
            async |number: usize| disk.write_small(&path(number), &buffer(length, seed), position, 0).await;
        for_each_concurrent((0..60).map(write), 50).await?;
    }
    for number in 0..60 {
        let file = disk.open(&path(number), OpenMode::Read).await?;
        assert_eq!(file.size_bytes().await?, 135_168 + 65_536);
        assert_eq!(file.read_at(0, 4096).await?, expected(0, 4096, 1));
        assert_eq!(file.read_at(4096, 126_976).await?, expected(0, 126_976, 2));
        assert_eq!(file.read_at(131_072, 4096).await?, expected(0, 4096, 3));
        assert_eq!(file.read_at(135_168, 65_536).await?, expected(0, 65_536, 4));
        file.close().await?;
        disk.remove_file(&path(number)).await?;
    }
    Ok(())
}

async fn check_sizes<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    let file = disk.open(path, OpenMode::Create).await?;
    file.write_at(&buffer(16_384, 9), 0).await?;
    file.truncate(5000).await?;
    assert_eq!(file.size_bytes().await?, 5000);
    file.truncate(9000).await?;
    let mut after = expected(0, 5000, 9);
    after.resize(9000, 0);
    assert_eq!(file.read_at(0, 16_384).await?, after, "what was cut reads as zeros");
    file.write_at(&buffer(4096, 10), 4096).await?;
    assert_eq!(file.size_bytes().await?, 9000, "a write inside leaves the size");
    assert_eq!(file.read_at(4096, 4096).await?, expected(0, 4096, 10));
    file.write_at(&buffer(4096, 11), 8192).await?;
    assert_eq!(file.size_bytes().await?, 12_288);
    file.truncate(0).await?;
    assert_eq!(file.read_at(0, 1).await?.len(), 0);
    file.close().await?;
    disk.remove_file(path).await
}

async fn check_allocation<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    let file = disk.open(path, OpenMode::Create).await?;
    file.write_at(&buffer(4096, 12), 0).await?;
    file.allocate(65_536, false).await?;
    assert_eq!(file.size_bytes().await?, 4096);
    assert_eq!(file.read_at(0, 8192).await?, expected(0, 4096, 12));
    file.allocate(32_768, true).await?;
    assert_eq!(file.size_bytes().await?, 32_768);
    let mut after = expected(0, 4096, 12);
    after.resize(32_768, 0);
    assert_eq!(file.read_at(0, 65_536).await?, after);
    file.allocate(4096, true).await?;
    assert_eq!(file.size_bytes().await?, 32_768, "allocation never shrinks");
    file.close().await?;
    disk.remove_file(path).await
}

async fn check_names<D: Disk>(disk: &D) -> io::Result<()> {
    let root = Path::new("");
    assert_eq!(disk.list(Path::new("absent/deeper")).await?, Vec::<String>::new());
    disk.create_directory(Path::new("a/b/c")).await?;
    disk.create_directory(Path::new("a/b")).await?;
    disk.sync_directory(root).await?;
    disk.sync_directory(Path::new("a")).await?;
    for name in ["a/z", "a/x", "a/y"] {
        let file = disk.open(Path::new(name), OpenMode::Create).await?;
        file.write_at(&buffer(4096, name.as_bytes()[2]), 0).await?;
        file.truncate(u64::from(name.as_bytes()[2])).await?;
        file.close().await?;
    }
    let entry =
        |name: &str, size_bytes| DirectoryEntry { name: name.to_owned(), size_bytes, is_directory: false };
    let directory = DirectoryEntry { name: "b".to_owned(), size_bytes: 0, is_directory: true };
    let listed = disk.list_sized(Path::new("a")).await?;
    assert_eq!(listed, [directory, entry("x", 120), entry("y", 121), entry("z", 122)]);
    assert_eq!(disk.list(Path::new("a")).await?, ["b", "x", "y", "z"]);
    let all_but_x = |entries: &[DirectoryEntry]| -> Vec<usize> {
        (0..entries.len()).filter(|place| entries[*place].name != "x").collect()
    };
    let survey = disk.survey(Path::new("a"), all_but_x, 121).await?;
    assert_eq!(survey.entries, listed);
    assert_eq!(*survey.content("y").expect("it was asked for"), expected(0, 121, b'y'));
    let others = ["b", "x", "z", "absent"].map(|name| survey.content(name));
    assert_eq!(others, [None; 4], "a directory, not asked for, too long, not there");
    assert_eq!(disk.survey(Path::new("absent"), all_but_x, 121).await?.entries, []);

    disk.rename(Path::new("a/x"), Path::new("a/y")).await?;
    assert_eq!(disk.list(Path::new("a")).await?, ["b", "y", "z"]);
    let file = disk.open(Path::new("a/y"), OpenMode::Read).await?;
    assert_eq!(file.read_at(0, 4096).await?, expected(0, 120, b'x'), "a rename replaces");
    file.close().await?;
    let error = disk.rename(Path::new("a/x"), Path::new("a/w")).await.expect_err("it is not there");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    disk.rename(Path::new("a/b"), Path::new("d")).await?;
    assert_eq!(disk.list(Path::new("d")).await?, ["c"], "a directory moves with what is in it");
    assert_eq!(disk.list(root).await?, ["a", "d"]);
    disk.sync_directory(Path::new("a")).await?;
    disk.remove_directory(Path::new("a")).await?;
    disk.remove_directory(Path::new("d")).await?;
    disk.sync_directory(root).await
}

async fn check_removal<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    let error = disk.remove_file(path).await.expect_err("it is not there");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let error = disk.remove_directory(path).await.expect_err("it is not there");
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    let file = disk.open(path, OpenMode::Create).await?;
    file.write_at(&buffer(4096, 13), 0).await?;
    disk.remove_file(path).await?;
    assert!(!disk.exists(path).await?);
    assert_eq!(file.read_at(0, 4096).await?, expected(0, 4096, 13), "an open file outlives its name");
    let other = disk.open(path, OpenMode::Create).await?;
    assert_eq!(other.size_bytes().await?, 0, "the same name, another file");
    file.close().await?;
    other.close().await?;
    disk.remove_file(path).await
}

async fn check_bytes_outlive<D: Disk>(disk: &D) -> io::Result<()> {
    let path = Path::new("file");
    let file = disk.open(path, OpenMode::Create).await?;
    file.write_at(&buffer(8192, 14), 0).await?;
    let (here, there) = (file.read_at(100, 5000).await?, file.read_at(100, 5000).await?);
    file.write_at(&buffer(8192, 15), 0).await?;
    file.close().await?;
    disk.remove_file(path).await?;
    let away = thread::spawn(move || there == expected(100, 5000, 14));
    assert!(away.join().expect("the thread ends"));
    assert_eq!(here, expected(100, 5000, 14));
    Ok(())
}
