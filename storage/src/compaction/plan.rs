//! When a log is worth a round of compaction, and which of its segments become one.

use protocol::types::{Offset, Timestamp};

use crate::limits::{COMPACTION_SEGMENT_BYTES_MAX, INDEX_FILE_BYTES_MAX};
use crate::segment::SegmentSummary;

/// How a log is compacted: the topic's configs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionConfig {
    /// A round is worth it when more than so many millionths of the log are dirty (`min.cleanable.dirty.ratio`).
    pub dirty_millionths_min: u32,
    /// Records stay at least so long (`min.compaction.lag.ms`).
    pub lag_ms_min: i64,
    /// Records wait for a round at most so long, however little is dirty (`max.compaction.lag.ms`).
    pub lag_ms_max: i64,
    /// Tombstones stay so long after their first round (`delete.retention.ms`).
    pub delete_retention_ms: i64,
}

impl Default for CompactionConfig {
    fn default() -> Self {
        Self {
            dirty_millionths_min: 500_000,
            lag_ms_min: 0,
            lag_ms_max: i64::MAX,
            delete_retention_ms: 24 * 3600 * 1000,
        }
    }
}

/// What a plan depends on besides the segments.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CompactionInput {
    /// The clock.
    pub now: Timestamp,
    /// Up to where the log is compacted.
    pub cleaned: Offset,
    /// Nothing at or past this offset may be touched: it is not committed, not decided, or not vouched for.
    pub end_max: Offset,
    /// The earliest of the timestamps that the first batches of dirty segments have; none where none has one, or nobody needs
    /// to know.
    pub earliest_dirty_timestamp: Option<Timestamp>,
    /// The topic's limits.
    pub config: CompactionConfig,
}

/// A round that is worth it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CompactionPlan {
    /// What is dirty begins here.
    pub from: Offset,
    /// And ends here, where a segment does.
    pub end: Offset,
    /// Bytes of segments before it.
    pub clean_bytes: u64,
    /// Its bytes.
    pub dirty_bytes: u64,
    /// Something has waited for too long.
    pub is_overdue: bool,
}

impl CompactionPlan {
    /// How much of the log is dirty, in millionths.
    #[must_use]
    pub fn dirty_millionths(&self) -> u64 {
        let total = u128::from(self.clean_bytes + self.dirty_bytes).max(1);
        u64::try_from(u128::from(self.dirty_bytes) * 1_000_000 / total).expect("at most a million")
    }
}

/// The dirty segments that may be compacted, by their first offsets: a plan may want to know their first timestamps.
pub(crate) fn dirty_bases(segments: &[SegmentSummary], cleaned: Offset) -> impl Iterator<Item = Offset> {
    let closed = segments.split_last().map_or(&[][..], |(_, closed)| closed);
    closed.iter().filter(move |segment| segment.end > cleaned).map(|segment| segment.base)
}

/// Whether a round is worth it, and over what. The last segment is written to and never part of it.
#[must_use]
pub(crate) fn plan_compaction(
    segments: &[SegmentSummary],
    input: &CompactionInput,
) -> Option<CompactionPlan> {
    let CompactionInput { now, end_max, config, .. } = *input;
    let (_, closed) = segments.split_last()?;
    let from = input.cleaned.max(closed.first()?.base);
    let is_dirty = |segment: &SegmentSummary| segment.end > from;
    let is_young = |segment: &SegmentSummary| {
        let youngest_allowed = now.get().saturating_sub(config.lag_ms_min);
        config.lag_ms_min > 0 && segment.max_timestamp.is_some_and(|time| time.get() > youngest_allowed)
    };
    let touched = closed
        .iter()
        .take_while(|&segment| segment.end <= end_max && !(is_dirty(segment) && is_young(segment)));
    let (mut clean_bytes, mut dirty_bytes, mut end) = (0, 0, from);
    for segment in touched {
        if is_dirty(segment) {
            dirty_bytes += segment.size_bytes;
            end = segment.end;
        } else {
            clean_bytes += segment.size_bytes;
        }
    }
    if end == from {
        return None;
    }
    let age_ms = input.earliest_dirty_timestamp.map_or(0, |time| now.get().saturating_sub(time.get()));
    let plan = CompactionPlan { from, end, clean_bytes, dirty_bytes, is_overdue: age_ms > config.lag_ms_max };
    let is_worth_it = plan.dirty_millionths() > u64::from(config.dirty_millionths_min);
    (is_worth_it || plan.is_overdue).then_some(plan)
}

/// Segments that become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) base: Offset,
    pub(super) end: Offset,
    pub(super) segments: usize,
    pub(super) bytes: u64,
}

