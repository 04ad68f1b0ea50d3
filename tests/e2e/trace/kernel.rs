//! The kernel's own trace of what a broker does: block requests, syncs of the device, bytes sent on sockets.
//!
//! An instance of tracefs of our own, so that nobody else's tracing is disturbed. Needs root.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const TRACEFS: &str = "/sys/kernel/tracing";
/// For each core; a load of a second or two fills a few MiB.
const BUFFER_KIB: &str = "32768";

const EVENTS: [&str; 5] = [
    "block/block_rq_issue",
    "block/block_rq_complete",
    "sock/sock_send_length",
    "syscalls/sys_enter_sendmsg",
    "syscalls/sys_enter_sendto",
];

/// The disk that a file's blocks are on.
pub struct Device {
    /// As block events print it.
    pub name: String,
    /// Where the file's filesystem begins on it, in sectors.
    pub start: u64,
    /// A completed write may still be in its cache: only a flush makes it stay.
    pub has_cache: bool,
}

impl Device {
    /// The disk below `path`.
    pub fn of(path: &Path) -> Self {
        let device = fs::metadata(path).expect("the path is there").dev();
        let (major, minor) = (libc::major(device), libc::minor(device));
        let folder = PathBuf::from(format!("/sys/dev/block/{major}:{minor}"));
        assert!(folder.exists(), "{} is on no block device ({major}:{minor})", path.display());
        let folder = folder.canonicalize().expect("a link to the device's folder");
        let read = |file: PathBuf| fs::read_to_string(file).map(|text| text.trim().to_owned());
        let (disk, start) = match read(folder.join("start")) {
            // A partition: requests are the whole disk's.
            Ok(start) => (folder.parent().expect("its disk's").to_owned(), start.parse().expect("a sector")),
            Err(_) => (folder, 0),
        };
        let name = read(disk.join("dev")).expect("a disk has a number").replace(':', ",");
        let has_cache = read(disk.join("queue/write_cache")).is_ok_and(|cache| cache == "write back");
        Self { name, start, has_cache }
    }
}

/// A running trace.
pub struct Tracer {
    instance: PathBuf,
    /// None once the trace is given up: while it is open, the instance can't go.
    marker: Option<File>,
}

impl Tracer {
    /// Starts tracing.
    pub fn start() -> Self {
        if !Path::new(TRACEFS).join("instances").exists() {
            let mounted = Command::new("mount").args(["-t", "tracefs", "nodev", TRACEFS]).status();
            assert!(mounted.is_ok_and(|status| status.success()), "tracefs can't be mounted: is this root?");
        }
        let instance =
            Path::new(TRACEFS).join("instances").join(e2e::unique(&format!("e2e-{}", std::process::id())));
        fs::create_dir(&instance).expect("root may make a trace of its own");
        let set = |file: &str, value: &str| {
            fs::write(instance.join(file), value).unwrap_or_else(|error| panic!("{file}: {error}"));
        };
        set("trace_clock", "mono");
        set("buffer_size_kb", BUFFER_KIB);
        for event in EVENTS {
            set(&format!("events/{event}/enable"), "1");
        }
        let marker = OpenOptions::new().write(true).open(instance.join("trace_marker"));
        Self { marker: Some(marker.expect("a trace can be written to")), instance }
    }

    /// Writes a line of our own into the trace.
    pub fn mark(&self, text: &str) {
        let mut marker = self.marker.as_ref().expect("the trace runs");
        marker.write_all(text.as_bytes()).expect("a trace can be written to");
    }

    /// Stops tracing and hands over what happened, in order.
    pub fn finish(self) -> Vec<Event> {
        fs::write(self.instance.join("tracing_on"), "0").expect("a trace can be stopped");
        for core in fs::read_dir(self.instance.join("per_cpu")).expect("each core has a buffer") {
            let stats =
                fs::read_to_string(core.expect("a folder").path().join("stats")).expect("its figures");
            let lost = stats.lines().find_map(|line| line.strip_prefix("overrun: "));
            assert_eq!(lost, Some("0"), "the trace is whole");
        }
        let mut text = String::new();
        File::open(self.instance.join("trace"))
            .and_then(|mut file| file.read_to_string(&mut text))
            .expect("the trace is text");
        text.lines().filter_map(Event::parse).collect()
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.marker.take());
        // A trace that is left behind costs whatever runs later its time.
        if let Err(error) = fs::remove_dir(&self.instance) {
            eprintln!("{} stays: {error}", self.instance.display());
        }
    }
}

