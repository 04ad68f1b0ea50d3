//! The files of a shard's journal: preallocated, zeroed once, recycled.
//!
//! `journal/<shards>/<shard>/<n>.journal`, where `<shards>` is the number of shards that the data is laid out for: a
//! change of that number never touches what is there. A frame lies in one file; where it no longer fits, the next file goes on. No file
//! has a header: the number of the frame at its beginning tells its place in the order. A file is recycled when all
//! its frames are below what a restart would need, and never while someone reads it. Nothing is allocated and no
//! metadata changes on the way of an ack: a file joins the ring whole (written under another name, then renamed).
//!
//! Files may be shorter than those that are made now: the first one of a new journal is, since a start waits for it, and all are
//! when the option was raised. They hold what fits, don't count as files of the ring, and leave it in their turn.
//!
//! The ring does not know what is in a frame.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::FrameSequence;
use crate::disk::{Disk, DiskFile, IoBuffer, OpenMode};
use crate::limits::{START_ROOM_BYTES, ZERO_WRITE_BYTES};
use crate::store::SyncMethod;

/// Where a frame lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameLocation {
    pub(crate) file: u32,
    pub(crate) position: u64,
}

/// A file of the ring.
pub(crate) struct RingFile<F> {
    file: Rc<F>,
    size_bytes: u64,
    /// The last frame in it of those that count.
    last: Option<FrameSequence>,
    readers: Rc<Cell<u32>>,
}

/// Keeps a file from being recycled while it is read.
pub(crate) struct Pinned<F> {
    file: Rc<F>,
    readers: Rc<Cell<u32>>,
}

impl<F> std::ops::Deref for Pinned<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.file
    }
}

impl<F> Drop for Pinned<F> {
    fn drop(&mut self) {
        self.readers.set(self.readers.get() - 1);
    }
}

/// The ring of one shard.
pub(crate) struct Ring<F> {
    files: BTreeMap<u32, RingFile<F>>,
    /// Files with frames that count, oldest first; the last one is being written.
    used: VecDeque<u32>,
    /// Where the next frame goes in the last of `used`.
    position: u64,
    /// Bytes of the files of `used` before the last one.
    full_bytes: u64,
    free: VecDeque<u32>,
    /// Short files that have left the ring, still to be removed.
    retired: VecDeque<u32>,
    file_bytes: u64,
    files_max: usize,
}

impl<F: DiskFile> Ring<F> {
    /// A ring of files none of which counts yet.
    pub(crate) fn new(files: Vec<(u32, F, u64)>, file_bytes: u64, files_max: usize) -> Self {
        let free = files.iter().map(|(number, ..)| *number).collect();
        let files = files
            .into_iter()
            .map(|(number, file, size_bytes)| {
                let file = Rc::new(file);
                (number, RingFile { file, size_bytes, last: None, readers: Rc::default() })
            })
            .collect();
        let (used, retired) = (VecDeque::new(), VecDeque::new());
        Self { files, used, position: 0, full_bytes: 0, free, retired, file_bytes, files_max }
    }

    /// Takes a file as the next one to be written, at its beginning. Used at a restart, which finds the order.
    pub(crate) fn take(&mut self, number: u32) {
        let index = self.free.iter().position(|free| *free == number).expect("a file is used once");
        self.free.remove(index);
        self.begin_file(number);
    }

    fn begin_file(&mut self, number: u32) {
        self.full_bytes += self.used.back().map_or(0, |last| self.files[last].size_bytes);
        self.used.push_back(number);
        self.position = 0;
    }

    /// Says that a frame was found in the last file taken.
    pub(crate) fn found(&mut self, location: FrameLocation, length_bytes: u64, sequence: FrameSequence) {
        assert_eq!(self.used.back(), Some(&location.file));
        self.set_last(location, length_bytes, sequence);
    }

    /// Begins to write at a position of the last file taken.
    pub(crate) fn start_at(&mut self, location: FrameLocation) {
        assert_eq!(self.used.back(), Some(&location.file));
        assert!(location.position <= self.files[&location.file].size_bytes);
        self.position = location.position;
    }

