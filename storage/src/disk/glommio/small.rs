//! Small writes to many files, a job of many at a time.
//!
//! A direct write that makes a file longer is done by a worker of the kernel, one at a time for each worker, with a
//! command to the device of its own. For a few KiB to each of thousands of files that is most of the cost, together
//! with opening them. So such writes go through the page cache, opened and closed around each one: the next sync hands
//! all of it to the device at once. While one job is under way on the blocking thread, the next one gathers.

use std::cell::{Cell, RefCell};
use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::rc::Rc;

use nix::fcntl::{PosixFadviseAdvice, posix_fadvise};

use crate::disk::SharedBuffer;
use crate::limits::SMALL_WRITES_PER_JOB_MAX;
use crate::wait::Notify;

/// One write to one file.
pub(super) struct SmallWrite {
    pub(super) path: PathBuf,
    pub(super) buffer: SharedBuffer,
    pub(super) position: u64,
    /// Up to where the page cache need not keep what it has of the file.
    pub(super) forget_below: u64,
}

impl SmallWrite {
    /// What the page cache still has of earlier writes to the file is given back first: nobody reads it there, and the pages that
    /// it frees are those that this write takes. A cache that only grew would meet memory that is new to it each time, which
    /// costs most where a host has to find it for a virtual machine, and crowd out what others have there. What is not on the
    /// device yet stays; to ask for that as well would have it written at once.
    fn perform(&self) -> io::Result<()> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).open(&self.path)?;
        let forget_below = libc::off_t::try_from(self.forget_below).unwrap_or(libc::off_t::MAX);
        // A length of zero would be all of the file.
        if forget_below > 0 {
            // Advice: a filesystem that knows nothing of it keeps the pages.
            let _kept = posix_fadvise(&file, 0, forget_below, PosixFadviseAdvice::POSIX_FADV_DONTNEED);
        }
        file.write_all_at(self.buffer.padded(), self.position)
    }
}

/// The small writes of one thread.
#[derive(Default)]
pub(super) struct SmallWrites {
    waiting: RefCell<Vec<(SmallWrite, Rc<Outcome>)>>,
    is_running: Cell<bool>,
    ended: Notify,
}

type Outcome = Cell<Option<io::Result<()>>>;

impl SmallWrites {
    /// Done, as far as readers of the file can tell, when it returns.
    pub(super) async fn write(&self, write: SmallWrite) -> io::Result<()> {
        let outcome = Rc::new(Outcome::default());
        self.waiting.borrow_mut().push((write, Rc::clone(&outcome)));
        loop {
            let ended = self.ended.changed();
            if let Some(result) = outcome.take() {
                return result;
            }
            if self.is_running.get() {
                ended.await;
            } else {
                self.run_job().await;
            }
        }
    }

    /// Does what has waited longest. Whoever finds no job under way runs the next one, for all. No job takes all that may
    /// come: while one part is written, the other is prepared.
    async fn run_job(&self) {
        let (writes, outcomes): (Vec<_>, Vec<_>) = {
            let mut waiting = self.waiting.borrow_mut();
            let count = waiting.len().min(SMALL_WRITES_PER_JOB_MAX);
            waiting.drain(..count).unzip()
        };
        assert!(!writes.is_empty(), "the caller's own is not done");
        let job = Job::begin(self, outcomes);
        let work = move || writes.iter().map(SmallWrite::perform).collect::<Vec<_>>();
        let results = glommio::executor().spawn_blocking(work).await;
        job.end(results);
    }
}

/// A job under way.
struct Job<'a> {
    writes: &'a SmallWrites,
    outcomes: Vec<Rc<Outcome>>,
}

impl<'a> Job<'a> {
    fn begin(writes: &'a SmallWrites, outcomes: Vec<Rc<Outcome>>) -> Self {
        assert!(!writes.is_running.replace(true), "one job at a time");
        Self { writes, outcomes }
    }

    fn end(mut self, results: Vec<io::Result<()>>) {
        assert_eq!(results.len(), self.outcomes.len());
        for (outcome, result) in self.outcomes.drain(..).zip(results) {
            outcome.set(Some(result));
        }
    }
}

impl Drop for Job<'_> {
    fn drop(&mut self) {
        // Whoever ran it was dropped meanwhile: nobody will know what became of the others' writes.
        for outcome in self.outcomes.drain(..) {
            outcome.set(Some(Err(io::ErrorKind::Interrupted.into())));
        }
        self.writes.is_running.set(false);
        self.writes.ended.notify();
    }
}
