//! The process's own limits: open files and locked memory. Each soft limit is raised to the hard one first, which needs
//! no privilege; only what the hard one still forbids is the operator's affair.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::StartupError;
use crate::exit::ExitCode;

/// Files that a broker has open without any connection or partition, and a few of each.
const OPEN_FILES_MIN: u64 = 256;
/// Rings, event descriptors and journal files of a shard.
const OPEN_FILES_PER_SHARD: u64 = 64;
/// What partitions may have open beside connections before the limit is worth a word.
const OPEN_FILES_FOR_PARTITIONS: u64 = 4096;

/// What the first ring needs, and asks for itself.
const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// Rings and registered buffers of a shard, which kernels before 5.12 count as locked.
const LOCKED_BYTES_PER_SHARD: u64 = 256 << 10;

/// Raises the limit of open files and says what it is now.
pub(super) fn raise_open_files(max_connections: u32, shard_count: u16) -> Result<u64, StartupError> {
    let limit = raise(Resource::RLIMIT_NOFILE);
    judge_open_files(limit, max_connections, shard_count)
}

pub(super) fn judge_open_files(
    limit: u64,
    max_connections: u32,
    shard_count: u16,
) -> Result<u64, StartupError> {
    let needed = OPEN_FILES_MIN + OPEN_FILES_PER_SHARD * u64::from(shard_count);
    if limit < needed {
        let message = format!(
            "only {limit} files may be open at once, {needed} are needed at least: \
             raise nofile (ulimit -Hn, LimitNOFILE= in a systemd unit, docker run --ulimit nofile=)"
        );
        return Err(StartupError::new(ExitCode::OpenFiles, message));
    }
    let wished = needed + u64::from(max_connections) + OPEN_FILES_FOR_PARTITIONS;
    if limit < wished {
        tracing::warn!(
            limit,
            wished,
            "few files may be open at once: connections will be refused before max.connections is reached; \
             raise nofile or lower max.connections"
        );
    }
    Ok(limit)
}

/// Raises the limit of locked memory.
pub(super) fn raise_locked_memory(shard_count: u16) -> Result<(), StartupError> {
    judge_locked_memory(raise(Resource::RLIMIT_MEMLOCK), shard_count)
}

pub(super) fn judge_locked_memory(limit: u64, shard_count: u16) -> Result<(), StartupError> {
    let needed = LOCKED_BYTES_MIN.max(LOCKED_BYTES_PER_SHARD * u64::from(shard_count));
    if limit >= needed {
        return Ok(());
    }
    let message = format!(
        "only {} KiB of memory may be locked, {} KiB are needed for {shard_count} shards: \
         raise memlock (ulimit -Hl, LimitMEMLOCK= in a systemd unit, docker run --ulimit memlock=) or run fewer shards",
        limit >> 10,
        needed >> 10
    );
    Err(StartupError::new(ExitCode::LockedMemory, message))
}

/// The soft limit after it was raised as far as it goes.
fn raise(resource: Resource) -> u64 {
    let Ok((soft, hard)) = getrlimit(resource) else { return u64::MAX };
    if soft < hard && setrlimit(resource, hard, hard).is_ok() { hard } else { soft }
}
