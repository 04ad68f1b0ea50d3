//! Requests as bytes, prepared before anything is measured, and the places in their answers that are looked at.
//!
//! Produce version 7 and Fetch version 11: the last but few whose answers have a fixed layout, so that an answer is
//! checked without being decoded.

use std::ops::Range;

use bytes::Bytes;
use protocol::api::ApiKey;
use protocol::frame::{SIZE_BYTES, write_request};
use protocol::messages::Request;
use protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use protocol::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use protocol::records::{BatchBuilder, BatchOptions};
use protocol::types::{Offset, PartitionIndex, Timestamp, TopicId};
use protocol::wire::{Payload, Writer};

const PRODUCE_VERSION: i16 = 7;
const FETCH_VERSION: i16 = 11;
const CLIENT_ID: &str = "load";
/// What an answer may take once it is decoded.
pub const DECODE_BYTES_MAX: usize = 16 << 20;

/// Where the correlation id stands in a request, and in the bytes that [`Prepared::head`] replaces.
const CORRELATION: Range<usize> = 8..12;
/// How much of a prepared request is sent from a copy, since the correlation id differs each time.
pub const HEAD_BYTES: usize = CORRELATION.end;

/// A whole request frame.
#[derive(Clone)]
pub struct Prepared {
    pub api: ApiKey,
    pub version: i16,
    frame: Bytes,
}

impl Prepared {
    /// A request of this version.
    pub fn of<'a, M: Request<'a>>(version: i16, body: &M) -> Self {
        let mut chunks = Vec::<Bytes>::new();
        write_request(&mut Writer::new(), 0, version, Some(CLIENT_ID), body, &mut chunks)
            .expect("the request can be written");
        Self { api: M::API, version, frame: chunks.concat().into() }
    }

    /// Its first bytes with a correlation id in them.
    pub fn head(&self, correlation_id: i32) -> [u8; HEAD_BYTES] {
        let mut head: [u8; HEAD_BYTES] = self.frame[..HEAD_BYTES].try_into().expect("its own length");
        head[CORRELATION].copy_from_slice(&correlation_id.to_be_bytes());
        head
    }

    /// All of it but the head.
    pub fn tail(&self) -> &[u8] {
        &self.frame[HEAD_BYTES..]
    }

    /// Bytes of the whole frame.
    pub fn len(&self) -> usize {
        self.frame.len()
    }
}

/// A batch of `count` records of `record_bytes` each, as a producer makes it.
pub fn batch(count: u32, record_bytes: usize) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions::default());
    let mut noise = 0x9e37_79b9_u32;
    for index in 0..count {
        let value: Vec<u8> = std::iter::repeat_with(|| {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            noise.to_le_bytes()[0]
        })
        .take(record_bytes)
        .collect();
        builder.append(Timestamp(1_700_000_000_000 + i64::from(index)), None, Some(&value), &[]);
    }
    builder.build()
}

/// A Produce request (acks=all) of one batch for one partition.
pub fn produce(topic: &str, partition: i32, batch: &[u8]) -> Prepared {
    let data =
        PartitionProduceData { index: PartitionIndex(partition), records: Some(Payload::Borrowed(batch)) };
    let topic = TopicProduceData { name: topic, topic_id: TopicId::ZERO, partition_data: vec![data] };
    let request =
        ProduceRequest { transactional_id: None, acks: -1, timeout_ms: 30_000, topic_data: vec![topic] };
    Prepared::of(PRODUCE_VERSION, &request)
}

/// What an answer to [`produce`] says.
pub struct ProduceAnswer {
    pub correlation_id: i32,
    pub partition: i32,
    pub error: i16,
    pub base_offset: i64,
}

/// Where [`ProduceAnswer`] stands in the bytes of an answer.
#[derive(Clone, Copy)]
pub struct ProduceLayout {
    partition: usize,
    /// Bytes of a whole answer frame.
    pub bytes: usize,
}

impl ProduceLayout {
    /// ```text
    /// size 4, correlation id 4, topic count 4, name 2 + n, partition count 4,
    /// partition 4, error 2, base offset 8, append time 8, log start 8, throttle time 4
    /// ```
    pub fn of(topic: &str) -> Self {
        let partition = 4 + 4 + 4 + 2 + topic.len() + 4;
        Self { partition, bytes: partition + 4 + 2 + 8 + 8 + 8 + 4 }
    }

