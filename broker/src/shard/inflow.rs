//! How fast a shard lets producers go on while its journal fills up.
//!
//! Below half of the journal everybody goes on. Above, bytes get in at a multiple of the rate at which destaging frees the
//! journal: at that rate where three quarters are in use, faster before, slower behind, and not at all when it is full. So
//! producers are slowed to what the disk takes, not stopped in one step.
//!
//! All producers of a shard stand in one queue (a leaky bucket, with time for water): each takes as many nanoseconds as its
//! bytes cost and goes on when they have begun. How many they are and how large their requests are makes no difference.
//! The owner of the journal says what a byte costs; whichever shard has received a request takes its turn.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use smallvec::SmallVec;
use storage::store::Admission;

use crate::limits::{DESTAGE_BYTES_PER_SECOND_FIRST, INFLOW_AHEAD_MAX, INFLOW_FULL_PAUSE, INFLOW_TURN_MAX};

/// What a full journal's bytes cost: there is no turn to wait for.
const CLOSED: u64 = u64::MAX;

/// When a producer goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// At once.
    Now,
    /// After this time.
    After(Duration),
    /// When the journal has room: ask again.
    Full,
}

/// How many bytes of a request went to which shard.
#[derive(Debug, Default)]
pub struct Sent(SmallVec<[(usize, usize); 1]>);

impl Sent {
    /// So many more bytes went to a shard.
    pub fn add(&mut self, owner: usize, bytes: usize) {
        match self.0.iter_mut().find(|(shard, _)| *shard == owner) {
            Some((_, sent)) => *sent += bytes,
            None => self.0.push((owner, bytes)),
        }
    }

    /// The shards, with what went to each.
    #[must_use]
    pub fn bytes_by_shard(&self) -> &[(usize, usize)] {
        &self.0
    }

    /// The shard that all of it went to, if it is one.
    #[must_use]
    pub fn only_owner(&self) -> Option<usize> {
        if let [(owner, _)] = self.0.as_slice() { Some(*owner) } else { None }
    }
}

/// The queue before one shard's journal. Its fields order nothing: nobody reads anything else because of them.
#[derive(Debug)]
#[repr(align(64))]
pub struct Inflow {
    began: Instant,
    /// What a MiB costs, in nanoseconds; 0 where everybody goes on.
    cost: AtomicU64,
    /// When the next turn begins, in nanoseconds since `began`.
    next_turn: AtomicU64,
}

impl Inflow {
    /// The queues before the journals of so many shards, all open.
    #[must_use]
    pub fn of_shards(count: u16) -> Arc<[Self]> {
        let began = Instant::now();
        let open = |_| Self { began, cost: AtomicU64::new(0), next_turn: AtomicU64::new(0) };
        (0..count).map(open).collect()
    }

    /// Says how full the journal is, and at which rate destaging frees it. Only its owner does.
    pub fn set(&self, admission: Admission, drained: &Drained) {
        let cost = match admission {
            // A full disk is told to the client by an error, not by waiting.
            Admission::Admit | Admission::Full => 0,
            Admission::Slow(fullness) if fullness >= 1.0 => CLOSED,
            Admission::Slow(fullness) => {
                let seconds = f64::from(1 << 20) / drained.bytes_per_second;
                nanoseconds(Duration::from_secs_f64(seconds * f64::from(fullness / (1.0 - fullness))))
            }
        };
        // Others read it with each request: what stays the same is not written.
        if self.cost.load(Ordering::Relaxed) != cost {
            self.cost.store(cost, Ordering::Relaxed);
        }
    }

    /// Takes a turn for so many bytes.
    pub fn take_turn(&self, bytes: usize, now: Instant) -> Turn {
        let cost = match self.cost.load(Ordering::Relaxed) {
            0 => return Turn::Now,
            CLOSED => return Turn::Full,
            cost => cost,
        };
        let now = nanoseconds(now.saturating_duration_since(self.began));
        let taken = cost.saturating_mul(bytes as u64) >> 20;
        // Nobody waits longer than a bound, however many there are: a queue longer than that fills the journal up.
        let latest = now.saturating_add(nanoseconds(INFLOW_TURN_MAX));
        let next = |turn: u64| Some(turn.max(now).saturating_add(taken).min(latest));
        let (Ok(turn) | Err(turn)) = self.next_turn.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next);
        let wait = Duration::from_nanos(turn.saturating_sub(now));
        if wait < INFLOW_AHEAD_MAX { Turn::Now } else { Turn::After(wait) }
    }

    /// Waits for a turn for so many bytes. `pause` waits for a time, and says whether to go on; where it says no, so does
    /// this.
    pub async fn wait(&self, bytes: usize, pause: impl AsyncFn(Duration) -> bool) -> bool {
        loop {
            match self.take_turn(bytes, Instant::now()) {
                Turn::Now => return true,
                Turn::After(time) => return pause(time).await,
                Turn::Full if pause(INFLOW_FULL_PAUSE).await => {}
                Turn::Full => return false,
            }
        }
    }
}

/// The rate at which a shard's destaging frees its journal, as far as it is known.
#[derive(Debug)]
pub struct Drained {
    bytes_per_second: f64,
}

impl Default for Drained {
    fn default() -> Self {
        Self { bytes_per_second: DESTAGE_BYTES_PER_SECOND_FIRST }
    }
}

