//! Producing: closed loop (so many requests in flight on each connection) and open loop (so many a second, whatever
//! comes back). One thread, prepared requests, every answer checked.

use std::collections::VecDeque;
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::broker::{Target, Usage};
use super::figures::record;
use super::poller::{Interest, Poller};
use super::wire::{HEAD_BYTES, Prepared, ProduceLayout, batch, produce};

/// How a load is applied.
#[derive(Clone, Copy, Debug)]
pub enum Pace {
    /// So many requests are open on each connection at any time.
    InFlight(usize),
    /// So many requests a second over all connections, sent when their time has come.
    PerSecond(u32),
}

/// What is sent how.
#[derive(Clone, Debug)]
pub struct Load {
    pub topic: String,
    pub partitions: i32,
    pub connections: usize,
    pub pace: Pace,
    pub records_per_batch: u32,
    pub record_bytes: usize,
}

/// How long a round is.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// Loaded, but not measured.
    pub warm_up: Duration,
    pub measured: Duration,
}

/// What a round has shown. Latencies are in nanoseconds.
pub struct Round {
    pub seconds: f64,
    pub requests: u64,
    pub records: u64,
    /// Bytes of batches.
    pub bytes: u64,
    pub latency: Histogram<u64>,
    pub used: Usage,
    pub resident_bytes: u64,
}

/// What was acknowledged on each partition, over all rounds: offsets must be dense and given once.
pub struct Ledger {
    partitions: Vec<Account>,
    records_per_batch: i64,
}

#[derive(Clone, Copy, Default)]
struct Account {
    acknowledged: i64,
    offsets_sum: i128,
    last_offset: i64,
}

impl Ledger {
    pub fn new(load: &Load) -> Self {
        let count = usize::try_from(load.partitions).expect("a count");
        Self { partitions: vec![Account::default(); count], records_per_batch: load.records_per_batch.into() }
    }

    /// Acknowledged batches of the partition that has the fewest.
    pub fn fewest_acknowledged(&self) -> u64 {
        let fewest = self.partitions.iter().map(|account| account.acknowledged).min();
        u64::try_from(fewest.unwrap_or(0)).expect("a count")
    }

    fn note(&mut self, partition: i32, base_offset: i64) {
        let account =
            &mut self.partitions[usize::try_from(partition).expect("a partition that was asked for")];
        account.acknowledged += 1;
        account.offsets_sum += i128::from(base_offset);
        account.last_offset = account.last_offset.max(base_offset);
    }

    /// With nothing open: n batches have the offsets 0, r, 2r, up to (n - 1) r, each once.
    fn check(&self) {
        for (partition, account) in
            self.partitions.iter().enumerate().filter(|(_, each)| each.acknowledged > 0)
        {
            let last = account.acknowledged - 1;
            assert_eq!(account.last_offset, last * self.records_per_batch, "last offset of {partition}");
            let sum =
                i128::from(last) * i128::from(account.acknowledged) / 2 * i128::from(self.records_per_batch);
            assert_eq!(account.offsets_sum, sum, "offsets of partition {partition} are given once");
        }
    }
}

/// One connection.
struct Lane {
    socket: TcpStream,
    /// The requests of all lanes, one a partition, sent in turn.
    requests: Rc<[Prepared]>,
    next_request: usize,
    next_correlation: i32,
    /// Requests that are not wholly sent.
    unsent: VecDeque<([u8; HEAD_BYTES], usize)>,
    /// Bytes of the first of them that are.
    sent_bytes: usize,
    is_blocked: bool,
    /// When each request that waits for its answer was due.
    open: VecDeque<Instant>,
    answered: i32,
    received: Vec<u8>,
}

/// Runs one round of `load`.
pub fn run(broker: &impl Target, load: &Load, timing: Timing, ledger: &mut Ledger) -> Round {
    let mut driver = Driver::new(broker.address(), load);
    let begin = Instant::now();
    let (from, until) = (begin + timing.warm_up, begin + timing.warm_up + timing.measured);
    let mut used = broker.usage();
    driver.drive(load, from, ledger);
    let before = broker.usage();
    driver.measured = Some(Measured::default());
    let measured_from = Instant::now();
    driver.drive(load, until, ledger);
    let seconds = measured_from.elapsed().as_secs_f64();
    let after = broker.usage();
    let measured = driver.measured.take().expect("it was being measured");
    driver.drain(ledger);
    ledger.check();
    used.cpu = after.cpu - before.cpu;
    used.device_bytes = after.device_bytes - before.device_bytes;
    used.others = after.others.saturating_sub(before.others);
    let batch_bytes = batch(load.records_per_batch, load.record_bytes).len() as u64;
    Round {
        seconds,
        requests: measured.answers,
        records: measured.answers * u64::from(load.records_per_batch),
        bytes: measured.answers * batch_bytes,
        latency: measured.latency,
        used,
        resident_bytes: after.resident_bytes,
    }
}