    /// Writes an answer for partition 0: what [`ProduceLayout::read`] reads.
    pub fn put(self, correlation_id: [u8; 4], topic: &str, base_offset: i64, out: &mut Vec<u8>) {
        let size = u32::try_from(self.bytes - SIZE_BYTES).expect("a small frame");
        let name_bytes = u16::try_from(topic.len()).expect("a short name");
        out.extend_from_slice(&size.to_be_bytes());
        out.extend_from_slice(&correlation_id);
        out.extend_from_slice(&1_u32.to_be_bytes());
        out.extend_from_slice(&name_bytes.to_be_bytes());
        out.extend_from_slice(topic.as_bytes());
        out.extend_from_slice(&1_u32.to_be_bytes());
        // Partition 0, no error.
        out.extend_from_slice(&[0; 4 + 2]);
        out.extend_from_slice(&base_offset.to_be_bytes());
        // Append time, log start, throttle time.
        out.extend_from_slice(&[0; 8 + 8 + 4]);
    }

    /// Reads an answer frame.
    pub fn read(self, frame: &[u8]) -> ProduceAnswer {
        let size = i32_at(frame, 0);
        assert_eq!(usize::try_from(size).expect("a size"), self.bytes - SIZE_BYTES, "the answer's size");
        ProduceAnswer {
            correlation_id: i32_at(frame, 4),
            partition: i32_at(frame, self.partition),
            error: i16::from_be_bytes(array_at(frame, self.partition + 4)),
            base_offset: i64_at(frame, self.partition + 6),
        }
    }
}

/// A Fetch request for one partition; it answers as soon as there is a byte.
pub fn fetch(topic: &str, partition: i32, offset: i64, bytes_max: i32) -> Prepared {
    let asked = FetchPartition {
        partition: PartitionIndex(partition),
        fetch_offset: Offset(offset),
        partition_max_bytes: bytes_max,
        ..Default::default()
    };
    let topic = FetchTopic { topic, topic_id: TopicId::ZERO, partitions: vec![asked] };
    let request = FetchRequest {
        max_wait_ms: 1_000,
        min_bytes: 1,
        max_bytes: bytes_max,
        session_epoch: -1,
        topics: vec![topic],
        ..Default::default()
    };
    Prepared::of(FETCH_VERSION, &request)
}

/// What an answer to [`fetch`] says before its records.
pub struct FetchAnswer {
    pub error: i16,
    pub high_watermark: i64,
    pub records_bytes: usize,
    /// Of the first batch, where there is one.
    pub base_offset: i64,
}

/// Where [`FetchAnswer`] stands in the bytes of an answer.
#[derive(Clone, Copy)]
pub struct FetchLayout {
    partition: usize,
    /// Bytes up to the records.
    pub head_bytes: usize,
}

impl FetchLayout {
    /// ```text
    /// size 4, correlation id 4, throttle time 4, error 2, session 4, topic count 4, name 2 + n, partition count 4,
    /// partition 4, error 2, high watermark 8, last stable offset 8, log start 8, aborted count 4,
    /// preferred replica 4, records' length 4, records
    /// ```
    pub fn of(topic: &str) -> Self {
        let partition = 4 + 4 + 4 + 2 + 4 + 4 + 2 + topic.len() + 4;
        Self { partition, head_bytes: partition + 4 + 2 + 8 + 8 + 8 + 4 + 4 + 4 }
    }

    /// Reads the head of an answer, and the base offset behind it where `frame` has it.
    pub fn read(self, frame: &[u8]) -> FetchAnswer {
        let head = self.head_bytes;
        let overall = i16::from_be_bytes(array_at(frame, 12));
        let error = i16::from_be_bytes(array_at(frame, self.partition + 4));
        let records = usize::try_from(i32_at(frame, head - 4).max(0)).expect("not negative");
        let size = usize::try_from(i32_at(frame, 0)).expect("a size");
        assert_eq!(size, head - SIZE_BYTES + records, "the answer is laid out as expected");
        let base_offset = if frame.len() >= head + 8 { i64_at(frame, head) } else { -1 };
        FetchAnswer {
            error: if overall == 0 { error } else { overall },
            high_watermark: i64_at(frame, self.partition + 6),
            records_bytes: records,
            base_offset,
        }
    }
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the slice has the array's length")
}

fn i32_at(bytes: &[u8], at: usize) -> i32 {
    i32::from_be_bytes(array_at(bytes, at))
}

fn i64_at(bytes: &[u8], at: usize) -> i64 {
    i64::from_be_bytes(array_at(bytes, at))
}
