//! Questions to other shards that wait for their answers.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::{Poll, Waker};

use rustc_hash::FxHashMap;

use super::messages::{Answer, CallId};

/// The open questions of a shard.
#[derive(Default)]
pub struct Calls {
    next: Cell<CallId>,
    open: RefCell<FxHashMap<CallId, Rc<Slot>>>,
}

#[derive(Default)]
struct Slot {
    answer: RefCell<Option<Answer>>,
    waker: RefCell<Option<Waker>>,
}

/// A question that was asked; dropping it forgets it, and a late answer is thrown away.
pub struct Asked<'a> {
    calls: &'a Calls,
    call: CallId,
    slot: Rc<Slot>,
}

impl Calls {
    /// A name that no other call of this shard has.
    pub fn name(&self) -> CallId {
        let call = self.next.get();
        self.next.set(call + 1);
        call
    }

    /// Opens a question; send it by its [`Asked::call`].
    pub fn open(&self) -> Asked<'_> {
        let (call, slot) = (self.name(), Rc::<Slot>::default());
        self.open.borrow_mut().insert(call, Rc::clone(&slot));
        Asked { calls: self, call, slot }
    }

    /// The answer has come.
    pub fn answer(&self, call: CallId, answer: Answer) {
        let Some(slot) = self.open.borrow_mut().remove(&call) else { return };
        *slot.answer.borrow_mut() = Some(answer);
        if let Some(waker) = slot.waker.borrow_mut().take() {
            waker.wake();
        }
    }
}

impl Asked<'_> {
    /// The name to ask under.
    #[must_use]
    pub fn call(&self) -> CallId {
        self.call
    }

    /// Waits for the answer.
    pub async fn answer(self) -> Answer {
        poll_fn(|context| {
            if let Some(answer) = self.slot.answer.borrow_mut().take() {
                return Poll::Ready(answer);
            }
            *self.slot.waker.borrow_mut() = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.calls.open.borrow_mut().remove(&self.call);
    }
}
