//! Native batches there and back, beside Kafka's format, and under hostile bytes.

use bytes::Bytes;
use flatbuffers::{FlatBufferBuilder, WIPOffset};
use kafka_protocol::records as theirs;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::Index;

use super::body::{HEADER_ENTRY_BYTES, RECORD_ENTRY_BYTES};
use super::draft::ABSENT;
use super::*;
use crate::allocation::allocated_bytes;
use crate::batch::{
    Batch, BatchError, BatchIter, BatchLimits, Encoding, HEADER_BYTES, MAGIC_NATIVE, TimestampType,
    check_crc, crc, validate,
};
use crate::compression::Compression;
use crate::generated::records as schema;
use crate::records::{
    BatchBuilder, BatchOptions, Header, ProducerStamp, Record, RecordIter, RecordProblem, recompress,
};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const BYTES_MAX: usize = 1 << 20;
const LIMITS: BatchLimits = BatchLimits { bytes_max: BYTES_MAX };

/// A record as the tests hold it.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

fn sample() -> impl Strategy<Value = Sample> {
    let bytes = || option::of(vec(any::<u8>(), 0..200));
    let timestamp = prop_oneof![-1..2_000_000_000_000_i64, Just(1_700_000_000_000)];
    (timestamp, bytes(), bytes(), vec((vec(b'a'..b'c', 0..3), bytes()), 0..4))
        .prop_map(|(timestamp, key, value, headers)| Sample { timestamp, key, value, headers })
}

fn options() -> impl Strategy<Value = BatchOptions> {
    let producer = option::of((0..i64::MAX, 0..i16::MAX, 0..i32::MAX));
    let codec = prop::sample::select(&Compression::ALL[..]);
    (0..i64::MAX / 2, -1..i32::MAX, codec, producer, any::<[bool; 2]>()).prop_map(
        |(base_offset, leader_epoch, compression, producer, [is_stamped, is_transactional])| BatchOptions {
            base_offset: Offset(base_offset),
            leader_epoch: LeaderEpoch(leader_epoch),
            compression,
            timestamp_type: if is_stamped { TimestampType::LogAppendTime } else { TimestampType::CreateTime },
            producer: producer.map_or(ProducerStamp::NONE, |(id, epoch, sequence)| ProducerStamp {
                id: ProducerId(id),
                epoch: ProducerEpoch(epoch),
                base_sequence: Sequence(sequence),
            }),
            transactional: is_transactional && producer.is_some(),
            ..BatchOptions::default()
        },
    )
}

fn build(encoding: Encoding, options: BatchOptions, samples: &[Sample]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { encoding, ..options });
    for sample in samples {
        let headers: Vec<Header<'_>> =
            sample.headers.iter().map(|(key, value)| Header { key, value: value.as_deref() }).collect();
        builder.append(Timestamp(sample.timestamp), sample.key.as_deref(), sample.value.as_deref(), &headers);
    }
    builder.build()
}

fn native(samples: &[Sample]) -> Vec<u8> {
    build(Encoding::Native, BatchOptions::default(), samples)
}

fn only(bytes: &[u8]) -> Batch<'_> {
    let mut batches = BatchIter::new(bytes);
    let batch = batches.next().expect("there is a batch").expect("its length is true");
    assert!(batches.rest().is_empty());
    batch
}

fn owned(record: &Record<'_>) -> Sample {
    let headers = record.headers.iter().map(|header| {
        let header = header.expect("it can be read");
        (header.key.to_vec(), header.value.map(<[u8]>::to_vec))
    });
    Sample {
        timestamp: record.timestamp.0,
        key: record.key.map(<[u8]>::to_vec),
        value: record.value.map(<[u8]>::to_vec),
        headers: headers.collect(),
    }
}

fn read(batch: Batch<'_>) -> Vec<Sample> {
    let body = batch.records(BYTES_MAX).expect("it decompresses");
    RecordIter::new(&body, batch.header()).map(|record| owned(&record.expect("it can be read"))).collect()
}

