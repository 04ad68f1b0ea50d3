//! A million idempotent producers, counted byte by byte at the allocator.

use logic::producer::{AppendedAt, ProducerBatch, ProducerTable, Verdict};
use protocol::types::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

struct Counting;

static LIVE_BYTES: AtomicUsize = AtomicUsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        LIVE_BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE_BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const PRODUCERS: i64 = 1_000_000;

fn batch(id: i64, base_sequence: i32) -> ProducerBatch {
    ProducerBatch {
        producer_id: ProducerId(id),
        epoch: ProducerEpoch(0),
        base_sequence: Sequence(base_sequence),
        last_offset_delta: 0,
        is_transactional: false,
    }
}

fn offer(table: &mut ProducerTable, end: &mut i64, batch: &ProducerBatch) {
    assert_eq!(table.check(batch), Ok(Verdict::New));
    let at = AppendedAt { base_offset: Offset(*end), timestamp: Timestamp(0) };
    table.record(Timestamp(*end), batch, at);
    *end += 1;
}

/// One test in this binary, so that nothing else allocates meanwhile.
#[test]
fn a_million_producers_take_200_bytes_each_and_allocate_nothing_per_batch() {
    let before = LIVE_BYTES.load(Ordering::Relaxed);
    let mut table = ProducerTable::default();
    let mut end = 0;
    for id in 0..PRODUCERS {
        offer(&mut table, &mut end, &batch(id, 0));
    }
    let live = LIVE_BYTES.load(Ordering::Relaxed) - before;
    let producers = usize::try_from(PRODUCERS).expect("positive");
    println!("{} bytes a producer, {} by its own count", live / producers, table.memory_bytes() / producers);
    assert!(live <= 200 * producers, "{} bytes a producer", live / producers);
    let counted = table.memory_bytes();
    assert!(counted.abs_diff(live) < live / 50, "counts {counted}, holds {live}");

    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    for sequence in 1..=6 {
        for id in (0..PRODUCERS).step_by(1_000) {
            offer(&mut table, &mut end, &batch(id, sequence));
        }
    }
    assert_eq!(ALLOCATIONS.load(Ordering::Relaxed), allocations);

    let mut expired = 0;
    while !table.is_empty() {
        expired += table.expire(Timestamp(end + 1_000), 1_000, 1_000);
    }
    assert_eq!(expired, producers);
    let left = LIVE_BYTES.load(Ordering::Relaxed) - before;
    assert!(left < 64 * 1024, "{left} bytes are left");
}
