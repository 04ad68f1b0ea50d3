//! What a restart finds in the journal's files: the unbroken chain of frames, and what proves damage behind it.
//!
//! The frame that fits after another one has the next number, the generation that was the running one at that
//! number, the shard, and names the CRC of the frame before. It lies right behind that frame, or at the beginning of
//! another file.
//!
//! Where none fits, the chain ends. Two reasons:
//!
//! | what is behind | then |
//! | --- | --- |
//! | no frame of its generation with a higher number that names the missing one as synced | torn: never acked, dropped |
//! | such a frame | rotten: acked records are damaged; the chain goes on there, and the damage is reported |
//!
//! The last frame before a crash has nobody behind it to name it; that is what a torn frame looks like, and why a
//! rotten one there can't be told from it. Nothing here trusts a length that is not proven by a CRC.

use std::collections::BTreeSet;
use std::io;

use bytes::Bytes;

use super::FrameSequence;
use super::frame::{EntryBody, FRAME_GRAIN_BYTES, FRAME_HEADER_BYTES, FrameFront, front_bytes};
use super::ring::FrameLocation;
use crate::checkpoint::{Checkpoint, Life, ReplayFrom};
use crate::disk::DiskFile;
use crate::limits::REPLAY_READ_BYTES;

/// A frame of the chain.
#[derive(Debug)]
pub(crate) struct FoundFrame {
    pub(crate) location: FrameLocation,
    pub(crate) front: FrameFront,
    /// The entries (by index) whose batches are damaged. Empty but after proven damage.
    pub(crate) damaged_entries: Vec<usize>,
}

/// Frames that were synced once and are not readable now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostFrames {
    /// The first one.
    pub first: FrameSequence,
    /// The first readable one behind.
    pub end: FrameSequence,
    /// The file where the first one should be.
    pub file: u32,
    /// Its position in the file.
    pub position: u64,
}

/// The result of a replay, besides the frames themselves.
#[derive(Debug)]
pub(crate) struct Replayed {
    /// The files they lie in, in order; never empty.
    pub(crate) files: Vec<u32>,
    /// Where the next frame goes.
    pub(crate) next: ReplayFrom,
    /// Proven losses of whole frames. Damage within a frame is at the frame.
    pub(crate) lost: Vec<LostFrames>,
    pub(crate) bytes_read: u64,
}

/// A file to be replayed.
pub(crate) struct ReplayFile<'a, F> {
    pub(crate) number: u32,
    pub(crate) file: &'a F,
    pub(crate) size_bytes: u64,
}

/// Replays the chain from `from`; `sink` gets each frame that counts, in order, with its bytes.
pub(crate) async fn replay<F: DiskFile>(
    files: &[ReplayFile<'_, F>],
    shard: u16,
    lives: &[Life],
    from: ReplayFrom,
    sink: &mut dyn FnMut(FoundFrame, Bytes),
) -> io::Result<Replayed> {
    let mut replay = Replay {
        files: files.iter().map(Window::new).collect(),
        shard,
        lives,
        sink,
        result: Replayed { files: vec![from.location.file], next: from, lost: Vec::new(), bytes_read: 0 },
    };
    loop {
        replay.follow_chain().await?;
        let Some(behind) = replay.proof_behind().await? else { break };
        replay.resume_at(behind).await?;
    }
    replay.result.bytes_read = replay.files.iter().map(|file| file.bytes_read).sum();
    Ok(replay.result)
}

struct Replay<'a, F> {
    files: Vec<Window<'a, F>>,
    shard: u16,
    lives: &'a [Life],
    sink: &'a mut dyn FnMut(FoundFrame, Bytes),
    result: Replayed,
}

/// A frame behind the end of the chain.
struct Behind {
    location: FrameLocation,
    front: FrameFront,
}

