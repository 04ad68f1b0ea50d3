//! The data directory as a whole: another number of shards, and what nobody owns any more.
//!
//! Journals and checkpoints lie under the number of shards that they are for, so a change never touches what is there:
//!
//! | step | after a crash here |
//! | --- | --- |
//! | the new layout's leftovers of an earlier attempt are removed | the old layout counts; begin again |
//! | every old shard is opened, its journal destaged, synced, checkpointed | likewise |
//! | the new layout's checkpoints are written | likewise |
//! | the broker writes the new number to `meta.fb` | the one that is there counts |
//! | the other layouts are removed | the new layout counts; remove them again |

use std::io;
use std::path::Path;

use protocol::types::PartitionKey;
use rustc_hash::{FxHashMap, FxHashSet};

use super::ShardStore;
use super::errors::{OpenError, StoreError, While};
use super::types::{PartitionSpec, StoreOptions};
use crate::checkpoint::{self, Checkpoint, Life, PartitionState, ReplayFrom, slots};
use crate::disk::Disk;
use crate::journal::{FrameSequence, Generation};
use crate::segment::{TOPICS_DIRECTORY, partition_directory};

/// Lays the data out for another number of shards; `options` are those of any shard as it was. Takes effect when the
/// broker has noted the new number; then [`remove_other_layouts`] removes the old one. May be interrupted at any
/// point and begun again.
///
/// `shard_of` says where a partition lives among a number of shards.
///
/// # Errors
/// What opening a shard meets: nothing is changed then.
pub async fn change_shard_count<D: Disk>(
    disk: &D,
    options: &StoreOptions,
    shard_count: u16,
    live: &[PartitionSpec],
    shard_of: impl Fn(PartitionKey, u16) -> u16,
) -> Result<(), OpenError> {
    assert!(shard_count > 0);
    assert!(shard_count != options.shard_count, "there is something to change");
    remove_layout(disk, shard_count).await.opening("removing an unfinished layout")?;
    let mut partitions = FxHashMap::default();
    for shard in 0..options.shard_count {
        let own =
            live.iter().filter(|spec| shard_of(spec.key, options.shard_count) == shard).cloned().collect();
        let options = StoreOptions { shard, ..options.clone() };
        for state in settle(disk, options, own).await? {
            partitions.insert(state.key, state);
        }
    }
    write_layout(disk, shard_count, partitions, shard_of).await.opening("writing the new layout")
}

/// Destages all of a shard's journal. Returns what a checkpoint says then.
async fn settle<D: Disk>(
    disk: &D,
    options: StoreOptions,
    live: Vec<PartitionSpec>,
) -> Result<Vec<PartitionState>, OpenError> {
    // Producers' state is rebuilt from segments by the shards to come.
    let (store, _) = ShardStore::open(disk.clone(), options, live, &mut ()).await?;
    store.destage_all().await.map_err(|error| match error {
        StoreError::Io { what, source } => OpenError::Io { what, source },
        other => OpenError::Io { what: "destaging a shard".to_owned(), source: io::Error::other(other) },
    })?;
    Ok(store.shared.checkpoint_partitions().await)
}

async fn write_layout<D: Disk>(
    disk: &D,
    shard_count: u16,
    partitions: FxHashMap<PartitionKey, PartitionState>,
    shard_of: impl Fn(PartitionKey, u16) -> u16,
) -> io::Result<()> {
    let directory = checkpoint::directory(shard_count);
    disk.create_directory(&directory).await?;
    let mut of_shards: Vec<Vec<PartitionState>> = (0..shard_count).map(|_| Vec::new()).collect();
    for (key, state) in partitions {
        of_shards[usize::from(shard_of(key, shard_count))].push(state);
    }
    for (shard, partitions) in (0..).zip(of_shards) {
        let lives = vec![Life { generation: Generation(0), first: FrameSequence(0) }];
        let replay_from = ReplayFrom::default();
        // In both slots: without a journal, nothing else would tell that there are partitions.
        slots::write_both(disk, Checkpoint { number: 1, shard, shard_count, replay_from, lives, partitions })
            .await?;
    }
    for parent in directory.ancestors().skip(1) {
        disk.sync_directory(parent).await?;
    }
    Ok(())
}

/// Removes the journals and checkpoints of all other numbers of shards. Called when `shard_count` is what counts.
///
/// # Errors
/// What the disk says.
pub async fn remove_other_layouts<D: Disk>(disk: &D, shard_count: u16) -> io::Result<()> {
    for parent in ["journal", "checkpoint"] {
        for name in disk.list(Path::new(parent)).await? {
            if name.parse::<u16>().is_ok_and(|other| other != shard_count) {
                disk.remove_directory(&Path::new(parent).join(name)).await?;
            }
        }
    }
    Ok(())
}

async fn remove_layout<D: Disk>(disk: &D, shard_count: u16) -> io::Result<()> {
    for parent in ["checkpoint", "journal"] {
        let path = Path::new(parent).join(shard_count.to_string());
        if disk.exists(&path).await? {
            disk.remove_directory(&path).await?;
            disk.sync_directory(Path::new(parent)).await?;
        }
    }
    Ok(())
}

/// Takes the directories of partitions that are not live out of the way: of topics that were deleted just before a
/// crash. Called before any shard is opened, with the partitions of all shards; [`ShardStore::free_deleted`] then
/// frees their space.
///
/// # Errors
/// What the disk says.
pub async fn retire_strangers<D: Disk>(disk: &D, live: &[PartitionSpec]) -> io::Result<usize> {
    let topics = Path::new(TOPICS_DIRECTORY);
    let known: FxHashSet<_> =
        live.iter().map(|spec| partition_directory(&spec.topic_name, spec.key.partition)).collect();
    let names: FxHashSet<String> = disk.list(topics).await?.into_iter().collect();
    let strangers = names.iter().filter(|name| !name.starts_with('~') && !known.contains(&topics.join(name)));
    let mut free_names =
        (0..).map(|number| format!("~stranger-{number}")).filter(|name| !names.contains(name));
    let mut count = 0;
    for name in strangers {
        let retired = free_names.next().expect("numbers do not end");
        disk.rename(&topics.join(name), &topics.join(retired)).await?;
        count += 1;
    }
    if count > 0 {
        disk.sync_directory(topics).await?;
    }
    Ok(count)
}
