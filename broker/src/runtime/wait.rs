//! Waiting for events of the same core, without locks.

use std::cell::{Cell, RefCell};
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};

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

/// How many of something there are on this core right now.
#[derive(Default)]
pub struct Tally(Cell<usize>);

/// One of those that a [`Tally`] counts, while it lives.
pub struct Tallied<'a>(&'a Tally);

impl Tally {
    /// One more, until it is dropped.
    #[must_use]
    pub fn one_more(&self) -> Tallied<'_> {
        self.0.set(self.0.get() + 1);
        Tallied(self)
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.0.get()
    }
}

impl Drop for Tallied<'_> {
    fn drop(&mut self) {
        self.0.0.set(self.0.0.get() - 1);
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

/// Runs futures at the same time; their results in order.
pub async fn join_all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut running: Vec<Pin<Box<_>>> = futures.map(Box::pin).collect();
    let mut results: Vec<Option<T>> = running.iter().map(|_| None).collect();
    poll_fn(|context| {
        let mut all = true;
        for (future, result) in running.iter_mut().zip(&mut results) {
            if result.is_none() {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *result = Some(value),
                    Poll::Pending => all = false,
                }
            }
        }
        if all { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
    results.into_iter().flatten().collect()
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
