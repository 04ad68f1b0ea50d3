//! One batch after another, by what is special about it.

use super::*;
use crate::config::{BrokerLayers, ConfigMap};
use proptest::prelude::*;
use protocol::batch::TimestampType as BatchTimestampType;
use protocol::records::{BatchBuilder, BatchOptions, ProducerStamp};
use protocol::types::{ProducerEpoch, ProducerId, Sequence};

const NOW: Timestamp = Timestamp(1_000_000);
const VERSION: i16 = 9;

/// A topic with these configs, and bounds of 1,000 ms before and 100 ms after where they say `bounded`.
fn topic(configs: &[(&str, &str)]) -> TopicConfig {
    let nothing = ConfigMap::new();
    let layers = BrokerLayers { dynamic_broker: &nothing, dynamic_default: &nothing, file: &nothing };
    let mut overrides: ConfigMap =
        configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    if overrides.remove("bounded").is_some() {
        overrides.insert("message.timestamp.before.max.ms".to_owned(), "1000".to_owned());
        overrides.insert("message.timestamp.after.max.ms".to_owned(), "100".to_owned());
    }
    TopicConfig::resolve(&overrides, &layers)
}

fn options() -> BatchOptions {
    BatchOptions::default()
}

/// A batch with a record at each of `times`, counted from now; `None` is a record without a timestamp.
fn build(options: BatchOptions, times: &[Option<i64>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(options);
    for time in times {
        let timestamp = time.map_or(TIMESTAMP_NONE, |time| Timestamp(NOW.get() + time));
        builder.append(timestamp, Some(b"key"), Some(b"value"), &[]);
    }
    builder.build()
}

fn compressed(compression: Compression, times: &[Option<i64>]) -> Vec<u8> {
    build(BatchOptions { compression, ..options() }, times)
}

fn verdict(payload: &[u8], topic: &TopicConfig) -> String {
    match admit(NOW, VERSION, payload, topic) {
        Ok(admitted) => {
            format!("{:?}{}", admitted.stamp, if admitted.look_inside { ", look inside" } else { "" })
        }
        Err(error) => error.to_string(),
    }
}

fn look_inside(payload: &[u8], topic: &TopicConfig) -> String {
    let admitted = admit(NOW, VERSION, payload, topic).expect("a batch that is admitted");
    assert!(admitted.look_inside);
    let records = admitted.batch.records(1 << 20).expect("a batch that can be decompressed");
    match check_inside(NOW, admitted.batch.header(), &records, topic) {
        Ok(stamp) => format!("{stamp:?}"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn an_ordinary_batch_is_taken_as_it_is() {
    let payload = build(options(), &[Some(0), Some(-5)]);
    let admitted = admit(NOW, VERSION, &payload, &topic(&[])).expect("an ordinary batch");
    assert_eq!(admitted.record_count, 2);
    assert_eq!(admitted.producer, None);
    assert_eq!(admitted.stamp, Stamp::Keep);
    assert_eq!(admitted.recompression, None);
    assert!(!admitted.look_inside);
    assert_eq!(admitted.batch.bytes(), payload);
}

#[test]
fn exactly_one_batch_is_taken() {
    let one = build(options(), &[Some(0)]);
    let topic = topic(&[]);
    assert_eq!(verdict(&[], &topic), "no batch");
    assert_eq!(
        verdict(&[one.clone(), one.clone()].concat(), &topic),
        format!("{} bytes follow the batch", one.len())
    );
    assert_eq!(verdict(&[one.clone(), vec![0]].concat(), &topic), "1 bytes follow the batch");
    assert!(matches!(
        admit(NOW, VERSION, &one[..one.len() - 1], &topic),
        Err(AdmissionError::Framing(FramingError::Truncated { .. }))
    ));
}

#[test]
fn offsets_are_the_brokers_to_give() {
    let payload = build(BatchOptions { base_offset: Offset(3), ..options() }, &[Some(0)]);
    assert_eq!(verdict(&payload, &topic(&[])), "a batch from a producer starts at offset 0, not 3");
}

#[test]
fn a_batch_fits_the_topics_sizes() {
    let payload = build(options(), &[Some(0); 10]);
    let exactly = payload.len().to_string();
    let too_small = (payload.len() - 1).to_string();
    assert_eq!(verdict(&payload, &topic(&[("max.message.bytes", &exactly)])), "Keep");
    assert_eq!(
        verdict(&payload, &topic(&[("max.message.bytes", &too_small)])),
        format!("a batch of {exactly} bytes is larger than the {too_small} allowed")
    );
    let mut small_segments = topic(&[]);
    small_segments.segment_bytes = u32::try_from(payload.len() - 1).expect("small");
    assert_eq!(
        verdict(&payload, &small_segments),
        format!("a batch of {exactly} bytes is larger than a segment of {too_small}")
    );
}

#[test]
fn control_batches_are_refused_and_transactional_ones_are_not() {
    let producer = ProducerStamp { id: ProducerId(7), epoch: ProducerEpoch(0), base_sequence: Sequence(0) };
    let control = build(BatchOptions { control: true, producer, ..options() }, &[Some(0)]);
    assert_eq!(verdict(&control, &topic(&[])), "a control batch from a producer");
    let transactional = build(BatchOptions { transactional: true, producer, ..options() }, &[Some(0)]);
    let admitted = admit(NOW, VERSION, &transactional, &topic(&[])).expect("a producer's");
    assert!(admitted.producer.is_some_and(|batch| batch.is_transactional));
}

#[test]
fn an_idempotent_producer_says_all_or_nothing() {
    let of = |id, epoch, sequence| {
        let producer = ProducerStamp {
            id: ProducerId(id),
            epoch: ProducerEpoch(epoch),
            base_sequence: Sequence(sequence),
        };
        build(BatchOptions { producer, ..options() }, &[Some(0); 3])
    };
    let payload = of(7, 1, 40);
    let admitted = admit(NOW, VERSION, &payload, &topic(&[])).expect("an idempotent batch");
    let expected = ProducerBatch {
        producer_id: ProducerId(7),
        epoch: ProducerEpoch(1),
        base_sequence: Sequence(40),
        last_offset_delta: 2,
        is_transactional: false,
    };
    assert_eq!(admitted.producer, Some(expected));
    for (id, epoch, sequence) in [(7, -1, 0), (7, 0, -1), (-2, 0, 0)] {
        let refused = verdict(&of(id, epoch, sequence), &topic(&[]));
        assert_eq!(refused, "producer id, epoch and sequence don't fit together");
    }
}

#[test]
fn timestamps_stay_within_the_topics_bounds() {
    let bounded = topic(&[("bounded", "")]);
    let check = |times: &[Option<i64>]| verdict(&build(options(), times), &bounded);
    let range = "is not between 999000 and 1000100";
    assert_eq!(check(&[Some(0), Some(100), Some(-1_000)]), "Keep");
    assert_eq!(check(&[Some(0), Some(101)]), format!("timestamp 1000101 {range}"));
    assert_eq!(check(&[Some(-1_001), Some(0)]), format!("timestamp 998999 {range}"));
    assert_eq!(check(&[None, None]), "Keep");
    assert_eq!(check(&[None, Some(100)]), "Keep");
    assert_eq!(check(&[None, Some(-1_001), Some(0)]), format!("timestamp 998999 {range}"));
    assert_eq!(check(&[Some(101), None]), format!("timestamp 1000101 {range}"));
}

#[test]
fn without_bounds_any_past_is_taken() {
    let after_only = topic(&[("message.timestamp.after.max.ms", "100")]);
    assert_eq!(verdict(&build(options(), &[Some(-1_000_000)]), &after_only), "Keep");
    assert_eq!(check_timestamp(NOW, Timestamp(i64::MIN), &after_only), Ok(()));
    assert!(check_timestamp(NOW, Timestamp(i64::MAX), &after_only).is_err());
    let unbounded = topic(&[("message.timestamp.after.max.ms", "9223372036854775807")]);
    assert_eq!(check_timestamp(NOW, Timestamp(i64::MAX), &unbounded), Ok(()));
}

#[test]
fn a_record_from_the_future_is_refused_by_default() {
    let hours = |count: i64| Some(count * 3_600_000);
    let payload = build(options(), &[hours(2)]);
    assert!(verdict(&payload, &topic(&[])).starts_with("timestamp 8200000 is not between"));
    let payload = compressed(Compression::Lz4, &[Some(0), hours(2)]);
    assert!(verdict(&payload, &topic(&[])).starts_with("timestamp 8200000 is not between"));
}

#[test]
fn the_brokers_time_replaces_all_others() {
    let append_time = topic(&[("message.timestamp.type", "LogAppendTime"), ("bounded", "")]);
    let stamped = "AppendTime(Timestamp(1000000))";
    assert_eq!(verdict(&build(options(), &[Some(5_000_000)]), &append_time), stamped);
    assert_eq!(verdict(&compressed(Compression::Zstd, &[Some(-5_000)]), &append_time), stamped);
}

#[test]
fn producers_do_not_speak_for_the_brokers_clock() {
    let options = BatchOptions { timestamp_type: BatchTimestampType::LogAppendTime, ..options() };
    let payload = build(options, &[Some(0)]);
    let refused = "a producer's timestamps labelled as the broker's";
    assert_eq!(verdict(&payload, &topic(&[])), refused);
    assert_eq!(verdict(&payload, &topic(&[("message.timestamp.type", "LogAppendTime")])), refused);
}

#[test]
fn a_header_with_another_maximum_is_corrected() {
    let mut payload = build(options(), &[Some(0), Some(7)]);
    let header = BatchHeader::from_prefix_mut(&mut payload).expect("a header");
    let offset_of_max_timestamp = 35;
    assert_eq!(header.max_timestamp(), Timestamp(1_000_007));
    payload[offset_of_max_timestamp..offset_of_max_timestamp + 8]
        .copy_from_slice(&1_000_000_i64.to_be_bytes());
    let (header, body) = (*BatchHeader::from_prefix(&payload).expect("a header"), payload[61..].to_vec());
    payload[17..21].copy_from_slice(&batch::crc(&header, &body).to_be_bytes());
    assert_eq!(verdict(&payload, &topic(&[])), "MaxTimestamp(Timestamp(1000007))");
}

#[test]
fn zstd_needs_a_request_that_knows_it() {
    let payload = compressed(Compression::Zstd, &[Some(0)]);
    let refused = admit(NOW, 6, &payload, &topic(&[])).map(|_| ());
    assert_eq!(refused, Err(AdmissionError::CompressionTooNew { version: 6 }));
    assert!(admit(NOW, 7, &payload, &topic(&[])).is_ok());
    assert!(admit(NOW, 6, &compressed(Compression::Lz4, &[Some(0)]), &topic(&[])).is_ok());
}

#[test]
fn a_topic_recompresses_what_came_in_another_way() {
    let wanted = |configs: &[(&str, &str)], source| {
        let payload = compressed(source, &[Some(0)]);
        let admitted = admit(NOW, VERSION, &payload, &topic(configs)).expect("a batch that is admitted");
        assert_eq!(admitted.look_inside, admitted.recompression.is_some() && source != Compression::None);
        admitted.recompression
    };
    let to = |compression, level| Some(Recompression { compression, level });
    for source in Compression::ALL {
        assert_eq!(wanted(&[], source), None);
    }
    assert_eq!(
        wanted(&[("compression.type", "gzip"), ("compression.gzip.level", "9")], Compression::Gzip),
        None
    );
    assert_eq!(
        wanted(&[("compression.type", "gzip"), ("compression.gzip.level", "9")], Compression::None),
        to(Compression::Gzip, Some(9))
    );
    assert_eq!(
        wanted(&[("compression.type", "uncompressed")], Compression::Lz4),
        to(Compression::None, None)
    );
    assert_eq!(wanted(&[("compression.type", "snappy")], Compression::Zstd), to(Compression::Snappy, None));
}

#[test]
fn a_compressed_batch_is_opened_where_each_record_counts() {
    let bounded = topic(&[("bounded", "")]);
    let inside = |times: &[Option<i64>]| look_inside(&compressed(Compression::Lz4, times), &bounded);
    assert_eq!(inside(&[Some(0), Some(-1_000), Some(5)]), "Keep");
    assert_eq!(
        inside(&[Some(0), Some(-1_001), Some(5)]),
        "timestamp 998999 is not between 999000 and 1000100"
    );
}

#[test]
fn unsound_records_in_a_compressed_batch_are_found_when_it_is_opened() {
    let payload = build(options(), &[Some(0), Some(1)]);
    let header = BatchHeader::from_prefix(&payload).expect("a header");
    let records = &payload[61..];
    let topic = topic(&[]);
    assert_eq!(check_inside(NOW, header, records, &topic), Ok(Stamp::Keep));
    assert!(check_inside(NOW, header, &records[..records.len() - 1], &topic).is_err());
    let longer = [records, &[0]].concat();
    assert_eq!(check_inside(NOW, header, &longer, &topic), Err(BatchError::Trailing(1).into()));
    let doubled = [&records[..records.len() / 2], &records[..records.len() / 2]].concat();
    assert!(matches!(check_inside(NOW, header, &doubled, &topic), Err(AdmissionError::Record(_))));
}

proptest! {
    #[test]
    fn no_payload_breaks_the_checks(
        times in prop::collection::vec(prop::option::of(-2_000..200_i64), 1..6),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
        length in any::<prop::sample::Index>(),
        repair in any::<bool>(),
    ) {
        let mut payload = build(options(), &times);
        for (place, value) in flips {
            let place = place.index(payload.len());
            payload[place] = value;
        }
        if repair {
            // With a true CRC the records themselves are what is looked at.
            let header = *BatchHeader::from_prefix(&payload).expect("a header");
            let crc = batch::crc(&header, &payload[61..]);
            payload[17..21].copy_from_slice(&crc.to_be_bytes());
        } else {
            payload.truncate(length.index(payload.len() + 1));
        }
        let bounded = topic(&[("bounded", "")]);
        if let Ok(admitted) = admit(NOW, VERSION, &payload, &bounded) {
            prop_assert!(admitted.record_count > 0);
            prop_assert_eq!(admitted.batch.bytes().len(), payload.len());
        }
    }
}

#[test]
fn a_native_batch_goes_by_the_rules_of_every_other_and_is_opened() {
    let native = |compression, times: &[Option<i64>]| {
        build(BatchOptions { encoding: Encoding::Native, compression, ..options() }, times)
    };
    let plain = native(Compression::None, &[Some(0), Some(50)]);
    assert_eq!(verdict(&plain, &topic(&[])), "Keep");
    let late = native(Compression::None, &[Some(0), Some(101)]);
    assert_eq!(
        verdict(&late, &topic(&[("bounded", "")])),
        "timestamp 1000101 is not between 999000 and 1000100"
    );
    let packed = native(Compression::Zstd, &[Some(0), Some(-50)]);
    assert_eq!(verdict(&packed, &topic(&[])), "Keep, look inside");
    assert_eq!(look_inside(&packed, &topic(&[])), "Keep");
    let stamped = topic(&[("message.timestamp.type", "LogAppendTime")]);
    assert_eq!(verdict(&plain, &stamped), "AppendTime(Timestamp(1000000))");
    let mut keyless = BatchBuilder::new(BatchOptions { encoding: Encoding::Native, ..options() });
    keyless.append(NOW, Some(b"key"), None, &[]);
    keyless.append(NOW, None, Some(b"value"), &[]);
    let refused = admit(NOW, VERSION, &keyless.build(), &topic(&[("cleanup.policy", "compact")])).err();
    assert_eq!(refused, Some(AdmissionError::WithoutKey { indexes: vec![1], count: 1 }));
}
