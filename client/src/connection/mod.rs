//! One TCP connection to one broker, pipelined: many requests in flight, answers matched in order.
//!
//! Requests are written into one queue, from which a task sends as many as fit into a system call. Another task cuts
//! what comes into answers and hands each to the request that has waited longest, whose correlation id it must carry.
//! In flight and unsent are bounded, and so is the size of an answer. Whatever ends the connection ends every request
//! that waits on it with the same [`ConnectionError`]. Knows no topics: what is asked is the caller's business.

mod exchange;
mod frames;
mod versions;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, IoSlice};
use std::net::{IpAddr, Shutdown, SocketAddr, ToSocketAddrs};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use futures_lite::io::AsyncWrite;
use glommio::net::TcpStream;
use protocol::api::ApiKey;
use protocol::frame::write_request;
use protocol::messages::Request;
use protocol::wire::Writer;
use smallvec::SmallVec;

use crate::error::{ClientError, ConnectionError, SendError};
use crate::limits::{IN_FLIGHT_MAX, SLICES_PER_WRITE_MAX};
use executor::{Signal, sleep};

pub use exchange::{Answer, Reply};
use exchange::{Exchange, ReplySlot};
use frames::Frames;
use versions::Versions;

/// How a connection behaves.
#[derive(Clone, Debug)]
pub struct ConnectionOptions {
    /// The client's name for itself, which brokers log and account by.
    pub client_id: String,
    /// How long connecting may take.
    pub connect_timeout: Duration,
    /// How long an answer may take. A broker that takes longer is taken for gone, and the connection is closed.
    pub request_timeout: Duration,
    /// The largest answer that is taken.
    pub answer_bytes_max: usize,
    /// Requests that wait for their answers; at most [`IN_FLIGHT_MAX`].
    pub in_flight_max: usize,
    /// Bytes of requests that wait to be sent. A single request may be larger when it is the only one.
    pub unsent_bytes_max: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: "iolite-client".to_owned(),
            connect_timeout: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            answer_bytes_max: 100 << 20,
            in_flight_max: 64,
            unsent_bytes_max: 4 << 20,
        }
    }
}

/// A connection; clones share it, and it is closed with the last of them.
#[derive(Clone)]
pub struct Connection {
    owner: Rc<Owner>,
}

/// Closes the connection when the last handle goes.
struct Owner(Rc<Shared>);

/// What the handles and the two tasks share.
struct Shared {
    address: SocketAddr,
    options: ConnectionOptions,
    versions: RefCell<Versions>,
    /// Borrowed within one poll only: the reader and the writer take turns.
    stream: RefCell<TcpStream>,
    writer: RefCell<Writer>,
    state: RefCell<State>,
    /// Raised when a request was answered or sent, and when the connection ends.
    room: Signal,
    sending: Cell<Option<Waker>>,
}

#[derive(Default)]
struct State {
    outgoing: VecDeque<Bytes>,
    outgoing_bytes: usize,
    waiting: VecDeque<Exchange>,
    correlation_id: i32,
    ended: Option<ConnectionError>,
}

impl Connection {
    /// Connects to `host:port` and asks what the broker offers.
    ///
    /// # Errors
    /// See [`ConnectionError`] and [`ClientError::Address`].
    pub async fn open(server: &str, options: &ConnectionOptions) -> Result<Self, ClientError> {
        let (host, port) = split_server(server)?;
        Ok(Self::open_at(host, port, options).await?)
    }

    /// The same with host and port apart.
    ///
    /// # Errors
    /// See [`ConnectionError`].
    pub async fn open_at(
        host: &str,
        port: u16,
        options: &ConnectionOptions,
    ) -> Result<Self, ConnectionError> {
        let mut failure = None;
        for address in resolve(host, port).await? {
            match TcpStream::connect_timeout(address, options.connect_timeout).await {
                Ok(stream) => return Self::begin(address, stream, options).await,
                Err(error) => {
                    failure = Some(ConnectionError::Connect { address, reason: Arc::new(error.into()) });
                }
            }
        }
        let nowhere = || ConnectionError::Resolve {
            host: host.to_owned(),
            reason: Arc::new(io::ErrorKind::NotFound.into()),
        };
        Err(failure.unwrap_or_else(nowhere))
    }

