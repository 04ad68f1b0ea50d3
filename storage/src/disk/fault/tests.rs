use std::cell::Cell;

use super::*;
use crate::disk::contract;
use crate::disk::memory::{MemoryDisk, block_on};

fn disk() -> (FaultDisk<MemoryDisk>, Faults) {
    let faults = Faults::new(1);
    (FaultDisk::new(MemoryDisk::default(), faults.clone()), faults)
}

fn buffer(value: u8) -> SharedBuffer {
    let mut buffer = IoBuffer::allocate(32_768);
    buffer.fill(value);
    buffer.freeze(32_768)
}

#[test]
fn keeps_the_contract_without_faults() {
    let (disk, faults) = disk();
    block_on(contract::check(&disk));
    assert_eq!(faults.struck_count(), 0);
    assert!(faults.count(OperationKind::Write) > 10);
}

#[test]
fn a_planted_fault_strikes_once() {
    let (disk, faults) = disk();
    block_on(async {
        let file = disk.open(Path::new("a"), OpenMode::Create).await.expect("it is created");
        faults.plant(OperationKind::Write, 2, Fault::Fail);
        faults.plant(OperationKind::Sync, 1, Fault::Fail);
        faults.plant(OperationKind::Read, 2, Fault::Fail);
        file.write_at(&buffer(1), 0).await.expect("the first write");
        let error = file.write_at(&buffer(2), 0).await.expect_err("the second write");
        assert_eq!(error.raw_os_error(), Some(libc::EIO));
        file.sync().await.expect_err("the first sync");
        file.sync().await.expect("the second sync");
        assert_eq!(file.read_at(0, 1).await.expect("the first read"), [1].as_slice());
        file.read_at(0, 1).await.expect_err("the second read");
        assert_eq!(faults.struck_count(), 3);
    });
}

#[test]
fn a_torn_write_leaves_its_beginning_and_fails() {
    let mut kept = Vec::new();
    for seed in 0..30 {
        let faults = Faults::new(seed);
        let disk = FaultDisk::new(MemoryDisk::default(), faults.clone());
        block_on(async {
            let file = disk.open(Path::new("a"), OpenMode::Create).await.expect("it is created");
            file.write_at(&buffer(1), 0).await.expect("no fault");
            faults.plant(OperationKind::Write, 2, Fault::Tear);
            file.write_at(&buffer(2), 0).await.expect_err("torn");
            let content = file.read_at(0, 40_000).await.expect("no fault");
            let new = content.iter().take_while(|&&byte| byte == 2).count();
            assert_eq!(new % 4096, 0);
            assert!(content[new..].iter().all(|&byte| byte == 1));
            kept.push(new / 4096);
        });
    }
    kept.sort_unstable();
    kept.dedup();
    assert_eq!(kept.first(), Some(&0));
    assert!(kept.len() > 4, "different lengths: {kept:?}");
    assert!(*kept.last().expect("some") < 8, "never the whole");
}

#[test]
fn a_lost_write_and_a_lost_sync_claim_success() {
    let (disk, faults) = disk();
    block_on(async {
        let file = disk.open(Path::new("a"), OpenMode::Create).await.expect("it is created");
        file.write_at(&buffer(1), 0).await.expect("no fault");
        file.sync().await.expect("no fault");
        disk.sync_directory(Path::new("")).await.expect("no fault");
        faults.plant(OperationKind::Write, 2, Fault::Lose);
        faults.plant(OperationKind::Sync, 3, Fault::Lose);
        file.write_at(&buffer(2), 0).await.expect("a lie");
        assert_eq!(file.read_at(0, 1).await.expect("no fault"), [1].as_slice());
        file.write_at(&buffer(3), 0).await.expect("no fault");
        file.sync().await.expect("a lie");
    });
    let lost = |seed| {
        let image = disk.inner().crash_image(seed).file_content(Path::new("a")).expect("it is there");
        image[0] == 1
    };
    assert!((0..20).any(lost), "what the sync claimed may be gone");
}

#[test]
fn a_full_disk_refuses_writes_only() {
    let (disk, faults) = disk();
    block_on(async {
        let file = disk.open(Path::new("a"), OpenMode::Create).await.expect("it is created");
        file.write_at(&buffer(1), 0).await.expect("space");
        faults.set_full(true);
        let error = file.write_at(&buffer(2), 0).await.expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        let error = file.allocate(1 << 20, false).await.expect_err("full");
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
        assert_eq!(disk.available_bytes().await.expect("it tells"), 0);
        assert_eq!(file.read_at(0, 1).await.expect("reads go on"), [1].as_slice());
        file.sync().await.expect("syncs go on");
        faults.set_full(false);
        file.write_at(&buffer(2), 0).await.expect("space");
    });
}

#[test]
fn a_slow_disk_waits_for_the_test() {
    let (disk, faults) = disk();
    let waited = Rc::new(Cell::new(0));
    faults.set_delay({
        let waited = Rc::clone(&waited);
        move |kind| {
            let waited = Rc::clone(&waited);
            Box::pin(async move {
                futures_lite::future::yield_now().await;
                waited.set(waited.get() + u32::from(kind == OperationKind::Sync));
            })
        }
    });
    block_on(async {
        let file = disk.open(Path::new("a"), OpenMode::Create).await.expect("it is created");
        file.write_at(&buffer(1), 0).await.expect("no fault");
        file.sync().await.expect("no fault");
        faults.clear_delay();
        file.sync().await.expect("no fault");
    });
    assert_eq!(waited.get(), 1);
}

#[test]
fn rates_strike_by_seed() {
    let run = |seed| {
        let faults = Faults::new(seed);
        faults.set_rates(FaultRates { write_fail_ppm: 100_000, ..FaultRates::default() });
        let disk = FaultDisk::new(MemoryDisk::default(), faults.clone());
        let outcomes: Vec<bool> = block_on(async {
            let file = disk.open(Path::new("a"), OpenMode::Create).await.expect("it is created");
            let mut outcomes = Vec::new();
            for _ in 0..500 {
                outcomes.push(file.write_at(&buffer(1), 0).await.is_ok());
            }
            outcomes
        });
        (outcomes, faults.struck_count())
    };
    let (outcomes, struck) = run(7);
    assert!((20..100).contains(&struck), "{struck} of 500 at a tenth");
    assert_eq!(run(7).0, outcomes);
    assert_ne!(run(8).0, outcomes);
}
