//! Which sockets of a shard can be read or written: one epoll instance for all of them, edge-triggered, which itself is
//! waited for through the ring.
//!
//! A socket that is waited for on its own costs a request to the ring each time, and an interrupt of the shard whenever
//! something comes in. Here arrivals are noted by the kernel while the shard is at work, and taken up together when it comes
//! to it; only the first after a quiet moment interrupts.
//!
//! The kernel tells of a change once. So what it has told is kept until a read or a write finds that nothing is left. A read
//! that fills less than it was given room for has taken all there was, with two exceptions: behind the last bytes there may be
//! an end, and urgent data, which nobody here wants, stops a read short.

use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, Read};
use std::net::Shutdown;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use glommio::io::PollableFd;
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use rustc_hash::FxHashMap;
use socket2::Socket;

use crate::limits::READINESS_EVENTS_MAX;
use crate::runtime::yield_if_needed;

/// The readiness of all sockets of a shard.
pub struct Poller {
    instance: PollableFd<Instance>,
    sockets: RefCell<FxHashMap<Token, Rc<Readiness>>>,
    tokens: Cell<Token>,
}

/// What the kernel calls a socket by. Each is given once: an event that was on its way when its socket went is nobody's.
type Token = u64;

/// What is told of a socket, each change once.
const INTEREST: EpollFlags = EpollFlags::EPOLLIN
    .union(EpollFlags::EPOLLPRI)
    .union(EpollFlags::EPOLLRDHUP)
    .union(EpollFlags::EPOLLOUT)
    .union(EpollFlags::EPOLLET);

/// The epoll instance, as something that can be waited for itself.
struct Instance(Epoll);

impl AsRawFd for Instance {
    fn as_raw_fd(&self) -> RawFd {
        self.0.0.as_raw_fd()
    }
}

/// What is known of a socket.
struct Readiness {
    reading: Direction,
    writing: Direction,
    /// The peer will send no more, the socket has failed, or urgent data has come: a short read does not mean that nothing is
    /// left.
    may_read_short: Cell<bool>,
}

/// One direction of a socket. One task waits for it at a time.
struct Direction {
    is_ready: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

/// A connected socket whose readiness a poller knows.
pub struct PolledSocket {
    /// None once it was taken out.
    socket: Option<Socket>,
    token: Token,
    readiness: Rc<Readiness>,
    poller: Rc<Poller>,
}

impl Poller {
    /// A poller of this executor's sockets; it knows what [`Poller::run`] finds out.
    ///
    /// # Errors
    /// There are too few file descriptors.
    ///
    /// # Panics
    /// Outside a glommio executor.
    pub fn new() -> io::Result<Rc<Self>> {
        let instance = Instance(Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?);
        Ok(Rc::new(Self {
            instance: PollableFd::new(instance).map_err(io::Error::from)?,
            sockets: RefCell::default(),
            tokens: Cell::new(0),
        }))
    }

    /// Tells sockets what has changed, until that is not to be had any more, and says why: nobody would hear of them.
    pub async fn run(&self) -> io::Error {
        loop {
            if let Err(error) = self.instance.readable().await {
                return error.into();
            }
            loop {
                match self.collect() {
                    Ok(true) => yield_if_needed().await,
                    Ok(false) => break,
                    Err(error) => return error,
                }
            }
        }
    }

    /// Takes up what the kernel has noted; whether there may be more.
    fn collect(&self) -> io::Result<bool> {
        let mut events = [EpollEvent::empty(); READINESS_EVENTS_MAX];
        let count = match self.instance.get_ref().0.wait(&mut events, EpollTimeout::ZERO) {
            Err(Errno::EINTR) => return Ok(true),
            waited => waited?,
        };
        let sockets = self.sockets.borrow();
        for event in &events[..count] {
            if let Some(readiness) = sockets.get(&event.data()) {
                readiness.note(event.events());
            }
        }
        Ok(count == events.len())
    }

