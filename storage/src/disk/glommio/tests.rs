use std::thread;

use glommio::{LocalExecutorBuilder, Placement};

use super::*;
use crate::disk::contract;

/// Runs a test on an executor of its own, with a fresh directory below `parent`.
fn run<F: Future<Output = ()>>(parent: &Path, test: impl FnOnce(PathBuf) -> F) {
    let directory = tempfile::tempdir_in(parent).expect("a temporary directory");
    let executor = LocalExecutorBuilder::new(Placement::Unbound)
        .io_memory(1 << 20)
        .ring_depth(64)
        .make()
        .expect("an executor");
    executor.run(test(directory.path().to_owned()));
}

/// On the filesystem of the build: the one of `/tmp` is often in memory.
fn build_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target")
}

#[test]
fn keeps_the_contract_directly() {
    run(&build_directory(), |root| async move {
        contract::check(&GlommioDisk::open(&root).await.expect("the directory is there")).await;
        assert_eq!(std::fs::read_dir(&root).expect("it is there").count(), 0, "the probe's file is gone");
    });
}

#[test]
fn keeps_the_contract_buffered() {
    run(&build_directory(), |root| async move {
        let disk = GlommioDisk::open_buffered(&root).await.expect("the directory is there");
        assert!(!disk.is_direct());
        contract::check(&disk).await;
    });
}

#[test]
fn keeps_the_contract_in_memory() {
    let shared_memory = Path::new("/dev/shm");
    let kind = statfs(shared_memory).expect("every Linux has it").filesystem_type();
    assert_eq!(kind, TMPFS_MAGIC);
    run(shared_memory, |root| async move {
        let disk = GlommioDisk::open(&root).await.expect("the directory is there");
        assert!(!disk.is_direct(), "tmpfs accepts O_DIRECT, but has none");
        contract::check(&disk).await;
    });
}

#[test]
fn a_directory_that_is_not_there_is_an_error() {
    run(&build_directory(), |root| async move {
        let error = GlommioDisk::open(&root.join("absent")).await.err().expect("nothing to open");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    });
}

#[test]
fn what_was_read_may_be_dropped_anywhere() {
    run(&build_directory(), |root| async move {
        let disk = GlommioDisk::open(&root).await.expect("the directory is there");
        let file = disk.open(Path::new("file"), OpenMode::Create).await.expect("it is created");
        let mut buffer = IoBuffer::allocate(8192);
        buffer.fill(7);
        file.write_at(&buffer.freeze(8192), 0).await.expect("it is written");
        // Far more than the ring's memory: unless it comes back, reads go on in other memory, but they go on.
        for _ in 0..1000 {
            let bytes = file.read_at(1, 8000).await.expect("it is read");
            let away = thread::spawn(move || {
                let sum: usize = bytes.iter().map(|&byte| usize::from(byte)).sum();
                drop(bytes);
                sum
            });
            assert_eq!(away.join().expect("the thread ends"), 7 * 8000);
        }
        let kept = file.read_at(0, 10).await.expect("it is read");
        file.close().await.expect("it is closed");
        assert_eq!(kept, vec![7; 10], "the bytes outlive the file");
        // What was sent back waits no longer than until the next read.
        assert!(read::waiting_count() <= 1);
    });
}

#[test]
fn what_was_read_outlives_its_home() {
    let bytes = thread::spawn(|| {
        let mut kept = Bytes::new();
        let directory = tempfile::tempdir_in(build_directory()).expect("a temporary directory");
        let executor = LocalExecutorBuilder::new(Placement::Unbound).io_memory(1 << 20).make();
        executor.expect("an executor").run(async {
            let disk = GlommioDisk::open(directory.path()).await.expect("the directory is there");
            let file = disk.open(Path::new("file"), OpenMode::Create).await.expect("it is created");
            let mut buffer = IoBuffer::allocate(4096);
            buffer.fill(9);
            file.write_at(&buffer.freeze(4096), 0).await.expect("it is written");
            kept = file.read_at(0, 4096).await.expect("it is read");
        });
        kept
    })
    .join()
    .expect("the thread ends");
    assert_eq!(bytes, vec![9; 4096]);
}
