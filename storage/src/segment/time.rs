//! Look-ups by time: through the time index to a batch, exactly. Inside of a batch is the caller's business.

use bytes::Bytes;
use protocol::types::{Offset, Timestamp};

use super::SegmentError;
use super::header::BatchPlace;
use super::index::{Found, TimeEntry, find_last_in_file, read_entries};
use super::log::{Latest, PartitionLog};
use super::names::FileKind;
use super::open::latest_of;
use super::read::to_usize;
use super::walk::{SegmentView, Step, Walk};
use crate::disk::Disk;
use crate::limits::SEGMENT_READ_BYTES_MIN;

impl<D: Disk> PartitionLog<D> {
    /// The first batch, by offset, whose largest timestamp is at or past a time and that begins below `limit`.
    ///
    /// # Errors
    /// `Corrupt` where a segment is not what was written; what the disk says.
    pub async fn batch_at_time(&self, time: Timestamp, limit: Offset) -> Result<Option<Bytes>, SegmentError> {
        self.uncut(async || self.find_at_time(time, limit).await).await
    }

    /// The first batch that has the largest timestamp of all that begin below `limit`. None in an empty log, and where
    /// no record has a timestamp.
    ///
    /// # Errors
    /// `Corrupt` where a segment is not what was written; what the disk says.
    pub async fn batch_of_max_timestamp(&self, limit: Offset) -> Result<Option<Bytes>, SegmentError> {
        self.uncut(async || self.find_of_max_timestamp(limit).await).await
    }

    /// Looks again when bytes were taken away meanwhile.
    async fn uncut<T>(&self, look: impl AsyncFn() -> Result<T, SegmentError>) -> Result<T, SegmentError> {
        loop {
            let cuts = self.cuts.get();
            let outcome = look().await;
            if cuts == self.cuts.get() {
                return outcome;
            }
        }
    }

    async fn find_at_time(&self, time: Timestamp, limit: Offset) -> Result<Option<Bytes>, SegmentError> {
        for view in self.views_below(limit) {
            let latest = self.load_latest(view.base).await?;
            if latest.is_none_or(|latest| latest.timestamp < time) {
                continue;
            }
            // All batches up to this entry's are earlier than the time.
            let earlier = self.find_time_entry(view, |entry| entry.timestamp < time).await?;
            let offset = earlier.map_or(view.base, |entry| latest_of(view.base, entry).offset);
            let file = self.file(view.base, FileKind::Log).await?;
            let (mut walk, mut step) = self.walk_from(&*file, view, offset, SEGMENT_READ_BYTES_MIN).await?;
            loop {
                match self.batch_of(view, &walk, step)? {
                    Some((position, place)) if place.max_timestamp >= time => {
                        return if place.base < limit {
                            self.batch_bytes(view, &mut walk, position, place).await.map(Some)
                        } else {
                            Ok(None)
                        };
                    }
                    Some(_) => step = walk.next().await.map_err(self.error(view.base, FileKind::Log))?,
                    None => break,
                }
            }
        }
        Ok(None)
    }

    async fn find_of_max_timestamp(&self, limit: Offset) -> Result<Option<Bytes>, SegmentError> {
        let mut best: Option<(SegmentView, Latest)> = None;
        for view in self.views_below(limit) {
            let latest = self.latest_below(view, limit).await?;
            let better = |latest: &Latest| best.is_none_or(|(_, best)| latest.timestamp > best.timestamp);
            if let Some(latest) = latest.filter(better) {
                best = Some((view, latest));
            }
        }
        let Some((view, latest)) = best else { return Ok(None) };
        let file = self.file(view.base, FileKind::Log).await?;
        let (mut walk, mut step) =
            self.walk_from(&*file, view, latest.offset, SEGMENT_READ_BYTES_MIN).await?;
        while let Some((position, place)) = self.batch_of(view, &walk, step)? {
            if place.last >= latest.offset {
                return self.batch_bytes(view, &mut walk, position, place).await.map(Some);
            }
            step = walk.next().await.map_err(self.error(view.base, FileKind::Log))?;
        }
        Ok(None)
    }

    /// The largest timestamp of a segment's batches below an offset.
    async fn latest_below(&self, view: SegmentView, limit: Offset) -> Result<Option<Latest>, SegmentError> {
        let latest = self.load_latest(view.base).await?;
        if latest.is_none_or(|latest| latest.offset < limit) {
            return Ok(latest);
        }
        let entry = self.find_time_entry(view, |entry| latest_of(view.base, *entry).offset < limit).await?;
        let mut best = entry.map(|entry| latest_of(view.base, entry));
        let file = self.file(view.base, FileKind::Log).await?;
        let offset = best.map_or(view.base, |best| best.offset);
        let (mut walk, mut step) = self.walk_from(&*file, view, offset, SEGMENT_READ_BYTES_MIN).await?;
        while let Some((_, place)) = self.batch_of(view, &walk, step)? {
            if place.base >= limit {
                break;
            }
            if place.max_timestamp > best.map_or(Timestamp(-1), |best| best.timestamp) {
                best = Some(Latest { timestamp: place.max_timestamp, offset: place.last });
            }
            step = walk.next().await.map_err(self.error(view.base, FileKind::Log))?;
        }
        Ok(best)
    }

