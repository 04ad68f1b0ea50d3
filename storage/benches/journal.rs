//! What the journal costs on this machine's device, beside bare writes of the same run.
//!
//! `cargo bench -p storage` prints one row per case; `cargo bench -p storage -- latency partitions` only some of the
//! sections (latency, rate, depth, delays, partitions). Compare figures of one run only. Files lie under `target/`.

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::future::poll_fn;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use glommio::{LocalExecutorBuilder, Placement};
use protocol::records::{BatchBuilder, BatchOptions};
use protocol::types::{LeaderEpoch, Offset, PartitionIndex, PartitionKey, Timestamp, TopicId};
use storage::disk::fault::{FaultDisk, Faults, OperationKind};
use storage::disk::glommio::GlommioDisk;
use storage::disk::{Disk, IoBuffer};
use storage::store::{
    BatchAppend, LogConfig, PartitionSlot, PartitionSpec, ShardStore, StoreError, StoreFailure,
    StoreListener, StoreOptions, SyncMethod,
};

const CASE_TIME: Duration = Duration::from_secs(2);

/// A case without destaging ends after so many bytes at the latest.
const UNDESTAGED_BYTES_MAX: u64 = 96 << 20;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let sections: [(&str, fn()); 5] = [
        ("latency", latency),
        ("rate", rate),
        ("depth", depth),
        ("delays", delays),
        ("partitions", partitions),
    ];
    for (name, section) in sections {
        if wanted.is_empty() || wanted.iter().any(|want| want == name) {
            println!("\n== {name}");
            section();
        }
    }
}

/// One appender, one 1 KiB batch in flight: from the append to synced, beside a bare write of the frame's 4 KiB.
fn latency() {
    let bare = bare_writes(4096);
    println!("{:<44} {}", "bare O_DIRECT|O_DSYNC, 4 KiB", bare.latencies());
    for sync_method in [SyncMethod::Dsync, SyncMethod::WriteThenSync] {
        let case = Case { sync_method, ..Case::default() };
        let run = case.run();
        println!(
            "{:<44} {}   {:.2} of the bare p50",
            format!("append to synced, {sync_method:?}"),
            run.latencies(),
            run.quantile(0.5) / bare.quantile(0.5)
        );
    }
}

/// Many appends in flight: group commit beside bare writes of the same length as its mean frame.
fn rate() {
    for (batch_bytes, outstanding) in
        [(1024, 128), (1024, 1024), (100, 1024), (16 << 10, 64), (100 << 10, 16)]
    {
        let run = Case { batch_bytes, outstanding, ..Case::default() }.run();
        let frame_bytes = (run.frame_bytes / run.frames.max(1)).next_multiple_of(4096);
        let bare = bare_writes(usize::try_from(frame_bytes).expect("a frame's length"));
        println!(
            "{:<44} {}   {:.2} of bare writes of {} KiB",
            format!("{batch_bytes} B, {outstanding} in flight"),
            run.rates(),
            run.device_rate() / bare.device_rate(),
            frame_bytes >> 10
        );
    }
}

/// How many frames in flight, and how they are synced.
fn depth() {
    for (batch_bytes, outstanding) in [(1024, 128), (100 << 10, 16)] {
        for sync_method in [SyncMethod::Dsync, SyncMethod::WriteThenSync] {
            for in_flight in 1..=4 {
                let run = Case { batch_bytes, outstanding, sync_method, in_flight, ..Case::default() }.run();
                let name =
                    format!("{batch_bytes} B, {outstanding} in flight, {sync_method:?}, depth {in_flight}");
                println!("{name:<56} {}   {}", run.rates(), run.latencies());
            }
        }
    }
}

/// A device whose writes are slower by so much.
fn delays() {
    for delay_us in [0, 200, 1000, 5000] {
        for outstanding in [1, 128, 1024] {
            let run = Case { outstanding, delay_us, ..Case::default() }.run();
            let name = format!("{delay_us} us a write, {outstanding} in flight");
            println!("{name:<44} {}   {}", run.rates(), run.latencies());
        }
    }
}

/// The same small batches over more and more partitions: the journal alone, then with destaging beside it, from the
/// first segment on.
fn partitions() {
    for destage in [false, true] {
        let mut first = None;
        for partition_count in [1, 100, 1000, 10_000] {
            let run = Case { partition_count, outstanding: 1024, destage, ..Case::default() }.run();
            let base = *first.get_or_insert(run.batch_rate());
            let name = format!("{partition_count} partitions, destaging: {destage}");
            println!("{name:<44} {}   {:.2} of one", run.rates(), run.batch_rate() / base);
        }
    }
}

