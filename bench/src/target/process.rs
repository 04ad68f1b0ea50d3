//! A broker's process: bound to cores, its output in a file, its directory removed with it.

use std::fs::{self, File};
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use client::executor::interrupt;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::group::{self, MemoryGroup};
use super::{LocalOptions, TargetError};
use crate::limits::{START_TIME_MAX, STOP_TIME_MAX};

/// Lines of a log that are shown when its process has ended.
const TAIL_LINES: usize = 12;
/// Between two looks at a process that is starting or stopping.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running broker.
#[derive(Debug)]
pub struct Process {
    child: Child,
    command: String,
    log: PathBuf,
    group: Option<MemoryGroup>,
    /// Removed when this is dropped, after the process has ended.
    _directory: TempDir,
}

impl Process {
    /// Starts `command` on its cores and within its memory; its output goes to a file in `directory`, which lives as long as the
    /// process.
    pub fn start(
        mut command: Command,
        options: &LocalOptions,
        directory: TempDir,
    ) -> Result<Self, TargetError> {
        let group = options.limit_bytes.map(MemoryGroup::make).transpose()?;
        let shown = shown(&command);
        let log = directory.path().join("log");
        let failed = || format!("{shown} can't be started");
        let output = File::create(&log).map_err(TargetError::io(failed()))?;
        let errors = output.try_clone().map_err(TargetError::io(failed()))?;
        command.stdin(Stdio::null()).stdout(output).stderr(errors);
        // Ctrl-C is for the tool, which then ends the run and its brokers in order.
        command.process_group(0);
        let members = group.as_ref().map(MemoryGroup::members);
        let cores = options.cores.as_deref().map(set_of).transpose().map_err(TargetError::io(failed()))?;
        let begin = move || {
            end_with_parent()?;
            members.map_or(Ok(()), group::join)?;
            // Last: a group may have cores of its own.
            Ok(cores.map_or(Ok(()), |cores| sched_setaffinity(Pid::from_raw(0), &cores))?)
        };
        // SAFETY: between fork and exec only prctl, write and sched_setaffinity are called, which allocate nothing and take no
        // lock.
        unsafe { command.pre_exec(begin) };
        let child = command.spawn().map_err(TargetError::io(failed()))?;
        Ok(Self { child, command: shown, log, group, _directory: directory })
    }

    /// The control group that was made for it, if there is one.
    pub fn group(&self) -> Option<&MemoryGroup> {
        self.group.as_ref()
    }

    /// Waits until a line of its output says what `find` looks for.
    pub fn wait_for<T>(
        &mut self,
        name: &'static str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T, TargetError> {
        self.wait_until(name, |text| text.lines().find_map(&find))
    }

    /// Waits until somebody listens at an address.
    pub fn wait_for_listener(&mut self, name: &'static str, address: SocketAddr) -> Result<(), TargetError> {
        self.wait_until(name, |_| TcpStream::connect(address).ok().map(drop))
    }

    /// Waits until `find`, which is given its output so far, finds something.
    fn wait_until<T>(
        &mut self,
        name: &'static str,
        find: impl Fn(&str) -> Option<T>,
    ) -> Result<T, TargetError> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            let ended = self.ended();
            if let Some(found) = find(&self.log()) {
                return Ok(found);
            }
            let reason = match ended {
                Some(status) => self.told_of_end(status),
                None if interrupt::was_asked() => "interrupted".to_owned(),
                None if Instant::now() > deadline => format!("not ready after {START_TIME_MAX:?}"),
                None => {
                    std::thread::park_timeout(LOOK_INTERVAL);
                    continue;
                }
            };
            return Err(TargetError::NotStarted { name, reason, log: self.tail() });
        }
    }

    /// Its id.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it was started.
    pub fn command(&self) -> &str {
        &self.command
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// An end in words, with its memory where that was limited: who needs more is killed by the kernel.
    pub fn told_of_end(&self, status: ExitStatus) -> String {
        match &self.group {
            Some(group) => format!("{status}; {group}"),
            None => status.to_string(),
        }
    }

    /// All of its output so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The last lines of its output.
    pub fn tail(&self) -> String {
        let text = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let Ok(id) = i32::try_from(self.child.id()) else { return };
        if self.ended().is_none() {
            // It may end by itself between the two lines; then there is nobody to tell.
            let _ = kill(Pid::from_raw(id), Signal::SIGTERM);
            let deadline = Instant::now() + STOP_TIME_MAX;
            while self.ended().is_none() && Instant::now() < deadline {
                std::thread::park_timeout(LOOK_INTERVAL);
            }
        }
        if self.ended().is_none() {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// A broker is not left behind by a tool that is killed.
fn end_with_parent() -> io::Result<()> {
    // SAFETY: takes no pointers.
    let outcome = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) };
    if outcome == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn shown(command: &Command) -> String {
    let arguments = command.get_args().map(|argument| argument.to_string_lossy());
    let words = std::iter::once(command.get_program().to_string_lossy()).chain(arguments);
    words.collect::<Vec<_>>().join(" ")
}

fn set_of(cores: &[usize]) -> io::Result<CpuSet> {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core)?;
    }
    Ok(set)
}

/// A new directory for a broker below `parent`.
pub fn directory_in(parent: &Path) -> Result<TempDir, TargetError> {
    let made = tempfile::Builder::new().prefix("iolite-bench-").tempdir_in(parent);
    made.map_err(TargetError::io(format!("no directory for the broker can be made in {}", parent.display())))
}

/// Where what was fetched once is kept.
pub fn cache() -> PathBuf {
    let home = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = home.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")));
    home.unwrap_or_else(std::env::temp_dir).join("iolite-bench")
}

/// A loopback port that nobody uses, for a broker that can't be told to choose one itself. Not one that the system gives
/// to outgoing connections.
pub fn free_port() -> Result<SocketAddr, TargetError> {
    for _ in 0..1_000 {
        let address = SocketAddr::from(([127, 0, 0, 1], rand::random_range(10_000..32_000)));
        if std::net::TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
    Err(TargetError::Missing("no free port on the loopback".into()))
}
