//! What was written to a stream's topics, and how it is held against what can be read of them.

use std::collections::HashMap;

use crate::load::{self, Layout, LoadError, RoundOutcome};
use crate::measure::grouped;
use crate::verify::{Lane, Offsets};
use crate::workload::Stream;

/// Of a stream that holds more than about so much, only the newest records are read back, and the report says so.
const AUDIT_BYTES_MAX: u64 = 4 << 30;

/// What one stream has had acknowledged since its topics were made.
#[derive(Default)]
pub struct Written {
    pub layout: Layout,
    pub backlog_ends: Vec<i64>,
    pub bytes: u64,
    sent: HashMap<Lane, u64>,
    offsets: HashMap<u32, Offsets>,
    /// Something was written that no group read along.
    is_to_be_read_back: bool,
}

impl Written {
    /// Nothing so far, to these topics.
    pub fn to(layout: Layout) -> Self {
        Self { layout, ..Self::default() }
    }

    /// Whether nothing was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.offsets.is_empty()
    }

    /// Takes down what a round has written to `stream`, which is its `number`-th.
    pub fn take(&mut self, stream: &Stream, outcome: &RoundOutcome, number: usize) {
        let acknowledged = outcome.acknowledged(number);
        self.is_to_be_read_back |= !acknowledged.is_empty() && outcome.streams[number].followed.is_empty();
        self.sent.extend(acknowledged);
        for (partition, offsets) in outcome.offsets(number) {
            self.offsets.entry(*partition).or_default().merge(offsets);
        }
        let records: u64 = acknowledged.values().sum();
        self.bytes = self.bytes.saturating_add(records.saturating_mul(stream.record.value_bytes.mean()));
    }
}

/// What checking the records of a contender has shown, from topics to topics.
#[derive(Debug, Default)]
pub struct Checked {
    read_back: u64,
    left_out: u64,
    deleted: u64,
    has_offsets: bool,
    /// Why it was not to the end.
    cut_reason: Option<String>,
}

impl Checked {
    /// From now on nothing is checked any more.
    pub fn cut(&mut self, why: impl Into<String>) {
        self.cut_reason.get_or_insert_with(|| why.into());
    }

    /// Reads a stream of a run back, where no group did, and holds it against what was acknowledged; the faults, in words.
    pub fn check(&mut self, run: u32, stream: &Stream, written: &Written) -> Result<Vec<String>, LoadError> {
        let of_offsets = |(partition, offsets): (&u32, &Offsets)| offsets.check(*partition);
        let mut faults: Vec<String> =
            written.offsets.iter().filter_map(of_offsets).map(|fault| fault.to_string()).collect();
        self.has_offsets |= !written.offsets.is_empty();
        if written.is_to_be_read_back {
            let records_max = AUDIT_BYTES_MAX / stream.record.value_bytes.mean().max(1);
            let audit = load::audit(&written.layout, run, &written.sent, stream.is_compacted(), records_max)?;
            self.read_back += audit.records;
            self.left_out += audit.left_out;
            self.deleted += audit.deleted;
            faults.extend(audit.faults.lines());
        }
        Ok(faults)
    }

    /// In words, where no fault was found. `was_read_along`: by groups, as far as there were any.
    pub fn told(&self, was_read_along: bool) -> String {
        if let Some(why) = &self.cut_reason {
            return format!("not checked to the end: {why}");
        }
        let mut told = Vec::new();
        if self.has_offsets {
            told.push("offsets of all acknowledgements are dense, each given once".to_owned());
        }
        if was_read_along {
            told.push("records were checked as they were read along, none that was sent is missing".into());
        }
        if self.read_back > 0 {
            told.push(format!("{} records were read back and checked", grouped(self.read_back)));
        }
        if self.deleted > 0 {
            told.push(format!("{} older ones were deleted by retention", grouped(self.deleted)));
        }
        if self.left_out > 0 {
            told.push(format!(
                "{} older ones were left out (of each stream and turn, 4 GiB are read back)",
                grouped(self.left_out)
            ));
        }
        told.join("; ")
    }
}
