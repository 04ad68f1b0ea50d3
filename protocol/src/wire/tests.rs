//! Each encoding against bytes written by hand, and what is refused.

use bytes::Bytes;

use super::*;

const PLAIN: Format = Format { version: 0, flexible: false };
const FLEXIBLE: Format = Format { version: 9, flexible: true };

fn written<'a, T: Field<'a>>(value: &T, format: Format) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut chunks = Vec::<Bytes>::new();
    value.write(&mut writer, format);
    writer.finish(&mut chunks).expect("the value can be written");
    chunks.concat()
}

#[track_caller]
fn check<'a, T: Field<'a> + PartialEq + std::fmt::Debug>(value: T, format: Format, bytes: &'a [u8]) {
    assert_eq!(written(&value, format), bytes);
    let mut reader = Reader::new(bytes, 1024);
    assert_eq!(T::read(&mut reader, format), Ok(value));
    assert_eq!(reader.finish(), Ok(()));
}

fn read<'a, T: Field<'a>>(bytes: &'a [u8], format: Format) -> Result<T, DecodeError> {
    T::read(&mut Reader::new(bytes, 1024), format)
}

#[test]
fn integers_are_big_endian() {
    check(-2_i8, PLAIN, b"\xfe");
    check(0x0102_i16, PLAIN, b"\x01\x02");
    check(0xfffe_u16, PLAIN, b"\xff\xfe");
    check(-1_i32, FLEXIBLE, b"\xff\xff\xff\xff");
    check(1_i64, PLAIN, b"\0\0\0\0\0\0\0\x01");
    check(1.5_f64, PLAIN, b"\x3f\xf8\0\0\0\0\0\0");
    check(true, PLAIN, b"\x01");
}

#[test]
fn any_byte_but_0_is_true() {
    assert_eq!(read(b"\x7f", PLAIN), Ok(true));
}

#[test]
fn strings() {
    check("ab", PLAIN, b"\0\x02ab");
    check("ab", FLEXIBLE, b"\x03ab");
    check(None::<&str>, PLAIN, b"\xff\xff");
    check(None::<&str>, FLEXIBLE, b"\0");
    check(Some(""), PLAIN, b"\0\0");
    check(Some(""), FLEXIBLE, b"\x01");
}

#[test]
fn byte_arrays_count_in_32_bits() {
    check(&b"ab"[..], PLAIN, b"\0\0\0\x02ab");
    check(&b"ab"[..], FLEXIBLE, b"\x03ab");
    check(None::<&[u8]>, PLAIN, b"\xff\xff\xff\xff");
}

#[test]
fn arrays() {
    check(vec![1_i16, 2], PLAIN, b"\0\0\0\x02\0\x01\0\x02");
    check(vec!["a"], FLEXIBLE, b"\x02\x02a");
    check(None::<Vec<i16>>, PLAIN, b"\xff\xff\xff\xff");
    check(None::<Vec<i16>>, FLEXIBLE, b"\0");
}

#[test]
fn null_is_refused_where_a_value_is_needed() {
    assert_eq!(read::<&str>(b"\xff\xff", PLAIN), Err(DecodeError::Null));
    assert_eq!(read::<Vec<i32>>(b"\0", FLEXIBLE), Err(DecodeError::Null));
}

#[test]
fn lengths_below_null_are_refused() {
    assert_eq!(read::<Option<&str>>(b"\xff\xfe", PLAIN), Err(DecodeError::NegativeLength(-2)));
    assert_eq!(
        read::<Option<Vec<i8>>>(b"\x80\0\0\0", PLAIN),
        Err(DecodeError::NegativeLength(i64::from(i32::MIN)))
    );
}

#[test]
fn a_string_of_other_bytes_is_refused() {
    assert_eq!(read::<&str>(b"\x02\xff", FLEXIBLE), Err(DecodeError::NotUtf8));
}

