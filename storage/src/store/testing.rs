//! What the store's tests share: an executor of one task beside the pump, a listener that remembers, batches.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, Timestamp, TopicId};

use super::*;
use crate::batch::{batches, testing::batch};
use crate::disk::memory::MemoryDisk;

/// Polls a future until it is ready. On a memory disk everything moves by being polled.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..10_000_000 {
        if let Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
    }
    panic!("the future waits for something that never happens");
}

/// Polls a future to its end, with a store's pump beside it.
pub(crate) fn run_with<D: Disk, T>(store: &ShardStore<D>, future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let pump_store = store.clone();
    // A test polls the pump only while it waits for something.
    store.shared.has_writer.set(false);
    let mut pump = pin!(async move { pump_store.run_writer().await });
    let mut is_over = false;
    block_on(std::future::poll_fn(|context| {
        is_over = is_over || pump.as_mut().poll(context).is_ready();
        future.as_mut().poll(context)
    }))
}

/// What a listener heard.
#[derive(Default)]
pub(crate) struct Heard {
    pub(crate) sealed: RefCell<BTreeMap<PartitionSlot, Offset>>,
    pub(crate) synced: RefCell<BTreeMap<PartitionSlot, Offset>>,
    pub(crate) started: RefCell<BTreeMap<PartitionSlot, Offset>>,
    pub(crate) failure: RefCell<Option<StoreFailure>>,
    /// What rounds that are paced have moved.
    pub(crate) destaged_bytes: RefCell<usize>,
    /// Rounds that are paced don't go on after a step.
    pub(crate) holds_destaging: Cell<bool>,
}

impl Heard {
    /// Forgets what was heard of a partition whose end went back.
    pub(crate) fn forget(&self, slot: PartitionSlot) {
        self.sealed.borrow_mut().remove(&slot);
        self.synced.borrow_mut().remove(&slot);
    }
}

impl StoreListener for Heard {
    fn sealed(&self, slot: PartitionSlot, end: Offset) {
        let before = self.sealed.borrow_mut().insert(slot, end);
        assert!(before.is_none_or(|before| before < end));
    }

    fn synced(&self, slot: PartitionSlot, end: Offset) {
        assert!(self.sealed.borrow()[&slot] >= end);
        let before = self.synced.borrow_mut().insert(slot, end);
        assert!(before.is_none_or(|before| before < end));
    }

    fn started(&self, slot: PartitionSlot, start: Offset) {
        let before = self.started.borrow_mut().insert(slot, start);
        assert!(before.is_none_or(|before| before < start));
    }

    fn producer_snapshot(&self, _slot: PartitionSlot) -> TakenSnapshot {
        Box::pin(std::future::ready(None))
    }

    fn pause_destaging(&self, bytes: usize) -> DestagePause {
        *self.destaged_bytes.borrow_mut() += bytes;
        match self.holds_destaging.get() {
            true => Box::pin(std::future::pending()),
            false => Box::pin(crate::wait::yield_now()),
        }
    }

    fn failed(&self, failure: &StoreFailure) {
        let before = self.failure.borrow_mut().replace(failure.clone());
        assert!(before.is_none(), "a failure is told once");
    }
}

pub(crate) fn options() -> StoreOptions {
    StoreOptions {
        journal_file_bytes: 256 << 10,
        journal_files_max: 4,
        frame_bytes_max: 32 << 10,
        frames_in_flight_max: 3,
        frame_eager_bytes: 1,
        pending_bytes_max: 1 << 20,
        tail_cache_bytes: 1 << 20,
        reserve_bytes: 0,
        ..StoreOptions::new(0, 1)
    }
}

pub(crate) fn spec(topic: u8, partition: i32) -> PartitionSpec {
    PartitionSpec {
        key: PartitionKey { topic_id: TopicId([topic; 16]), partition: PartitionIndex(partition) },
        topic_name: format!("topic-{topic}"),
        config: LogConfig::default(),
    }
}

pub(crate) fn append(base: i64, count: i32, body: &[u8]) -> BatchAppend {
    BatchAppend {
        records: Bytes::from(batch(count, Timestamp(base), body)),
        base_offset: Offset(base),
        leader_epoch: LeaderEpoch(0),
        log_append_time: None,
    }
}

/// The batches of a read, each as (base offset, last offset, body).
pub(crate) fn contents(read: &ReadBatches) -> Vec<(i64, i64, Vec<u8>)> {
    let mut contents = Vec::new();
    for chunk in &read.chunks {
        let mut bytes = 0;
        for batch in batches(chunk) {
            assert!(batch.crc_fits());
            let body = chunk[bytes + crate::BATCH_HEADER_BYTES..bytes + batch.length_bytes()].to_vec();
            bytes += batch.length_bytes();
            contents.push((batch.base_offset().get(), batch.end_offset().get() - 1, body));
        }
        assert_eq!(bytes, chunk.len(), "whole batches");
    }
    assert_eq!(read.bytes, read.chunks.iter().map(Bytes::len).sum::<usize>());
    contents
}

/// Opens a store with a listener.
pub(crate) fn open(
    disk: &MemoryDisk,
    options: StoreOptions,
    live: Vec<PartitionSpec>,
) -> Result<(ShardStore<MemoryDisk>, Rc<Heard>, Recovered), OpenError> {
    let (store, recovered) = block_on(ShardStore::open(disk.clone(), options, live, &mut ()))?;
    let heard = Rc::new(Heard::default());
    store.set_listener(heard.clone());
    Ok((store, heard, recovered))
}

/// All of a partition, read as a consumer does.
pub(crate) async fn read_all<D: Disk>(
    store: &ShardStore<D>,
    slot: PartitionSlot,
    bytes_max: usize,
) -> Vec<(i64, i64, Vec<u8>)> {
    let mut all = Vec::new();
    let mut from = store.log_start(slot).expect("a partition");
    let end = store.sealed_end(slot).expect("a partition");
    while from < end {
        let read = store.read(slot, from, end, bytes_max).await.expect("readable");
        assert!(read.next > from, "a read makes progress");
        all.extend(contents(&read));
        from = read.next;
    }
    all
}
