//! Writes a native body.

use flatbuffers::{FlatBufferBuilder, UOffsetT, Vector, WIPOffset};

use crate::generated::records as schema;
use crate::limits::NATIVE_BODY_SLACK_BYTES;
use crate::records::Header;

/// Set in the end of a part that is not there.
pub const ABSENT: u32 = 1 << 31;

/// A body in the making.
#[derive(Debug, Default)]
pub struct Draft {
    records: Vec<schema::Record>,
    content: Vec<u8>,
    headers: Vec<schema::Header>,
    header_content: Vec<u8>,
}

impl Draft {
    /// Adds a record.
    pub fn push<'h>(
        &mut self,
        (timestamp_delta, offset_delta): (i64, i32),
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl Iterator<Item = Header<'h>>,
    ) {
        for header in headers {
            let key_end = put(&mut self.header_content, Some(header.key));
            let value_end = put(&mut self.header_content, header.value);
            self.headers.push(schema::Header::new(key_end, value_end));
        }
        let key_end = put(&mut self.content, key);
        let value_end = put(&mut self.content, value);
        let headers_end = end_of(self.headers.len());
        self.records.push(schema::Record::new(
            timestamp_delta,
            offset_delta,
            key_end,
            value_end,
            headers_end,
        ));
    }

    /// Bytes so far: what the body takes, but for a few that are the same in all.
    pub fn bytes(&self) -> usize {
        size_of_val(&self.records[..])
            + self.content.len()
            + size_of_val(&self.headers[..])
            + self.header_content.len()
    }

    /// The body.
    pub fn finish(&self) -> Vec<u8> {
        let mut builder = FlatBufferBuilder::with_capacity(self.bytes() + NATIVE_BODY_SLACK_BYTES);
        let has_headers = !self.headers.is_empty();
        // FlatBuffers are written from the end: what is read first comes last.
        let content = put_bytes(&mut builder, &self.content);
        let header_content = has_headers.then(|| put_bytes(&mut builder, &self.header_content));
        let headers = has_headers.then(|| builder.create_vector(&self.headers));
        let records = builder.create_vector(&self.records);
        let root = schema::Records::create(
            &mut builder,
            &schema::RecordsArgs { records: Some(records), content: Some(content), headers, header_content },
        );
        builder.finish_minimal(root);
        let (mut bytes, start) = builder.collapse();
        bytes.drain(..start);
        bytes
    }
}

/// Appends a part, if there is one, and says where it ends.
fn put(content: &mut Vec<u8>, part: Option<&[u8]>) -> u32 {
    content.extend_from_slice(part.unwrap_or_default());
    let end = end_of(content.len());
    if part.is_some() { end } else { end | ABSENT }
}

fn end_of(length: usize) -> u32 {
    let end = u32::try_from(length).unwrap_or(u32::MAX);
    assert!(end < ABSENT, "a batch is far smaller than 2 GiB");
    end
}

/// A vector of bytes, copied at one go: as a byte string, which is one with a byte of padding behind it.
fn put_bytes<'a>(builder: &mut FlatBufferBuilder<'a>, bytes: &[u8]) -> WIPOffset<Vector<'a, u8>> {
    let place: UOffsetT = builder.create_byte_string(bytes).value();
    WIPOffset::new(place)
}