    /// The place of the next frame, or `None` while no file is free for it.
    pub(crate) fn place(&mut self, length_bytes: u64, sequence: FrameSequence) -> Option<FrameLocation> {
        assert!(length_bytes <= self.file_bytes);
        let fits = self.used.back().is_some_and(|number| {
            self.files[number].size_bytes.saturating_sub(self.position) >= length_bytes
        });
        if !fits {
            let index = self.free.iter().position(|number| self.files[number].size_bytes >= length_bytes)?;
            let number = self.free.remove(index).expect("just found");
            self.begin_file(number);
        }
        let file = *self.used.back().expect("a file is being written");
        let location = FrameLocation { file, position: self.position };
        self.set_last(location, length_bytes, sequence);
        Some(location)
    }

    fn set_last(&mut self, location: FrameLocation, length_bytes: u64, sequence: FrameSequence) {
        let file = self.files.get_mut(&location.file).expect("a file of the ring");
        assert!(location.position >= self.position);
        assert!(location.position + length_bytes <= file.size_bytes);
        assert!(file.last.is_none_or(|last| last < sequence), "frames go forward");
        file.last = Some(sequence);
        self.position = location.position + length_bytes;
    }

    /// The file that holds a frame, to write it.
    pub(crate) fn file(&self, number: u32) -> Rc<F> {
        Rc::clone(&self.files[&number].file)
    }

    /// The file that holds a frame, to read from it.
    pub(crate) fn pin(&self, number: u32) -> Pinned<F> {
        let file = &self.files[&number];
        file.readers.set(file.readers.get() + 1);
        Pinned { file: Rc::clone(&file.file), readers: Rc::clone(&file.readers) }
    }

    /// Frees the files all of whose frames are below `below`. Returns how many.
    ///
    /// The file being written stays; it is the last. So do those that are `named`, where replays begin: possibly behind the
    /// last frame of a file, and what a file that was written anew has at its head would not be looked for. Short ones leave
    /// the ring as soon as it can go on without them.
    pub(crate) fn recycle(&mut self, below: FrameSequence, named: [u32; 2]) -> usize {
        let mut count = 0;
        while self.used.len() > 1 {
            let number = self.used[0];
            let file = self.files.get_mut(&number).expect("a file of the ring");
            let is_needed = file.last.is_some_and(|last| last >= below) || named.contains(&number);
            if is_needed || file.readers.get() > 0 {
                break;
            }
            file.last = None;
            self.full_bytes -= file.size_bytes;
            self.used.pop_front();
            if self.is_short(number) && !self.is_single() {
                self.files.remove(&number);
                self.retired.push_back(number);
            } else {
                self.free.push_back(number);
            }
            count += 1;
        }
        count
    }

    fn is_short(&self, number: u32) -> bool {
        self.files[&number].size_bytes < self.file_bytes
    }

    /// How many files have at least the length that is made now.
    fn whole_count(&self) -> usize {
        self.files.keys().filter(|number| !self.is_short(**number)).count()
    }

    /// Whether no file is free, and none can be added.
    pub(crate) fn is_tight(&self) -> bool {
        self.free.is_empty() && self.whole_count() >= self.files_max
    }

    /// Bytes in use, and how many there could be.
    pub(crate) fn occupancy(&self) -> (u64, u64) {
        let used = self.full_bytes + self.position;
        let total = self.file_bytes.saturating_mul(u64::try_from(self.files_max).unwrap_or(u64::MAX));
        (used, total.max(used))
    }

    /// Whether there is no second file that takes the longest frame: one that is full is never free again without.
    pub(crate) fn is_single(&self) -> bool {
        self.whole_count() < 2
    }

    /// The number of a file that the ring should get, ahead of need: one is always free, within the limit.
    pub(crate) fn wanted_file(&self) -> Option<u32> {
        let free = self.free.iter().filter(|number| !self.is_short(**number)).count();
        let enough = free > self.used.len() / 2 && free > 0;
        if enough || self.whole_count() >= self.files_max {
            return None;
        }
        (0..).find(|number| !self.files.contains_key(number) && !self.retired.contains(number))
    }

