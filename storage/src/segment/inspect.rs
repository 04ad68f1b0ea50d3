//! Looking at a partition's segments and indexes as they lie there: nothing is opened as a log, cut or rebuilt. The face of
//! it is [`crate::inspect`].

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use protocol::batch::BatchHeader;
use protocol::types::{Offset, Timestamp, TopicId};

use super::index::{OffsetEntry, Rest, TimeEntry, read_valid};
use super::names::{
    CLEANED_FILE, FileKind, IDENTITY_FILE, TOPICS_DIRECTORY, file_name, is_retired, parse_file_name,
    parse_identity, parse_swap_name,
};
use super::replace::parse_cleaned;
use super::walk::{self, PADDING, Step, Walk};
use crate::batch::BatchView;
use crate::disk::{Disk, DiskFile, OpenMode};
use crate::limits::{BUFFER_ALIGN_BYTES, SEGMENT_WALK_BYTES};

/// What is in a partition's directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionFiles {
    /// The directory's name: topic and partition, or `~` and more where it is on its way out.
    pub name: String,
    /// Whether it is on its way out.
    pub is_retired: bool,
    /// Whose it is; none where nothing says so.
    pub topic_id: Option<TopicId>,
    /// Its segments by their base offsets, and indexes that have lost theirs.
    pub segments: BTreeMap<Offset, SegmentFiles>,
    /// Up to where it is compacted, as far as that is noted; none where it never was.
    pub cleaned: Option<Offset>,
    /// Files that are none of all these.
    pub others: Vec<String>,
}

/// The sizes of a segment's files; none for one that is not there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentFiles {
    /// The segment.
    pub log_bytes: Option<u64>,
    /// Its offset index.
    pub offset_index_bytes: Option<u64>,
    /// Its time index.
    pub time_index_bytes: Option<u64>,
}

impl PartitionFiles {
    /// The directory, below the data directory.
    #[must_use]
    pub fn directory(&self) -> PathBuf {
        Path::new(TOPICS_DIRECTORY).join(&self.name)
    }

    /// The file of a segment, below the data directory.
    #[must_use]
    pub fn log_path(&self, base: Offset) -> PathBuf {
        self.path(base, FileKind::Log)
    }

    /// The file of its offset index.
    #[must_use]
    pub fn offset_index_path(&self, base: Offset) -> PathBuf {
        self.path(base, FileKind::OffsetIndex)
    }

    /// The file of its time index.
    #[must_use]
    pub fn time_index_path(&self, base: Offset) -> PathBuf {
        self.path(base, FileKind::TimeIndex)
    }

    /// The names of compacted segments that a start puts in the place of others, and which nobody reads before.
    pub fn swaps(&self) -> impl Iterator<Item = &str> {
        self.others.iter().map(String::as_str).filter(|name| parse_swap_name(name).is_some())
    }

    fn path(&self, base: Offset, kind: FileKind) -> PathBuf {
        self.directory().join(file_name(base, kind))
    }
}

/// All directories of partitions, by name.
///
/// # Errors
/// What the disk says.
pub async fn partitions<D: Disk>(disk: &D) -> io::Result<Vec<PartitionFiles>> {
    let mut found = Vec::new();
    for entry in disk.list_sized(Path::new(TOPICS_DIRECTORY)).await? {
        if entry.is_directory {
            found.push(partition(disk, entry.name).await?);
        }
    }
    Ok(found)
}

async fn partition<D: Disk>(disk: &D, name: String) -> io::Result<PartitionFiles> {
    let mut files = PartitionFiles {
        is_retired: is_retired(&name),
        name,
        topic_id: None,
        segments: BTreeMap::new(),
        cleaned: None,
        others: Vec::new(),
    };
    let directory = files.directory();
    for entry in disk.list_sized(&directory).await? {
        if let Some((base, kind)) = parse_file_name(&entry.name) {
            let segment = files.segments.entry(base).or_default();
            *match kind {
                FileKind::Log => &mut segment.log_bytes,
                FileKind::OffsetIndex => &mut segment.offset_index_bytes,
                FileKind::TimeIndex => &mut segment.time_index_bytes,
            } = Some(entry.size_bytes);
            continue;
        }
        let content = match entry.name.as_str() {
            IDENTITY_FILE | CLEANED_FILE => {
                let file = disk.open(&directory.join(&entry.name), OpenMode::Read).await?;
                file.read_at(0, BUFFER_ALIGN_BYTES).await?
            }
            _ => {
                files.others.push(entry.name);
                continue;
            }
        };
        match entry.name.as_str() {
            IDENTITY_FILE => files.topic_id = parse_identity(&content),
            _ => files.cleaned = Some(parse_cleaned(&content).unwrap_or(Offset(0))),
        }
    }
    Ok(files)
}

/// A batch of a segment.
#[derive(Debug)]
pub struct SegmentBatch<'a> {
    /// Where it begins in the file.
    pub position: u64,
    /// Its header.
    pub header: &'a BatchHeader,
    /// All of it, where that was asked for.
    pub body: Option<BatchBytes<'a>>,
}

