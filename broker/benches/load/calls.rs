//! Calls: connections with one request open on each, as clients of groups and of transactions have them. Answers are
//! decoded, and whoever sends decides by an answer what the same connection asks next.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use protocol::error::KafkaError;
use protocol::frame::{SIZE_BYTES, read_response_header};
use protocol::messages::Response;
use protocol::messages::find_coordinator::{FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::wire::Reader;

use super::broker::rest;
use super::poller::{Interest, Poller};
use super::wire::{DECODE_BYTES_MAX, Prepared};

/// How long an answer may take, and a coordinator to come up.
const PATIENCE: Duration = Duration::from_secs(120);
/// How often a coordinator is asked whether it is there.
const INTERVAL: Duration = Duration::from_millis(2);
const FIND_COORDINATOR_VERSION: i16 = 4;

/// What a coordinator is for, as FindCoordinator says it.
#[derive(Clone, Copy, Debug)]
pub enum CoordinatorKind {
    Group = 0,
    Transaction = 1,
}

/// The answer to a request.
pub struct Answer {
    request: Prepared,
    body: Vec<u8>,
    pub took: Duration,
}

impl Answer {
    /// The request that it answers.
    pub fn request(&self) -> &Prepared {
        &self.request
    }

    /// What it says.
    pub fn read<'a, M: Response<'a>>(&'a self) -> M {
        assert_eq!(M::API, self.request.api, "an answer is read as what it is");
        M::decode(&self.body, self.request.version, DECODE_BYTES_MAX).expect("an answer of its version")
    }
}

/// The connections.
pub struct Calls {
    lanes: Vec<Lane>,
    poller: Poller,
    buffer: Vec<u8>,
}

struct Lane {
    socket: TcpStream,
    /// What waits for its answer, since when.
    open: Option<(Prepared, Instant)>,
    correlation_id: i32,
    received: Vec<u8>,
}

impl Calls {
    /// Opens so many connections.
    pub fn connect(address: SocketAddr, count: usize) -> Self {
        let poller = Poller::new().expect("the kernel has epoll");
        let lanes: Vec<Lane> = (0..count).map(|_| Lane::connect(address)).collect();
        for (number, lane) in lanes.iter().enumerate() {
            poller.add(&lane.socket, number, Interest::Read).expect("a new socket");
        }
        Self { lanes, poller, buffer: vec![0; 64 * 1024] }
    }

    /// How many connections there are.
    pub fn len(&self) -> usize {
        self.lanes.len()
    }

    /// Runs all connections until none asks any more. `step` gets a connection's number and the answer that came there,
    /// none at the beginning, and says what that connection asks next.
    pub fn drive(&mut self, mut step: impl FnMut(usize, Option<Answer>) -> Option<Prepared>) {
        let mut open = 0;
        for (number, lane) in self.lanes.iter_mut().enumerate() {
            if let Some(request) = step(number, None) {
                lane.send(request);
                open += 1;
            }
        }
        let mut heard = Instant::now();
        while open > 0 {
            assert!(heard.elapsed() < PATIENCE, "{open} requests get no answer: {}", self.describe_open());
            let ready: Vec<usize> =
                self.poller.wait(Duration::from_millis(100)).expect("epoll works").collect();
            for number in ready {
                let lane = &mut self.lanes[number];
                let Some(answer) = lane.receive(&mut self.buffer) else { continue };
                heard = Instant::now();
                match step(number, Some(answer)) {
                    Some(request) => lane.send(request),
                    None => open -= 1,
                }
            }
        }
    }

    fn describe_open(&self) -> String {
        let open = self.lanes.iter().filter_map(|lane| lane.open.as_ref());
        open.map(|(request, _)| request.api.to_string()).collect::<Vec<_>>().join(", ")
    }

    /// Asks on one connection while the others rest.
    pub fn call(&mut self, number: usize, request: Prepared) -> Answer {
        let mut request = Some(request);
        let mut answered = None;
        self.drive(|lane, answer| {
            answered = answer.or(answered.take());
            if lane == number { request.take() } else { None }
        });
        answered.expect("a request is answered")
    }

    /// Asks on the first connection until the coordinator that answers has come up and is done with what was before.
    pub fn call_until_ready<T>(
        &mut self,
        request: &Prepared,
        read: impl Fn(&Answer) -> Result<T, KafkaError>,
    ) -> T {
        let until = Instant::now() + PATIENCE;
        loop {
            match read(&self.call(0, request.clone())) {
                Ok(value) => return value,
                Err(
                    error @ (KafkaError::CoordinatorLoadInProgress
                    | KafkaError::CoordinatorNotAvailable
                    | KafkaError::NotCoordinator
                    | KafkaError::ConcurrentTransactions),
                ) => assert!(Instant::now() < until, "{} goes on to fail: {error}", request.api),
                Err(error) => panic!("{}: {error}", request.api),
            }
            rest(INTERVAL);
        }
    }

    /// Has coordinators found, which makes their internal topic where there is none yet.
    pub fn find_coordinators(&mut self, kind: CoordinatorKind, keys: &[&str]) {
        let request =
            FindCoordinatorRequest { key: "", key_type: kind as i8, coordinator_keys: keys.to_vec() };
        let request = Prepared::of(FIND_COORDINATOR_VERSION, &request);
        self.call_until_ready(&request, |answer| {
            let response: FindCoordinatorResponse<'_> = answer.read();
            assert_eq!(response.coordinators.len(), keys.len(), "every key is answered for");
            response.coordinators.iter().try_for_each(|each| each.error_code.into_result())
        });
    }
}

impl Lane {
    fn connect(address: SocketAddr) -> Self {
        let socket = TcpStream::connect(address).expect("the broker listens");
        socket.set_nodelay(true).expect("an open socket");
        Self { socket, open: None, correlation_id: 0, received: Vec::new() }
    }

    fn send(&mut self, request: Prepared) {
        assert!(self.open.is_none(), "one request is open at a time");
        self.correlation_id += 1;
        let frame = [&request.head(self.correlation_id)[..], request.tail()].concat();
        let begin = Instant::now();
        self.socket.write_all(&frame).expect("the broker reads");
        self.open = Some((request, begin));
    }

    /// Reads what has come; the answer when it is there to its end.
    fn receive(&mut self, buffer: &mut [u8]) -> Option<Answer> {
        let count = self.socket.read(buffer).expect("the broker is there");
        assert_ne!(count, 0, "the broker closed the connection");
        self.received.extend_from_slice(&buffer[..count]);
        let size = i32::from_be_bytes(*self.received.first_chunk::<SIZE_BYTES>()?);
        let whole = SIZE_BYTES + usize::try_from(size).expect("a size");
        if self.received.len() < whole {
            return None;
        }
        let (request, begin) = self.open.take().expect("an answer has its request");
        let took = begin.elapsed();
        assert_eq!(self.received.len(), whole, "one answer to one request");
        let mut reader = Reader::new(&self.received[SIZE_BYTES..], DECODE_BYTES_MAX);
        let correlation_id =
            read_response_header(&mut reader, request.api, request.version).expect("a header");
        assert_eq!(correlation_id, self.correlation_id, "the answer is to the request that is open");
        let body = reader.rest().to_vec();
        self.received.clear();
        Some(Answer { request, body, took })
    }
}
