//! What the journal costs on this machine's device, beside bare writes of the same run.
//!
//! `cargo bench -p storage --bench journal` prints one row per case; `... -- latency rate` only some of the
//! sections (latency, rate, depth, delays). Compare figures of one run only. Files lie under `target/`.
//!
//! Ten volumes of the journal go through before a case counts (not with a slowed device), so its files have been written
//! all over and its buffers are warm. Then windows of the case and of bare writes of its mean frame's length take turns
//! on the same thread; figures are medians over the turns, with the least and the most. The queues are the broker's:
//! whoever appends, the writer and the busy neighbour in one of low latency, destaging behind them. A case without
//! destaging deletes its partition before its files come round again: nothing of it has to move.

use std::cell::Cell;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use glommio::{Latency, LocalExecutorBuilder, Placement, Shares, TaskQueueHandle};
use protocol::types::{LeaderEpoch, Offset};
use storage::disk::fault::{FaultDisk, Faults, OperationKind};
use storage::disk::glommio::GlommioDisk;
use storage::disk::{Disk, IoBuffer};
use storage::store::{BatchAppend, PartitionSlot, ShardStore, StoreError, StoreOptions, SyncMethod};

use crate::shared::{Progress, batch, fresh_directory, per_second, spec};

mod shared;

/// The ring is of so many files of so many bytes: 256 MiB.
const JOURNAL_FILES: usize = 8;
const JOURNAL_FILE_BYTES: u64 = 32 << 20;
const JOURNAL_BYTES: u64 = JOURNAL_FILES as u64 * JOURNAL_FILE_BYTES;

/// Journal volumes that go through before anything counts.
const WARM_UP_VOLUMES: u64 = 10;

const TURNS: usize = 3;
const TURN_TIME: Duration = Duration::from_secs(1);

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
    for sync_method in [SyncMethod::Dsync, SyncMethod::WriteThenSync] {
        let turns = Case { sync_method, warm_up_volumes: 0, ..Case::default() }.run();
        println!("bare O_DIRECT|O_DSYNC, 4 KiB          {}", turns.latencies(|turn| &turn.bare));
        println!(
            "{:<37} {}   {} of the bare p50",
            format!("append to synced, {sync_method:?}"),
            turns.latencies(|turn| &turn.case),
            turns.spread(|turn| turn.case.quantile(0.5) / turn.bare.quantile(0.5)).ratio()
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
            let turns = Case { batch_bytes, outstanding, destage, ..Case::default() }.run();
            let beside = if destage { "with destaging" } else { "alone" };
            println!(
                "{:<44} {}   {} of bare writes of {} KiB",
                format!("{batch_bytes} B, {outstanding} in flight, {beside}"),
                turns.rates(),
                turns.spread(|turn| turn.case.device_rate() / turn.bare.device_rate()).ratio(),
                (turns.0[0].bare.frame_bytes / turns.0[0].bare.frames.max(1)) >> 10
            );
        }
    }
}

/// How many frames in flight, and how they are synced, on a shard that does nothing else and on one that never rests.
fn depth() {
    for (batch_bytes, outstanding) in [(1024, 1), (1024, 128), (100 << 10, 16)] {
        for is_busy in [false, true] {
            for sync_method in [SyncMethod::Dsync, SyncMethod::WriteThenSync] {
                // With one append in flight there is never a second frame.
                let deepest = if outstanding == 1 { 1 } else { 4 };
                for in_flight in 1..=deepest {
                    let warm_up_volumes = if outstanding == 1 { 0 } else { 2 };
                    let case = Case {
                        batch_bytes,
                        outstanding,
                        sync_method,
                        in_flight,
                        is_busy,
                        warm_up_volumes,
                        ..Case::default()
                    };
                    let turns = case.run();
                    let shard = if is_busy { "busy" } else { "idle" };
                    let name = format!(
                        "{batch_bytes} B x {outstanding}, {shard}, {sync_method:?}, depth {in_flight}"
                    );
                    println!("{name:<44} {}   {}", turns.rates(), turns.latencies(|turn| &turn.case));
                }
            }
        }
    }
}

/// A device whose writes are slower by so much.
fn delays() {
    for delay_us in [0, 200, 1000, 5000] {
        for outstanding in [1, 128, 1024] {
            let turns = Case { outstanding, delay_us, warm_up_volumes: 0, ..Case::default() }.run();
            let name = format!("{delay_us} us a write, {outstanding} in flight");
            println!("{name:<44} {}   {}", turns.rates(), turns.latencies(|turn| &turn.case));
        }
    }
}

/// What is measured.
#[derive(Clone, Copy)]
struct Case {
    batch_bytes: usize,
    outstanding: u64,
    sync_method: SyncMethod,
    in_flight: usize,
    delay_us: u64,
    destage: bool,
    /// The shard's thread is always at work.
    is_busy: bool,
    warm_up_volumes: u64,
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
            warm_up_volumes: WARM_UP_VOLUMES,
        }
    }
}

/// What came of one window.
#[derive(Default)]
struct Window {
    elapsed: Duration,
    batches: u64,
    batch_bytes: u64,
    frames: u64,
    frame_bytes: u64,
    latencies_ns: Vec<u64>,
}

