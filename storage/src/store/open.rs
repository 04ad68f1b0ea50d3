//! Opening: checkpoints, replay, a new generation. What is decided here is decided in [`crate::recovery`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use protocol::types::Offset;
use rustc_hash::FxHashMap;

use super::compact::Vouched;
use super::errors::{OpenError, StoreError, While};
use super::state::{Partition, State, lives_from};
use super::types::{
    Damage, LostRecords, PartitionSpec, Recovered, RecoveredPartition, RecoveryObserver, StoreOptions,
};
use super::{ShardStore, Shared};
use crate::checkpoint::{self, Checkpoint, Life, ReplayFrom, slots};
use crate::disk::{Disk, DiskFile};
use crate::journal::collector::Collector;
use crate::journal::frame::{FRAME_HEADER_BYTES, FrameFront, front_bytes};
use crate::journal::replay::{FoundFrame, ReplayFile, Replayed, replay};
use crate::journal::ring::{self, FrameLocation, Ring};
use crate::journal::window::Window;
use crate::journal::{FrameSequence, Generation};
use crate::limits::OPEN_CONCURRENT_MAX;
use crate::recovery::{Choice, Recovery, choose};
use crate::segment::{OpenFiles, PartitionLog, SegmentError, TOPICS_DIRECTORY, partition_directory};
use crate::tail::{Frame, Tail};
use crate::wait::{Notify, Turnstile, for_each_concurrent};

impl<D: Disk> ShardStore<D> {
    /// Opens the store of a shard: what was acked in earlier lives is there again. Its time is bounded by the
    /// journal's size, not by the data's.
    ///
    /// # Errors
    /// See [`OpenError`]. Nothing that was acked is lost by a failed attempt.
    pub async fn open(
        disk: D,
        options: StoreOptions,
        live: Vec<PartitionSpec>,
        observer: &mut dyn RecoveryObserver,
    ) -> Result<(Self, Recovered), OpenError> {
        options.assert_sane();
        let directory = ring::directory(options.shard, options.shard_count);
        make_directories(&disk, &directory, &checkpoint::directory(options.shard_count))
            .await
            .opening("making directories")?;
        let mut files =
            ring::open_files(&disk, &directory, options.sync_method).await.opening("opening the journal")?;
        let is_new = files.is_empty();
        if is_new {
            let size = options.journal_first_file_bytes.min(options.journal_file_bytes);
            let file = ring::create_file(&disk, &directory, 0, size, options.sync_method)
                .await
                .opening("making the journal's first file")?;
            files.push((0, file, size));
        }
        let before = choose_checkpoint(&disk, options.shard_count, options.shard, &files).await?;
        // A layout that was just made has a checkpoint and no journal yet; any other has lost it.
        if is_new && before.replay_from.sequence > FrameSequence(0) {
            return Err(OpenError::JournalMissing {
                shard: options.shard,
                file: before.replay_from.location.file,
            });
        }
        let mut replay = replay_journal(&options, &files, &before, &live).await?;
        let open_files = OpenFiles::new(disk.clone(), options.open_files_max);
        let logs = open_logs(&open_files, &live, &mut replay).await?;
        let is_damaged = !replay.damage.is_empty();
        if is_damaged && !options.accept_damage {
            return Err(OpenError::Damaged(Box::new(replay.damage)));
        }
        let checkpoint = begin_life(&disk, &before, replay.end.next.sequence).await?;
        let (mut state, recovered) = assemble(options, files, checkpoint, replay, live.iter().zip(logs));
        make_start_room(&disk, &directory, &mut state).await?;
        let shared = Shared {
            disk,
            state: RefCell::new(state),
            listener: RefCell::new(None),
            writer_wanted: Notify::default(),
            synced: Notify::default(),
            has_writer: Cell::new(false),
            files: open_files,
            destaging: Turnstile::default(),
            retaining: Turnstile::default(),
            room_wanted: Notify::default(),
        };
        shared.measure_room().await.map_err(|error| opening("asking for free space", error))?;
        shared.observe(observer).await?;
        let store = Self { shared: Rc::new(shared) };
        if is_damaged {
            // What is damaged is left behind for good: the next restart begins after it.
            store.destage_all().await.map_err(|error| opening("leaving damaged frames behind", error))?;
            let replay_from = store.shared.state.borrow().replay_from;
            store
                .shared
                .checkpoint(replay_from)
                .await
                .map_err(|error| opening("writing a checkpoint", error))?;
        }
        Ok((store, recovered))
    }
}

