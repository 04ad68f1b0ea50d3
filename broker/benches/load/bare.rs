//! The floor under many small requests: a thread on the broker's core that receives them and answers each at once, with
//! nothing between. It shows what sockets alone cost on this machine, at this hour.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;

use super::broker::{BROKER_CORE, Target, Usage, pin, user_time_of_others};
use super::poller::{Interest, Poller};
use super::wire::ProduceLayout;

/// A running bare server; it ends when it is dropped.
pub struct BareServer {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    cpu_microseconds: Arc<AtomicU64>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl BareServer {
    /// Starts one that answers for one partition of `topic`.
    pub fn start(topic: &str, records_per_batch: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("an open socket");
        let address = listener.local_addr().expect("it is bound");
        let (stopping, cpu_microseconds) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = std::thread::spawn({
            let (stopping, cpu) = (Arc::clone(&stopping), Arc::clone(&cpu_microseconds));
            let layout = ProduceLayout::of(topic);
            let topic = topic.to_owned();
            move || {
                pin(BROKER_CORE);
                let answers =
                    Answers { layout, topic, next_offset: 0, records_per_batch: records_per_batch.into() };
                serve(&listener, answers, &stopping, &cpu);
            }
        });
        Self { address, stopping, cpu_microseconds, thread: Some(thread) }
    }
}

impl Target for BareServer {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn usage(&self) -> Usage {
        let cpu = Duration::from_micros(self.cpu_microseconds.load(Ordering::Relaxed));
        let others = user_time_of_others(Path::new("/proc/self"));
        Usage { cpu, others, ..Usage::default() }
    }
}

impl Drop for BareServer {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the server ends when it is told");
        }
    }
}

struct Answers {
    layout: ProduceLayout,
    topic: String,
    next_offset: i64,
    records_per_batch: i64,
}

impl Answers {
    fn put(&mut self, request: &[u8], out: &mut Vec<u8>) {
        let correlation_id = request[8..12].try_into().expect("four bytes");
        self.layout.put(correlation_id, &self.topic, self.next_offset, out);
        self.next_offset += self.records_per_batch;
    }
}

struct Lane {
    socket: TcpStream,
    received: Vec<u8>,
}

fn serve(listener: &TcpListener, mut answers: Answers, stopping: &AtomicBool, cpu: &AtomicU64) {
    let mut poller = Poller::new().expect("the kernel has epoll");
    let mut lanes: Vec<Option<Lane>> = vec![None];
    poller.add(listener, 0, Interest::Read).expect("a new socket");
    let mut buffer = vec![0; 64 * 1024];
    let mut out = Vec::new();
    while !stopping.load(Ordering::Relaxed) {
        let ready: Vec<usize> = poller.wait(Duration::from_millis(10)).expect("epoll works").collect();
        for number in ready {
            if number == 0 {
                if let Ok((socket, _)) = listener.accept() {
                    socket.set_nonblocking(true).expect("an open socket");
                    socket.set_nodelay(true).expect("an open socket");
                    poller.add(&socket, lanes.len(), Interest::Read).expect("a new socket");
                    lanes.push(Some(Lane { socket, received: Vec::new() }));
                }
                continue;
            }
            let Some(lane) = &mut lanes[number] else { continue };
            match lane.socket.read(&mut buffer) {
                Ok(0) => lanes[number] = None,
                Ok(count) => {
                    lane.received.extend_from_slice(&buffer[..count]);
                    lane.answer(&mut answers, &mut out);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(_) => lanes[number] = None,
            }
        }
        let used = getrusage(UsageWho::RUSAGE_THREAD).expect("a thread's own usage");
        let microseconds = used.user_time().num_microseconds() + used.system_time().num_microseconds();
        cpu.store(microseconds.cast_unsigned(), Ordering::Relaxed);
    }
}

impl Lane {
    /// Answers every request that is there to its end.
    fn answer(&mut self, answers: &mut Answers, out: &mut Vec<u8>) {
        let mut rest = &self.received[..];
        out.clear();
        while let Some((size, _)) = rest.split_first_chunk::<4>() {
            let whole = 4 + usize::try_from(u32::from_be_bytes(*size)).expect("64 bits");
            if rest.len() < whole {
                break;
            }
            answers.put(rest, out);
            rest = &rest[whole..];
        }
        let left = rest.len();
        self.received.drain(..self.received.len() - left);
        // So few bytes always fit in a socket's buffer.
        self.socket.write_all(out).expect("the load reads its answers");
    }
}
