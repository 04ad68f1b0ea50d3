//! The memory that one shard's requests may hold at a time, from the frame on the wire to the reply in the socket.
//!
//! A request takes its estimated cost before its body is read, and waits, unread, while the budget is used up:
//! back-pressure reaches the client through TCP. Waiters are served in order, so a large request is not starved
//! by small ones.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// A budget of bytes, shared by all connections of a shard.
pub struct Budget {
    limit_bytes: usize,
    used_bytes: Cell<usize>,
    tickets_issued: Cell<u64>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
}

/// Bytes taken from a budget; dropping it gives them back.
pub struct Grant {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Budget {
    /// A budget of `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Rc<Self> {
        Rc::new(Self {
            limit_bytes,
            used_bytes: Cell::new(0),
            tickets_issued: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// Bytes granted and not yet given back.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    /// Takes `bytes`, waiting behind all earlier takers until they fit. A request larger than the whole budget is
    /// granted once nothing else holds any of it: it can't wait for more.
    pub async fn take(self: &Rc<Self>, bytes: usize) -> Grant {
        if !(self.waiting.borrow().is_empty() && self.fits(bytes)) {
            let mut place = Place { budget: self, ticket: None };
            poll_fn(|context| place.poll(bytes, context.waker())).await;
        }
        self.used_bytes.set(self.used_bytes.get() + bytes);
        Grant { budget: Rc::clone(self), bytes }
    }

    fn fits(&self, bytes: usize) -> bool {
        let used = self.used_bytes.get();
        used == 0 || used.saturating_add(bytes) <= self.limit_bytes
    }

    fn wake_first(&self) {
        if let Some((_, waker)) = self.waiting.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

/// A place in the queue, left when the taker is served or stops waiting.
struct Place<'a> {
    budget: &'a Budget,
    ticket: Option<u64>,
}

impl Place<'_> {
    fn poll(&mut self, bytes: usize, waker: &Waker) -> Poll<()> {
        let mut waiting = self.budget.waiting.borrow_mut();
        let ticket = *self.ticket.get_or_insert_with(|| {
            let ticket = self.budget.tickets_issued.get();
            self.budget.tickets_issued.set(ticket + 1);
            waiting.push_back((ticket, waker.clone()));
            ticket
        });
        let first = waiting.front().is_some_and(|(front, _)| *front == ticket);
        if first && self.budget.fits(bytes) {
            return Poll::Ready(());
        }
        if let Some((_, stored)) = waiting.iter_mut().find(|(queued, _)| *queued == ticket) {
            stored.clone_from(waker);
        }
        Poll::Pending
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket {
            self.budget.waiting.borrow_mut().retain(|(queued, _)| *queued != ticket);
            self.budget.wake_first();
        }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let used = self.budget.used_bytes.get();
        assert!(used >= self.bytes, "a grant gives back what was taken");
        self.budget.used_bytes.set(used - self.bytes);
        self.budget.wake_first();
    }
}

#[cfg(test)]
mod tests;
