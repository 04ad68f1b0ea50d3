//! Which segments may go: a pure plan, for the store to make durable and then to execute.

use protocol::types::{Offset, Timestamp};

use super::config::LogConfig;

/// A segment as retention sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentSummary {
    /// Its first offset.
    pub base: Offset,
    /// The offset after its last one.
    pub end: Offset,
    /// The length of its batches.
    pub size_bytes: u64,
    /// The largest timestamp of its records; none where they have none.
    pub max_timestamp: Option<Timestamp>,
    /// How many entries its offset index has.
    pub index_entries: u32,
}

/// What a plan depends on besides the segments.
#[derive(Clone, Copy, Debug)]
pub struct RetentionInput {
    /// The clock.
    pub now: Timestamp,
    /// The first offset that consumers may read.
    pub log_start: Offset,
    /// Nothing at or past this offset may go: it is not committed, or not destaged.
    pub committed_end: Offset,
    /// Bytes of the partition that are not in segments yet.
    pub tail_bytes: u64,
    /// The topic's limits.
    pub config: LogConfig,
}

/// What goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionPlan {
    /// The log's start from then on.
    pub log_start: Offset,
    /// Base offsets of the segments to remove, oldest first.
    pub segments: Vec<Offset>,
}

impl RetentionPlan {
    /// Whether nothing is to be done.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }
}

/// Plans one round. Always the oldest segments, without a gap: those that are
/// - wholly before the log's start, or
/// - older than `retention_ms`, by the largest timestamp of their records, or
/// - more than `retention_bytes` without them.
///
/// The last segment goes too, as in Kafka, when it is not empty and a rule fits it.
///
/// A timestamp may be wrong: one record from the year 2100 must not keep its segment until then. What lies further in
/// the future than the topic allows is not believed, nor is the lack of a timestamp: then the segment is at least as
/// old as the one after it, and the last one is new.
#[must_use]
pub fn plan_retention(segments: &[SegmentSummary], input: &RetentionInput) -> RetentionPlan {
    let RetentionInput { now, log_start, committed_end, tail_bytes, config } = *input;
    let ages_ms = ages_ms(segments, now, config.timestamp_after_max_ms);
    let total: u64 = segments.iter().map(|segment| segment.size_bytes).sum();
    let mut left_bytes = total + tail_bytes;
    let mut plan = RetentionPlan { log_start, segments: Vec::new() };
    for (segment, age_ms) in segments.iter().zip(ages_ms) {
        if segment.size_bytes == 0 || segment.end > committed_end {
            break;
        }
        let before_start = segment.end <= log_start;
        let too_old = config.retention_ms.is_some_and(|retention_ms| age_ms > retention_ms);
        let without = left_bytes - segment.size_bytes;
        let too_much = config.retention_bytes.is_some_and(|retention_bytes| without >= retention_bytes);
        if !(before_start || too_old || too_much) {
            break;
        }
        left_bytes = without;
        plan.segments.push(segment.base);
        plan.log_start = plan.log_start.max(segment.end);
    }
    plan
}

