//! A child process that can be waited on by what it prints, and that never outlives its test.
//!
//! Each line of standard output and standard error is kept; a failing test shows the last of them. Children are started by
//! one thread that lives as long as the test process, because Linux sends a child its parent-death signal when the
//! *thread* that started it ends.

use std::fmt;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How many lines a failing test shows of each process.
const SHOWN_LINES_MAX: usize = 60;

/// A running (or just ended) child.
pub struct Process {
    name: String,
    child: Child,
    log: Arc<Log>,
}

#[derive(Default)]
struct Log {
    state: Mutex<LogState>,
    changed: Condvar,
}

#[derive(Default)]
struct LogState {
    lines: Vec<String>,
    streams_open: usize,
}

impl Process {
    /// Starts `command`, keeping both of its outputs.
    #[must_use]
    pub fn start(name: &str, mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn_from_keeper(command, name);
        let log = Arc::new(Log::default());
        log.follow(child.stdout.take().expect("stdout is piped"));
        log.follow(child.stderr.take().expect("stderr is piped"));
        Self { name: name.to_owned(), child, log }
    }

    /// Starts `command` with its standard input and output in the caller's hands; only standard error is kept.
    #[must_use]
    pub fn start_interactive(name: &str, mut command: Command) -> (Self, ChildStdin, ChildStdout) {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = spawn_from_keeper(command, name);
        let log = Arc::new(Log::default());
        log.follow(child.stderr.take().expect("stderr is piped"));
        let stdin = child.stdin.take().expect("stdin is piped");
        let stdout = child.stdout.take().expect("stdout is piped");
        (Self { name: name.to_owned(), child, log }, stdin, stdout)
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// What it has read from devices until now, as the kernel counts: pages that were in memory are free.
    ///
    /// # Panics
    /// When the kernel doesn't tell.
    #[must_use]
    pub fn device_read_bytes(&self) -> u64 {
        let told = std::fs::read_to_string(format!("/proc/{}/io", self.id())).expect("it lives");
        let count = told.lines().find_map(|line| line.strip_prefix("read_bytes: ")?.parse().ok());
        count.unwrap_or_else(|| panic!("no count of bytes in:\n{told}"))
    }

    /// Waits until a printed line makes `find` answer, and returns that answer.
    ///
    /// # Panics
    /// When the process ends or `deadline` passes before.
    pub fn wait_for_line<T>(&self, deadline: Duration, what: &str, find: impl Fn(&str) -> Option<T>) -> T {
        let end = Instant::now() + deadline;
        let mut seen = 0;
        let mut state = self.log.state.lock().expect("no reader panics");
        loop {
            if let Some(found) = state.lines[seen..].iter().find_map(|line| find(line)) {
                return found;
            }
            seen = state.lines.len();
            let ended = state.streams_open == 0;
            let left = end.saturating_duration_since(Instant::now());
            if ended || left.is_zero() {
                drop(state);
                let how = if ended { "ended" } else { "said nothing in time" };
                panic!("{} {how} before: {what}\n{}", self.name, self.last_lines());
            }
            state = self.log.changed.wait_timeout(state, left).expect("no reader panics").0;
        }
    }

    /// Everything printed so far, oldest first.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        self.log.state.lock().expect("no reader panics").lines.clone()
    }

    /// The last of what it printed, for people.
    #[must_use]
    pub fn last_lines(&self) -> String {
        let lines = self.lines();
        let from = lines.len().saturating_sub(SHOWN_LINES_MAX);
        let shown: String = lines[from..].iter().map(|line| format!("  | {line}\n")).collect();
        format!("last lines of {}:\n{shown}", self.name)
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        let id = i32::try_from(self.child.id()).expect("process ids are small");
        // A child that is gone already has what the signal asked for.
        let _gone = kill(Pid::from_raw(id), signal);
    }