    /// The largest timestamp of a segment. A closed segment's time index ends with it.
    pub(super) async fn load_latest(&self, base: Offset) -> Result<Option<Latest>, SegmentError> {
        let count = {
            let mut state = self.state.borrow_mut();
            let closed = state.last().base != base;
            match state.segment_mut(base) {
                Some(segment) if segment.latest.is_none() && closed => segment.times.count(),
                Some(segment) => return Ok(segment.latest),
                None => return Ok(None),
            }
        };
        let Some(last) = count.checked_sub(1) else { return Ok(None) };
        let file = self.file(base, FileKind::TimeIndex).await?;
        let entries =
            read_entries(&*file, last, count).await.map_err(self.error(base, FileKind::TimeIndex))?;
        let latest = entries.first().map(|entry| latest_of(base, *entry));
        let Some(view) = self.view_of(base) else { return Ok(None) };
        if let Some(latest) = latest
            && !self.has_latest(view, latest).await?
        {
            self.suspect_index(base);
            return Ok(None);
        }
        if let Some(segment) = self.state.borrow_mut().segment_mut(base) {
            segment.latest = latest;
        }
        Ok(latest)
    }

    /// When a segment's first batch was written, by its largest timestamp; none where it has none, or one that Kafka, too,
    /// takes for none. A device is asked once.
    ///
    /// # Errors
    /// `Corrupt` where no batch is there; what the disk says.
    pub async fn first_timestamp_of(&self, base: Offset) -> Result<Option<Timestamp>, SegmentError> {
        Ok(self.load_first_timestamp(base).await?.filter(|time| time.get() > 0))
    }

    /// The largest timestamp of a segment's first batch; none where there is no batch.
    pub(super) async fn load_first_timestamp(&self, base: Offset) -> Result<Option<Timestamp>, SegmentError> {
        let known = self.state.borrow_mut().segment_mut(base).and_then(|segment| segment.first_timestamp);
        if known.is_some() {
            return Ok(known);
        }
        let Some(view) = self.view_of(base).filter(|view| view.size_bytes > 0) else { return Ok(None) };
        let cuts = self.cuts.get();
        let file = self.file(base, FileKind::Log).await?;
        let mut walk = Walk::new(&*file, 0, view, SEGMENT_READ_BYTES_MIN);
        let Step::Batch { place, .. } = walk.next().await.map_err(self.error(base, FileKind::Log))? else {
            return Err(self.corrupt(base, 0, base));
        };
        // Another segment may have taken its place meanwhile.
        if self.cuts.get() == cuts
            && let Some(segment) = self.state.borrow_mut().segment_mut(base)
        {
            segment.first_timestamp = Some(place.max_timestamp);
        }
        Ok(Some(place.max_timestamp))
    }

    /// Whether a segment has a batch that ends with an offset and has a timestamp, as an index says.
    async fn has_latest(&self, view: SegmentView, latest: Latest) -> Result<bool, SegmentError> {
        let file = self.file(view.base, FileKind::Log).await?;
        let (walk, step) = self.walk_from(&*file, view, latest.offset, SEGMENT_READ_BYTES_MIN).await?;
        self.meets_latest(view, walk, step, latest).await
    }

    /// As [`PartitionLog::has_latest`], on a walk that has begun before that batch.
    pub(super) async fn meets_latest(
        &self,
        view: SegmentView,
        mut walk: Walk<'_, D::File>,
        mut step: Step,
        latest: Latest,
    ) -> Result<bool, SegmentError> {
        while let Step::Batch { place, .. } = step {
            if place.last >= latest.offset {
                return Ok(place.last == latest.offset && place.max_timestamp == latest.timestamp);
            }
            step = walk.next().await.map_err(self.error(view.base, FileKind::Log))?;
        }
        Ok(false)
    }

    async fn find_time_entry(
        &self,
        view: SegmentView,
        condition: impl Fn(&TimeEntry) -> bool,
    ) -> Result<Option<TimeEntry>, SegmentError> {
        let found = match self.state.borrow_mut().segment_mut(view.base) {
            Some(segment) => segment.times.find_last(&condition),
            None => Found::Nothing,
        };
        match found {
            Found::Entry(entry) => Ok(Some(entry)),
            Found::Nothing => Ok(None),
            Found::InFile(count) => {
                let file = self.file(view.base, FileKind::TimeIndex).await?;
                let found = find_last_in_file(&*file, count, condition).await;
                found.map_err(self.error(view.base, FileKind::TimeIndex))
            }
        }
    }

    fn views_below(&self, limit: Offset) -> Vec<SegmentView> {
        let state = self.state.borrow();
        let ends = state.segments.iter().skip(1).map(|segment| segment.base).chain([state.end]);
        let below = state.segments.iter().zip(ends).take_while(|(segment, _)| segment.base < limit);
        let some = below.filter(|(segment, _)| segment.size_bytes > 0);
        let views = some.map(|(segment, end)| SegmentView {
            base: segment.base,
            end,
            size_bytes: segment.size_bytes,
        });
        views.collect()
    }

    fn batch_of(
        &self,
        view: SegmentView,
        walk: &Walk<'_, D::File>,
        step: Step,
    ) -> Result<Option<(u64, BatchPlace)>, SegmentError> {
        match step {
            Step::Batch { position, place } => Ok(Some((position, place))),
            Step::End => Ok(None),
            Step::Damage => Err(self.corrupt(view.base, walk.position(), walk.offset())),
        }
    }

    async fn batch_bytes(
        &self,
        view: SegmentView,
        walk: &mut Walk<'_, D::File>,
        position: u64,
        place: BatchPlace,
    ) -> Result<Bytes, SegmentError> {
        let length = to_usize(place.size_bytes);
        let bytes = walk.bytes(position, length).await.map_err(self.error(view.base, FileKind::Log))?;
        if bytes.len() < length {
            return Err(self.corrupt(view.base, position, place.base));
        }
        Ok(bytes)
    }
}
