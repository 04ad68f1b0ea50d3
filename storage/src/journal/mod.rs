//! The journal of one shard: where every record is first put on stable media.
//!
//! - [`frame`]: the bytes of a frame.
//! - [`collector`]: appends become frames; pure.
//! - [`window`]: which frames are under way, and the contiguous prefix that is synced; pure.
//! - [`ring`]: the recycled files, and where the next frame goes.
//! - [`replay`]: what a restart finds in the files.
//!
//! A frame is synced when its write **and those of all frames before it** are complete. Frames of one shard are
//! numbered without gaps through all lives of the broker; a life is a generation, made durable (with the number of
//! its first frame) before that frame is written. So each number has one generation that fits it, and a frame that
//! an earlier life left behind never fits. The journal does not know what a partition's log looks like.

use std::fmt;

pub(crate) mod collector;
pub(crate) mod frame;
pub(crate) mod replay;
pub(crate) mod ring;
pub(crate) mod window;

/// The number of a frame among all that a shard ever wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FrameSequence(pub u64);

impl FrameSequence {
    /// The next frame's number.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for FrameSequence {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

/// One life of a shard's store: from open to crash or close.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

impl fmt::Display for Generation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
