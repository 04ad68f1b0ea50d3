//! Every bound of the bench tool in one place.

use std::time::Duration;

/// Producers of one stream: each has a connection and a batch for every partition it sends to.
pub const PRODUCERS_MAX: u32 = 10_000;
/// Partitions of one stream's topics together.
pub const PARTITIONS_MAX: u32 = 100_000;
/// Records a second that may be asked for: beyond this a generator's clock is coarser than the gaps between its sends.
pub const RATE_MAX: f64 = 50e6;
/// Bytes of one record's value.
pub const VALUE_BYTES_MAX: usize = 64 << 20;
/// Distinct keys of a stream.
pub const KEYS_MAX: u32 = 10_000_000;
/// Distinct keys where some are more frequent than others: their distribution is a table.
pub const SKEWED_KEYS_MAX: u32 = 1_000_000;
/// Headers of one record.
pub const HEADERS_MAX: usize = 100;
/// How many times the broker's memory a backlog may be.
pub const BACKLOG_MEMORIES_MAX: u32 = 100;
/// Streams of one workload.
pub const STREAMS_MAX: usize = 16;
/// Rounds of one run.
pub const ROUNDS_MAX: u32 = 1_000;
/// Steps of a sweep.
pub const SWEEP_STEPS_MAX: u32 = 100;
/// Bytes of a workload file.
pub const WORKLOAD_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bytes of a saved report.
pub const REPORT_FILE_BYTES_MAX: u64 = 1 << 30;
/// Bytes of a page of metrics.
pub const METRICS_BYTES_MAX: u64 = 16 << 20;
/// How long a broker may take to start.
pub const START_TIME_MAX: Duration = Duration::from_secs(120);
/// How long a broker may take to stop before it is killed.
pub const STOP_TIME_MAX: Duration = Duration::from_secs(10);
/// How long answers may be awaited after the last send of a round.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(60);
/// Latencies above this are shown as this: an hour.
pub const LATENCY_NANOSECONDS_MAX: u64 = 3_600_000_000_000;
/// Faults in the records that are told one by one; the rest is counted.
pub const FAULTS_TOLD_MAX: usize = 8;