/// Groups the segments of a round: neighbours, as many as fit in one segment by what they hold now.
pub(super) fn plan_groups(
    segments: &[SegmentSummary],
    mapped_end: Offset,
    plan_end: Offset,
    segment_bytes: u64,
) -> Vec<Group> {
    let bytes_max = segment_bytes.min(COMPACTION_SEGMENT_BYTES_MAX);
    let entries_max = INDEX_FILE_BYTES_MAX / 16;
    let mut groups: Vec<Group> = Vec::new();
    let mut entries = 0;
    for segment in segments.iter().take_while(|one| one.base < mapped_end && one.end <= plan_end) {
        entries += u64::from(segment.index_entries);
        let fits = |group: &Group| {
            let is_near = i32::try_from(segment.end.since(group.base)).is_ok();
            is_near && group.bytes + segment.size_bytes <= bytes_max && entries <= entries_max
        };
        match groups.last_mut() {
            Some(group) if fits(group) => {
                group.end = segment.end;
                group.segments += 1;
                group.bytes += segment.size_bytes;
            }
            _ => {
                let (base, end, bytes) = (segment.base, segment.end, segment.size_bytes);
                groups.push(Group { base, end, segments: 1, bytes });
                entries = u64::from(segment.index_entries);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// Segments of ten offsets, each `(size, max timestamp)`; the last one is active.
    fn segments(parts: &[(u64, i64)]) -> Vec<SegmentSummary> {
        (0..)
            .zip(parts)
            .map(|(number, &(size_bytes, timestamp))| SegmentSummary {
                base: Offset(number * 10),
                end: Offset(number * 10 + 10),
                size_bytes,
                max_timestamp: Some(Timestamp(timestamp)),
                index_entries: 1,
            })
            .collect()
    }

    fn input(cleaned: i64) -> CompactionInput {
        CompactionInput {
            now: Timestamp(NOW),
            cleaned: Offset(cleaned),
            end_max: Offset(i64::MAX),
            earliest_dirty_timestamp: None,
            config: CompactionConfig::default(),
        }
    }

    /// From, end, clean and dirty bytes.
    fn check(parts: &[(u64, i64)], input: &CompactionInput, expected: Option<(i64, i64, u64, u64)>) {
        let plan = plan_compaction(&segments(parts), input);
        let shown = plan.map(|plan| (plan.from.get(), plan.end.get(), plan.clean_bytes, plan.dirty_bytes));
        assert_eq!(shown, expected, "{parts:?} {input:?}");
    }

    const FOUR: [(u64, i64); 4] = [(100, 1), (100, 2), (100, 3), (100, 4)];

    #[test]
    fn the_active_segment_is_never_touched() {
        check(&[], &input(0), None);
        check(&FOUR[..1], &input(0), None);
        check(&FOUR, &input(0), Some((0, 30, 0, 300)));
    }

    #[test]
    fn enough_must_be_dirty() {
        check(&FOUR, &input(10), Some((10, 30, 100, 200)));
        check(&FOUR, &input(20), None);
        check(&FOUR, &input(30), None);
        check(&[(100, 1), (100, 2), (100, 3)], &input(10), None);
        check(&[(100, 1), (101, 2), (100, 3)], &input(10), Some((10, 20, 100, 101)));
        let config = CompactionConfig { dirty_millionths_min: 0, ..CompactionConfig::default() };
        check(&FOUR, &CompactionInput { config, ..input(20) }, Some((20, 30, 200, 100)));
    }

    #[test]
    fn a_round_that_ended_inside_of_a_segment_goes_on_there() {
        check(&FOUR, &input(5), Some((5, 30, 0, 300)));
        check(&FOUR, &input(15), Some((15, 30, 100, 200)));
    }

    #[test]
    fn nothing_undecided_is_touched() {
        check(&FOUR, &CompactionInput { end_max: Offset(29), ..input(0) }, Some((0, 20, 0, 200)));
        check(&FOUR, &CompactionInput { end_max: Offset(9), ..input(0) }, None);
    }

    #[test]
    fn young_records_wait() {
        let parts = [(100, 1), (100, NOW - 50), (100, 3), (100, 4)];
        let lag = |lag_ms_min| CompactionInput {
            config: CompactionConfig { lag_ms_min, ..CompactionConfig::default() },
            ..input(0)
        };
        check(&parts, &lag(50), Some((0, 30, 0, 300)));
        check(&parts, &lag(51), Some((0, 10, 0, 100)));
        let clean = CompactionInput { cleaned: Offset(20), ..lag(51) };
        let clean =
            CompactionInput { config: CompactionConfig { dirty_millionths_min: 0, ..clean.config }, ..clean };
        check(&parts, &clean, Some((20, 30, 200, 100)));
    }

    #[test]
    fn what_has_waited_too_long_is_compacted_however_little_it_is() {
        let config = CompactionConfig { lag_ms_max: 50, ..CompactionConfig::default() };
        for (age_ms, expected) in [(50, None), (51, Some((20, 30, 200, 100)))] {
            let earliest_dirty_timestamp = Some(Timestamp(NOW - age_ms));
            check(&FOUR, &CompactionInput { config, earliest_dirty_timestamp, ..input(20) }, expected);
        }
        let dirty = |cleaned| dirty_bases(&segments(&FOUR), Offset(cleaned)).collect::<Vec<_>>();
        assert_eq!(dirty(5), [Offset(0), Offset(10), Offset(20)]);
        assert_eq!(dirty(20), [Offset(20)]);
        assert_eq!(dirty(30), []);
        assert_eq!(dirty_bases(&[], Offset(0)).next(), None);
    }

    #[test]
    fn neighbours_that_fit_become_one_segment() {
        let ends = |mapped: i64, plan: i64, segment_bytes| -> Vec<(i64, usize)> {
            plan_groups(&segments(&FOUR), Offset(mapped), Offset(plan), segment_bytes)
                .iter()
                .map(|group| (group.end.get(), group.segments))
                .collect()
        };
        assert_eq!(ends(30, 30, 1000), [(30, 3)]);
        assert_eq!(ends(30, 30, 200), [(20, 2), (30, 1)]);
        assert_eq!(ends(30, 30, 50), [(10, 1), (20, 1), (30, 1)]);
        assert_eq!(ends(11, 30, 1000), [(20, 2)], "the segment that the table ends in, too");
        assert_eq!(ends(10, 30, 1000), [(10, 1)]);
    }
}
