//! Waiting between tasks of one thread, on plain wakers: no executor, no timer, no lock.
//!
//! Lives on one core. Everything here is cancel-safe: a waiter that goes away leaves at most a stale waker, which is
//! woken once for nothing.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use crate::limits::{BEGINNINGS_BETWEEN_YIELDS, STEPS_BETWEEN_YIELDS};

/// Something that changes now and then; tasks wait for the next change.
///
/// A waiter is created before the condition is looked at, so that no change between the look and the wait is lost:
///
/// ```text
/// loop {
///     let changed = notify.changed();
///     if condition() { break; }
///     changed.await;
/// }
/// ```
#[derive(Default)]
pub(crate) struct Notify {
    version: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Notify {
    /// Wakes all who wait.
    pub(crate) fn notify(&self) {
        self.version.set(self.version.get() + 1);
        // Woken outside the borrow: a waker may run code that waits again.
        let waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.into_iter().for_each(Waker::wake);
    }

    /// Completes after the next [`Notify::notify`] from now on.
    pub(crate) fn changed(&self) -> Changed<'_> {
        Changed { notify: self, seen: self.version.get() }
    }

    /// Keeps the task of `context` to be woken at the next change.
    pub(crate) fn register(&self, context: &Context<'_>) {
        let mut waiting = self.waiting.borrow_mut();
        if !waiting.iter().any(|waker| waker.will_wake(context.waker())) {
            waiting.push(context.waker().clone());
        }
    }
}

/// The future of [`Notify::changed`].
pub(crate) struct Changed<'a> {
    notify: &'a Notify,
    seen: u64,
}

impl Future for Changed<'_> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.notify.version.get() != self.seen {
            return Poll::Ready(());
        }
        self.notify.register(context);
        Poll::Pending
    }
}

/// Lets one task at a time work on something across awaits, in the order in which they asked.
#[derive(Default)]
pub(crate) struct Turnstile {
    next_ticket: Cell<u64>,
    serving: Cell<u64>,
    abandoned: RefCell<Vec<u64>>,
    moved: Notify,
}

impl Turnstile {
    /// Waits for the turn, which lasts until the guard is dropped.
    pub(crate) async fn enter(&self) -> Turn<'_> {
        let ticket = self.next_ticket.get();
        self.next_ticket.set(ticket + 1);
        // Made before the first wait: a cancelled waiter gives its place up.
        let turn = Turn { turnstile: self, ticket };
        loop {
            let moved = self.moved.changed();
            if self.serving.get() == ticket {
                return turn;
            }
            moved.await;
        }
    }

    fn leave(&self, ticket: u64) {
        if self.serving.get() != ticket {
            self.abandoned.borrow_mut().push(ticket);
            return;
        }
        let mut abandoned = self.abandoned.borrow_mut();
        let mut serving = ticket + 1;
        while let Some(index) = abandoned.iter().position(|&other| other == serving) {
            abandoned.swap_remove(index);
            serving += 1;
        }
        drop(abandoned);
        self.serving.set(serving);
        self.moved.notify();
    }
}

/// A turn at a [`Turnstile`].
pub(crate) struct Turn<'a> {
    turnstile: &'a Turnstile,
    ticket: u64,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.turnstile.leave(self.ticket);
    }
}

