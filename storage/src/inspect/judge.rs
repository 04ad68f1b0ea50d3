//! What is wrong with a partition's segments: what a restart, a reader or a search would stumble over.
//!
//! | what | is wrong where |
//! | --- | --- |
//! | a batch whose CRC does not fit | always |
//! | bytes that are no batch which continues the log | always |
//! | offsets that are in no batch, from the log's start on | the partition was never compacted, or that much of it not yet |
//! | a batch with fewer records than offsets | likewise |
//! | a batch that ends past the base offset of the next segment | always |
//! | an index entry that points at no batch, or at another one | always |
//! | bytes behind an index's entries that are neither entries nor padding | always |
//! | a segment's index that is not there | never: a start makes it anew |
//!
//! At and past the offset that the checkpoint vouches for nothing is wrong: all of that is in the journal, too.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::PathBuf;

use protocol::types::{Offset, Timestamp};

use crate::disk::Disk;
use crate::segment::inspect::{Behind, PartitionFiles, SegmentBatch, SegmentView, indexes, segment};

/// Something wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file or directory, below the data directory.
    pub path: PathBuf,
    /// What is wrong with it.
    pub fault: Fault,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// A batch is not what its CRC was made of.
    Crc {
        /// Where it begins in the file.
        position: u64,
        /// Its first offset.
        base: Offset,
        /// The offset behind its last.
        end: Offset,
    },
    /// What stands here is no batch that continues the log.
    Unreadable {
        /// Where it begins in the file.
        position: u64,
        /// The offset that should follow.
        offset: Offset,
    },
    /// Offsets that are in no batch.
    Missing {
        /// The first.
        from: Offset,
        /// The one behind the last.
        end: Offset,
    },
    /// A batch has offsets that the next segment has, too.
    Overlap {
        /// Where it begins in the file.
        position: u64,
        /// The offset behind its last.
        end: Offset,
        /// The base offset of the next segment.
        next: Offset,
    },
    /// A batch has fewer records than offsets, or more.
    Records {
        /// Where it begins in the file.
        position: u64,
        /// Its first offset.
        base: Offset,
        /// How many offsets it has.
        offsets: i64,
        /// How many records.
        records: i32,
    },
    /// An entry of an offset index does not point at the batch that it names.
    OffsetEntry {
        /// Which, from 0.
        number: usize,
        /// The last offset of the batch.
        offset: Offset,
        /// Where it says that this is.
        position: u64,
    },
    /// An entry of a time index names no batch that has its timestamp.
    TimeEntry {
        /// Which, from 0.
        number: usize,
        /// The last offset of the batch.
        offset: Offset,
        /// The timestamp.
        timestamp: Timestamp,
    },
    /// Something is behind an index's entries that is none.
    IndexRest,
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.path.display(), self.fault)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Crc { position, base, end } => {
                write!(
                    formatter,
                    "the batch at {position}, offsets {base} to {end} (excluded), has rotted: its CRC does not fit"
                )
            }
            Self::Unreadable { position, offset } => {
                write!(formatter, "at {position} is no batch that goes on with offset {offset}")
            }
            Self::Missing { from, end } => {
                write!(formatter, "offsets {from} to {end} (excluded) are not there")
            }
            Self::Overlap { position, end, next } => {
                write!(
                    formatter,
                    "the batch at {position} goes on to offset {end} (excluded), and the next segment begins with {next}"
                )
            }
            Self::Records { position, base, offsets, records } => {
                write!(
                    formatter,
                    "the batch at {position}, from offset {base} on, has {records} records for {offsets} offsets"
                )
            }
            Self::OffsetEntry { number, offset, position } => {
                write!(
                    formatter,
                    "entry {number} says that the batch that ends with offset {offset} is at {position}, and it is not"
                )
            }
            Self::TimeEntry { number, offset, timestamp } => {
                write!(
                    formatter,
                    "entry {number} says that the batch that ends with offset {offset} has timestamp {timestamp}, and it has not"
                )
            }
            Self::IndexRest => {
                formatter.write_str("what is behind its last entry is neither an entry nor padding")
            }
        }
    }
}

/// What was looked at, and what is wrong with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// How many batches there are.
    pub batches: u64,
    /// How many records they say that they have.
    pub records: u64,
    /// How many entries their indexes have.
    pub index_entries: u64,
    /// Everything that is wrong.
    pub findings: Vec<Finding>,
}

