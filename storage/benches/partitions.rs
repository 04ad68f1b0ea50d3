//! The same small batches over more and more partitions, in steady state: destaging beside the journal, and ten
//! volumes of the journal gone through before anything counts.
//!
//! `cargo bench -p storage --bench partitions` prints one row for each number of partitions. All stores are open at
//! once and take turns, a part of a volume each, so that what else the machine does meets them alike; medians and
//! extremes are over the counted turns. A turn's time includes the round of destaging that is under way at its end. In the end
//! each store is closed and opened again: how long that takes, for each of its partitions.
//!
//! Settings: `IOLITE_BENCH_PARTITIONS` (1,100,1000,10000), `IOLITE_BENCH_JOURNAL_MIB` (256, of each store),
//! `IOLITE_BENCH_VOLUMES` (10, before anything counts), `IOLITE_BENCH_TURNS` (5), `IOLITE_BENCH_IN_FLIGHT` (1024),
//! `IOLITE_BENCH_CONCURRENT` (16) and `IOLITE_BENCH_SMALL_CONCURRENT` (256): partitions worked on at once.
//! The files, of so many volumes for each store, lie under `target/` and are removed at the end.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use glommio::{Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use protocol::types::{LeaderEpoch, Offset};
use storage::disk::glommio::GlommioDisk;
use storage::store::{BatchAppend, PartitionSlot, ShardStore, StoreError, StoreOptions};

use crate::shared::{Progress, batch, fresh_directory, per_second, spec};

mod shared;

const RECORD_BYTES: usize = 1024;
const JOURNAL_FILES: u64 = 8;

fn main() {
    let executor = LocalExecutorBuilder::new(Placement::Unbound).spawn(|| async {
        executor::allow_ring_workers().expect("a ring");
        executor::keep_nudged();
        run().await;
    });
    executor.expect("a thread").join().expect("it runs");
    for count in counts() {
        std::fs::remove_dir_all(fresh_directory(&directory_name(count))).expect("removed");
    }
}

fn setting<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default)
}

fn counts() -> Vec<i32> {
    let list = setting("IOLITE_BENCH_PARTITIONS", "1,100,1000,10000".to_owned());
    list.split(',').filter_map(|count| count.parse().ok()).collect()
}

fn directory_name(count: i32) -> String {
    format!("partitions-bench-{count}")
}

async fn run() {
    let journal_bytes = setting("IOLITE_BENCH_JOURNAL_MIB", 256_u64) << 20;
    let volumes = setting("IOLITE_BENCH_VOLUMES", 10);
    let turns = setting("IOLITE_BENCH_TURNS", 5);
    let executor = glommio::executor();
    let background = executor.create_task_queue(Shares::Static(100), Latency::NotImportant, "background");
    let mut subjects = Vec::new();
    for count in counts() {
        subjects.push(Subject::open(count, journal_bytes, background).await);
    }
    let warm_up = volumes * 2;
    for turn in 0..warm_up + turns {
        for subject in &mut subjects {
            let taken = subject.turn(journal_bytes / 2).await;
            if turn >= warm_up {
                subject.turns.push(taken);
            }
        }
    }
    println!(
        "journal of {} MiB, {volumes} volumes gone through, {turns} turns of half a volume; median (least to most)",
        journal_bytes >> 20
    );
    let base = subjects.first().map_or(1.0, |first| first.median(Turn::rate));
    for subject in &subjects {
        println!(
            "{:>6} partitions: {:>7.0} batches/s ({:.0} to {:.0}) {:.2} of the first; p50 {:.1} ms, p99 {:.1} ms; \
             device {:.2} bytes/byte; CPU {:.1} us/batch; {:.0} rounds",
            subject.slots.len(),
            subject.median(Turn::rate),
            subject.extreme(Turn::rate, f64::min),
            subject.extreme(Turn::rate, f64::max),
            subject.median(Turn::rate) / base,
            subject.median(|turn| turn.quantile_ms(1, 2)),
            subject.median(|turn| turn.quantile_ms(99, 100)),
            subject.median(|turn| turn.device_bytes / turn.bytes),
            subject.median(|turn| turn.cpu.as_secs_f64() * 1e6 / turn.batches),
            subject.median(|turn| turn.rounds),
        );
    }
    for subject in subjects {
        let count = subject.slots.len();
        let took = subject.open_again(journal_bytes).await;
        let micros_each = took.as_secs_f64() * 1e6 / per_second(count as u64, Duration::from_secs(1));
        println!(
            "{count:>6} partitions: closed and opened again in {took:.0?}, {micros_each:.0} us for each"
        );
    }
}

