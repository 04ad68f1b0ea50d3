//! Waiting for something to pass: it passes, the time is up, the shard stops.

use std::cell::Cell;
use std::rc::Rc;

use super::*;
use crate::runtime::{Queue, spawn_into, start_shard};

/// Nobody waits for so long.
const LONG: Duration = Duration::from_secs(600);

#[derive(Default)]
struct Stage {
    is_so: Cell<bool>,
    settled: Signal,
    stopping: Signal,
}

/// What a wait comes to, when something happens to what it waits for.
fn outcome(longest: Duration, happens: impl Fn(&Stage) + Send + 'static) -> (bool, Duration) {
    let shard = start_shard(0, None, move || async move {
        let stage = Rc::new(Stage { is_so: Cell::new(true), ..Stage::default() });
        let other = Rc::clone(&stage);
        spawn_into(Queue::Latency, async move { happens(&other) });
        let began = Instant::now();
        let is_over =
            wait_while(|| stage.is_so.get(), &stage.settled, &stage.stopping, began + longest).await;
        (is_over, began.elapsed())
    });
    shard.expect("a thread").join().expect("it ends")
}

#[test]
fn a_wait_ends_when_what_it_waits_for_has_passed() {
    let (is_over, took) = outcome(LONG, |stage| {
        stage.settled.raise();
        stage.is_so.set(false);
        stage.settled.raise();
    });
    assert!(is_over);
    assert!(took < LONG);
}

#[test]
fn a_wait_ends_with_its_time_however_often_something_else_is_settled() {
    let (is_over, took) = outcome(Duration::from_millis(20), |stage| stage.settled.raise());
    assert!(!is_over);
    assert!(took >= Duration::from_millis(20));
}

#[test]
fn a_wait_ends_when_the_shard_stops() {
    let (is_over, took) = outcome(LONG, |stage| stage.stopping.raise());
    assert!(!is_over);
    assert!(took < LONG);
}
