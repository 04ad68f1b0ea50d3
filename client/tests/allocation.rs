//! Reading costs no allocation per record, and none at all in an uncompressed batch.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use client::Fetched;
use client::consumer::ReadLimits;
use client::protocol::batch::Encoding;
use client::protocol::compression::Compression;
use client::protocol::records::{BatchBuilder, BatchOptions, Header};
use client::protocol::types::{Offset, PartitionIndex, Timestamp};

/// The system's allocator, counting what this thread asks of it.
struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<usize> = const { Cell::new(0) };
}

// SAFETY: everything is left to the system's allocator; the count is a plain cell of the calling thread.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.set(ALLOCATIONS.get() + 1);
        // SAFETY: the caller keeps `alloc`'s promises, which are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the pointer came from `alloc` above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const RECORDS: usize = 1_000;
const BATCHES: usize = 3;

fn fetched(encoding: Encoding, compression: Compression) -> Fetched {
    let mut bytes = Vec::new();
    for batch in 0..BATCHES {
        let base_offset = Offset(i64::try_from(batch * RECORDS).expect("small"));
        let options = BatchOptions { base_offset, encoding, compression, ..BatchOptions::default() };
        let mut builder = BatchBuilder::new(options);
        for number in 0..RECORDS {
            let value = vec![number.to_le_bytes()[0]; 100];
            let headers = [Header { key: b"trace", value: Some(b"12345678") }];
            builder.append(Timestamp(1), Some(b"key"), Some(&value), &headers);
        }
        bytes.extend(builder.build());
    }
    Fetched::new("t".into(), PartitionIndex(0), bytes.into(), Offset(0), ReadLimits::default())
        .expect("they are batches")
}

/// Reads a header and the value of every record; how many there were, and what that allocated.
fn read(fetched: &Fetched) -> (usize, usize) {
    let before = ALLOCATIONS.get();
    let (mut records, mut bytes) = (0, 0);
    for batch in fetched.batches() {
        for record in batch.expect("a sound batch").records() {
            let record = record.expect("a sound record");
            let header = record.headers.iter().next().expect("it has one").expect("a sound header");
            records += 1;
            bytes += record.value.map_or(0, <[u8]>::len) + header.key.len();
        }
    }
    let allocated = ALLOCATIONS.get() - before;
    assert_eq!(bytes, records * 105);
    (records, allocated)
}

#[test]
fn reading_uncompressed_batches_allocates_nothing() {
    for encoding in [Encoding::Kafka, Encoding::Native] {
        let fetched = fetched(encoding, Compression::None);
        assert_eq!(read(&fetched), (BATCHES * RECORDS, 0), "{encoding:?}");
    }
}

/// What decompressing takes is for the batch as a whole.
#[test]
fn reading_compressed_batches_allocates_for_batches_not_for_records() {
    for compression in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        let fetched = fetched(Encoding::Kafka, compression);
        let (records, allocated) = read(&fetched);
        assert_eq!(records, BATCHES * RECORDS);
        assert!(allocated < RECORDS / 4, "{compression}: {allocated} allocations");
    }
}
