//! What is told of a data directory, piece by piece: a line for people, or a line of JSON for programs.
//!
//! The JSON's names are an interface: a name may be added, and none is changed or taken away.

use std::fmt;

use protocol::batch::Encoding;
use protocol::records::Record;
use protocol::types::Offset;
use serde::Serialize;
use serde_json::Value;
use storage::inspect::{
    Behind, Entry, EntryKind, FrameView, JournalView, Judgement, PartitionFiles, SegmentBatch, SegmentFiles,
    SegmentView, SlotView, Tail,
};

use crate::bytes_text;

/// A piece.
#[derive(Debug, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Item {
    Directory {
        path: String,
        read_only: bool,
        /// The process of the broker that runs on it.
        broker: Option<u32>,
    },
    Checkpoint {
        shards: u16,
        shard: u16,
        slot: &'static str,
        state: &'static str,
        counts: bool,
        number: Option<u64>,
        replay_from: Option<u64>,
        file: Option<u32>,
        position: Option<u64>,
        partitions: Option<usize>,
    },
    Frame {
        shard: u16,
        frame: u64,
        generation: u64,
        file: u32,
        position: u64,
        bytes: u32,
        filled: u32,
        synced_below: u64,
        entries: usize,
    },
    Entry {
        partition: String,
        entry: &'static str,
        offset: Option<i64>,
        end: Option<i64>,
        epoch: Option<i32>,
        bytes: Option<usize>,
        damaged: bool,
    },
    Journal {
        shard: u16,
        files: usize,
        frames: u64,
        next: u64,
        next_file: u32,
        next_position: u64,
        tail: &'static str,
    },
    Partition {
        partition: String,
        topic_id: Option<String>,
        retired: bool,
        segments: usize,
        start: Option<i64>,
        destaged: Option<i64>,
        cleaned: Option<i64>,
    },
    Segment {
        file: String,
    },
    Batch {
        position: u64,
        offset: i64,
        end: i64,
        epoch: i32,
        records: i32,
        bytes: Option<usize>,
        encoding: &'static str,
        compression: String,
        max_timestamp: i64,
        producer: i64,
        producer_epoch: i16,
        sequence: i32,
        transactional: bool,
        control: bool,
        /// Whether its CRC fits; none where the records were not read.
        crc_fits: Option<bool>,
    },
    Record {
        offset: i64,
        timestamp: i64,
        key: Value,
        value: Value,
        headers: usize,
    },
    SegmentEnd {
        base: i64,
        end: i64,
        batches: u64,
        filled: u64,
        /// Bytes of padding, or that can't be read.
        behind: u64,
        readable: bool,
        /// Whether what can't be read is in the journal, too.
        journaled: bool,
        offset_index: bool,
        time_index: bool,
    },
    Judged {
        partition: String,
        batches: u64,
        records: u64,
        index_entries: u64,
        faults: usize,
    },
    Fault {
        what: String,
    },
    Note {
        what: String,
    },
    Summary {
        faults: u64,
    },
}

impl Item {
    pub fn checkpoint(shards: u16, shard: u16, slot: &'static str, view: &SlotView, counts: bool) -> Self {
        let (state, valid) = match view {
            SlotView::Empty => ("empty", None),
            SlotView::Damaged => ("damaged", None),
            SlotView::Valid(checkpoint) => ("valid", Some(checkpoint)),
        };
        Self::Checkpoint {
            shards,
            shard,
            slot,
            state,
            counts,
            number: valid.map(|checkpoint| checkpoint.number),
            replay_from: valid.map(|checkpoint| checkpoint.replay_from.0),
            file: valid.map(|checkpoint| checkpoint.file),
            position: valid.map(|checkpoint| checkpoint.position),
            partitions: valid.map(|checkpoint| checkpoint.partitions.len()),
        }
    }

    pub fn frame(shard: u16, frame: &FrameView<'_>) -> Self {
        Self::Frame {
            shard,
            frame: frame.sequence.0,
            generation: frame.generation.0,
            file: frame.file,
            position: frame.position,
            bytes: frame.length_bytes,
            filled: frame.filled_bytes,
            synced_below: frame.synced_below.0,
            entries: frame.entries.len(),
        }
    }

