//! Every compression there and back, the framings of other clients, and results that would grow past the limit.

use proptest::prelude::*;

use super::*;
use crate::allocation::{allocated_bytes, largest_allocation};

/// Compressible in places, and longer than one snappy block.
fn sample() -> Vec<u8> {
    (0..100_000_u32).flat_map(|index| (index / 7).wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
}

#[test]
fn what_is_compressed_comes_back() {
    for codec in Compression::ALL {
        for input in [&b""[..], b"a", &[0; 1_000_000], &sample()] {
            let compressed = compress(codec, None, input);
            assert_eq!(decompress(codec, &compressed, input.len()).as_deref(), Ok(input), "{codec}");
        }
    }
}

#[test]
fn levels_are_taken() {
    for codec in [Compression::Gzip, Compression::Zstd] {
        let fast = compress(codec, Some(1), &sample());
        let small = compress(codec, Some(9), &sample());
        assert_ne!(small, fast, "{codec}");
        assert_eq!(decompress(codec, &small, usize::MAX).as_deref(), Ok(&sample()[..]));
    }
}

#[test]
fn a_result_past_the_limit_is_refused() {
    let bomb = vec![0; 10_000_000];
    for codec in Compression::ALL {
        let compressed = compress(codec, None, &bomb);
        for bytes_max in [0, 1, 9_999_999] {
            assert_eq!(
                decompress(codec, &compressed, bytes_max),
                Err(DecompressError::TooLarge { codec, bytes_max }),
                "{codec}"
            );
        }
    }
}

#[test]
fn no_memory_past_the_limit_is_taken_for_a_result() {
    // What the decoders take for themselves.
    const DECODER_BYTES_MAX: usize = 1 << 20;
    // Not a power of two times anything that is guessed from the input.
    const BYTES_MAX: usize = 9_999_999;
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        for bytes in [BYTES_MAX - 1, BYTES_MAX, BYTES_MAX + 1, 10 * BYTES_MAX] {
            let compressed = compress(codec, None, &vec![0; bytes]);
            let work = || decompress(codec, &compressed, BYTES_MAX).is_ok();
            let (is_whole, largest) = largest_allocation(work);
            assert_eq!(is_whole, bytes <= BYTES_MAX, "{codec}, {bytes} bytes");
            assert!(largest <= BYTES_MAX, "{codec}, {bytes} bytes: {largest} at a time");
            let (_, all) = allocated_bytes(work);
            assert!(
                all <= 2 * BYTES_MAX + DECODER_BYTES_MAX,
                "{codec}, {bytes} bytes: {all} with all copies"
            );
        }
    }
}

#[test]
fn room_grows_up_to_the_limit_and_beyond_half_of_it_is_not_copied() {
    let mut output = Vec::new();
    let mut capacities = Vec::new();
    while output.len() < 1_000 {
        make_room(&mut output, 1, 1_000);
        output.resize(output.capacity(), 0);
        capacities.push(output.capacity());
    }
    assert_eq!(capacities, [1, 2, 4, 8, 16, 32, 64, 128, 256, 1_000]);
    let mut output = Vec::new();
    make_room(&mut output, 501, 1_000);
    assert_eq!(output.capacity(), 1_000);
}

#[test]
fn raw_snappy_is_read_too() {
    let raw = snap::raw::Encoder::new().compress_vec(&sample()).expect("it can be compressed");
    assert_eq!(decompress(Compression::Snappy, &raw, usize::MAX).as_deref(), Ok(&sample()[..]));
}

#[test]
fn snappy_is_written_in_the_framing_of_xerial() {
    let compressed = compress(Compression::Snappy, None, b"abc");
    assert_eq!(compressed, b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01\0\0\0\x05\x03\x08abc");
}

#[test]
fn a_snappy_block_that_claims_more_than_it_can_hold_is_refused() {
    let claim = b"\xff\xff\xff\x7f\x08abc";
    let error = decompress(Compression::Snappy, claim, usize::MAX).expect_err("no such content");
    assert!(matches!(error, DecompressError::Corrupt { codec: Compression::Snappy, .. }), "{error}");
}

#[test]
fn gzip_members_are_joined() {
    let members =
        [compress(Compression::Gzip, None, b"ab"), compress(Compression::Gzip, None, b"cd")].concat();
    assert_eq!(decompress(Compression::Gzip, &members, 4).as_deref(), Ok(&b"abcd"[..]));
}

proptest! {
    #[test]
    fn garbage_is_refused_or_bounded(
        codec in prop::sample::select(&Compression::ALL[..]),
        mut input in prop::collection::vec(any::<u8>(), 0..200),
        prefix in 0_usize..60,
    ) {
        // A true beginning lets the garbage get further.
        let honest = compress(codec, None, &sample()[..100]);
        input.splice(0..0, honest.into_iter().take(prefix));
        match decompress(codec, &input, 1000) {
            Ok(output) => prop_assert!(output.len() <= 1000),
            Err(DecompressError::TooLarge { bytes_max, .. }) => prop_assert_eq!(bytes_max, 1000),
            Err(DecompressError::Corrupt { .. }) => {}
        }
    }
}
