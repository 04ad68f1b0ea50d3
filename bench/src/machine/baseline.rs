//! What the directory's disk and the loopback do bare: the floor that a durable ack stands on.
//!
//! A prepared file is overwritten in blocks of 4 KiB, each written past the page cache and synced before the next
//! (`O_DIRECT | O_DSYNC`); then a thread sends 1,100 bytes to another and gets 60 back, over TCP.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::measure::Latencies;

const BLOCK_BYTES: usize = 4096;
const BLOCKS: u64 = 4096;
const REQUEST_BYTES: usize = 1_100;
const ANSWER_BYTES: usize = 60;
/// Before anything counts.
const WARM_UP: u32 = 50;

/// Latencies of the bare device and the bare loopback, in microseconds.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Baseline {
    pub writes: u64,
    pub write_p50_us: f64,
    pub write_p99_us: f64,
    pub write_max_us: f64,
    pub round_trips: u64,
    pub round_trip_p50_us: f64,
    pub round_trip_p99_us: f64,
}

impl Baseline {
    /// In a line.
    pub fn told(&self) -> String {
        format!(
            "bare O_DIRECT|O_DSYNC write of 4 KiB: p50 {:.0} us, p99 {:.0} us; loopback round trip: p50 {:.0} us, p99 {:.0} us",
            self.write_p50_us, self.write_p99_us, self.round_trip_p50_us, self.round_trip_p99_us
        )
    }
}

/// Measures both in `directory`, each for `time`, or until there is one figure.
pub fn measure(directory: &Path, time: Duration) -> io::Result<Baseline> {
    let path = directory.join(format!(".iolite-bench-baseline-{}", std::process::id()));
    let writes = bare_writes(&path, time);
    std::fs::remove_file(&path)?;
    let (writes, trips) = (writes?, round_trips(time)?);
    let told = |latencies: &Latencies, quantile| latencies.quantile_us(quantile).unwrap_or_default();
    Ok(Baseline {
        writes: writes.samples(),
        write_p50_us: told(&writes, 0.5),
        write_p99_us: told(&writes, 0.99),
        write_max_us: told(&writes, 1.0),
        round_trips: trips.samples(),
        round_trip_p50_us: told(&trips, 0.5),
        round_trip_p99_us: told(&trips, 0.99),
    })
}

fn bare_writes(path: &Path, time: Duration) -> io::Result<Latencies> {
    let mut plain = File::create(path)?;
    for _ in 0..BLOCKS * BLOCK_BYTES as u64 / (1 << 20) {
        plain.write_all(&vec![0; 1 << 20])?;
    }
    plain.sync_all()?;
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DIRECT | libc::O_DSYNC).open(path)?;
    let block = Block::new();
    let (mut latencies, mut number) = (Latencies::default(), 0_u64);
    let begin = Instant::now();
    while begin.elapsed() < time || latencies.samples() == 0 {
        let start = Instant::now();
        file.write_all_at(block.bytes(), number % BLOCKS * BLOCK_BYTES as u64)?;
        if number >= WARM_UP.into() {
            latencies.record(nanoseconds(start.elapsed()));
        }
        number += 1;
    }
    Ok(latencies)
}

fn round_trips(time: Duration) -> io::Result<Latencies> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let echo = std::thread::spawn(move || -> io::Result<()> {
        let (mut socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        let mut request = [0; REQUEST_BYTES];
        // The other side closes when its time is over.
        while socket.read_exact(&mut request).is_ok() {
            socket.write_all(&[0; ANSWER_BYTES])?;
        }
        Ok(())
    });
    let mut socket = TcpStream::connect(address)?;
    socket.set_nodelay(true)?;
    let (mut latencies, mut number, mut answer) = (Latencies::default(), 0, [0; ANSWER_BYTES]);
    let begin = Instant::now();
    while begin.elapsed() < time || latencies.samples() == 0 {
        let start = Instant::now();
        socket.write_all(&[7; REQUEST_BYTES])?;
        socket.read_exact(&mut answer)?;
        if number >= WARM_UP {
            latencies.record(nanoseconds(start.elapsed()));
        }
        number += 1;
    }
    drop(socket);
    echo.join().map_err(|_| io::Error::other("the echoing thread panicked"))??;
    Ok(latencies)
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// Memory that direct I/O takes.
struct Block {
    memory: Vec<u8>,
    from: usize,
}

impl Block {
    fn new() -> Self {
        let memory = vec![0x5a; 2 * BLOCK_BYTES];
        let from = memory.as_ptr().align_offset(BLOCK_BYTES);
        Self { memory, from }
    }

    fn bytes(&self) -> &[u8] {
        &self.memory[self.from..self.from + BLOCK_BYTES]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_disk_and_the_loopback_are_measured_and_nothing_is_left() {
        let directory = tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR")).expect("a directory");
        let baseline = measure(directory.path(), Duration::from_millis(60)).expect("a disk");
        assert!(baseline.round_trips > 0);
        assert!(baseline.told().contains("O_DSYNC"));
        assert_eq!(std::fs::read_dir(directory.path()).expect("it is readable").count(), 0);
    }

    #[test]
    fn blocks_are_aligned() {
        assert_eq!(Block::new().bytes().as_ptr().align_offset(BLOCK_BYTES), 0);
    }
}
