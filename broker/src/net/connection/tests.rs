//! What the sweep takes for a client that dawdles.

use std::time::{Duration, Instant};

use super::{Intake, Patience, Seen};
use crate::limits::{FRAME_PROGRESS_BYTES_MIN, FRAME_PROGRESS_SECONDS, FRAME_PROGRESS_SHORT_BYTES_MIN};

/// A script of sweeps, one a second: what the reader is at, and bytes received in all.
fn slow_at(is_short: bool, sweeps: impl IntoIterator<Item = (Intake, u64)>) -> Option<usize> {
    let begin = Instant::now();
    let mut seen = Seen::new(begin);
    let patience =
        Patience { idle_max: Duration::MAX, is_request_memory_short: is_short, is_reply_memory_short: false };
    sweeps.into_iter().enumerate().find_map(|(second, (intake, received))| {
        let now = begin + Duration::from_secs(second as u64);
        seen.is_receiving_slowly(now, intake, received, &patience).then_some(second)
    })
}

const FRAME: Intake = Intake::Receiving(0);

#[test]
fn a_frame_that_does_not_go_on_is_given_up() {
    let seconds = usize::try_from(FRAME_PROGRESS_SECONDS).expect("few");
    assert_eq!(slow_at(false, (0..100).map(|_| (FRAME, 4))), Some(seconds));
    assert_eq!(slow_at(false, (0..100).map(|second| (FRAME, second * 100))), Some(seconds), "a dribble");
}

#[test]
fn a_slow_line_is_no_dawdler() {
    let enough = FRAME_PROGRESS_BYTES_MIN / FRAME_PROGRESS_SECONDS + 1;
    assert_eq!(slow_at(false, (0..1000).map(|second| (FRAME, second * enough))), None);
}

#[test]
fn while_others_wait_for_memory_more_is_asked() {
    let enough = FRAME_PROGRESS_SHORT_BYTES_MIN;
    assert_eq!(slow_at(true, (0..100).map(|second| (FRAME, second * enough))), None);
    assert_eq!(slow_at(true, (0..100).map(|second| (FRAME, second * (enough - 1)))), Some(1));
}

#[test]
fn who_waits_for_memory_or_has_begun_another_frame_is_not_to_blame() {
    assert_eq!(slow_at(true, (0..100).map(|_| (Intake::Waiting, 4))), None);
    assert_eq!(slow_at(true, (0..100).map(|_| (Intake::Idle, 4))), None);
    assert_eq!(slow_at(true, (0..100).map(|second| (Intake::Receiving(second), second))), None);
}