/// Gives a batch another body, and the length and CRC that go with it.
fn with_body(batch: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = [&batch[..HEADER_BYTES], body].concat();
    let length = i32::try_from(bytes.len() - 12).expect("a test's batch is small");
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    let sum = crc(only(&bytes).header(), body);
    bytes[17..21].copy_from_slice(&sum.to_be_bytes());
    bytes
}

proptest! {
    #[test]
    fn records_come_back(options in options(), samples in vec(sample(), 1..20)) {
        let bytes = build(Encoding::Native, BatchOptions {
            timestamp_type: TimestampType::CreateTime,
            ..options
        }, &samples);
        let batch = only(&bytes);
        prop_assert_eq!(batch.header().magic(), MAGIC_NATIVE);
        let summary = validate(batch, LIMITS);
        prop_assert_eq!(summary.map(|summary| summary.encoding), Ok(Encoding::Native));
        prop_assert_eq!(read(batch), samples);
    }

    /// To the byte what a client of Kafka's would have sent.
    #[test]
    fn transcoding_gives_the_batch_that_kafka_s_encoding_gives(
        options in options(),
        samples in vec(sample(), 1..20),
    ) {
        let bytes = build(Encoding::Native, options, &samples);
        let transcoded = to_kafka(only(&bytes), BYTES_MAX).expect("it was built here");
        prop_assert_eq!(&transcoded, &build(Encoding::Kafka, options, &samples));
        let again = to_kafka(only(&transcoded), BYTES_MAX).expect("there is nothing to do");
        prop_assert_eq!(again, transcoded);
    }

    /// The other implementation keeps headers in a map: the last of each key only.
    #[test]
    fn the_other_implementation_reads_what_was_transcoded(options in options(), samples in vec(sample(), 1..20)) {
        let options = BatchOptions { timestamp_type: TimestampType::CreateTime, ..options };
        let bytes = build(Encoding::Native, options, &samples);
        let transcoded = to_kafka(only(&bytes), BYTES_MAX).expect("it was built here");
        let set = theirs::RecordBatchDecoder::decode(&mut Bytes::from(transcoded)).expect("they read it");
        prop_assert_eq!(set.records.len(), samples.len());
        for (index, (record, sample)) in (0..).zip(set.records.iter().zip(&samples)) {
            prop_assert_eq!(record.offset, options.base_offset.0 + index);
            prop_assert_eq!(record.partition_leader_epoch, options.leader_epoch.0);
            prop_assert_eq!(
                (record.producer_id, record.producer_epoch),
                (options.producer.id.0, options.producer.epoch.0)
            );
            prop_assert_eq!(record.transactional, options.transactional);
            prop_assert_eq!(record.timestamp, sample.timestamp);
            prop_assert_eq!(record.key.as_deref(), sample.key.as_deref());
            prop_assert_eq!(record.value.as_deref(), sample.value.as_deref());
            for (key, value) in &record.headers {
                let last = sample.headers.iter().rev().find(|(name, _)| *name == key.as_bytes());
                prop_assert_eq!(last.and_then(|(_, value)| value.as_deref()), value.as_deref());
            }
        }
    }

    #[test]
    fn recompressing_keeps_a_batch_native(
        options in options(),
        to in prop::sample::select(&Compression::ALL[..]),
        samples in vec(sample(), 1..20),
    ) {
        let bytes = build(Encoding::Native, options, &samples);
        let records = only(&bytes).records(BYTES_MAX).expect("it decompresses");
        let packed = recompress(only(&bytes).header(), &records, to, None);
        prop_assert_eq!(check_crc(only(&packed)), Ok(()));
        prop_assert_eq!(packed, build(Encoding::Native, BatchOptions { compression: to, ..options }, &samples));
    }

    /// Whatever a body holds: what passes can be read, can be transcoded, and yields no more than it takes.
    #[test]
    fn hostile_bodies_are_refused_or_harmless(
        samples in vec(sample(), 1..6),
        changes in vec((any::<Index>(), prop_oneof![Just(0_u8), Just(0xff), Just(0x80), any::<u8>()]), 1..4),
        cut in option::weighted(0.1, any::<Index>()),
    ) {
        let mut bytes = native(&samples);
        for (at, value) in changes {
            *at.get_mut(&mut bytes[HEADER_BYTES..]) = value;
        }
        let end = cut.map_or(bytes.len(), |cut| HEADER_BYTES + cut.index(bytes.len() - HEADER_BYTES));
        let bytes = with_body(&bytes, &bytes[HEADER_BYTES..end]);
        let batch = only(&bytes);
        let (records, content) = walk(batch);
        prop_assert!(records <= bytes.len() / RECORD_ENTRY_BYTES);
        prop_assert!(content <= 2 * bytes.len());
        let (outcome, allocated) = allocated_bytes(|| to_kafka(batch, BYTES_MAX));
        prop_assert!(allocated <= 4 * bytes.len() + 1024, "{allocated} for {}", bytes.len());
        if validate(batch, LIMITS).is_ok() {
            prop_assert_eq!(records, samples.len());
            let transcoded = outcome.expect("what was admitted can be transcoded");
            prop_assert_eq!(validate(only(&transcoded), LIMITS).err(), None);
            prop_assert_eq!(read(only(&transcoded)), read(batch));
        }
    }

    #[test]
    fn bytes_that_are_no_body_are_refused(body in vec(any::<u8>(), 0..300)) {
        let bytes = with_body(&native(&[Sample { timestamp: 1, key: None, value: None, headers: Vec::new() }]), &body);
        let _ = walk(only(&bytes));
        let _ = to_kafka(only(&bytes), BYTES_MAX);
        let _ = validate(only(&bytes), LIMITS);
    }
}

