//! One client's connection: its reader, its ordered replies, its writer. Lives on one core at a time.
//!
//! The reader hands each frame to a [`Service`] and goes on reading while earlier requests are open, up to a
//! bound. The writer sends finished replies, many to a system call. When either ends, the other does.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use smallvec::SmallVec;

use super::affinity::Affinity;
use super::frames::{FrameError, FrameReader, SharedStream};
use super::replies::{Departure, Replies, Ticket};
use super::stream::MovedSocket;
use crate::limits::{FRAME_RECEIVE_SECONDS_MAX, REQUESTS_OPEN_PER_CONNECTION_MAX, SLICES_PER_WRITE_MAX};
use crate::metrics::{self, Count};

/// What a connection is about, apart from its bytes: known to handlers.
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// Replies in the order of requests.
    pub replies: Rc<Replies>,
    /// Bytes received.
    pub received_bytes: Rc<Cell<u64>>,
    /// Bytes sent.
    pub sent_bytes: Cell<u64>,
    /// Which shard its requests are about.
    pub affinity: Affinity,
    /// Requests that wait for something to happen: a connection with such a one does not move.
    long_polls: Cell<usize>,
    moved: Cell<bool>,
    partial: Rc<Cell<bool>>,
    seen: Cell<Progress>,
    stream: SharedStream,
}

/// When a connection was last seen to move, for the idle sweep.
#[derive(Clone, Copy)]
struct Progress {
    at: Instant,
    bytes: u64,
    partial_since: Option<Instant>,
}

/// Takes frames of a connection. `serve` returns once the next frame may be taken, which may be before the reply.
pub trait Service {
    /// Answers `ticket` now or later; an error closes the connection.
    fn serve(
        &self,
        connection: &Rc<Connection>,
        frame: Bytes,
        ticket: Ticket,
    ) -> impl Future<Output = ServeOutcome>;

    /// The shard that should serve the connection instead of this one.
    fn destination(&self, connection: &Connection) -> Option<usize>;
}

/// A connection on its way to another shard: all earlier requests are answered.
pub struct Handover {
    /// The shard.
    pub to: usize,
    /// The connection.
    pub socket: MovedSocket,
    /// What was received and not served.
    pub received: BytesMut,
}

/// Counts as a long poll of its connection while it lives.
pub struct LongPoll {
    connection: Rc<Connection>,
}

impl Drop for LongPoll {
    fn drop(&mut self) {
        self.connection.long_polls.update(|count| count - 1);
    }
}

/// What becomes of a connection after a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeOutcome {
    /// It goes on.
    Continue,
    /// The client broke the protocol: it is closed.
    Close,
}

impl Connection {
    /// A connection over `stream`, read by `reader`.
    #[must_use]
    pub fn new(peer: SocketAddr, stream: SharedStream, reader: &FrameReader, now: Instant) -> Rc<Self> {
        Rc::new(Self {
            peer,
            replies: Replies::new(),
            received_bytes: Rc::clone(&reader.received_bytes),
            sent_bytes: Cell::new(0),
            affinity: Affinity::default(),
            long_polls: Cell::new(0),
            moved: Cell::new(false),
            partial: Rc::clone(&reader.partial),
            seen: Cell::new(Progress { at: now, bytes: 0, partial_since: None }),
            stream,
        })
    }

    /// Ends the connection: no further request is read and no further reply sent.
    pub fn close(&self) {
        self.replies.close();
        self.stream.borrow().shut_down();
    }

    /// Whether the idle sweep should close it: nothing has gone in or out for `idle_max` (a client that does not read
    /// its replies among them), or a frame has begun and not ended in time.
    pub fn overdue(&self, now: Instant, idle_max: Duration) -> bool {
        let mut seen = self.seen.get();
        let bytes = self.received_bytes.get() + self.sent_bytes.get();
        if bytes != seen.bytes {
            seen.at = now;
            seen.bytes = bytes;
        }
        seen.partial_since = if self.partial.get() { seen.partial_since.or(Some(now)) } else { None };
        self.seen.set(seen);
        let slow = seen
            .partial_since
            .is_some_and(|since| now.duration_since(since) > Duration::from_secs(FRAME_RECEIVE_SECONDS_MAX));
        slow || now.duration_since(seen.at) > idle_max
    }

    /// A request begins to wait for something to happen.
    #[must_use]
    pub fn long_poll(self: &Rc<Self>) -> LongPoll {
        self.long_polls.update(|count| count + 1);
        LongPoll { connection: Rc::clone(self) }
    }