#[test]
fn an_array_longer_than_the_frame_is_refused_before_it_is_allocated() {
    assert_eq!(
        read::<Vec<i32>>(b"\x7f\xff\xff\xff\0\0\0\0", PLAIN),
        Err(DecodeError::Truncated { needed: 0x7fff_ffff * 4, remaining: 4 })
    );
}

#[test]
fn an_array_is_charged_to_the_budget_before_it_is_allocated() {
    let frame = [&[0xe9, 0x07][..], &[1; 1000]].concat();
    let mut reader = Reader::new(&frame, 16_000);
    assert_eq!(
        Vec::<&str>::read(&mut reader, FLEXIBLE).map(|items| items.len()),
        Ok(1000),
        "a string in memory takes 16 bytes"
    );
    assert_eq!(reader.budget_bytes(), 0);
    let mut reader = Reader::new(&frame, 15_999);
    assert_eq!(
        Vec::<&str>::read(&mut reader, FLEXIBLE),
        Err(DecodeError::OverBudget { needed: 16_000, budget: 15_999 })
    );
}

#[test]
fn varints() {
    let cases: [(i64, &[u8]); 7] = [
        (0, b"\x00"),
        (-1, b"\x01"),
        (1, b"\x02"),
        (63, b"\x7e"),
        (64, b"\x80\x01"),
        (i64::from(i32::MAX), b"\xfe\xff\xff\xff\x0f"),
        (i64::from(i32::MIN), b"\xff\xff\xff\xff\x0f"),
    ];
    for (value, bytes) in cases {
        let narrow = i32::try_from(value).expect("all cases fit 32 bits");
        let (mut short, mut long) = (Vec::new(), Vec::new());
        put_varint(&mut short, narrow);
        put_varlong(&mut long, value);
        assert_eq!(short, bytes);
        assert_eq!(long, bytes);
        assert_eq!(varint_bytes(narrow), bytes.len());
        assert_eq!(varlong_bytes(value), bytes.len());
        assert_eq!(Reader::new(bytes, 0).varint(), Ok(narrow));
        assert_eq!(Reader::new(bytes, 0).varlong(), Ok(value));
    }
    for value in [i64::MIN, i64::MAX, 1 << 34, -(1 << 34)] {
        let mut bytes = Vec::new();
        put_varlong(&mut bytes, value);
        assert_eq!(bytes.len(), varlong_bytes(value));
        assert_eq!(Reader::new(&bytes, 0).varlong(), Ok(value));
    }
}

#[test]
fn varints_that_do_not_end_or_overflow_are_refused() {
    assert_eq!(
        Reader::new(b"\xff\xff", 0).uvarint(),
        Err(DecodeError::Truncated { needed: 3, remaining: 2 })
    );
    assert_eq!(Reader::new(b"\xff\xff\xff\xff\x10", 0).uvarint(), Err(DecodeError::VarintTooLong));
    assert_eq!(Reader::new(b"\xff\xff\xff\xff\x0f", 0).uvarint(), Ok(u32::MAX));
    assert_eq!(Reader::new(&[0x80; 6], 0).uvarint(), Err(DecodeError::VarintTooLong));
    assert_eq!(Reader::new(&[0x80; 11], 0).varlong(), Err(DecodeError::VarintTooLong));
    assert_eq!(
        Reader::new(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 0).varlong(),
        Err(DecodeError::VarintTooLong)
    );
}

#[test]
fn a_tagged_field_ends_where_its_length_says() {
    let known = |bytes| {
        let mut reader = Reader::new(bytes, 0);
        let mut value = 0;
        let outcome = reader.tagged_fields(|reader, tag| {
            assert_eq!(tag, 5);
            value = reader.i8()?;
            Ok(true)
        });
        outcome.map(|()| value)
    };
    assert_eq!(known(b"\x01\x05\x01\x09"), Ok(9));
    assert_eq!(known(b"\x01\x05\x02\x09\0"), Err(DecodeError::TaggedLength(1)));
    assert_eq!(known(b"\x01\x05\0\x09"), Err(DecodeError::Truncated { needed: 1, remaining: 0 }));
    assert_eq!(known(b"\x01\x05\x09\x09"), Err(DecodeError::Truncated { needed: 9, remaining: 1 }));
}

