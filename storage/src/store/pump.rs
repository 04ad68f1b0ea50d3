//! The journal's pump: seals frames, writes them, says what is sealed and what is synced.
//!
//! One task per shard polls all writes under way itself, so that it needs no executor to spawn them on. While one
//! frame is written, appends gather in the next: group commit. A failed write ends it for good.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use super::errors::StoreFailure;
use super::state::Departure;
use super::types::SyncMethod;
use super::{ShardStore, Shared};
use crate::disk::{Disk, DiskFile, SharedBuffer};
use crate::journal::FrameSequence;

/// A write under way.
struct Flight {
    sequence: FrameSequence,
    write: Pin<Box<dyn Future<Output = io::Result<()>>>>,
}

impl<D: Disk> ShardStore<D> {
    /// Runs the journal until the store is closed and everything is written, or a write fails. Spawned once.
    ///
    /// # Panics
    /// If it is run twice.
    pub async fn run_writer(&self) {
        assert!(!self.shared.has_writer.replace(true), "the pump runs once");
        let mut flights = Vec::new();
        poll_fn(|context| self.shared.poll_writer(&mut flights, context)).await;
    }
}

impl<D: Disk> Shared<D> {
    fn poll_writer(&self, flights: &mut Vec<Flight>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut has_moved = self.poll_flights(flights, context);
            loop {
                let departure = self.state.borrow_mut().seal_next();
                let Some(departure) = departure else { break };
                has_moved = true;
                flights.extend(self.depart(departure, context));
            }
            if self.state.borrow().failure.is_some() {
                return if flights.is_empty() { Poll::Ready(()) } else { self.wait(context) };
            }
            if !has_moved {
                break;
            }
        }
        let state = self.state.borrow();
        let is_done = state.is_closing && state.collector.is_empty() && state.window.is_idle();
        drop(state);
        if is_done { Poll::Ready(()) } else { self.wait(context) }
    }

    fn wait(&self, context: &Context<'_>) -> Poll<()> {
        self.writer_wanted.register(context);
        Poll::Pending
    }

    fn poll_flights(&self, flights: &mut Vec<Flight>, context: &mut Context<'_>) -> bool {
        let mut has_moved = false;
        let mut index = 0;
        while index < flights.len() {
            match flights[index].write.as_mut().poll(context) {
                Poll::Pending => index += 1,
                Poll::Ready(result) => {
                    let flight = flights.swap_remove(index);
                    has_moved = true;
                    self.arrive(flight.sequence, result);
                }
            }
        }
        has_moved
    }

    /// Starts a frame's write, then says what can be read; the device works meanwhile.
    fn depart(&self, departure: Departure, context: &mut Context<'_>) -> Option<Flight> {
        let Departure { sequence, location, buffer, ends } = departure;
        let (file, method) = {
            let state = self.state.borrow();
            (state.ring.file(location.file), state.options.sync_method)
        };
        let mut flight =
            Flight { sequence, write: Box::pin(write_frame(file, buffer, location.position, method)) };
        let first = flight.write.as_mut().poll(context);
        if let Some(listener) = self.listener() {
            for (slot, end) in ends {
                listener.sealed(slot, end);
            }
        }
        match first {
            Poll::Pending => Some(flight),
            Poll::Ready(result) => {
                self.arrive(sequence, result);
                None
            }
        }
    }

    fn arrive(&self, sequence: FrameSequence, result: io::Result<()>) {
        if let Err(error) = result {
            self.fail(StoreFailure::new(format!("writing journal frame {sequence}"), &error));
            return;
        }
        let ends = {
            let mut state = self.state.borrow_mut();
            if state.failure.is_some() {
                return;
            }
            state.complete(sequence)
        };
        if let Some(listener) = self.listener() {
            for (slot, end) in ends {
                listener.synced(slot, end);
            }
        }
        self.synced.notify();
    }

    /// Ends all writing for good, and says so once.
    pub(super) fn fail(&self, failure: StoreFailure) {
        {
            let mut state = self.state.borrow_mut();
            if state.failure.is_some() {
                return;
            }
            state.failure = Some(failure.clone());
        }
        tracing::error!(%failure, "the store stops");
        if let Some(listener) = self.listener() {
            listener.failed(&failure);
        }
        self.synced.notify();
        self.writer_wanted.notify();
    }
}

async fn write_frame<F: DiskFile>(
    file: Rc<F>,
    buffer: SharedBuffer,
    position: u64,
    method: SyncMethod,
) -> io::Result<()> {
    file.write_at(&buffer, position).await?;
    if method == SyncMethod::WriteThenSync {
        file.sync().await?;
    }
    Ok(())
}
