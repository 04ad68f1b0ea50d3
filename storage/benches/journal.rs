//! What the journal costs on this machine's device, beside bare writes of the same run.
//!
//! `cargo bench -p storage --bench journal` prints one row per case; `... -- latency rate` only some of the
//! sections (latency, rate, depth, delays). Compare figures of one run only. Files lie under `target/`.

use std::cell::Cell;
use std::fs::OpenOptions;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::rc::Rc;
use std::time::{Duration, Instant};

use glommio::{LocalExecutorBuilder, Placement};
use protocol::types::{LeaderEpoch, Offset};
use storage::disk::fault::{FaultDisk, Faults, OperationKind};
use storage::disk::glommio::GlommioDisk;
use storage::disk::{Disk, IoBuffer};
use storage::store::{BatchAppend, PartitionSlot, ShardStore, StoreError, StoreOptions, SyncMethod};

use crate::shared::{Progress, batch, fresh_directory, per_second, spec};

mod shared;

const CASE_TIME: Duration = Duration::from_secs(2);

/// A case without destaging ends after so many bytes at the latest.
const UNDESTAGED_BYTES_MAX: u64 = 96 << 20;

fn main() {
    let wanted: Vec<String> =
        std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    let sections: [(&str, fn()); 4] =
        [("latency", latency), ("rate", rate), ("depth", depth), ("delays", delays)];
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

/// Many appends in flight: group commit, alone and with destaging beside it, beside bare writes of the same length as
/// its mean frame.
fn rate() {
    for (batch_bytes, outstanding) in
        [(1024, 128), (1024, 1024), (100, 1024), (16 << 10, 64), (100 << 10, 16)]
    {
        for destage in [false, true] {
            let run = Case { batch_bytes, outstanding, destage, ..Case::default() }.run();
            let frame_bytes = (run.frame_bytes / run.frames.max(1)).next_multiple_of(4096);
            let bare = bare_writes(usize::try_from(frame_bytes).expect("a frame's length"));
            let beside = if destage { "with destaging" } else { "alone" };
            println!(
                "{:<44} {}   {:.2} of bare writes of {} KiB",
                format!("{batch_bytes} B, {outstanding} in flight, {beside}"),
                run.rates(),
                run.device_rate() / bare.device_rate(),
                frame_bytes >> 10
            );
        }
    }
}

/// How many frames in flight, and how they are synced, on a shard that does nothing else and on one that never rests.
fn depth() {
    for (batch_bytes, outstanding) in [(1024, 1), (1024, 128), (100 << 10, 16)] {
        for is_busy in [false, true] {
            for sync_method in [SyncMethod::Dsync, SyncMethod::WriteThenSync] {
                for in_flight in 1..=4 {
                    // With one append in flight there is never a second frame.
                    if outstanding == 1 && in_flight > 1 {
                        continue;
                    }
                    let case = Case {
                        batch_bytes,
                        outstanding,
                        sync_method,
                        in_flight,
                        is_busy,
                        destage: false,
                        ..Case::default()
                    };
                    let run = case.run();
                    let shard = if is_busy { "busy" } else { "idle" };
                    let name = format!(
                        "{batch_bytes} B x {outstanding}, {shard}, {sync_method:?}, depth {in_flight}"
                    );
                    println!("{name:<44} {}   {}", run.rates(), run.latencies());
                }
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

/// What is measured.
struct Case {
    batch_bytes: usize,
    outstanding: u64,
    sync_method: SyncMethod,
    in_flight: usize,
    delay_us: u64,
    destage: bool,
    /// The shard's thread is always at work.
    is_busy: bool,
}

impl Default for Case {
    fn default() -> Self {
        Self {
            batch_bytes: 1024,
            outstanding: 1,
            sync_method: SyncMethod::Dsync,
            in_flight: 2,
            delay_us: 0,
            destage: true,
            is_busy: false,
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

/// A bare loop of direct, synced writes over a file that was zeroed before.
fn bare_writes(length: usize) -> Run {
    let directory = fresh_directory("journal-bench");
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

impl Case {
    fn run(self) -> Run {
        let directory = fresh_directory("journal-bench");
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
        let (store, recovered) =
            ShardStore::open(disk, options, vec![spec(0)], &mut ()).await.expect("a fresh store");
        let progress = Rc::new(Progress::default());
        store.set_listener(progress.clone());
        let pump_store = store.clone();
        let pump = glommio::spawn_local(async move { pump_store.run_writer().await });
        let is_over = Rc::new(Cell::new(false));
        let destager = glommio::spawn_local(destage(store.clone(), self.destage, is_over.clone()));
        let worker = glommio::spawn_local(work(self.is_busy, is_over.clone()));
        let run = self.appends(&store, &progress, recovered.partitions[0].slot).await;
        is_over.set(true);
        destager.await;
        worker.await;
        pump.cancel().await;
        run
    }

    async fn appends<D: Disk>(&self, store: &ShardStore<D>, progress: &Progress, slot: PartitionSlot) -> Run {
        let records = batch(self.batch_bytes);
        let mut next = 0;
        let mut started_at = std::collections::VecDeque::new();
        let mut latencies_ns = Vec::new();
        let (mut appended, mut counted) = (0_u64, 0_u64);
        let before = store.stats();
        let started = Instant::now();
        while started.elapsed() < CASE_TIME
            && (self.destage || store.stats().batch_bytes < UNDESTAGED_BYTES_MAX)
        {
            while appended - progress.synced.get() < self.outstanding {
                let append = BatchAppend {
                    records: records.clone(),
                    base_offset: Offset(next),
                    leader_epoch: LeaderEpoch(0),
                    log_append_time: None,
                };
                match store.append(slot, append) {
                    Ok(()) => {}
                    Err(StoreError::Overloaded) => break,
                    Err(error) => panic!("{error}"),
                }
                next += 1;
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

/// What else a shard might do: a task that works and yields, again and again.
async fn work(is_wanted: bool, is_over: Rc<Cell<bool>>) {
    while is_wanted && !is_over.get() {
        let began = Instant::now();
        while began.elapsed() < Duration::from_micros(50) {
            std::hint::spin_loop();
        }
        glommio::yield_if_needed().await;
        futures_lite::future::yield_now().await;
    }
}