/// Makes a file where a crash left a journal that is full. It is short, so that the reserve has room for it; where there is
/// none at all, what is left in the journal must do.
async fn make_start_room<D: Disk>(disk: &D, directory: &Path, state: &mut State<D>) -> Result<(), OpenError> {
    let Some(number) = state.ring.missing_file() else { return Ok(()) };
    let size = state.options.journal_first_file_bytes.min(state.options.journal_file_bytes);
    match ring::create_file(disk, directory, number, size, state.options.sync_method).await {
        Ok(file) => state.ring.add(number, file, size),
        Err(error) if StoreError::passing(&error).is_some() => {
            tracing::warn!(%error, "no room for a new file of a journal that is nearly full");
        }
        Err(error) => return Err(error).opening("making room in a full journal"),
    }
    Ok(())
}

fn opening(what: &str, error: StoreError) -> OpenError {
    OpenError::Io { what: what.to_owned(), source: std::io::Error::other(error) }
}

async fn make_directories<D: Disk>(disk: &D, journal: &Path, checkpoints: &Path) -> std::io::Result<()> {
    for directory in [journal, checkpoints, Path::new(TOPICS_DIRECTORY)] {
        if disk.exists(directory).await? {
            continue;
        }
        disk.create_directory(directory).await?;
        for parent in directory.ancestors().skip(1) {
            disk.sync_directory(parent).await?;
        }
    }
    Ok(())
}

/// The checkpoint to begin with: the one that counts, or the one before all others.
pub(crate) async fn choose_checkpoint<D: Disk>(
    disk: &D,
    shard_count: u16,
    shard: u16,
    files: &[(u32, D::File, u64)],
) -> Result<Checkpoint, OpenError> {
    let a = slots::read(disk, shard, shard_count, 0).await.opening("reading a checkpoint")?;
    let b = slots::read(disk, shard, shard_count, 1).await.opening("reading a checkpoint")?;
    let mut has_frames = false;
    for (_, file, _) in files {
        let head = file.read_at(0, FRAME_HEADER_BYTES).await.opening("reading the journal")?;
        has_frames |= front_bytes(&head).is_some();
    }
    match choose(a, b, has_frames) {
        Choice::Refuse => Err(OpenError::CheckpointsDamaged { shard }),
        Choice::Checkpoint(found) => {
            let file = found.replay_from.location.file;
            if files.iter().any(|(number, ..)| *number == file) {
                Ok(found)
            } else {
                Err(OpenError::JournalMissing { shard, file })
            }
        }
        Choice::Fresh => {
            let file = files.first().map_or(0, |(number, ..)| *number);
            let location = FrameLocation { file, position: 0 };
            Ok(Checkpoint {
                number: 0,
                shard,
                shard_count,
                replay_from: ReplayFrom { location, ..ReplayFrom::default() },
                lives: vec![Life { generation: Generation(0), first: FrameSequence(0) }],
                partitions: Vec::new(),
            })
        }
    }
}

/// What the journal says.
struct Replay {
    end: Replayed,
    /// Where the frames lie, in order.
    places: Vec<(FrameSequence, FrameLocation, u32)>,
    recovery: Recovery,
    tail: Tail,
    damage: Damage,
}

