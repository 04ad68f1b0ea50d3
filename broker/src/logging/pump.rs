//! The thread that writes the log, and the bounded queue before it.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use crate::limits::{LOG_FLUSH_SECONDS_MAX, LOG_LINES_WAITING_MAX};

enum Message {
    Line(Vec<u8>),
    /// Answered when everything before it is written.
    Flush(SyncSender<()>),
}

/// A writer on a thread of its own.
pub(super) struct Pump {
    queue: SyncSender<Message>,
    dropped: Arc<AtomicU64>,
}

impl Pump {
    /// Starts the thread; it ends with the pump, or the process.
    pub(super) fn start(sink: impl Write + Send + 'static) -> io::Result<Self> {
        let (queue, waiting) = sync_channel(LOG_LINES_WAITING_MAX);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&dropped);
        std::thread::Builder::new().name("log".to_owned()).spawn(move || run(sink, &waiting, &counted))?;
        Ok(Self { queue, dropped })
    }

    /// A buffer for one event; it is sent when it is dropped.
    pub(super) fn line(&self) -> Line<'_> {
        Line { pump: self, bytes: Vec::new() }
    }

    /// Waits until all lines before are written, but not for ever.
    pub(super) fn flush(&self) {
        let (done, written) = sync_channel(1);
        // A full queue means that its reader is slow or stuck: then the last lines are lost, as any others would be.
        if self.queue.try_send(Message::Flush(done)).is_ok() {
            let _ = written.recv_timeout(Duration::from_secs(LOG_FLUSH_SECONDS_MAX));
        }
    }
}

fn run(mut sink: impl Write, waiting: &Receiver<Message>, dropped: &AtomicU64) {
    // What can't be logged can't be told either: the log's own failures end here.
    while let Ok(message) = waiting.recv() {
        match message {
            Message::Line(bytes) => drop(sink.write_all(&bytes)),
            Message::Flush(done) => {
                drop(sink.flush());
                let _ = done.try_send(());
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            let line = format!("{lost} log lines were dropped: standard error is read too slowly\n");
            drop(sink.write_all(line.as_bytes()));
        }
    }
}

/// One event on its way to the log.
pub(super) struct Line<'a> {
    pump: &'a Pump,
    bytes: Vec<u8>,
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line<'_> {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if !bytes.is_empty() && self.pump.queue.try_send(Message::Line(bytes)).is_err() {
            self.pump.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}
