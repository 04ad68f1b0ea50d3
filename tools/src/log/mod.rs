//! `iolite log dump`: what is in a data directory, read only: checkpoints, journals, segments, and what is wrong with them.
//!
//! The bytes are read by `storage::inspect`; here is what is asked of it, and in which order it is told. `item` is how it looks.

mod item;
mod running;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::PathBuf;

use clap::{Args, Subcommand};
use futures_lite::future::block_on;
use protocol::batch::BatchIter;
use protocol::records::RecordIter;
use protocol::types::{Offset, PartitionIndex, PartitionKey, TopicId};
use storage::disk::read_only::ReadOnlyDisk;
use storage::inspect::{
    self, Entry, EntryKind, FrameView, OpenError, PartitionFiles, SegmentBatch, SlotView,
};

use crate::exit::Exit;
use crate::failure::Failure;
use crate::limits::RECORDS_BYTES_MAX;
use crate::output::{Output, OutputArgs, count};
use item::Item;

/// Of `iolite log`.
#[derive(Debug, Args)]
pub struct LogArgs {
    #[command(subcommand)]
    command: LogCommand,
}

#[derive(Debug, Subcommand)]
enum LogCommand {
    /// Show what is in a broker's data directory, whether a broker runs on it or not: checkpoints, the journal's frames from the
    /// checkpoint on, segments and their batches. Nothing is written.
    Dump(DumpArgs),
}

#[derive(Debug, Args)]
struct DumpArgs {
    /// The broker's data directory.
    directory: PathBuf,
    /// Only this partition: TOPIC-NUMBER, or the topic's id in place of its name.
    #[arg(long, short, value_name = "TOPIC-N", value_parser = partition)]
    partition: Option<Wanted>,
    /// Records, too.
    #[arg(long)]
    records: bool,
    /// Check everything rather than show it: every CRC, that no offset is missing, that index entries point at their batches. Ends
    /// with exit code 5 where something is wrong.
    #[arg(long, conflicts_with = "records")]
    verify: bool,
    #[command(flatten)]
    output: OutputArgs,
}

/// A partition as somebody named it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wanted {
    topic: String,
    index: PartitionIndex,
}

fn partition(text: &str) -> Result<Wanted, String> {
    let parts = text.rsplit_once('-').filter(|(topic, _)| !topic.is_empty());
    let parsed = parts.and_then(|(topic, index)| Some((topic, index.parse::<u16>().ok()?)));
    let (topic, index) = parsed.ok_or("it must be TOPIC-NUMBER, like orders-0")?;
    Ok(Wanted { topic: topic.to_owned(), index: PartitionIndex(index.into()) })
}

/// Does what the command line says.
pub fn run(arguments: &LogArgs) -> Result<(), Failure> {
    let LogCommand::Dump(arguments) = &arguments.command;
    let is_there =
        ["checkpoint", "journal", "topics"].iter().any(|name| arguments.directory.join(name).is_dir());
    if !is_there {
        let what = format!("{} is no data directory of a broker", arguments.directory.display());
        return Err(Failure::new(Exit::NotFound, what).or("name the one that the broker has as --data-dir"));
    }
    let mut dump = Dump {
        arguments,
        disk: ReadOnlyDisk::new(&arguments.directory),
        output: Output::new(arguments.output),
        names: BTreeMap::new(),
        settled: BTreeMap::new(),
        gone: BTreeSet::new(),
        found: 0,
        faults: 0,
        failure: None,
    };
    let outcome = block_on(dump.all());
    // What has been found is told, whatever came then.
    dump.output.flush()?;
    outcome
}

struct Dump<'a> {
    arguments: &'a DumpArgs,
    disk: ReadOnlyDisk,
    output: Output,
    /// Topics by their ids, as far as directories tell.
    names: BTreeMap<TopicId, String>,
    /// Where each partition's log starts, and the end of what is in segments for good, by the checkpoints that count.
    settled: BTreeMap<PartitionKey, (Offset, Offset)>,
    /// Partitions that the journal tells to be deleted.
    gone: BTreeSet<PartitionKey>,
    /// How much of what was asked for is there.
    found: u64,
    faults: u64,
    /// Why nothing more can be printed.
    failure: Option<Failure>,
}

