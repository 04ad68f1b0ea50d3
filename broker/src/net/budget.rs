//! The memory that one shard's requests may hold at a time, from their first bytes to their answers.
//!
//! A large frame pays for its bytes as they come, not for what it announces: its [`Grant`] grows ahead of what is
//! received. A small one pays at once for all of it. Where the budget is used up, growing waits, the frame is not read
//! on, and TCP tells the client.
//!
//! Nobody starves, and half-received frames never block each other for ever:
//!
//! - Small frames have a part of their own. While a large one waits, they keep to it.
//! - Who waits is served in the order in which the frames began.
//! - The eldest large frame that waits becomes the first, until it is whole. What is kept aside for it (the largest frame,
//!   or half of what large ones have) is its own; a larger one goes past the limit. One at a time, so requests never hold
//!   more than the limit and one frame.
//!
//! Senders that hold memory and dawdle while others wait are the sweep's to end (see `connection`).

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use super::reply_budget::ReplyBudget;
use crate::limits::{FRAME_LARGE_BYTES, SMALL_FRAMES_PART};

/// What a shard's connections may hold.
#[derive(Clone, Copy, Debug)]
pub struct BudgetLimits {
    /// Requests.
    pub requests_bytes: usize,
    /// The largest frame there may be.
    pub frame_bytes_max: usize,
    /// Replies.
    pub replies_bytes: usize,
}

/// A budget of bytes, shared by all connections of a shard.
pub struct Budget {
    limit_bytes: usize,
    /// What large frames never touch.
    small_bytes: usize,
    /// What large frames but the first never touch.
    first_bytes: usize,
    small: Class,
    large: Class,
    /// The large frame that what is kept aside is for.
    first: Cell<Option<Age>>,
    frames: Cell<Age>,
    /// The memory of their replies.
    pub replies: Rc<ReplyBudget>,
}

/// Frames that share a part of the budget.
#[derive(Default)]
struct Class {
    used_bytes: Cell<usize>,
    /// The frames that wait, the eldest first.
    waiting: RefCell<VecDeque<(Age, Waker)>>,
}

/// Frames are numbered as they begin.
type Age = u64;

/// What a frame has of a budget; dropping it gives it back.
pub struct Grant {
    budget: Rc<Budget>,
    is_small: bool,
    age: Age,
    held_bytes: usize,
}

impl Budget {
    /// A budget with these limits.
    #[must_use]
    pub fn new(limits: BudgetLimits) -> Rc<Self> {
        let small_bytes = limits.requests_bytes / SMALL_FRAMES_PART;
        let first_bytes = limits.frame_bytes_max.min((limits.requests_bytes - small_bytes) / 2);
        Rc::new(Self {
            limit_bytes: limits.requests_bytes,
            small_bytes,
            first_bytes,
            small: Class::default(),
            large: Class::default(),
            first: Cell::new(None),
            frames: Cell::new(0),
            replies: ReplyBudget::new(limits.replies_bytes),
        })
    }

    /// Bytes granted and not yet given back.
    #[must_use]
    pub fn used_bytes(&self) -> usize {
        self.small.used_bytes.get() + self.large.used_bytes.get()
    }

    /// Whether there is plenty: nobody waits, and large frames hold less than half of what they may.
    #[must_use]
    pub fn is_ample(&self) -> bool {
        !self.is_short() && self.large.used_bytes.get() < self.ceiling_bytes(false) / 2
    }

    /// Whether somebody waits.
    #[must_use]
    pub fn is_short(&self) -> bool {
        self.small.is_waited_for() || self.large.is_waited_for()
    }

    /// The grant of a frame that begins, of this length in all. It holds nothing yet.
    #[must_use]
    pub fn frame(self: &Rc<Self>, whole_bytes: usize) -> Grant {
        let age = self.frames.get();
        self.frames.set(age + 1);
        let is_small = whole_bytes < FRAME_LARGE_BYTES;
        Grant { budget: Rc::clone(self), is_small, age, held_bytes: 0 }
    }

    fn class(&self, is_small: bool) -> &Class {
        if is_small { &self.small } else { &self.large }
    }

