use std::thread;

use proptest::prelude::*;

use super::*;

#[test]
fn size_classes_waste_at_most_an_eighth() {
    for (bytes, class) in [
        (1, 4096),
        (4096, 4096),
        (4097, 8192),
        (5000, 8192),
        (65_536, 65_536),
        (65_537, 73_728),
        (131_072, 131_072),
        (131_073, 147_456),
        (150_000, 163_840),
        (1 << 20, 1 << 20),
    ] {
        assert_eq!(size_class_bytes(bytes), class, "{bytes}");
    }
}

proptest! {
    #[test]
    fn a_class_is_the_smallest_that_holds(bytes in 1_usize..64 << 20) {
        let class = size_class_bytes(bytes);
        prop_assert!(class >= bytes);
        prop_assert_eq!(class % BUFFER_ALIGN_BYTES, 0);
        prop_assert_eq!(size_class_bytes(class), class);
        prop_assert_eq!(size_class_below(class), class);
        prop_assert!(class < BUFFER_CLASS_EXACT_BYTES_MAX + 1 || class - bytes <= bytes / 8);
        if bytes >= BUFFER_ALIGN_BYTES {
            let below = size_class_below(bytes);
            prop_assert!(below <= bytes);
            prop_assert_eq!(size_class_bytes(below), below);
            prop_assert!(size_class_bytes(below + 1) > bytes, "a longer class fits");
        }
    }
}

#[test]
fn freezing_keeps_the_content_and_overwrites_the_rest() {
    let mut buffer = IoBuffer::allocate(5000);
    buffer.fill(0xaa);
    let shared = buffer.freeze(5000);
    assert_eq!(shared.filled_bytes(), 5000);
    assert_eq!(shared.padded_bytes(), 8192);
    assert_eq!(shared.bytes(), vec![0xaa; 5000]);
    assert_eq!(shared.padded()[4999..5002], [0xaa, 0, 0]);
    assert_eq!(shared.slice(10..20), vec![0xaa; 10]);

    let mut buffer = IoBuffer::allocate(1);
    buffer[0] = 1;
    let shared = buffer.freeze_padded(1, 0x7f);
    assert_eq!(shared.padded()[..3], [1, 0x7f, 0x7f]);
}

#[test]
fn fresh_memory_is_zero() {
    assert!(IoBuffer::allocate(200_000).iter().all(|&byte| byte == 0));
}

#[test]
fn memory_is_used_again_and_the_cap_holds() {
    thread::spawn(|| {
        BufferPool::set_bytes_max(16_384);
        let address = {
            let buffer = IoBuffer::allocate(8192);
            buffer.as_ptr().addr()
        };
        assert_eq!(BufferPool::stats().held_bytes, 8192);
        let again = IoBuffer::allocate(8000);
        assert_eq!(again.as_ptr().addr(), address);
        let others = [IoBuffer::allocate(8192), IoBuffer::allocate(8192), IoBuffer::allocate(4096)];
        drop(again);
        drop(others);
        let stats = BufferPool::stats();
        assert_eq!(stats.held_bytes, 8192 + 4096, "the last one took the place of an older kind");
        assert_eq!((stats.hits, stats.misses), (1, 4));
        BufferPool::set_bytes_max(0);
        assert_eq!(BufferPool::stats().held_bytes, 0);
    })
    .join()
    .expect("the thread's assertions hold");
}

#[test]
fn a_full_pool_follows_what_is_asked_for() {
    thread::spawn(|| {
        BufferPool::set_bytes_max(4 * 8192);
        let old_kind: Vec<IoBuffer> = (0..4).map(|_| IoBuffer::allocate(8192)).collect();
        drop(old_kind);
        assert_eq!(BufferPool::stats().held_bytes, 4 * 8192);
        for _ in 0..3 {
            drop(IoBuffer::allocate(12_288));
        }
        let stats = BufferPool::stats();
        assert_eq!((stats.hits, stats.misses), (2, 5), "one miss, then the new kind is there");
        assert_eq!(stats.held_bytes, 2 * 8192 + 12_288);
        drop(IoBuffer::allocate(5 * 8192));
        assert_eq!(
            BufferPool::stats().held_bytes,
            2 * 8192 + 12_288,
            "what is larger than the pool stays out"
        );
    })
    .join()
    .expect("the thread's assertions hold");
}

#[test]
fn the_last_reference_may_go_on_any_thread() {
    let mut buffer = IoBuffer::allocate(4096);
    buffer[..5].copy_from_slice(b"bytes");
    let shared = buffer.freeze(5);
    let slice = shared.slice(1..3);
    let clone = shared.clone();
    drop(shared);
    let other = thread::spawn(move || {
        drop(clone);
        BufferPool::stats().held_bytes
    });
    assert_eq!(other.join().expect("the thread ends"), 0, "a slice still holds the memory");
    let last = thread::spawn(move || {
        assert_eq!(slice, b"yt".as_slice());
        drop(slice);
        BufferPool::stats().held_bytes
    });
    assert_eq!(last.join().expect("the thread ends"), 4096);
}

#[test]
fn a_finished_write_gives_the_buffer_back() {
    let shared = IoBuffer::allocate(4096).freeze(1);
    for _ in 0..2 {
        let claim = shared.claim_write();
        let memory = claim.memory();
        assert_eq!(memory.len(), 4096);
        drop(memory);
        claim.finish();
    }
}

#[test]
#[should_panic(expected = "two writes of one buffer at once")]
fn a_buffer_has_one_write_at_a_time() {
    let shared = IoBuffer::allocate(4096).freeze(1);
    let _first = shared.claim_write();
    let _second = shared.claim_write();
}

#[test]
fn a_cancelled_write_leaves_the_memory_to_the_device() {
    thread::spawn(|| {
        let mut buffer = IoBuffer::allocate(4096);
        buffer[0] = 7;
        let shared = buffer.freeze(1);
        let claim = shared.claim_write();
        let in_flight = claim.memory();
        drop(claim);
        drop(shared);
        assert_eq!(in_flight.as_bytes()[0], 7, "still there for the device");
        drop(in_flight);
        assert_eq!(BufferPool::stats().held_bytes, 0, "leaked, not recycled");
    })
    .join()
    .expect("the thread's assertions hold");
}
