//! Between turns: a contender begins when the disk has written what the turn of another has left behind.
//!
//! What the kernel's page cache holds back is written first, since it would be written in the middle of somebody's turn otherwise;
//! then the disk, and what brokers say of their work in the background, must stand still. Bounded: who is never quiet is not waited
//! for, and the result says so.

use std::fs::File;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use client::executor::interrupt;

use crate::machine::DiskWrites;
use crate::report::Settled;
use crate::target::{Counters, Target};

/// Standing still for so long is being quiet.
const QUIET_TIME: Duration = Duration::from_secs(1);
/// What a quiet disk may write meanwhile: filesystems and logs are never quite silent.
const QUIET_BYTES_MAX: u64 = 1 << 20;
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// What has been done so far, at one moment.
#[derive(Clone, Debug, Default)]
struct Look {
    written_bytes: u64,
    /// Of each broker.
    background: Vec<Counters>,
}

/// Whether things stand still, look by look.
#[derive(Debug)]
struct Stillness {
    since: Instant,
    first: Look,
}

impl Stillness {
    fn begin(now: Instant, look: Look) -> Self {
        Self { since: now, first: look }
    }

    /// Whether it has been quiet for long enough by now.
    fn is_reached(&mut self, now: Instant, look: Look) -> bool {
        let written = look.written_bytes.saturating_sub(self.first.written_bytes);
        let pairs = || self.first.background.iter().zip(&look.background);
        if written > QUIET_BYTES_MAX || !pairs().all(|(before, after)| after.is_still_as(before)) {
            (self.since, self.first) = (now, look);
        }
        now.duration_since(self.since) >= QUIET_TIME
    }
}

/// Has what was written to `directory` put on its disk, and waits until that disk and the brokers are quiet, but no longer than `time_max`.
pub fn settle(
    directory: Option<&Path>,
    disk: &DiskWrites,
    targets: &[&Target],
    time_max: Duration,
) -> anyhow::Result<Settled> {
    let began = Instant::now();
    let ended = |is_quiet| Settled { seconds: began.elapsed().as_secs_f64(), is_quiet };
    if let Some(directory) = directory
        && !write_back(directory, began + time_max)?
    {
        return Ok(ended(false));
    }
    let look = || Look {
        written_bytes: disk.bytes(),
        background: targets.iter().map(|target| target.counters()).collect(),
    };
    let mut stillness = Stillness::begin(Instant::now(), look());
    while began.elapsed() < time_max {
        unless_interrupted()?;
        std::thread::park_timeout(LOOK_INTERVAL);
        if stillness.is_reached(Instant::now(), look()) {
            return Ok(ended(true));
        }
    }
    Ok(ended(false))
}

/// Has the page cache of a directory's filesystem written; false where that takes longer.
fn write_back(directory: &Path, deadline: Instant) -> anyhow::Result<bool> {
    let failed = || format!("the filesystem of {} can't be synced", directory.display());
    let file = File::open(directory).with_context(failed)?;
    let (done, is_done) = mpsc::channel();
    // A sync can't be called off: one that takes too long goes on while nobody waits for it any more.
    std::thread::spawn(move || done.send(nix::unistd::syncfs(file)));
    loop {
        unless_interrupted()?;
        match is_done.recv_timeout(LOOK_INTERVAL) {
            Ok(outcome) => return outcome.map(|()| true).with_context(failed),
            Err(RecvTimeoutError::Timeout) if Instant::now() < deadline => {}
            Err(RecvTimeoutError::Timeout) => return Ok(false),
            Err(RecvTimeoutError::Disconnected) => bail!(failed()),
        }
    }
}

fn unless_interrupted() -> anyhow::Result<()> {
    if interrupt::was_asked() { Err(anyhow::anyhow!("interrupted")) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks at these moments (in milliseconds), each with what was written (in KiB) and destaged by then; the moment at which it is quiet.
    fn check(looks: &[(u64, u64, u64)], quiet_at: Option<u64>) {
        let begin = Instant::now();
        let look = |kib: u64, destaged| Look {
            written_bytes: kib << 10,
            background: vec![Counters { destaged_bytes: Some(destaged), ..Counters::default() }],
        };
        let mut stillness = Stillness::begin(begin, look(0, 0));
        let found = looks.iter().find(|(at, written, destaged)| {
            stillness.is_reached(begin + Duration::from_millis(*at), look(*written, *destaged))
        });
        assert_eq!(found.map(|(at, ..)| *at), quiet_at, "{looks:?}");
    }

    #[test]
    fn a_second_without_writes_is_quiet() {
        check(&[(500, 0, 0), (999, 0, 0), (1_000, 0, 0)], Some(1_000));
    }

    #[test]
    fn a_little_is_always_written() {
        check(&[(500, 600, 0), (1_000, 1_024, 0)], Some(1_000));
    }

    #[test]
    fn what_is_written_begins_the_wait_anew() {
        check(&[(500, 1_025, 0), (1_000, 1_025, 0), (1_499, 1_025, 0), (1_500, 1_025, 0)], Some(1_500));
        check(&[(900, 2_000, 0), (1_800, 4_000, 0), (2_700, 6_000, 0)], None);
    }

    #[test]
    fn a_broker_at_work_in_the_background_is_not_quiet() {
        check(&[(500, 0, 1), (1_000, 0, 1), (1_500, 0, 1)], Some(1_500));
        check(&[(900, 0, 1), (1_800, 0, 2), (2_700, 0, 3)], None);
    }

    #[test]
    fn the_filesystem_of_a_directory_is_synced() {
        let far = Instant::now() + Duration::from_hours(1);
        assert!(write_back(Path::new(env!("CARGO_MANIFEST_DIR")), far).expect("it is a directory"));
        assert!(write_back(Path::new("/nowhere/at/all"), far).is_err());
    }
}