impl Dump<'_> {
    async fn all(&mut self) -> Result<(), Failure> {
        let path = self.arguments.directory.display().to_string();
        let broker = running::broker_on(&self.arguments.directory).map_err(unreadable)?;
        self.show(Item::Directory { path, read_only: true, broker });
        let partitions = inspect::partitions(&self.disk).await.map_err(unreadable)?;
        for files in &partitions {
            if let (Some(id), Some((topic, _))) = (files.topic_id, files.name.rsplit_once('-')) {
                self.names.insert(id, topic.to_owned());
            }
        }
        let shards = inspect::shards(&self.disk).await.map_err(unreadable)?;
        let mut has_checkpoints = self.has_all_shards(&shards, &partitions);
        for (shard_count, shard) in shards {
            has_checkpoints &= self.checkpoints(shard_count, shard).await?;
            self.journal(shard_count, shard).await?;
            if self.failure.is_some() {
                return self.end();
            }
        }
        for files in &partitions {
            if self.failure.is_some() {
                return self.end();
            }
            let key = key_of(files);
            if key.is_some_and(|key| self.wants(key)) || self.arguments.partition.is_none() {
                match self.partition(files, key, has_checkpoints).await {
                    // A broker is at work here.
                    Err(error) if error.kind() == ErrorKind::NotFound => {
                        let what = format!("{}: a file went away while it was looked for", files.name);
                        self.show(Item::Note { what });
                    }
                    shown => shown.map_err(unreadable)?,
                }
            }
            self.gone.extend(key.filter(|_| files.is_retired));
        }
        self.missing_directories(&partitions);
        self.end()
    }

    /// Whether some number of shards that the data is, or was, laid out for has all of them. Where none has, nobody vouches for
    /// the partitions of those that are missing: a fault, unless there are no partitions either.
    fn has_all_shards(&mut self, shards: &[(u16, u16)], partitions: &[PartitionFiles]) -> bool {
        let has_all = |count: u16| (0..count).all(|shard| shards.contains(&(count, shard)));
        let is_vouched_for = shards.iter().any(|(count, _)| has_all(*count));
        if !is_vouched_for && !partitions.is_empty() {
            self.fault("there are partitions, and shards without checkpoint and journal".to_owned());
        }
        is_vouched_for
    }

    /// Partitions with records in segments, by the checkpoints, and no directory.
    fn missing_directories(&mut self, partitions: &[PartitionFiles]) {
        let there: BTreeSet<PartitionKey> = partitions.iter().filter_map(key_of).collect();
        let lost = self.settled.iter().filter(|(key, (log_start, destaged))| {
            log_start < destaged && !there.contains(*key) && !self.gone.contains(*key) && self.wants(**key)
        });
        let lost: Vec<String> = lost
            .map(|(key, (from, end))| {
                let name = self.name(*key);
                format!("{name}: the directory of offsets {from} to {end} (excluded) is not there")
            })
            .collect();
        lost.into_iter().for_each(|what| self.fault(what));
    }

    fn end(&mut self) -> Result<(), Failure> {
        if let Some(failure) = self.failure.take() {
            return Err(failure);
        }
        if let (Some(wanted), 0) = (&self.arguments.partition, self.found) {
            let what = format!("there is nothing of partition {}-{}", wanted.topic, wanted.index);
            return Err(Failure::new(Exit::NotFound, what)
                .or("leave --partition out to see what there is; a topic without segments is known by its id alone"));
        }
        self.show(Item::Summary { faults: self.faults });
        match self.faults {
            0 => Ok(()),
            faults => {
                let what = count(usize::try_from(faults).unwrap_or(usize::MAX), "fault");
                let what = format!("{} is damaged: {what}", self.arguments.directory.display());
                Err(Failure::new(Exit::Damaged, what)
                    .or("docs/operations.md says what can be done (Trouble)"))
            }
        }
    }

    /// Shows the slots of a shard; whether one of them counts.
    async fn checkpoints(&mut self, shard_count: u16, shard: u16) -> Result<bool, Failure> {
        let slots = inspect::checkpoints(&self.disk, shard_count, shard).await.map_err(unreadable)?;
        let counting = inspect::counting(&slots);
        for (slot, view) in ["a", "b"].into_iter().zip(&slots) {
            let counts = matches!(view, SlotView::Valid(checkpoint) if Some(checkpoint) == counting);
            self.show(Item::checkpoint(shard_count, shard, slot, view, counts));
        }
        for partition in counting.iter().flat_map(|checkpoint| &checkpoint.partitions) {
            self.settled.insert(partition.key, (partition.log_start, partition.destaged));
        }
        Ok(counting.is_some())
    }

    async fn journal(&mut self, shard_count: u16, shard: u16) -> Result<(), Failure> {
        let disk = self.disk.clone();
        let mut each = |frame: &FrameView<'_>| self.frame(shard, frame);
        let outcome = inspect::shard_journal(&disk, shard_count, shard, &mut each).await;
        let view = match outcome {
            Ok(view) => view,
            Err(OpenError::Io { what, source }) => {
                return Err(Failure::new(Exit::Failed, format!("{what}: {source}")));
            }
            Err(damage) => {
                self.fault(format!("shard {shard}: {damage}"));
                return Ok(());
            }
        };
        for lost in &view.lost {
            let place = format!("{:08}.journal at {}", lost.file, lost.position);
            let (first, end) = (lost.first, lost.end);
            self.fault(format!(
                "shard {shard}: frames {first} to {end} (excluded), from {place} on, have rotted"
            ));
        }
        for (key, from, end) in &view.lost_records {
            let name = self.name(*key);
            self.fault(format!(
                "{name}: offsets {from} to {end} (excluded) were acknowledged and are in no frame"
            ));
        }
        self.show(Item::journal(shard, &view));
        Ok(())
    }

    fn frame(&mut self, shard: u16, frame: &FrameView<'_>) {
        for entry in &frame.entries {
            if entry.kind == EntryKind::TopicGone {
                self.gone.insert(entry.key);
            }
        }
        let wanted: Vec<&Entry<'_>> = frame.entries.iter().filter(|entry| self.wants(entry.key)).collect();
        if wanted.is_empty() {
            return;
        }
        self.found += 1;
        if self.arguments.verify {
            return;
        }
        self.show(Item::frame(shard, frame));
        for entry in wanted {
            self.show(Item::entry(self.name(entry.key), entry));
            if let EntryKind::Batch { bytes, is_damaged: false, .. } = entry.kind {
                self.records(bytes);
            }
        }
    }

    async fn partition(
        &mut self,
        files: &PartitionFiles,
        key: Option<PartitionKey>,
        has_checkpoints: bool,
    ) -> io::Result<()> {
        self.found += 1;
        let known = key.and_then(|key| self.settled.get(&key).copied());
        self.show(Item::partition(files, known));
        for name in files.swaps() {
            let path = files.directory().join(name);
            let what = format!(
                "{}: not looked at; a start puts it in the place of what it was compacted of",
                path.display()
            );
            self.show(Item::Note { what });
        }
        // What is on its way out is nobody's any more.
        if files.is_retired {
            return Ok(());
        }
        // A partition that no checkpoint names has all of its records in the journal.
        let (log_start, settled) = match known {
            Some((log_start, destaged)) => (log_start, Some(destaged)),
            None if has_checkpoints && key.is_some() => (Offset(0), Some(Offset(0))),
            None => (Offset(0), None),
        };
        if self.arguments.verify {
            let judged = inspect::judge(&self.disk, files, log_start, settled).await?;
            for finding in &judged.findings {
                self.fault(finding.to_string());
            }
            self.show(Item::judged(&files.name, &judged));
            return Ok(());
        }
        let disk = self.disk.clone();
        for (base, segment_files) in &files.segments {
            if segment_files.log_bytes.is_none() {
                continue;
            }
            self.show(Item::Segment { file: files.log_path(*base).display().to_string() });
            let with_bodies = self.arguments.records;
            let mut each = |batch: &SegmentBatch<'_>| {
                self.show(Item::batch(batch));
                if let Some(body) = batch.body {
                    self.records(body.bytes);
                }
            };
            let view = inspect::segment(&disk, files, *base, with_bodies, &mut each).await?;
            self.show(Item::segment_end(*base, segment_files, &view, settled));
        }
        Ok(())
    }

    /// Shows the records of a batch, where they were asked for.
    fn records(&mut self, bytes: &[u8]) {
        if !self.arguments.records {
            return;
        }
        let Some(Ok(batch)) = BatchIter::new(bytes).next() else { return };
        match batch.records(RECORDS_BYTES_MAX) {
            Ok(body) => {
                for record in RecordIter::new(&body, batch.header()) {
                    match record {
                        Ok(record) => self.show(Item::record(&record)),
                        Err(problem) => {
                            self.show(Item::Note { what: format!("a record can't be read: {problem}") })
                        }
                    }
                }
            }
            Err(problem) => self.show(Item::Note { what: format!("records can't be read: {problem}") }),
        }
    }

    fn wants(&self, key: PartitionKey) -> bool {
        let Some(wanted) = &self.arguments.partition else { return true };
        let is_named = self.names.get(&key.topic_id).is_some_and(|name| *name == wanted.topic);
        wanted.index == key.partition && (is_named || key.topic_id.text() == wanted.topic)
    }

    /// A partition's name; its topic's id stands for a name that nothing tells.
    fn name(&self, key: PartitionKey) -> String {
        let topic = self.names.get(&key.topic_id).cloned().unwrap_or_else(|| key.topic_id.text());
        format!("{topic}-{}", key.partition)
    }

    fn fault(&mut self, what: String) {
        self.faults += 1;
        self.show(Item::Fault { what });
    }

    /// Prints something, unless printing has failed before: what calls from within a walk can't end it.
    fn show(&mut self, item: Item) {
        if self.failure.is_none() {
            self.failure = self.output.item(&item).err();
        }
    }
}

/// The partition that a directory belongs to, as far as it tells.
fn key_of(files: &PartitionFiles) -> Option<PartitionKey> {
    let (_, index) = files.name.rsplit_once('-')?;
    Some(PartitionKey { topic_id: files.topic_id?, partition: PartitionIndex(index.parse().ok()?) })
}

fn unreadable(error: std::io::Error) -> Failure {
    Failure::new(Exit::Failed, format!("can't read the data directory: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn partitions_are_named_as_their_directories_are() {
        let check = |text: &str, topic: &str, index| {
            let wanted = Wanted { topic: topic.to_owned(), index: PartitionIndex(index) };
            assert_eq!(partition(text), Ok(wanted), "{text}");
        };
        check("orders-0", "orders", 0);
        check("my-topic.x-12", "my-topic.x", 12);
        check("ABEiM0RVZneImaq7zN3u_w-3", "ABEiM0RVZneImaq7zN3u_w", 3);
        for wrong in ["", "orders", "orders-", "-1", "orders-x", "orders--"] {
            assert!(partition(wrong).is_err(), "{wrong}");
        }
    }
}