/// What is measured.
struct Case {
    batch_bytes: usize,
    outstanding: u64,
    partition_count: i32,
    sync_method: SyncMethod,
    in_flight: usize,
    delay_us: u64,
    destage: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            batch_bytes: 1024,
            outstanding: 1,
            partition_count: 1,
            sync_method: SyncMethod::Dsync,
            in_flight: 2,
            delay_us: 0,
            destage: true,
        }
    }
}

/// What came of it.
struct Run {
    elapsed: Duration,
    batches: u64,
    batch_bytes: u64,
    frames: u64,
    frame_bytes: u64,
    latencies_ns: Vec<u64>,
}

impl Run {
    fn batch_rate(&self) -> f64 {
        per_second(self.batches, self.elapsed)
    }

    fn device_rate(&self) -> f64 {
        per_second(self.frame_bytes, self.elapsed)
    }

    fn rates(&self) -> String {
        format!(
            "{:>8.0} batches/s {:>7.1} MB/s {:>7.0} frames/s",
            self.batch_rate(),
            per_second(self.batch_bytes, self.elapsed) / 1e6,
            per_second(self.frames, self.elapsed)
        )
    }

    /// In microseconds.
    fn quantile(&self, quantile: f64) -> f64 {
        let last = self.latencies_ns.len() - 1;
        let thousandths = (0..=1000).find(|step| f64::from(*step) / 1000.0 >= quantile).unwrap_or(1000);
        let index = last * usize::try_from(thousandths).expect("small") / 1000;
        Duration::from_nanos(self.latencies_ns[index]).as_secs_f64() * 1e6
    }

    fn latencies(&self) -> String {
        format!("p50 {:>7.1} us  p99 {:>7.1} us", self.quantile(0.5), self.quantile(0.99))
    }
}

fn per_second(count: u64, elapsed: Duration) -> f64 {
    let millions = Duration::from_micros(count).as_secs_f64();
    millions * 1e6 / elapsed.as_secs_f64()
}

/// A bare loop of direct, synced writes over a file that was zeroed before.
fn bare_writes(length: usize) -> Run {
    let directory = fresh_directory();
    let path = directory.join("bare");
    let file_bytes = (64_u64 << 20).next_multiple_of(length as u64);
    let open =
        |flags| OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags).open(&path);
    let zeroing = open(0).expect("a file for the bare writes");
    zeroing.write_all_at(&vec![0; usize::try_from(file_bytes).expect("64 MiB")], 0).expect("zeroed");
    zeroing.sync_all().expect("synced");
    let file = open(libc::O_DIRECT | libc::O_DSYNC).expect("direct writes");
    let mut buffer = IoBuffer::allocate(length);
    buffer[..length].fill(1);
    let mut run = Run {
        elapsed: Duration::ZERO,
        batches: 0,
        batch_bytes: 0,
        frames: 0,
        frame_bytes: 0,
        latencies_ns: vec![],
    };
    let started = Instant::now();
    let mut position = 0;
    while started.elapsed() < CASE_TIME / 2 {
        let before = Instant::now();
        file.write_all_at(&buffer[..length], position).expect("written");
        run.latencies_ns.push(u64::try_from(before.elapsed().as_nanos()).expect("short"));
        position = (position + length as u64) % file_bytes;
        run.frames += 1;
        run.frame_bytes += length as u64;
    }
    run.elapsed = started.elapsed();
    run.latencies_ns.sort_unstable();
    run
}

fn fresh_directory() -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("journal-bench");
    match std::fs::remove_dir_all(&directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => panic!("{error}"),
        _ => std::fs::create_dir_all(&directory).expect("a directory for the bench"),
    }
    directory
}

/// Hears how far everything is synced.
#[derive(Default)]
struct Progress {
    ends: RefCell<Vec<i64>>,
    synced: Cell<u64>,
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

    fn producer_snapshot(&self, _: PartitionSlot) -> Option<(Offset, Vec<u8>)> {
        None
    }

    fn failed(&self, failure: &StoreFailure) {
        panic!("{failure}");
    }
}

