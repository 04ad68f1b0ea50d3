//! The generator's threads: each an executor on its core, started together, told when to begin, joined at the end.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use client::error::SendError;
use client::executor::interrupt;
use client::{Client, ClientError, Connection, ConnectionError, executor};
use protocol::messages::metadata::MetadataRequest;

use super::cluster::connect;
use super::drain::Drain;
use super::follower::Follower;
use super::moment::since;
use super::producer::{Producer, UNSENT_BYTES_MAX};
use super::recorder::{Notes, StreamRecord, ThreadNotes, Tick};
use super::{Edge, Role, RoundOutcome, RoundPlan, StreamPlan};
use crate::payload::Noise;
use crate::workload::Acks;

/// Kafka's consumer's default (`fetch.max.bytes`).
pub const ANSWER_BYTES_MAX: usize = 50 << 20;
/// Beside producers: walking a large answer would hold up whoever shares the thread.
const ANSWER_BYTES_BESIDE_PRODUCERS: usize = 2 << 20;
const TICK: Duration = Duration::from_secs(1);
/// Between two looks at whether to begin.
const BEGIN_LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// Between two looks at whether somebody asked to end while threads connect.
const READY_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// From the moment all are ready until they begin.
const BEGIN_DELAY_NS: u64 = 30_000_000;
/// Between two looks at whether a broker has hung up.
const HANG_UP_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// A connection on which nothing is asked is asked something so often: brokers close those that they take for forgotten.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);

/// Why a load can't run, or ended before its time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

impl From<ConnectionError> for LoadError {
    fn from(error: ConnectionError) -> Self {
        Self(error.to_string())
    }
}

impl From<SendError> for LoadError {
    fn from(error: SendError) -> Self {
        Self(error.to_string())
    }
}

impl From<ClientError> for LoadError {
    fn from(error: ClientError) -> Self {
        Self(error.to_string())
    }
}

/// What is measured of a round, in nanoseconds since the run's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    pub begin_ns: u64,
    pub from_ns: u64,
    pub until_ns: u64,
}

impl Window {
    /// Whether that moment is measured.
    pub fn contains(self, moment_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&moment_ns)
    }
}

/// What all tasks of a round share.
pub struct Shared {
    pub plan: Arc<RoundPlan>,
    window: OnceLock<Window>,
    stop: AtomicBool,
    /// Producers that are not through with their last answer.
    pub producing: AtomicUsize,
    /// Behind the last acknowledged record of each partition, by stream.
    pub ends: Vec<Vec<AtomicI64>>,
    failures: Sender<Word>,
}

impl Shared {
    /// Nanoseconds since the run's start.
    pub fn now_ns(&self) -> u64 {
        since(self.plan.epoch)
    }

    /// What is measured.
    pub fn window(&self) -> Window {
        *self.window.get().expect("tasks are spawned after the begin is set")
    }

    /// How much a reader fetches at once.
    pub fn answer_bytes_max(&self) -> usize {
        let is_alone = self.plan.streams.iter().all(|stream| stream.producers == 0);
        if is_alone { ANSWER_BYTES_MAX } else { ANSWER_BYTES_BESIDE_PRODUCERS }
    }

    /// Whether everything is to end now.
    pub fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Ends the round before its time; the first reason is told.
    pub fn fail(&self, reason: String) {
        self.stop.store(true, Ordering::Relaxed);
        // The conductor may have gone already, having heard another reason.
        let _ = self.failures.send(Word::Failed(reason));
    }
}

/// What threads tell the conductor.
enum Word {
    Ready,
    Failed(String),
    Tick(u64, Box<Tick>),
    Done(Vec<StreamRecord>, f64),
}

/// A round's threads.
pub struct Threads {
    shared: Arc<Shared>,
    words: Receiver<Word>,
    handles: Vec<JoinHandle<()>>,
}

