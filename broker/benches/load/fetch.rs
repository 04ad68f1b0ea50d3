//! Fetching as fast as the broker sends. Records are thrown away in the kernel (`MSG_TRUNC`), so that the reader costs
//! little and the sender is what is measured; heads and the first offset of every answer are checked.

use std::io::{ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use super::broker::{BROKER_CORE, Broker, Target, pin};
use super::poller::{Interest, Poller};
use super::wire::{FetchLayout, fetch};

/// Bytes of one call that throws away.
const DISCARD_BYTES_MAX: usize = 1 << 20;
/// Bytes of the first batch that are read with the head: its base offset.
const PEEK_BYTES: usize = 8;

/// What is read how.
#[derive(Clone, Debug)]
pub struct Reading {
    pub topic: String,
    /// One connection each.
    pub partitions: i32,
    /// Offsets that are read; at the end it begins again.
    pub offsets: std::ops::Range<i64>,
    /// What an answer may hold.
    pub bytes_max: i32,
    /// All batches of the topic are alike.
    pub batch_bytes: usize,
    pub records_per_batch: i64,
}

/// What was read.
#[derive(Clone, Copy, Debug, Default)]
pub struct Read {
    pub seconds: f64,
    pub bytes: u64,
    pub answers: u64,
    pub broker_cpu: Duration,
}

struct Lane {
    socket: TcpStream,
    partition: i32,
    offset: i64,
    head: Vec<u8>,
    /// What is still to come of the answer; none while its head is not there.
    missing: Option<usize>,
}

/// Reads until time is up, the flag is raised, or (where `once`) every partition was read to its end.
pub fn run(
    broker: &Broker,
    reading: &Reading,
    time: Duration,
    once: bool,
    stop: Option<&AtomicBool>,
) -> Read {
    let mut poller = Poller::new().expect("the kernel has epoll");
    let layout = FetchLayout::of(&reading.topic);
    let connect = |partition| {
        let socket = TcpStream::connect(broker.address).expect("the broker listens");
        socket.set_nodelay(true).expect("an open socket");
        Lane { socket, partition, offset: reading.offsets.start, head: Vec::new(), missing: None }
    };
    let mut lanes: Vec<Lane> = (0..reading.partitions).map(connect).collect();
    for (number, lane) in lanes.iter_mut().enumerate() {
        lane.ask(reading);
        poller.add(&lane.socket, number, Interest::Read).expect("a new socket");
    }
    let before = broker.usage();
    let begin = Instant::now();
    let mut read = Read::default();
    let mut open = lanes.len();
    while open > 0 && begin.elapsed() < time && !stop.is_some_and(|stop| stop.load(Ordering::Relaxed)) {
        let ready: Vec<usize> = poller.wait(Duration::from_millis(100)).expect("epoll works").collect();
        for number in ready {
            let lane = &mut lanes[number];
            if !lane.receive(layout, reading, &mut read) {
                continue;
            }
            if lane.offset >= reading.offsets.end {
                if once {
                    open -= 1;
                    continue;
                }
                lane.offset = reading.offsets.start;
            }
            lane.ask(reading);
        }
    }
    read.seconds = begin.elapsed().as_secs_f64();
    read.broker_cpu = broker.usage().cpu - before.cpu;
    read
}

impl Lane {
    fn ask(&mut self, reading: &Reading) {
        let request = fetch(&reading.topic, self.partition, self.offset, reading.bytes_max);
        let frame = [&request.head(0)[..], request.tail()].concat();
        self.socket.write_all(&frame).expect("the broker reads");
    }

    /// Receives what is there; true once an answer is complete.
    fn receive(&mut self, layout: FetchLayout, reading: &Reading, read: &mut Read) -> bool {
        let head_bytes = layout.head_bytes + PEEK_BYTES;
        if self.missing.is_none() {
            // An answer without records is shorter than a head; it would only come when time is up.
            let mut buffer = vec![0; head_bytes - self.head.len()];
            let count = receive(&self.socket, Some(&mut buffer), 0);
            self.head.extend_from_slice(&buffer[..count]);
            if self.head.len() < head_bytes {
                return false;
            }
            let answer = layout.read(&self.head);
            assert_eq!(answer.error, 0, "partition {}", self.partition);
            let records_per_batch = reading.records_per_batch;
            assert!(answer.high_watermark >= reading.offsets.end, "what is read was committed");
            assert_eq!(answer.base_offset, self.offset, "the answer begins where it was asked to");
            assert!(answer.records_bytes.is_multiple_of(reading.batch_bytes), "whole batches");
            let batches = i64::try_from(answer.records_bytes / reading.batch_bytes).expect("a count");
            self.offset += batches * records_per_batch;
            self.missing = Some(answer.records_bytes - PEEK_BYTES);
            read.bytes += answer.records_bytes as u64;
            read.answers += 1;
            self.head.clear();
        }
        let missing = self.missing.expect("it was set above");
        let count = receive(&self.socket, None, missing);
        self.missing = (count < missing).then_some(missing - count);
        self.missing.is_none()
    }
}

/// Receives into `buffer`, or throws away up to `missing` bytes; 0 where nothing is there.
fn receive(socket: &TcpStream, buffer: Option<&mut [u8]>, missing: usize) -> usize {
    let (pointer, length, flags) = match buffer {
        Some(buffer) => (buffer.as_mut_ptr(), buffer.len(), libc::MSG_DONTWAIT),
        None => {
            let flags = libc::MSG_DONTWAIT | libc::MSG_TRUNC;
            (std::ptr::null_mut(), missing.min(DISCARD_BYTES_MAX), flags)
        }
    };
    if length == 0 {
        return 0;
    }
    // SAFETY: the buffer is writable for its length; with MSG_TRUNC, TCP writes nothing at all.
    let count = unsafe { libc::recv(socket.as_raw_fd(), pointer.cast(), length, flags) };
    match usize::try_from(count) {
        Ok(0) => panic!("the sender closed the connection"),
        Ok(count) => count,
        Err(_) => {
            let error = std::io::Error::last_os_error();
            assert_eq!(error.kind(), ErrorKind::WouldBlock, "the sender is gone: {error}");
            0
        }
    }
}

/// What a thread on the broker's core sends to the same reader over bare sockets: bytes a second.
pub fn bare_socket(connections: usize, answer_bytes: usize, time: Duration) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let sender = std::thread::spawn(move || send_all(&listener, connections, answer_bytes));
    let mut poller = Poller::new().expect("the kernel has epoll");
    let mut sockets: Vec<(TcpStream, usize)> =
        (0..connections).map(|_| (connect(address), answer_bytes)).collect();
    for (number, (socket, _)) in sockets.iter_mut().enumerate() {
        poller.add(socket, number, Interest::Read).expect("a new socket");
        socket.write_all(&[0; 100]).expect("the sender reads");
    }
    let begin = Instant::now();
    let mut bytes = 0_usize;
    while begin.elapsed() < time {
        let ready: Vec<usize> = poller.wait(Duration::from_millis(100)).expect("epoll works").collect();
        for number in ready {
            let (socket, missing) = &mut sockets[number];
            let count = receive(socket, None, *missing);
            bytes += count;
            *missing -= count;
            if *missing == 0 {
                *missing = answer_bytes;
                socket.write_all(&[0; 100]).expect("the sender reads");
            }
        }
    }
    let seconds = begin.elapsed().as_secs_f64();
    drop(sockets);
    sender.join().expect("the sender ends when its peers go");
    bytes as f64 / seconds
}

