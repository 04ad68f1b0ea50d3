//! The kernel's workers for the rings of a thread.
//!
//! What may block in the kernel, a sync or a write that makes a file longer, is done by worker threads that all rings of a
//! thread share. How many of them there may be follows from the first ring that the thread makes, and the first one that
//! glommio makes in a process, to see what the kernel can, has one entry: then one worker does all of it in turn, and a
//! journal's sync waits for whatever else is being written.

use std::io;

use io_uring::IoUring;

/// How many workers do what takes a bounded time: more than sixteen long writes to segments and the usual
/// frames of a journal need.
const BOUNDED_WORKERS_MAX: u32 = 32;
/// Stands for no change.
const AS_IT_IS: u32 = 0;

/// Lets the rings of this thread have [`BOUNDED_WORKERS_MAX`] workers, whichever ring was or will be its first.
///
/// # Errors
/// The kernel gives no io_uring.
pub fn allow_ring_workers() -> io::Result<()> {
    let ring = IoUring::new(BOUNDED_WORKERS_MAX)?;
    ring.submitter().register_iowq_max_workers(&mut [BOUNDED_WORKERS_MAX, AS_IT_IS])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_has_its_workers_although_the_first_ring_was_a_small_one() {
        let asked = std::thread::spawn(|| {
            let _small = IoUring::new(1).expect("a ring");
            crate::run(None, || async {
                let ring = IoUring::new(1).expect("a ring");
                let mut workers = [AS_IT_IS, AS_IT_IS];
                // Asked to change nothing, the kernel tells what there is.
                ring.submitter().register_iowq_max_workers(&mut workers).expect("it tells");
                workers[0]
            })
        });
        let bounded = asked.join().expect("nothing panics").expect("an executor");
        assert_eq!(bounded, BOUNDED_WORKERS_MAX);
    }
}