impl Window {
    fn device_rate(&self) -> f64 {
        per_second(self.frame_bytes, self.elapsed)
    }

    /// In microseconds.
    fn quantile(&self, quantile: f64) -> f64 {
        let last = self.latencies_ns.len() - 1;
        let thousandths = (0..=1000).find(|step| f64::from(*step) / 1000.0 >= quantile).unwrap_or(1000);
        let index = last * usize::try_from(thousandths).expect("small") / 1000;
        Duration::from_nanos(self.latencies_ns[index]).as_secs_f64() * 1e6
    }
}

/// A window of the case, and the bare writes right behind it.
struct Turn {
    case: Window,
    bare: Window,
}

struct Turns(Vec<Turn>);

/// The median, the least and the most over the turns.
struct Spread([f64; 3]);

impl Spread {
    fn ratio(&self) -> String {
        let [median, least, most] = self.0;
        format!("{median:.2} ({least:.2} to {most:.2})")
    }
}

impl Turns {
    fn spread(&self, figure: impl Fn(&Turn) -> f64) -> Spread {
        let mut figures: Vec<f64> = self.0.iter().map(figure).collect();
        figures.sort_by(f64::total_cmp);
        Spread([figures[figures.len() / 2], figures[0], figures[figures.len() - 1]])
    }

    fn rates(&self) -> String {
        let [batches, least, most] = self.spread(|turn| per_second(turn.case.batches, turn.case.elapsed)).0;
        let megabytes = self.spread(|turn| per_second(turn.case.batch_bytes, turn.case.elapsed) / 1e6).0[0];
        let frames = self.spread(|turn| per_second(turn.case.frames, turn.case.elapsed)).0[0];
        format!(
            "{batches:>8.0} ({least:.0} to {most:.0}) batches/s {megabytes:>6.1} MB/s {frames:>6.0} frames/s"
        )
    }

    fn latencies(&self, of: impl Fn(&Turn) -> &Window) -> String {
        let median = self.spread(|turn| of(turn).quantile(0.5)).0[0];
        let tail = self.spread(|turn| of(turn).quantile(0.99)).0[0];
        format!("p50 {median:>7.1} us  p99 {tail:>7.1} us")
    }
}

/// Bare, direct, synced writes, one after the other, over a file as long as the journal that was written before.
struct Bare {
    file: File,
    position: u64,
}

impl Bare {
    fn open(directory: &Path) -> Self {
        let path = directory.join("bare");
        let open = |flags| {
            OpenOptions::new().write(true).create(true).truncate(false).custom_flags(flags).open(&path)
        };
        let zeroing = open(0).expect("a file for the bare writes");
        let zeros = vec![0; 1 << 20];
        for position in (0..JOURNAL_BYTES).step_by(zeros.len()) {
            zeroing.write_all_at(&zeros, position).expect("zeroed");
        }
        zeroing.sync_all().expect("synced");
        Self { file: open(libc::O_DIRECT | libc::O_DSYNC).expect("direct writes"), position: 0 }
    }

    fn window(&mut self, length: usize) -> Window {
        let mut buffer = IoBuffer::allocate(length);
        buffer[..length].fill(1);
        let mut window = Window::default();
        let started = Instant::now();
        while started.elapsed() < TURN_TIME {
            if self.position + length as u64 > JOURNAL_BYTES {
                self.position = 0;
            }
            let before = Instant::now();
            self.file.write_all_at(&buffer[..length], self.position).expect("written");
            window.latencies_ns.push(u64::try_from(before.elapsed().as_nanos()).expect("short"));
            self.position += length as u64;
            window.frames += 1;
            window.frame_bytes += length as u64;
        }
        window.elapsed = started.elapsed();
        window.latencies_ns.sort_unstable();
        window
    }
}

/// The broker's queues.
#[derive(Clone, Copy)]
struct Queues {
    latency: TaskQueueHandle,
    background: TaskQueueHandle,
}

impl Queues {
    fn make() -> Self {
        let executor = glommio::executor();
        Self {
            latency: executor.create_task_queue(
                Shares::Static(1_000),
                Latency::Matters(Duration::from_micros(500)),
                "latency",
            ),
            background: executor.create_task_queue(Shares::Static(100), Latency::NotImportant, "background"),
        }
    }
}

