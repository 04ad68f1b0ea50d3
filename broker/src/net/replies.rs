//! The replies of one connection, put back into the order of their requests.
//!
//! Requests are answered out of order inside the broker (a produce waits for its sync, a fetch for data), but a
//! Kafka client matches replies to requests by order. Each request takes a [`Ticket`]; a reply leaves once all
//! earlier tickets are answered.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use protocol::api::ApiKey;

use super::budget::Grant;
use crate::metrics::Timing;
use crate::runtime::Signal;

/// A reply as it goes to the socket: the parts of one frame, end to end, size prefix included.
pub type Reply = Vec<Bytes>;

enum Slot {
    Open,
    Answered(Reply, Timing),
}

/// What is settled once a reply has left.
pub struct Departure {
    /// What the request held of the shard's memory.
    pub grant: Option<Grant>,
    /// When it came, and when it was answered.
    pub timing: Timing,
}

struct Entry {
    slot: Slot,
    /// What the request holds of the shard's memory until its reply is handed to the socket.
    grant: Option<Grant>,
}

/// The queue of open requests and finished replies of one connection.
pub struct Replies {
    entries: RefCell<VecDeque<Entry>>,
    /// The sequence number of the first entry.
    first: Cell<u64>,
    /// Why no further reply will come, once the connection is being closed.
    closed: Cell<bool>,
    writer: RefCell<Option<Waker>>,
    /// The writer has taken replies and not come back for more: they may not have left yet.
    unwritten: Cell<bool>,
    drained: RefCell<Option<Waker>>,
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
    /// An empty queue.
    #[must_use]
    pub fn new() -> Rc<Self> {
        Rc::new(Self {
            entries: RefCell::default(),
            first: Cell::new(0),
            closed: Cell::new(false),
            writer: RefCell::default(),
            unwritten: Cell::new(false),
            drained: RefCell::default(),
            closing: Signal::default(),
        })
    }

    /// Takes the next place in the order of replies, holding `grant` until that reply has left.
    pub fn ticket(self: &Rc<Self>, grant: Grant) -> Ticket {
        let mut entries = self.entries.borrow_mut();
        let sequence = self.first.get() + entries.len() as u64;
        entries.push_back(Entry { slot: Slot::Open, grant: Some(grant) });
        Ticket { replies: Rc::clone(self), sequence, timing: Timing::received(), done: false }
    }

    /// Requests that are not answered yet, or whose reply has not left.
    #[must_use]
    pub fn open_count(&self) -> usize {
        self.entries.borrow().len()
    }

    /// Ready once fewer than `count` requests are open. One task waits at a time: the connection's reader.
    pub fn poll_below(&self, count: usize, context: &Context<'_>) -> Poll<()> {
        if self.open_count() < count || self.closed.get() {
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
        while let Some(Entry { slot: Slot::Answered(..), .. }) = entries.front() {
            let Some(Entry { slot: Slot::Answered(reply, timing), grant }) = entries.pop_front() else {
                break;
            };
            out.extend(reply);
            departures.push(Departure { grant, timing });
            taken += 1;
        }
        self.first.set(self.first.get() + taken);
        wake(&self.drained);
        if taken == 0 {
            *self.writer.borrow_mut() = Some(context.waker().clone());
            return Poll::Pending;
        }
        self.unwritten.set(true);
        Poll::Ready(Some(()))
    }

    /// No reply will be taken any more: wakes all who wait.
    pub fn close(&self) {
        self.closed.set(true);
        wake(&self.writer);
        wake(&self.drained);
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
        assert!(matches!(entry.slot, Slot::Open), "a request is answered once");
        entry.slot = Slot::Answered(reply, timing);
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
        self.answer(Vec::new());
    }

    /// Its handler begins: the request is of this API.
    pub fn begin(&mut self, api: ApiKey) {
        self.timing.begin(api);
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