    /// What a class may hold at most, but for its first frame.
    fn ceiling_bytes(&self, is_small: bool) -> usize {
        if !is_small {
            let small_bytes = self.small_bytes.max(self.small.used_bytes.get());
            return self.limit_bytes.saturating_sub(self.first_bytes).saturating_sub(small_bytes);
        }
        let left_bytes = self.limit_bytes.saturating_sub(self.large.used_bytes.get());
        if self.large.is_waited_for() { self.small_bytes } else { self.small_bytes.max(left_bytes) }
    }

    fn fits(&self, grant: &Grant, more_bytes: usize) -> bool {
        let class = self.class(grant.is_small);
        let (used, ceiling) = (class.used_bytes.get(), self.ceiling_bytes(grant.is_small));
        let wanted = used.saturating_add(more_bytes);
        if self.first.get() == Some(grant.age) {
            let others = used - grant.held_bytes;
            return others <= ceiling || wanted <= ceiling + self.first_bytes;
        }
        // A small frame alone always fits: it waits for nobody who waits for it.
        let fits = wanted <= ceiling || (grant.is_small && used == 0);
        fits && !class.is_waited_for_by_elder(grant.age)
    }

    /// Puts a frame in its queue, or keeps it there.
    fn wait(&self, grant: &Grant, waker: &Waker) {
        self.class(grant.is_small).wait(grant.age, waker);
        if !grant.is_small && self.first.get().is_none() {
            self.first.set(self.large.eldest());
            self.wake_next();
        }
    }

    /// A frame that needs no more makes another one the first.
    fn resign(&self, age: Age) {
        if self.first.get() == Some(age) {
            self.first.set(self.large.eldest());
        }
    }

    /// Something was given back, or somebody was served: whoever is next looks again.
    fn wake_next(&self) {
        let first = self.first.get();
        self.small.wake_next(None);
        self.large.wake_next(first);
    }
}

impl Class {
    fn is_waited_for(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    fn is_waited_for_by_elder(&self, age: Age) -> bool {
        self.eldest().is_some_and(|eldest| eldest < age)
    }

    fn eldest(&self) -> Option<Age> {
        self.waiting.borrow().front().map(|(age, _)| *age)
    }

    fn wait(&self, age: Age, waker: &Waker) {
        let mut waiting = self.waiting.borrow_mut();
        match waiting.binary_search_by_key(&age, |(age, _)| *age) {
            Ok(place) => waiting[place].1.clone_from(waker),
            Err(place) => waiting.insert(place, (age, waker.clone())),
        }
    }

    fn leave(&self, age: Age) {
        self.waiting.borrow_mut().retain(|(waiting, _)| *waiting != age);
    }

    /// Wakes the eldest, and the first frame wherever it stands.
    fn wake_next(&self, first: Option<Age>) {
        for (place, (age, waker)) in self.waiting.borrow().iter().enumerate() {
            if place == 0 || Some(*age) == first {
                waker.wake_by_ref();
            }
        }
    }
}

impl Grant {
    /// What it holds.
    #[must_use]
    pub fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Takes `more_bytes` if they can be had at once.
    #[must_use]
    pub fn grow_now(&mut self, more_bytes: usize) -> bool {
        let fits = self.budget.fits(self, more_bytes);
        if fits {
            let used_bytes = &self.class().used_bytes;
            used_bytes.set(used_bytes.get() + more_bytes);
            self.held_bytes += more_bytes;
        }
        fits
    }

    /// Takes `more_bytes`, waiting for them behind frames that began earlier.
    pub async fn grow(&mut self, more_bytes: usize) {
        if self.grow_now(more_bytes) {
            return;
        }
        let wait = Wait { grant: self };
        poll_fn(|context| {
            wait.grant.budget.wait(wait.grant, context.waker());
            if wait.grant.grow_now(more_bytes) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The frame is whole: it grows no more.
    pub fn complete(&self) {
        self.budget.resign(self.age);
        self.budget.wake_next();
    }

    fn class(&self) -> &Class {
        self.budget.class(self.is_small)
    }
}

/// Waits in the queue of a class; leaves it when it is served or gives up.
struct Wait<'a> {
    grant: &'a mut Grant,
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        self.grant.class().leave(self.grant.age);
        self.grant.budget.wake_next();
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let used_bytes = &self.class().used_bytes;
        assert!(used_bytes.get() >= self.held_bytes, "a grant gives back what was taken");
        used_bytes.set(used_bytes.get() - self.held_bytes);
        self.complete();
    }
}

#[cfg(test)]
mod tests;
