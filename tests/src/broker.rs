//! The broker under test: Iolite as built, or Apache Kafka as the oracle, behind one face.
//!
//! `IOLITE_E2E_TARGET=kafka` runs the client tests against Apache Kafka instead: a test that fails there is wrong about
//! Kafka, not about us. `IOLITE_BROKER` names a broker binary to use instead of the one built here.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tempfile::TempDir;

use crate::process::Process;
use crate::{DEADLINE, project};

/// Which broker answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The binary of this project.
    Iolite,
    /// Apache Kafka, from the class path that `tests/clients/install` lays out.
    Kafka,
}

impl Target {
    /// What `IOLITE_E2E_TARGET` names; Iolite unless it says otherwise.
    ///
    /// # Panics
    /// When it names something else.
    #[must_use]
    pub fn chosen() -> Self {
        match std::env::var("IOLITE_E2E_TARGET").as_deref() {
            Ok("kafka") => Self::Kafka,
            Ok("iolite") | Err(_) => Self::Iolite,
            Ok(other) => panic!("IOLITE_E2E_TARGET is {other:?}; it can be iolite or kafka"),
        }
    }
}

/// How to start a broker.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it listens on loopback; 0 for any free port.
    pub port: u16,
    /// Shards, where the broker has shards.
    pub shards: u16,
    /// Broker configuration by Kafka's names.
    pub configs: Vec<(String, String)>,
    /// Further arguments for the Iolite binary.
    pub arguments: Vec<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self { port: 0, shards: 2, configs: Vec::new(), arguments: Vec::new() }
    }
}

/// One running broker with a data directory of its own.
pub struct Broker {
    target: Target,
    process: Process,
    kafka: SocketAddr,
    admin: Option<SocketAddr>,
    directory: TempDir,
    /// From exec to the banner that says it is ready.
    pub ready_after: Duration,
}

impl Broker {
    /// Starts a broker on an empty directory and waits until it is ready.
    #[must_use]
    pub fn start(target: Target, options: &Options) -> Self {
        let directory =
            tempfile::Builder::new().prefix("e2e-").tempdir_in(scratch()).expect("a data directory");
        if target == Target::Kafka {
            format_kafka(directory.path(), options);
        }
        Self::launch(target, options, directory)
    }

    /// Starts a broker again on the directory of one that has ended.
    #[must_use]
    pub fn start_on(directory: TempDir, target: Target, options: &Options) -> Self {
        Self::launch(target, options, directory)
    }

    /// Starts a broker on the directory of one that has ended and kills it at some moment of its start.
    #[must_use]
    pub fn kill_while_starting(
        directory: TempDir,
        target: Target,
        options: &Options,
        moment: Duration,
    ) -> TempDir {
        let mut process = match target {
            Target::Iolite => iolite_process(directory.path(), options),
            Target::Kafka => kafka_process(directory.path()),
        };
        let ended = process.ends_within(moment);
        assert!(!ended, "the broker ended by itself\n{}", process.last_lines());
        process.kill();
        directory
    }

    /// Starts Iolite on the directory of one that has ended and tells it to stop at some moment of its start.
    #[must_use]
    pub fn stop_while_starting(
        directory: TempDir,
        options: &Options,
        signal: Signal,
        moment: Duration,
    ) -> (ExitStatus, TempDir) {
        let mut process = iolite_process(directory.path(), options);
        let ended = process.ends_within(moment);
        assert!(!ended, "the broker ended by itself\n{}", process.last_lines());
        process.signal(signal);
        (process.wait(DEADLINE), directory)
    }

    /// Starts Iolite on a directory where it must refuse to run; how it ended and what it printed.
    #[must_use]
    pub fn refuse_to_start_on(directory: &TempDir, options: &Options) -> (ExitStatus, Vec<String>) {
        let mut process = iolite_process(directory.path(), options);
        let status = process.wait(DEADLINE);
        (status, process.lines())
    }

    fn launch(target: Target, options: &Options, directory: TempDir) -> Self {
        if options.port != 0 {
            await_free(options.port);
        }
        let started = Instant::now();
        let (process, kafka, admin) = match target {
            Target::Iolite => launch_iolite(directory.path(), options),
            Target::Kafka => launch_kafka(directory.path()),
        };
        Self { target, process, kafka, admin, directory, ready_after: started.elapsed() }
    }

    /// Which broker this is.
    #[must_use]
    pub fn target(&self) -> Target {
        self.target
    }

    /// Where it speaks Kafka's protocol.
    #[must_use]
    pub fn kafka(&self) -> SocketAddr {
        self.kafka
    }