fn options(journal_bytes: u64) -> StoreOptions {
    StoreOptions {
        journal_file_bytes: journal_bytes / JOURNAL_FILES,
        journal_files_max: usize::try_from(JOURNAL_FILES).expect("few"),
        destage_concurrent_max: setting("IOLITE_BENCH_CONCURRENT", 16),
        destage_small_concurrent_max: setting("IOLITE_BENCH_SMALL_CONCURRENT", 256),
        ..StoreOptions::new(0, 1)
    }
}

/// A store with so many partitions.
struct Subject {
    store: ShardStore<GlommioDisk>,
    progress: Rc<Progress>,
    slots: Vec<PartitionSlot>,
    ends: Vec<i64>,
    appended: u64,
    background: TaskQueueHandle,
    turns: Vec<Turn>,
}

/// What one turn showed.
struct Turn {
    elapsed: Duration,
    batches: f64,
    bytes: f64,
    device_bytes: f64,
    cpu: Duration,
    rounds: f64,
    latencies: Vec<Duration>,
}

impl Turn {
    fn rate(&self) -> f64 {
        self.batches / self.elapsed.as_secs_f64()
    }

    fn quantile_ms(&self, numerator: usize, denominator: usize) -> f64 {
        let index = (self.latencies.len() - 1) * numerator / denominator;
        self.latencies[index].as_secs_f64() * 1e3
    }
}

impl Subject {
    async fn open(count: i32, journal_bytes: u64, background: TaskQueueHandle) -> Self {
        let directory = fresh_directory(&directory_name(count));
        let disk = GlommioDisk::open(&directory).await.expect("a disk with direct I/O");
        let specs = (0..count).map(spec).collect();
        let (store, recovered) =
            ShardStore::open(disk, options(journal_bytes), specs, &mut ()).await.expect("a fresh store");
        let progress = Rc::new(Progress::default());
        store.set_listener(progress.clone());
        let pump = store.clone();
        glommio::spawn_local(async move { pump.run_writer().await }).detach();
        let slots: Vec<_> = recovered.partitions.iter().map(|found| found.slot).collect();
        let ends = vec![0; slots.len()];
        Self { store, progress, slots, ends, appended: 0, background, turns: Vec::new() }
    }

    /// How long it takes to open what was closed in order: nothing of the journal has to be replayed.
    async fn open_again(self, journal_bytes: u64) -> Duration {
        self.store.close().await.expect("it closes");
        let count = i32::try_from(self.slots.len()).expect("few");
        drop(self.store);
        let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(directory_name(count));
        let disk = GlommioDisk::open(&directory).await.expect("a disk with direct I/O");
        let specs = (0..count).map(spec).collect();
        let began = Instant::now();
        let opened = ShardStore::open(disk, options(journal_bytes), specs, &mut ()).await;
        let took = began.elapsed();
        let (store, _) = opened.expect("all is there");
        store.close().await.expect("it closes");
        took
    }