impl Drained {
    /// A round took so long for so many bytes: it counts for half, what was known for the other half.
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 52 bits")]
    pub fn note(&mut self, bytes: u64, took: Duration) {
        if bytes == 0 {
            return;
        }
        // A rate of nothing would never let anybody in again.
        let rate = bytes as f64 / took.as_secs_f64().max(1e-6);
        self.bytes_per_second = f64::midpoint(self.bytes_per_second, rate).max(f64::from(1 << 16));
    }
}

fn nanoseconds(duration: Duration) -> u64 {
    // The highest stands for a closed queue.
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).min(CLOSED - 1)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    const MIB: usize = 1 << 20;

    /// A queue before a journal that is freed at 100 MiB a second.
    fn queue(fullness: f32) -> (Arc<[Inflow]>, Instant) {
        let queues = Inflow::of_shards(1);
        let drained = Drained { bytes_per_second: 100.0 * MIB as f64 };
        queues[0].set(Admission::Slow(fullness), &drained);
        let began = queues[0].began;
        (queues, began)
    }

    /// How many bytes got in within a second, in requests of one size from so many connections.
    fn let_in(fullness: f32, connections: usize, request_bytes: usize) -> usize {
        let (queues, began) = queue(fullness);
        let end = began + Duration::from_secs(1);
        let mut wake = vec![began; connections];
        let mut bytes = 0;
        while let Some(next) = wake.iter_mut().min().filter(|next| **next < end) {
            bytes += request_bytes;
            match queues[0].take_turn(request_bytes, *next) {
                // A request takes a little time of its own, and so the clock goes on.
                Turn::Now => *next += Duration::from_nanos(10),
                Turn::After(wait) => *next += wait,
                Turn::Full => unreachable!("it is not full"),
            }
        }
        bytes / MIB
    }

    #[test]
    fn bytes_get_in_at_the_rate_of_destaging_at_three_quarters_however_they_come() {
        for (connections, request_bytes) in [(1, 1 << 10), (16, 1 << 10), (64, 1 << 10), (4, 100 << 10)] {
            let mebibytes = let_in(0.5, connections, request_bytes);
            assert!((98..=104).contains(&mebibytes), "{mebibytes} with {connections} x {request_bytes}");
        }
        assert!((295..=310).contains(&let_in(0.25, 16, 1 << 10)));
        assert!((32..=36).contains(&let_in(0.75, 16, 1 << 10)));
    }

    #[test]
    fn nobody_waits_below_half_nor_for_a_full_disk_and_all_wait_for_a_full_journal() {
        let (queues, began) = queue(1.0);
        assert_eq!(queues[0].take_turn(1, began), Turn::Full);
        for open in [Admission::Admit, Admission::Full] {
            queues[0].set(open, &Drained::default());
            for _ in 0..1000 {
                assert_eq!(queues[0].take_turn(MIB, began), Turn::Now);
            }
        }
    }

    #[test]
    fn a_turn_is_never_further_away_than_its_bound() {
        let (queues, began) = queue(0.999);
        let turns: Vec<Turn> = (0..100).map(|_| queues[0].take_turn(100 * MIB, began)).collect();
        assert_eq!(turns[0], Turn::Now, "the first has nobody before it");
        assert!(turns[1..].iter().all(|turn| *turn == Turn::After(INFLOW_TURN_MAX)));
    }

    /// Waits for a turn for so many bytes; `pause` is told how many there were before. The pauses, and whether to go on.
    fn wait(queue: &Inflow, bytes: usize, pause: impl Fn(usize) -> bool) -> (Vec<Duration>, bool) {
        let pauses = RefCell::new(Vec::new());
        let goes_on = futures_lite::future::block_on(queue.wait(bytes, async |time| {
            pauses.borrow_mut().push(time);
            pause(pauses.borrow().len() - 1)
        }));
        (pauses.into_inner(), goes_on)
    }

    #[test]
    fn a_full_journal_is_waited_for_until_it_has_room_or_the_producer_goes() {
        let (queues, _) = queue(1.0);
        assert_eq!(wait(&queues[0], MIB, |before| before < 3), (vec![INFLOW_FULL_PAUSE; 4], false));
        let frees = |before: usize| {
            if before == 2 {
                queues[0].set(Admission::Admit, &Drained::default());
            }
            true
        };
        assert_eq!(wait(&queues[0], MIB, frees), (vec![INFLOW_FULL_PAUSE; 3], true));
        assert_eq!(wait(&queues[0], MIB, |_| false), (vec![], true), "nobody waits where there is room");
    }

    #[test]
    fn a_turn_is_waited_for_once() {
        for is_there in [true, false] {
            let (queues, _) = queue(0.999);
            assert_eq!(wait(&queues[0], 100 * MIB, |_| false), (vec![], true), "it has nobody before it");
            let (pauses, goes_on) = wait(&queues[0], MIB, |_| is_there);
            assert_eq!(pauses.len(), 1);
            assert!((INFLOW_AHEAD_MAX..=INFLOW_TURN_MAX).contains(&pauses[0]), "{pauses:?}");
            assert_eq!(goes_on, is_there);
        }
    }

    #[test]
    fn the_rate_follows_what_rounds_take_and_never_becomes_nothing() {
        let mut drained = Drained::default();
        for _ in 0..20 {
            drained.note(50 << 20, Duration::from_secs(1));
        }
        assert!((drained.bytes_per_second / f64::from(50 << 20) - 1.0).abs() < 0.01);
        drained.note(0, Duration::from_secs(60));
        assert!(drained.bytes_per_second > f64::from(49 << 20), "a round without work says nothing");
        for _ in 0..100 {
            drained.note(1, Duration::from_secs(60));
        }
        assert!(drained.bytes_per_second >= f64::from(1 << 16));
    }
}