/// Starts the threads of a round; they connect and then wait.
pub fn start(bootstrap: SocketAddr, plan: Arc<RoundPlan>) -> Result<Threads, LoadError> {
    assert!(!plan.cores.is_empty(), "a load has a thread");
    let (sender, words) = mpsc::channel();
    let ends = |stream: &StreamPlan| (0..stream.layout.count()).map(|_| AtomicI64::new(0)).collect();
    let producers: u32 = plan.streams.iter().map(|stream| stream.producers).sum();
    let shared = Arc::new(Shared {
        window: OnceLock::new(),
        stop: AtomicBool::new(false),
        producing: AtomicUsize::new(usize::try_from(producers).expect("a count")),
        ends: plan.streams.iter().map(ends).collect(),
        failures: sender.clone(),
        plan: Arc::clone(&plan),
    });
    let mut threads = Threads { shared: Arc::clone(&shared), words, handles: Vec::new() };
    for (index, core) in plan.cores.iter().enumerate() {
        let (core, shared, sender) = (*core, Arc::clone(&shared), sender.clone());
        let body = move || {
            let life = || run(bootstrap, index, shared, sender.clone());
            let outcome = executor::run(core, life).unwrap_or_else(|error| {
                Err(LoadError(format!("no io_uring executor for the generator: {error}")))
            });
            if let Err(error) = outcome {
                // Nobody listens any more where another thread failed first.
                let _ = sender.send(Word::Failed(error.0));
            }
        };
        let spawned = std::thread::Builder::new().name(format!("load-{index}")).spawn(body);
        threads.handles.push(spawned.map_err(|error| LoadError(format!("no thread: {error}")))?);
    }
    Ok(threads)
}

impl Threads {
    /// Lets them begin together and hears them to the end.
    pub fn conduct(
        self,
        on_edge: &mut impl FnMut(Edge),
        on_tick: &mut impl FnMut(&Tick),
    ) -> Result<RoundOutcome, LoadError> {
        let Self { shared, words, handles } = self;
        let mut outcome = RoundOutcome::default();
        for _ in 0..handles.len() {
            hear_ready(&words).inspect_err(|_| shared.stop.store(true, Ordering::Relaxed))?;
        }
        let plan = &shared.plan;
        let begin_ns = shared.now_ns() + BEGIN_DELAY_NS;
        let from_ns = begin_ns + nanoseconds(plan.warm_up);
        let window = Window { begin_ns, from_ns, until_ns: from_ns + nanoseconds(plan.measured) };
        shared.window.set(window).expect("it is set once");
        let mut edges = [(from_ns, Edge::Begin), (window.until_ns, Edge::End)].into_iter().peekable();
        let mut ticks = BTreeMap::<u64, (usize, Tick)>::new();
        let mut running = handles.len();
        while running > 0 {
            let now = shared.now_ns();
            if let Some((_, edge)) = edges.next_if(|(moment, _)| *moment <= now) {
                on_edge(edge);
            }
            if interrupt::was_asked() && !shared.is_stopped() {
                shared.stop.store(true, Ordering::Relaxed);
                outcome.failure.get_or_insert_with(|| "interrupted".into());
            }
            let wait = edges.peek().map_or(100_000_000, |(moment, _)| (moment - now).min(100_000_000));
            match words.recv_timeout(Duration::from_nanos(wait)) {
                Ok(Word::Failed(reason)) => {
                    shared.stop.store(true, Ordering::Relaxed);
                    outcome.failure.get_or_insert(reason);
                }
                Ok(Word::Tick(index, tick)) => {
                    let (count, merged) = ticks.entry(index).or_default();
                    merged.merge(&tick);
                    *count += 1;
                    if *count == handles.len() {
                        on_tick(merged);
                    }
                }
                Ok(Word::Done(streams, busy)) => {
                    running -= 1;
                    outcome.generator_busy = outcome.generator_busy.max(busy);
                    outcome.take_streams(streams);
                }
                Ok(Word::Ready) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => {
                    outcome.failure.get_or_insert_with(|| "a generator thread ended by itself".into());
                    break;
                }
            }
            if outcome.failure.is_some() && handles.iter().all(JoinHandle::is_finished) {
                running = 0;
                outcome.take_rest(&words);
            }
        }
        edges.for_each(|(_, edge)| on_edge(edge));
        outcome.ticks = ticks.into_values().map(|(_, tick)| tick).collect();
        let measured_ns = shared.now_ns().min(window.until_ns).saturating_sub(from_ns);
        outcome.seconds = measured_ns as f64 / 1e9;
        for handle in handles {
            if handle.join().is_err() {
                outcome.failure.get_or_insert_with(|| "a generator thread panicked".into());
            }
        }
        if outcome.failure.is_none() {
            outcome.miss_unread(plan);
        }
        Ok(outcome)
    }
}

