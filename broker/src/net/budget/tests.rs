//! What waits, what passes, that nothing leaks, and that nobody waits for ever.

use std::future::Future;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Waker};

use futures_lite::future::yield_now;
use proptest::prelude::*;

use super::{Budget, BudgetLimits, Grant};

const KIB: usize = 1024;
/// Frames of this length are small.
const SMALL: usize = 16 * KIB;

fn budget(requests_bytes: usize, frame_bytes_max: usize) -> Rc<Budget> {
    Budget::new(BudgetLimits { requests_bytes, frame_bytes_max, replies_bytes: 0 })
}

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

/// A whole frame, if it fits at once.
fn take_now(budget: &Rc<Budget>, bytes: usize) -> Option<Grant> {
    let mut grant = budget.frame(bytes);
    grant.grow_now(bytes).then_some(grant)
}

#[test]
fn what_fits_is_granted_and_given_back() {
    let budget = budget(100 * KIB, SMALL);
    let grants: Vec<Grant> = (0..6).map(|_| take_now(&budget, SMALL).expect("fits")).collect();
    assert!(take_now(&budget, SMALL).is_none());
    let last = take_now(&budget, 4 * KIB).expect("fits exactly");
    assert_eq!(budget.used_bytes(), 100 * KIB);
    drop((grants, last));
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn large_frames_leave_small_ones_their_part() {
    let budget = budget(800 * KIB, 64 * KIB);
    let mut large = Vec::new();
    while let Some(grant) = take_now(&budget, 64 * KIB) {
        large.push(grant);
    }
    assert!(budget.used_bytes() <= 700 * KIB - 64 * KIB, "the first's part is not touched either");
    let mut waiting = budget.frame(64 * KIB);
    let mut grow = pin!(waiting.grow(64 * KIB));
    assert!(grow.as_mut().poll(&mut context()).is_ready(), "who waits becomes the first");
    let small: Vec<Grant> = std::iter::from_fn(|| take_now(&budget, SMALL)).collect();
    assert!(small.len() * SMALL >= 100 * KIB - SMALL, "{} small frames", small.len());
}

#[test]
fn a_frame_larger_than_the_budget_passes_alone() {
    let budget = budget(256 * KIB, 1024 * KIB);
    let mut first = budget.frame(1024 * KIB);
    assert!(pin!(first.grow(1024 * KIB)).poll(&mut context()).is_ready());
    first.complete();
    let mut second = budget.frame(1024 * KIB);
    let mut grow = pin!(second.grow(KIB));
    assert!(grow.as_mut().poll(&mut context()).is_pending());
    drop(first);
    assert!(grow.as_mut().poll(&mut context()).is_ready());
}

#[test]
fn a_younger_frame_does_not_overtake_an_elder_that_waits() {
    let budget = budget(100 * KIB, SMALL);
    let held: Vec<Grant> = (0..6).map(|_| take_now(&budget, SMALL).expect("fits")).collect();
    let mut elder = budget.frame(SMALL);
    let mut grow = pin!(elder.grow(SMALL));
    assert!(grow.as_mut().poll(&mut context()).is_pending());
    assert!(take_now(&budget, KIB).is_none(), "waits behind the elder");
    drop(held);
    assert!(grow.as_mut().poll(&mut context()).is_ready());
}

#[test]
fn who_stops_waiting_leaves_the_queue() {
    let budget = budget(1024 * KIB, 512 * KIB);
    let held = take_now(&budget, 400 * KIB).expect("fits");
    {
        let mut first = budget.frame(512 * KIB);
        assert!(pin!(first.grow(512 * KIB)).poll(&mut context()).is_ready());
        let mut waiting = budget.frame(512 * KIB);
        assert!(pin!(waiting.grow(512 * KIB)).poll(&mut context()).is_pending());
        assert!(!budget.is_short(), "it has given up");
    }
    let mut next = budget.frame(512 * KIB);
    assert!(pin!(next.grow(512 * KIB)).poll(&mut context()).is_ready(), "both have given back what they had");
    drop(held);
}

/// A client: how long its frame is, by how much it grows at a time, for how many rounds it is worked on, and after how
/// many steps its sender falls silent (and is ended by a sweep some rounds later), if he does.
#[derive(Clone, Debug)]
struct Client {
    frame_bytes: usize,
    step_bytes: usize,
    worked_on: usize,
    silent_after: Option<usize>,
}

async fn serve(budget: Rc<Budget>, client: Client) {
    let mut grant = budget.frame(client.frame_bytes);
    let mut steps = 0;
    while grant.held_bytes() < client.frame_bytes {
        if client.silent_after.is_some_and(|after| steps >= after) {
            for _ in 0..SWEPT_AFTER {
                yield_now().await;
            }
            return;
        }
        let is_small = client.frame_bytes < crate::limits::FRAME_LARGE_BYTES;
        let step = if is_small { client.frame_bytes } else { client.step_bytes };
        let more = step.min(client.frame_bytes - grant.held_bytes());
        grant.grow(more).await;
        steps += 1;
        yield_now().await;
    }
    grant.complete();
    for _ in 0..client.worked_on {
        yield_now().await;
    }
}

/// Rounds until a sweep ends a silent sender.
const SWEPT_AFTER: usize = 20;

fn clients() -> impl Strategy<Value = Vec<Client>> {
    let silent = prop_oneof![3 => Just(None), 1 => (0_usize..6).prop_map(Some)];
    let client = (1_usize..300, 1_usize..40, 0_usize..10, silent).prop_map(
        |(frame, step, worked_on, silent_after)| Client {
            frame_bytes: frame * KIB,
            step_bytes: step * KIB,
            worked_on,
            silent_after,
        },
    );
    prop::collection::vec(client, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However frames of all sizes grow side by side in however small a budget: all come through, and memory is bounded.
    #[test]
    fn nobody_waits_for_ever(clients in clients(), limit_kib in 64_usize..2_000) {
        let (limit, frame_max) = (limit_kib * KIB, 300 * KIB);
        let budget = budget(limit, frame_max);
        let mut running: Vec<Pin<Box<dyn Future<Output = ()>>>> = Vec::new();
        for client in clients {
            running.push(Box::pin(serve(Rc::clone(&budget), client)));
        }
        let mut rounds = 0;
        while !running.is_empty() {
            running.retain_mut(|task| task.as_mut().poll(&mut context()).is_pending());
            prop_assert!(budget.used_bytes() <= limit + frame_max, "{} of {limit} B", budget.used_bytes());
            rounds += 1;
            prop_assert!(rounds < 60 * 400, "{} frames wait for ever", running.len());
        }
        prop_assert_eq!(budget.used_bytes(), 0);
        prop_assert!(!budget.is_short());
    }
}
