//! How a fetch's bytes are shared out among its partitions, and how long it waits for how many.
//!
//! Example: 1000 bytes, three partitions that have 300, 0 and 5000, each at most 800: the first may read 800 and brings 300,
//! the second nothing, the third may read 700 in whole batches. If its first batch is larger than that, it is left for the
//! next fetch; had nothing been read before it, it would be taken whole: every answer moves on.

use crate::limits::FETCH_WAIT_MS_MAX;

/// What a request says of the whole of it, bounded by the broker's own configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchBounds {
    /// How long to wait for `bytes_min`, in milliseconds.
    pub wait_ms_max: i64,
    /// How many bytes to wait for.
    pub bytes_min: usize,
    /// The most bytes to answer with.
    pub bytes_max: usize,
}

impl FetchBounds {
    /// The bounds of a request: nothing negative, no wait for more than may be answered.
    #[must_use]
    pub fn new(wait_ms_max: i32, bytes_min: i32, bytes_max: i32, broker_bytes_max: usize) -> Self {
        let positive = |number: i32| usize::try_from(number).unwrap_or(0);
        let bytes_max = positive(bytes_max).min(broker_bytes_max);
        Self {
            wait_ms_max: i64::from(wait_ms_max).clamp(0, FETCH_WAIT_MS_MAX),
            bytes_min: positive(bytes_min).min(bytes_max),
            bytes_max,
        }
    }
}

/// The bytes that the partitions of one read share, in their order.
#[derive(Debug)]
pub struct Share {
    left_bytes: usize,
    /// Nothing was read yet: the first batch comes whole, however large it is.
    is_empty: bool,
}

impl Share {
    /// All of `bytes_max` is left.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { left_bytes: bytes_max, is_empty: true }
    }

    /// How much the next partition may read, of which the client takes `bytes_max` at most. Never nothing while the answer is
    /// empty: one whole batch is due, whatever the limits.
    #[must_use]
    pub fn limit(&self, bytes_max: usize) -> usize {
        bytes_max.min(self.left_bytes).max(usize::from(self.is_empty))
    }

    /// A partition of which the client takes `bytes_max` at most has brought `bytes` of whole batches: whether they go into
    /// the answer. If not, they count as not read.
    #[must_use]
    pub fn take(&mut self, bytes_max: usize, bytes: usize) -> bool {
        if !self.is_empty && bytes > self.limit(bytes_max) {
            return false;
        }
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        self.is_empty &= bytes == 0;
        true
    }
}