/// Waits until one more thread has connected.
fn hear_ready(words: &Receiver<Word>) -> Result<(), LoadError> {
    loop {
        match words.recv_timeout(READY_LOOK_INTERVAL) {
            Ok(Word::Ready) => return Ok(()),
            Ok(Word::Failed(reason)) => return Err(LoadError(reason)),
            Err(RecvTimeoutError::Timeout) if interrupt::was_asked() => {
                return Err(LoadError("interrupted".into()));
            }
            Err(RecvTimeoutError::Timeout) => {}
            Ok(_) | Err(RecvTimeoutError::Disconnected) => {
                return Err(LoadError("a generator thread ended before it began".into()));
            }
        }
    }
}

impl RoundOutcome {
    /// What threads that have ended by now had still handed in.
    fn take_rest(&mut self, words: &Receiver<Word>) {
        while let Ok(word) = words.try_recv() {
            if let Word::Done(streams, _) = word {
                self.take_streams(streams);
            }
        }
    }

    fn take_streams(&mut self, streams: Vec<StreamRecord>) {
        self.streams.resize_with(streams.len().max(self.streams.len()), StreamRecord::default);
        for (own, mut other) in self.streams.iter_mut().zip(streams) {
            self.faults.merge(std::mem::take(&mut other.faults));
            own.merge(other);
        }
    }
}

/// The life of one thread: connect, wait, run its share, hand in its notes.
async fn run(
    bootstrap: SocketAddr,
    index: usize,
    shared: Arc<Shared>,
    sender: Sender<Word>,
) -> Result<(), LoadError> {
    let streams = shared.plan.streams.iter().map(|_| StreamRecord::default()).collect();
    let notes: Notes = Rc::new(RefCell::new(ThreadNotes { streams, tick: Tick::default() }));
    let bootstrap = bootstrap.to_string();
    let client = connect(&bootstrap, None).await?;
    let unanswered = connect(&bootstrap, Some(UNSENT_BYTES_MAX)).await?;
    let producers = producers(index, (&client, &unanswered), &shared, &notes).await?;
    let (followers, drains) = readers(index, &client, &shared, &notes).await?;
    let leaders = connect_leaders(&client, &shared.plan).await?;
    // Nobody listens any more where another thread failed first.
    let _ = sender.send(Word::Ready);
    while shared.window.get().is_none() {
        if shared.is_stopped() {
            return Ok(());
        }
        executor::sleep(BEGIN_LOOK_INTERVAL).await;
    }
    let mut tasks = Vec::new();
    for producer in producers {
        tasks.push(glommio::spawn_local(Producer::run(producer)));
    }
    tasks.extend(followers.into_iter().map(|follower| glommio::spawn_local(follower.run())));
    tasks.extend(drains.into_iter().map(|drain| glommio::spawn_local(drain.run())));
    let ticker = glommio::spawn_local(tick(Rc::clone(&notes), Arc::clone(&shared), sender.clone()));
    let watch = glommio::spawn_local(watch(leaders, Arc::clone(&shared)));
    let busy = glommio::spawn_local(measure_busy(Arc::clone(&shared)));
    for task in tasks {
        task.await;
    }
    let busy = busy.await;
    ticker.cancel().await;
    watch.cancel().await;
    let streams = std::mem::take(&mut notes.borrow_mut().streams);
    let _ = sender.send(Word::Done(streams, busy));
    Ok(())
}

/// A connection to each broker that leads some of what is written or read.
async fn connect_leaders(client: &Client, plan: &RoundPlan) -> Result<Vec<Connection>, LoadError> {
    let mut leaders = BTreeSet::new();
    for name in plan.streams.iter().flat_map(|stream| &stream.layout.topics) {
        leaders.extend(client.topic(name).await?.partitions.iter().filter_map(|partition| partition.leader));
    }
    let mut connections = Vec::new();
    for leader in leaders {
        connections.push(client.connection_to(leader).await?);
    }
    Ok(connections)
}

/// Ends the round when a broker hangs up. The client would connect again and go on, but what is measured then is no load on
/// a broker that serves.
async fn watch(leaders: Vec<Connection>, shared: Arc<Shared>) {
    let mut asked_at = Instant::now();
    loop {
        executor::sleep(HANG_UP_LOOK_INTERVAL).await;
        if asked_at.elapsed() >= KEEP_ALIVE_INTERVAL {
            asked_at = Instant::now();
            for leader in &leaders {
                // That it has ended is seen below.
                let _asked =
                    leader.try_send(&MetadataRequest { topics: Some(Vec::new()), ..Default::default() });
            }
        }
        if let Some(ended) = leaders.iter().find_map(Connection::ended) {
            return shared.fail(ended.to_string());
        }
    }
}

