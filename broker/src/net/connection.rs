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

use bytes::{Buf, Bytes};
use smallvec::SmallVec;

use super::frames::{FrameError, FrameReader, SharedStream};
use super::replies::{Departure, Replies, Ticket};
use crate::limits::{FRAME_RECEIVE_SECONDS_MAX, REQUESTS_OPEN_PER_CONNECTION_MAX, SLICES_PER_WRITE_MAX};
use crate::metrics::{self, Count};

/// What a connection is about, apart from its bytes: known to handlers, and carried along when it moves.
pub struct Connection {
    /// The other end.
    pub peer: SocketAddr,
    /// Replies in the order of requests.
    pub replies: Rc<Replies>,
    /// Bytes received.
    pub received_bytes: Rc<Cell<u64>>,
    /// Bytes sent.
    pub sent_bytes: Cell<u64>,
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
        metrics::add(Count::ConnectionsAccepted, 1);
        Rc::new(Self {
            peer,
            replies: Replies::new(),
            received_bytes: Rc::clone(&reader.received_bytes),
            sent_bytes: Cell::new(0),
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

    /// Reads frames and serves them until the client leaves, breaks the protocol, or the connection is closed.
    pub async fn read<S: Service>(
        self: &Rc<Self>,
        mut reader: FrameReader,
        service: &S,
    ) -> Result<(), FrameError> {
        let outcome = self.read_frames(&mut reader, service).await;
        self.close();
        outcome
    }

    async fn read_frames<S: Service>(
        self: &Rc<Self>,
        reader: &mut FrameReader,
        service: &S,
    ) -> Result<(), FrameError> {
        loop {
            poll_fn(|context| self.replies.poll_below(REQUESTS_OPEN_PER_CONNECTION_MAX, context)).await;
            if self.replies.is_closed() {
                return Ok(());
            }
            let (frame, grant) = reader.next().await?;
            metrics::add(Count::BytesReceived, frame.len() as u64);
            let ticket = self.replies.ticket(grant);
            if service.serve(self, frame, ticket).await == ServeOutcome::Close {
                return Ok(());
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
        metrics::add(Count::ConnectionsClosed, 1);
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