    /// Appends so many bytes and waits until they are synced, and the destager rests.
    async fn turn(&mut self, bytes: u64) -> Turn {
        let records = batch(RECORD_BYTES);
        let last = self.appended + bytes / records.len() as u64;
        let is_over = Rc::new(Cell::new(false));
        let destager =
            glommio::spawn_local_into(destage(self.store.clone(), is_over.clone()), self.background)
                .expect("the queue is there");
        let (device_before, cpu_before, began) = (device_bytes_written(), cpu_time(), Instant::now());
        let first = self.appended;
        let outstanding_max = setting("IOLITE_BENCH_IN_FLIGHT", 1024);
        let mut under_way = std::collections::VecDeque::new();
        let mut latencies = Vec::new();
        let mut counted = first;
        while counted < last {
            while self.appended < last && self.appended - self.progress.synced.get() < outstanding_max {
                let index = usize::try_from(self.appended).expect("64 bits") % self.slots.len();
                let append = BatchAppend {
                    records: records.clone(),
                    base_offset: Offset(self.ends[index]),
                    leader_epoch: LeaderEpoch(0),
                    log_append_time: None,
                };
                match self.store.append(self.slots[index], append) {
                    Ok(()) => {}
                    Err(StoreError::Overloaded) => break,
                    Err(error) => panic!("{error}"),
                }
                self.ends[index] += 1;
                self.appended += 1;
                under_way.push_back(Instant::now());
            }
            self.progress.reach(counted + 1).await;
            while counted < self.progress.synced.get() {
                latencies.push(under_way.pop_front().expect("it was appended").elapsed());
                counted += 1;
            }
        }
        is_over.set(true);
        let rounds = destager.await;
        let elapsed = began.elapsed();
        latencies.sort_unstable();
        let batches = per_second(last - first, Duration::from_secs(1));
        Turn {
            elapsed,
            batches,
            bytes: batches * per_second(records.len() as u64, Duration::from_secs(1)),
            device_bytes: per_second(device_bytes_written() - device_before, Duration::from_secs(1)),
            cpu: cpu_time() - cpu_before,
            rounds: per_second(rounds, Duration::from_secs(1)),
            latencies,
        }
    }

    fn values(&self, what: impl Fn(&Turn) -> f64) -> impl Iterator<Item = f64> {
        self.turns.iter().map(what)
    }

    fn median(&self, what: impl Fn(&Turn) -> f64) -> f64 {
        let mut values: Vec<f64> = self.values(what).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    }

    fn extreme(&self, what: impl Fn(&Turn) -> f64, choose: fn(f64, f64) -> f64) -> f64 {
        self.values(what).reduce(choose).expect("at least one turn")
    }
}

/// Destages as the broker does. Returns the number of rounds that moved something.
async fn destage(store: ShardStore<GlommioDisk>, is_over: Rc<Cell<bool>>) -> u64 {
    let mut rounds = 0;
    while !is_over.get() {
        let outcome = store.destage_round().await.expect("the disk has room");
        rounds += u64::from(outcome.destaged_bytes > 0);
        if !outcome.has_more {
            glommio::timer::sleep(Duration::from_millis(5)).await;
        }
    }
    rounds
}

/// What went to the device that holds the files, by whomever: sectors of 512 bytes in its statistics.
fn device_bytes_written() -> u64 {
    let target = std::fs::metadata(env!("CARGO_TARGET_TMPDIR")).expect("it is there");
    let device = std::os::linux::fs::MetadataExt::st_dev(&target);
    let path = format!("/sys/dev/block/{}:{}/stat", libc::major(device), libc::minor(device));
    let statistics = std::fs::read_to_string(path).unwrap_or_default();
    statistics.split_whitespace().nth(6).and_then(|sectors| sectors.parse::<u64>().ok()).unwrap_or(0) * 512
}

/// Processor time of this process, its kernel workers included.
fn cpu_time() -> Duration {
    let usage =
        nix::sys::resource::getrusage(nix::sys::resource::UsageWho::RUSAGE_SELF).expect("always there");
    let time = |value: nix::sys::time::TimeVal| {
        Duration::from_micros(u64::try_from(value.tv_sec() * 1_000_000 + value.tv_usec()).expect("positive"))
    };
    time(usage.user_time()) + time(usage.system_time())
}