    /// Where it serves metrics and health, if it does.
    #[must_use]
    pub fn admin(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The folder that holds `<topic>-<partition>` folders with segment files.
    #[must_use]
    pub fn topics_directory(&self) -> PathBuf {
        match self.target {
            Target::Iolite => self.directory.path().join("data/topics"),
            Target::Kafka => self.directory.path().join("data"),
        }
    }

    /// The process, for its log and its id.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Panics, with the log, if the broker has ended.
    pub fn assert_alive(&mut self) {
        if let Some(status) = self.process.ended() {
            panic!("the broker ended by itself ({status})\n{}", self.process.last_lines());
        }
    }

    /// SIGTERM, then waits for the end; the directory is handed back.
    #[must_use]
    pub fn stop(self) -> (ExitStatus, TempDir) {
        self.stop_by(Signal::SIGTERM)
    }

    /// The same by another signal.
    #[must_use]
    pub fn stop_by(self, signal: Signal) -> (ExitStatus, TempDir) {
        self.process.signal(signal);
        self.await_end()
    }

    /// Waits for the end of a broker that was told to stop.
    #[must_use]
    pub fn await_end(mut self) -> (ExitStatus, TempDir) {
        let status = self.process.wait(DEADLINE);
        (status, self.directory)
    }

    /// kill -9; the directory is handed back.
    #[must_use]
    pub fn kill(mut self) -> TempDir {
        self.process.kill();
        self.directory
    }
}

/// Waits until nobody listens on a port: the kernel closes the sockets of a killed process's io_uring only some time after
/// the process is gone. Who connects meanwhile hears of it when that happens.
fn await_free(port: u16) {
    let deadline = Instant::now() + DEADLINE;
    while let Ok(mut left) = TcpStream::connect(("127.0.0.1", port)) {
        assert!(Instant::now() < deadline, "port {port} stays taken");
        left.set_read_timeout(Some(DEADLINE)).expect("a timeout that is not zero");
        // However it ends, the next connection tells whether the port is free.
        let _end = left.read(&mut [0]);
    }
}

/// The broker that client tests share: started by the first that asks, ended with the test process.
#[must_use]
pub fn shared() -> &'static Broker {
    static SHARED: OnceLock<Broker> = OnceLock::new();
    SHARED.get_or_init(|| Broker::start(Target::chosen(), &Options::default()))
}

/// A folder under `target/`, on the disk that the project is on. What earlier, killed runs left there is removed.
///
/// # Panics
/// When `target/` can't be written.
#[must_use]
pub fn scratch() -> PathBuf {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    let make = || {
        let all = target_directory().parent().expect("a profile lies in target/").join("tmp/e2e");
        fs::create_dir_all(&all).expect("target/tmp is writable");
        for entry in fs::read_dir(&all).expect("target/tmp is readable").flatten() {
            let owner = entry.file_name().to_string_lossy().into_owned();
            if !Path::new("/proc").join(&owner).exists() {
                crate::volume::unmount_below(&entry.path());
                // Another run may be clearing up as well; whoever comes second finds nothing.
                let _gone = fs::remove_dir_all(entry.path());
            }
        }
        let own = all.join(std::process::id().to_string());
        fs::create_dir_all(&own).expect("target/tmp is writable");
        own
    };
    SCRATCH.get_or_init(make).clone()
}

/// `target/debug` or `target/release`, as the running test was built.
pub(crate) fn target_directory() -> PathBuf {
    let test = std::env::current_exe().expect("the test binary has a path");
    test.parent().and_then(Path::parent).expect("test binaries lie in target/<profile>/deps").to_owned()
}

/// The broker binary, built with the test's own profile, so that it is never an old one.
#[must_use]
pub fn iolite_binary() -> &'static Path {
    static BINARY: OnceLock<PathBuf> = OnceLock::new();
    let given = || std::env::var_os("IOLITE_BROKER").map(PathBuf::from);
    BINARY.get_or_init(|| given().unwrap_or_else(|| built("iolite-broker")))
}

/// The binary of a package of the same name, built with the test's own profile.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn built(package: &str) -> PathBuf {
    built_of(package, package)
}

/// A binary of a package, built with the test's own profile.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn built_of(package: &str, binary: &str) -> PathBuf {
    build(package, "--bin", binary);
    target_directory().join(binary)
}

/// An example of a package, built with the test's own profile.
///
/// # Panics
/// When it does not build.
#[must_use]
pub fn built_example(package: &str, example: &str) -> PathBuf {
    build(package, "--example", example);
    target_directory().join("examples").join(example)
}

fn build(package: &str, kind: &str, name: &str) {
    let mut build = Command::new(env!("CARGO"));
    build.current_dir(project()).args(["build", "--quiet", "--package", package, kind, name]);
    if target_directory().ends_with("release") {
        build.arg("--release");
    }
    let status = build.status().expect("cargo runs");
    assert!(status.success(), "{name} does not build");
}

