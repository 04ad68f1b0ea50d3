//! The floor under a durable acknowledgement: what the device and the loopback take without any broker.

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;

use super::broker::{BROKER_CORE, LOAD_CORE, pin};

const BLOCK_BYTES: usize = 4096;
const FILE_BYTES: u64 = 64 << 20;
const REQUEST_BYTES: usize = 1100;
const ANSWER_BYTES: usize = 60;

/// Latencies in nanoseconds.
pub struct Floor {
    /// A synced write of 4 KiB to a file that was zeroed before.
    pub write: Histogram<u64>,
    /// A blocking round trip of 1,100 bytes there and 60 back.
    pub round_trip: Histogram<u64>,
    /// The same round trip with the write in between: the least that a broker could do.
    pub both: Histogram<u64>,
}

/// Memory that direct I/O takes.
#[repr(align(4096))]
struct Block([u8; BLOCK_BYTES]);

/// Measures each for `time`.
pub fn measure(time: Duration) -> Floor {
    let directory = tempfile::tempdir_in(Path::new(env!("CARGO_TARGET_TMPDIR"))).expect("a directory");
    let path = directory.path().join("floor");
    let zeroes = vec![0; 1 << 20];
    let mut file = File::create(&path).expect("a writable directory");
    for _ in 0..FILE_BYTES >> 20 {
        file.write_all(&zeroes).expect("room on the disk");
    }
    file.sync_all().expect("a disk that syncs");
    let write = measure_write(&path, time);
    let round_trip = measure_round_trip(None, time);
    let both = measure_round_trip(Some(&path), time);
    pin(LOAD_CORE);
    Floor { write, round_trip, both }
}

/// Writes blocks one after the other, round and round.
struct Writer {
    file: File,
    block: Box<Block>,
    position: u64,
}

impl Writer {
    fn open(path: &Path) -> Self {
        let flags = libc::O_DIRECT | libc::O_DSYNC;
        let file = File::options().write(true).custom_flags(flags).open(path).expect("direct I/O");
        Self { file, block: Box::new(Block([7; BLOCK_BYTES])), position: 0 }
    }

    fn write(&mut self) {
        self.file.write_all_at(&self.block.0, self.position).expect("a synced write");
        self.position = (self.position + BLOCK_BYTES as u64) % FILE_BYTES;
    }
}

fn measure_write(path: &Path, time: Duration) -> Histogram<u64> {
    pin(BROKER_CORE);
    let mut writer = Writer::open(path);
    let latency = repeat(time, || writer.write());
    pin(LOAD_CORE);
    latency
}

fn measure_round_trip(path: Option<&Path>, time: Duration) -> Histogram<u64> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("it is bound");
    let mut writer = path.map(Writer::open);
    let server = std::thread::spawn(move || {
        pin(BROKER_CORE);
        let (mut socket, _) = listener.accept().expect("the client connects");
        socket.set_nodelay(true).expect("an open socket");
        let mut request = [0; REQUEST_BYTES];
        while socket.read_exact(&mut request).is_ok() {
            if let Some(writer) = &mut writer {
                writer.write();
            }
            socket.write_all(&[0; ANSWER_BYTES]).expect("the client reads");
        }
    });
    let mut socket = TcpStream::connect(address).expect("the server listens");
    socket.set_nodelay(true).expect("an open socket");
    let latency = repeat(time, || {
        socket.write_all(&[0; REQUEST_BYTES]).expect("the server reads");
        socket.read_exact(&mut [0; ANSWER_BYTES]).expect("the server answers");
    });
    drop(socket);
    server.join().expect("the server ends when its peer goes");
    latency
}

fn repeat(time: Duration, mut once: impl FnMut()) -> Histogram<u64> {
    let mut latency = Histogram::new(3).expect("three digits are within bounds");
    let until = Instant::now() + time;
    loop {
        let start = Instant::now();
        if start >= until {
            return latency;
        }
        once();
        let nanoseconds = u64::try_from(start.elapsed().as_nanos()).expect("centuries");
        latency.record(nanoseconds).expect("the histogram grows by itself");
    }
}
