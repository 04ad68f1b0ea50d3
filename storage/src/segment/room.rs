//! Which segments go when the disk is full: a pure plan over the partitions that may give some, for the store to make
//! durable and then to execute.

use std::collections::BinaryHeap;

use protocol::types::{Offset, Timestamp};

use super::config::LogConfig;
use super::retention::{RetentionPlan, SegmentSummary, ages_ms};

/// A partition that may give its oldest segments.
#[derive(Clone, Debug)]
pub struct RoomGiver<K> {
    /// Whatever the caller knows it by.
    pub key: K,
    /// Its segments, oldest first.
    pub segments: Vec<SegmentSummary>,
    /// The first offset that consumers may read.
    pub log_start: Offset,
    /// Nothing at or past this offset may go: it is not committed, or not destaged.
    pub committed_end: Offset,
    /// How its log is kept.
    pub config: LogConfig,
}

/// The next segment of a giver, as the heap orders them: the greatest goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    /// Nothing is written to it any more.
    is_closed: bool,
    age_ms: i64,
    giver: usize,
    segment: usize,
}

/// Plans to free so many bytes, with as few records as that takes; less where there is not so much. Each partition gives
/// its segments oldest first and without a gap; of what they offer next, the one goes whose newest record is the oldest. A
/// partition's last segment, which is written to, goes only when no partition has another one to give.
#[must_use]
pub fn plan_room<K: Copy>(
    givers: &[RoomGiver<K>],
    now: Timestamp,
    wanted_bytes: u64,
) -> Vec<(K, RetentionPlan)> {
    let ages: Vec<Vec<i64>> = givers
        .iter()
        .map(|giver| ages_ms(&giver.segments, now, giver.config.timestamp_after_max_ms))
        .collect();
    let head = |giver: usize, segment: usize| {
        let of = &givers[giver];
        let summary = of.segments.get(segment)?;
        let may_go = summary.size_bytes > 0 && summary.end <= of.committed_end;
        let is_closed = segment + 1 < of.segments.len();
        may_go.then(|| Head { is_closed, age_ms: ages[giver][segment], giver, segment })
    };
    let mut heads: BinaryHeap<Head> = (0..givers.len()).filter_map(|giver| head(giver, 0)).collect();
    let mut counts = vec![0; givers.len()];
    let mut freed_bytes = 0;
    while freed_bytes < wanted_bytes
        && let Some(Head { giver, segment, .. }) = heads.pop()
    {
        freed_bytes += givers[giver].segments[segment].size_bytes;
        counts[giver] = segment + 1;
        heads.extend(head(giver, segment + 1));
    }
    let plans = givers.iter().zip(counts).filter(|(_, count)| *count > 0).map(|(giver, count)| {
        let going = &giver.segments[..count];
        let end = going.last().map_or(Offset(0), |last| last.end);
        let segments = going.iter().map(|segment| segment.base).collect();
        (giver.key, RetentionPlan { log_start: giver.log_start.max(end), segments })
    });
    plans.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// Partitions named `a`, `b`, ... of segments of ten offsets, each `(size, age of its newest record)`.
    fn givers(partitions: &[&[(u64, i64)]]) -> Vec<RoomGiver<char>> {
        let giver = |(key, segments): (char, &&[(u64, i64)])| {
            let summary = |(number, &(size_bytes, age_ms)): (i64, &(u64, i64))| SegmentSummary {
                base: Offset(number * 10),
                end: Offset(number * 10 + if size_bytes > 0 { 10 } else { 0 }),
                size_bytes,
                max_timestamp: Some(Timestamp(NOW - age_ms)),
                index_entries: 0,
            };
            RoomGiver {
                key,
                segments: (0..).zip(*segments).map(summary).collect(),
                log_start: Offset(0),
                committed_end: Offset(i64::MAX),
                config: LogConfig { timestamp_after_max_ms: 100, ..LogConfig::default() },
            }
        };
        ('a'..).zip(partitions).map(giver).collect()
    }

    /// What goes, as `a2 b1`: how many segments of which partition.
    fn planned(givers: &[RoomGiver<char>], wanted_bytes: u64) -> String {
        let plans = plan_room(givers, Timestamp(NOW), wanted_bytes);
        for (key, plan) in &plans {
            let giver = givers.iter().find(|giver| giver.key == *key).expect("one of them");
            let bases: Vec<Offset> =
                giver.segments[..plan.segments.len()].iter().map(|segment| segment.base).collect();
            assert_eq!(plan.segments, bases, "oldest first, without a gap");
            assert_eq!(plan.log_start, giver.segments[plan.segments.len() - 1].end.max(giver.log_start));
        }
        let shown: Vec<String> =
            plans.iter().map(|(key, plan)| format!("{key}{}", plan.segments.len())).collect();
        shown.join(" ")
    }

    fn check(partitions: &[&[(u64, i64)]], wanted_bytes: u64, expected: &str) {
        assert_eq!(planned(&givers(partitions), wanted_bytes), expected, "{partitions:?} for {wanted_bytes}");
    }

    #[test]
    fn no_more_goes_than_is_wanted() {
        let two: &[&[(u64, i64)]] = &[&[(100, 9), (100, 7), (100, 5)], &[(100, 8), (100, 6), (100, 4)]];
        check(two, 0, "");
        check(two, 1, "a1");
        check(two, 100, "a1");
        check(two, 101, "a1 b1");
        check(two, 300, "a2 b1");
        check(two, 400, "a2 b2");
    }

    #[test]
    fn what_is_written_to_goes_only_when_nothing_else_is_left() {
        let two: &[&[(u64, i64)]] = &[&[(100, 900)], &[(100, 8), (100, 6), (100, 4)]];
        check(two, 200, "b2");
        check(two, 300, "a1 b2");
        check(two, 400, "a1 b3");
        check(two, u64::MAX, "a1 b3");
        check(&[&[(0, 900)], &[]], 1, "");
    }

    #[test]
    fn a_partition_gives_from_its_start_whatever_the_times_say() {
        check(&[&[(100, 1), (100, 900), (100, 0)], &[(100, 8), (100, 0)]], 100, "b1");
        check(&[&[(100, 1), (100, 900), (100, 0)], &[(100, 8), (100, 0)]], 300, "a2 b1");
        // One from the future is not believed: it is as old as the next.
        check(&[&[(100, -101), (100, 9), (100, 0)], &[(100, 8), (100, 0)]], 100, "a1");
    }

    #[test]
    fn what_is_not_committed_stays_and_holds_what_is_behind_it() {
        let mut two = givers(&[&[(100, 9), (100, 7), (100, 5)], &[(100, 8), (100, 6), (100, 4)]]);
        two[0].committed_end = Offset(19);
        assert_eq!(planned(&two, u64::MAX), "a1 b3");
        two[0].committed_end = Offset(20);
        two[1].log_start = Offset(35);
        assert_eq!(planned(&two, u64::MAX), "a2 b3");
    }
}