fn launch_iolite(directory: &Path, options: &Options) -> (Process, SocketAddr, Option<SocketAddr>) {
    let process = iolite_process(directory, options);
    let kafka = process.wait_for_line(DEADLINE, "the line with its Kafka address", |line| {
        line.trim().strip_prefix("kafka ")?.trim().parse().ok()
    });
    let admin = process.wait_for_line(DEADLINE, "the line with its admin address", |line| {
        let told = line.trim().strip_prefix("admin ")?.trim();
        Some(told.strip_prefix("http://").and_then(|address| address.trim_end_matches('/').parse().ok()))
    });
    (process, kafka, admin)
}

fn iolite_process(directory: &Path, options: &Options) -> Process {
    let mut command = Command::new(iolite_binary());
    // The tests' own settings are no keys of the broker's configuration, which refuses what it doesn't know.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("IOLITE_")) {
        command.env_remove(name);
    }
    command.arg("--data-dir").arg(directory.join("data"));
    command.args(["--listen", &format!("127.0.0.1:{}", options.port), "--admin", "127.0.0.1:0"]);
    command.args(["--shards", &options.shards.to_string()]);
    if !options.configs.is_empty() {
        let file = directory.join("broker.toml");
        let text: String =
            options.configs.iter().map(|(key, value)| format!("{key:?} = {value:?}\n")).collect();
        fs::write(&file, text).expect("the directory is writable");
        command.arg("--config").arg(file);
    }
    command.args(&options.arguments);
    Process::start("iolite-broker", command)
}

/// The class path with Kafka's clients, tools and broker, and our Java driver.
#[must_use]
pub fn java_class_path() -> String {
    let java = project().join("tests/clients/java/target");
    format!("{}:{}/*", java.join("classes").display(), java.join("lib").display())
}

/// A java command that runs `class` from that class path, with a start-up fit for short programs.
#[must_use]
pub fn java(class: &str) -> Command {
    let mut command = Command::new("java");
    command.args(["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"]);
    command.args(["-cp", &java_class_path()]).arg(class);
    command
}

fn format_kafka(directory: &Path, options: &Options) {
    let [client, controller] = [free_port(), free_port()];
    let mut properties = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@127.0.0.1:{controller}\n\
         listeners=PLAINTEXT://127.0.0.1:{client},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{client}\ncontroller.listener.names=CONTROLLER\n\
         log.dirs={}\noffsets.topic.replication.factor=1\ntransaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\ngroup.initial.rebalance.delay.ms=0\n",
        directory.join("data").display()
    );
    for (key, value) in &options.configs {
        properties.push_str(&format!("{key}={value}\n"));
    }
    fs::write(directory.join("server.properties"), properties).expect("the directory is writable");
    let mut format = java("kafka.tools.StorageTool");
    format.args(["format", "--cluster-id", "4L6g3nShT-eMCtK--X86sw", "--config"]);
    format.arg(directory.join("server.properties"));
    let (status, lines) = crate::process::run("StorageTool", format, DEADLINE);
    assert!(status.success(), "kafka.tools.StorageTool failed:\n{}", lines.join("\n"));
}

fn launch_kafka(directory: &Path) -> (Process, SocketAddr, Option<SocketAddr>) {
    let properties = fs::read_to_string(directory.join("server.properties")).expect("Kafka was formatted");
    let (_, after) = properties.split_once("listeners=PLAINTEXT://").expect("its listener is set");
    let (kafka, _) = after.split_once(',').expect("its controller follows");
    let process = kafka_process(directory);
    process.wait_for_line(DEADLINE, "\"Kafka Server started\"", |line| {
        line.contains("Kafka Server started").then_some(())
    });
    (process, kafka.parse().expect("its address is one"), None)
}

fn kafka_process(directory: &Path) -> Process {
    let mut command = Command::new("java");
    command.args(["-Xmx1g", "-Dlog.level=info", "-cp", &java_class_path(), "kafka.Kafka"]);
    command.arg(directory.join("server.properties"));
    Process::start("kafka", command)
}

/// A port that was free a moment ago: for Kafka, which can't be told to choose one itself, and for a broker that is to
/// be found again after a restart. Not one that the system gives to outgoing connections: while a broker is away, one of
/// those could take its port, and a client that looks for it there could meet itself.
///
/// # Panics
/// When the system's range of such ports leaves nothing below.
#[must_use]
pub fn free_port() -> u16 {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").expect("a Linux kernel");
    let outgoing: u16 =
        range.split_whitespace().next().and_then(|first| first.parse().ok()).expect("two numbers");
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let mut tries = std::iter::repeat_with(|| rand::random_range(10_000..outgoing)).take(1_000);
    tries.find(is_free).expect("a free port")
}
