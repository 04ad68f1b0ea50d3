//! What a broker has promised about one partition, and whether what it serves keeps the promise.
//!
//! A record's value names its topic's incarnation, its partition, its producer and its number among that producer's
//! records there; the rest of the value follows from these, so that an altered record betrays itself. No I/O here: the
//! rules are tested on made-up logs below.

use std::collections::{BTreeMap, BTreeSet};

use crate::batch::Read;

/// Names one record for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stamp {
    /// Counts the topics of one name: a topic made again is another.
    pub incarnation: u32,
    /// The partition's index.
    pub partition: i32,
    /// Who wrote it.
    pub producer: u32,
    /// Which of that producer's records in this partition it is, from 0.
    pub number: u64,
}

impl Stamp {
    /// The value that this stamp, and no other, has.
    #[must_use]
    pub fn value(self) -> Vec<u8> {
        let Self { incarnation, partition, producer, number } = self;
        let mut value = format!("{incarnation}:{partition}:{producer}:{number}:").into_bytes();
        // Fibonacci hashing: sizes and bytes that look random and follow from the stamp.
        let mix = (number + 1 + u64::from(producer) * 7919).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let size = usize::try_from(mix >> 55).expect("nine bits");
        let size = if mix & 0x3f00 == 0 { size * 40 } else { size };
        value.extend(
            (0..size).map(|index| mix.to_le_bytes()[index % 8].rotate_left(u32::from(index % 3 == 0))),
        );
        value
    }

    /// Reads the stamp of a value, if the value is exactly what its stamp demands.
    #[must_use]
    pub fn of(value: &[u8]) -> Option<Self> {
        let mut parts = value.splitn(5, |byte| *byte == b':').map(|part| std::str::from_utf8(part).ok());
        let incarnation = parts.next()??.parse().ok()?;
        let partition = parts.next()??.parse().ok()?;
        let producer = parts.next()??.parse().ok()?;
        let number = parts.next()??.parse().ok()?;
        let stamp = Self { incarnation, partition, producer, number };
        (stamp.value() == value).then_some(stamp)
    }
}

/// One partition's promises.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    /// By offset, what was acknowledged there.
    acked: BTreeMap<i64, Stamp>,
    /// Every record below was acknowledged as deleted.
    deleted_below: i64,
    /// Deletion was asked for below, and may or may not have happened.
    asked_below: i64,
    /// Least bytes of values that retention must keep; none where nothing may be deleted unasked.
    retained_bytes: Option<usize>,
}

impl Ledger {
    /// The books of an empty partition of which retention may delete all but the newest `bytes` of values.
    #[must_use]
    pub fn retaining(bytes: usize) -> Self {
        Self { retained_bytes: Some(bytes), ..Self::default() }
    }

    /// The broker acknowledged `stamp` at `offset`.
    ///
    /// # Errors
    /// When it had acknowledged something else there, or the same record elsewhere in a retry.
    pub fn ack(&mut self, offset: i64, stamp: Stamp) -> Result<(), String> {
        match self.acked.insert(offset, stamp) {
            Some(other) if other != stamp => {
                Err(format!("offset {offset} acknowledged to {other:?} and to {stamp:?}"))
            }
            _ => Ok(()),
        }
    }

    /// The highest acknowledged offset, if there is one.
    #[must_use]
    pub fn last_acked(&self) -> Option<i64> {
        self.acked.last_key_value().map(|(offset, _)| *offset)
    }

    /// How many acknowledged records are on the books.
    #[must_use]
    pub fn acked_count(&self) -> usize {
        self.acked.len()
    }

    /// Records below `offset` are about to be deleted.
    pub fn ask_deletion(&mut self, offset: i64) {
        self.asked_below = self.asked_below.max(offset);
    }

    /// The broker said that the log now starts at `offset`.
    pub fn ack_deletion(&mut self, offset: i64) {
        self.deleted_below = self.deleted_below.max(offset);
    }

    /// Judges a partition served whole, from its first offset `start` to its end `end`. Forgets what was rightly deleted.
    ///
    /// # Errors
    /// With everything that is wrong.
    pub fn judge(
        &mut self,
        whose: (u32, i32),
        start: i64,
        end: i64,
        served: &[Read],
    ) -> Result<(), Vec<String>> {
        let mut wrongs = self.judge_bounds(start, end, served);
        let mut latest: BTreeMap<u32, u64> = BTreeMap::new();
        let mut found: BTreeSet<i64> = BTreeSet::new();
        for (place, record) in (start..).zip(served) {
            let offset = record.offset;
            if offset != place {
                wrongs.push(format!("offset {place} is missing: {offset} stands there"));
                break;
            }
            let Some(stamp) = Stamp::of(&record.value) else {
                wrongs.push(format!("offset {offset}: altered: {:?}", record.value));
                continue;
            };
            if (stamp.incarnation, stamp.partition) != whose {
                wrongs.push(format!("offset {offset}: {stamp:?} does not belong in {whose:?}"));
            }
            if let Some(before) = latest.insert(stamp.producer, stamp.number)
                && before >= stamp.number
            {
                wrongs.push(format!(
                    "offset {offset}: {stamp:?} comes after number {before}: twice or out of order"
                ));
            }
            match self.acked.get(&offset) {
                Some(promised) if *promised != stamp => {
                    wrongs.push(format!(
                        "offset {offset}: {promised:?} was acknowledged, {stamp:?} stands there"
                    ));
                }
                _ => {}
            }
            found.insert(offset);
        }
        self.acked = self.acked.split_off(&start);
        let lost: Vec<&i64> = self.acked.keys().filter(|offset| !found.contains(offset)).collect();
        if let (Some(first), Some(last)) = (lost.first(), lost.last()) {
            wrongs
                .push(format!("{} acknowledged records are lost, from offset {first} to {last}", lost.len()));
        }
        if wrongs.is_empty() { Ok(()) } else { Err(wrongs) }
    }

    fn judge_bounds(&self, start: i64, end: i64, served: &[Read]) -> Vec<String> {
        let mut wrongs = Vec::new();
        if start < self.deleted_below {
            wrongs.push(format!("starts at {start}, though all below {} was deleted", self.deleted_below));
        }
        if start > self.asked_below {
            let kept: usize = served.iter().map(|record| record.value.len()).sum();
            match self.retained_bytes {
                None => {
                    wrongs.push(format!("starts at {start}, though nobody deleted past {}", self.asked_below))
                }
                Some(least) if kept < least => {
                    wrongs.push(format!(
                        "starts at {start} and keeps {kept} B, less than the {least} B to be retained"
                    ));
                }
                Some(_) => {}
            }
        }
        if let Some(last) = self.last_acked()
            && end <= last
            && start <= last
        {
            wrongs.push(format!("ends at {end}, though offset {last} was acknowledged"));
        }
        wrongs
    }
}

#[cfg(test)]
mod tests;
