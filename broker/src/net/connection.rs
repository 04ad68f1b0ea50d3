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
use super::budget::Budget;
use super::frames::{FrameError, FrameReader, Intake, SharedStream};
use super::replies::{Departure, Replies, Ticket};
use super::stream::MovedSocket;
use crate::limits::{
    FRAME_PROGRESS_BYTES_MIN, FRAME_PROGRESS_SECONDS, FRAME_PROGRESS_SHORT_BYTES_MIN,
    FRAME_PROGRESS_SHORT_SECONDS, REPLY_TAKEN_BYTES_MIN, REPLY_UNREAD_SECONDS_MAX,
    REQUESTS_OPEN_PER_CONNECTION_MAX, SLICES_PER_WRITE_MAX,
};
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
    intake: Rc<Cell<Intake>>,
    seen: Cell<Seen>,
    stream: SharedStream,
}

/// What the sweep saw of a connection.
#[derive(Clone, Copy)]
struct Seen {
    /// When it last moved in either direction.
    moved: Moved,
    /// When its client had last taken a good deal of what was there, or had nothing to take.
    sent: Moved,
    /// When it began to wait for the rest of a frame, or for more of it.
    receiving: Option<(Intake, Moved)>,
}

/// A moment, and how many bytes had gone by then.
#[derive(Clone, Copy)]
struct Moved {
    at: Instant,
    bytes: u64,
}

/// What the sweep asks of clients.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// How long a connection may be silent.
    pub idle_max: Duration,
    /// Others wait for the memory that half a request holds.
    pub is_request_memory_short: bool,
    /// Others wait for the memory of replies that nobody takes.
    pub is_reply_memory_short: bool,
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
            replies: Replies::new(reader.replies_budget()),
            received_bytes: Rc::clone(&reader.received_bytes),
            sent_bytes: Cell::new(0),
            affinity: Affinity::default(),
            long_polls: Cell::new(0),
            moved: Cell::new(false),
            intake: Rc::clone(&reader.intake),
            seen: Cell::new(Seen::new(now)),
            stream,
        })
    }

    /// Ends the connection: no further request is read and no further reply sent.
    pub fn close(&self) {
        self.replies.close();
        self.stream.borrow().shut_down();
    }

    /// Whether the sweep should close it: nothing has gone in or out for long, a frame has begun and hardly goes on, or
    /// replies are left unread while others wait for their memory. Call it at every sweep: it compares with the last one.
    pub fn is_overdue(&self, now: Instant, patience: &Patience) -> bool {
        let (received, sent) = (self.received_bytes.get(), self.sent_bytes.get());
        let mut seen = self.seen.get();
        seen.moved.note(now, received + sent);
        let has_taken = sent - seen.sent.bytes >= REPLY_TAKEN_BYTES_MIN;
        if has_taken || self.replies.unsent_bytes() == 0 {
            seen.sent = Moved { at: now, bytes: sent };
        }
        let is_slow = seen.is_receiving_slowly(now, self.intake.get(), received, patience);
        let unread_max = Duration::from_secs(REPLY_UNREAD_SECONDS_MAX);
        let is_deaf = patience.is_reply_memory_short && now.duration_since(seen.sent.at) > unread_max;
        self.seen.set(seen);
        is_slow || is_deaf || now.duration_since(seen.moved.at) > patience.idle_max
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
        // Who will send no more may still read: the answers leave first, unless they wait for something to happen.
        if matches!(outcome, Err(FrameError::Ended)) && self.long_polls.get() == 0 {
            poll_fn(|context| self.replies.poll_settled(context)).await;
        }
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
            self.replies.settle(&mut departures, Instant::now());
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

impl Seen {
    fn new(now: Instant) -> Self {
        let moved = Moved { at: now, bytes: 0 };
        Self { moved, sent: moved, receiving: None }
    }

    /// Whether a frame that has begun brings too little in the time it has; judged at the end of that time.
    fn is_receiving_slowly(
        &mut self,
        now: Instant,
        intake: Intake,
        received: u64,
        patience: &Patience,
    ) -> bool {
        if !matches!(intake, Intake::Receiving(_)) {
            self.receiving = None;
            return false;
        }
        let seen = (intake, Moved { at: now, bytes: received });
        let (before, since) = *self.receiving.get_or_insert(seen);
        if before != intake {
            self.receiving = Some(seen);
            return false;
        }
        let (seconds, bytes_min) = if patience.is_request_memory_short {
            (FRAME_PROGRESS_SHORT_SECONDS, FRAME_PROGRESS_SHORT_BYTES_MIN)
        } else {
            (FRAME_PROGRESS_SECONDS, FRAME_PROGRESS_BYTES_MIN)
        };
        if now.duration_since(since.at) < Duration::from_secs(seconds) {
            return false;
        }
        self.receiving = Some(seen);
        received - since.bytes < bytes_min
    }
}

impl Moved {
    fn note(&mut self, now: Instant, bytes: u64) {
        if bytes != self.bytes {
            *self = Self { at: now, bytes };
        }
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
    pub fn sweep(&self, now: Instant, idle_max: Duration, budget: &Budget) -> usize {
        let patience = Patience {
            idle_max,
            is_request_memory_short: budget.is_short(),
            is_reply_memory_short: budget.replies.is_short(),
        };
        let mut closed = 0;
        self.open.borrow_mut().retain(|connection| {
            let Some(connection) = connection.upgrade() else { return false };
            if !connection.replies.is_closed() && connection.is_overdue(now, &patience) {
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

#[cfg(test)]
mod tests;
