//! The two indexes of a segment, in Kafka's format: entries of fixed length, big-endian, in ascending order.
//!
//! Offset index:
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 4 | last offset of a batch, less the segment's base offset |
//! | 4 | 4 | position of that batch in the segment |
//!
//! Time index:
//!
//! | at | bytes | field |
//! | --- | --- | --- |
//! | 0 | 8 | the largest timestamp of all batches so far |
//! | 8 | 4 | last offset of the batch that has it, less the segment's base offset |
//!
//! While a segment is written to, its index files are padded with zeros to whole blocks. An index in memory
//! ([`Index`]) holds at most the entries of its last, unfinished group of blocks: all before are in the file.

use std::io;

use protocol::types::Timestamp;

use super::names::FileKind;
use crate::disk::DiskFile;
use crate::limits::{BUFFER_ALIGN_BYTES, INDEX_FILE_BYTES_MAX};

#[cfg(test)]
mod tests;

/// An entry of either index.
pub(super) trait Entry: Copy + std::fmt::Debug + PartialEq {
    const BYTES: usize;
    const KIND: FileKind;
    /// So many entries fill whole blocks.
    const GROUP: u32;

    fn encode(self, bytes: &mut Vec<u8>);

    /// `bytes` are as long as an entry.
    fn decode(bytes: &[u8]) -> Self;

    /// Whether it may stand behind another one.
    fn follows(self, earlier: Self) -> bool;

    fn relative_offset(self) -> i32;

    /// The timestamp, in an index that has them.
    fn timestamp(self) -> Option<Timestamp>;
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct OffsetEntry {
    pub(super) relative_offset: i32,
    pub(super) position: i32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct TimeEntry {
    pub(super) timestamp: Timestamp,
    pub(super) relative_offset: i32,
}

impl Entry for OffsetEntry {
    const BYTES: usize = 8;
    const KIND: FileKind = FileKind::OffsetIndex;
    const GROUP: u32 = 512;

    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.relative_offset.to_be_bytes());
        bytes.extend_from_slice(&self.position.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        let (offset, position) = bytes.split_at(4);
        Self {
            relative_offset: i32::from_be_bytes(fixed(offset)),
            position: i32::from_be_bytes(fixed(position)),
        }
    }

    fn follows(self, earlier: Self) -> bool {
        self.relative_offset > earlier.relative_offset && self.position > earlier.position
    }

    fn relative_offset(self) -> i32 {
        self.relative_offset
    }

    fn timestamp(self) -> Option<Timestamp> {
        None
    }
}

impl Entry for TimeEntry {
    const BYTES: usize = 12;
    const KIND: FileKind = FileKind::TimeIndex;
    const GROUP: u32 = 1024;

    fn encode(self, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.timestamp.get().to_be_bytes());
        bytes.extend_from_slice(&self.relative_offset.to_be_bytes());
    }

    fn decode(bytes: &[u8]) -> Self {
        let (timestamp, offset) = bytes.split_at(8);
        Self {
            timestamp: Timestamp(i64::from_be_bytes(fixed(timestamp))),
            relative_offset: i32::from_be_bytes(fixed(offset)),
        }
    }

    fn follows(self, earlier: Self) -> bool {
        self.timestamp > earlier.timestamp && self.relative_offset > earlier.relative_offset
    }

    fn relative_offset(self) -> i32 {
        self.relative_offset
    }

    fn timestamp(self) -> Option<Timestamp> {
        Some(self.timestamp)
    }
}

const _: () = assert!((OffsetEntry::GROUP as usize * OffsetEntry::BYTES).is_multiple_of(BUFFER_ALIGN_BYTES));
const _: () = assert!((TimeEntry::GROUP as usize * TimeEntry::BYTES).is_multiple_of(BUFFER_ALIGN_BYTES));

fn fixed<const LENGTH: usize>(bytes: &[u8]) -> [u8; LENGTH] {
    bytes.try_into().expect("the caller cuts entries at their length")
}

