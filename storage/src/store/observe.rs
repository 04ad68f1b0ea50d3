//! Rebuilding what the store knows nothing of, after a restart: each partition's producers' state, forward from the
//! snapshot of the checkpoint, through the batches in segments and then in the journal.

use bytes::Bytes;
use protocol::types::Offset;

use super::Shared;
use super::errors::{OpenError, While};
use super::types::{PartitionSlot, RecoveryObserver};
use crate::batch::batches;
use crate::disk::{Disk, DiskFile};
use crate::journal::FrameSequence;
use crate::limits::SCAN_READ_BYTES;
use crate::tail::Run;

impl<D: Disk> Shared<D> {
    /// Shows all that is between the snapshots and the ends of the logs.
    pub(super) async fn observe(&self, observer: &mut dyn RecoveryObserver) -> Result<(), OpenError> {
        let count = u32::try_from(self.state.borrow().partitions.len()).expect("slots");
        for slot in (0..count).map(PartitionSlot) {
            self.observe_segments(slot, observer).await?;
        }
        self.observe_journal(observer).await
    }

    async fn observe_segments(
        &self,
        slot: PartitionSlot,
        observer: &mut dyn RecoveryObserver,
    ) -> Result<(), OpenError> {
        let Some(segments) = self.segments(slot) else { return Ok(()) };
        let (key, mut from) = {
            let state = self.state.borrow();
            let partition = state.partition(slot).expect("just found");
            let at = match &partition.producers {
                Some(snapshot) => {
                    if !snapshot.state.is_empty() {
                        observer.producer_snapshot(partition.key, snapshot.at, &snapshot.state);
                    }
                    snapshot.at
                }
                None => Offset(0),
            };
            (partition.key, at.max(partition.log_start).max(segments.log.start()))
        };
        while from < segments.log.end() {
            let read = segments.log.read(from, segments.log.end(), SCAN_READ_BYTES).await;
            let read = read.map_err(std::io::Error::other).opening("reading producers' batches")?;
            if read.chunks.is_empty() {
                break;
            }
            for batch in read.chunks.iter().flat_map(|chunk| batches(chunk)) {
                if batch.base_offset() >= from {
                    observer.batch(key, batch.header(), batch.body());
                }
            }
            from = read.next;
        }
        Ok(())
    }

    async fn observe_journal(&self, observer: &mut dyn RecoveryObserver) -> Result<(), OpenError> {
        let (from, below) = {
            let state = self.state.borrow();
            (state.replay_from.sequence, state.tail.end())
        };
        for sequence in (from.0..below.0).map(FrameSequence) {
            let Some(bytes) = self.frame_bytes(sequence).await.opening("reading the journal")? else {
                continue;
            };
            let state = self.state.borrow();
            for slot in &state.tail.frame(sequence).slots {
                let Some(partition) = state.partition(*slot) else { continue };
                for run in partition.runs.in_frame(sequence) {
                    for batch in batches(&bytes.slice(run.range())) {
                        if counts(run, batch.base_offset()) {
                            observer.batch(partition.key, batch.header(), batch.body());
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// A whole frame, from memory or from the journal; nothing where no batch of it counts.
    async fn frame_bytes(&self, sequence: FrameSequence) -> std::io::Result<Option<Bytes>> {
        let (file, position, length) = {
            let state = self.state.borrow();
            let frame = state.tail.frame(sequence);
            if frame.slots.is_empty() {
                return Ok(None);
            }
            if let Some(bytes) = state.tail.bytes(sequence) {
                return Ok(Some(bytes.clone()));
            }
            let length = usize::try_from(frame.length_bytes).expect("a frame's length");
            (state.ring.pin(frame.location.file), frame.location.position, length)
        };
        file.read_at(position, length).await.map(Some)
    }

    /// The frames of a round. Those that are in memory are held, too: newer ones may take their room meanwhile.
    pub(super) async fn load_frames(
        &self,
        from: FrameSequence,
        below: FrameSequence,
    ) -> std::io::Result<Frames> {
        let mut frames = Vec::new();
        for sequence in (from.0..below.0).map(FrameSequence) {
            frames.push(self.frame_bytes(sequence).await?);
        }
        Ok(Frames { first: from, frames })
    }
}

/// The bytes of consecutive frames.
pub(super) struct Frames {
    first: FrameSequence,
    /// None where no batch of a frame counts.
    frames: Vec<Option<Bytes>>,
}

impl Frames {
    /// # Panics
    /// If the frame is not among them, or no batch of it counts.
    pub(super) fn bytes(&self, sequence: FrameSequence) -> &Bytes {
        let index = sequence.0.checked_sub(self.first.0).and_then(|index| usize::try_from(index).ok());
        let frame = index.and_then(|index| self.frames.get(index)?.as_ref());
        frame.expect("a round holds the frames of all its runs")
    }
}

fn counts(run: &Run, base: Offset) -> bool {
    base < run.end
}