impl<F: DiskFile> Replay<'_, F> {
    /// Takes frames as long as they fit and are whole.
    async fn follow_chain(&mut self) -> io::Result<()> {
        while let Some((location, front, frame)) = self.next_frame().await? {
            let damaged_entries = damaged_entries(&front, &frame);
            if !damaged_entries.is_empty() {
                // Torn or rotten: what is behind tells, as for a frame that is not there at all.
                if !self.is_proven_synced(front.identity.sequence).await? {
                    return Ok(());
                }
            }
            self.accept(location, front, damaged_entries, frame);
        }
        Ok(())
    }

    fn accept(
        &mut self,
        location: FrameLocation,
        front: FrameFront,
        damaged_entries: Vec<usize>,
        frame: Bytes,
    ) {
        let next = &mut self.result.next;
        assert_eq!(front.identity.sequence, next.sequence);
        *next = ReplayFrom {
            sequence: next.sequence.next(),
            location: FrameLocation {
                file: location.file,
                position: location.position + u64::from(front.length_bytes),
            },
            previous_crc: front.crc,
        };
        if self.result.files.last() != Some(&location.file) {
            self.result.files.push(location.file);
        }
        (self.sink)(FoundFrame { location, front, damaged_entries }, frame);
    }

    /// The frame that fits at the end of the chain: in its file, or at the beginning of one not used yet.
    async fn next_frame(&mut self) -> io::Result<Option<(FrameLocation, FrameFront, Bytes)>> {
        let here = self.result.next.location;
        let heads = self.files.iter().map(|file| FrameLocation { file: file.number, position: 0 });
        let candidates: Vec<_> = std::iter::once(here)
            .chain(heads.filter(|head| !self.result.files.contains(&head.file)))
            .collect();
        for location in candidates {
            let Some(index) = self.index(location.file) else { continue };
            let Some(front) = self.files[index].front_at(location.position).await? else { continue };
            if self.fits(&front) {
                let length = usize::try_from(front.length_bytes).expect("a frame's length");
                let frame = self.files[index].bytes(location.position, length).await?;
                if frame.len() == length {
                    return Ok(Some((location, front, frame)));
                }
            }
        }
        Ok(None)
    }

    fn index(&self, file: u32) -> Option<usize> {
        self.files.iter().position(|window| window.number == file)
    }

    fn fits(&self, front: &FrameFront) -> bool {
        let next = &self.result.next;
        front.identity.sequence == next.sequence
            && front.identity.previous_crc == next.previous_crc
            && self.is_of_its_generation(front)
    }

    fn is_of_its_generation(&self, front: &FrameFront) -> bool {
        front.identity.shard == self.shard
            && Checkpoint::generation_of(self.lives, front.identity.sequence)
                == Some(front.identity.generation)
    }

    async fn is_proven_synced(&mut self, sequence: FrameSequence) -> io::Result<bool> {
        Ok(self.frames_behind(sequence).await?.iter().any(|behind| names(behind, sequence)))
    }

    /// If a frame behind the end of the chain names the missing one as synced: the first frame behind.
    async fn proof_behind(&mut self) -> io::Result<Option<Behind>> {
        let missing = self.result.next.sequence;
        let mut behind = self.frames_behind(missing).await?;
        if !behind.iter().any(|frame| names(frame, missing)) {
            return Ok(None);
        }
        behind.sort_by_key(|frame| frame.front.identity.sequence);
        Ok(behind.into_iter().next())
    }

    /// All whole fronts with a number above `missing`, in the rest of the file where the chain ended and in the
    /// files not used yet.
    async fn frames_behind(&mut self, missing: FrameSequence) -> io::Result<Vec<Behind>> {
        let here = self.result.next.location;
        let used: BTreeSet<u32> = self.result.files.iter().copied().collect();
        let mut found = Vec::new();
        for index in 0..self.files.len() {
            let number = self.files[index].number;
            let mut position = match number {
                _ if number == here.file => here.position,
                _ if used.contains(&number) => continue,
                _ => 0,
            };
            // Elsewhere than where the chain ended, a whole head of an earlier life tells that the file is not used
            // by the running one: it need not be searched.
            let is_here = number == here.file;
            while position < self.files[index].size_bytes {
                let front = self.files[index].front_at(position).await?;
                let mut step = FRAME_GRAIN_BYTES as u64;
                match front {
                    Some(front) if self.is_of_its_generation(&front) && front.identity.sequence > missing => {
                        step = u64::from(front.length_bytes);
                        let location = FrameLocation { file: number, position };
                        found.push(Behind { location, front });
                    }
                    // What lies in the frame itself is its producers' and proves nothing.
                    Some(front)
                        if self.is_of_its_generation(&front) && front.identity.sequence == missing =>
                    {
                        step = u64::from(front.length_bytes);
                    }
                    Some(_) if !is_here => break,
                    None if !is_here && position == 0 && self.files[index].is_zero_at(0).await? => break,
                    _ => {}
                }
                position += step;
            }
        }
        Ok(found)
    }

    /// Goes on behind frames that are lost, with a frame that counts as far as it is whole.
    async fn resume_at(&mut self, behind: Behind) -> io::Result<()> {
        let next = self.result.next;
        let sequence = behind.front.identity.sequence;
        assert!(sequence > next.sequence);
        self.result.lost.push(LostFrames {
            first: next.sequence,
            end: sequence,
            file: next.location.file,
            position: next.location.position,
        });
        self.result.next = ReplayFrom {
            sequence,
            location: behind.location,
            previous_crc: behind.front.identity.previous_crc,
        };
        let index = self.index(behind.location.file).expect("it was found there");
        let length = usize::try_from(behind.front.length_bytes).expect("a frame's length");
        let frame = self.files[index].bytes(behind.location.position, length).await?;
        let damaged_entries = damaged_entries(&behind.front, &frame);
        self.accept(behind.location, behind.front, damaged_entries, frame);
        Ok(())
    }
}

