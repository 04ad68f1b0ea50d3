//! What the data directory's device does, asked once at start: how long a durable write takes in either way, whether
//! the device has a volatile cache and writes through it, its block, its filesystem. The answer chooses how a shard
//! drives its journal, and is logged and shown, for these figures explain all others.
//!
//! The two ways: a write that is durable by itself (`O_DSYNC`), or a plain write and then `fdatasync`. Where the device
//! forces a single write through its cache (FUA), or has none that loses anything, the first is one operation, done
//! when the device says so. Where it has not, the kernel completes such a write from a worker thread of the core that
//! took the interrupt, and a shard that never sleeps keeps it waiting: there the second is better under load, although
//! an idle machine, which is what is measured here, does not show it. So what the device says about itself decides,
//! and the measurement only where it says nothing.

use std::fmt;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::glommio::GlommioDisk;
use super::{Disk, DiskFile, IoBuffer, OpenMode};
use crate::limits::{BUFFER_ALIGN_BYTES, PROBE_FILE_BYTES, PROBE_WRITES_MAX};

#[cfg(test)]
mod tests;

/// What happens to a write in the device's cache when the power goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteCache {
    /// It is lost unless it was flushed.
    Back,
    /// There is none, or it loses nothing.
    Through,
}

/// What the kernel knows of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeviceFacts {
    /// Its cache.
    pub write_cache: Option<WriteCache>,
    /// Whether it can force a single write through its cache.
    pub forces_writes: Option<bool>,
    /// Whether it turns.
    pub rotational: Option<bool>,
    /// What it writes whole or not at all.
    pub logical_block_bytes: Option<u32>,
}

/// How long durable writes of one block took, on a machine that did nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteLatency {
    /// The middle one.
    pub median: Duration,
    /// The longest one.
    pub max: Duration,
    /// How many there were.
    pub count: usize,
}

/// How a write is made durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DurableWrite {
    /// By itself (`O_DSYNC`).
    Synced,
    /// By a sync that follows it.
    ThenSync,
}

/// All that was found out.
#[derive(Clone, Debug)]
pub struct DeviceReport {
    /// Whether the page cache is bypassed.
    pub direct: bool,
    /// What the kernel says.
    pub facts: DeviceFacts,
    /// Writes with `O_DSYNC`.
    pub synced: WriteLatency,
    /// Writes followed by `fdatasync`.
    pub then_sync: WriteLatency,
}

impl DeviceReport {
    /// The way to choose, and why.
    #[must_use]
    pub fn choice(&self) -> (DurableWrite, &'static str) {
        match (self.facts.write_cache, self.facts.forces_writes) {
            (Some(WriteCache::Through), _) => {
                (DurableWrite::Synced, "the device has no volatile write cache")
            }
            (_, Some(true)) => (DurableWrite::Synced, "the device forces single writes through its cache"),
            (Some(WriteCache::Back), Some(false)) => {
                (DurableWrite::ThenSync, "the device cannot force single writes through its cache")
            }
            _ if self.synced.median <= self.then_sync.median => {
                (DurableWrite::Synced, "synced writes were measured to be no slower")
            }
            _ => (DurableWrite::ThenSync, "writes followed by a sync were measured to be faster"),
        }
    }
}

impl fmt::Display for DeviceReport {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let access = if self.direct { "direct" } else { "buffered" };
        let cache = match self.facts.write_cache {
            Some(WriteCache::Back) => "write-back",
            Some(WriteCache::Through) => "write-through",
            None => "unknown",
        };
        let forces = match self.facts.forces_writes {
            Some(true) => "yes",
            Some(false) => "no",
            None => "unknown",
        };
        let block =
            self.facts.logical_block_bytes.map_or("unknown".to_owned(), |bytes| format!("{bytes} bytes"));
        let (synced, then_sync) = (self.synced, self.then_sync);
        write!(
            formatter,
            "{access} I/O; cache {cache}; FUA {forces}; logical block {block}; \
             O_DSYNC {} µs (max {}), write + fdatasync {} µs (max {})",
            synced.median.as_micros(),
            synced.max.as_micros(),
            then_sync.median.as_micros(),
            then_sync.max.as_micros(),
        )
    }
}

