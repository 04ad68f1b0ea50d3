//! Moments on an executor's clock.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use glommio::timer::Timer;

/// Runs `future`, but not past `deadline`; what is ready at the deadline counts.
pub async fn before<T>(deadline: Instant, future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    let mut timer = pin!(Timer::new(deadline.saturating_duration_since(Instant::now())));
    poll_fn(|context| {
        if let Poll::Ready(value) = future.as_mut().poll(context) {
            return Poll::Ready(Some(value));
        }
        timer.as_mut().poll(context).map(|_| None)
    })
    .await
}

/// Waits for a time.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}
