//! The built binary as an operator meets it: started, stopped, and refused with one line and its exit code.

#![allow(missing_docs, reason = "a test has no readers of its documentation")]

use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use iolite_broker::exit::ExitCode;
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

mod filter;

/// A broker on free ports; nothing of the tests' environment reaches it.
fn broker(data: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_iolite-broker"));
    command.env_clear().arg("--data-dir").arg(data);
    command.args(["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--shards", "1"]);
    command.args(["--set", "journal.bytes=16MiB", "--set", "journal.file.bytes=4MiB"]);
    command.args(["--set", "journal.frame.max.bytes=1MiB", "--set", "message.max.bytes=100000"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A running broker; killed where the test ends before it.
struct Running {
    child: Child,
    kafka: SocketAddr,
    admin: SocketAddr,
}

impl Running {
    /// Waits for the banner; a broker that ends instead says why in the panic.
    fn start(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let banner = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok).take(6);
        let banner: Vec<_> = banner.collect();
        let address = |name: &str| {
            let line = banner.iter().find_map(|line| line.trim().strip_prefix(name));
            line.and_then(|text| text.trim().trim_start_matches("http://").parse().ok())
        };
        match (address("kafka"), address("admin")) {
            (Some(kafka), Some(admin)) => Self { child, kafka, admin },
            _ => {
                let _ = child.kill();
                let told = io::read_to_string(child.stderr.take().unwrap());
                panic!("no banner, but {banner:?} and {told:?}");
            }
        }
    }

    /// Stops it as service managers do, and answers its exit code.
    fn stop(mut self) -> Option<i32> {
        kill(Pid::from_raw(self.child.id().cast_signed()), Signal::SIGTERM).unwrap();
        self.child.wait().unwrap().code()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn check_refused(mut command: Command, code: ExitCode, words: &[&str]) {
    let output = command.output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(i32::from(code.number())), "{told}");
    assert_eq!(told.lines().count(), 1, "one line: {told}");
    for word in words {
        assert!(told.contains(word), "{word:?} in: {told}");
    }
    assert!(output.stdout.is_empty(), "no banner");
}

/// ApiVersions v0 with correlation id 7 and no client id, and how its answer begins after the length.
const ASK: [u8; 14] = [0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 7, 255, 255];
const ANSWER: [u8; 6] = [0, 0, 0, 7, 0, 0];

fn check_answers(kafka: SocketAddr) {
    let mut stream = TcpStream::connect(kafka).unwrap();
    stream.write_all(&ASK).unwrap();
    let mut answer = [0; 4 + ANSWER.len()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer[4..], ANSWER);
}

fn ask_admin(admin: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(admin).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: iolite\r\nConnection: close\r\n\r\n").unwrap();
    io::read_to_string(stream).unwrap()
}

#[test]
fn it_starts_answers_and_stops_cleanly() {
    let data = tempfile::tempdir().unwrap();
    let running = Running::start(broker(data.path()));
    check_answers(running.kafka);
    assert!(ask_admin(running.admin, "/healthz").starts_with("HTTP/1.1 200 OK"));
    let ready = ask_admin(running.admin, "/readyz");
    assert!(ready.starts_with("HTTP/1.1 200 OK"), "{ready}");
    let figures = ask_admin(running.admin, "/metrics");
    assert!(figures.contains("\niolite_requests_total{shard=\"0\",api=\"ApiVersions\"} 1\n"), "{figures}");
    assert_eq!(running.stop(), Some(0));
}

#[test]
fn a_log_for_machines_is_one_object_a_line() {
    let data = tempfile::tempdir().unwrap();
    let mut command = broker(data.path());
    command.args(["--log-format", "json"]);
    let mut running = Running::start(command);
    let log = running.child.stderr.take().unwrap();
    assert_eq!(running.stop(), Some(0));
    let log = io::read_to_string(log).unwrap();
    assert!(log.contains("\"message\":\"stopping\""), "{log}");
    for line in log.lines() {
        assert!(line.starts_with('{') && line.ends_with('}'), "{line}");
    }
}

#[test]
fn a_second_broker_finds_out_at_once() {
    let (data, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let running = Running::start(broker(data.path()));
    check_refused(broker(data.path()), ExitCode::DataLocked, &["a broker runs in it already"]);
    let mut same_port = broker(other.path());
    same_port.args(["--set", &format!("listeners={}", running.kafka)]);
    check_refused(same_port, ExitCode::Configuration, &["given twice"]);
    let mut same_port = Command::new(env!("CARGO_BIN_EXE_iolite-broker"));
    same_port.env_clear().arg("--data-dir").arg(other.path()).args(["--listen", &running.kafka.to_string()]);
    check_refused(same_port, ExitCode::PortTaken, &["taken by another process", "--listen"]);
}

#[test]
fn a_taken_admin_port_is_found() {
    let data = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_iolite-broker"));
    command.env_clear().arg("--data-dir").arg(data.path()).args(["--listen", "127.0.0.1:0"]);
    command.args(["--admin", &taken.local_addr().unwrap().to_string()]);
    check_refused(command, ExitCode::PortTaken, &["taken by another process", "--admin"]);
}

#[test]
fn a_directory_that_cannot_be_used_is_refused() {
    check_refused(broker(Path::new("/sys/iolite")), ExitCode::DataNotWritable, &["--data-dir"]);
    let kafka = tempfile::tempdir().unwrap();
    fs::write(kafka.path().join("meta.properties"), "version=1").unwrap();
    check_refused(broker(kafka.path()), ExitCode::DataFormat, &["Apache Kafka's"]);
    let foreign = tempfile::tempdir().unwrap();
    fs::write(foreign.path().join("meta.fb"), "something else entirely, of a fair length").unwrap();
    check_refused(broker(foreign.path()), ExitCode::DataFormat, &["meta.fb"]);
}

#[test]
fn a_wrong_configuration_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let with = |flags: &[&str]| {
        let mut command = broker(data.path());
        command.args(flags);
        command
    };
    let unknown = with(&["--set", "num.partition=3"]);
    check_refused(unknown, ExitCode::Configuration, &["--set", "did you mean num.partitions?"]);
    check_refused(with(&["--cores", "x"]), ExitCode::Configuration, &["--cores", "0,2-3"]);
    check_refused(with(&["--log-level", "iolite=loud"]), ExitCode::Configuration, &["logging.level"]);
}

fn limited(data: &Path, resource: Resource, limit: u64) -> Command {
    let mut command = broker(data);
    // SAFETY: setrlimit is async-signal-safe, and nothing else happens between fork and exec.
    unsafe { command.pre_exec(move || setrlimit(resource, limit, limit).map_err(io::Error::from)) };
    command
}

#[test]
fn limits_that_are_too_low_are_told_with_their_remedy() {
    let data = tempfile::tempdir().unwrap();
    let memory = limited(data.path(), Resource::RLIMIT_MEMLOCK, 64 << 10);
    check_refused(memory, ExitCode::LockedMemory, &["memlock", "LimitMEMLOCK"]);
    let files = limited(data.path(), Resource::RLIMIT_NOFILE, 100);
    check_refused(files, ExitCode::OpenFiles, &["nofile", "LimitNOFILE"]);
}

fn filtered(data: &Path, allowed: &[&str]) -> Command {
    let mut command = broker(data);
    let mut filter = filter::Filter::allowing(allowed);
    // SAFETY: prctl is async-signal-safe; the filter was built before the fork.
    unsafe { command.pre_exec(move || filter.install()) };
    command
}

/// The profile of the documentation is enough to run under, and without io_uring it is refused with a remedy.
#[test]
fn the_documented_seccomp_profile_is_true() {
    let data = tempfile::tempdir().unwrap();
    let profile = include_str!("../../../docs/seccomp.json");
    let mut allowed = filter::names_of(profile);
    let running = Running::start(filtered(data.path(), &allowed));
    check_answers(running.kafka);
    assert_eq!(running.stop(), Some(0));
    allowed.retain(|name| !name.starts_with("io_uring"));
    check_refused(
        filtered(data.path(), &allowed),
        ExitCode::IoUring,
        &["seccomp profile", "docs/operations.md"],
    );
}
