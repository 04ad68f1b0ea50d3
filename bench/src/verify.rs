//! Whether a run's records are what was sent: each once, none missing, in order.
//!
//! A producer numbers its records partition by partition. Whoever reads a partition sees each producer's numbers go up by
//! one; anything else is a fault, and a fault voids the run.

use std::collections::{HashMap, HashSet};
use std::fmt;

use crate::limits::FAULTS_TOLD_MAX;
use crate::stamp::Stamp;

/// A producer's records in one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Lane {
    /// Which producer.
    pub worker: u32,
    /// Which of the run's partitions.
    pub partition: u32,
}

/// Something that must not be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Numbers were passed over.
    Lost { lane: Lane, first: u64, count: u64 },
    /// A number came that had come before.
    Repeated { lane: Lane, sequence: u64 },
    /// A number came after a later one, and had not come before.
    Disordered { lane: Lane, sequence: u64 },
    /// A record that is not of this run, in a topic that only this run writes.
    Foreign { partition: u32 },
    /// Two records were acknowledged with one offset, or an offset with none.
    Offsets { partition: u32, told: String },
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { lane, first, count } => write!(
                formatter,
                "LOST: {count} record(s) of producer {} in partition {}, from number {first} on",
                lane.worker, lane.partition
            ),
            Self::Repeated { lane, sequence } => write!(
                formatter,
                "DUPLICATE: record {sequence} of producer {} in partition {} came twice",
                lane.worker, lane.partition
            ),
            Self::Disordered { lane, sequence } => write!(
                formatter,
                "OUT OF ORDER: record {sequence} of producer {} in partition {} came after a later one",
                lane.worker, lane.partition
            ),
            Self::Foreign { partition } => {
                write!(formatter, "FOREIGN: a record in partition {partition} that this run did not write")
            }
            Self::Offsets { partition, told } => write!(formatter, "OFFSETS: partition {partition}: {told}"),
        }
    }
}

/// The first faults, and how many there are.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    told: Vec<Fault>,
    count: u64,
}

impl Faults {
    /// Notes one.
    pub fn push(&mut self, fault: Fault) {
        self.count += 1;
        if self.told.len() < FAULTS_TOLD_MAX {
            self.told.push(fault);
        }
    }

    /// Takes up those of another part of the run.
    pub fn merge(&mut self, other: Self) {
        self.count += other.count;
        let room = FAULTS_TOLD_MAX - self.told.len();
        self.told.extend(other.told.into_iter().take(room));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// In plain words, a line each.
    pub fn lines(&self) -> Vec<String> {
        let mut lines: Vec<String> = self.told.iter().map(ToString::to_string).collect();
        let untold = self.count - self.told.len() as u64;
        if untold > 0 {
            lines.push(format!("and {untold} more"));
        }
        lines
    }
}

/// What one reader has seen so far.
#[derive(Clone, Debug)]
pub struct Reading {
    run: u32,
    /// Partitions whose older records may be gone: a lane begins there with the first that comes.
    from_middle: HashSet<u32>,
    /// Compaction takes records away: what is left still comes in order, each once.
    is_compacted: bool,
    lanes: HashMap<Lane, Seen>,
    /// Records of this run.
    pub records: u64,
    faults: Faults,
}

#[derive(Clone, Debug, Default)]
struct Seen {
    next: u64,
    /// Passed over so far, as ranges; a late record takes its number out.
    missing: Vec<std::ops::Range<u64>>,
    /// Older records went while it was read: the next that comes may have any later number.
    jumps: bool,
}

impl Reading {
    /// A reader of the records of `run`.
    pub fn new(run: u32) -> Self {
        Self {
            run,
            from_middle: HashSet::new(),
            is_compacted: false,
            lanes: HashMap::new(),
            records: 0,
            faults: Faults::default(),
        }
    }

    /// A reader that does not begin with the first record of these partitions: retention has deleted it, or it is left out.
    pub fn from_middle(run: u32, partitions: HashSet<u32>) -> Self {
        Self { from_middle: partitions, ..Self::new(run) }
    }

    /// A reader of topics that are compacted, or not: of their records any may be gone.
    pub fn of_compacted(self, is_compacted: bool) -> Self {
        Self { is_compacted, ..self }
    }

    /// Retention has deleted what was to be read next of `partition`; the reader goes on behind it.
    pub fn jump(&mut self, partition: u32) {
        self.from_middle.insert(partition);
        let lanes = self.lanes.iter_mut().filter(|(lane, _)| lane.partition == partition);
        lanes.for_each(|(_, seen)| seen.jumps = true);
    }