async fn replay_journal<F: DiskFile>(
    options: &StoreOptions,
    files: &[(u32, F, u64)],
    before: &Checkpoint,
    live: &[PartitionSpec],
) -> Result<Replay, OpenError> {
    let from = before.replay_from;
    let mut recovery = Recovery::new(live.iter().map(|spec| spec.key), before.partitions.clone());
    let mut tail = Tail::new(from.sequence, options.tail_cache_bytes);
    let replay_files: Vec<_> = files
        .iter()
        .map(|(number, file, size_bytes)| ReplayFile { number: *number, file, size_bytes: *size_bytes })
        .collect();
    let mut places = Vec::new();
    let mut sink = |found: FoundFrame, bytes: Bytes| {
        let sequence = found.front.identity.sequence;
        places.push((sequence, found.location, found.front.length_bytes));
        tail.skip_lost(sequence);
        recovery.frame(&found);
        // A copy: the slice would keep the whole piece that was read in memory.
        let bytes = Bytes::copy_from_slice(&bytes);
        let FrameFront { length_bytes, crc, .. } = found.front;
        tail.push(sequence, Frame::new(found.location, length_bytes, crc, bytes, Vec::new()));
        tail.evict(sequence);
    };
    let end = replay(&replay_files, options.shard, &before.lives, from, &mut sink)
        .await
        .opening("replaying the journal")?;
    recovery.finish();
    // What was found may be in the device's cache only, from a write whose sync was not reached. It counts from now
    // on, so it must not vanish any more.
    for (_, file, _) in files.iter().filter(|(number, ..)| end.files.contains(number)) {
        file.sync().await.opening("syncing the journal")?;
    }
    let damage = damage(&recovery, &end, live);
    Ok(Replay { end, places, recovery, tail, damage })
}

fn damage(recovery: &Recovery, end: &Replayed, live: &[PartitionSpec]) -> Damage {
    let mut records = Vec::new();
    for spec in live {
        let Some(partition) = recovery.partitions.get(&spec.key) else { continue };
        records.extend(partition.lost.iter().map(|&(from, end)| LostRecords {
            key: spec.key,
            topic_name: spec.topic_name.clone(),
            from,
            end,
        }));
    }
    Damage { records, frames: end.lost.clone() }
}

/// Opens the segments of all live partitions, each cut where the journal goes on. What is missing there is added to the
/// damage, and the log begins or ends where it is whole.
async fn open_logs<D: Disk>(
    files: &OpenFiles<D>,
    live: &[PartitionSpec],
    replay: &mut Replay,
) -> Result<Vec<PartitionLog<D>>, OpenError> {
    let found = RefCell::new(live.iter().map(|_| None).collect::<Vec<_>>());
    let partitions = &replay.recovery.partitions;
    let opens = live.iter().enumerate().map(async |(index, spec)| {
        let (cut, log_start) = partitions
            .get(&spec.key)
            .map_or((Offset(0), Offset(0)), |partition| (partition.cut, partition.log_start));
        let opened = open_log(files, spec, cut, log_start.min(cut)).await?;
        found.borrow_mut()[index] = Some(opened);
        Ok(())
    });
    for_each_concurrent(opens, OPEN_CONCURRENT_MAX).await?;
    let mut logs = Vec::with_capacity(live.len());
    for opened in found.into_inner() {
        let (log, lost) = opened.expect("every log was opened");
        replay.damage.records.extend(lost);
        logs.push(log);
    }
    Ok(logs)
}

async fn open_log<D: Disk>(
    files: &OpenFiles<D>,
    spec: &PartitionSpec,
    mut cut: Offset,
    mut log_start: Offset,
) -> Result<(PartitionLog<D>, Vec<LostRecords>), OpenError> {
    let directory = partition_directory(&spec.topic_name, spec.key.partition);
    let mut lost = Vec::new();
    loop {
        let opened =
            PartitionLog::open(files, spec.key, directory.clone(), spec.config, cut, log_start).await;
        let (from, end) = match opened {
            Ok(log) => return Ok((log, lost)),
            Err(SegmentError::Missing { from, end, .. }) => {
                assert!(log_start < end, "the next attempt begins later");
                log_start = end;
                (from, end)
            }
            Err(SegmentError::Corrupt { offset, .. }) => {
                assert!(offset < cut, "the next attempt ends earlier");
                let end = cut;
                cut = offset;
                log_start = log_start.min(cut);
                (offset, end)
            }
            Err(SegmentError::Io { file, source }) => {
                return Err(OpenError::Io { what: file.display().to_string(), source });
            }
            Err(error @ SegmentError::OutOfRange { .. }) => unreachable!("opening reads no offset: {error}"),
        };
        let (key, topic_name) = (spec.key, spec.topic_name.clone());
        lost.push(LostRecords { key, topic_name, from, end });
    }
}

