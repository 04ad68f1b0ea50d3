//! The data plane's runtime: one glommio executor per shard, pinned, with its task queues. The only room besides
//! `net` (and `storage::disk`) that knows glommio.

mod mesh;
mod queues;
mod sched;
mod submission;
mod wait;

#[cfg(test)]
mod tests;

use std::future::Future;

pub use executor::{Signal, Wait, sleep};
pub use mesh::{Mesh, MeshJoin, MeshReceiver};
pub use queues::{Queue, Queues, run_in, spawn, spawn_into};
pub use submission::Submission;
pub use wait::{Tally, either, join_all};

use glommio::{CpuSet, LocalExecutorBuilder, Placement, PoolPlacement};

use crate::limits::{BLOCKING_THREADS, RING_DEPTH, RING_MEMORY_BYTES};

/// A shard's thread.
pub type ShardThread<T> = std::thread::JoinHandle<T>;

/// Starts a shard's executor on a thread of its own, pinned to `core` where one is given.
///
/// # Errors
/// The thread can't be made. A ring that can't be made is found by `startup` before any shard starts.
pub fn start_shard<F, G, T>(index: usize, core: Option<usize>, main: G) -> std::io::Result<ShardThread<T>>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    std::thread::Builder::new().name(format!("shard-{index}")).spawn(move || {
        sched::take_long_slices();
        executor::allow_ring_workers().unwrap_or_else(|error| panic!("shard {index}: no ring: {error}"));
        let placement = core.map_or(Placement::Unbound, Placement::Fixed);
        let executor = LocalExecutorBuilder::new(placement)
            .name(&format!("shard-{index}"))
            .io_memory(RING_MEMORY_BYTES)
            .ring_depth(RING_DEPTH)
            .blocking_thread_pool_placement(beside(core))
            .make()
            .unwrap_or_else(|error| panic!("shard {index}: no executor: {error}"));
        executor.run(async move {
            Queues::install();
            executor::keep_nudged();
            main().await
        })
    })
}

/// Where the threads beside a shard's are: on its core, where it has one.
fn beside(core: Option<usize>) -> PoolPlacement {
    let cores = core.and_then(|core| Some(CpuSet::online().ok()?.filter(|online| online.cpu == core)));
    match cores {
        Some(cores) => PoolPlacement::Custom(vec![cores; BLOCKING_THREADS]),
        None => PoolPlacement::Unbound(BLOCKING_THREADS),
    }
}

/// Runs what takes long without waiting, on a thread beside the shard's.
pub async fn run_blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    glommio::executor().spawn_blocking(work).await
}

/// Lets other tasks run where this one has had its share of the core.
pub async fn yield_if_needed() {
    glommio::executor().yield_if_needed().await;
}