    /// The number of a file, a short one will do, without which a start might wait for ever: its first frames are written before
    /// anything is destaged.
    pub(crate) fn missing_file(&self) -> Option<u32> {
        let left = self.used.back().map_or(0, |last| self.files[last].size_bytes - self.position);
        let is_roomy = !self.free.is_empty() || left >= START_ROOM_BYTES.min(self.file_bytes / 16);
        (!is_roomy).then(|| (0..).find(|number| !self.files.contains_key(number))).flatten()
    }

    /// A file that has left the ring and is to be removed by [`remove_file`].
    pub(crate) fn retired(&mut self) -> Option<u32> {
        self.retired.pop_front()
    }

    /// Adds a file made by [`create_file`].
    pub(crate) fn add(&mut self, number: u32, file: F, size_bytes: u64) {
        let file = RingFile { file: Rc::new(file), size_bytes, last: None, readers: Rc::default() };
        let before = self.files.insert(number, file);
        assert!(before.is_none(), "a number is used once");
        self.free.push_back(number);
    }
}

/// The directory of a shard's journal.
pub(crate) fn directory(shard: u16, shard_count: u16) -> PathBuf {
    PathBuf::from(format!("journal/{shard_count}/{shard}"))
}

fn mode(method: SyncMethod) -> OpenMode {
    match method {
        SyncMethod::Dsync => OpenMode::WriteSynced,
        SyncMethod::WriteThenSync => OpenMode::Write,
    }
}

/// Opens what a directory holds; what was not finished by an earlier life is removed.
pub(crate) async fn open_files<D: Disk>(
    disk: &D,
    directory: &Path,
    method: SyncMethod,
) -> io::Result<Vec<(u32, D::File, u64)>> {
    let mut files = Vec::new();
    for entry in disk.list_sized(directory).await? {
        let path = directory.join(&entry.name);
        match file_number(&entry.name) {
            Some(number) => files.push((number, disk.open(&path, mode(method)).await?, entry.size_bytes)),
            None if entry.name.ends_with(".new") => disk.remove_file(&path).await?,
            None => tracing::warn!(path = %path.display(), "not a journal file: left alone"),
        }
    }
    Ok(files)
}

/// Makes a file of the ring: space allocated, zeros written, all of it durable. One that could not be finished leaves nothing
/// behind that would take room.
pub(crate) async fn create_file<D: Disk>(
    disk: &D,
    directory: &Path,
    number: u32,
    file_bytes: u64,
    method: SyncMethod,
) -> io::Result<D::File> {
    let path = directory.join(file_name(number));
    let unfinished = directory.join(format!("{}.new", file_name(number)));
    if let Err(error) = write_zeros(disk, &unfinished, file_bytes).await {
        // What can't be removed now is removed by the next start.
        let _ = disk.remove_file(&unfinished).await;
        return Err(error);
    }
    disk.rename(&unfinished, &path).await?;
    disk.sync_directory(directory).await?;
    disk.open(&path, mode(method)).await
}

async fn write_zeros<D: Disk>(disk: &D, path: &Path, file_bytes: u64) -> io::Result<()> {
    let file = disk.open(path, OpenMode::Create).await?;
    file.allocate(file_bytes, true).await?;
    let zeros = IoBuffer::allocate(ZERO_WRITE_BYTES).freeze(0);
    let mut position = 0;
    while position < file_bytes {
        let left = file_bytes - position;
        if left >= u64::try_from(zeros.padded_bytes()).expect("a length") {
            file.write_at(&zeros, position).await?;
            position += u64::try_from(zeros.padded_bytes()).expect("a length");
        } else {
            let rest = crate::disk::buffer::size_class_below(usize::try_from(left).expect("a short rest"));
            file.write_at(&IoBuffer::allocate(rest).freeze(0), position).await?;
            position += u64::try_from(rest).expect("a length");
        }
    }
    file.sync().await?;
    file.close().await
}

/// Removes a file that has left the ring. Should it come back after a crash, it is free, and leaves once it was used again.
pub(crate) async fn remove_file<D: Disk>(disk: &D, directory: &Path, number: u32) -> io::Result<()> {
    disk.remove_file(&directory.join(file_name(number))).await
}

fn file_name(number: u32) -> String {
    format!("{number:08}.journal")
}

/// The number of a journal's file; none for any other.
pub(crate) fn file_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".journal")?.parse().ok()?;
    (name == file_name(number)).then_some(number)
}

#[cfg(test)]
mod tests;
