//! Arbitrary messages for the tests: any value that a message can hold in a version, drawn from a tape of bytes.
//!
//! The tape comes from proptest, so a failing message shrinks with it; a tape that has run out gives zeros, which
//! end every array.

use crate::error::ErrorCode;
use crate::types::{
    BrokerId, LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
};
use crate::wire::{Format, Payload};

/// Strings are slices of this text, so that they need no owner.
const TEXT: &str = "orders-2024 \u{20ac}\u{df}\u{1f980} a.b_c/d: the quick brown fox jumps over the lazy dog, again and again and again, \
     until the string is longer than the one byte of a compact length can say: 0123456789 0123456789 0123456789";

/// The most items of an arbitrary array.
const ITEMS_MAX: u8 = 3;

/// Decides what is drawn.
pub struct Source<'t> {
    tape: &'t [u8],
}

impl<'t> Source<'t> {
    pub const fn new(tape: &'t [u8]) -> Self {
        Self { tape }
    }

    fn byte(&mut self) -> u8 {
        let (&byte, rest) = self.tape.split_first().unwrap_or((&0, &[]));
        self.tape = rest;
        byte
    }

    fn bytes<const COUNT: usize>(&mut self) -> [u8; COUNT] {
        std::array::from_fn(|_| self.byte())
    }

    /// Draws an integer: often a small one or an edge, otherwise any.
    fn integer(&mut self) -> i64 {
        match self.byte() {
            0 => 0,
            1..=63 => i64::from(self.byte()),
            64..=95 => -1,
            96..=111 => i64::MAX,
            112..=127 => i64::MIN,
            128.. => i64::from_be_bytes(self.bytes()),
        }
    }

    fn text(&mut self) -> &'static str {
        let end = usize::from(self.byte()).min(TEXT.len());
        let start = usize::from(self.byte()).min(end);
        TEXT.get(start..end).unwrap_or("")
    }
}

/// A type of which arbitrary values can be drawn.
pub trait Arbitrary: Sized {
    /// Draws a value that the version can carry.
    fn arbitrary(source: &mut Source<'_>, format: Format) -> Self;
}

macro_rules! integers {
    ($($type:ty),*) => {$(
        impl Arbitrary for $type {
            fn arbitrary(source: &mut Source<'_>, _format: Format) -> Self {
                let bytes = source.integer().to_le_bytes();
                let (low, _) = bytes.split_first_chunk().expect("8 bytes hold any integer");
                <$type>::from_le_bytes(*low)
            }
        }
    )*};
}

integers!(i8, i16, i32, i64);

macro_rules! newtypes {
    ($($type:ident),*) => {$(
        impl Arbitrary for $type {
            fn arbitrary(source: &mut Source<'_>, format: Format) -> Self {
                Self(Arbitrary::arbitrary(source, format))
            }
        }
    )*};
}

newtypes!(
    BrokerId,
    ErrorCode,
    LeaderEpoch,
    Offset,
    PartitionIndex,
    ProducerEpoch,
    ProducerId,
    Sequence,
    Timestamp,
    TopicId
);

impl Arbitrary for bool {
    fn arbitrary(source: &mut Source<'_>, _format: Format) -> Self {
        source.byte() % 2 == 1
    }
}

impl Arbitrary for [u8; 16] {
    fn arbitrary(source: &mut Source<'_>, _format: Format) -> Self {
        source.bytes()
    }
}

impl Arbitrary for &str {
    fn arbitrary(source: &mut Source<'_>, _format: Format) -> Self {
        source.text()
    }
}

impl Arbitrary for &[u8] {
    fn arbitrary(source: &mut Source<'_>, _format: Format) -> Self {
        source.text().as_bytes()
    }
}

impl Arbitrary for Payload<'_> {
    fn arbitrary(source: &mut Source<'_>, _format: Format) -> Self {
        let chunk = |source: &mut Source<'_>| bytes::Bytes::from_static(source.text().as_bytes());
        match source.byte() % 3 {
            0 => Self::Borrowed(source.text().as_bytes()),
            1 => Self::Shared(bytes::Bytes::from(vec![source.byte(); 2 * usize::from(source.byte())])),
            _ => {
                Self::Chunks(vec![chunk(source), bytes::Bytes::from(vec![source.byte(); 300]), chunk(source)])
            }
        }
    }
}

impl<T: Arbitrary> Arbitrary for Option<T> {
    fn arbitrary(source: &mut Source<'_>, format: Format) -> Self {
        (!source.byte().is_multiple_of(4)).then(|| T::arbitrary(source, format))
    }
}

impl<T: Arbitrary> Arbitrary for Vec<T> {
    fn arbitrary(source: &mut Source<'_>, format: Format) -> Self {
        let count = source.byte() % (ITEMS_MAX + 1);
        (0..count).map(|_| T::arbitrary(source, format)).collect()
    }
}
