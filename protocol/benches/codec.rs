//! What reading a request, writing a reply and checking a batch cost: nanoseconds, allocations, GB/s.
//!
//! `cargo bench -p protocol` prints one row per case: the fastest of several rounds (what else runs on the machine only
//! adds), and the allocations of one pass, which must not depend on the number of records. Compare figures of one run only.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::api::ApiKey;
use protocol::batch::{BatchIter, BatchLimits, Encoding, check_crc, validate};
use protocol::compression::{Compression, compress, decompress};
use protocol::frame::{RequestHeader, SIZE_BYTES, write_request, write_response};
use protocol::limits::NATIVE_BODY_BYTES_MAX;
use protocol::messages::fetch::{
    FetchPartition, FetchRequest, FetchResponse, FetchTopic, FetchableTopicResponse, PartitionData,
};
use protocol::messages::produce::{
    PartitionProduceData, PartitionProduceResponse, ProduceRequest, ProduceResponse, TopicProduceData,
    TopicProduceResponse,
};
use protocol::messages::{Message, Request};
use protocol::native::to_kafka;
use protocol::records::{BatchBuilder, BatchOptions, Header, RecordIter};
use protocol::types::{Offset, PartitionIndex, Timestamp, TopicId};
use protocol::wire::{Payload, Reader, Writer};

const BUDGET_BYTES: usize = 16 << 20;
const LIMITS: BatchLimits = BatchLimits { bytes_max: 16 << 20 };
const ROUNDS: usize = 40;
const ROUND_TIME: Duration = Duration::from_millis(5);
const PRODUCE_VERSION: i16 = 12;
const FETCH_VERSION: i16 = 13;

/// Counts what the one thread of this program allocates.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is passed on to the system's allocator; counting touches no memory that it hands out.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = ALLOCATIONS.try_with(|count| count.set(count.get() + 1));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from the system's allocator with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }
}

/// One case: how long a pass takes, and what it allocates once it is warm.
fn measure(mut pass: impl FnMut()) -> (f64, usize) {
    for _ in 0..100 {
        pass();
    }
    let before = ALLOCATIONS.get();
    pass();
    let allocations = ALLOCATIONS.get() - before;
    let fastest = (0..ROUNDS)
        .map(|_| {
            let start = Instant::now();
            let mut passes = 0_u32;
            while start.elapsed() < ROUND_TIME {
                // Reading the clock would count in the shortest cases.
                for _ in 0..16 {
                    pass();
                }
                passes += 16;
            }
            start.elapsed().as_secs_f64() * 1e9 / f64::from(passes)
        })
        .fold(f64::INFINITY, f64::min);
    (fastest, allocations)
}

fn report(name: &str, pass: impl FnMut()) {
    let (nanoseconds, allocations) = measure(pass);
    println!("{name:<58} {nanoseconds:>10.0} ns {allocations:>4} allocations");
}

fn report_bytes(name: &str, bytes: usize, records: u32, pass: impl FnMut()) {
    let (nanoseconds, allocations) = measure(pass);
    let bytes = f64::from(u32::try_from(bytes).expect("a case is far smaller than 4 GiB"));
    println!(
        "{name:<58} {nanoseconds:>10.0} ns {allocations:>4} allocations {:>6.2} GB/s {:>7.1} ns/record",
        bytes / nanoseconds,
        nanoseconds / f64::from(records),
    );
}

fn batch(compression: Compression, record_bytes: usize, records: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { compression, ..BatchOptions::default() });
    let mut value = vec![0; record_bytes];
    for index in 0..records {
        // Half text, half noise: compresses about as well as JSON does.
        let mut noise = index.wrapping_mul(0x9e37_79b9);
        for byte in value.iter_mut().step_by(4) {
            noise ^= noise << 13;
            noise ^= noise >> 17;
            noise ^= noise << 5;
            *byte = noise.to_le_bytes()[0];
        }
        builder.append(Timestamp(i64::from(index)), Some(&index.to_be_bytes()), Some(&value), &[]);
    }
    builder.build()
}

fn frame<'a, M: Request<'a>>(body: &M, version: i16) -> Vec<u8> {
    let mut chunks = Vec::<Bytes>::new();
    write_request(&mut Writer::new(), 1, version, Some("bench"), body, &mut chunks)
        .expect("it can be written");
    chunks.concat()
}

