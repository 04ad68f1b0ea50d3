//! A reader that drains a backlog: reads it through the client's consumer, checks every record, measures, and begins again at
//! its end, until what is measured is over.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use client::consumer::RoundTrip;
use client::{At, Client, Fetched};

use super::course::{Course, Found, Position};
use super::recorder::Notes;
use super::thread::{LoadError, Shared, nanoseconds};
use crate::verify::Reading;

/// A reader to which nothing comes looks so often whether it is over.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// A reader of all partitions of a stream.
pub struct Drain {
    stream: usize,
    shared: Arc<Shared>,
    notes: Notes,
    course: Course,
    reading: Reading,
    /// The last fetch that brought something.
    round_trip: Option<RoundTrip>,
}

impl Drain {
    /// Finds where the backlog begins; it is read from now on.
    pub async fn connect(
        client: &Client,
        stream: usize,
        shared: Arc<Shared>,
        notes: Notes,
    ) -> Result<Self, LoadError> {
        let plan = &shared.plan.streams[stream];
        let begins = plan.layout.offsets(&client.admin(), At::Earliest).await?;
        let position = |(begin, end): (&i64, &i64)| Position { begin: *begin, next: *begin, end: *end };
        let positions: BTreeMap<usize, Position> =
            begins.iter().zip(&plan.backlog_ends).map(position).enumerate().collect();
        let course = Course::begin(client, &plan.layout, positions, shared.answer_bytes_max()).await?;
        let reading = Reading::new(shared.plan.run);
        Ok(Self { stream, shared, notes, course, reading, round_trip: None })
    }

    /// Reads until what is measured is over.
    pub async fn run(mut self) {
        if let Err(error) = self.read().await {
            return self.shared.fail(error.0);
        }
        let mut notes = self.notes.borrow_mut();
        notes.streams[self.stream].faults.merge(self.reading.finish_anywhere());
    }

    async fn read(&mut self) -> Result<(), LoadError> {
        let until_ns = self.shared.window().until_ns;
        while !self.shared.is_stopped() && self.shared.now_ns() < until_ns {
            if let Some(fetched) = self.course.next(LOOK_INTERVAL).await? {
                self.take(&fetched)?;
            }
            if self.course.is_at_end() {
                self.course.begin_again().await?;
                let reading = std::mem::replace(&mut self.reading, Reading::new(self.shared.plan.run));
                let faults = reading.finish_anywhere();
                self.notes.borrow_mut().streams[self.stream].faults.merge(faults);
            }
        }
        Ok(())
    }

    fn take(&mut self, fetched: &Fetched) -> Result<(), LoadError> {
        let is_measured = self.shared.window().contains(self.shared.now_ns());
        let (mut records, mut bytes) = (0, 0);
        let note = |found: Found| {
            self.reading.note(found.partition, found.stamp);
            records += 1;
            bytes += found.bytes;
        };
        self.course.walk(fetched, || 0, note)?;
        let notes = &mut *self.notes.borrow_mut();
        let stream = &mut notes.streams[self.stream];
        notes.tick.drained.add(records, bytes);
        if is_measured {
            stream.drained.add(records, bytes);
        }
        // The pieces of one answer came with one fetch.
        let round_trip = fetched.round_trip().filter(|trip| self.round_trip.replace(*trip) != Some(*trip));
        if let Some(trip) = round_trip.filter(|_| is_measured) {
            stream.fetches.record(nanoseconds(trip.answered_at - trip.sent_at));
        }
        Ok(())
    }
}
