//! The replies of one connection, put back into the order of their requests.
//!
//! Requests are answered out of order inside the broker (a produce waits for its sync, a fetch for data), but a
//! Kafka client matches replies to requests by order. Each request takes a [`Ticket`]; a reply leaves once all
//! earlier tickets are answered.
//!
//! What a request holds of the shard's memory is given back when it is answered; from then on its reply counts, until the
//! kernel has taken it. A connection whose replies pile up is not read on.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use protocol::api::ApiKey;
use smallvec::SmallVec;

use super::budget::Grant;
use super::reply_budget::{ReplyBudget, Room};
use crate::limits::REPLY_BYTES_PER_CONNECTION_MAX;
use crate::metrics::Timing;
use crate::runtime::Signal;

/// A reply as it goes to the socket: the parts of one frame, end to end, size prefix included. One part, unless records are
/// in it.
pub type Reply = SmallVec<[Bytes; 1]>;

enum Slot {
    /// Not answered yet, and what the request holds of the shard's memory until then.
    Open {
        _held: Grant,
    },
    Answered(Reply, Departure),
}

/// What is settled once a reply has left.
pub struct Departure {
    /// What the reply holds of the shard's memory.
    room: Room,
    /// When the request came, and when it was answered.
    timing: Timing,
}

/// The queue of open requests and finished replies of one connection.
pub struct Replies {
    entries: RefCell<VecDeque<Slot>>,
    /// The sequence number of the first entry.
    first: Cell<u64>,
    /// Why no further reply will come, once the connection is being closed.
    closed: Cell<bool>,
    writer: RefCell<Option<Waker>>,
    /// The writer has taken replies and not come back for more: they may not have left yet.
    unwritten: Cell<bool>,
    drained: RefCell<Option<Waker>>,
    /// Bytes of replies that have not left.
    unsent_bytes: Cell<usize>,
    budget: Rc<ReplyBudget>,
    /// Raised when replies go to the socket: a request may have become the first that is open.
    moved: Signal,
    /// Raised when the connection is being closed: who waits for anything else on its behalf waits for this too.
    pub closing: Signal,
}

/// The right, and the duty, to answer one request.
pub struct Ticket {
    replies: Rc<Replies>,
    sequence: u64,
    timing: Timing,
    done: bool,
}

impl Replies {
    /// An empty queue, whose replies take their memory from `budget`.
    #[must_use]
    pub fn new(budget: &Rc<ReplyBudget>) -> Rc<Self> {
        Rc::new(Self {
            entries: RefCell::default(),
            first: Cell::new(0),
            closed: Cell::new(false),
            writer: RefCell::default(),
            unwritten: Cell::new(false),
            drained: RefCell::default(),
            unsent_bytes: Cell::new(0),
            budget: Rc::clone(budget),
            moved: Signal::default(),
            closing: Signal::default(),
        })
    }

    /// Takes the next place in the order of replies, holding `grant` until that reply is known.
    pub fn ticket(self: &Rc<Self>, grant: Grant) -> Ticket {
        let mut entries = self.entries.borrow_mut();
        let sequence = self.first.get() + entries.len() as u64;
        entries.push_back(Slot::Open { _held: grant });
        Ticket { replies: Rc::clone(self), sequence, timing: Timing::received(), done: false }
    }

    /// Requests that are not answered yet, or whose reply has not left.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Bytes of replies that have not left.
    #[must_use]
    pub fn unsent_bytes(&self) -> usize {
        self.unsent_bytes.get()
    }

