//! What the benchmarks of this crate share: partitions and batches, a listener that counts, directories to write to.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::path::{Path, PathBuf};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use protocol::records::{BatchBuilder, BatchOptions};
use protocol::types::{Offset, PartitionIndex, PartitionKey, Timestamp, TopicId};
use storage::store::{
    DestagePause, LogConfig, PartitionSlot, PartitionSpec, StoreFailure, StoreListener, TakenSnapshot,
};

/// So many of something in so much time, as a rate.
pub fn per_second(count: u64, elapsed: Duration) -> f64 {
    let millions = Duration::from_micros(count).as_secs_f64();
    millions * 1e6 / elapsed.as_secs_f64()
}

/// An empty directory below `target/`.
pub fn fresh_directory(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => std::fs::create_dir_all(&directory).expect("a directory for the bench"),
    }
    directory
}

/// Hears how far everything is synced.
#[derive(Default)]
pub struct Progress {
    ends: RefCell<Vec<i64>>,
    /// So many records are synced.
    pub synced: Cell<u64>,
    waiting: RefCell<Option<Waker>>,
}

impl StoreListener for Progress {
    fn sealed(&self, _: PartitionSlot, _: Offset) {}

    fn synced(&self, slot: PartitionSlot, end: Offset) {
        let mut ends = self.ends.borrow_mut();
        let index = usize::try_from(slot.0).expect("small");
        if ends.len() <= index {
            ends.resize(index + 1, 0);
        }
        let before = std::mem::replace(&mut ends[index], end.get());
        self.synced.set(self.synced.get() + u64::try_from(end.get() - before).expect("forward"));
        if let Some(waiting) = self.waiting.borrow_mut().take() {
            waiting.wake();
        }
    }

    fn started(&self, _: PartitionSlot, _: Offset) {}

    fn producer_snapshot(&self, _: PartitionSlot) -> TakenSnapshot {
        Box::pin(std::future::ready(None))
    }

    fn pause_destaging(&self, _: usize) -> DestagePause {
        Box::pin(futures_lite::future::yield_now())
    }

    fn failed(&self, failure: &StoreFailure) {
        panic!("{failure}");
    }
}

impl Progress {
    /// Waits until so many batches are synced.
    pub async fn reach(&self, count: u64) {
        poll_fn(|context| {
            if self.synced.get() >= count {
                return Poll::Ready(());
            }
            *self.waiting.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

/// A partition of the one topic.
pub fn spec(partition: i32) -> PartitionSpec {
    PartitionSpec {
        key: PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(partition) },
        topic_name: "bench".to_owned(),
        config: LogConfig::default(),
    }
}

/// A batch of one record of so many bytes.
pub fn batch(record_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Timestamp(1), None, Some(&vec![7; record_bytes]), &[]);
    Bytes::from(builder.build())
}
