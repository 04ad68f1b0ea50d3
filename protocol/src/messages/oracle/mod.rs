//! Every message in every version against an independent implementation, the `kafka-protocol` crate.
//!
//! A message is drawn, written here, read there, written there and read here: the bytes must be the same both times,
//! and the message must come back equal. Both sides' field names are compared as well, so that a tagged field, which
//! the bytes alone would let pass, can't be missing here.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, Message as _};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::arbitrary::{Arbitrary, Source};
use crate::messages::Message;
use crate::wire::Writer;

/// More than any message drawn here takes.
const BUDGET_BYTES: usize = 1 << 20;

/// How long a tape is drawn: enough for three levels of full arrays.
const TAPE_BYTES_MAX: usize = 1024;

fn encode<'a, M: Message<'a>>(message: &M, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut chunks = Vec::<Bytes>::new();
    message.encode(&mut writer, version);
    let bytes = writer.finish(&mut chunks).expect("a message drawn for this version can be written in it");
    let body = chunks.concat();
    assert_eq!(body.len(), bytes);
    body
}

/// Passes bytes through the other implementation: what it makes of them, and its field names.
fn pass_through<T: Decodable + Encodable + std::fmt::Debug>(
    bytes: &[u8],
    version: i16,
) -> (Vec<u8>, Vec<String>) {
    let mut input = Bytes::copy_from_slice(bytes);
    let theirs = T::decode(&mut input, version).expect("the other implementation reads what is written here");
    assert!(input.is_empty(), "the other implementation leaves bytes");
    let mut output = BytesMut::new();
    theirs.encode(&mut output, version).expect("the other implementation writes what it has read");
    (output.to_vec(), field_names(&theirs))
}

/// Fields of versions that only one side has: InitProducerId 6 there, DescribeLogDirs 5 here.
const ONE_SIDED_FIELDS: [&str; 5] = [
    "enable_2_pc",
    "keep_prepared_txn",
    "ongoing_txn_producer_id",
    "ongoing_txn_producer_epoch",
    "is_cordoned",
];

/// The names of all fields, nested ones included, in order.
fn field_names(message: &impl std::fmt::Debug) -> Vec<String> {
    format!("{message:#?}")
        .lines()
        .filter_map(|line| line.trim_start().split_once(": ").map(|(name, _)| name.to_owned()))
        .filter(|name| name != "unknown_tagged_fields" && !ONE_SIDED_FIELDS.contains(&name.as_str()))
        .filter(|name| {
            name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
        .collect()
}

macro_rules! oracle {
    ($($module:ident: $($message:ident),*;)*) => {$(
        mod $module {
            use super::*;

            proptest! {
                #![proptest_config(ProptestConfig::with_cases(48))]

                $(
                    #[test]
                    #[expect(non_snake_case, reason = "a test is named after its message")]
                    fn $message(tape in vec(any::<u8>(), 0..TAPE_BYTES_MAX)) {
                        type Ours<'a> = crate::messages::$module::$message<'a>;
                        check!(Ours, kafka_protocol::messages::$message, tape);
                    }
                )*
            }
        }
    )*};
}

/// As `oracle`, for messages that borrow nothing.
macro_rules! oracle_owned {
    ($($module:ident: $($message:ident),*;)*) => {$(
        $(
            proptest! {
                #![proptest_config(ProptestConfig::with_cases(48))]

                #[test]
                #[expect(non_snake_case, reason = "a test is named after its message")]
                fn $message(tape in vec(any::<u8>(), 0..TAPE_BYTES_MAX)) {
                    type Ours = crate::messages::$module::$message;
                    check!(Ours, kafka_protocol::messages::$message, tape);
                }
            }
        )*
    )*};
}

macro_rules! check {
    ($ours:ident, $theirs:ty, $tape:ident) => {
        let theirs = <$theirs>::VERSIONS;
        for version in $ours::API.versions() {
            let message = $ours::arbitrary(&mut Source::new(&$tape), $ours::API.format(version));
            let bytes = encode(&message, version);
            let same =
                $ours::decode(&bytes, version, BUDGET_BYTES).expect("what is written here is read here");
            prop_assert_eq!(&same, &message, "version {} here and back", version);
            if (theirs.min..=theirs.max).contains(&version) {
                let (passed, names) = pass_through::<$theirs>(&bytes, version);
                prop_assert_eq!(&passed, &bytes, "version {} there and back", version);
                prop_assert_eq!(names, field_names(&same), "version {} fields", version);
            }
        }
    };
}

oracle! {
    alter_configs: AlterConfigsRequest, AlterConfigsResponse;
    api_versions: ApiVersionsRequest, ApiVersionsResponse;
    create_partitions: CreatePartitionsRequest, CreatePartitionsResponse;
    create_topics: CreateTopicsRequest, CreateTopicsResponse;
    delete_records: DeleteRecordsRequest, DeleteRecordsResponse;
    delete_topics: DeleteTopicsRequest, DeleteTopicsResponse;
    describe_cluster: DescribeClusterResponse;
    describe_configs: DescribeConfigsRequest, DescribeConfigsResponse;
    describe_log_dirs: DescribeLogDirsRequest, DescribeLogDirsResponse;
    describe_topic_partitions: DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse;
    fetch: FetchRequest, FetchResponse;
    find_coordinator: FindCoordinatorRequest, FindCoordinatorResponse;
    incremental_alter_configs: IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse;
    init_producer_id: InitProducerIdRequest;
    list_config_resources: ListConfigResourcesResponse;
    list_offsets: ListOffsetsRequest, ListOffsetsResponse;
    metadata: MetadataRequest, MetadataResponse;
    offset_for_leader_epoch: OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse;
    produce: ProduceRequest, ProduceResponse;
}

oracle_owned! {
    describe_cluster: DescribeClusterRequest;
    init_producer_id: InitProducerIdResponse;
    list_config_resources: ListConfigResourcesRequest;
}