/// Lets other tasks of the thread go first, once.
pub(crate) async fn yield_now() {
    let mut has_yielded = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut has_yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// Runs futures, at most so many at once, until all are complete or one fails; then the rest is dropped. Others get
/// their turn now and then even where no future ever waits, and while many begin.
///
/// A dropped future may leave operations of the device under way: the caller of a failed write stops the process.
pub(crate) async fn for_each_concurrent<F, E>(
    futures: impl IntoIterator<Item = F>,
    concurrent_max: usize,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    for_each_within(futures, || concurrent_max).await
}

/// As [`for_each_concurrent`], with a bound that may change while they run.
pub(crate) async fn for_each_within<F, E>(
    futures: impl IntoIterator<Item = F>,
    concurrent_max: impl Fn() -> usize,
) -> Result<(), E>
where
    F: Future<Output = Result<(), E>>,
{
    let mut waiting = futures.into_iter();
    let mut running: Vec<Pin<Box<F>>> = Vec::new();
    std::future::poll_fn(move |context| {
        let (mut begun, mut completed) = (0, 0);
        loop {
            if begun >= BEGINNINGS_BETWEEN_YIELDS || completed >= STEPS_BETWEEN_YIELDS {
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let running_max = concurrent_max();
            assert!(running_max > 0);
            while running.len() < running_max
                && begun < BEGINNINGS_BETWEEN_YIELDS
                && let Some(future) = waiting.next()
            {
                running.push(Box::pin(future));
                begun += 1;
            }
            if running.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let before = running.len();
            let mut index = 0;
            while index < running.len() {
                match running[index].as_mut().poll(context) {
                    Poll::Pending => index += 1,
                    Poll::Ready(Ok(())) => {
                        drop(running.swap_remove(index));
                        completed += 1;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                }
            }
            if running.len() == before && begun < BEGINNINGS_BETWEEN_YIELDS {
                return Poll::Pending;
            }
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::task::{Wake, Waker};

    use super::*;

    #[derive(Default)]
    struct Woken(AtomicBool);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::Relaxed);
        }
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn a_change_between_look_and_wait_is_not_lost() {
        let notify = Notify::default();
        let mut changed = std::pin::pin!(notify.changed());
        notify.notify();
        assert!(poll(changed.as_mut()).is_ready());
        let mut changed = std::pin::pin!(notify.changed());
        assert!(poll(changed.as_mut()).is_pending());
        notify.notify();
        assert!(poll(changed.as_mut()).is_ready());
    }

    #[test]
    fn so_many_futures_run_at_once_and_an_error_ends_it() {
        let (running, most) = (Cell::new(0), Cell::new(0));
        let one = |yields: u32, result: Result<(), u32>| {
            let (running, most) = (&running, &most);
            async move {
                running.set(running.get() + 1);
                most.set(most.get().max(running.get()));
                for _ in 0..yields {
                    let mut polled = false;
                    std::future::poll_fn(|_| {
                        if std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
                    })
                    .await;
                }
                running.set(running.get() - 1);
                result
            }
        };
        let mut all = Box::pin(for_each_concurrent((0..9).map(|yields| one(yields, Ok(()))), 3));
        while poll(all.as_mut()).is_pending() {}
        assert_eq!((running.get(), most.get()), (0, 3));
        let mut failing = Box::pin(for_each_concurrent([one(1, Ok(())), one(0, Err(7))], 3));
        assert_eq!(poll(failing.as_mut()), Poll::Ready(Err(7)));
    }

    #[test]
    fn few_futures_begin_in_one_turn_and_the_rest_in_the_next_ones() {
        let begun = Cell::new(0);
        let one = || async {
            begun.set(begun.get() + 1);
            std::future::pending::<Result<(), ()>>().await
        };
        let many = 2 * BEGINNINGS_BETWEEN_YIELDS + 1;
        let mut all = Box::pin(for_each_concurrent((0..many).map(|_| one()), many));
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        for turn in 1..=3 {
            assert!(all.as_mut().poll(&mut context).is_pending());
            assert_eq!(begun.get(), many.min(turn * BEGINNINGS_BETWEEN_YIELDS));
            let are_all_begun = begun.get() == many;
            assert_eq!(
                woken.0.swap(false, Ordering::Relaxed),
                !are_all_begun,
                "it goes on by itself until then"
            );
        }
    }

    #[test]
    fn turns_come_in_order_and_a_cancelled_one_is_skipped() {
        let turnstile = Turnstile::default();
        let mut first = Box::pin(turnstile.enter());
        let Poll::Ready(turn) = poll(first.as_mut()) else { panic!("nobody is before the first") };
        let mut second = Box::pin(turnstile.enter());
        let mut third = Box::pin(turnstile.enter());
        assert!(poll(second.as_mut()).is_pending());
        assert!(poll(third.as_mut()).is_pending());
        drop(second);
        assert!(poll(third.as_mut()).is_pending());
        drop(turn);
        assert!(poll(third.as_mut()).is_ready());
    }
}