/// How many records can be read, and how much they hold.
fn walk(batch: Batch<'_>) -> (usize, usize) {
    let (mut records, mut content) = (0, 0);
    for record in RecordIter::new(batch.body(), batch.header()) {
        let Ok(record) = record else { break };
        records += 1;
        content += record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
        for header in record.headers.iter().flatten() {
            content += header.key.len() + header.value.map_or(0, <[u8]>::len);
        }
    }
    (records, content)
}

fn plain(key: Option<&[u8]>, value: Option<&[u8]>, headers: &[(&[u8], Option<&[u8]>)]) -> Sample {
    Sample {
        timestamp: 1000,
        key: key.map(<[u8]>::to_vec),
        value: value.map(<[u8]>::to_vec),
        headers: headers.iter().map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect(),
    }
}

/// Two records; a header each.
fn two() -> [Sample; 2] {
    [
        Sample { timestamp: 1000, ..plain(Some(b"k"), Some(b"one"), &[(b"a", Some(b"1"))]) },
        Sample { timestamp: 1005, ..plain(None, Some(b""), &[(b"b", None)]) },
    ]
}

#[rustfmt::skip]
const GOLDEN: [u8; 128] = [
    0x10, 0, 0, 0, // where the table is
    12, 0, 20, 0, 4, 0, 8, 0, 12, 0, 16, 0, // its virtual table: where its fields are
    12, 0, 0, 0, // the table, and how far back that is
    0x10, 0, 0, 0, 0x5c, 0, 0, 0, 0x3c, 0, 0, 0, 0x4c, 0, 0, 0, // how far its vectors are
    2, 0, 0, 0, // records
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1, 0, 0, 0,
    5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0x80, 4, 0, 0, 0, 2, 0, 0, 0,
    2, 0, 0, 0, // headers
    1, 0, 0, 0, 2, 0, 0, 0,
    3, 0, 0, 0, 3, 0, 0, 0x80,
    3, 0, 0, 0, b'a', b'1', b'b', 0, // their content
    4, 0, 0, 0, b'k', b'o', b'n', b'e', // keys and values
    0, 0, 0, 0,
];

/// The body that `docs/format.md` describes, as it was first written.
#[test]
fn the_body_is_what_it_was() {
    let body = &native(&two())[HEADER_BYTES..];
    assert_eq!(body, GOLDEN, "{body:02x?}");
}

