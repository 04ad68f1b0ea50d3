//! Counting and joining what goes on at the same time on one core.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;

use crate::limits::JOINED_FUTURES_MAX;

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

/// Runs futures at the same time, a bounded number of them; their results in order. No more are made than run, and none
/// may wait for one behind it.
pub async fn join_all<T, F: Future<Output = T>>(mut futures: impl Iterator<Item = F>) -> Vec<T> {
    let mut running: Vec<(usize, Pin<Box<F>>)> = Vec::new();
    let mut results: Vec<Option<T>> = Vec::new();
    poll_fn(|context| {
        loop {
            running.retain_mut(|(place, future)| match future.as_mut().poll(context) {
                Poll::Ready(value) => {
                    results[*place] = Some(value);
                    false
                }
                Poll::Pending => true,
            });
            let before = running.len();
            while running.len() < JOINED_FUTURES_MAX
                && let Some(future) = futures.next()
            {
                running.push((results.len(), Box::pin(future)));
                results.push(None);
            }
            if running.is_empty() {
                return Poll::Ready(());
            }
            // What was added has yet to be polled.
            if running.len() == before {
                return Poll::Pending;
            }
        }
    })
    .await;
    results.into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use std::task::{Context, Waker};

    use super::*;

    #[test]
    fn many_are_joined_a_bounded_number_at_a_time_and_in_order() {
        let (alive, most) = (Tally::default(), Cell::new(0));
        let one = |number: usize| {
            let (alive, most) = (&alive, &most);
            async move {
                let _counted = alive.one_more();
                most.set(alive.count().max(most.get()));
                // Every third is ready at once.
                let mut polls = number % 3;
                poll_fn(|context| {
                    context.waker().wake_by_ref();
                    polls = polls.saturating_sub(1);
                    if polls == 0 { Poll::Ready(()) } else { Poll::Pending }
                })
                .await;
                number
            }
        };
        let mut joined = pin!(join_all((0..3 * JOINED_FUTURES_MAX).map(one)));
        let mut context = Context::from_waker(Waker::noop());
        let results = loop {
            if let Poll::Ready(results) = joined.as_mut().poll(&mut context) {
                break results;
            }
        };
        assert_eq!(results, (0..3 * JOINED_FUTURES_MAX).collect::<Vec<_>>());
        assert!((2..=JOINED_FUTURES_MAX).contains(&most.get()), "{} at once", most.get());
    }
}