/// How old each segment is, by the largest believed timestamp of its records.
pub(super) fn ages_ms(segments: &[SegmentSummary], now: Timestamp, after_max_ms: i64) -> Vec<i64> {
    let latest_believed = now.get().saturating_add(after_max_ms);
    let mut age_ms = 0;
    let mut ages_ms: Vec<i64> = segments
        .iter()
        .rev()
        .map(|segment| {
            let believed =
                segment.max_timestamp.filter(|timestamp| (0..=latest_believed).contains(&timestamp.get()));
            if let Some(timestamp) = believed {
                age_ms = now.get() - timestamp.get();
            }
            age_ms
        })
        .collect();
    ages_ms.reverse();
    ages_ms
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// Segments of ten offsets, each `(size, max timestamp)`; -1 for no timestamp.
    fn check(
        segments: &[(u64, i64)],
        retention_ms: Option<i64>,
        retention_bytes: Option<u64>,
        log_start: i64,
        expected: usize,
    ) {
        let summaries: Vec<SegmentSummary> = (0..)
            .zip(segments)
            .map(|(number, &(size_bytes, timestamp))| SegmentSummary {
                base: Offset(number * 10),
                end: Offset(number * 10 + if size_bytes > 0 { 10 } else { 0 }),
                size_bytes,
                max_timestamp: Some(Timestamp(timestamp)).filter(|timestamp| timestamp.get() >= 0),
                index_entries: 0,
            })
            .collect();
        let config =
            LogConfig { retention_ms, retention_bytes, timestamp_after_max_ms: 100, ..LogConfig::default() };
        let committed_end = summaries.last().expect("at least one").end;
        let input = RetentionInput {
            now: Timestamp(NOW),
            log_start: Offset(log_start),
            committed_end,
            tail_bytes: 0,
            config,
        };
        let plan = plan_retention(&summaries, &input);
        assert_eq!(
            plan.segments.len(),
            expected,
            "{segments:?} {retention_ms:?} {retention_bytes:?} {log_start}"
        );
        let end = expected.checked_sub(1).map_or(Offset(0), |last| summaries[last].end);
        assert_eq!(plan.log_start, end.max(Offset(log_start)));
        if let Some(last) = expected.checked_sub(1) {
            let held = RetentionInput { committed_end: summaries[last].end.plus(-1), ..input };
            assert_eq!(plan_retention(&summaries, &held).segments.len(), last, "what is not committed stays");
        }
    }

    #[test]
    fn without_limits_nothing_goes() {
        check(&[(100, 1), (100, 2), (100, 3)], None, None, 0, 0);
    }

    #[test]
    fn by_time_the_oldest_go() {
        check(&[(100, NOW - 60), (100, NOW - 50), (100, NOW)], Some(49), None, 0, 2);
        check(&[(100, NOW - 60), (100, NOW - 50), (100, NOW)], Some(50), None, 0, 1);
        check(&[(100, NOW - 60), (100, NOW), (100, NOW - 70)], Some(50), None, 0, 1);
        check(&[(100, NOW), (100, NOW - 60), (100, NOW - 60)], Some(50), None, 0, 0);
    }

    #[test]
    fn the_last_segment_goes_when_it_is_old_and_not_empty() {
        check(&[(100, NOW - 60), (100, NOW - 60)], Some(50), None, 0, 2);
        check(&[(100, NOW - 60), (0, -1)], Some(50), None, 0, 1);
        check(&[(0, -1)], Some(50), Some(0), 0, 0);
    }

    #[test]
    fn a_record_from_the_future_does_not_hold_up_retention() {
        let future = NOW * 1000;
        check(&[(100, future), (100, NOW - 60), (100, NOW)], Some(50), None, 0, 2);
        check(&[(100, NOW - 70), (100, future), (100, NOW - 60), (100, NOW)], Some(50), None, 0, 3);
        check(&[(100, future), (100, future), (100, NOW - 40)], Some(50), None, 0, 0);
        check(&[(100, i64::MAX), (100, NOW - 60), (100, NOW)], Some(50), None, 0, 2);
    }

    #[test]
    fn a_record_in_the_allowed_future_is_believed() {
        check(&[(100, NOW + 100), (100, NOW - 60), (100, NOW)], Some(50), None, 0, 0);
    }

    #[test]
    fn segments_without_timestamps_are_as_old_as_the_next_one() {
        check(&[(100, -1), (100, -1), (100, NOW - 60), (100, NOW)], Some(50), None, 0, 3);
        check(&[(100, -1), (100, -1)], Some(50), None, 0, 0);
    }

    #[test]
    fn by_size_what_is_left_is_not_below_the_limit() {
        check(&[(100, 1), (100, 1), (100, 1)], None, Some(300), 0, 0);
        check(&[(100, 1), (100, 1), (100, 1)], None, Some(250), 0, 0);
        check(&[(100, 1), (100, 1), (100, 1)], None, Some(200), 0, 1);
        check(&[(100, 1), (100, 1), (100, 1)], None, Some(150), 0, 1);
        check(&[(100, 1), (100, 1), (100, 1)], None, Some(0), 0, 3);
    }

    #[test]
    fn segments_before_the_log_start_go() {
        check(&[(100, 1), (100, 1), (100, 1)], None, None, 9, 0);
        check(&[(100, 1), (100, 1), (100, 1)], None, None, 10, 1);
        check(&[(100, 1), (100, 1), (100, 1)], None, None, 25, 2);
    }
}
