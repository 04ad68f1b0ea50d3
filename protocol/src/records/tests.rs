//! Records there and back, against an independent implementation, and under hostile bytes.

use bytes::{Bytes, BytesMut};
use kafka_protocol::records as theirs;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::*;
use crate::batch::{BatchIter, BatchLimits, check_crc, validate};
use crate::compression::Compression;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

const BYTES_MAX: usize = 1 << 20;

const LIMITS: BatchLimits = BatchLimits { bytes_max: BYTES_MAX };

/// A record as the tests hold it.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn sample() -> impl Strategy<Value = Sample> {
    let bytes = || option::of(vec(any::<u8>(), 0..200));
    let timestamp = prop_oneof![0..2_000_000_000_000_i64, Just(1_700_000_000_000)];
    (timestamp, bytes(), bytes(), vec(("[a-c]{0,2}", bytes()), 0..4))
        .prop_map(|(timestamp, key, value, headers)| Sample { timestamp, key, value, headers })
}

fn codec() -> impl Strategy<Value = Compression> {
    prop::sample::select(&Compression::ALL[..])
}

fn build(options: BatchOptions, samples: &[Sample]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for sample in samples {
        let headers: Vec<Header<'_>> = sample
            .headers
            .iter()
            .map(|(key, value)| Header { key: key.as_bytes(), value: value.as_deref() })
            .collect();
        builder.append(Timestamp(sample.timestamp), sample.key.as_deref(), sample.value.as_deref(), &headers);
    }
    builder.build()
}

fn read(bytes: &[u8]) -> Vec<Sample> {
    let batch = BatchIter::new(bytes).next().expect("there is a batch").expect("its length is true");
    let records = batch.records(BYTES_MAX).expect("they decompress");
    RecordIter::new(&records, batch.header())
        .map(|record| {
            let record = record.expect("it can be read");
            let headers = record.headers.iter().map(|header| {
                let header = header.expect("it can be read");
                let key = String::from_utf8(header.key.to_vec()).expect("the samples' keys are text");
                (key, header.value.map(<[u8]>::to_vec))
            });
            Sample {
                timestamp: record.timestamp.0,
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: headers.collect(),
            }
        })
        .collect()
}

const fn their_compression(codec: Compression) -> theirs::Compression {
    match codec {
        Compression::None => theirs::Compression::None,
        Compression::Gzip => theirs::Compression::Gzip,
        Compression::Snappy => theirs::Compression::Snappy,
        Compression::Lz4 => theirs::Compression::Lz4,
        Compression::Zstd => theirs::Compression::Zstd,
    }
}

proptest! {
    #[test]
    fn records_come_back(codec in codec(), samples in vec(sample(), 1..20)) {
        let bytes = build(BatchOptions { compression: codec, ..BatchOptions::default() }, &samples);
        let batch = BatchIter::new(&bytes).next().expect("there is a batch").expect("its length is true");
        prop_assert_eq!(validate(batch, LIMITS).err(), None);
        prop_assert_eq!(read(&bytes), samples);
    }

    /// The other implementation keeps headers in a map: the last of each key only.
    #[test]
    fn the_other_implementation_reads_what_is_built_here(codec in codec(), samples in vec(sample(), 1..20)) {
        let options = BatchOptions {
            base_offset: Offset(17),
            leader_epoch: LeaderEpoch(3),
            compression: codec,
            producer: ProducerStamp {
                id: ProducerId(5),
                epoch: ProducerEpoch(2),
                base_sequence: Sequence(40),
            },
            transactional: true,
            ..BatchOptions::default()
        };
        let mut input = Bytes::from(build(options, &samples));
        let set = theirs::RecordBatchDecoder::decode(&mut input).expect("they read it");
        prop_assert!(input.is_empty());
        prop_assert_eq!(set.compression, their_compression(codec));
        prop_assert_eq!(set.records.len(), samples.len());
        for (index, (record, sample)) in (0..).zip(set.records.iter().zip(&samples)) {
            prop_assert_eq!(record.offset, 17 + i64::from(index));
            prop_assert_eq!(record.sequence, 40 + index);
            prop_assert_eq!((record.producer_id, record.producer_epoch), (5, 2));
            prop_assert_eq!(record.partition_leader_epoch, 3);
            prop_assert!(record.transactional && !record.control);
            prop_assert_eq!(record.timestamp, sample.timestamp);
            prop_assert_eq!(record.key.as_deref(), sample.key.as_deref());
            prop_assert_eq!(record.value.as_deref(), sample.value.as_deref());
            for (key, value) in &record.headers {
                let last = sample.headers.iter().rev().find(|(name, _)| name == key.as_str());
                prop_assert_eq!(last.and_then(|(_, value)| value.as_deref()), value.as_deref());
            }
        }
    }

    #[test]
    fn what_the_other_implementation_builds_is_read_here(codec in codec(), mut samples in vec(sample(), 1..20)) {
        for sample in &mut samples {
            sample.headers.sort();
            sample.headers.dedup_by(|left, right| left.0 == right.0);
        }
        let records: Vec<theirs::Record> =
            (0..).zip(&samples).map(|(index, sample)| their_record(index, sample)).collect();
        let options = theirs::RecordEncodeOptions { version: 2, compression: their_compression(codec) };
        let mut output = BytesMut::new();
        theirs::RecordBatchEncoder::encode(&mut output, &records, &options).expect("they write it");
        for batch in BatchIter::new(&output) {
            let batch = batch.expect("their lengths are true");
            prop_assert_eq!(validate(batch, LIMITS).err(), None);
        }
        prop_assert_eq!(read(&output), samples);
    }

    #[test]
    fn a_batch_stamped_again_is_as_if_built_so(codec in codec(), samples in vec(sample(), 1..20)) {
        let stamp = |epoch, sequence| ProducerStamp {
            id: ProducerId(9),
            epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
        };
        let stamped = |producer| build(BatchOptions { compression: codec, producer, ..BatchOptions::default() }, &samples);
        let mut bytes = stamped(stamp(1, 77));
        restamp(&mut bytes, stamp(2, 0));
        prop_assert_eq!(bytes, stamped(stamp(2, 0)));
    }

    #[test]
    fn recompressing_keeps_every_byte_of_every_record(
        from in codec(),
        to in codec(),
        samples in vec(sample(), 1..20),
    ) {
        let bytes = build(BatchOptions { compression: from, ..BatchOptions::default() }, &samples);
        let batch = BatchIter::new(&bytes).next().expect("there is a batch").expect("its length is true");
        let records = batch.records(BYTES_MAX).expect("it decompresses");
        let packed = recompress(batch.header(), &records, to, None);
        let again = BatchIter::new(&packed).next().expect("there is a batch").expect("its length is true");
        prop_assert_eq!(again.header().compression(), Some(to));
        prop_assert_eq!(check_crc(again), Ok(()));
        prop_assert_eq!(again.records(BYTES_MAX), batch.records(BYTES_MAX));
        prop_assert_eq!(again.header().record_count(), batch.header().record_count());
    }

    /// Walking hostile bytes ends, and says what is wrong.
    #[test]
    fn hostile_bodies_are_refused(
        samples in vec(sample(), 1..5),
        flips in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
    ) {
        let mut bytes = build(BatchOptions::default(), &samples);
        let header = *BatchIter::new(&bytes).next().expect("one").expect("true").header();
        let body = &mut bytes[crate::batch::HEADER_BYTES..];
        for (at, value) in flips {
            *at.get_mut(body) = value;
        }
        for record in RecordIter::new(body, &header) {
            let Ok(record) = record else { break };
            let _ = record.headers.check();
            prop_assert!(record.headers.iter().count() <= body.len());
        }
    }
}