    /// Takes in a connected socket.
    ///
    /// # Errors
    /// What the system says.
    pub fn add(self: &Rc<Self>, socket: Socket) -> io::Result<PolledSocket> {
        socket.set_nonblocking(true)?;
        let token = self.tokens.get();
        self.tokens.set(token + 1);
        self.instance.get_ref().0.add(&socket, EpollEvent::new(INTEREST, token))?;
        let readiness = Rc::new(Readiness {
            reading: Direction::ready(),
            writing: Direction::ready(),
            may_read_short: Cell::new(false),
        });
        self.sockets.borrow_mut().insert(token, Rc::clone(&readiness));
        Ok(PolledSocket { socket: Some(socket), token, readiness, poller: Rc::clone(self) })
    }
}

impl Readiness {
    fn note(&self, told: EpollFlags) {
        let failed = EpollFlags::EPOLLHUP | EpollFlags::EPOLLERR;
        let stops_reads = failed | EpollFlags::EPOLLRDHUP | EpollFlags::EPOLLPRI;
        if told.intersects(stops_reads) {
            self.may_read_short.set(true);
        }
        if told.intersects(stops_reads | EpollFlags::EPOLLIN) {
            self.reading.note_ready();
        }
        if told.intersects(failed | EpollFlags::EPOLLOUT) {
            self.writing.note_ready();
        }
    }
}

impl Direction {
    /// Of a new socket: the first attempt finds out.
    fn ready() -> Self {
        Self { is_ready: Cell::new(true), waker: RefCell::default() }
    }

    fn note_ready(&self) {
        self.is_ready.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Tries until there is an answer, or has the task woken when it is worth trying again.
    fn attempt(
        &self,
        context: &Context<'_>,
        mut attempt: impl FnMut() -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        while self.is_ready.get() {
            match attempt() {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_ready.set(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                answer => return Poll::Ready(answer),
            }
        }
        *self.waker.borrow_mut() = Some(context.waker().clone());
        Poll::Pending
    }
}

impl PolledSocket {
    fn get(&self) -> &Socket {
        self.socket.as_ref().expect("a socket that was taken out is not used")
    }

    /// Reads what is there; 0 at the end.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll_read(&self, context: &Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let reading = &self.readiness.reading;
        let mut socket = self.get();
        let poll = reading.attempt(context, || socket.read(buffer));
        if let Poll::Ready(Ok(count)) = poll
            && count < buffer.len()
            && !self.readiness.may_read_short.get()
        {
            reading.is_ready.set(false);
        }
        poll
    }

    /// Writes a prefix of the slices, in order.
    ///
    /// # Errors
    /// What the system says.
    pub fn poll_write(&self, context: &Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        self.readiness
            .writing
            .attempt(context, || self.get().send_vectored_with_flags(slices, libc::MSG_NOSIGNAL))
    }

    /// Ends both directions at once: who waits for either hears of it.
    pub fn shut_down(&self) {
        // Fails only where the peer has gone already: closed either way.
        let _ = self.get().shutdown(Shutdown::Both);
        self.readiness.note(EpollFlags::EPOLLHUP);
    }

    /// Takes the socket out: the poller knows nothing of it from here on.
    #[must_use]
    pub fn into_descriptor(mut self) -> OwnedFd {
        let socket = self.socket.take().expect("it is taken out once");
        self.forget(&socket);
        socket.into()
    }

    fn forget(&self, socket: &Socket) {
        self.poller.sockets.borrow_mut().remove(&self.token);
        let forgotten = self.poller.instance.get_ref().0.delete(socket);
        assert!(forgotten.is_ok(), "a socket that was added can be taken out: {forgotten:?}");
    }
}

impl Drop for PolledSocket {
    fn drop(&mut self) {
        if let Some(socket) = self.socket.take() {
            self.forget(&socket);
        }
    }
}

#[cfg(test)]
mod tests;
