//! Native batches: Kafka's header with a magic of their own, and a FlatBuffers body (`schemas/records.fbs`).
//!
//! Everything that a broker decides by is in the header, which is Kafka's to the bit but for the magic. The body is flat:
//! [`records::RecordIter`](crate::records::RecordIter) hands out its records as it does Kafka's, borrowed, in place, without an
//! allocation. [`to_kafka`] makes a batch for clients that know Kafka's format only.
//!
//! Whatever is read here may be hostile. Opening a body takes constant time: one table and four vectors are verified, by
//! FlatBuffers' own verifier. Each end that a record or header names is checked when it is read, against the one before it and
//! against the content. Content is never shared between records, so what a body can be made to yield is bounded by its length.

/// The version of native batches that is written and read here: what clients and brokers tell each other, in a tagged field
/// of ApiVersions responses and of Fetch requests. Its tag, 18767, is `IO`: far from what Kafka counts up to.
pub const VERSION: i8 = 1;

mod body;
mod draft;
mod transcode;

#[cfg(test)]
mod tests;

pub(crate) use body::{NativeBody, NativeHeaders};
pub(crate) use draft::Draft;
pub use transcode::{TranscodeError, to_kafka, transcode};
