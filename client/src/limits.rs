//! Every bound of the client that is not an option. Relations between bounds are asserted when it is compiled.

use std::time::Duration;

/// How much is received at once where no large answer is on its way.
pub const RECEIVE_BYTES: usize = 64 * 1024;
/// Slices that one write to a socket gathers.
pub const SLICES_PER_WRITE_MAX: usize = 64;
/// Memory that the arrays of one decoded answer may take.
pub const DECODED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Topics that a client keeps in mind.
pub const TOPICS_MAX: usize = 10_000;
/// Batches of an idempotent producer that one partition may have in flight: as many as brokers remember.
pub const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;
/// Requests that a connection may have in flight, whatever the options say.
pub const IN_FLIGHT_MAX: usize = 1024;
/// The pause before asking again for what the end of the transaction before holds up: it takes a few milliseconds.
pub const CONCURRENT_TRANSACTIONS_PAUSE: Duration = Duration::from_millis(20);
/// A new batch's buffer; it grows as records come.
pub const BATCH_CAPACITY_BYTES: usize = 4 * 1024;
/// What a batch's records may be decompressed to that was built here; no batch is larger.
pub const BUILT_BYTES_MAX: usize = 0x7fff_ffff;
/// What a record takes besides its key, value and headers, at most: three lengths, two deltas, attributes, a count.
pub const RECORD_OVERHEAD_BYTES: usize = 5 * 5 + 10 + 1;
/// Fetched pieces that wait to be taken, besides the bound on their bytes.
pub const FETCHED_PIECES_MAX: usize = 4096;
/// How many answers in a row must say that a partition is not there before a consumer takes it for gone: brokers lag behind
/// each other.
pub const ABSENCES_MAX: u32 = 3;

const _: () = assert!(IDEMPOTENT_IN_FLIGHT_MAX < IN_FLIGHT_MAX);