    /// Waits for the end, which must come within `deadline`.
    ///
    /// # Panics
    /// When it does not.
    pub fn wait(&mut self, deadline: Duration) -> ExitStatus {
        let end = Instant::now() + deadline;
        let mut state = self.log.state.lock().expect("no reader panics");
        while state.streams_open > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                drop(state);
                panic!("{} did not end in {deadline:?}\n{}", self.name, self.last_lines());
            }
            state = self.log.changed.wait_timeout(state, left).expect("no reader panics").0;
        }
        drop(state);
        self.child.wait().expect("the child can be waited on")
    }

    /// Waits for the end, but no longer than `moment`; true if it came.
    #[must_use]
    pub fn ends_within(&self, moment: Duration) -> bool {
        let end = Instant::now() + moment;
        let mut state = self.log.state.lock().expect("no reader panics");
        while state.streams_open > 0 {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = self.log.changed.wait_timeout(state, left).expect("no reader panics").0;
        }
        true
    }

    /// Has the process ended?
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the child can be waited on")
    }

    /// kill -9, then wait.
    pub fn kill(&mut self) {
        self.signal(Signal::SIGKILL);
        let status = self.child.wait().expect("the child can be waited on");
        assert!(
            status.signal() == Some(libc::SIGKILL),
            "{} had ended by itself ({status})\n{}",
            self.name,
            self.last_lines()
        );
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("{}", self.last_lines());
        }
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Log {
    /// Waits until every stream that is followed has ended.
    fn wait_for_end(&self) {
        let mut state = self.state.lock().expect("no reader panics");
        while state.streams_open > 0 {
            state = self.changed.wait(state).expect("no reader panics");
        }
    }

    /// Reads `stream` to its end on a thread of its own.
    fn follow(self: &Arc<Self>, stream: impl Read + Send + 'static) {
        self.state.lock().expect("no reader panics").streams_open += 1;
        let log = Arc::clone(self);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
                let text = String::from_utf8_lossy(&line).trim_end().to_owned();
                log.state.lock().expect("no reader panics").lines.push(text);
                log.changed.notify_all();
                line.clear();
            }
            log.state.lock().expect("no reader panics").streams_open -= 1;
            log.changed.notify_all();
        });
    }
}

/// Runs a command to its end and returns its status and all it printed, standard output first.
#[must_use]
pub fn run(name: &str, command: Command, deadline: Duration) -> (ExitStatus, Vec<String>) {
    let mut process = Process::start(name, command);
    let status = process.wait(deadline);
    (status, process.lines())
}

/// How a command ended and what it printed.
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// Lines of its standard output.
    pub stdout: Vec<String>,
    /// Lines of its standard error.
    pub stderr: Vec<String>,
}

impl fmt::Display for Finished {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{}", self.status)?;
        let mut show = |mark: char, lines: &[String]| {
            let from = lines.len().saturating_sub(SHOWN_LINES_MAX);
            lines[from..].iter().try_for_each(|line| writeln!(formatter, "  {mark} {line}"))
        };
        show('|', &self.stdout)?;
        show('!', &self.stderr)
    }
}

/// Runs a command to its end with `input` on its standard input, its two outputs kept apart.
#[must_use]
pub fn run_with_input(name: &str, command: Command, input: &[u8], deadline: Duration) -> Finished {
    let (mut process, mut stdin, stdout) = Process::start_interactive(name, command);
    let output = Arc::new(Log::default());
    output.follow(stdout);
    let input = input.to_vec();
    let writer = thread::spawn(move || {
        // A command that does not want its input has closed it.
        let _unwanted = stdin.write_all(&input);
    });
    let status = process.wait(deadline);
    writer.join().expect("the writer does not panic");
    output.wait_for_end();
    let stdout = output.state.lock().expect("no reader panics").lines.clone();
    Finished { status, stdout, stderr: process.lines() }
}

type Spawn = (Command, mpsc::Sender<std::io::Result<Child>>);

/// Has the long-lived thread start `command`, so that the child dies with the test process and not before.
fn spawn_from_keeper(mut command: Command, name: &str) -> Child {
    static KEEPER: OnceLock<Mutex<mpsc::Sender<Spawn>>> = OnceLock::new();
    let keeper = KEEPER.get_or_init(|| {
        let (sender, receiver) = mpsc::channel::<Spawn>();
        thread::spawn(move || {
            for (mut command, answer) in receiver {
                // The asker waits for the answer, so it is there to take it.
                let _taken = answer.send(command.spawn());
            }
        });
        Mutex::new(sender)
    });
    // SAFETY: prctl and signal are async-signal-safe, touch no memory of ours and only set flags of the new process.
    unsafe {
        command.pre_exec(|| {
            // Under nohup SIGHUP is ignored, which children inherit.
            libc::signal(libc::SIGHUP, libc::SIG_DFL);
            match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let (sender, receiver) = mpsc::channel();
    keeper.lock().expect("senders do not panic").send((command, sender)).expect("the keeper lives");
    receiver.recv().expect("the keeper answers").unwrap_or_else(|error| panic!("can't start {name}: {error}"))
}
