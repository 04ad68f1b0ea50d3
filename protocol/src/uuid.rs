//! UUIDs as Kafka writes them for people and in files: URL-safe base64 without padding.
//!
//! 16 bytes make 22 letters of six bits each; the last letter carries two bits and four zeros.

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/// How many letters there are.
const LENGTH: usize = 22;

/// The letters of 16 bytes.
#[must_use]
pub fn text(bytes: [u8; 16]) -> String {
    let number = u128::from_be_bytes(bytes);
    let letter = |place: u32| {
        let bits = if place < 21 { number >> (122 - 6 * place) } else { number << 4 } & 0x3f;
        char::from(LETTERS[usize::try_from(bits).expect("six bits")])
    };
    (0..22).map(letter).collect()
}

/// The 16 bytes that these letters stand for; none where they stand for none.
#[must_use]
pub fn parse(text: &str) -> Option<[u8; 16]> {
    if text.len() != LENGTH {
        return None;
    }
    let bits_of = |letter| LETTERS.iter().position(|&known| known == letter);
    let sextets: Option<Vec<u128>> =
        text.bytes().map(|letter| bits_of(letter).and_then(|bits| u128::try_from(bits).ok())).collect();
    let sextets = sextets?;
    let head = sextets[..LENGTH - 1].iter().fold(0, |number, sextet| (number << 6) | sextet);
    let last = sextets[LENGTH - 1];
    (last & 0xf == 0).then(|| ((head << 2) | (last >> 4)).to_be_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn letters_are_kafkas() {
        let id = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
        assert_eq!(text(id), "ABEiM0RVZneImaq7zN3u_w");
        assert_eq!(text([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
    }

    #[test]
    fn bits_that_no_uuid_has_are_refused() {
        for wrong in [
            "",
            "AAAAAAAAAAAAAAAAAAAAAB",
            "AAAAAAAAAAAAAAAAAAAAA",
            "AAAAAAAAAAAAAAAAAAAA==",
            "A+AAAAAAAAAAAAAAAAAAAA",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn uuids_round_trip(id: [u8; 16]) {
            prop_assert_eq!(parse(&text(id)), Some(id));
        }
    }
}
