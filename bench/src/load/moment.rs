//! The clock of a run, and waiting for a moment or for news, whichever comes first.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use glommio::timer::Timer;

/// Nanoseconds since `epoch`.
pub fn since(epoch: Instant) -> u64 {
    u64::try_from(epoch.elapsed().as_nanos()).expect("a run takes less than centuries")
}

/// News for one task of the same executor.
#[derive(Default)]
pub struct News {
    has_come: Cell<bool>,
    waiting: Cell<Option<Waker>>,
}

impl News {
    /// There is news.
    pub fn tell(&self) {
        self.has_come.set(true);
        if let Some(waker) = self.waiting.take() {
            waker.wake();
        }
    }

    /// Waits for news, but not longer than `time`.
    pub async fn wait(&self, time: Duration) {
        let mut timer = pin!(Timer::new(time));
        poll_fn(|context| {
            if self.has_come.take() {
                return Poll::Ready(());
            }
            self.waiting.set(Some(context.waker().clone()));
            timer.as_mut().poll(context).map(|_| ())
        })
        .await;
    }
}