#[test]
fn entries_are_where_the_table_says() {
    let bytes = native(&two());
    let root = flatbuffers::root::<schema::Records<'_>>(&bytes[HEADER_BYTES..]).expect("it was built here");
    let (records, _) = root.records().bytes().as_chunks::<RECORD_ENTRY_BYTES>();
    let second = records[1];
    assert_eq!(second[0..8], 5_i64.to_le_bytes(), "timestamp delta");
    assert_eq!(second[8..12], 1_i32.to_le_bytes(), "offset delta");
    assert_eq!(second[12..16], (4 | ABSENT).to_le_bytes(), "end of the key");
    assert_eq!(second[16..20], 4_u32.to_le_bytes(), "end of the value");
    assert_eq!(second[20..24], 2_u32.to_le_bytes(), "end of the headers");
    let headers = root.headers().expect("there are two").bytes().as_chunks::<HEADER_ENTRY_BYTES>().0.to_vec();
    assert_eq!(headers[1][0..4], 3_u32.to_le_bytes(), "end of the key");
    assert_eq!(headers[1][4..8], (3 | ABSENT).to_le_bytes(), "end of the value");
    assert_eq!(root.content().bytes(), b"kone");
    assert_eq!(root.header_content().expect("there is some").bytes(), b"a1b");
}

/// Changes one of the entries of two records, and says what validating finds.
fn after(change: impl FnOnce(&mut [schema::Record; 2], &mut [schema::Header; 2])) -> Option<BatchError> {
    let mut bytes = native(&two());
    let (at_records, at_headers) = {
        let body = &bytes[HEADER_BYTES..];
        let root = flatbuffers::root::<schema::Records<'_>>(body).expect("it was built here");
        let place = |part: &[u8]| part.as_ptr().addr() - body.as_ptr().addr();
        (place(root.records().bytes()), place(root.headers().expect("there are two").bytes()))
    };
    let entry = |at: usize| schema::Record(*bytes[HEADER_BYTES + at..].first_chunk().expect("an entry"));
    let mut records = [entry(at_records), entry(at_records + RECORD_ENTRY_BYTES)];
    let header = |at: usize| schema::Header(*bytes[HEADER_BYTES + at..].first_chunk().expect("an entry"));
    let mut headers = [header(at_headers), header(at_headers + HEADER_ENTRY_BYTES)];
    change(&mut records, &mut headers);
    let mut put = |at: usize, entry: &[u8]| bytes[HEADER_BYTES + at..][..entry.len()].copy_from_slice(entry);
    put(at_records, &records[0].0);
    put(at_records + RECORD_ENTRY_BYTES, &records[1].0);
    put(at_headers, &headers[0].0);
    put(at_headers + HEADER_ENTRY_BYTES, &headers[1].0);
    let bytes = with_body(&bytes, &bytes[HEADER_BYTES..]);
    validate(only(&bytes), LIMITS).err()
}

fn at(index: i32, problem: RecordProblem) -> Option<BatchError> {
    Some(BatchError::Record(crate::batch::RecordError { index, problem }))
}

#[test]
fn each_way_to_contradict_itself_is_refused() {
    assert_eq!(after(|_, _| ()), None, "as it was built");
    let end = |at, end| RecordProblem::End { at, end };
    assert_eq!(after(|records, _| records[0].set_key_end(5)), at(0, end(0, 5)), "behind all content");
    assert_eq!(after(|records, _| records[0].set_value_end(0)), at(0, end(1, 0)), "before it begins");
    assert_eq!(
        after(|records, _| records[0].set_value_end(4 | ABSENT)),
        at(0, end(1, 4)),
        "absent with bytes"
    );
    assert_eq!(after(|records, _| records[1].set_key_end(3 | ABSENT)), at(1, end(4, 3)), "another's bytes");
    assert_eq!(
        after(|records, _| records[0].set_headers_end(3)),
        at(0, end(0, 3)),
        "more headers than there are"
    );
    assert_eq!(after(|records, _| records[1].set_headers_end(0)), at(1, end(1, 0)), "headers of another");
    assert_eq!(after(|_, headers| headers[0].set_key_end(1 | ABSENT)), at(0, end(0, 1)), "absent with bytes");
    assert_eq!(
        after(|_, headers| headers[0].set_key_end(ABSENT)),
        at(0, RecordProblem::Length(-1)),
        "no name"
    );
    assert_eq!(after(|_, headers| headers[1].set_value_end(9)), at(1, end(3, 9)), "behind all content");
    assert_eq!(
        after(|records, _| records[1].set_offset_delta(2)),
        at(1, RecordProblem::OffsetDelta { delta: 2 }),
        "not the next offset"
    );
    assert_eq!(
        after(|records, _| records[1].set_timestamp_delta(i64::MAX)),
        at(1, RecordProblem::Timestamp(i64::MAX)),
        "past all time"
    );
}

