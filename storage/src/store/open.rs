//! Opening: checkpoints, replay, a new generation. What is decided here is decided in [`crate::recovery`].

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::path::Path;
use std::rc::Rc;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use super::errors::{OpenError, While};
use super::state::{Partition, State};
use super::types::{
    Damage, LostRecords, PartitionSpec, Recovered, RecoveredPartition, RecoveryObserver, StoreOptions,
};
use super::{ShardStore, Shared};
use crate::checkpoint::{Checkpoint, Life, ReplayFrom, slots};
use crate::disk::{Disk, DiskFile};
use crate::journal::collector::Collector;
use crate::journal::frame::{FRAME_HEADER_BYTES, front_bytes};
use crate::journal::replay::{FoundFrame, ReplayFile, Replayed, replay};
use crate::journal::ring::{self, FrameLocation, Ring};
use crate::journal::window::Window;
use crate::journal::{FrameSequence, Generation};
use crate::recovery::{Choice, Recovery, choose};
use crate::tail::Tail;
use crate::wait::Notify;

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
        _observer: &mut dyn RecoveryObserver,
    ) -> Result<(Self, Recovered), OpenError> {
        options.assert_sane();
        let directory = ring::directory(options.shard);
        make_directories(&disk, &directory).await.opening("making directories")?;
        let mut files =
            ring::open_files(&disk, &directory, options.sync_method).await.opening("opening the journal")?;
        let before = choose_checkpoint(&disk, &options, &files).await?;
        if files.is_empty() {
            let size = options.journal_file_bytes;
            let file = ring::create_file(&disk, &directory, 0, size, options.sync_method)
                .await
                .opening("making the journal's first file")?;
            files.push((0, file, size));
        }
        let replay = replay_journal(&options, &files, &before, &live).await?;
        let lives = begin_life(&disk, &before, replay.end.next.sequence).await?;
        let (state, recovered) = assemble(options, files, lives, replay, &live);
        let shared = Shared {
            disk,
            state: RefCell::new(state),
            listener: RefCell::new(None),
            writer_wanted: Notify::default(),
            synced: Notify::default(),
            has_writer: Cell::new(false),
        };
        Ok((Self { shared: Rc::new(shared) }, recovered))
    }
}

async fn make_directories<D: Disk>(disk: &D, journal: &Path) -> std::io::Result<()> {
    for directory in [journal, Path::new("checkpoint"), Path::new("topics")] {
        if !disk.exists(directory).await? {
            disk.create_directory(directory).await?;
        }
    }
    disk.sync_directory(Path::new("journal")).await?;
    disk.sync_directory(Path::new("")).await
}

/// The checkpoint to begin with: the one that counts, or the one before all others.
async fn choose_checkpoint<D: Disk>(
    disk: &D,
    options: &StoreOptions,
    files: &[(u32, D::File, u64)],
) -> Result<Checkpoint, OpenError> {
    let shard = options.shard;
    let a = slots::read(disk, shard, 0).await.opening("reading a checkpoint")?;
    let b = slots::read(disk, shard, 1).await.opening("reading a checkpoint")?;
    let mut has_frames = false;
    for (_, file, _) in files {
        let head = file.read_at(0, FRAME_HEADER_BYTES).await.opening("reading the journal")?;
        has_frames |= front_bytes(&head).is_some();
    }
    match choose(a, b, has_frames) {
        Choice::Refuse => Err(OpenError::CheckpointsDamaged { shard }),
        Choice::Checkpoint(found) if found.shard_count != options.shard_count => {
            Err(OpenError::ShardCount { found: found.shard_count, wanted: options.shard_count })
        }
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
                shard_count: options.shard_count,
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
        tail.push(
            sequence,
            found.location,
            found.front.length_bytes,
            Bytes::copy_from_slice(&bytes),
            Vec::new(),
        );
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
    if !damage.is_empty() && !options.accept_damage {
        return Err(OpenError::Damaged(Box::new(damage)));
    }
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

/// Makes a new generation durable, before its first frame.
async fn begin_life<D: Disk>(
    disk: &D,
    before: &Checkpoint,
    first: FrameSequence,
) -> Result<Vec<Life>, OpenError> {
    let last = before.lives.last().expect("a checkpoint has a life");
    let life = Life { generation: Generation(last.generation.0 + 1), first };
    let replay_from = before.replay_from.sequence;
    let mut lives = before.lives.clone();
    // Lives that ended before the replay began fit no frame any more.
    while lives.len() > 1 && lives[1].first <= replay_from {
        lives.remove(0);
    }
    lives.push(life);
    let checkpoint = Checkpoint { number: before.number + 1, lives: lives.clone(), ..before.clone() };
    slots::write(disk, &checkpoint).await.opening("writing a checkpoint")?;
    Ok(lives)
}

fn assemble<F: DiskFile>(
    options: StoreOptions,
    files: Vec<(u32, F, u64)>,
    lives: Vec<Life>,
    replay: Replay,
    live: &[PartitionSpec],
) -> (State<F>, Recovered) {
    let Replay { end, places, mut recovery, tail, damage } = replay;
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
    let next = end.next.sequence;
    let mut state = State {
        collector: Collector::new(options.frame_bytes_max, next),
        window: Window::new(next, options.frames_in_flight_max, options.frame_eager_bytes),
        ring,
        tail,
        generation: lives.last().expect("a life has begun").generation,
        lives,
        previous_crc: end.next.previous_crc,
        partitions: Vec::new(),
        by_key: FxHashMap::default(),
        unsynced: VecDeque::new(),
        is_stalled: false,
        is_closing: false,
        failure: None,
        stats: super::StoreStats::default(),
        options,
    };
    let mut recovered = Recovered {
        partitions: Vec::with_capacity(live.len()),
        damage,
        frames: recovery.frames.len() as u64,
        journal_bytes_read: end.bytes_read,
    };
    for spec in live {
        let found = recovery.partitions.remove(&spec.key).unwrap_or_default();
        let mut partition = Partition::new(spec, found.log_start, found.end, found.epochs.clone());
        partition.runs = found.runs;
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
        let slots = keys.iter().map(|key| state.by_key[key]).collect();
        state.tail.set_slots(sequence, slots);
    }
    (state, recovered)
}