/// All of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchBytes<'a> {
    /// Header and records.
    pub bytes: &'a [u8],
    /// Whether they are what its CRC was made of.
    pub crc_fits: bool,
}

/// A segment, walked through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentView {
    /// How many batches it has.
    pub batches: u64,
    /// The offset behind the last.
    pub end: Offset,
    /// How many bytes they take.
    pub filled_bytes: u64,
    /// What is behind them.
    pub behind: Behind,
}

/// What is behind the last batch of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behind {
    /// Nothing.
    Nothing,
    /// So many bytes of padding, as in a segment that is being written.
    Padding(u64),
    /// So many bytes that are no batch which continues it.
    Unreadable(u64),
}

/// Walks through a segment, header by header; `each` gets every batch, in order, with all its bytes where `with_bodies`.
///
/// # Errors
/// What the disk says.
pub async fn segment<D: Disk>(
    disk: &D,
    files: &PartitionFiles,
    base: Offset,
    with_bodies: bool,
    each: &mut dyn FnMut(&SegmentBatch<'_>),
) -> io::Result<SegmentView> {
    let file = disk.open(&files.log_path(base), OpenMode::Read).await?;
    let size_bytes = file.size_bytes().await?;
    // Where it ends is what is asked: no offset is too high.
    let whole = walk::SegmentView { base, end: Offset(i64::MAX), size_bytes };
    let mut walk = Walk::new(&file, 0, whole, SEGMENT_WALK_BYTES);
    let mut batches = 0;
    while let Step::Batch { position, place } = walk.next().await? {
        let length = match with_bodies {
            true => usize::try_from(place.size_bytes).expect("a batch's length is positive and has 32 bits"),
            false => super::header::HEADER_BYTES,
        };
        let bytes: Bytes = walk.bytes(position, length).await?;
        // A file that is cut meanwhile ends here.
        let Some(header) = BatchHeader::from_prefix(&bytes).filter(|_| bytes.len() == length) else { break };
        batches += 1;
        let body = with_bodies.then(|| {
            let crc_fits = BatchView::first(&bytes).is_some_and(BatchView::crc_fits);
            BatchBytes { bytes: &bytes, crc_fits }
        });
        each(&SegmentBatch { position, header, body });
    }
    let filled_bytes = walk.position();
    let rest = size_bytes - filled_bytes;
    let is_short = usize::try_from(rest).is_ok_and(|rest| rest < BUFFER_ALIGN_BYTES);
    let behind = match rest {
        0 => Behind::Nothing,
        rest if is_short => {
            let content = file.read_at(filled_bytes, BUFFER_ALIGN_BYTES).await?;
            match content.iter().all(|&byte| byte == PADDING) {
                true => Behind::Padding(rest),
                false => Behind::Unreadable(rest),
            }
        }
        rest => Behind::Unreadable(rest),
    };
    Ok(SegmentView { batches, end: walk.offset(), filled_bytes, behind })
}

/// The entries of a segment's two indexes, as far as they are in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes {
    /// The last offset of a batch, and its position.
    pub(crate) offsets: Vec<(Offset, u64)>,
    /// The largest timestamp so far, and the last offset of its batch.
    pub(crate) times: Vec<(Timestamp, Offset)>,
    /// Whether something is behind the offset index's entries that is no padding.
    pub(crate) offsets_are_damaged: bool,
    /// Likewise of the time index.
    pub(crate) times_are_damaged: bool,
}

/// Reads both indexes of a segment; one that is not there has no entries.
pub(crate) async fn indexes<D: Disk>(disk: &D, files: &PartitionFiles, base: Offset) -> io::Result<Indexes> {
    let mut found = Indexes::default();
    let there = files.segments.get(&base).copied().unwrap_or_default();
    if there.offset_index_bytes.is_some() {
        let file = disk.open(&files.offset_index_path(base), OpenMode::Read).await?;
        let (entries, rest) = read_valid(&file, |_: &OffsetEntry| true).await?;
        let entry = |entry: &OffsetEntry| {
            let position = u64::try_from(entry.position).unwrap_or(u64::MAX);
            (entry_offset(base, entry.relative_offset), position)
        };
        found.offsets = entries.iter().map(entry).collect();
        found.offsets_are_damaged = rest != Rest::Nothing;
    }
    if there.time_index_bytes.is_some() {
        let file = disk.open(&files.time_index_path(base), OpenMode::Read).await?;
        let (entries, rest) = read_valid(&file, |_: &TimeEntry| true).await?;
        let entry = |entry: &TimeEntry| (entry.timestamp, entry_offset(base, entry.relative_offset));
        found.times = entries.iter().map(entry).collect();
        found.times_are_damaged = rest != Rest::Nothing;
    }
    Ok(found)
}

/// The offset that an index entry names. A file's name may say anything, and no batch has the last offset of all.
fn entry_offset(base: Offset, relative: i32) -> Offset {
    Offset(base.get().saturating_add(i64::from(relative)))
}
