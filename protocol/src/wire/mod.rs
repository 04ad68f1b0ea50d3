//! Kafka's primitive encodings: a bounded reader, a writer that never copies record bytes, and what joins them.
//!
//! Invariants: a read never looks past its slice and never allocates more than its budget, which is charged before
//! the allocation; a write never fails half way, it remembers the first refusal and the frame is dropped as a whole.
//! Knows nothing of any API.

mod field;
mod payload;
mod reader;
mod writer;

#[cfg(test)]
mod tests;

pub use field::{Field, Format, Nullable};
pub use payload::Payload;
pub use reader::{DecodeError, Reader};
pub use writer::{
    EncodeError, Writer, put_uvarint, put_varint, put_varlong, uvarint_bytes, varint_bytes, varlong_bytes,
};
