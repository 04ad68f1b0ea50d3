//! Shards are nudged from outside, so that nothing they have to do is left lying.
//!
//! glommio 0.12 arms its preemption timer before it runs tasks. A thread that loses its core just then finds the timer
//! fired before the first task ran, takes that for "nothing to run", and since a timer wakes no task it goes to sleep
//! with tasks that are ready, until something else wakes it. Where requests keep coming that is a hiccup; at a start,
//! or with one client in flight, it was for ever. A timer of the shard's own is no cure: its task can be left lying too.
//! So one thread of the process wakes a task of each shard, often while any has work, and ever less while none has.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock, Weak};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use crate::limits::{NUDGE_MICROSECONDS_MAX, NUDGE_MICROSECONDS_MIN};

/// What an executor runs between two nudges for nobody but the nudge.
const TASKS_OF_A_NUDGE: u64 = 2;

/// A shard as the thread that nudges knows it; gone when the shard is.
struct Nudged {
    waker: Waker,
    is_busy: Weak<AtomicBool>,
}

/// Runs on a shard for as long as its executor lives.
pub(super) async fn be_nudged() {
    static NUDGER: OnceLock<mpsc::Sender<Nudged>> = OnceLock::new();
    let is_busy = Arc::new(AtomicBool::new(true));
    let mut is_known = false;
    poll_fn(|context| {
        if !is_known {
            let nudged = Nudged { waker: context.waker().clone(), is_busy: Arc::downgrade(&is_busy) };
            NUDGER.get_or_init(start_nudger).send(nudged).expect("the nudger lives as long as the process");
            is_known = true;
        }
        let ran = glommio::executor().executor_stats().tasks_executed();
        is_busy.store(ran > TASKS_OF_A_NUDGE, Ordering::Relaxed);
        Poll::<()>::Pending
    })
    .await;
}

fn start_nudger() -> mpsc::Sender<Nudged> {
    let (sender, shards) = mpsc::channel();
    let name = "nudger".to_owned();
    thread::Builder::new().name(name).spawn(move || nudge(&shards)).expect("a thread can be made");
    sender
}

fn nudge(arriving: &mpsc::Receiver<Nudged>) {
    let fastest = Duration::from_micros(NUDGE_MICROSECONDS_MIN);
    let slowest = Duration::from_micros(NUDGE_MICROSECONDS_MAX);
    let (mut shards, mut pause) = (Vec::<Nudged>::new(), fastest);
    loop {
        match arriving.recv_timeout(pause) {
            Ok(shard) => shards.push(shard),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        let mut any_is_busy = false;
        shards.retain(|shard| {
            let Some(is_busy) = shard.is_busy.upgrade() else { return false };
            any_is_busy |= is_busy.load(Ordering::Relaxed);
            shard.waker.wake_by_ref();
            true
        });
        pause = if any_is_busy { fastest } else { slowest.min(pause * 2) };
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;
    use std::time::Instant;

    use super::*;
    use crate::runtime::{Queue, Signal, spawn_into, start_shard};

    /// Long enough that without nudges the shard has fallen asleep by then, time after time.
    const CONTENDED: Duration = Duration::from_secs(3);
    const DEADLINE: Duration = Duration::from_secs(60);

    /// One task that waits for other threads and for nothing else, on a core that others want as well.
    #[test]
    fn a_shard_that_loses_its_core_again_and_again_goes_on() {
        let stop = Arc::new(AtomicBool::new(false));
        let rivals: Vec<_> = (0..2).map(|_| rival(Arc::clone(&stop))).collect();
        let (done, is_done) = mpsc::channel();
        let shard = start_shard(0, Some(0), move || async move {
            let ended = Rc::new(Signal::default());
            let (over, end) = (ended.next(), Rc::clone(&ended));
            spawn_into(Queue::Latency, async move {
                let began = Instant::now();
                while began.elapsed() < CONTENDED {
                    glommio::executor().spawn_blocking(|| ()).await;
                }
                end.raise();
            });
            over.wait().await;
            done.send(()).expect("the test waits");
        });
        let went_on = is_done.recv_timeout(DEADLINE);
        stop.store(true, Ordering::Relaxed);
        went_on.expect("the shard sleeps although its tasks are ready");
        shard.expect("a thread").join().expect("the shard ends");
        rivals.into_iter().for_each(|rival| rival.join().expect("it stops"));
    }

    /// Wants the shard's core, with pauses, after each of which it gets the core at once.
    fn rival(stop: Arc<AtomicBool>) -> thread::JoinHandle<()> {
        thread::spawn(move || {
            assert!(core_affinity::set_for_current(core_affinity::CoreId { id: 0 }));
            while !stop.load(Ordering::Relaxed) {
                let began = Instant::now();
                while began.elapsed() < Duration::from_millis(2) {
                    std::hint::spin_loop();
                }
                thread::park_timeout(Duration::from_micros(700));
            }
        })
    }
}