fn connect(address: SocketAddr) -> TcpStream {
    let socket = TcpStream::connect(address).expect("the sender listens");
    socket.set_nodelay(true).expect("an open socket");
    socket
}

/// Answers requests of 100 bytes with `answer_bytes` each until the peers go.
fn send_all(listener: &TcpListener, connections: usize, answer_bytes: usize) {
    pin(BROKER_CORE);
    let content = vec![7_u8; answer_bytes];
    let mut poller = Poller::new().expect("the kernel has epoll");
    let mut lanes: Vec<(TcpStream, usize, usize)> = (0..connections)
        .map(|number| {
            let (socket, _) = listener.accept().expect("the reader connects");
            socket.set_nonblocking(true).expect("an open socket");
            poller.add(&socket, number, Interest::Read).expect("a new socket");
            (socket, 0, answer_bytes)
        })
        .collect();
    loop {
        let ready: Vec<usize> = poller.wait(Duration::from_secs(10)).expect("epoll works").collect();
        for number in ready {
            let (socket, asked, sent) = &mut lanes[number];
            if *sent == answer_bytes {
                let mut request = [0; 100];
                match std::io::Read::read(socket, &mut request[*asked..]) {
                    Ok(0) | Err(_) => return,
                    Ok(count) => *asked += count,
                }
                if *asked < request.len() {
                    continue;
                }
                (*asked, *sent) = (0, 0);
            }
            match socket.write(&content[*sent..]) {
                Ok(count) => *sent += count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => return,
            }
            let interest = if *sent < answer_bytes { Interest::ReadAndWrite } else { Interest::Read };
            poller.change(socket, number, interest).expect("a known socket");
        }
    }
}