/// One line of the trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// [`Tracer::mark`].
    Mark(String),
    /// A request goes to a device, or comes back from it.
    Block {
        /// As in [`Device::name`].
        device: String,
        /// What it is to do, in the kernel's letters.
        kind: String,
        /// Where, in sectors; for a flush nowhere.
        sector: u64,
        /// How many sectors.
        count: u64,
        /// It is done.
        complete: bool,
    },
    /// A thread enters a call that sends.
    Enter {
        /// The thread.
        thread: u32,
    },
    /// Bytes were put into a socket.
    Sent {
        /// The thread.
        thread: u32,
        /// The socket.
        socket: String,
        /// How many.
        bytes: u64,
    },
}

impl Event {
    /// `    shard-0-6486    [000] ..... 17879.122559: sock_send_length: sk address = 0000, ...`
    fn parse(line: &str) -> Option<Self> {
        let (head, rest) = line.split_once(": ")?;
        // A thread's name may have blanks and dashes in it; its number is before the core.
        let (who, _) = head.split_once(" [")?;
        let thread = who.trim_end().rsplit('-').next()?.parse().ok()?;
        // System calls are shown without "name: ", as a call.
        if rest.starts_with("sys_send") {
            return Some(Self::Enter { thread });
        }
        let (event, text) = rest.split_once(": ")?;
        match event {
            "tracing_mark_write" => Some(Self::Mark(text.to_owned())),
            "sock_send_length" => {
                let socket = field(text, "sk address = ")?.to_owned();
                Some(Self::Sent { thread, socket, bytes: field(text, "length = ")?.parse().ok()? })
            }
            "block_rq_issue" | "block_rq_complete" => {
                let mut words = text.split_whitespace();
                let (device, kind) = (words.next()?.to_owned(), words.next()?.to_owned());
                let (at, extent) = text.split_once(" + ")?;
                let sector = at.rsplit(' ').next()?.parse().ok()?;
                let count = extent.split(' ').next()?.parse().ok()?;
                Some(Self::Block { device, kind, sector, count, complete: event == "block_rq_complete" })
            }
            _ => None,
        }
    }
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, value) = text.split_once(name)?;
    value.split([',', ' ']).next()
}

#[test]
fn lines_of_a_trace_are_understood() {
    let parse = |line: &str| Event::parse(line).expect("an event");
    let sent = " a b-c-6525    [001] .N... 17879.122501: sock_send_length: sk address = 0000ba2d, family = AF_INET protocol = IPPROTO_TCP, length = 318, error = 0, flags = 0x0";
    assert_eq!(parse(sent), Event::Sent { thread: 6525, socket: "0000ba2d".to_owned(), bytes: 318 });
    let issue = " shard-0-6486 [000] ..... 17879.122972: block_rq_issue: 254,0 WS 8192 () 298588400 + 16 be,0,4 [shard-0]";
    let block = |kind: &str, sector, count, complete| Event::Block {
        device: "254,0".to_owned(),
        kind: kind.to_owned(),
        sector,
        count,
        complete,
    };
    assert_eq!(parse(issue), block("WS", 298_588_400, 16, false));
    let flush = " tail-6528 [001] ..s.. 17879.148696: block_rq_complete: 254,0 FF () 18446744073709551615 + 0 none,0,0 [0]";
    assert_eq!(parse(flush), block("FF", u64::MAX, 0, true));
    let enter = " shard-0-6486 [000] ..... 17879.122972: sys_sendmsg(fd: e, msg: 7f71, flags: 4000)";
    assert_eq!(parse(enter), Event::Enter { thread: 6486 });
    let mark = " e2e-1 [000] ..... 17879.122972: tracing_mark_write: connection 3";
    assert_eq!(parse(mark), Event::Mark("connection 3".to_owned()));
    assert_eq!(Event::parse("# tracer: nop"), None);
}
