//! Where each key was written last: a hash table of fixed size.
//!
//! Not the keys are kept but 128 bits of hash of each, as Kafka's cleaner does: two keys that collide would lose a record,
//! which at a billion keys in one round has a chance of 1 in 10^20. The hash is SipHash, twice.

use std::hash::{DefaultHasher, Hasher};

use protocol::types::Offset;

/// Of so many places, at most nine tenths are taken: look-ups stay short.
const LOAD_TENTHS_MAX: usize = 9;

/// The least number of places, whatever the budget.
const PLACES_MIN: usize = 64;

#[derive(Clone, Copy)]
struct Place {
    hash: [u64; 2],
    /// -1 where it is free.
    offset: i64,
}

const FREE: Place = Place { hash: [0; 2], offset: -1 };

/// See the module.
pub(super) struct Keys {
    places: Vec<Place>,
    count: usize,
}

/// The table is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

impl Keys {
    /// A table within a budget, and no larger than `keys_max` keys need.
    pub(super) fn new(budget_bytes: usize, keys_max: u64) -> Self {
        let affordable = budget_bytes / size_of::<Place>();
        let needed = keys_max.div_ceil(LOAD_TENTHS_MAX as u64).saturating_mul(10);
        let places = usize::try_from(needed).unwrap_or(usize::MAX).min(affordable).max(PLACES_MIN);
        Self { places: vec![FREE; places], count: 0 }
    }

    /// How many keys it holds.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Notes that a key was written at an offset, past all before.
    pub(super) fn put(&mut self, key: &[u8], offset: Offset) -> Result<(), Full> {
        assert!(offset.get() >= 0);
        let hash = hash(key);
        let at = self.find(hash);
        let has_room = self.count < self.places.len() / 10 * LOAD_TENTHS_MAX;
        let place = &mut self.places[at];
        if place.offset < 0 {
            if !has_room {
                return Err(Full);
            }
            self.count += 1;
        }
        assert!(offset.get() > place.offset, "offsets go up");
        *place = Place { hash, offset: offset.get() };
        Ok(())
    }

    /// Where a key was written last.
    pub(super) fn last(&self, key: &[u8]) -> Option<Offset> {
        let place = &self.places[self.find(hash(key))];
        (place.offset >= 0).then_some(Offset(place.offset))
    }

    /// The place of a hash, or the free one where it would be.
    fn find(&self, hash: [u64; 2]) -> usize {
        let count = self.places.len();
        let start = hash[0] % u64::try_from(count).expect("usize has at most 64 bits");
        let mut at = usize::try_from(start).expect("below the count");
        while self.places[at].offset >= 0 && self.places[at].hash != hash {
            at = if at + 1 == count { 0 } else { at + 1 };
        }
        at
    }
}

fn hash(key: &[u8]) -> [u64; 2] {
    [0, 1].map(|half| {
        let mut hasher = DefaultHasher::new();
        hasher.write_u8(half);
        hasher.write(key);
        hasher.finish()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_offset_of_each_key_is_known() {
        let mut keys = Keys::new(1 << 20, 1000);
        for offset in 0..1000 {
            keys.put(&[u8::try_from(offset % 100).expect("small")], Offset(offset)).expect("there is room");
        }
        assert_eq!(keys.count(), 100);
        for key in 0..100_u8 {
            assert_eq!(keys.last(&[key]), Some(Offset(900 + i64::from(key))));
        }
        assert_eq!(keys.last(b"another"), None);
        assert_eq!(keys.last(b""), None);
    }

    #[test]
    fn a_full_table_takes_known_keys_only() {
        let mut keys = Keys::new(0, u64::MAX);
        let mut offset = 0;
        while keys.put(&offset.to_string().into_bytes(), Offset(offset)).is_ok() {
            offset += 1;
        }
        assert_eq!(keys.count(), PLACES_MIN / 10 * LOAD_TENTHS_MAX);
        assert_eq!(keys.put(b"0", Offset(offset)), Ok(()));
        assert_eq!(keys.put(b"new", Offset(offset + 1)), Err(Full));
        assert_eq!((keys.last(b"0"), keys.last(b"new")), (Some(Offset(offset)), None));
    }

    #[test]
    fn it_has_room_for_as_many_keys_as_it_was_made_for() {
        for keys_max in [1, 53, 54, 55, 99, 100, 899, 1000, 4096] {
            let mut keys = Keys::new(1 << 20, keys_max);
            for offset in 0..i64::try_from(keys_max).expect("few") {
                assert_eq!(keys.put(&offset.to_be_bytes(), Offset(offset)), Ok(()), "{keys_max} keys");
            }
        }
    }

    #[test]
    fn it_takes_no_more_memory_than_it_is_given_or_needs() {
        for (budget_bytes, keys_max, places_max) in [(240_000, u64::MAX, 10_000), (1 << 30, 900, 1_001)] {
            let keys = Keys::new(budget_bytes, keys_max);
            assert!(keys.places.len() <= places_max, "{}", keys.places.len());
            assert!(keys.places.len() / 10 * LOAD_TENTHS_MAX >= 890);
        }
    }
}
