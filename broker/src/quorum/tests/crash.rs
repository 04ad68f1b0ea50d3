//! Power goes off at every operation of a script, whole, torn or not begun, and again while it comes back.

use super::memory::{MemoryFiles, PowerCut};
use super::*;

const TOPICS: u32 = 6;

/// What a script was promised, and what it asked for last without an answer.
#[derive(Debug, Default)]
struct Promises {
    there: Vec<u32>,
    gone: Vec<u32>,
    sequence: u64,
}

/// Makes topics, deletes every third, takes a snapshot in between; stops at the first failure.
async fn run(files: MemoryFiles, incarnation: u8) -> Promises {
    let mut promises = Promises::default();
    let Ok(quorum) = Quorum::start_on(files, NODE).await else { return promises };
    let handle = quorum.handle();
    let Ok(answer) = handle.submit(registration(incarnation)).await else { return promises };
    promises.sequence = answer.sequence;
    for number in 0..TOPICS {
        let Ok(answer) = handle.submit(create(number..number + 1, 3)).await else { return promises };
        promises.sequence = answer.sequence;
        promises.there.push(number);
        if number % 3 == 2 {
            let Ok(answer) = handle.submit(delete(number)).await else {
                promises.there.pop();
                return promises;
            };
            promises.sequence = answer.sequence;
            promises.there.pop();
            promises.gone.push(number);
        }
        if number == 3 {
            // Not awaited: the snapshot is taken while the next topics are made.
            if quorum.raft.trigger().snapshot().await.is_err() {
                return promises;
            }
        }
    }
    quorum.stop().await;
    promises
}

async fn check(files: MemoryFiles, promises: &Promises) {
    let quorum = Quorum::start_on(files, NODE).await.unwrap_or_else(|error| panic!("{promises:?}: {error}"));
    let image = quorum.handle().image();
    assert!(image.sequence() >= promises.sequence, "{promises:?} {image:?}");
    for number in &promises.there {
        let topic = image.topic(&topic_name(*number));
        assert_eq!(topic.map(|topic| topic.partitions.len()), Some(3), "{promises:?} {image:?}");
    }
    for number in &promises.gone {
        assert!(image.topic(&topic_name(*number)).is_none(), "{promises:?} {image:?}");
    }
    assert_done(&quorum.handle().submit(registration(9)).await.unwrap());
    assert_done(&quorum.handle().submit(create(100..101, 1)).await.unwrap());
    quorum.stop().await;
}

#[test]
fn what_was_answered_survives_power_loss_at_every_operation() {
    on_control_thread(async {
        let whole = MemoryFiles::default();
        let promises = run(whole.clone(), 1).await;
        assert_eq!(promises.there, [0, 1, 3, 4]);
        let operations = whole.operations();
        assert!(operations > 12, "{operations}");
        for at in 0..operations {
            for done_thousandths in [0, 1, 333, 600, 999, 1000] {
                let files = MemoryFiles::default().with_cut(PowerCut { at, done_thousandths });
                let promises = run(files.clone(), 1).await;
                check(files.restarted(), &promises).await;
            }
        }
    });
}

#[test]
fn power_loss_while_starting_again_loses_nothing_either() {
    on_control_thread(async {
        let first = MemoryFiles::default();
        let promises = run(first.clone(), 1).await;
        for at in 0..4 {
            for done_thousandths in [0, 500, 777] {
                // A torn write at the end, so that the start has something to cut.
                let files = first.with_cut(PowerCut { at, done_thousandths });
                files.change(super::super::log::LOG_FILE, |file| file.extend_from_slice(b"IOqr torn"));
                if let Ok(quorum) = Quorum::start_on(files.clone(), NODE).await {
                    drop(quorum.handle().submit(registration(2)).await);
                    quorum.stop().await;
                }
                check(files.restarted(), &promises).await;
            }
        }
    });
}

#[test]
fn a_failed_write_stops_the_quorum_and_is_told() {
    on_control_thread(async {
        let files = MemoryFiles::default().with_cut(PowerCut { at: 6, done_thousandths: 0 });
        let quorum = Quorum::start_on(files.clone(), NODE).await.unwrap();
        let handle = quorum.handle();
        let mut number = 0;
        let error = loop {
            match handle.submit(create(number..number + 1, 1)).await {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
        };
        assert!(files.is_off());
        assert_eq!(error, QuorumError::Stopped);
        assert!(quorum.failed().await.contains("power went off"), "{}", quorum.failed().await);
        assert_eq!(handle.submit(create(7..8, 1)).await, Err(QuorumError::Stopped));
    });
}