/// The producers that are this thread's: producers of all streams are dealt out in turn. Where nobody answers, through the
/// second of the clients.
async fn producers(
    thread: usize,
    (client, unanswered): (&Client, &Client),
    shared: &Arc<Shared>,
    notes: &Notes,
) -> Result<Vec<Producer>, LoadError> {
    let mut ours = Vec::new();
    let mut number = 0;
    for (stream, plan) in shared.plan.streams.iter().enumerate() {
        let mut noise = None;
        for share in 0..plan.producers {
            if number % shared.plan.cores.len() == thread {
                let new_noise =
                    || Noise::new(&plan.stream.record, u64::from(shared.plan.run) ^ thread as u64);
                let noise = Rc::clone(noise.get_or_insert_with(new_noise));
                let (shared, notes) = (Arc::clone(shared), Rc::clone(notes));
                let client = if plan.stream.acks == Acks::None { unanswered } else { client };
                ours.push(Producer::connect(client, stream, share, shared, notes, noise).await?);
            }
            number += 1;
        }
    }
    Ok(ours)
}

/// The readers that are this thread's, dealt out from the last thread on.
async fn readers(
    thread: usize,
    client: &Client,
    shared: &Arc<Shared>,
    notes: &Notes,
) -> Result<(Vec<Follower>, Vec<Drain>), LoadError> {
    let threads = shared.plan.cores.len();
    let (mut followers, mut drains) = (Vec::new(), Vec::new());
    let mut number = 0;
    for (stream, plan) in shared.plan.streams.iter().enumerate() {
        for (role, partitions) in shares(plan) {
            if threads - 1 - number % threads == thread {
                let (shared, notes) = (Arc::clone(shared), Rc::clone(notes));
                match role {
                    Role::Tail(group) => {
                        let follower = Follower::connect(client, stream, &partitions, group, shared, notes);
                        followers.push(follower.await?);
                    }
                    Role::Drain => drains.push(Drain::connect(client, stream, shared, notes).await?),
                }
            }
            number += 1;
        }
    }
    Ok((followers, drains))
}

/// Which partitions each reader of a stream reads.
fn shares(plan: &StreamPlan) -> Vec<(Role, Vec<usize>)> {
    let all = plan.layout.count();
    let mut shares = Vec::new();
    if plan.tail_readers {
        let members = usize::try_from(plan.stream.readers_per_group).expect("a count").min(all);
        for group in 0..plan.stream.groups {
            let share = |member: usize| (Role::Tail(group), (member..all).step_by(members).collect());
            shares.extend((0..members).map(share));
        }
    }
    shares.extend((0..plan.drain_readers).map(|_| (Role::Drain, (0..all).collect())));
    shares
}

async fn tick(notes: Notes, shared: Arc<Shared>, sender: Sender<Word>) {
    let begin_ns = shared.window().begin_ns;
    for index in 1_u64.. {
        let due = begin_ns + index * nanoseconds(TICK);
        executor::sleep(Duration::from_nanos(due.saturating_sub(shared.now_ns()))).await;
        let mut tick = std::mem::take(&mut notes.borrow_mut().tick);
        tick.at_seconds = (shared.now_ns() - begin_ns) as f64 / 1e9;
        if sender.send(Word::Tick(index, Box::new(tick))).is_err() {
            return;
        }
    }
}

/// How busy this thread is while it is measured, of 1.
async fn measure_busy(shared: Arc<Shared>) -> f64 {
    let window = shared.window();
    let pause = |until_ns: u64| Duration::from_nanos(until_ns.saturating_sub(shared.now_ns()));
    executor::sleep(pause(window.from_ns)).await;
    let (before_ns, from_ns) = (thread_cpu_ns(), shared.now_ns());
    while shared.now_ns() < window.until_ns && !shared.is_stopped() {
        executor::sleep(pause(window.until_ns).min(TICK)).await;
    }
    let elapsed_ns = shared.now_ns().saturating_sub(from_ns).max(1);
    thread_cpu_ns().saturating_sub(before_ns) as f64 / elapsed_ns as f64
}

/// What the calling thread has run so far; the kernel counts it to the nanosecond.
fn thread_cpu_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// A time as the run's clock counts it.
pub fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).expect("rounds take less than centuries")
}