    /// Reads frames and serves them until the client leaves, breaks the protocol, the connection is closed, or it is to
    /// move.
    ///
    /// # Errors
    /// See [`FrameError`].
    pub async fn read<S: Service>(
        self: &Rc<Self>,
        mut reader: FrameReader,
        service: &S,
    ) -> Result<Option<Handover>, FrameError> {
        let outcome = self.read_frames(&mut reader, service).await;
        self.close();
        outcome
    }

    async fn read_frames<S: Service>(
        self: &Rc<Self>,
        reader: &mut FrameReader,
        service: &S,
    ) -> Result<Option<Handover>, FrameError> {
        loop {
            poll_fn(|context| self.replies.poll_below(REQUESTS_OPEN_PER_CONNECTION_MAX, context)).await;
            if self.replies.is_closed() {
                return Ok(None);
            }
            let (frame, grant) = reader.next().await?;
            if self.long_polls.get() == 0
                && let Some(to) = service.destination(self)
            {
                poll_fn(|context| self.replies.poll_settled(context)).await;
                if self.replies.is_closed() {
                    return Ok(None);
                }
                if let Some(socket) = self.stream.borrow_mut().detach() {
                    self.moved.set(true);
                    return Ok(Some(Handover { to, socket, received: reader.give_back(&frame) }));
                }
            }
            metrics::add(Count::BytesReceived, frame.len() as u64);
            let ticket = self.replies.ticket(grant);
            if service.serve(self, frame, ticket).await == ServeOutcome::Close {
                return Ok(None);
            }
        }
    }

    /// Sends replies until the connection is closed.
    ///
    /// # Errors
    /// The transport failed; the connection is closed then.
    pub async fn write(&self) -> io::Result<()> {
        let mut parts = VecDeque::new();
        let mut departures: Vec<Departure> = Vec::new();
        while let Some(()) =
            poll_fn(|context| self.replies.poll_next(context, &mut parts, &mut departures)).await
        {
            let written = self.write_parts(&mut parts).await;
            if let Err(error) = written {
                self.close();
                return Err(error);
            }
            let now = Instant::now();
            for departure in departures.drain(..) {
                departure.timing.sent(now);
            }
        }
        Ok(())
    }

    async fn write_parts(&self, parts: &mut VecDeque<Bytes>) -> io::Result<()> {
        while !parts.is_empty() {
            let written = poll_fn(|context| {
                let slices: SmallVec<[IoSlice<'_>; SLICES_PER_WRITE_MAX]> =
                    parts.iter().take(SLICES_PER_WRITE_MAX).map(|part| IoSlice::new(part)).collect();
                self.stream.borrow_mut().poll_write(context, &slices)
            })
            .await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.sent_bytes.set(self.sent_bytes.get() + written as u64);
            metrics::add(Count::BytesSent, written as u64);
            advance(parts, written);
        }
        Ok(())
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let how = if self.moved.get() { Count::ConnectionsMoved } else { Count::ConnectionsClosed };
        metrics::add(how, 1);
    }
}

/// Drops the first `count` bytes of `parts`.
fn advance(parts: &mut VecDeque<Bytes>, mut count: usize) {
    while let Some(part) = parts.front_mut() {
        if count < part.len() {
            part.advance(count);
            return;
        }
        count -= part.len();
        parts.pop_front();
    }
    assert_eq!(count, 0, "a stream writes no more than it was given");
}

/// All connections of a shard, for the idle sweep, the count, and the stop.
#[derive(Default)]
pub struct Connections {
    open: RefCell<Vec<std::rc::Weak<Connection>>>,
}

impl Connections {
    /// Remembers a connection as long as it lives.
    pub fn add(&self, connection: &Rc<Connection>) {
        self.open.borrow_mut().push(Rc::downgrade(connection));
    }

    /// How many are open.
    #[must_use]
    pub fn count(&self) -> usize {
        self.open.borrow().iter().filter(|connection| connection.strong_count() > 0).count()
    }

    /// Closes what is overdue and forgets what has ended; returns how many it closed.
    pub fn sweep(&self, now: Instant, idle_max: Duration) -> usize {
        let mut closed = 0;
        self.open.borrow_mut().retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            if !connection.replies.is_closed() && connection.overdue(now, idle_max) {
                connection.close();
                closed += 1;
            }
            true
        });
        closed
    }

    /// Closes all.
    pub fn close_all(&self) {
        for connection in self.open.borrow().iter().filter_map(std::rc::Weak::upgrade) {
            connection.close();
        }
    }
}
