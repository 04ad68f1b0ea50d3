//! Waiting for events of the same core, without locks.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use crate::moment::before;

/// An event that happens again and again.
#[derive(Default)]
pub struct Signal {
    count: Cell<u64>,
    places: RefCell<Places>,
}

/// The places of those who wait. Each is taken until its [`Wait`] is dropped, so that what waits in vain leaves nothing.
#[derive(Default)]
struct Places {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
}

/// Waits for the next occurrence of a [`Signal`] after the moment it was made.
pub struct Wait<'a> {
    signal: &'a Signal,
    seen: u64,
    place: Option<usize>,
}

impl Signal {
    /// It has happened: wakes all who wait.
    pub fn raise(&self) {
        self.count.set(self.count.get() + 1);
        for waker in self.places.borrow_mut().wakers.iter_mut().filter_map(Option::take) {
            waker.wake();
        }
    }

    /// Whether it has ever happened.
    #[must_use]
    pub fn is_raised(&self) -> bool {
        self.count.get() > 0
    }

    /// A wait for the next time.
    #[must_use]
    pub fn next(&self) -> Wait<'_> {
        Wait { signal: self, seen: self.count.get(), place: None }
    }
}

impl Wait<'_> {
    /// Ready once the signal was raised after this wait was made.
    pub fn poll(&mut self, context: &Context<'_>) -> Poll<()> {
        if self.signal.count.get() > self.seen {
            return Poll::Ready(());
        }
        let mut places = self.signal.places.borrow_mut();
        let place = *self.place.get_or_insert_with(|| places.take());
        match &mut places.wakers[place] {
            Some(waker) => waker.clone_from(context.waker()),
            empty => *empty = Some(context.waker().clone()),
        }
        Poll::Pending
    }

    /// Waits.
    pub async fn wait(mut self) {
        poll_fn(|context| self.poll(context)).await;
    }

    /// Waits, but not past `deadline`.
    pub async fn wait_until(self, deadline: Option<Instant>) {
        match deadline {
            None => self.wait().await,
            Some(deadline) => {
                // Whichever came first, the caller looks for itself.
                let _in_time = before(deadline, self.wait()).await;
            }
        }
    }
}

impl Drop for Wait<'_> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            let mut places = self.signal.places.borrow_mut();
            places.wakers[place] = None;
            places.free.push(place);
        }
    }
}

impl Places {
    fn take(&mut self) -> usize {
        self.free.pop().unwrap_or_else(|| {
            self.wakers.push(None);
            self.wakers.len() - 1
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_sees_only_what_happens_after_it_was_made() {
        let signal = Signal::default();
        signal.raise();
        let context = Context::from_waker(Waker::noop());
        let mut wait = signal.next();
        assert!(wait.poll(&context).is_pending());
        signal.raise();
        assert!(wait.poll(&context).is_ready());
    }

    #[test]
    fn waiting_in_vain_again_and_again_takes_one_place() {
        let signal = Signal::default();
        let context = Context::from_waker(Waker::noop());
        for _ in 0..100 {
            assert!(signal.next().poll(&context).is_pending());
        }
        assert_eq!(signal.places.borrow().wakers.len(), 1);
    }
}