    pub fn entry(partition: String, entry: &Entry<'_>) -> Self {
        let (name, offset, epoch) = match entry.kind {
            EntryKind::Batch { base, epoch, .. } => ("batch", Some(base), Some(epoch)),
            EntryKind::Truncate(offset) => ("truncate", Some(offset), None),
            EntryKind::LogStart(offset) => ("log_start", Some(offset), None),
            EntryKind::EpochStart(epoch, offset) => ("epoch_start", Some(offset), Some(epoch)),
            EntryKind::TopicGone => ("topic_gone", None, None),
        };
        let (end, bytes, damaged) = match entry.kind {
            EntryKind::Batch { end, bytes, is_damaged, .. } => {
                (Some(end.get()), Some(bytes.len()), is_damaged)
            }
            _ => (None, None, false),
        };
        Self::Entry {
            partition,
            entry: name,
            offset: offset.map(Offset::get),
            end,
            epoch: epoch.map(|epoch| epoch.get()),
            bytes,
            damaged,
        }
    }

    pub fn journal(shard: u16, view: &JournalView) -> Self {
        Self::Journal {
            shard,
            files: view.files.len(),
            frames: view.frames,
            next: view.next.0,
            next_file: view.next_file,
            next_position: view.next_position,
            tail: match view.tail {
                Tail::Clean => "clean",
                Tail::Torn => "torn",
            },
        }
    }

    pub fn partition(files: &PartitionFiles, known: Option<(Offset, Offset)>) -> Self {
        Self::Partition {
            partition: files.name.clone(),
            topic_id: files.topic_id.map(|id| id.text()),
            retired: files.is_retired,
            segments: files.segments.values().filter(|segment| segment.log_bytes.is_some()).count(),
            start: known.map(|(start, _)| start.get()),
            destaged: known.map(|(_, destaged)| destaged.get()),
            cleaned: files.cleaned.map(Offset::get),
        }
    }

    pub fn batch(batch: &SegmentBatch<'_>) -> Self {
        let header = batch.header;
        Self::Batch {
            position: batch.position,
            offset: header.base_offset().get(),
            end: header.next_offset().get(),
            epoch: header.leader_epoch().get(),
            records: header.record_count(),
            bytes: header.size_bytes(),
            encoding: match header.encoding() {
                Some(Encoding::Kafka) => "kafka",
                Some(Encoding::Native) => "native",
                None => "unknown",
            },
            compression: header.compression().map_or_else(|| "unknown".to_owned(), |known| known.to_string()),
            max_timestamp: header.max_timestamp().get(),
            producer: header.producer_id().get(),
            producer_epoch: header.producer_epoch().get(),
            sequence: header.base_sequence().get(),
            transactional: header.is_transactional(),
            control: header.is_control(),
            crc_fits: batch.body.map(|body| body.crc_fits),
        }
    }

    pub fn record(record: &Record<'_>) -> Self {
        Self::Record {
            offset: record.offset.get(),
            timestamp: record.timestamp.get(),
            key: bytes_text::json(record.key),
            value: bytes_text::json(record.value),
            headers: record.headers.iter().count(),
        }
    }

    pub fn segment_end(
        base: Offset,
        files: &SegmentFiles,
        view: &SegmentView,
        settled: Option<Offset>,
    ) -> Self {
        let (behind, readable) = match view.behind {
            Behind::Nothing => (0, true),
            Behind::Padding(bytes) => (bytes, true),
            Behind::Unreadable(bytes) => (bytes, false),
        };
        Self::SegmentEnd {
            base: base.get(),
            end: view.end.get(),
            batches: view.batches,
            filled: view.filled_bytes,
            behind,
            readable,
            journaled: settled.is_some_and(|settled| view.end >= settled),
            offset_index: files.offset_index_bytes.is_some(),
            time_index: files.time_index_bytes.is_some(),
        }
    }

    pub fn judged(partition: &str, judged: &Judgement) -> Self {
        Self::Judged {
            partition: partition.to_owned(),
            batches: judged.batches,
            records: judged.records,
            index_entries: judged.index_entries,
            faults: judged.findings.len(),
        }
    }
}

/// What may not be there.
fn or_none<T: fmt::Display>(known: Option<T>) -> String {
    known.map_or_else(|| "-".to_owned(), |known| known.to_string())
}

