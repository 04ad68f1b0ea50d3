//! What the tests of several APIs need: an image to ask, and responses written in every version.

use bytes::Bytes;
use logic::config::{BrokerLayers, ConfigMap};
use logic::metadata::{
    Command, Image, Incarnation, Listener, NewTopic, RegisterBroker, Response, TopicShape,
};
use protocol::messages::{Message, Response as ResponseBody};
use protocol::types::{BrokerId, TopicId};
use protocol::wire::Writer;

/// The one broker of the test's cluster.
pub const BROKER: BrokerId = BrokerId(1);

static NOTHING: ConfigMap = ConfigMap::new();

/// Nothing is set on the broker.
pub const BARE: BrokerLayers<'static> =
    BrokerLayers { dynamic_broker: &NOTHING, dynamic_default: &NOTHING, file: &NOTHING };

/// An image with one broker.
pub fn one_broker() -> Image {
    let mut image = Image::default();
    let registration = RegisterBroker {
        cluster_id: "Zm9yIGEgY2x1c3Rlcg".to_owned(),
        broker: BROKER,
        incarnation: Incarnation([1; 16]),
        listeners: vec![Listener { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port: 9092 }],
        rack: None,
    };
    let response = apply(&mut image, &Command::RegisterBroker(registration));
    assert!(matches!(response, Response::RegisterBroker(Ok(_))), "{response:?}");
    image
}

/// Applies the next command.
pub fn apply(image: &mut Image, command: &Command) -> Response {
    image.apply(image.sequence() + 1, command).0
}

/// An id that is this one byte again and again.
pub fn topic_id(byte: u8) -> TopicId {
    TopicId([byte; 16])
}

/// Makes a topic.
pub fn make_topic(image: &mut Image, name: &str, id: u8, partition_count: i32) {
    let topic = NewTopic {
        name: name.to_owned(),
        id: topic_id(id),
        shape: TopicShape::Counts { partition_count, replication_factor: 1 },
        settings: Vec::new(),
    };
    let Response::CreateTopics(made) = apply(image, &Command::CreateTopics(vec![topic])) else {
        panic!("CreateTopics is answered by its own response");
    };
    assert!(made[0].is_ok(), "{made:?}");
}

/// Writes a response in the version; the client reads it back, and gets what it is handed.
pub fn as_client<'a, M: ResponseBody<'a>>(response: &M, version: i16) -> Vec<u8> {
    let mut writer = Writer::new();
    let mut chunks = Vec::<Bytes>::new();
    response.encode(&mut writer, version);
    let written = writer.finish(&mut chunks);
    written.unwrap_or_else(|error| panic!("{} version {version}: {error}", M::API));
    chunks.concat()
}

/// Reads what [`as_client`] wrote.
pub fn read<'a, M: Message<'a>>(bytes: &'a [u8], version: i16) -> M {
    const BUDGET_BYTES: usize = 1 << 20;
    M::decode(bytes, version, BUDGET_BYTES)
        .unwrap_or_else(|error| panic!("{} version {version}: {error}", M::API))
}

/// Writes the response that `build` makes for each version of its API, and hands what a client reads to `check`.
macro_rules! in_every_version {
    ($response:ty, |$build:ident| $made:expr, |$version:ident, $read:ident| $check:block) => {
        for version in <$response as protocol::messages::Message>::API.versions() {
            let $build = version;
            let bytes = $crate::api::testing::as_client(&$made, version);
            let ($version, $read): (i16, $response) = (version, $crate::api::testing::read(&bytes, version));
            $check
        }
    };
}
pub(crate) use in_every_version;
