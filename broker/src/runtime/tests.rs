//! A shard's executor on a core that others want as well.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use super::*;

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

/// Submissions end beside a task that is always ready, one after the other.
#[test]
fn what_is_asked_of_the_ring_leaves_although_others_are_always_ready() {
    let shard = start_shard(0, None, || async {
        let is_over = Rc::new(Cell::new(false));
        let over = Rc::clone(&is_over);
        spawn_into(Queue::Latency, async move {
            while !over.get() {
                glommio::executor().yield_now().await;
            }
        });
        let submission = Submission::new().expect("a descriptor");
        for _ in 0..100 {
            submission.wait().await.expect("the ring takes it");
        }
        is_over.set(true);
    });
    shard.expect("a thread").join().expect("the shard ends");
}