fn partitions(count: i32) -> impl Iterator<Item = PartitionIndex> {
    (0..count).map(PartitionIndex)
}

fn produce_request(records: &[u8], partition_count: i32) -> Vec<u8> {
    let partition_data = partitions(partition_count)
        .map(|index| PartitionProduceData { index, records: Some(Payload::Borrowed(records)) })
        .collect();
    let topic = TopicProduceData { name: "orders", topic_id: TopicId::ZERO, partition_data };
    let request =
        ProduceRequest { acks: -1, timeout_ms: 30_000, topic_data: vec![topic], ..Default::default() };
    frame(&request, PRODUCE_VERSION)
}

fn bench_produce() {
    let records = batch(Compression::None, 1024, 1);
    for count in [1, 10, 100] {
        let bytes = produce_request(&records, count);
        report(&format!("Produce {PRODUCE_VERSION}: read header and body, {count} partitions"), || {
            let mut reader = Reader::new(&bytes[SIZE_BYTES..], BUDGET_BYTES);
            let header = RequestHeader::read(&mut reader).expect("an honest frame");
            assert_eq!(header.api, ApiKey::Produce);
            let request = ProduceRequest::decode(reader.rest(), header.version, BUDGET_BYTES);
            black_box(request.expect("an honest frame"));
        });
    }
    let mut writer = Writer::new();
    let mut chunks = Vec::<Bytes>::new();
    for count in [1, 10, 100] {
        let answer = |index| PartitionProduceResponse { index, base_offset: Offset(7), ..Default::default() };
        let partition_responses = partitions(count).map(answer).collect();
        let topic = TopicProduceResponse { name: "orders", topic_id: TopicId::ZERO, partition_responses };
        let response = ProduceResponse { responses: vec![topic], ..Default::default() };
        report(&format!("Produce {PRODUCE_VERSION}: write the answer, {count} partitions"), || {
            chunks.clear();
            let written = write_response(&mut writer, 1, PRODUCE_VERSION, &response, &mut chunks);
            black_box(written.expect("it can be written"));
        });
    }
}

fn bench_fetch() {
    for count in [0, 1, 100] {
        let ask = |partition| FetchPartition {
            partition,
            fetch_offset: Offset(7),
            partition_max_bytes: 1 << 20,
            ..Default::default()
        };
        let topic = FetchTopic {
            topic: "",
            topic_id: TopicId([7; 16]),
            partitions: partitions(count).map(ask).collect(),
        };
        let topics = if count == 0 { Vec::new() } else { vec![topic] };
        let bytes = frame(&FetchRequest { topics, ..Default::default() }, FETCH_VERSION);
        report(&format!("Fetch {FETCH_VERSION}: read header and body, {count} partitions"), || {
            let mut reader = Reader::new(&bytes[SIZE_BYTES..], BUDGET_BYTES);
            let header = RequestHeader::read(&mut reader).expect("an honest frame");
            let request = FetchRequest::decode(reader.rest(), header.version, BUDGET_BYTES);
            black_box(request.expect("an honest frame"));
        });
    }
    let mut writer = Writer::new();
    let mut chunks = Vec::<Bytes>::new();
    let records = Bytes::from(batch(Compression::None, 1024, 64));
    for count in [1, 10, 100] {
        let answer = |partition_index| PartitionData {
            partition_index,
            high_watermark: Offset(9),
            records: Some(Payload::Shared(records.clone())),
            ..Default::default()
        };
        let topic = FetchableTopicResponse {
            topic: "",
            topic_id: TopicId([7; 16]),
            partitions: partitions(count).map(answer).collect(),
        };
        let response = FetchResponse { responses: vec![topic], ..Default::default() };
        report(&format!("Fetch {FETCH_VERSION}: write the answer, {count} partitions of 66 KB"), || {
            chunks.clear();
            let written = write_response(&mut writer, 1, FETCH_VERSION, &response, &mut chunks);
            black_box(written.expect("it can be written"));
        });
    }
}