    async fn begin(
        address: SocketAddr,
        stream: TcpStream,
        options: &ConnectionOptions,
    ) -> Result<Self, ConnectionError> {
        stream
            .set_nodelay(true)
            .map_err(|error| ConnectionError::Transport { address, reason: Arc::new(error.into()) })?;
        let shared = Rc::new(Shared {
            address,
            options: options.clone(),
            versions: RefCell::default(),
            stream: RefCell::new(stream),
            writer: RefCell::default(),
            state: RefCell::default(),
            room: Signal::default(),
            sending: Cell::default(),
        });
        glommio::spawn_local(receive(Rc::clone(&shared))).detach();
        glommio::spawn_local(transmit(Rc::clone(&shared))).detach();
        glommio::spawn_local(watch(Rc::downgrade(&shared), options.request_timeout)).detach();
        let connection = Self { owner: Rc::new(Owner(shared)) };
        let versions = versions::negotiate(&connection).await?;
        connection.shared().versions.replace(versions);
        Ok(connection)
    }

    fn shared(&self) -> &Rc<Shared> {
        &self.owner.0
    }

    /// The other end.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared().address
    }

    /// Why the connection has ended, if it has.
    #[must_use]
    pub fn ended(&self) -> Option<ConnectionError> {
        self.shared().state.borrow().ended.clone()
    }

    /// Requests that wait for their answers.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.shared().state.borrow().waiting.len()
    }

    /// Whether a request would be sent at once.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.shared().has_room(true)
    }

    /// Waits until a request was answered or sent, or the connection has ended.
    pub async fn room(&self) {
        self.shared().room.next().wait().await;
    }

    /// The highest version of the API that both sides know.
    ///
    /// # Errors
    /// There is none.
    pub fn version(&self, api: ApiKey) -> Result<i16, ConnectionError> {
        let version = self.shared().versions.borrow().highest(api);
        version.ok_or(ConnectionError::Unsupported { address: self.shared().address, api })
    }

    /// The level of a feature (KIP-584) that the cluster goes by, as the broker said; 0 where it goes by none.
    #[must_use]
    pub fn feature_level(&self, name: &str) -> i16 {
        self.shared().versions.borrow().feature_level(name)
    }

    /// Whether the broker said that it takes native batches of the version that this client writes. Apache Kafka doesn't.
    #[must_use]
    pub fn takes_native(&self) -> bool {
        self.shared().versions.borrow().native() >= protocol::native::VERSION
    }

    /// Sends a request and waits for its answer.
    ///
    /// # Errors
    /// See [`SendError`] and [`ConnectionError`].
    pub async fn call<'a, M: Request<'a>>(&self, request: &M) -> Result<Answer, ClientError> {
        Ok(self.send(request).await?.await?)
    }

    /// The same, in a version not above `version_max`.
    ///
    /// # Errors
    /// See [`SendError`] and [`ConnectionError`].
    pub async fn call_up_to<'a, M: Request<'a>>(
        &self,
        version_max: i16,
        request: &M,
    ) -> Result<Answer, ClientError> {
        let version = self.version(M::API)?.min(version_max);
        Ok(self.when_room(|| self.try_send_in(version, request)).await?.await?)
    }

    /// Sends a request when there is room for it; its answer is awaited by the [`Reply`].
    ///
    /// # Errors
    /// See [`SendError`]; never [`SendError::Full`].
    pub async fn send<'a, M: Request<'a>>(&self, request: &M) -> Result<Reply, SendError> {
        self.when_room(|| self.try_send(request)).await
    }

    /// Sends a request at once.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_send<'a, M: Request<'a>>(&self, request: &M) -> Result<Reply, SendError> {
        self.try_send_in(self.version(M::API)?, request)
    }

    /// Sends a request at once, in a version of the caller's choice.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_send_in<'a, M: Request<'a>>(&self, version: i16, request: &M) -> Result<Reply, SendError> {
        let reply = self.shared().push(version, request, true)?;
        Ok(reply.expect("an answer is wanted"))
    }

    /// Sends a request that the broker does not answer (Produce with acks 0) at once.
    ///
    /// # Errors
    /// See [`SendError`].
    pub fn try_send_unanswered<'a, M: Request<'a>>(&self, request: &M) -> Result<(), SendError> {
        let version = self.version(M::API)?;
        self.shared().push(version, request, false).map(|_| ())
    }

    /// Closes the connection; what waits on it fails.
    pub fn close(&self) {
        self.shared().end(ConnectionError::Closed);
    }

    async fn when_room<T>(&self, attempt: impl Fn() -> Result<T, SendError>) -> Result<T, SendError> {
        loop {
            let room = self.shared().room.next();
            match attempt() {
                Err(SendError::Full) => room.wait().await,
                outcome => return outcome,
            }
        }
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.end(ConnectionError::Closed);
    }
}

