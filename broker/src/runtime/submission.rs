//! When the kernel has been told of what was asked of the ring.
//!
//! What tasks ask of the ring leaves together, once no task is ready any more. That is cheap, and late where much is ready:
//! who has asked for something that takes its time, and has work of its own to do meanwhile, waits for this before it begins.

use std::io;

use glommio::io::PollableFd;
use nix::sys::eventfd::{EfdFlags, EventFd};

/// A way to wait until all that was asked of the ring before has been submitted.
pub struct Submission {
    /// Asking whether it can be read is answered as soon as the kernel hears of it.
    readable: PollableFd<EventFd>,
}

impl Submission {
    /// For this executor's ring.
    ///
    /// # Errors
    /// There are too few file descriptors.
    ///
    /// # Panics
    /// Outside a glommio executor.
    pub fn new() -> io::Result<Self> {
        let readable = EventFd::from_value_and_flags(1, EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK)?;
        Ok(Self { readable: PollableFd::new(readable).map_err(io::Error::from)? })
    }

    /// Waits until then.
    ///
    /// # Errors
    /// The ring refuses.
    pub async fn wait(&self) -> io::Result<()> {
        self.readable.readable().await.map_err(io::Error::from)
    }
}