/// Looks at the device of a disk's root. The measurement ends with the first write that ends past the budget, but each
/// way is tried once.
///
/// # Errors
/// What the disk says.
pub async fn probe(disk: &GlommioDisk, budget: Duration) -> io::Result<DeviceReport> {
    let root = disk.root().to_owned();
    let facts = ::glommio::executor().spawn_blocking(move || device_facts(&root)).await;
    // Every shard of a broker may try the same directory at once.
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(format!(".sync-probe-{}-{number}", std::process::id()));
    let measured = measure(disk, &path, budget).await;
    disk.remove_file(&path).await?;
    let (synced, then_sync) = measured?;
    Ok(DeviceReport { direct: disk.is_direct(), facts, synced, then_sync })
}

/// Writes over blocks that are allocated and written already, as the journal does.
async fn measure<D: Disk>(
    disk: &D,
    path: &Path,
    budget: Duration,
) -> io::Result<(WriteLatency, WriteLatency)> {
    let plain = disk.open(path, OpenMode::Create).await?;
    let synced = disk.open(path, OpenMode::WriteSynced).await?;
    plain.write_at(&IoBuffer::allocate(PROBE_FILE_BYTES).freeze(0), 0).await?;
    plain.sync().await?;
    let block = IoBuffer::allocate(BUFFER_ALIGN_BYTES).freeze(0);
    let (mut of_synced, mut of_then_sync) = (Vec::new(), Vec::new());
    let begin = Instant::now();
    for number in 0..PROBE_WRITES_MAX {
        let position = number * BUFFER_ALIGN_BYTES % PROBE_FILE_BYTES;
        let position = u64::try_from(position).expect("small");
        let start = Instant::now();
        synced.write_at(&block, position).await?;
        let middle = Instant::now();
        plain.write_at(&block, position).await?;
        plain.sync().await?;
        let end = Instant::now();
        of_synced.push(middle - start);
        of_then_sync.push(end - middle);
        if end - begin >= budget {
            break;
        }
    }
    plain.close().await?;
    synced.close().await?;
    Ok((latency(of_synced), latency(of_then_sync)))
}

fn latency(mut times: Vec<Duration>) -> WriteLatency {
    times.sort_unstable();
    let max = *times.last().expect("each way was tried");
    WriteLatency { median: times[times.len() / 2], max, count: times.len() }
}

/// What `/sys` says of the device that a directory is on; nothing where that is no block device of its own.
fn device_facts(directory: &Path) -> DeviceFacts {
    let Ok(metadata) = directory.metadata() else { return DeviceFacts::default() };
    let device = metadata.dev();
    let name = format!("{}:{}", nix::sys::stat::major(device), nix::sys::stat::minor(device));
    match Path::new("/sys/dev/block").join(name).canonicalize() {
        Ok(path) => queue_facts(&path),
        Err(_) => DeviceFacts::default(),
    }
}

/// A partition has its queue one directory up, at the whole device.
fn queue_facts(device: &Path) -> DeviceFacts {
    let queues = device.ancestors().take(2).map(|directory| directory.join("queue"));
    let Some(queue) = queues.into_iter().find(|queue| queue.is_dir()) else { return DeviceFacts::default() };
    let read = |name: &str| std::fs::read_to_string(queue.join(name)).ok().map(|text| text.trim().to_owned());
    let flag = |name: &str| match read(name)?.as_str() {
        "0" => Some(false),
        "1" => Some(true),
        _ => None,
    };
    let write_cache = match read("write_cache").as_deref() {
        Some("write back") => Some(WriteCache::Back),
        Some("write through") => Some(WriteCache::Through),
        _ => None,
    };
    DeviceFacts {
        write_cache,
        forces_writes: flag("fua"),
        rotational: flag("rotational"),
        logical_block_bytes: read("logical_block_size").and_then(|text| text.parse().ok()),
    }
}
