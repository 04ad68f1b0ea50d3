//! The thread that writes the quorum's files, so that a slow disk never holds up the control thread.
//!
//! One job at a time, in order. After the first failure nothing more is written: whether a failed sync lost
//! anything can't be known, so the process must stop.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{Builder, JoinHandle};

use super::files::Files;
use crate::limits::QUORUM_WRITES_MAX;

/// What is done once a job is over.
type Done = Box<dyn FnOnce(io::Result<()>) + Send>;

enum Job {
    Write {
        name: &'static str,
        position: u64,
        bytes: Vec<u8>,
        done: Done,
    },
    Replace {
        name: &'static str,
        make: Box<dyn FnOnce() -> Vec<u8> + Send>,
        done: Done,
    },
    /// Looks how much space is left, nothing else.
    Measure {
        done: Done,
    },
}

impl Job {
    fn done(self) -> Done {
        match self {
            Self::Write { done, .. } | Self::Replace { done, .. } | Self::Measure { done } => done,
        }
    }
}

/// Hands jobs to the thread; the thread ends when this is dropped and its jobs are done.
#[derive(Debug)]
pub(super) struct Writer {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    /// Space that was left after the last job.
    available_bytes: Arc<AtomicU64>,
}

impl Writer {
    pub(super) fn start(files: impl Files) -> io::Result<Self> {
        let (jobs, queue) = sync_channel(QUORUM_WRITES_MAX);
        let available_bytes = Arc::new(AtomicU64::new(files.available_bytes()?));
        let available = available_bytes.clone();
        let thread =
            Builder::new().name("quorum-writer".to_owned()).spawn(move || run(files, &queue, &available))?;
        Ok(Self { jobs: Some(jobs), thread: Some(thread), available_bytes })
    }

    /// Writes at a position, and syncs.
    pub(super) async fn write(&self, name: &'static str, position: u64, bytes: Vec<u8>) -> io::Result<()> {
        self.wait(|done| Job::Write { name, position, bytes, done }).await
    }

    /// Replaces a file by what `make` makes on the writer's thread.
    pub(super) async fn replace(
        &self,
        name: &'static str,
        make: impl FnOnce() -> Vec<u8> + Send + 'static,
    ) -> io::Result<()> {
        self.wait(|done| Job::Replace { name, make: Box::new(make), done }).await
    }

    /// Space that is left, as of the last job.
    pub(super) fn available_bytes(&self) -> u64 {
        self.available_bytes.load(Ordering::Relaxed)
    }

    /// Space that is left now.
    pub(super) async fn measure(&self) -> io::Result<u64> {
        self.wait(|done| Job::Measure { done }).await?;
        Ok(self.available_bytes())
    }

    async fn wait(&self, job: impl FnOnce(Done) -> Job) -> io::Result<()> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.send(job(Box::new(move |result| drop(sender.send(result)))));
        receiver.await.unwrap_or_else(|_| Err(stopped()))
    }

    fn send(&self, job: Job) {
        let jobs = self.jobs.as_ref().expect("jobs come before the drop");
        if let Err(refused) = jobs.send(job) {
            refused.0.done()(Err(stopped()));
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the quorum's writer thread panicked");
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other("the quorum's writer has stopped after an earlier failure")
}

fn run(mut files: impl Files, queue: &Receiver<Job>, available: &AtomicU64) {
    let mut failed = false;
    while let Ok(job) = queue.recv() {
        if failed {
            job.done()(Err(stopped()));
            continue;
        }
        let (result, done) = match job {
            Job::Write { name, position, bytes, done } => (files.write(name, position, &bytes), done),
            Job::Replace { name, make, done } => (files.replace(name, &make()), done),
            Job::Measure { done } => (Ok(()), done),
        };
        failed = result.is_err();
        if let Ok(bytes) = files.available_bytes() {
            available.store(bytes, Ordering::Relaxed);
        }
        done(result);
    }
}