impl Case {
    fn run(self) -> Turns {
        let directory = fresh_directory("journal-bench");
        let executor = LocalExecutorBuilder::new(Placement::Unbound).spawn(move || async move {
            executor::allow_ring_workers().expect("a ring");
            executor::keep_nudged();
            let queues = Queues::make();
            let bare = Bare::open(&directory);
            let store = directory.join("store");
            std::fs::create_dir(&store).expect("a directory for the store");
            let disk = GlommioDisk::open(&store).await.expect("a disk with direct I/O");
            let run = async move {
                if self.delay_us == 0 {
                    return self.run_on(disk, bare, queues).await;
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
                self.run_on(disk, bare, queues).await
            };
            glommio::spawn_local_into(run, queues.latency).expect("the queue is there").await
        });
        executor.expect("a thread").join().expect("the case runs")
    }

    async fn run_on<D: Disk>(self, disk: D, mut bare: Bare, queues: Queues) -> Turns {
        let options = StoreOptions {
            sync_method: self.sync_method,
            frames_in_flight_max: self.in_flight,
            journal_file_bytes: JOURNAL_FILE_BYTES,
            journal_files_max: JOURNAL_FILES,
            ..StoreOptions::new(0, 1)
        };
        let (store, recovered) =
            ShardStore::open(disk, options, vec![spec(0)], &mut ()).await.expect("a fresh store");
        let progress = Rc::new(Progress::default());
        store.set_listener(progress.clone());
        let pump_store = store.clone();
        let pump = glommio::spawn_local_into(async move { pump_store.run_writer().await }, queues.latency)
            .expect("the queue is there");
        let is_over = Rc::new(Cell::new(false));
        let destager = glommio::spawn_local_into(destage(store.clone(), is_over.clone()), queues.background)
            .expect("the queue is there");
        let mut appender = Appender::new(self, store, progress, recovered.partitions[0].slot);
        appender.append_while(|window| window.frame_bytes < self.warm_up_volumes * JOURNAL_BYTES).await;
        let mut turns = Vec::new();
        for _ in 0..TURNS {
            let worker_over = Rc::new(Cell::new(false));
            let worker = glommio::spawn_local(work(self.is_busy, worker_over.clone()));
            let case = appender.append_while(|window| window.elapsed < TURN_TIME).await;
            worker_over.set(true);
            worker.await;
            let frame_bytes = (case.frame_bytes / case.frames.max(1)).next_multiple_of(4096);
            let bare = bare.window(usize::try_from(frame_bytes).expect("a frame's length"));
            turns.push(Turn { case, bare });
        }
        is_over.set(true);
        destager.await;
        pump.cancel().await;
        Turns(turns)
    }
}

/// Keeps so many batches on their way.
struct Appender<D: Disk> {
    case: Case,
    store: ShardStore<D>,
    progress: Rc<Progress>,
    slot: PartitionSlot,
    records: Bytes,
    next: i64,
    /// Batches appended and counted, to whichever partition.
    appended: u64,
    counted: u64,
    /// The bytes that went to this partition.
    partition_bytes: u64,
    partitions: i32,
    started_at: VecDeque<Instant>,
}

impl<D: Disk> Appender<D> {
    fn new(case: Case, store: ShardStore<D>, progress: Rc<Progress>, slot: PartitionSlot) -> Self {
        let records = batch(case.batch_bytes);
        Self {
            case,
            store,
            progress,
            slot,
            records,
            next: 0,
            appended: 0,
            counted: 0,
            partition_bytes: 0,
            partitions: 1,
            started_at: VecDeque::new(),
        }
    }

    async fn append_while(&mut self, goes_on: impl Fn(&Window) -> bool) -> Window {
        let mut window = Window::default();
        let before = self.store.stats();
        let started = Instant::now();
        while goes_on(&window) {
            if !self.case.destage && self.partition_bytes > JOURNAL_BYTES / 8 {
                self.take_another_partition().await;
            }
            self.append_as_many_as_may_be();
            self.progress.reach(self.counted + 1).await;
            // In order of appending, as far as so many are synced: the mean is right, the order nearly so.
            while self.counted < self.progress.synced.get() {
                let at = self.started_at.pop_front().expect("it was appended");
                window.latencies_ns.push(u64::try_from(at.elapsed().as_nanos()).expect("short"));
                self.counted += 1;
                window.batches += 1;
            }
            let after = self.store.stats();
            window.frames = after.frames - before.frames;
            window.frame_bytes = after.frame_bytes - before.frame_bytes;
            window.batch_bytes = window.batches * self.records.len() as u64;
            window.elapsed = started.elapsed();
        }
        window.latencies_ns.sort_unstable();
        window
    }

    fn append_as_many_as_may_be(&mut self) {
        while self.appended - self.progress.synced.get() < self.case.outstanding {
            let append = BatchAppend {
                records: self.records.clone(),
                base_offset: Offset(self.next),
                leader_epoch: LeaderEpoch(0),
                log_append_time: None,
            };
            match self.store.append(self.slot, append) {
                Ok(()) => {}
                Err(StoreError::Overloaded) => break,
                Err(error) => panic!("{error}"),
            }
            self.next += 1;
            self.appended += 1;
            self.partition_bytes += self.records.len() as u64;
            self.started_at.push_back(Instant::now());
        }
    }

    async fn take_another_partition(&mut self) {
        self.progress.reach(self.appended).await;
        self.store.delete_partition(self.slot).await.expect("it is there");
        self.slot = self.store.create_partition(&spec(self.partitions)).await.expect("a new one");
        self.partitions += 1;
        self.next = 0;
        self.partition_bytes = 0;
    }
}

/// Destages as the broker does.
async fn destage<D: Disk>(store: ShardStore<D>, is_over: Rc<Cell<bool>>) {
    while !is_over.get() {
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
        futures_lite::future::yield_now().await;
    }
}
