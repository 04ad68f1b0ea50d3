//! What is done in passing comes to the same as what is done beside the shard, and is little.

use logic::config::{BrokerLayers, ConfigMap};
use protocol::batch::{BatchIter, Encoding};
use protocol::records::{BatchBuilder, BatchOptions};

use super::*;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const VERSION: i16 = 12;

fn topic(configs: &[(&str, &str)]) -> TopicConfig {
    let nothing = ConfigMap::new();
    let layers = BrokerLayers { dynamic_broker: &nothing, dynamic_default: &nothing, file: &nothing };
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    TopicConfig::resolve(&configs.collect(), &layers)
}

fn compacted() -> TopicConfig {
    topic(&[("cleanup.policy", "compact")])
}

/// A batch of one record with a key, and with a value of so many bytes that are all alike.
fn batch(encoding: Encoding, compression: Compression, value_bytes: usize) -> Bytes {
    let mut builder = BatchBuilder::new(BatchOptions { encoding, compression, ..BatchOptions::default() });
    builder.append(NOW, Some(b"key"), Some(&vec![7; value_bytes]), &[]);
    builder.build().into()
}

/// What comes of a batch, as text: the same for two that are the same.
fn shown(outcome: Result<Prepared, BatchRefusal>) -> String {
    format!("{outcome:?}")
}

#[test]
fn what_is_done_in_passing_comes_to_the_same() {
    let topics = [
        topic(&[]),
        compacted(),
        topic(&[("message.timestamp.before.max.ms", "1000")]),
        topic(&[("message.timestamp.type", "LogAppendTime"), ("compression.type", "lz4")]),
        topic(&[("compression.type", "uncompressed")]),
        topic(&[("compression.type", "gzip"), ("compression.gzip.level", "9")]),
        topic(&[("compression.type", "zstd"), ("max.message.bytes", "90")]),
    ];
    for (topic, compression) in topics.iter().flat_map(|topic| Compression::ALL.map(|codec| (topic, codec))) {
        for encoding in [Encoding::Kafka, Encoding::Native] {
            let payload = batch(encoding, compression, 500);
            for now in [NOW, Timestamp(NOW.get() + 5_000)] {
                let mut in_passing = InPassing::default();
                let little = prepare_in_passing(now, VERSION, &payload, topic, &mut in_passing);
                let little = little.expect("it is little");
                assert_eq!(
                    shown(little),
                    shown(prepare(now, VERSION, &payload, topic)),
                    "{compression} {topic:?}"
                );
            }
        }
    }
}

#[test]
fn a_topics_compression_is_what_comes_of_it() {
    let payload = batch(Encoding::Kafka, Compression::Gzip, 500);
    let prepared =
        prepare(NOW, VERSION, &payload, &topic(&[("compression.type", "lz4")])).expect("it is taken");
    let stored = BatchIter::new(&prepared.records).next().expect("a batch").expect("it is whole");
    let sent = BatchIter::new(&payload).next().expect("a batch").expect("it is whole");
    assert_eq!(stored.header().compression(), Some(Compression::Lz4));
    assert_eq!(stored.records(1 << 20), sent.records(1 << 20));
    assert_eq!(protocol::batch::check_crc(stored), Ok(()));
}

#[test]
fn what_unfolds_to_much_is_not_done_in_passing() {
    for (encoding, compression) in [
        (Encoding::Kafka, Compression::Gzip),
        (Encoding::Kafka, Compression::Zstd),
        (Encoding::Kafka, Compression::Lz4),
        (Encoding::Native, Compression::Zstd),
    ] {
        let payload = batch(encoding, compression, 4 << 20);
        assert!(payload.len() < PRODUCED_IN_PASSING_BYTES_MAX, "{compression}: {} bytes", payload.len());
        let mut in_passing = InPassing::default();
        assert!(prepare_in_passing(NOW, VERSION, &payload, &compacted(), &mut in_passing).is_none());
        prepare(NOW, VERSION, &payload, &compacted()).expect("it is taken, though it takes longer");
        let small = batch(Encoding::Kafka, Compression::Gzip, 10);
        let next = prepare_in_passing(NOW, VERSION, &small, &compacted(), &mut in_passing);
        assert!(next.is_none(), "what was tried in vain was all that the request may take");
    }
    let plain = batch(Encoding::Kafka, Compression::Gzip, 4 << 20);
    let mut in_passing = InPassing { bytes_left: 0 };
    let taken = prepare_in_passing(NOW, VERSION, &plain, &topic(&[]), &mut in_passing);
    taken.expect("it is not looked into").expect("it is taken");
}

#[test]
fn many_that_are_little_are_not() {
    let payload = batch(Encoding::Kafka, Compression::Lz4, PRODUCED_IN_PASSING_BYTES_MAX / 10);
    let count_of = |topic: &TopicConfig| {
        let mut in_passing = InPassing::default();
        (0..100)
            .take_while(|_| prepare_in_passing(NOW, VERSION, &payload, topic, &mut in_passing).is_some())
            .count()
    };
    assert_eq!(count_of(&topic(&[])), 100);
    assert_eq!(count_of(&compacted()), 9);
    assert_eq!(count_of(&topic(&[("compression.type", "zstd")])), 4);
    assert_eq!(count_of(&topic(&[("compression.type", "gzip")])), 1);
    assert_eq!(count_of(&topic(&[("compression.type", "zstd"), ("compression.zstd.level", "19")])), 0);
}

#[test]
fn there_is_an_end_to_what_a_batch_may_unfold_to() {
    let payload = batch(Encoding::Kafka, Compression::Zstd, PRODUCED_BATCH_DECOMPRESSED_BYTES_MAX);
    assert!(payload.len() < 1 << 20);
    let refused = prepare(NOW, VERSION, &payload, &compacted()).expect_err("it is too much");
    assert!(matches!(refused, BatchRefusal::Decompress(DecompressError::TooLarge { .. })), "{refused}");
}