    /// Ready once fewer than `count` requests are open and replies don't pile up. One task waits at a time: the
    /// connection's reader.
    pub fn poll_below(&self, count: usize, context: &Context<'_>) -> Poll<()> {
        let is_low = self.open_count() < count && self.unsent_bytes() < REPLY_BYTES_PER_CONNECTION_MAX;
        if is_low || self.closed.get() {
            return Poll::Ready(());
        }
        *self.drained.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    /// Ready once every request is answered and every reply is written, or the connection is closed. Waits in the
    /// place of [`Replies::poll_below`].
    pub fn poll_settled(&self, context: &Context<'_>) -> Poll<()> {
        if (self.open_count() == 0 && !self.unwritten.get()) || self.closed.get() {
            return Poll::Ready(());
        }
        *self.drained.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }

    /// The replies that may leave now, in order; `None` once the connection is closed. `departures` collects
    /// what is to be settled when they are written. To be called again only when those taken before are written.
    pub fn poll_next(
        &self,
        context: &Context<'_>,
        out: &mut VecDeque<Bytes>,
        departures: &mut Vec<Departure>,
    ) -> Poll<Option<()>> {
        if self.closed.get() {
            return Poll::Ready(None);
        }
        self.unwritten.set(false);
        let mut entries = self.entries.borrow_mut();
        let mut taken = 0;
        while let Some(Slot::Answered(..)) = entries.front() {
            let Some(Slot::Answered(reply, departure)) = entries.pop_front() else { break };
            out.extend(reply);
            departures.push(departure);
            taken += 1;
        }
        self.first.set(self.first.get() + taken);
        wake(&self.drained);
        if taken == 0 {
            *self.writer.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.unwritten.set(true);
        self.moved.raise();
        Poll::Ready(Some(()))
    }

    /// Replies were given to the kernel at `now`.
    pub fn settle(&self, departures: &mut Vec<Departure>, now: Instant) {
        for departure in departures.drain(..) {
            self.unsent_bytes.set(self.unsent_bytes.get() - departure.room.bytes());
            departure.timing.sent(now);
        }
        wake(&self.drained);
    }

    /// No reply will be taken any more: wakes all who wait.
    pub fn close(&self) {
        self.closed.set(true);
        // What they hold is free at once, however long handlers keep their tickets.
        self.entries.borrow_mut().clear();
        wake(&self.writer);
        wake(&self.drained);
        self.moved.raise();
        self.closing.raise();
    }

    /// Whether the connection is being closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    fn answer(&self, sequence: u64, reply: Reply, timing: Timing) {
        if self.closed.get() {
            return;
        }
        let mut entries = self.entries.borrow_mut();
        let index =
            usize::try_from(sequence - self.first.get()).expect("a ticket is younger than the first entry");
        let entry = &mut entries[index];
        assert!(matches!(entry, Slot::Open { .. }), "a request is answered once");
        let bytes = reply.iter().map(Bytes::len).sum();
        self.unsent_bytes.set(self.unsent_bytes.get() + bytes);
        *entry = Slot::Answered(reply, Departure { room: self.budget.charge(bytes), timing });
        if index == 0 {
            wake(&self.writer);
        }
    }
}

fn wake(slot: &RefCell<Option<Waker>>) {
    if let Some(waker) = slot.borrow_mut().take() {
        waker.wake();
    }
}

impl Ticket {
    /// Answers the request.
    pub fn answer(mut self, reply: Reply) {
        self.done = true;
        self.timing.answer();
        self.replies.answer(self.sequence, reply, self.timing);
    }

    /// The request wants no reply (acks=0).
    pub fn answer_nothing(self) {
        self.answer(Reply::new());
    }

    /// Its handler begins: the request is of this API.
    pub fn begin(&mut self, api: ApiKey) {
        self.timing.begin(api);
    }

    /// Room for an answer of `wanted_bytes`, or of less; none where that has to wait: for the shard's other replies, or for
    /// those before this one.
    #[must_use]
    pub fn room_now(&self, wanted_bytes: usize) -> Option<Room> {
        let is_first = self.is_first();
        if !is_first && self.replies.unsent_bytes() >= REPLY_BYTES_PER_CONNECTION_MAX {
            return None;
        }
        self.replies.budget.room_now(wanted_bytes, is_first)
    }

    /// Waits for room. What has to wait waits until it is the first that its connection has open, so that its answer can
    /// leave when it is there: replies that wait for each other would hold their memory for ever.
    pub async fn room(&self, wanted_bytes: usize) -> Room {
        if let Some(room) = self.room_now(wanted_bytes) {
            return room;
        }
        loop {
            let moved = self.replies.moved.next();
            if self.is_first() {
                return self.replies.budget.room(wanted_bytes).await;
            }
            moved.wait().await;
        }
    }

    fn is_first(&self) -> bool {
        self.sequence <= self.replies.first.get()
    }

    /// The queue that this ticket is of.
    #[must_use]
    pub fn replies(&self) -> &Rc<Replies> {
        &self.replies
    }
}

impl Drop for Ticket {
    /// A request that can't be answered takes its connection with it: the client must not wait for ever, nor take
    /// the next reply for this one.
    fn drop(&mut self) {
        if !self.done {
            self.replies.close();
        }
    }
}

#[cfg(test)]
mod tests;