impl Shared {
    /// Writes a request and queues it.
    fn push<'a, M: Request<'a>>(
        &self,
        version: i16,
        request: &M,
        is_answered: bool,
    ) -> Result<Option<Reply>, SendError> {
        let correlation_id = self.admit(is_answered)?;
        let mut chunks: SmallVec<[Bytes; 4]> = SmallVec::new();
        let client_id = Some(self.options.client_id.as_str());
        let bytes = write_request(
            &mut self.writer.borrow_mut(),
            correlation_id,
            version,
            client_id,
            request,
            &mut chunks,
        )?;
        Ok(self.queue(chunks.into_iter(), bytes, (M::API, version, correlation_id), is_answered))
    }

    /// Whether one more request may go; its correlation id.
    fn admit(&self, is_answered: bool) -> Result<i32, SendError> {
        let mut state = self.state.borrow_mut();
        if let Some(ended) = &state.ended {
            return Err(ended.clone().into());
        }
        if !self.has_room_in(&state, is_answered) {
            return Err(SendError::Full);
        }
        state.correlation_id = state.correlation_id.wrapping_add(1);
        Ok(state.correlation_id)
    }

    fn has_room(&self, is_answered: bool) -> bool {
        self.has_room_in(&self.state.borrow(), is_answered)
    }

    fn has_room_in(&self, state: &State, is_answered: bool) -> bool {
        let in_flight_max = self.options.in_flight_max.clamp(1, IN_FLIGHT_MAX);
        let may_wait = !is_answered || state.waiting.len() < in_flight_max;
        may_wait && state.outgoing_bytes <= self.options.unsent_bytes_max
    }

    fn queue(
        &self,
        chunks: impl Iterator<Item = Bytes>,
        bytes: usize,
        (api, version, correlation_id): (ApiKey, i16, i32),
        is_answered: bool,
    ) -> Option<Reply> {
        let mut state = self.state.borrow_mut();
        state.outgoing.extend(chunks);
        state.outgoing_bytes += bytes;
        let reply = is_answered.then(|| {
            let slot = Rc::new(ReplySlot::default());
            let due = Instant::now() + self.options.request_timeout;
            state.waiting.push_back(Exchange { correlation_id, api, version, due, slot: Rc::clone(&slot) });
            Reply::new(slot)
        });
        drop(state);
        if let Some(waker) = self.sending.take() {
            waker.wake();
        }
        reply
    }

    /// An answer has come.
    fn answer(&self, frame: Bytes) -> Result<(), ConnectionError> {
        let address = self.address;
        let found = frame.first_chunk().map_or(0, |id| i32::from_be_bytes(*id));
        let mut state = self.state.borrow_mut();
        let expected = state.waiting.front().map(|exchange| exchange.correlation_id);
        if expected != Some(found) {
            return Err(ConnectionError::OutOfTurn { address, found, expected });
        }
        let exchange = state.waiting.pop_front().expect("there is a front");
        drop(state);
        let answer = Answer::new(address, exchange.api, exchange.version, frame);
        exchange.slot.fill(answer);
        self.room.raise();
        Ok(())
    }

    /// The connection ends; the first reason stays.
    fn end(&self, reason: ConnectionError) {
        let mut state = self.state.borrow_mut();
        if state.ended.is_some() {
            return;
        }
        state.ended = Some(reason.clone());
        state.outgoing.clear();
        state.outgoing_bytes = 0;
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        for exchange in waiting {
            exchange.slot.fill(Err(reason.clone()));
        }
        self.room.raise();
        if let Some(waker) = self.sending.take() {
            waker.wake();
        }
        let mut context = Context::from_waker(Waker::noop());
        // shutdown(2) answers at once, and fails only where the peer has gone already: closed either way.
        let _ = self.stream.borrow().poll_shutdown(&mut context, Shutdown::Both);
    }

