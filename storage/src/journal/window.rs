//! Which frames are under way, and up to where all of them are on stable media. Pure.
//!
//! Frames complete in any order; `synced` moves over a frame only when all frames before it are complete too, so it
//! is a contiguous prefix at any depth.

use std::collections::VecDeque;

use super::FrameSequence;

/// The frames between the synced prefix and the last one sealed.
pub(crate) struct Window {
    synced_below: FrameSequence,
    /// For each frame from `synced_below` on, whether its write is complete.
    complete: VecDeque<bool>,
    in_flight: usize,
    in_flight_max: usize,
    /// From so many waiting bytes on, a frame is sealed although another one is under way.
    eager_bytes: usize,
}

impl Window {
    /// Nothing is under way; the next frame is `next`.
    pub(crate) fn new(next: FrameSequence, in_flight_max: usize, eager_bytes: usize) -> Self {
        assert!(in_flight_max > 0);
        Self { synced_below: next, complete: VecDeque::new(), in_flight: 0, in_flight_max, eager_bytes }
    }

    /// All frames of lower sequence are on stable media.
    pub(crate) fn synced_below(&self) -> FrameSequence {
        self.synced_below
    }

    /// The number of the next frame.
    pub(crate) fn next(&self) -> FrameSequence {
        FrameSequence(self.synced_below.0 + u64::try_from(self.complete.len()).expect("a short queue"))
    }

    /// Whether a frame with so many bytes (more may gather behind it where `full`) is to be sealed now.
    ///
    /// With nothing under way, at once. Otherwise small appends wait for the frame under way: it will be complete
    /// soon, and one larger frame costs less than two. Large ones use the device's depth.
    pub(crate) fn wants(&self, pending_bytes: usize, full: bool) -> bool {
        self.in_flight == 0
            || (self.in_flight < self.in_flight_max && (full || pending_bytes >= self.eager_bytes))
    }

    /// A frame goes to the device.
    pub(crate) fn begin(&mut self, sequence: FrameSequence) {
        assert_eq!(sequence, self.next(), "frames are sealed in order");
        assert!(self.in_flight < self.in_flight_max);
        self.in_flight += 1;
        self.complete.push_back(false);
    }

    /// A frame's write is complete and durable. Returns the frames that are synced by that, as a range.
    pub(crate) fn complete(&mut self, sequence: FrameSequence) -> std::ops::Range<u64> {
        assert!(sequence >= self.synced_below);
        let index = usize::try_from(sequence.0 - self.synced_below.0).expect("within the window");
        let complete = &mut self.complete[index];
        assert!(!*complete, "a frame completes once");
        *complete = true;
        self.in_flight -= 1;
        let first = self.synced_below.0;
        while self.complete.front() == Some(&true) {
            self.complete.pop_front();
            self.synced_below = self.synced_below.next();
        }
        first..self.synced_below.0
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.complete.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn synced_is_a_contiguous_prefix() {
        let mut window = Window::new(FrameSequence(7), 4, 0);
        for sequence in 7..11 {
            window.begin(FrameSequence(sequence));
        }
        assert!(!window.wants(1 << 30, true), "four are under way");
        assert_eq!(window.complete(FrameSequence(8)), 7..7);
        assert_eq!(window.complete(FrameSequence(10)), 7..7);
        assert_eq!(window.complete(FrameSequence(7)), 7..9);
        assert_eq!(window.synced_below(), FrameSequence(9));
        assert_eq!(window.next(), FrameSequence(11));
        assert_eq!(window.complete(FrameSequence(9)), 9..11);
        assert!(window.is_idle());
    }

    #[test]
    fn small_appends_wait_for_the_frame_under_way_and_large_ones_do_not() {
        let mut window = Window::new(FrameSequence(0), 2, 1000);
        assert!(window.wants(1, false));
        window.begin(FrameSequence(0));
        assert!(!window.wants(999, false));
        assert!(window.wants(1000, false));
        assert!(window.wants(1, true));
    }

    #[test]
    #[should_panic(expected = "a frame completes once")]
    fn completing_twice_is_a_bug() {
        let mut window = Window::new(FrameSequence(0), 2, 0);
        window.begin(FrameSequence(0));
        window.begin(FrameSequence(1));
        window.complete(FrameSequence(1));
        window.complete(FrameSequence(1));
    }
}
