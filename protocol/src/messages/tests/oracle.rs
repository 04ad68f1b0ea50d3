//! Every message in every version against an independent implementation, the `kafka-protocol` crate.
//!
//! A message is drawn, written here, read there, written there and read here: the bytes must be the same both times,
//! and the message must come back equal. Both sides' field names are compared as well, so that a tagged field, which
//! the bytes alone would let pass, can't be missing here.

use bytes::{Bytes, BytesMut};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message as _};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{TAPE_BYTES_MAX, each_message, encode};
use crate::api::ApiKey;
use crate::arbitrary::{Arbitrary, Source};
use crate::messages::Message;
use crate::wire::{Field, Reader};

/// How many messages of each kind are drawn, each in all versions.
const CASES: u32 = 48;

/// More than any message drawn here takes.
const BUDGET_BYTES: usize = 1 << 20;

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

/// Fields of versions that only one side has (InitProducerId 6 there; ApiVersions 5, DescribeLogDirs 5 and WriteTxnMarkers 2 here),
/// one that Kafka has given another name since, and one that is not Kafka's.
const ONE_SIDED_FIELDS: [&str; 11] = [
    "enable_2_pc",
    "keep_prepared_txn",
    "ongoing_txn_producer_id",
    "ongoing_txn_producer_epoch",
    "is_cordoned",
    "cluster_id",
    "node_id",
    "transaction_version",
    "generation_id",
    "generation_id_or_member_epoch",
    "native_version",
];

/// The names of all fields, nested ones included, in order.
fn field_names(message: &impl std::fmt::Debug) -> Vec<String> {
    format!("{message:#?}")
        .lines()
        .filter_map(|line| line.trim_start().split_once(": ").map(|(name, _)| name.to_owned()))
        .filter(|name| name != "unknown_tagged_fields" && !ONE_SIDED_FIELDS.contains(&name.as_str()))
        .filter(|name| {
            !name.starts_with(|first: char| first.is_ascii_digit())
                && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_lowercase() || byte.is_ascii_digit())
        })
        .collect()
}

/// The number that Kafka gives the header around a message.
fn header_version(api: ApiKey, version: i16, message: &str) -> i16 {
    match message.ends_with("Request") {
        true => 1 + i16::from(api.format(version).flexible),
        false => i16::from(api.response_header_is_flexible(version)),
    }
}

macro_rules! oracle {
    ($($module:ident: $($message:ident $(<$frame:lifetime>)?),*;)*) => {$($(
        proptest! {
            #![proptest_config(ProptestConfig::with_cases(CASES))]

            #[test]
            #[expect(non_snake_case, reason = "a test is named after its message")]
            fn $message(tape in vec(any::<u8>(), 0..TAPE_BYTES_MAX)) {
                let api = <crate::messages::$module::$message $(<$frame>)? as Message<'_>>::API;
                for version in api.versions() {
                    let message = <crate::messages::$module::$message $(<$frame>)?>::arbitrary(
                        &mut Source::new(&tape),
                        api.format(version),
                    );
                    let bytes = encode(&message, version);
                    let mut reader = Reader::new(&bytes, BUDGET_BYTES);
                    let same = Field::read(&mut reader, api.format(version))?;
                    reader.finish()?;
                    prop_assert_eq!(&message, &same, "version {} here and back", version);
                    type Theirs = kafka_protocol::messages::$message;
                    let header = header_version(api, version, stringify!($message));
                    prop_assert_eq!(Theirs::header_version(version), header, "version {} header", version);
                    if (Theirs::VERSIONS.min..=Theirs::VERSIONS.max).contains(&version) {
                        let (passed, names) = pass_through::<Theirs>(&bytes, version);
                        prop_assert_eq!(&passed, &bytes, "version {} there and back", version);
                        prop_assert_eq!(names, field_names(&same), "version {} fields", version);
                    }
                }
            }
        }
    )*)*};
}

each_message!(oracle);
