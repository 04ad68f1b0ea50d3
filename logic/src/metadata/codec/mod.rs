//! Commands and images as FlatBuffers (`schemas/metadata.fbs`), for the quorum's log and snapshots.
//!
//! Decoding verifies the whole buffer first and then checks what a schema can't say; what comes out could have been
//! encoded here. `decode(encode(x)) == x`.

mod command;
mod image;

pub use command::{decode_command, encode_command};
pub use image::{decode_image, encode_image};

use flatbuffers::{
    FlatBufferBuilder, ForwardsUOffset, InvalidFlatbuffer, Vector, VerifierOptions, WIPOffset,
};
use protocol::generated::metadata as schema;
use protocol::types::{BrokerId, TopicId};

use super::{Incarnation, Listener};

/// Why bytes are no command or image.
#[derive(Debug, thiserror::Error)]
pub enum DecodeError {
    /// Not a FlatBuffer of the schema.
    #[error("the buffer is damaged: {0}")]
    Damaged(#[from] InvalidFlatbuffer),
    /// A newer version wrote what this one doesn't know.
    #[error("{what} {value} is not known to this version")]
    Unknown {
        /// What it is.
        what: &'static str,
        /// Its number.
        value: u8,
    },
    /// The parts don't fit each other.
    #[error("{0}")]
    Inconsistent(&'static str),
}

/// The verifier's bounds. Tables are at most a few per topic; depth is what the schema has.
fn verifier_options() -> VerifierOptions {
    VerifierOptions {
        max_depth: 16,
        max_tables: 16_000_000,
        max_apparent_size: 1 << 31,
        ignore_missing_null_terminator: false,
    }
}

type Builder<'a> = FlatBufferBuilder<'a>;
type Offsets<'a, T> = WIPOffset<Vector<'a, ForwardsUOffset<T>>>;

fn encode_id(bytes: [u8; 16]) -> schema::Id {
    schema::Id::new(&bytes)
}

fn decode_id(id: &schema::Id) -> [u8; 16] {
    id.bytes().into()
}

fn decode_topic_id(id: &schema::Id) -> TopicId {
    TopicId(decode_id(id))
}

fn decode_incarnation(id: &schema::Id) -> Incarnation {
    Incarnation(decode_id(id))
}

fn encode_brokers<'a>(builder: &mut Builder<'a>, brokers: &[BrokerId]) -> WIPOffset<Vector<'a, i32>> {
    builder.create_vector_from_iter(brokers.iter().map(|broker| broker.get()))
}

fn decode_brokers(brokers: Vector<'_, i32>) -> Vec<BrokerId> {
    brokers.iter().map(BrokerId).collect()
}

fn encode_settings<'a, 'b>(
    builder: &mut Builder<'a>,
    settings: impl Iterator<Item = (&'b String, Option<&'b String>)>,
) -> Offsets<'a, schema::Setting<'a>> {
    let settings: Vec<_> = settings
        .map(|(name, value)| {
            let name = Some(builder.create_string(name));
            let value = value.map(|value| builder.create_string(value));
            schema::Setting::create(builder, &schema::SettingArgs { name, value })
        })
        .collect();
    builder.create_vector(&settings)
}

fn encode_listeners<'a>(
    builder: &mut Builder<'a>,
    listeners: &[Listener],
) -> Offsets<'a, schema::Listener<'a>> {
    let listeners: Vec<_> = listeners
        .iter()
        .map(|listener| {
            let name = Some(builder.create_string(&listener.name));
            let host = Some(builder.create_string(&listener.host));
            schema::Listener::create(builder, &schema::ListenerArgs { name, host, port: listener.port })
        })
        .collect();
    builder.create_vector(&listeners)
}

fn decode_listeners<'a>(listeners: Vector<'a, ForwardsUOffset<schema::Listener<'a>>>) -> Vec<Listener> {
    listeners
        .iter()
        .map(|listener| Listener {
            name: listener.name().to_owned(),
            host: listener.host().to_owned(),
            port: listener.port(),
        })
        .collect()
}
