//! The generator's threads: each an executor on its core, started together, told when to begin, joined at the end.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use client::error::SendError;
use client::{ClientError, ConnectionError};
use glommio::{LocalExecutorBuilder, Placement};

use super::moment::since;
use super::producer::Producer;
use super::reader::{Goal, Reader, Start};
use super::recorder::{Notes, StreamRecord, ThreadNotes, Tick};
use super::{Edge, Role, RoundOutcome, RoundPlan, StreamPlan};
use crate::interrupt;
use crate::payload::Noise;

const TICK: Duration = Duration::from_secs(1);
/// Between two looks at whether to begin.
const BEGIN_LOOK_INTERVAL: Duration = Duration::from_millis(1);
/// Between two looks at whether somebody asked to end while threads connect.
const READY_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// From the moment all are ready until they begin.
const BEGIN_DELAY_NS: u64 = 30_000_000;
const RING_DEPTH: usize = 256;

/// Why a load can't run, or ended before its time.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{0}")]
pub struct LoadError(pub String);

impl From<ClientError> for LoadError {
    fn from(error: ClientError) -> Self {
        Self(error.to_string())
    }
}

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
    let ends = |stream: &StreamPlan| stream.layout.places.iter().map(|_| AtomicI64::new(0)).collect();
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
        let placement = core.map_or(Placement::Unbound, Placement::Fixed);
        let (shared, sender) = (Arc::clone(&shared), sender.clone());
        let body = move || {
            let made = LocalExecutorBuilder::new(placement).ring_depth(RING_DEPTH).make();
            let outcome = match made {
                Ok(executor) => executor.run(run(bootstrap, index, shared, sender.clone())),
                Err(error) => Err(LoadError(format!("no io_uring executor for the generator: {error}"))),
            };
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
    let producers = producers(index, &shared, &notes).await?;
    let readers = readers(index, &shared, &notes).await?;
    let _ = (bootstrap, sender.send(Word::Ready));
    while shared.window.get().is_none() {
        if shared.is_stopped() {
            return Ok(());
        }
        glommio::timer::sleep(BEGIN_LOOK_INTERVAL).await;
    }
    let mut tasks = Vec::new();
    for producer in producers {
        tasks.push(glommio::spawn_local(Producer::run(producer)));
    }
    for reader in readers {
        tasks.push(glommio::spawn_local(reader.run()));
    }
    let ticker = glommio::spawn_local(tick(Rc::clone(&notes), Arc::clone(&shared), sender.clone()));
    let busy = glommio::spawn_local(measure_busy(Arc::clone(&shared)));
    for task in tasks {
        task.await;
    }
    let busy = busy.await;
    ticker.cancel().await;
    let streams = std::mem::take(&mut notes.borrow_mut().streams);
    let _ = sender.send(Word::Done(streams, busy));
    Ok(())
}

/// The producers that are this thread's: producers of all streams are dealt out in turn.
async fn producers(
    thread: usize,
    shared: &Arc<Shared>,
    notes: &Notes,
) -> Result<Vec<Rc<Producer>>, LoadError> {
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
                ours.push(Producer::connect(stream, share, shared, notes, noise).await?);
            }
            number += 1;
        }
    }
    Ok(ours)
}

/// The readers that are this thread's, dealt out from the last thread on.
async fn readers(thread: usize, shared: &Arc<Shared>, notes: &Notes) -> Result<Vec<Reader>, LoadError> {
    let threads = shared.plan.cores.len();
    let mut ours = Vec::new();
    let mut number = 0;
    for (stream, plan) in shared.plan.streams.iter().enumerate() {
        for (role, partitions) in shares(plan) {
            if threads - 1 - number % threads == thread {
                let (start, goal) = match role {
                    Role::Tail(group) => (Start::End, Goal::Follow { group }),
                    Role::Drain => (Start::Beginning, Goal::Repeat(plan.backlog_ends.clone())),
                };
                let notes = Rc::clone(notes);
                ours.push(Reader::connect(stream, partitions, start, goal, Arc::clone(shared), notes).await?);
            }
            number += 1;
        }
    }
    Ok(ours)
}

/// Which partitions each reader of a stream reads.
fn shares(plan: &StreamPlan) -> Vec<(Role, Vec<usize>)> {
    let all = plan.layout.places.len();
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
        glommio::timer::sleep(Duration::from_nanos(due.saturating_sub(shared.now_ns()))).await;
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
    glommio::timer::sleep(pause(window.from_ns)).await;
    let (before_ns, from_ns) = (thread_cpu_ns(), shared.now_ns());
    while shared.now_ns() < window.until_ns && !shared.is_stopped() {
        glommio::timer::sleep(pause(window.until_ns).min(TICK)).await;
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