struct Measured {
    answers: u64,
    latency: Histogram<u64>,
}

impl Default for Measured {
    fn default() -> Self {
        Self { answers: 0, latency: Histogram::new(3).expect("three digits are within bounds") }
    }
}

struct Driver {
    lanes: Vec<Lane>,
    poller: Poller,
    layout: ProduceLayout,
    buffer: Vec<u8>,
    measured: Option<Measured>,
    /// Of an open loop: when the next request is due, and on which lane.
    due: Option<Instant>,
    next_lane: usize,
}

impl Driver {
    fn new(address: SocketAddr, load: &Load) -> Self {
        let poller = Poller::new().expect("the kernel has epoll");
        let records = batch(load.records_per_batch, load.record_bytes);
        let requests: Rc<[Prepared]> =
            (0..load.partitions).map(|partition| produce(&load.topic, partition, &records)).collect();
        // Lanes begin at different partitions, so that a frame has many of them.
        let begin = |index| index * requests.len() / load.connections;
        let lanes: Vec<Lane> = (0..load.connections)
            .map(|index| Lane::new(address, Rc::clone(&requests), begin(index)))
            .collect();
        for (number, lane) in lanes.iter().enumerate() {
            poller.add(&lane.socket, number, Interest::Read).expect("a new socket");
        }
        Self {
            lanes,
            poller,
            layout: ProduceLayout::of(&load.topic),
            buffer: vec![0; 256 * 1024],
            measured: None,
            due: None,
            next_lane: 0,
        }
    }

    fn drive(&mut self, load: &Load, until: Instant, ledger: &mut Ledger) {
        match load.pace {
            Pace::InFlight(1) if self.lanes.len() == 1 => self.drive_one(until, ledger),
            Pace::InFlight(count) => self.drive_closed(count, until, ledger),
            Pace::PerSecond(rate) => self.drive_open(Duration::from_secs(1) / rate, until, ledger),
        }
    }

    /// One connection, one request at a time: blocking calls, as the floor it is compared with.
    fn drive_one(&mut self, until: Instant, ledger: &mut Ledger) {
        let lane = &mut self.lanes[0];
        lane.socket.set_nonblocking(false).expect("an open socket");
        let mut answer = vec![0; self.layout.bytes];
        loop {
            let start = Instant::now();
            if start >= until {
                break;
            }
            lane.enqueue(start);
            lane.send().expect("the broker reads");
            lane.socket.read_exact(&mut answer).expect("the broker answers");
            lane.take_answer(&answer, self.layout, ledger, self.measured.as_mut());
        }
    }

    fn drive_closed(&mut self, in_flight: usize, until: Instant, ledger: &mut Ledger) {
        for number in 0..self.lanes.len() {
            self.refill(number, in_flight);
        }
        while Instant::now() < until {
            let ready: Vec<usize> = self.wait(Duration::from_millis(100));
            for number in ready {
                self.receive(number, ledger);
                self.refill(number, in_flight);
            }
        }
    }

    fn refill(&mut self, number: usize, in_flight: usize) {
        let lane = &mut self.lanes[number];
        let now = Instant::now();
        while lane.open.len() < in_flight {
            lane.enqueue(now);
        }
        self.send(number);
    }

    fn drive_open(&mut self, interval: Duration, until: Instant, ledger: &mut Ledger) {
        loop {
            let now = Instant::now();
            if now >= until {
                return;
            }
            let mut due = self.due.unwrap_or(now);
            while due <= now {
                let number = self.next_lane;
                self.lanes[number].enqueue(due);
                self.send(number);
                self.next_lane = (number + 1) % self.lanes.len();
                due += interval;
            }
            self.due = Some(due);
            let left = due.min(until).saturating_duration_since(Instant::now());
            for number in self.wait(left) {
                self.receive(number, ledger);
                self.send(number);
            }
        }
    }