    fn has_ended(&self) -> bool {
        self.state.borrow().ended.is_some()
    }

    /// Sends what is queued; ready when the connection has ended, or fails.
    fn poll_transmit(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let mut state = self.state.borrow_mut();
            if state.ended.is_some() {
                return Poll::Ready(Ok(()));
            }
            if state.outgoing.is_empty() {
                self.sending.set(Some(context.waker().clone()));
                return Poll::Pending;
            }
            let slices: SmallVec<[IoSlice<'_>; SLICES_PER_WRITE_MAX]> =
                state.outgoing.iter().take(SLICES_PER_WRITE_MAX).map(|chunk| IoSlice::new(chunk)).collect();
            let mut stream = self.stream.borrow_mut();
            let written = match Pin::new(&mut *stream).poll_write_vectored(context, &slices) {
                Poll::Ready(written) => written?,
                Poll::Pending => {
                    self.sending.set(Some(context.waker().clone()));
                    return Poll::Pending;
                }
            };
            drop((stream, slices));
            state.forget_sent(written);
            drop(state);
            self.room.raise();
        }
    }
}

impl State {
    fn forget_sent(&mut self, mut bytes: usize) {
        assert!(bytes <= self.outgoing_bytes, "no more is sent than was queued");
        self.outgoing_bytes -= bytes;
        while bytes > 0 {
            let front = self.outgoing.front_mut().expect("sent bytes were queued");
            if front.len() > bytes {
                front.advance(bytes);
                return;
            }
            bytes -= front.len();
            self.outgoing.pop_front();
        }
    }
}

/// Sends requests until the connection ends.
async fn transmit(shared: Rc<Shared>) {
    if let Err(error) = poll_fn(|context| shared.poll_transmit(context)).await {
        let reason = Arc::new(error);
        shared.end(ConnectionError::Transport { address: shared.address, reason });
    }
}

/// Takes answers until the connection ends.
async fn receive(shared: Rc<Shared>) {
    let mut frames = Frames::new(shared.options.answer_bytes_max);
    while !shared.has_ended() {
        let outcome = match frames.next(&shared.stream, shared.address).await {
            Ok(frame) => shared.answer(frame),
            Err(error) => Err(error),
        };
        if let Err(error) = outcome {
            shared.end(error);
        }
    }
}

/// Ends the connection when an answer is overdue. Nothing sent while it sleeps can be overdue before it wakes.
async fn watch(shared: Weak<Shared>, timeout: Duration) {
    let mut pause = timeout;
    loop {
        sleep(pause).await;
        let Some(shared) = shared.upgrade() else { return };
        let oldest = shared.state.borrow().waiting.front().map(|exchange| (exchange.due, exchange.api));
        if shared.has_ended() {
            return;
        }
        let now = Instant::now();
        pause = match oldest {
            None => timeout,
            Some((due, _)) if due > now => due - now,
            Some((_, api)) => {
                let address = shared.address;
                return shared.end(ConnectionError::TimedOut { address, api, after: timeout });
            }
        };
    }
}

/// Cuts `host:port`; an IPv6 address stands in brackets.
pub(crate) fn split_server(server: &str) -> Result<(&str, u16), ClientError> {
    let bad = || ClientError::Address(server.to_owned());
    let (host, port) = server.rsplit_once(':').ok_or_else(bad)?;
    let port = port.parse().map_err(|_| bad())?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() { Err(bad()) } else { Ok((host, port)) }
}

/// The addresses of a host; a name is looked up beside the executor.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectionError> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    let look_up = move || (name.as_str(), port).to_socket_addrs().map(Vec::from_iter);
    let found = glommio::executor().spawn_blocking(look_up).await;
    found.map_err(|error| ConnectionError::Resolve { host: host.to_owned(), reason: Arc::new(error) })
}

#[cfg(test)]
mod tests;