#[test]
fn a_long_tagged_field_is_moved_behind_its_length() {
    for length in [0, 1, 127, 128, 16_383, 16_384, 100_000] {
        let content: Vec<u8> = (0..length).map(|index: u32| index.to_le_bytes()[0]).collect();
        let mut writer = Writer::new();
        writer.uvarint(1);
        let start = writer.tagged_begin(3);
        writer.bytes(&content);
        writer.tagged_end(start);
        let mut chunks = Vec::<Bytes>::new();
        writer.finish(&mut chunks).expect("the field can be written");
        let bytes = chunks.concat();
        let mut reader = Reader::new(&bytes, 0);
        let mut seen = None;
        reader
            .tagged_fields(|reader, tag| {
                seen = Some((tag, reader.take(content.len())?));
                Ok(true)
            })
            .expect("the field reads back");
        assert_eq!(seen, Some((3, &content[..])));
        assert_eq!(reader.finish(), Ok(()));
    }
}

#[test]
fn payload_chunks_leave_without_a_copy() {
    let large = Bytes::from(vec![7; 10_000]);
    let small = Bytes::from_static(b"small");
    let mut writer = Writer::new();
    writer.begin_frame();
    writer.i32(1);
    Payload::Chunks(vec![large.clone(), small.clone(), large.clone()]).write(&mut writer, PLAIN);
    Payload::Shared(large.clone()).write(&mut writer, FLEXIBLE);
    writer.i8(9);
    let mut chunks = Vec::<Bytes>::new();
    let bytes = writer.finish_frame(&mut chunks).expect("the frame can be written");
    let lengths: Vec<usize> = chunks.iter().map(Bytes::len).collect();
    assert_eq!(lengths, [12, 10_000, 5, 10_000, 2, 10_000, 1]);
    assert_eq!(bytes, lengths.iter().sum());
    for index in [1, 3, 5] {
        assert_eq!(chunks[index].as_ptr(), large.as_ptr(), "the very same memory");
    }
    assert_eq!(chunks[0][..4], u32::try_from(bytes - 4).expect("small").to_be_bytes());
    assert_eq!(chunks[0][8..], 20_005_u32.to_be_bytes());
    assert_eq!(&chunks[4][..], b"\x91\x4e");
}

#[test]
fn a_payload_borrows_from_the_frame() {
    let frame = b"\0\0\0\x03abc";
    let payload: Payload<'_> = read(frame, PLAIN).expect("it can be read");
    assert_eq!(payload.borrowed().map(<[u8]>::as_ptr), Some(frame[4..].as_ptr()));
    assert_eq!(read::<Option<Payload<'_>>>(b"\0", FLEXIBLE), Ok(None));
}

#[test]
fn a_refused_frame_leaves_the_writer_ready_for_the_next() {
    let mut writer = Writer::new();
    let mut chunks = Vec::<Bytes>::new();
    writer.begin_frame();
    let long = "x".repeat(40_000);
    long.as_str().write(&mut writer, PLAIN);
    Payload::Shared(Bytes::from(vec![0; 1000])).write(&mut writer, PLAIN);
    writer.refuse(EncodeError::Null { field: "later", version: 0 });
    assert_eq!(
        writer.finish_frame(&mut chunks),
        Err(EncodeError::TooLong { length: 40_000, length_max: 0x7fff })
    );
    assert!(chunks.is_empty());
    writer.begin_frame();
    writer.i8(1);
    assert_eq!(writer.finish_frame(&mut chunks), Ok(5));
    assert_eq!(chunks.concat(), b"\0\0\0\x01\x01");
}
