//! Every decoder against bytes that nobody honest sends: no panic, and no more memory than the budget.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use super::{TAPE_BYTES_MAX, each_message, encode};
use crate::allocation::allocated_bytes;
use crate::arbitrary::{Arbitrary, Source};
use crate::messages::Message;

/// How many messages of each kind are drawn, each in all versions.
const CASES: u32 = 48;

/// Ways to spoil a frame.
#[derive(Clone, Debug)]
enum Damage {
    /// Ends it early.
    Cut(Index),
    /// Changes one byte.
    Set(Index, u8),
    /// Says a very large length somewhere.
    Enlarge(Index),
    /// Adds bytes in the middle.
    Insert(Index, Vec<u8>),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        any::<Index>().prop_map(Damage::Enlarge),
        (any::<Index>(), vec(any::<u8>(), 0..20)).prop_map(|(at, bytes)| Damage::Insert(at, bytes)),
    ]
}

fn spoil(frame: &mut Vec<u8>, damage: &Damage) {
    match damage {
        Damage::Cut(at) => frame.truncate(at.index(frame.len() + 1)),
        Damage::Set(at, value) if !frame.is_empty() => *at.get_mut(frame) = *value,
        Damage::Set(..) => {}
        Damage::Enlarge(at) => {
            let at = at.index(frame.len() + 1);
            let large = [0x7f, 0xff, 0xff, 0xff];
            let end = frame.len().min(at + large.len());
            frame.splice(at..end, large);
        }
        Damage::Insert(at, bytes) => {
            let at = at.index(frame.len() + 1);
            frame.splice(at..at, bytes.iter().copied());
        }
    }
}

macro_rules! hostile {
    ($($module:ident: $($message:ident $(<$frame:lifetime>)?),*;)*) => {$($(
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(CASES))]

            #[test]
            #[expect(non_snake_case, reason = "a test is named after its message")]
            fn $message(
                tape in vec(any::<u8>(), 0..TAPE_BYTES_MAX),
                damages in vec(damage(), 1..4),
                padding in prop_oneof![Just(0_usize), 0..10_000_usize],
                budget_bytes in prop_oneof![0..1_000_usize, 0..100_000_usize],
            ) {
                type Ours<'a> = with_frame!($module::$message $(<$frame>)?);
                let api = <Ours<'_> as Message<'_>>::API;
                for version in api.versions() {
                    let message = Ours::arbitrary(&mut Source::new(&tape), api.format(version));
                    let mut frame = encode(&message, version);
                    // Room behind lets large counts get past the check against the frame's end.
                    frame.resize(frame.len() + padding, 1);
                    damages.iter().for_each(|damage| spoil(&mut frame, damage));
                    let (_, bytes) = allocated_bytes(|| Ours::decode(&frame, version, budget_bytes).is_ok());
                    prop_assert!(bytes <= budget_bytes, "version {}: {} of {}", version, bytes, budget_bytes);
                }
            }
        }
    )*)*};
}

/// A message with its lifetime, if it has one.
macro_rules! with_frame {
    ($module:ident::$message:ident <$frame:lifetime>) => { crate::messages::$module::$message<'a> };
    ($module:ident::$message:ident) => { crate::messages::$module::$message };
}

each_message!(hostile);
