//! When each frame of a journal came to be on stable media, by what the trace says of the device.
//!
//! Where a frame lies in its file is read from the journal afterwards (docs/format.md), where the file lies on the device
//! is asked of the filesystem. A frame is stable when the requests that wrote its sectors are complete and, on a device
//! with a cache, a flush that began after that is complete too, or the requests said themselves that the cache is to be
//! passed (FUA).

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::kernel::{Device, Event};

const SECTOR_BYTES: u64 = 512;
const PAGE_BYTES: usize = 4096;
const MAGIC: &[u8; 8] = b"IOLFRAME";

/// One frame of a journal.
pub struct Frame {
    /// The shard whose journal it is in.
    pub shard: u16,
    /// Its life and its number: frames are in order by both.
    pub order: (u64, u64),
    /// All of it.
    pub bytes: Vec<u8>,
    /// Its sectors on the device, each extent as first and behind the last.
    sectors: Vec<(u64, u64)>,
}

/// Every frame of every journal below a data directory, old lives' too.
pub fn frames(data: &Path, device: &Device) -> Vec<Frame> {
    let mut found = Vec::new();
    for file in files_below(&data.join("journal")) {
        let opened = File::open(&file).expect("a journal file can be read");
        let extents = extents(&opened);
        let size = usize::try_from(opened.metadata().expect("its size").len()).expect("64 bits");
        let mut bytes = vec![0; size];
        opened.read_exact_at(&mut bytes, 0).expect("a journal file can be read");
        let mut at = 0;
        while at + PAGE_BYTES <= size {
            if !bytes[at..].starts_with(MAGIC) {
                at += PAGE_BYTES;
                continue;
            }
            let number =
                |from: usize| u64::from_le_bytes(bytes[at + from..at + from + 8].try_into().expect("eight"));
            let length = usize::try_from(number(40) & 0xffff_ffff).expect("a frame's length");
            found.push(Frame {
                shard: u16::from_le_bytes(bytes[at + 10..at + 12].try_into().expect("two")),
                order: (number(16), number(24)),
                bytes: bytes[at..at + length].to_vec(),
                sectors: sectors_of(&extents, at as u64, length as u64, device.start),
            });
            at += length;
        }
    }
    found
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let entries =
        fs::read_dir(folder).expect("the journal is there").map(|entry| entry.expect("readable").path());
    entries.flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

/// A piece of a file: where in the file, where on the device, how long.
struct Extent {
    logical: u64,
    physical: u64,
    length: u64,
}

/// Asks the filesystem where a file's bytes are (`FS_IOC_FIEMAP`).
fn extents(file: &File) -> Vec<Extent> {
    const FIEMAP: libc::c_ulong = 0xc020_660b;
    const HEADER_WORDS: usize = 4;
    const EXTENT_WORDS: usize = 7;
    const EXTENTS_MAX: usize = 512;
    // Start, length, flags and mapped count, extent count and a reserve; then the extents.
    let mut words = vec![0_u64; HEADER_WORDS + EXTENTS_MAX * EXTENT_WORDS];
    words[1] = u64::MAX;
    words[3] = EXTENTS_MAX as u64;
    // SAFETY: the kernel writes at most the number of extents that the header announces, which the buffer has room for.
    let asked = unsafe { libc::ioctl(file.as_raw_fd(), FIEMAP, words.as_mut_ptr()) };
    assert_eq!(asked, 0, "where a file lies: {}", std::io::Error::last_os_error());
    let mapped = usize::try_from(words[2] >> 32).expect("a count");
    assert!((1..EXTENTS_MAX).contains(&mapped), "a journal file has {mapped} extents");
    words[HEADER_WORDS..]
        .chunks(EXTENT_WORDS)
        .take(mapped)
        .map(|extent| Extent { logical: extent[0], physical: extent[1], length: extent[2] })
        .collect()
}

fn sectors_of(extents: &[Extent], at: u64, length: u64, start: u64) -> Vec<(u64, u64)> {
    let pieces = extents.iter().filter_map(|extent| {
        let from = at.max(extent.logical);
        let to = (at + length).min(extent.logical + extent.length);
        let sector = |position: u64| start + (extent.physical + position - extent.logical) / SECTOR_BYTES;
        (from < to).then(|| (sector(from), sector(to)))
    });
    let sectors: Vec<_> = pieces.collect();
    let covered: u64 = sectors.iter().map(|(first, behind)| behind - first).sum();
    assert_eq!(covered * SECTOR_BYTES, length, "the filesystem knows all of the frame");
    sectors
}

/// What the device did, in places of the trace.
pub struct Media {
    has_cache: bool,
    /// Completed writes: first sector, the one behind the last, whether it passed the cache, when.
    writes: Vec<(u64, u64, bool, usize)>,
    /// Completed flushes: from when, until when.
    flushes: Vec<(usize, usize)>,
}

impl Media {
    /// Of one device.
    pub fn from_trace(events: &[Event], wanted: &Device) -> Self {
        let (mut writes, mut flushes, mut open) = (Vec::new(), Vec::new(), Vec::new());
        for (place, event) in events.iter().enumerate() {
            let Event::Block { device, kind, sector, count, complete } = event else { continue };
            if *device != wanted.name {
                continue;
            }
            match (kind.starts_with('F'), complete) {
                (true, false) => open.push(place),
                // With several under way, which is complete isn't told: the last is the one that can prove the most.
                (true, true) => flushes.extend(open.pop().map(|from| (from, place))),
                (false, true) if kind.starts_with('W') && *count > 0 => {
                    writes.push((*sector, sector + count, kind.contains('F'), place));
                }
                _ => {}
            }
        }
        Self { has_cache: wanted.has_cache, writes, flushes }
    }

    /// The place in the trace from which on a frame was stable; none where that was never seen.
    pub fn stable_from(&self, frame: &Frame) -> Option<usize> {
        frame
            .sectors
            .iter()
            .map(|extent| self.extent_stable_from(*extent))
            .try_fold(0, |latest, each| each.map(|each| latest.max(each)))
    }

    fn extent_stable_from(&self, (first, behind): (u64, u64)) -> Option<usize> {
        // A file's zeros were written there earlier: the last write of each sector is the frame's.
        let mut left = vec![(first, behind)];
        let mut stable = 0;
        for (write_first, write_behind, passes_cache, place) in self.writes.iter().rev() {
            let before: u64 = left.iter().map(|(from, to)| to - from).sum();
            left = left.into_iter().flat_map(|piece| without(piece, (*write_first, *write_behind))).collect();
            let after: u64 = left.iter().map(|(from, to)| to - from).sum();
            if after < before {
                let flushed = || self.flushes.iter().find(|(from, _)| from > place).map(|(_, until)| *until);
                let kept = if *passes_cache || !self.has_cache { Some(*place) } else { flushed() };
                stable = stable.max(kept?);
            }
            if left.is_empty() {
                return Some(stable);
            }
        }
        None
    }
}

/// What is left of `piece` without `taken`.
fn without(piece: (u64, u64), taken: (u64, u64)) -> impl Iterator<Item = (u64, u64)> {
    let below = (piece.0, piece.1.min(taken.0));
    let above = (piece.0.max(taken.1), piece.1);
    [below, above].into_iter().filter(|(from, to)| from < to)
}

/// By shard, each frame's order and from when it **and all before it** were stable.
pub fn stable_prefixes(
    frames: &[Frame],
    media: &Media,
    from: &BTreeMap<u16, (u64, u64)>,
) -> BTreeMap<(u16, (u64, u64)), Option<usize>> {
    let mut sorted: Vec<&Frame> = frames
        .iter()
        .filter(|frame| from.get(&frame.shard).is_some_and(|first| frame.order >= *first))
        .collect();
    sorted.sort_by_key(|frame| (frame.shard, frame.order));
    let mut prefixes = BTreeMap::new();
    let mut before: Option<(u16, Option<usize>)> = None;
    for frame in sorted {
        let own = media.stable_from(frame);
        let all = match before {
            Some((shard, stable)) if shard == frame.shard => {
                stable.zip(own).map(|(stable, own)| stable.max(own))
            }
            _ => own,
        };
        before = Some((frame.shard, all));
        prefixes.insert((frame.shard, frame.order), all);
    }
    prefixes
}

#[test]
fn a_frame_is_stable_after_its_last_write_and_a_flush_that_began_later() {
    let device = Device { name: "8,0".to_owned(), start: 0, has_cache: true };
    let block = |kind: &str, sector, count, complete| Event::Block {
        device: "8,0".to_owned(),
        kind: kind.to_owned(),
        sector,
        count,
        complete,
    };
    let frame = Frame { shard: 0, order: (1, 0), bytes: Vec::new(), sectors: vec![(8, 24)] };
    let check = |events: &[Event], expected| {
        assert_eq!(Media::from_trace(events, &device).stable_from(&frame), expected, "{events:?}");
    };
    let (half, other) = (block("WS", 8, 8, true), block("WS", 16, 8, true));
    let (flush, flushed) = (block("FF", 0, 0, false), block("FF", 0, 0, true));
    check(&[half.clone(), other.clone(), flush.clone(), flushed.clone()], Some(3));
    check(&[half.clone(), flush.clone(), other.clone(), flushed.clone()], None);
    check(&[half.clone(), flush.clone(), flushed.clone()], None);
    check(&[half.clone(), other.clone()], None);
    check(&[block("WFS", 0, 32, true)], Some(0));
    check(&[half, block("WFS", 16, 8, true), flush, flushed], Some(3));
    let uncached = Device { has_cache: false, name: "8,0".to_owned(), start: 0 };
    assert_eq!(Media::from_trace(&[block("W", 0, 32, true)], &uncached).stable_from(&frame), Some(0));
}
