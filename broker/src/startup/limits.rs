//! The process's own limits: open files and locked memory. Each soft limit is raised to the hard one first, which needs
//! no privilege; only what the hard one still forbids is the operator's affair.

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::StartupError;
use crate::exit::ExitCode;

/// Files that a broker has open without any connection or partition, and a few of each. What is left of it is for whatever
/// opens a file for a moment.
const OPEN_FILES_MIN: u64 = 256;
/// Rings and event descriptors of a shard; its journal's files come on top.
const OPEN_FILES_PER_SHARD: u64 = 64;
/// Connections that are always served.
const CONNECTIONS_MIN: u64 = 64;
/// Files of segments that a shard keeps open at least, and at most.
const SEGMENT_FILES_MIN: u64 = 64;
const SEGMENT_FILES_MAX: u64 = 4096;

/// What the first ring needs, and asks for itself.
const LOCKED_BYTES_MIN: u64 = 512 << 10;
/// Rings and registered buffers of a shard, which kernels before 5.12 count as locked.
const LOCKED_BYTES_PER_SHARD: u64 = 256 << 10;

/// What a broker would like to have open.
#[derive(Clone, Copy, Debug)]
pub(super) struct OpenFilesWanted {
    pub(super) connections: u32,
    pub(super) shard_count: u16,
    /// Of each shard.
    pub(super) journal_files: u64,
}

/// How the files that the process may have open are shared out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenFilesShare {
    /// Connections of the broker.
    pub connections_max: usize,
    /// Files of segments that each shard keeps open.
    pub segment_files_max: usize,
}

/// Raises the limit of open files and shares it out.
pub(super) fn raise_open_files(wanted: OpenFilesWanted) -> Result<OpenFilesShare, StartupError> {
    share_open_files(raise(Resource::RLIMIT_NOFILE), wanted)
}

/// Connections come first, but never for more than half of what is not spoken for: a broker that can't open its segments
/// serves none of them.
pub(super) fn share_open_files(limit: u64, wanted: OpenFilesWanted) -> Result<OpenFilesShare, StartupError> {
    let shard_count = u64::from(wanted.shard_count);
    let per_shard = OPEN_FILES_PER_SHARD + wanted.journal_files + SEGMENT_FILES_MIN;
    let needed = OPEN_FILES_MIN + CONNECTIONS_MIN + per_shard * shard_count;
    if limit < needed {
        let message = format!(
            "only {limit} files may be open at once, {needed} are needed at least: \
             raise nofile (ulimit -Hn, LimitNOFILE= in a systemd unit, docker run --ulimit nofile=)"
        );
        return Err(StartupError::new(ExitCode::OpenFiles, message));
    }
    let rest = limit - needed;
    let segments_wished = (SEGMENT_FILES_MAX - SEGMENT_FILES_MIN) * shard_count;
    let connections_wished = u64::from(wanted.connections).saturating_sub(CONNECTIONS_MIN);
    let connections = connections_wished.min((rest / 2).max(rest.saturating_sub(segments_wished)));
    let segments = (rest - connections).min(segments_wished) / shard_count;
    if connections < connections_wished {
        tracing::warn!(
            limit,
            wished = needed + connections_wished + segments_wished,
            connections = CONNECTIONS_MIN + connections,
            "few files may be open at once: connections will be refused before max.connections is reached; \
             raise nofile or lower max.connections"
        );
    }
    let count = |files: u64| usize::try_from(files).unwrap_or(usize::MAX);
    Ok(OpenFilesShare {
        connections_max: count(u64::from(wanted.connections).min(CONNECTIONS_MIN + connections)),
        segment_files_max: count(SEGMENT_FILES_MIN + segments),
    })
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