    /// A record of `partition` came.
    pub fn note(&mut self, partition: u32, stamp: Option<Stamp>) {
        let Some(stamp) = stamp.filter(|stamp| stamp.run == self.run) else {
            self.faults.push(Fault::Foreign { partition });
            return;
        };
        self.records += 1;
        let lane = Lane { worker: stamp.worker, partition };
        let sequence = stamp.sequence;
        let begin = if self.from_middle.contains(&partition) { sequence } else { 0 };
        let seen = self.lanes.entry(lane).or_insert_with(|| Seen { next: begin, ..Seen::default() });
        if sequence >= seen.next {
            if std::mem::take(&mut seen.jumps) || self.is_compacted {
                seen.next = sequence;
            }
            if sequence > seen.next {
                seen.missing.push(seen.next..sequence);
            }
            seen.next = sequence + 1;
        } else if seen.take_missing(sequence) {
            self.faults.push(Fault::Disordered { lane, sequence });
        } else {
            self.faults.push(Fault::Repeated { lane, sequence });
        }
    }

    /// Ends the reading. `sent` says how many records of each lane must be there: those that were acknowledged.
    pub fn finish(mut self, sent: &HashMap<Lane, u64>) -> Faults {
        for (lane, count) in sent {
            let may_lack_it = self.from_middle.contains(&lane.partition) && !self.lanes.contains_key(lane);
            if self.is_compacted || may_lack_it {
                continue;
            }
            let seen = self.lanes.entry(*lane).or_default();
            if seen.next < *count && !seen.jumps {
                seen.missing.push(seen.next..*count);
            }
        }
        self.faults_of_gaps()
    }

    /// Behind the last record of each lane so far.
    pub fn ends(&self) -> HashMap<Lane, u64> {
        self.lanes.iter().map(|(lane, seen)| (*lane, seen.next)).collect()
    }

    /// Ends a reading that may stop anywhere: only gaps between records that came are faults.
    pub fn finish_anywhere(self) -> Faults {
        self.faults_of_gaps()
    }

    fn faults_of_gaps(mut self) -> Faults {
        let mut lanes: Vec<(&Lane, &Seen)> = self.lanes.iter().collect();
        lanes.sort_by_key(|(lane, _)| (lane.partition, lane.worker));
        for (lane, seen) in lanes {
            for gap in &seen.missing {
                let fault = Fault::Lost { lane: *lane, first: gap.start, count: gap.end - gap.start };
                self.faults.push(fault);
            }
        }
        self.faults
    }
}

impl Seen {
    fn take_missing(&mut self, sequence: u64) -> bool {
        let Some(at) = self.missing.iter().position(|gap| gap.contains(&sequence)) else { return false };
        let gap = self.missing.swap_remove(at);
        let halves = [gap.start..sequence, sequence + 1..gap.end];
        self.missing.extend(halves.into_iter().filter(|half| !half.is_empty()));
        true
    }
}

/// What readers that came to `read` in each lane have not had of what was `sent`: the ends of lanes, and whole lanes. Gaps
/// before the end are the reading's own to tell.
pub fn unread(sent: &HashMap<Lane, u64>, read: &HashMap<Lane, u64>) -> Faults {
    let first_missing = |(lane, count): (&Lane, &u64)| {
        let first = read.get(lane).copied().unwrap_or(0);
        (first < *count).then(|| Fault::Lost { lane: *lane, first, count: count - first })
    };
    let mut faults = Faults::default();
    sent.iter().filter_map(first_missing).for_each(|fault| faults.push(fault));
    faults
}

/// The offsets that one partition's acknowledgements gave. The run is its only writer: they are dense, each given once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Offsets {
    records: u64,
    first: Option<i64>,
    last: i64,
    /// Of the first and last offset of each acknowledged batch, weighed by its records.
    sum: i128,
}

impl Offsets {
    /// `count` records from `base` on were acknowledged.
    pub fn note(&mut self, base: i64, count: u32) {
        self.records += u64::from(count);
        self.first = Some(self.first.map_or(base, |first| first.min(base)));
        let last = base + i64::from(count) - 1;
        self.last = self.last.max(last);
        self.sum += (i128::from(base) + i128::from(last)) * i128::from(count);
    }

    /// Takes up those of another worker.
    pub fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.first = match (self.first, other.first) {
            (Some(ours), Some(theirs)) => Some(ours.min(theirs)),
            (ours, theirs) => ours.or(theirs),
        };
        self.last = self.last.max(other.last);
        self.sum += other.sum;
    }

    /// With nothing open any more: whether each offset from the first to the last was given once.
    pub fn check(&self, partition: u32) -> Option<Fault> {
        let first = self.first?;
        let span = i128::from(self.last) - i128::from(first) + 1;
        let expected_sum = (i128::from(first) + i128::from(self.last)) * span;
        if span == i128::from(self.records) && self.sum == expected_sum {
            return None;
        }
        let told = format!(
            "{} records acknowledged between offsets {first} and {}, not each offset once",
            self.records, self.last
        );
        Some(Fault::Offsets { partition, told })
    }
}

#[cfg(test)]
mod tests;
