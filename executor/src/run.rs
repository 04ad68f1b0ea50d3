//! An executor for who has none: the calling thread becomes one until the work is done.

use std::future::Future;
use std::io;

use glommio::{LocalExecutorBuilder, Placement};

/// Registered memory of an executor's ring: the least that it takes, since a client's buffers come from the allocator.
const RING_MEMORY_BYTES: usize = 64 * 1024;
/// Submission slots of an executor's rings.
const RING_DEPTH: usize = 256;

/// Runs `main` on an executor of the calling thread, pinned to `core` where one is given.
///
/// # Errors
/// The kernel gives no io_uring: none is allowed here, or locked memory is used up (`ulimit -l`).
pub fn run<F: Future>(core: Option<usize>, main: impl FnOnce() -> F) -> io::Result<F::Output> {
    crate::allow_ring_workers()?;
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    let executor = LocalExecutorBuilder::new(placement)
        .io_memory(RING_MEMORY_BYTES)
        .ring_depth(RING_DEPTH)
        .make()
        .map_err(io::Error::from)?;
    Ok(executor.run(async move { main().await }))
}