fn their_record(index: i32, sample: &Sample) -> theirs::Record {
    theirs::Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: 0,
        producer_id: 7,
        producer_epoch: 1,
        timestamp_type: theirs::TimestampType::Creation,
        offset: i64::from(index),
        sequence: index,
        timestamp: sample.timestamp,
        key: sample.key.clone().map(Bytes::from),
        value: sample.value.clone().map(Bytes::from),
        headers: sample
            .headers
            .iter()
            .map(|(key, value)| (key.clone().into(), value.clone().map(Bytes::from)))
            .collect(),
    }
}

#[test]
fn a_record_stamped_by_the_broker_has_the_batch_s_time() {
    let samples = [1000, 2000].map(|timestamp| Sample {
        timestamp,
        key: None,
        value: Some(vec![1]),
        headers: Vec::new(),
    });
    let mut bytes = build(BatchOptions::default(), &samples);
    let (front, body) = bytes.split_at_mut(crate::batch::HEADER_BYTES);
    let header = crate::batch::BatchHeader::from_prefix_mut(front).expect("there is a header");
    header.set_append_time(Timestamp(7000), body);
    let timestamps: Vec<i64> = read(&bytes).iter().map(|sample| sample.timestamp).collect();
    assert_eq!(timestamps, [7000, 7000]);
}

#[test]
fn a_compacted_batch_keeps_its_offsets() {
    let mut builder = BatchBuilder::new(BatchOptions { base_offset: Offset(100), ..BatchOptions::default() });
    builder.append_at(3, Timestamp(1), Some(b"a"), None, &[]);
    builder.append_at(9, Timestamp(2), Some(b"b"), None, &[]);
    let bytes = builder.build();
    let batch = BatchIter::new(&bytes).next().expect("there is a batch").expect("its length is true");
    assert_eq!(batch.header().last_offset(), Offset(109));
    assert_eq!(batch.header().record_count(), 2);
    let offsets: Vec<Offset> = RecordIter::new(batch.body(), batch.header())
        .map(|record| record.expect("it can be read").offset)
        .collect();
    assert_eq!(offsets, [Offset(103), Offset(109)]);
}

#[test]
fn a_marker_comes_back() {
    for kind in [ControlKind::Abort, ControlKind::Commit] {
        let marker = ControlRecord { kind, coordinator_epoch: 12 };
        let producer = (ProducerId(4), ProducerEpoch(1));
        let bytes = control_batch(producer, LeaderEpoch(2), Timestamp(99), marker);
        let batch = BatchIter::new(&bytes).next().expect("there is a batch").expect("its length is true");
        assert!(batch.header().is_control());
        assert!(batch.header().is_transactional());
        assert_eq!(batch.header().producer_id(), ProducerId(4));
        assert_eq!(check_crc(batch), Ok(()));
        let record = RecordIter::new(batch.body(), batch.header()).next().expect("one").expect("good");
        assert_eq!(ControlRecord::read(&record), Ok(Some(marker)));
    }
}
