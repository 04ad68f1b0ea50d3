//! The memory that one shard's replies may hold, from where they are known until the kernel has taken them.
//!
//! What a reply will hold is not known before it is made, so a fetch asks for room first, reads no more than it was given,
//! and gives back what it did not use. All other replies are small and made one at a time on a connection: each is
//! charged without a question, but its request is not served while replies hold all there is.
//!
//! A reply can leave once all earlier ones of its connection have left. So that replies which can't leave yet never hold
//! all there is, only the first open request of a connection may use the second half.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use crate::limits::{REPLY_ROOM_BYTES_MIN, REPLY_ROOM_PART};

/// A budget of bytes for the replies of a shard.
pub struct ReplyBudget {
    limit_bytes: usize,
    used_bytes: Cell<usize>,
    waits: Cell<u64>,
    waiting: RefCell<VecDeque<(u64, Waker)>>,
}

/// What a reply has of a budget; dropping it gives it back.
pub struct Room {
    budget: Rc<ReplyBudget>,
    bytes: usize,
}

impl ReplyBudget {
    /// A budget of `limit_bytes`.
    #[must_use]
    pub fn new(limit_bytes: usize) -> Rc<Self> {
        Rc::new(Self {
            limit_bytes,
            used_bytes: Cell::new(0),
            waits: Cell::new(0),
            waiting: RefCell::default(),
        })
    }

    /// Bytes of all replies that have not left.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.used_bytes.get()
    }

    /// The most that they should be.
    #[must_use]
    pub fn limit_bytes(&self) -> usize {
        self.limit_bytes
    }

    /// Whether somebody waits for room.
    #[must_use]
    pub fn is_short(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// A reply is there: it counts, whatever the limit says.
    #[must_use]
    pub fn charge(self: &Rc<Self>, bytes: usize) -> Room {
        self.used_bytes.set(self.used_bytes.get() + bytes);
        Room { budget: Rc::clone(self), bytes }
    }

    /// Room for as much as `wanted_bytes`, or less where there is less; none where that is too little to be worth a read,
    /// or others wait. `is_first`: the reply can leave as soon as it is made.
    #[must_use]
    pub fn room_now(self: &Rc<Self>, wanted_bytes: usize, is_first: bool) -> Option<Room> {
        if self.is_short() { None } else { self.find_room(wanted_bytes, is_first) }
    }

    /// Room for the first open request of a connection, in the order of asking.
    pub async fn room(self: &Rc<Self>, wanted_bytes: usize) -> Room {
        let ticket = self.waits.get();
        self.waits.set(ticket + 1);
        let place = Place { budget: self, ticket };
        poll_fn(|context| {
            let is_next = place.wait(context.waker());
            let room = if is_next { self.find_room(wanted_bytes, true) } else { None };
            room.map_or(Poll::Pending, Poll::Ready)
        })
        .await
    }

    /// Waits while replies hold all there is: before a request is served whose reply is charged without a question.
    pub async fn some_room(self: &Rc<Self>) {
        // Who waits for much does not keep back those that need little.
        if self.used_bytes.get() >= self.limit_bytes {
            drop(self.room(1).await);
        }
    }

    fn find_room(self: &Rc<Self>, wanted_bytes: usize, is_first: bool) -> Option<Room> {
        let ceiling_bytes = if is_first { self.limit_bytes } else { self.limit_bytes / 2 };
        let used_bytes = self.used_bytes.get();
        let left_bytes = ceiling_bytes.saturating_sub(used_bytes);
        let enough = left_bytes >= wanted_bytes.min(REPLY_ROOM_BYTES_MIN);
        (enough || used_bytes == 0).then(|| self.charge(wanted_bytes.min(left_bytes).min(self.most_bytes())))
    }

    /// What one reply gets at most: the more wait, the less, so that many who take nothing hold little each.
    fn most_bytes(&self) -> usize {
        let waiting = self.waiting.borrow().len();
        (self.limit_bytes / REPLY_ROOM_PART.max(waiting)).max(REPLY_ROOM_BYTES_MIN)
    }

    fn wake_next(&self) {
        if let Some((_, waker)) = self.waiting.borrow().front() {
            waker.wake_by_ref();
        }
    }
}

impl Room {
    /// What it holds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// A place in the queue, left when the reply has its room or is given up.
struct Place<'a> {
    budget: &'a ReplyBudget,
    ticket: u64,
}

impl Place<'_> {
    /// Waits on, and says whether all who came earlier have been served.
    fn wait(&self, waker: &Waker) -> bool {
        let mut waiting = self.budget.waiting.borrow_mut();
        let place = match waiting.binary_search_by_key(&self.ticket, |(ticket, _)| *ticket) {
            Ok(place) => {
                waiting[place].1.clone_from(waker);
                place
            }
            Err(place) => {
                waiting.insert(place, (self.ticket, waker.clone()));
                place
            }
        };
        place == 0
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.budget.waiting.borrow_mut().retain(|(ticket, _)| *ticket != self.ticket);
        self.budget.wake_next();
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        let used_bytes = self.budget.used_bytes.get();
        assert!(used_bytes >= self.bytes, "a room gives back what was taken");
        self.budget.used_bytes.set(used_bytes - self.bytes);
        self.budget.wake_next();
    }
}

#[cfg(test)]
mod tests;
