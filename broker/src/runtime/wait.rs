//! Waiting for events of the same core: no lock, no allocation where nobody waits.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Context, Poll, Waker};

/// An event that happens again and again. Who waits sees every occurrence after the [`Signal::count`] it names.
#[derive(Default)]
pub struct Signal {
    count: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Signal {
    /// It has happened: wakes all who wait.
    pub fn raise(&self) {
        self.count.set(self.count.get() + 1);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
    }

    /// How often it has happened.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count.get()
    }

    /// Ready once it has happened more than `seen` times.
    pub fn poll_after(&self, seen: u64, context: &Context<'_>) -> Poll<()> {
        if self.count.get() > seen {
            return Poll::Ready(());
        }
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
        Poll::Pending
    }

    /// Waits until it has happened more than `seen` times.
    pub async fn after(&self, seen: u64) {
        poll_fn(|context| self.poll_after(seen, context)).await;
    }
}

/// Runs both until one ends; `true` where it was the first.
pub async fn either(first: impl Future<Output = ()>, second: impl Future<Output = ()>) -> bool {
    let (mut first, mut second) = (pin!(first), pin!(second));
    poll_fn(|context| {
        if first.as_mut().poll(context).is_ready() {
            return Poll::Ready(true);
        }
        second.as_mut().poll(context).map(|()| false)
    })
    .await
}