#[test]
fn what_belongs_to_no_record_is_refused() {
    assert_eq!(after(|records, _| records[1].set_headers_end(1)), Some(BatchError::Trailing(8 + 1)));
    assert_eq!(after(|_, headers| headers[1].set_key_end(2)), at(1, RecordProblem::End { at: 2, end: 3 }));
    let mut draft = Draft::default();
    draft.push((0, 0), Some(b"k"), None, std::iter::empty());
    draft.push((0, 1), Some(b"kk"), None, std::iter::empty());
    // The header says one record, the body has two.
    let one = with_body(&native(&two()[..1]), &draft.finish());
    assert_eq!(validate(only(&one), LIMITS), Err(BatchError::Trailing(RECORD_ENTRY_BYTES + 2)));
    let three = with_body(&native(&[two(), two()].concat()[..3]), &draft.finish());
    assert_eq!(validate(only(&three), LIMITS).err(), at(2, RecordProblem::Truncated));
    let none = with_body(&native(&two()), &[]);
    assert_eq!(validate(only(&none), LIMITS).err(), at(0, RecordProblem::Body));
}

/// Bytes that two records share would let a small batch become a large one.
#[test]
fn a_body_that_decompresses_to_too_much_is_refused() {
    let zeros = plain(None, Some(&vec![0; BYTES_MAX]), &[]);
    let options = BatchOptions { compression: Compression::Zstd, ..BatchOptions::default() };
    let bytes = build(Encoding::Native, options, &[zeros]);
    assert!(bytes.len() < BYTES_MAX / 100);
    assert!(matches!(to_kafka(only(&bytes), BYTES_MAX), Err(TranscodeError::Decompress(_))));
}

/// A later version adds vectors at the end of the table; whoever doesn't know them reads on.
#[test]
fn fields_of_a_later_version_are_passed_over() {
    let samples = two();
    let mut builder = FlatBufferBuilder::new();
    let later = builder.create_vector(&[1_u64, 2, 3]);
    let content = builder.create_vector(b"kone".as_slice());
    let header_content = builder.create_vector(b"a1b".as_slice());
    let headers = builder.create_vector(&[schema::Header::new(1, 2), schema::Header::new(3, 3 | ABSENT)]);
    let records = builder
        .create_vector(&[schema::Record::new(0, 0, 1, 4, 1), schema::Record::new(5, 1, 4 | ABSENT, 4, 2)]);
    let table = builder.start_table();
    builder.push_slot_always(schema::Records::VT_RECORDS, records);
    builder.push_slot_always(schema::Records::VT_CONTENT, content);
    builder.push_slot_always(schema::Records::VT_HEADERS, headers);
    builder.push_slot_always(schema::Records::VT_HEADER_CONTENT, header_content);
    builder.push_slot_always(schema::Records::VT_HEADER_CONTENT + 2, later);
    let root: WIPOffset<_> = builder.end_table(table);
    builder.finish_minimal(root);
    let bytes = with_body(&native(&samples), builder.finished_data());
    assert_eq!(validate(only(&bytes), LIMITS).err(), None);
    assert_eq!(read(only(&bytes)), samples);
}

#[test]
fn reading_allocates_nothing() {
    let sample = plain(Some(b"key"), Some(&[7; 100]), &[(b"trace", Some(b"0123456789")), (b"trace", None)]);
    let bytes = native(&vec![sample; 1000]);
    let batch = only(&bytes);
    let ((records, content), allocated) = allocated_bytes(|| walk(batch));
    assert_eq!((records, content), (1000, 1000 * (3 + 100 + 5 + 10 + 5)));
    assert_eq!(allocated, 0);
}