/// Makes a new generation durable, before its first frame: in both slots. One that knew only of earlier lives would take
/// the frames of this one for none at all, should the other rot.
async fn begin_life<D: Disk>(
    disk: &D,
    before: &Checkpoint,
    first: FrameSequence,
) -> Result<Checkpoint, OpenError> {
    let last = before.lives.last().expect("a checkpoint has a life");
    let life = Life { generation: Generation(last.generation.0 + 1), first };
    let mut lives = lives_from(&before.lives, before.replay_from.sequence);
    lives.push(life);
    let checkpoint = Checkpoint { number: before.number + 1, lives, ..before.clone() };
    slots::write_both(disk, checkpoint).await.opening("writing a checkpoint")
}

fn assemble<'a, D: Disk>(
    options: StoreOptions,
    files: Vec<(u32, D::File, u64)>,
    checkpoint: Checkpoint,
    replay: Replay,
    live: impl Iterator<Item = (&'a PartitionSpec, PartitionLog<D>)>,
) -> (State<D>, Recovered) {
    let Replay { end, places, mut recovery, mut tail, damage } = replay;
    let next = end.next.sequence;
    tail.set_destaged_below(checkpoint.replay_from.sequence);
    let mut state = State {
        collector: Collector::new(options.frame_bytes_max, next),
        window: Window::new(next, options.frames_in_flight_max, options.frame_eager_bytes),
        ring: assemble_ring(&options, files, &end, places),
        tail,
        generation: checkpoint.lives.last().expect("a life has begun").generation,
        lives: checkpoint.lives,
        previous_crc: end.next.previous_crc,
        partitions: Vec::new(),
        by_key: FxHashMap::default(),
        unsynced: VecDeque::new(),
        is_stalled: false,
        checkpoint_number: checkpoint.number,
        replay_from: checkpoint.replay_from,
        older_replay_from: checkpoint.replay_from,
        marks: Vec::new(),
        room_bytes: 0,
        is_making_room: options.deletes_when_full,
        is_closing: false,
        failure: None,
        stats: super::StoreStats::default(),
        options,
    };
    let mut recovered = Recovered {
        partitions: Vec::new(),
        damage,
        frames: recovery.frames.len() as u64,
        journal_bytes_read: end.bytes_read,
    };
    for (spec, log) in live {
        let found = recovery.partitions.remove(&spec.key).unwrap_or_default();
        let mut partition = Partition::new(spec, log, found.log_start, found.end, found.epochs.clone());
        partition.runs = found.runs;
        partition.producers = found.producers;
        partition.vouched = Vouched::found(checkpoint.number, partition.vouched_now());
        let slot = state.insert(partition);
        recovered.partitions.push(RecoveredPartition {
            key: spec.key,
            slot,
            log_start: found.log_start,
            end: found.end,
            epochs: found.epochs,
        });
    }
    for (sequence, keys) in recovery.frames {
        let slots = keys.iter().filter_map(|key| state.by_key.get(key).copied()).collect();
        state.tail.set_slots(sequence, slots);
    }
    (state, recovered)
}

fn assemble_ring<F: DiskFile>(
    options: &StoreOptions,
    files: Vec<(u32, F, u64)>,
    end: &Replayed,
    places: Vec<(FrameSequence, FrameLocation, u32)>,
) -> Ring<F> {
    let mut ring = Ring::new(files, options.journal_file_bytes, options.journal_files_max);
    let mut places = places.into_iter().peekable();
    for number in &end.files {
        ring.take(*number);
        while let Some((sequence, location, length)) = places.next_if(|(_, place, _)| place.file == *number) {
            ring.found(location, u64::from(length), sequence);
        }
    }
    assert!(places.next().is_none(), "every frame lies in a file of the replay");
    ring.start_at(end.next.location);
    ring
}