impl Progress {
    /// Waits until so many batches are synced.
    async fn reach(&self, count: u64) {
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

impl Case {
    fn run(self) -> Run {
        let directory = fresh_directory();
        let executor = LocalExecutorBuilder::new(Placement::Unbound).spawn(move || async move {
            let disk = GlommioDisk::open(&directory).await.expect("a disk with direct I/O");
            if self.delay_us == 0 {
                return self.run_on(disk).await;
            }
            let faults = Faults::new(0);
            let delay = Duration::from_micros(self.delay_us);
            let disk = FaultDisk::new(disk, faults.clone());
            faults.set_delay(move |kind| {
                Box::pin(async move {
                    if kind == OperationKind::Write {
                        glommio::timer::sleep(delay).await;
                    }
                })
            });
            self.run_on(disk).await
        });
        executor.expect("a thread").join().expect("the case runs")
    }

    async fn run_on<D: Disk>(self, disk: D) -> Run {
        let options = StoreOptions {
            sync_method: self.sync_method,
            frames_in_flight_max: self.in_flight,
            // Without destaging nothing grows the journal: one file holds the whole case.
            journal_file_bytes: if self.destage { 32 << 20 } else { 2 * UNDESTAGED_BYTES_MAX },
            ..StoreOptions::new(0, 1)
        };
        let specs: Vec<_> = (0..self.partition_count).map(spec).collect();
        let (store, recovered) =
            ShardStore::open(disk, options, specs, &mut ()).await.expect("a fresh store");
        let progress = Rc::new(Progress::default());
        store.set_listener(progress.clone());
        let pump_store = store.clone();
        let pump = glommio::spawn_local(async move { pump_store.run_writer().await });
        let is_over = Rc::new(Cell::new(false));
        let destager = glommio::spawn_local(destage(store.clone(), self.destage, is_over.clone()));
        let slots: Vec<_> = recovered.partitions.iter().map(|found| found.slot).collect();
        let run = self.appends(&store, &progress, &slots).await;
        is_over.set(true);
        destager.await;
        pump.cancel().await;
        run
    }

    async fn appends<D: Disk>(
        &self,
        store: &ShardStore<D>,
        progress: &Progress,
        slots: &[PartitionSlot],
    ) -> Run {
        let records = batch(self.batch_bytes);
        let mut next = vec![0_i64; slots.len()];
        let mut started_at = std::collections::VecDeque::new();
        let mut latencies_ns = Vec::new();
        let (mut appended, mut counted) = (0_u64, 0_u64);
        let before = store.stats();
        let started = Instant::now();
        while started.elapsed() < CASE_TIME
            && (self.destage || store.stats().batch_bytes < UNDESTAGED_BYTES_MAX)
        {
            while appended - progress.synced.get() < self.outstanding {
                let index = usize::try_from(appended).expect("64 bits") % slots.len();
                let append = BatchAppend {
                    records: records.clone(),
                    base_offset: Offset(next[index]),
                    leader_epoch: LeaderEpoch(0),
                    log_append_time: None,
                };
                match store.append(slots[index], append) {
                    Ok(()) => {}
                    Err(StoreError::Overloaded) => break,
                    Err(error) => panic!("{error}"),
                }
                next[index] += 1;
                appended += 1;
                started_at.push_back(Instant::now());
            }
            progress.reach(counted + 1).await;
            // In order of appending, as far as so many are synced: the mean is right, the order nearly so.
            while counted < progress.synced.get() {
                let at = started_at.pop_front().expect("it was appended");
                latencies_ns.push(u64::try_from(at.elapsed().as_nanos()).expect("short"));
                counted += 1;
            }
        }
        let elapsed = started.elapsed();
        let after = store.stats();
        latencies_ns.sort_unstable();
        Run {
            elapsed,
            batches: counted,
            batch_bytes: counted * records.len() as u64,
            frames: after.frames - before.frames,
            frame_bytes: after.frame_bytes - before.frame_bytes,
            latencies_ns,
        }
    }
}

async fn destage<D: Disk>(store: ShardStore<D>, is_wanted: bool, is_over: Rc<Cell<bool>>) {
    while is_wanted && !is_over.get() {
        let outcome = store.destage_round().await.expect("the disk has room");
        if !outcome.has_more {
            glommio::timer::sleep(Duration::from_millis(5)).await;
        }
    }
}

fn spec(partition: i32) -> PartitionSpec {
    PartitionSpec {
        key: PartitionKey { topic_id: TopicId([1; 16]), partition: PartitionIndex(partition) },
        topic_name: "bench".to_owned(),
        config: LogConfig::default(),
    }
}

/// A batch of one record of so many bytes.
fn batch(record_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    builder.append(Timestamp(1), None, Some(&vec![7; record_bytes]), &[]);
    Bytes::from(builder.build())
}
