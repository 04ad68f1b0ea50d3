//! How many connections the broker serves at once, all shards together: one count that every shard takes from.
//!
//! A connection holds a seat for as long as it lives. One that moves to another shard is there already: it is seated there
//! even when no seat is left, and gives back the one it had.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The seats of a broker. Clones are the same seats.
#[derive(Clone, Debug)]
pub struct Seats {
    taken: Arc<AtomicUsize>,
    seats_max: usize,
}

/// A connection's seat; given back when it is dropped.
#[derive(Debug)]
pub struct Seat(Arc<AtomicUsize>);

impl Seats {
    /// So many, all free.
    #[must_use]
    pub fn new(seats_max: usize) -> Self {
        Self { taken: Arc::default(), seats_max }
    }

    /// How many there are.
    #[must_use]
    pub fn seats_max(&self) -> usize {
        self.seats_max
    }

    /// A seat for a new connection; none where all are taken.
    #[must_use]
    pub fn take(&self) -> Option<Seat> {
        let (seat, before) = self.sit_down();
        // Dropped again where there are too many.
        (before < self.seats_max).then_some(seat)
    }

    /// A seat for a connection that had one on another shard.
    #[must_use]
    pub fn take_over(&self) -> Seat {
        self.sit_down().0
    }

    /// The count orders nothing: nobody reads anything else because of it.
    fn sit_down(&self) -> (Seat, usize) {
        let before = self.taken.fetch_add(1, Ordering::Relaxed);
        (Seat(Arc::clone(&self.taken)), before)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let before = self.0.fetch_sub(1, Ordering::Relaxed);
        assert!(before > 0, "a seat is given back once");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_shard_may_have_all_the_seats() {
        let seats = Seats::new(8);
        let (one, other) = (seats.clone(), seats);
        let mut taken: Vec<Seat> = (0..8).map(|_| one.take().expect("a seat is free")).collect();
        assert!(one.take().is_none());
        assert!(other.take().is_none(), "those of all shards are counted");
        taken.pop();
        let last = other.take().expect("one was given back");
        assert!(one.take().is_none(), "a refusal takes nothing");
        drop((last, taken));
        assert_eq!(one.taken.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_connection_that_moves_keeps_a_seat_and_takes_nobodys() {
        let seats = Seats::new(1);
        let before = seats.take().expect("a seat is free");
        let after = seats.take_over();
        drop(before);
        assert!(seats.take().is_none());
        drop(after);
        assert!(seats.take().is_some());
    }

    #[test]
    fn shards_that_accept_at_once_never_seat_too_many() {
        let seats = Seats::new(100);
        let accept = || -> Vec<Seat> { (0..60).filter_map(|_| seats.take()).collect() };
        let seated: Vec<Vec<Seat>> = std::thread::scope(|scope| {
            let shards: Vec<_> = (0..4).map(|_| scope.spawn(accept)).collect();
            shards.into_iter().map(|shard| shard.join().expect("it does not panic")).collect()
        });
        // One that is refused is counted for a moment, so a few seats may stay free; never the other way round.
        assert!(seated.iter().map(Vec::len).sum::<usize>() <= 100);
        drop(seated);
        assert_eq!(seats.taken.load(Ordering::Relaxed), 0);
    }
}
