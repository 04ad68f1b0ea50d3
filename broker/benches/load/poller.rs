//! Waiting for sockets with a deadline in nanoseconds: epoll, since `std` has nothing of the kind.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

/// Sockets reported by one wait at most.
const EVENTS_MAX: usize = 128;

/// What is waited for at a socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// There is something to read.
    Read,
    /// There is something to read, or room to write.
    ReadAndWrite,
}

impl Interest {
    fn events(self) -> u32 {
        let bits = match self {
            Self::Read => libc::EPOLLIN,
            Self::ReadAndWrite => libc::EPOLLIN | libc::EPOLLOUT,
        };
        bits.cast_unsigned()
    }
}

/// A set of sockets, each known by a number.
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

impl Poller {
    /// An empty set. Sleeps of this thread end on time from now on: the kernel rounds them up by 50 µs otherwise.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers; sets how exactly this thread's timers fire.
        unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1, 0, 0, 0) };
        // SAFETY: takes no pointers.
        let descriptor = checked(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the descriptor is new and nobody else's.
        let epoll = unsafe { OwnedFd::from_raw_fd(descriptor) };
        Ok(Self { epoll, events: vec![libc::epoll_event { events: 0, u64: 0 }; EVENTS_MAX] })
    }

    /// Takes a socket in.
    pub fn add(&self, socket: &impl AsRawFd, number: usize, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_ADD, socket.as_raw_fd(), number, interest)
    }

    /// Changes what is waited for.
    pub fn change(&self, socket: &impl AsRawFd, number: usize, interest: Interest) -> io::Result<()> {
        self.control(libc::EPOLL_CTL_MOD, socket.as_raw_fd(), number, interest)
    }

    fn control(&self, action: i32, socket: RawFd, number: usize, interest: Interest) -> io::Result<()> {
        let mut event = libc::epoll_event { events: interest.events(), u64: number as u64 };
        // SAFETY: the event outlives the call; both descriptors are open.
        checked(unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), action, socket, &raw mut event) })?;
        Ok(())
    }

    /// Waits for any of them, `timeout` at most; the numbers of those that are ready.
    pub fn wait(&mut self, timeout: Duration) -> io::Result<impl Iterator<Item = usize>> {
        let timeout = libc::timespec {
            tv_sec: timeout.as_secs().cast_signed(),
            tv_nsec: i64::from(timeout.subsec_nanos()),
        };
        // SAFETY: the events are as many as is said, and outlive the call, as does the timeout; no signal mask is given.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        let number = |event: &libc::epoll_event| usize::try_from(event.u64).expect("numbers come from `add`");
        Ok(self.events[..count].iter().map(number))
    }
}

fn checked(outcome: i32) -> io::Result<i32> {
    if outcome < 0 { Err(io::Error::last_os_error()) } else { Ok(outcome) }
}
