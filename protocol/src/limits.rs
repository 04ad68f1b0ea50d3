//! The bounds of this crate; what an operator may choose (request size, memory) is passed in by the caller.

/// Record payloads up to this size are copied behind their header: cheaper than one more `iovec`.
pub const PAYLOAD_INLINE_BYTES_MAX: usize = 256;

/// The most bytes a varint of 32 bits takes.
pub const VARINT_BYTES_MAX: usize = 5;

/// The most bytes a varint of 64 bits takes.
pub const VARLONG_BYTES_MAX: usize = 10;

/// How many bytes a writer's buffer grows by at least: several replies without payload fit in one.
pub const WRITER_GROWTH_BYTES_MIN: usize = 4096;

/// The longest string or byte array of the encodings that count in 16 bits.
pub const SHORT_LENGTH_MAX: usize = 0x7fff;

const _: () = assert!(PAYLOAD_INLINE_BYTES_MAX < WRITER_GROWTH_BYTES_MIN);
const _: () = assert!(VARINT_BYTES_MAX < VARLONG_BYTES_MAX);

/// The least room for decompressed records, unless the caller allows less.
pub const DECOMPRESSED_CAPACITY_BYTES_MIN: usize = 1024;

/// The largest window, as a power of two, that a zstd frame may ask for: what zstd itself allows by default. Memory
/// of the window is touched only as far as content is written to it, so the caller's limit bounds that too.
pub const ZSTD_WINDOW_LOG_MAX: u32 = 27;

/// What the body of a native batch may take, decompressed. A broker takes no larger one, so that it can always make Kafka's
/// records of those that it took.
pub const NATIVE_BODY_BYTES_MAX: usize = 64 << 20;

/// The tables of a native body, and how deep they nest: there is one.
pub const NATIVE_TABLES_MAX: usize = 1;

/// What a native body takes besides its entries and content, at most: table, virtual table, lengths, padding.
pub const NATIVE_BODY_SLACK_BYTES: usize = 256;

/// Snappy's densest element copies 64 bytes and takes 3.
pub const SNAPPY_RATIO_MAX: usize = 64 / 3 + 1;
