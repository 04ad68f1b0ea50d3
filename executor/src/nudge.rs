//! Executors are nudged from outside, so that nothing they have to do is left lying.
//!
//! glommio 0.12 arms its preemption timer before it runs tasks. A thread that loses its core just then finds the timer
//! fired before the first task ran, takes that for "nothing to run", and since a timer wakes no task it goes to sleep
//! with tasks that are ready, until something else wakes it. Where other descriptors are waited for that is a hiccup; at a
//! start, or where the task left lying is the one that hears of all sockets, it was for ever. A timer of the executor's own
//! is no cure: its task can be left lying too. So one thread of the process wakes a task of each executor, often while any
//! has work, and ever less while none has.

use std::cell::Cell;
use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

/// How often executors are nudged while one of them has work: no ready task is left lying for longer.
const MICROSECONDS_MIN: u64 = 2_000;
/// How often they are nudged while none has.
const MICROSECONDS_MAX: u64 = 64_000;
const _: () = assert!(MICROSECONDS_MIN < MICROSECONDS_MAX);

/// What an executor runs between two nudges for nobody but the nudge.
const TASKS_OF_A_NUDGE: u64 = 2;

/// An executor as the thread that nudges knows it; gone when the executor is.
struct Nudged {
    waker: Waker,
    is_busy: Weak<AtomicBool>,
}

/// Has this thread's executor nudged for as long as it lives; asked again, does nothing.
pub fn keep_nudged() {
    thread_local! {
        static NUDGED: Cell<Option<usize>> = const { Cell::new(None) };
    }
    let executor = glommio::executor().id();
    if NUDGED.replace(Some(executor)) != Some(executor) {
        glommio::spawn_local(be_nudged()).detach();
    }
}

async fn be_nudged() {
    static NUDGER: OnceLock<mpsc::Sender<Nudged>> = OnceLock::new();
    let is_busy = Arc::new(AtomicBool::new(true));
    let mut is_known = false;
    poll_fn(|context| {
        if !is_known {
            let nudged = Nudged { waker: context.waker().clone(), is_busy: Arc::downgrade(&is_busy) };
            NUDGER.get_or_init(start).send(nudged).expect("the nudger lives as long as the process");
            is_known = true;
        }
        let ran = glommio::executor().executor_stats().tasks_executed();
        is_busy.store(ran > TASKS_OF_A_NUDGE, Ordering::Relaxed);
        Poll::<()>::Pending
    })
    .await;
}

fn start() -> mpsc::Sender<Nudged> {
    let (sender, executors) = mpsc::channel();
    let name = "nudger".to_owned();
    thread::Builder::new().name(name).spawn(move || nudge(&executors)).expect("a thread can be made");
    sender
}

fn nudge(arriving: &mpsc::Receiver<Nudged>) {
    let fastest = Duration::from_micros(MICROSECONDS_MIN);
    let slowest = Duration::from_micros(MICROSECONDS_MAX);
    let (mut executors, mut pause) = (Vec::<Nudged>::new(), fastest);
    loop {
        match arriving.recv_timeout(pause) {
            Ok(executor) => executors.push(executor),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let mut any_is_busy = false;
        executors.retain(|executor| {
            let Some(is_busy) = executor.is_busy.upgrade() else { return false };
            any_is_busy |= is_busy.load(Ordering::Relaxed);
            executor.waker.wake_by_ref();
            true
        });
        pause = if any_is_busy { fastest } else { slowest.min(pause * 2) };
    }
}