/// A line, indented by where it belongs.
impl fmt::Display for Item {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Directory { path, broker: None, .. } => write!(to, "{path}, read only"),
            Self::Directory { path, broker: Some(process), .. } => write!(
                to,
                "{path}, read only, beside a broker (process {process}): what it writes meanwhile may look torn or damaged"
            ),
            Self::Checkpoint {
                shards,
                shard,
                slot,
                state,
                counts,
                number,
                replay_from,
                file,
                position,
                partitions,
            } => {
                write!(to, "shard {shard} of {shards}, checkpoint {slot}: {state}")?;
                if let (Some(number), Some(frame), Some(file), Some(position), Some(partitions)) =
                    (number, replay_from, file, position, partitions)
                {
                    write!(
                        to,
                        ", number {number}, {partitions} partitions, replay from frame {frame} in {file:08}.journal at {position}"
                    )?;
                }
                to.write_str(if *counts { ", counts" } else { "" })
            }
            Self::Frame {
                shard,
                frame,
                generation,
                file,
                position,
                bytes,
                filled,
                synced_below,
                entries,
            } => write!(
                to,
                "  shard {shard}, frame {frame}: {file:08}.journal at {position}, {filled} of {bytes} bytes, generation {generation}, \
                 synced below {synced_below}, {entries} entries"
            ),
            Self::Entry { partition, entry, offset, end, epoch, bytes, damaged } => {
                write!(to, "    {partition}: {entry}")?;
                match (offset, end) {
                    (Some(offset), Some(end)) => write!(to, ", offsets {offset} to {end} (excluded)")?,
                    (Some(offset), None) => write!(to, ", offset {offset}")?,
                    _ => {}
                }
                if let Some(epoch) = epoch {
                    write!(to, ", epoch {epoch}")?;
                }
                if let Some(bytes) = bytes {
                    write!(to, ", {bytes} bytes")?;
                }
                to.write_str(if *damaged { ", ROTTEN" } else { "" })
            }
            Self::Journal { shard, files, frames, next, next_file, next_position, tail } => write!(
                to,
                "shard {shard}, journal: {files} files, {frames} frames to replay, its end is {tail}: frame {next} would be in \
                 {next_file:08}.journal at {next_position}"
            ),
            Self::Partition { partition, topic_id, retired, segments, start, destaged, cleaned } => {
                write!(to, "{partition}: {segments} segments, topic id {}, ", or_none(topic_id.as_ref()))?;
                write!(to, "starts at {}, destaged to {}", or_none(*start), or_none(*destaged))?;
                if let Some(cleaned) = cleaned {
                    write!(to, ", compacted to {cleaned}")?;
                }
                to.write_str(if *retired { ", on its way out" } else { "" })
            }
            Self::Segment { file } => write!(to, "  {file}"),
            Self::Batch { .. } => self.batch_line(to),
            Self::Record { offset, timestamp, key, value, headers } => {
                write!(to, "      {offset} at {timestamp}: {key} {value}, {headers} headers")
            }
            Self::SegmentEnd { .. } => self.segment_end_line(to),
            Self::Judged { partition, batches, records, index_entries, faults } => write!(
                to,
                "  {partition}: {batches} batches, {records} records, {index_entries} index entries, {faults} faults"
            ),
            Self::Fault { what } => write!(to, "FAULT {what}"),
            Self::Note { what } => write!(to, "      {what}"),
            Self::Summary { faults: 0 } => to.write_str("nothing is wrong with what was looked at"),
            Self::Summary { faults } => write!(to, "{faults} faults"),
        }
    }
}

impl Item {
    fn batch_line(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Batch { position, offset, end, epoch, records, bytes, encoding, compression, .. } = self
        else {
            panic!("it is a batch");
        };
        write!(
            to,
            "    at {position}: offsets {offset} to {end} (excluded), epoch {epoch}, {records} records, "
        )?;
        write!(to, "{} bytes, {encoding}, {compression}", or_none(*bytes))?;
        let Self::Batch { producer, producer_epoch, sequence, transactional, control, crc_fits, .. } = self
        else {
            panic!("it is a batch");
        };
        if *producer >= 0 {
            write!(to, ", producer {producer}/{producer_epoch} from {sequence}")?;
        }
        to.write_str(if *transactional { ", transactional" } else { "" })?;
        to.write_str(if *control { ", control" } else { "" })?;
        to.write_str(if *crc_fits == Some(false) { ", ROTTEN" } else { "" })
    }

    fn segment_end_line(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::SegmentEnd {
            base,
            end,
            batches,
            filled,
            behind,
            readable,
            journaled,
            offset_index,
            time_index,
        } = self
        else {
            panic!("it is a segment's end");
        };
        write!(to, "    {batches} batches from {base} to {end} (excluded) in {filled} bytes")?;
        match (behind, readable, journaled) {
            (0, ..) => {}
            (behind, true, _) => write!(to, ", {behind} of padding")?,
            (behind, false, true) => write!(to, ", {behind} that are not settled: the journal has them")?,
            (behind, false, false) => write!(to, ", {behind} that can't be read")?,
        }
        for (is_there, name) in [(offset_index, "offset index"), (time_index, "time index")] {
            if !is_there {
                write!(to, ", no {name}")?;
            }
        }
        Ok(())
    }
}