    /// Waits for all that is open.
    fn drain(&mut self, ledger: &mut Ledger) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.lanes.iter().any(|lane| !lane.open.is_empty()) {
            assert!(Instant::now() < deadline, "the broker does not answer");
            for number in self.wait(Duration::from_millis(100)) {
                self.receive(number, ledger);
                self.send(number);
            }
        }
    }

    fn wait(&mut self, timeout: Duration) -> Vec<usize> {
        self.poller.wait(timeout).expect("epoll works").collect()
    }

    fn send(&mut self, number: usize) {
        let lane = &mut self.lanes[number];
        let was_blocked = lane.is_blocked;
        lane.send().expect("the broker reads");
        if lane.is_blocked != was_blocked {
            let interest = if lane.is_blocked { Interest::ReadAndWrite } else { Interest::Read };
            self.poller.change(&lane.socket, number, interest).expect("a known socket");
        }
    }

    fn receive(&mut self, number: usize, ledger: &mut Ledger) {
        let lane = &mut self.lanes[number];
        let count = match lane.socket.read(&mut self.buffer) {
            Ok(0) => panic!("the broker closed the connection"),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the broker is gone: {error}"),
        };
        let mut received = std::mem::take(&mut lane.received);
        received.extend_from_slice(&self.buffer[..count]);
        let whole = received.len() - received.len() % self.layout.bytes;
        for answer in received[..whole].chunks_exact(self.layout.bytes) {
            lane.take_answer(answer, self.layout, ledger, self.measured.as_mut());
        }
        received.drain(..whole);
        lane.received = received;
    }
}

impl Lane {
    fn new(address: SocketAddr, requests: Rc<[Prepared]>, next_request: usize) -> Self {
        let socket = TcpStream::connect(address).expect("the broker listens");
        socket.set_nodelay(true).expect("an open socket");
        socket.set_nonblocking(true).expect("an open socket");
        Self {
            socket,
            requests,
            next_request,
            next_correlation: 0,
            unsent: VecDeque::new(),
            sent_bytes: 0,
            is_blocked: false,
            open: VecDeque::new(),
            answered: 0,
            received: Vec::new(),
        }
    }

    fn enqueue(&mut self, due: Instant) {
        let request = self.next_request;
        self.next_request = (request + 1) % self.requests.len();
        self.unsent.push_back((self.requests[request].head(self.next_correlation), request));
        self.next_correlation += 1;
        self.open.push_back(due);
    }

    /// Sends what the socket takes.
    fn send(&mut self) -> std::io::Result<()> {
        self.is_blocked = false;
        while !self.unsent.is_empty() {
            let mut slices: Vec<IoSlice<'_>> = Vec::with_capacity(self.unsent.len() * 2);
            for (head, request) in self.unsent.iter().take(256) {
                slices.push(IoSlice::new(head));
                slices.push(IoSlice::new(self.requests[*request].tail()));
            }
            let mut rest = &mut slices[..];
            IoSlice::advance_slices(&mut rest, self.sent_bytes);
            match self.socket.write_vectored(rest) {
                Ok(count) => self.advance(count),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.is_blocked = true;
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn advance(&mut self, count: usize) {
        self.sent_bytes += count;
        while let Some((_, request)) = self.unsent.front() {
            let whole = self.requests[*request].len();
            if self.sent_bytes < whole {
                return;
            }
            self.sent_bytes -= whole;
            self.unsent.pop_front();
        }
        assert_eq!(self.sent_bytes, 0, "no more is sent than there is");
    }

    fn take_answer(
        &mut self,
        frame: &[u8],
        layout: ProduceLayout,
        ledger: &mut Ledger,
        measured: Option<&mut Measured>,
    ) {
        let answer = layout.read(frame);
        assert_eq!(answer.error, 0, "partition {} refuses", answer.partition);
        assert_eq!(answer.correlation_id, self.answered, "answers come in order");
        self.answered += 1;
        let due = self.open.pop_front().expect("an answer has its request");
        ledger.note(answer.partition, answer.base_offset);
        if let Some(measured) = measured {
            measured.answers += 1;
            record(&mut measured.latency, due.elapsed());
        }
    }
}