/// An index as far as it is in memory.
#[derive(Debug)]
pub(super) struct Index<E> {
    count: u32,
    /// How many of them are in the file.
    written: u32,
    /// The entries from `tail_start` on; all of them, up to `count`.
    tail: Vec<E>,
    tail_start: u32,
}

/// What is to be written so that the file holds all entries.
pub(super) struct IndexWrite {
    pub(super) position: u64,
    pub(super) bytes: Vec<u8>,
    count: u32,
}

/// Where a search goes on.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found<E> {
    Entry(E),
    /// Among so many first entries in the file.
    InFile(u32),
    Nothing,
}

impl<E: Entry> Index<E> {
    pub(super) fn new() -> Self {
        Self::in_file(0)
    }

    /// An index that is in its file, with so many entries.
    pub(super) fn in_file(count: u32) -> Self {
        Self { count, written: count, tail: Vec::new(), tail_start: count }
    }

    /// An index of which the first `written` entries are in the file.
    pub(super) fn of(entries: &[E], written: u32) -> Self {
        let count = u32::try_from(entries.len()).expect("an index is bounded");
        assert!(written <= count);
        let tail_start = group_start::<E>(written);
        Self { count, written, tail: entries[as_index(tail_start)..].to_vec(), tail_start }
    }

    pub(super) fn count(&self) -> u32 {
        self.count
    }

    pub(super) fn unwritten_count(&self) -> u32 {
        self.count - self.written
    }

    /// The length of the file with all entries and no padding.
    pub(super) fn file_bytes(&self) -> u64 {
        u64::from(self.count) * as_u64(E::BYTES)
    }

    /// The entry range that must be read from the file before entries can be added; none when it is in memory.
    pub(super) fn missing_tail(&self) -> Option<(u32, u32)> {
        let start = group_start::<E>(self.count);
        (self.tail_start > start).then_some((start, self.tail_start))
    }

    pub(super) fn load_tail(&mut self, entries: Vec<E>) {
        assert!(self.tail.is_empty());
        assert_eq!(self.written, self.count);
        self.tail_start -= u32::try_from(entries.len()).expect("at most a group");
        assert_eq!(self.tail_start, group_start::<E>(self.count));
        self.tail = entries;
    }

    /// Gives back the memory; everything must be in the file.
    pub(super) fn unload_tail(&mut self) {
        assert_eq!(self.written, self.count);
        self.tail = Vec::new();
        self.tail_start = self.count;
    }

    pub(super) fn push(&mut self, entry: E) {
        assert_eq!(self.missing_tail(), None);
        assert!(entry.relative_offset() >= 0);
        if let Some(last) = self.tail.last() {
            assert!(entry.follows(*last), "{entry:?} after {last:?}");
        }
        self.tail.push(entry);
        self.count += 1;
    }

    /// What to write; none where the file has it all.
    pub(super) fn plan_write(&self) -> Option<IndexWrite> {
        if self.unwritten_count() == 0 {
            return None;
        }
        let start = group_start::<E>(self.written);
        assert!(start >= self.tail_start);
        let mut bytes = Vec::new();
        self.tail[as_index(start - self.tail_start)..].iter().for_each(|entry| entry.encode(&mut bytes));
        Some(IndexWrite { position: u64::from(start) * as_u64(E::BYTES), bytes, count: self.count })
    }

    /// The write is done; groups that are full need no memory any more.
    pub(super) fn finish_write(&mut self, write: &IndexWrite) {
        assert!(write.count > self.written);
        assert!(write.count <= self.count);
        self.written = write.count;
        let start = group_start::<E>(self.written);
        self.tail.drain(..as_index(start - self.tail_start));
        self.tail_start = start;
        assert_eq!(self.tail.len(), as_index(self.count - self.tail_start));
    }

    /// The last entry that fulfils a condition which no entry fulfils after one that doesn't.
    pub(super) fn find_last(&self, condition: impl Fn(&E) -> bool) -> Found<E> {
        let fulfilling = self.tail.partition_point(condition);
        match (fulfilling.checked_sub(1), self.tail_start) {
            (Some(last), _) => Found::Entry(self.tail[last]),
            (None, 0) => Found::Nothing,
            (None, in_file) => Found::InFile(in_file),
        }
    }
}

