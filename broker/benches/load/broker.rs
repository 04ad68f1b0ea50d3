//! The broker that is measured: its own process, on one core, on a directory of its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

/// The broker's core.
pub const BROKER_CORE: usize = 0;
/// The core of whatever loads it.
pub const LOAD_CORE: usize = 1;

/// Binds the calling thread, and what it starts from now on, to one core.
pub fn pin(core: usize) {
    let mut set = CpuSet::new();
    set.set(core).expect("a core's number is small");
    sched_setaffinity(Pid::from_raw(0), &set).expect("the machine has two cores");
}

/// Which binary runs with which configuration.
#[derive(Clone, Debug)]
pub struct BrokerOptions {
    pub binary: PathBuf,
    /// `KEY=VALUE`, as behind `--set`.
    pub settings: Vec<String>,
}

/// A running broker, killed when it is dropped.
pub struct Broker {
    child: Child,
    pub address: SocketAddr,
    directory: Option<TempDir>,
}

/// What a broker has used since it started.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    pub cpu: Duration,
    pub device_bytes: u64,
    pub resident_bytes: u64,
    /// Time that all other processes but this one have spent in user mode: the machine should be ours.
    pub others: Duration,
}

/// Something that answers Produce requests.
pub trait Target {
    fn address(&self) -> SocketAddr;

    /// What it has used so far.
    fn usage(&self) -> Usage;
}

impl Broker {
    /// Starts one on an empty directory.
    pub fn start(options: &BrokerOptions) -> Self {
        let room = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let directory = tempfile::Builder::new().prefix("load-").tempdir_in(room).expect("a directory");
        Self::start_on(options, directory)
    }

    /// Starts one on the directory of one that has ended.
    pub fn start_on(options: &BrokerOptions, directory: TempDir) -> Self {
        let mut command = Command::new(&options.binary);
        command.arg("--data-dir").arg(directory.path().join("data"));
        command.args(["--listen", "127.0.0.1:0", "--shards", "1"]);
        command.args(["--cores", &BROKER_CORE.to_string(), "--set", "admin.listener="]);
        for setting in &options.settings {
            command.args(["--set", setting]);
        }
        let before = sched_getaffinity(Pid::from_raw(0)).expect("the caller's cores");
        pin(BROKER_CORE);
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file(directory.path())).spawn();
        sched_setaffinity(Pid::from_raw(0), &before).expect("cores that were ours before");
        let mut child = child.expect("the broker starts");
        let output = child.stdout.take().expect("it is piped");
        let address = BufReader::new(output)
            .lines()
            .map_while(Result::ok)
            .find_map(|line| line.trim().strip_prefix("kafka ")?.trim().parse().ok());
        let address = address.unwrap_or_else(|| {
            let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            panic!("the broker did not start:\n{log}")
        });
        Self { child, address, directory: Some(directory) }
    }

    /// kill -9; the directory is handed back.
    pub fn kill(mut self) -> TempDir {
        self.end();
        self.directory.take().expect("it ends once")
    }

    fn end(&mut self) {
        let pid = i32::try_from(self.child.id()).expect("a process id");
        // It may have ended by itself; then its log says why.
        let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        let _ = self.child.wait();
    }
}

impl Target for Broker {
    fn address(&self) -> SocketAddr {
        self.address
    }

    fn usage(&self) -> Usage {
        let process = PathBuf::from(format!("/proc/{}", self.child.id()));
        let text = |name: &str| fs::read_to_string(process.join(name)).expect("the broker is alive");
        let device_bytes = field(&text("io"), "write_bytes:");
        let resident_bytes = field(&text("status"), "VmRSS:") * 1024;
        let others = user_time_of_others(&process);
        Usage { cpu: cpu_time(&process), device_bytes, resident_bytes, others }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if self.directory.is_some() {
            self.end();
        }
    }
}

fn log_file(directory: &Path) -> fs::File {
    fs::File::options().create(true).append(true).open(directory.join("log")).expect("a writable directory")
}

/// All its threads, those of io_uring among them, to the nanosecond (`/proc/PID/stat` counts in 10 ms).
fn cpu_time(process: &Path) -> Duration {
    let tasks = fs::read_dir(process.join("task")).expect("the broker is alive");
    let nanoseconds = tasks.flatten().filter_map(|task| {
        // A thread may end between listing and looking.
        let text = fs::read_to_string(task.path().join("schedstat")).ok()?;
        text.split_whitespace().next()?.parse::<u64>().ok()
    });
    Duration::from_nanos(nanoseconds.sum())
}

/// User time of the whole machine, less that of the broker and of this process.
pub fn user_time_of_others(broker: &Path) -> Duration {
    let all = fs::read_to_string("/proc/stat").expect("a Linux kernel");
    let total: u64 =
        all.split_whitespace().skip(1).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum();
    let own = |process: &Path| {
        let text = fs::read_to_string(process.join("stat")).expect("the process is alive");
        // The name, in brackets, may have spaces; user time is the 12th field behind it.
        let (_, fields) = text.rsplit_once(')').expect("a name in brackets");
        fields.split_whitespace().nth(11).and_then(|ticks| ticks.parse::<u64>().ok()).expect("a number")
    };
    let this = Path::new("/proc/self");
    let ours = own(this) + if broker == this { 0 } else { own(broker) };
    Duration::from_millis(total.saturating_sub(ours) * MILLISECONDS_PER_TICK)
}

/// The kernel tells user time in hundredths of a second, whatever its own ticks.
const MILLISECONDS_PER_TICK: u64 = 10;

fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("the kernel tells it");
    let number = line.split_whitespace().next().expect("a number behind the name");
    number.parse().expect("a number")
}

/// Does nothing for a time.
pub fn rest(time: Duration) {
    let until = Instant::now() + time;
    while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
        std::thread::park_timeout(left);
    }
}