fn names(behind: &Behind, sequence: FrameSequence) -> bool {
    behind.front.identity.synced_below > sequence
}

fn damaged_entries(front: &FrameFront, frame: &[u8]) -> Vec<usize> {
    let damaged: Vec<_> = front.damaged(frame).copied().collect();
    let is_damaged = |body: &EntryBody| damaged.iter().any(|other| other.body == *body);
    (0..front.entries.len()).filter(|&index| is_damaged(&front.entries[index].body)).collect()
}

/// Reads a file in large pieces.
struct Window<'a, F> {
    number: u32,
    file: &'a F,
    size_bytes: u64,
    piece: Bytes,
    piece_at: u64,
    bytes_read: u64,
}

impl<'a, F: DiskFile> Window<'a, F> {
    fn new(file: &ReplayFile<'a, F>) -> Self {
        let (number, size_bytes) = (file.number, file.size_bytes);
        Self { number, file: file.file, size_bytes, piece: Bytes::new(), piece_at: 0, bytes_read: 0 }
    }

    /// So many bytes from a position on; fewer at the end of the file.
    async fn bytes(&mut self, position: u64, length: usize) -> io::Result<Bytes> {
        let left = self.size_bytes.saturating_sub(position);
        let length = usize::try_from(left).map_or(length, |left| left.min(length));
        if length == 0 {
            return Ok(Bytes::new());
        }
        if let Some(bytes) = self.piece_slice(position, length) {
            return Ok(bytes);
        }
        // A head is looked at before anybody knows that more is wanted; then comes read-ahead.
        let sequential = position == self.piece_at + self.piece.len() as u64 || position > self.piece_at;
        let ahead = if sequential { REPLAY_READ_BYTES } else { 16 * FRAME_GRAIN_BYTES };
        let wanted = usize::try_from(left).map_or(ahead, |left| left.min(ahead)).max(length);
        self.piece = self.file.read_at(position, wanted).await?;
        self.piece_at = position;
        self.bytes_read += self.piece.len() as u64;
        Ok(self.piece_slice(position, length).unwrap_or_else(|| self.piece.clone()))
    }

    fn piece_slice(&self, position: u64, length: usize) -> Option<Bytes> {
        let start = usize::try_from(position.checked_sub(self.piece_at)?).ok()?;
        let end = start.checked_add(length)?;
        (end <= self.piece.len()).then(|| self.piece.slice(start..end))
    }

    /// Header and table at a position, if their CRC fits.
    async fn front_at(&mut self, position: u64) -> io::Result<Option<FrameFront>> {
        let header = self.bytes(position, FRAME_HEADER_BYTES).await?;
        let Some(front_bytes) = front_bytes(&header) else { return Ok(None) };
        let bytes = self.bytes(position, front_bytes).await?;
        Ok(FrameFront::decode(&bytes)
            .filter(|front| position + u64::from(front.length_bytes) <= self.size_bytes))
    }

    async fn is_zero_at(&mut self, position: u64) -> io::Result<bool> {
        Ok(self.bytes(position, FRAME_GRAIN_BYTES).await?.iter().all(|&byte| byte == 0))
    }
}

#[cfg(test)]
mod tests;