fn group_start<E: Entry>(count: u32) -> u32 {
    count - count % E::GROUP
}

/// As [`Index::find_last`], among the first `count` entries in the file. None, too, where the file does not have them:
/// then it is damaged, and a search from the segment's beginning finds everything.
pub(super) async fn find_last_in_file<E: Entry, F: DiskFile>(
    file: &F,
    count: u32,
    condition: impl Fn(&E) -> bool,
) -> io::Result<Option<E>> {
    // The groups before `low` begin with an entry that fulfils the condition, those from `high` on do not.
    let (mut low, mut high) = (0, count.div_ceil(E::GROUP));
    let mut best: Option<Vec<E>> = None;
    while low < high {
        let middle = low + (high - low) / 2;
        let start = middle * E::GROUP;
        let group: Vec<E> = read_entries(file, start, (start + E::GROUP).min(count)).await?;
        match group.first() {
            Some(first) if condition(first) => {
                low = middle + 1;
                best = Some(group);
            }
            _ => high = middle,
        }
    }
    // The best group is the last one that begins with a fulfilling entry: the searched one is in it.
    Ok(best.and_then(|group| group.into_iter().take_while(|entry| condition(entry)).last()))
}

/// Some entries of a file; fewer where the file ends.
pub(super) async fn read_entries<E: Entry, F: DiskFile>(file: &F, from: u32, to: u32) -> io::Result<Vec<E>> {
    let length = as_index(to - from) * E::BYTES;
    let bytes = file.read_at(u64::from(from) * as_u64(E::BYTES), length).await?;
    Ok(bytes.chunks_exact(E::BYTES).map(E::decode).collect())
}

/// Whether entries may stand in an index as they are.
pub(super) fn in_order<E: Entry>(entries: &[E]) -> bool {
    let first_fits = entries.first().is_none_or(|first| first.relative_offset() >= 0);
    first_fits && entries.is_sorted_by(|earlier, later| later.follows(*earlier))
}

/// What an index file holds behind its valid entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Rest {
    /// Nothing, or padding.
    #[default]
    Nothing,
    /// Something that is to go.
    Excess,
    /// Something that cannot be told from damage.
    Damage,
}

/// The entries of a whole file, from the first on, as long as they are in order and `keep` wants them.
pub(super) async fn read_valid<E: Entry, F: DiskFile>(
    file: &F,
    keep: impl Fn(&E) -> bool,
) -> io::Result<(Vec<E>, Rest)> {
    let size = file.size_bytes().await?;
    if size > INDEX_FILE_BYTES_MAX {
        return Ok((Vec::new(), Rest::Damage));
    }
    let bytes = file.read_at(0, usize::try_from(size).expect("bounded above")).await?;
    Ok(parse_valid(&bytes, keep))
}

/// The entries at the beginning of an index that are in order and to be kept, and what is behind them.
pub(super) fn parse_valid<E: Entry>(bytes: &[u8], keep: impl Fn(&E) -> bool) -> (Vec<E>, Rest) {
    let mut entries: Vec<E> = Vec::new();
    let mut rest = bytes;
    while let Some((first, behind)) = rest.split_at_checked(E::BYTES) {
        let entry = E::decode(first);
        let in_order = match entries.last() {
            Some(last) => entry.follows(*last),
            None => entry.relative_offset() >= 0 && rest.iter().any(|&byte| byte != 0),
        };
        if !in_order {
            break;
        }
        if !keep(&entry) {
            return (entries, Rest::Excess);
        }
        entries.push(entry);
        rest = behind;
    }
    let rest = if rest.iter().all(|&byte| byte == 0) { Rest::Nothing } else { Rest::Damage };
    (entries, rest)
}

fn as_index(count: u32) -> usize {
    usize::try_from(count).expect("32 bits fit")
}

fn as_u64(value: usize) -> u64 {
    u64::try_from(value).expect("usize has at most 64 bits")
}
