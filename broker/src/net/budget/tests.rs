//! What waits, what passes, and that nothing leaks.

use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::{Budget, Grant};

/// Takes what fits at once.
fn take_now(budget: &Rc<Budget>, bytes: usize) -> Option<Grant> {
    let mut future = pin!(budget.take(bytes));
    match future.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())) {
        Poll::Ready(grant) => Some(grant),
        Poll::Pending => None,
    }
}

#[test]
fn what_fits_is_granted_and_given_back() {
    let budget = Budget::new(100);
    let first = take_now(&budget, 60).expect("fits");
    assert!(take_now(&budget, 50).is_none());
    let second = take_now(&budget, 40).expect("fits exactly");
    drop((first, second));
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn a_request_larger_than_the_budget_passes_alone() {
    let budget = Budget::new(100);
    let small = take_now(&budget, 1).expect("fits");
    assert!(take_now(&budget, 1_000).is_none());
    drop(small);
    assert!(take_now(&budget, 1_000).is_some());
}

#[test]
fn a_small_request_does_not_overtake_a_large_one_that_waits() {
    let budget = Budget::new(100);
    let held = take_now(&budget, 80).expect("fits");
    let mut large = pin!(budget.take(90));
    let mut context = Context::from_waker(std::task::Waker::noop());
    assert!(large.as_mut().poll(&mut context).is_pending());
    assert!(take_now(&budget, 10).is_none(), "waits behind the large one");
    drop(held);
    assert!(large.as_mut().poll(&mut context).is_ready());
}

#[test]
fn who_stops_waiting_leaves_the_queue() {
    let budget = Budget::new(100);
    let held = take_now(&budget, 80).expect("fits");
    {
        let mut large = pin!(budget.take(90));
        assert!(large.as_mut().poll(&mut Context::from_waker(std::task::Waker::noop())).is_pending());
    }
    assert!(take_now(&budget, 20).is_some());
    drop(held);
}