fn bench_batches() {
    for (record_bytes, records) in [(100, 10), (100, 1000), (1024, 1), (1024, 100), (10_240, 10)] {
        let bytes = batch(Compression::None, record_bytes, records);
        report_bytes(
            &format!("check a batch, {records} records of {record_bytes} B"),
            bytes.len(),
            records,
            || {
                for batch in BatchIter::new(&bytes) {
                    black_box(validate(batch.expect("honest"), LIMITS).expect("honest"));
                }
            },
        );
        report_bytes("  its CRC alone", bytes.len(), records, || {
            for batch in BatchIter::new(&bytes) {
                black_box(check_crc(batch.expect("honest"))).expect("honest");
            }
        });
    }
}

/// One record with three headers of which the second is asked for, as a consumer that routes by it would.
fn batch_to_consume(encoding: Encoding, record_bytes: usize, records: u32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(BatchOptions { encoding, ..BatchOptions::default() });
    let headers = [
        Header { key: b"trace-id", value: Some(b"4bf92f3577b34da6a3ce929d0e0e4736") },
        Header { key: b"route", value: Some(b"payments") },
        Header { key: b"schema", value: Some(b"7") },
    ];
    let value = vec![7; record_bytes];
    for index in 0..records {
        builder.append(Timestamp(i64::from(index)), Some(&index.to_be_bytes()), Some(&value), &headers);
    }
    builder.build()
}

/// Reads one header and the value of each record, from its batch's header on: what a consumer does with a fetched batch
/// whose CRC is right.
fn consume(bytes: &[u8]) -> usize {
    let mut seen = 0;
    for batch in BatchIter::new(bytes) {
        let batch = batch.expect("honest");
        for record in RecordIter::new(batch.body(), batch.header()) {
            let record = record.expect("honest");
            let route = record
                .headers
                .iter()
                .map(|header| header.expect("honest"))
                .find(|header| header.key == b"route");
            seen += route.and_then(|header| header.value).map_or(0, <[u8]>::len);
            // The first byte and the last: what is not touched was not read.
            let value = record.value.expect("honest");
            seen += usize::from(value[0] ^ value[value.len() - 1]) + value.len();
        }
    }
    seen
}

fn bench_consuming() {
    for (record_bytes, records) in [(100, 1000), (1024, 200), (16_384, 20)] {
        for (name, encoding) in [("Kafka's", Encoding::Kafka), ("native", Encoding::Native)] {
            let bytes = batch_to_consume(encoding, record_bytes, records);
            let content = record_bytes * usize::try_from(records).expect("a few");
            report_bytes(
                &format!("consume {records} records of {record_bytes} B, {name}"),
                content,
                records,
                || {
                    black_box(consume(black_box(&bytes)));
                },
            );
            report_bytes(&format!("  and its CRC checked, {name}"), content, records, || {
                for batch in BatchIter::new(black_box(&bytes)) {
                    black_box(check_crc(batch.expect("honest"))).expect("honest");
                }
                black_box(consume(black_box(&bytes)));
            });
            report_bytes(&format!("  checked by a broker, {name}"), content, records, || {
                for batch in BatchIter::new(&bytes) {
                    black_box(validate(batch.expect("honest"), LIMITS).expect("honest"));
                }
            });
            report_bytes(&format!("  built, {name}"), content, records, || {
                black_box(batch_to_consume(encoding, record_bytes, records));
            });
            println!("{:<58} {:>10} B", format!("  its batch, {name}"), bytes.len());
        }
        let native = batch_to_consume(Encoding::Native, record_bytes, records);
        report_bytes(
            "  native made Kafka's",
            record_bytes * usize::try_from(records).expect("a few"),
            records,
            || {
                let batch = BatchIter::new(&native).next().expect("one").expect("honest");
                black_box(to_kafka(batch, NATIVE_BODY_BYTES_MAX).expect("honest"));
            },
        );
    }
}

fn bench_compression() {
    let content = batch(Compression::None, 1024, 100);
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let packed = compress(codec, None, &content);
        report_bytes(&format!("{codec}: compress 100 records of 1 KiB"), content.len(), 100, || {
            black_box(compress(codec, None, &content));
        });
        report_bytes(&format!("{codec}: decompress"), content.len(), 100, || {
            black_box(decompress(codec, &packed, content.len())).expect("honest");
        });
    }
}

fn main() {
    bench_produce();
    bench_fetch();
    bench_batches();
    bench_consuming();
    bench_compression();
}