/// Looks at everything in a partition's segments and indexes. `log_start` and `settled` are the log's start and the end of
/// what is in segments for good, as the checkpoint that counts has them; without any, all that is there must be right.
///
/// # Errors
/// What the disk says.
pub async fn judge<D: Disk>(
    disk: &D,
    files: &PartitionFiles,
    log_start: Offset,
    settled: Option<Offset>,
) -> io::Result<Judgement> {
    let judgement = Judgement::default();
    let mut judge = Judge { files, log_start, settled, next: None, next_segment: None, judgement };
    let bases: Vec<Offset> = files
        .segments
        .iter()
        .filter(|(_, segment_files)| segment_files.log_bytes.is_some())
        .map(|(base, _)| *base)
        .collect();
    for (base, segment_files) in &files.segments {
        if segment_files.log_bytes.is_none() {
            // An index without its segment is removed by a start, and misses nobody.
            continue;
        }
        judge.next_segment = bases.get(bases.partition_point(|other| other <= base)).copied();
        let mut places = BTreeMap::new();
        let mut each = |batch: &SegmentBatch<'_>| {
            places.insert(batch.header.last_offset(), (batch.position, batch.header.max_timestamp()));
            judge.batch(*base, batch);
        };
        let view = segment(disk, files, *base, true, &mut each).await?;
        judge.end_of_segment(*base, view);
        let indexes = indexes(disk, files, *base).await?;
        judge.judgement.index_entries += count(indexes.offsets.len() + indexes.times.len());
        for (number, (offset, position)) in indexes.offsets.into_iter().enumerate() {
            let is_right = places.get(&offset).is_some_and(|(at, _)| *at == position);
            let fault = Fault::OffsetEntry { number, offset, position };
            let offset = judge.within_segment(offset);
            judge.find_unless(is_right, offset, files.offset_index_path(*base), fault);
        }
        for (number, (timestamp, offset)) in indexes.times.into_iter().enumerate() {
            let is_right = places.get(&offset).is_some_and(|(_, of_batch)| *of_batch == timestamp);
            let fault = Fault::TimeEntry { number, offset, timestamp };
            let offset = judge.within_segment(offset);
            judge.find_unless(is_right, offset, files.time_index_path(*base), fault);
        }
        let paths = [
            (indexes.offsets_are_damaged, files.offset_index_path(*base)),
            (indexes.times_are_damaged, files.time_index_path(*base)),
        ];
        for (is_damaged, path) in paths {
            // An index is written as its segment is: what is behind may be from a write that was under way.
            judge.find_unless(!is_damaged, view.end.plus(-1), path, Fault::IndexRest);
        }
    }
    judge.end_of_log();
    Ok(judge.judgement)
}

struct Judge<'a> {
    files: &'a PartitionFiles,
    log_start: Offset,
    settled: Option<Offset>,
    /// The offset that should come next; none before the first segment.
    next: Option<Offset>,
    /// The base offset of the segment behind the one that is looked at; none behind the last.
    next_segment: Option<Offset>,
    judgement: Judgement,
}

impl Judge<'_> {
    /// Notes what is wrong, unless it isn't, or is about an offset that the journal has, too.
    fn find_unless(&mut self, is_right: bool, offset: Offset, path: PathBuf, fault: Fault) {
        let counts = self.settled.is_none_or(|settled| offset < settled);
        if !is_right && counts {
            self.judgement.findings.push(Finding { path, fault });
        }
    }

    /// The offset that an entry is judged by. One that has rotted may name any: it is about none past its segment.
    fn within_segment(&self, offset: Offset) -> Offset {
        self.next_segment.map_or(offset, |next| offset.min(next.plus(-1)))
    }

    /// Offsets that are not there: wrong from the log's start on, and where nothing was compacted away.
    fn expect_dense(&mut self, end: Offset, path: PathBuf) {
        let cleaned = self.files.cleaned.unwrap_or(Offset(0));
        let from = self.next.unwrap_or(self.log_start).max(self.log_start).max(cleaned);
        let end = self.settled.map_or(end, |settled| end.min(settled));
        self.find_unless(from >= end, from, path, Fault::Missing { from, end });
    }

    fn batch(&mut self, base_of_segment: Offset, batch: &SegmentBatch<'_>) {
        let path = self.files.log_path(base_of_segment);
        let (header, position) = (batch.header, batch.position);
        let (base, end) = (header.base_offset(), header.next_offset());
        self.expect_dense(base, path.clone());
        let is_whole = batch.body.is_some_and(|body| body.crc_fits);
        self.find_unless(is_whole, base, path.clone(), Fault::Crc { position, base, end });
        if let Some(next) = self.next_segment {
            // What has rotted may say anything.
            let is_within = end <= next || !is_whole;
            self.find_unless(is_within, next, path.clone(), Fault::Overlap { position, end, next });
        }
        let offsets = end.get() - base.get();
        let records = header.record_count();
        let is_compacted = self.files.cleaned.is_some_and(|cleaned| base < cleaned);
        let is_full = i64::from(records) == offsets || is_compacted;
        // What has rotted may say anything.
        self.find_unless(
            is_full || !is_whole,
            base,
            path,
            Fault::Records { position, base, offsets, records },
        );
        self.judgement.batches += 1;
        self.judgement.records += u64::try_from(records).unwrap_or(0);
        self.next = Some(end);
    }

    fn end_of_segment(&mut self, base: Offset, view: SegmentView) {
        if let Behind::Unreadable(_) = view.behind {
            let fault = Fault::Unreadable { position: view.filled_bytes, offset: view.end };
            self.find_unless(false, view.end, self.files.log_path(base), fault);
        }
    }

    fn end_of_log(&mut self) {
        if let Some(settled) = self.settled {
            self.expect_dense(settled, self.files.directory());
        }
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).expect("usize has at most 64 bits")
}
