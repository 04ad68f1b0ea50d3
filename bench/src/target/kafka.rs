//! Starts Apache Kafka: one node that is broker and controller (KRaft), from jars of Maven Central at a pinned version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use super::process::{Process, cache, directory_in, free_port};
use super::{LocalOptions, Target, TargetError, disclosed};

/// Which version is fetched.
pub const VERSION: &str = "4.1.1";
/// What Maven is asked for.
const POM: &str = include_str!("../../peers/kafka.xml");
/// Its log goes where its output goes: the line that says it has started is waited for.
const LOGGING: &str = "status = error\nappender.out.type = Console\nappender.out.name = out\n\
    appender.out.layout.type = PatternLayout\nappender.out.layout.pattern = %p %m (%c)%n\n\
    rootLogger.level = info\nrootLogger.appenderRef.out.ref = out\n";
const NAME: &str = "Apache Kafka";
/// Files of deleted topics go soon, and not in the middle of another's turn a minute later, as they do by default.
const DELETE_SOON: &str = "log.segment.delete.delay.ms=250";

/// Starts it on an empty directory and free ports.
pub fn start(options: &LocalOptions) -> Result<Target, TargetError> {
    let jars = jars(options.kafka_jars.as_deref())?;
    let class_path = format!("{}/*", jars.display());
    let directory = directory_in(&options.directory)?;
    let [client, controller] = [free_port()?, free_port()?];
    let properties = directory.path().join("server.properties");
    let mut text = format!(
        "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@{controller}\n\
         listeners=PLAINTEXT://{client},CONTROLLER://{controller}\nadvertised.listeners=PLAINTEXT://{client}\n\
         controller.listener.names=CONTROLLER\nlog.dirs={}\noffsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n{DELETE_SOON}\n",
        directory.path().join("data").display()
    );
    for setting in &options.settings {
        text.push_str(setting);
        text.push('\n');
    }
    fs::write(&properties, text).map_err(TargetError::io("Kafka's properties can't be written"))?;
    format(&class_path, &properties)?;
    let heap = format!("-Xmx{}m", options.memory_bytes >> 20);
    let mut command = Command::new("java");
    let logging = directory.path().join("log4j2.properties");
    fs::write(&logging, LOGGING).map_err(TargetError::io("Kafka's logging can't be configured"))?;
    let logging = format!("-Dlog4j2.configurationFile={}", logging.display());
    command.args([&heap, "-XX:+UseG1GC", "-showversion", "-XX:+PrintCommandLineFlags", &logging]);
    command.args(["-cp", &class_path, "kafka.Kafka"]);
    command.arg(&properties);
    let began = Instant::now();
    let mut process = Process::start(command, options, directory)?;
    process.wait_for(NAME, |line| line.contains("Kafka Server started").then_some(()))?;
    let told = disclosed::of_jvm(&process.log());
    let mut target = Target::started(format!("{NAME} {VERSION}"), client, None, process, began);
    target.facts.disclosed = told;
    let beyond = if options.limit_bytes.is_some() { "" } else { " and on no process's bill" };
    target.facts.notes.push(format!("heap {heap}, G1; the kernel's page cache is beyond that heap{beyond}"));
    target
        .facts
        .disclosed
        .insert("properties".into(), [&[DELETE_SOON.to_owned()][..], &options.settings].concat().join(" "));
    Ok(target)
}

/// The directory with the jars: the one that is given, or one that Maven fills the first time.
pub fn jars(given: Option<&Path>) -> Result<PathBuf, TargetError> {
    let Some(given) = given else { return fetched() };
    let is_jar = |path: PathBuf| path.extension().is_some_and(|ending| ending == "jar");
    let mut files = fs::read_dir(given).into_iter().flatten().flatten();
    let missing = || TargetError::Missing(format!("there are no jars in {}", given.display()));
    files.any(|file| is_jar(file.path())).then(|| given.to_owned()).ok_or_else(missing)
}

fn format(class_path: &str, properties: &Path) -> Result<(), TargetError> {
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-cp", class_path, "kafka.tools.StorageTool", "format"]);
    command.args(["--cluster-id", "4L6g3nShT-eMCtK--X86sw", "--config"]).arg(properties);
    let output = command.output().map_err(TargetError::io("java can't be run (Kafka needs Java 17)"))?;
    if output.status.success() {
        return Ok(());
    }
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(TargetError::NotStarted { name: NAME, reason: "its directory could not be formatted".into(), log })
}

/// The directory with the jars, filled by Maven the first time.
fn fetched() -> Result<PathBuf, TargetError> {
    let home = cache();
    let jars = home.join(format!("kafka-{VERSION}"));
    if jars.join("complete").exists() {
        return Ok(jars);
    }
    eprintln!("fetching {NAME} {VERSION} from Maven Central into {}", jars.display());
    let in_cache = "Kafka's jars can't be kept";
    fs::create_dir_all(&jars).map_err(TargetError::io(in_cache))?;
    let pom = home.join("kafka.xml");
    fs::write(&pom, POM).map_err(TargetError::io(in_cache))?;
    let mut maven = Command::new("mvn");
    maven.args(["-B", "-q", "-f"]).arg(&pom).args(["dependency:copy-dependencies", "-DincludeScope=runtime"]);
    maven.arg(format!("-DoutputDirectory={}", jars.display()));
    let hint =
        "Maven (mvn) can't be run; install it, or name a directory with Kafka's jars (--kafka-jars DIR)";
    let output = maven.output().map_err(TargetError::io(hint))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stdout);
        let reasons = said.lines().filter(|line| line.contains("ERROR") || line.contains("FATAL"));
        let told = reasons.take(3).collect::<Vec<_>>().join("\n");
        return Err(TargetError::Missing(format!("Maven could not fetch Kafka:\n{told}")));
    }
    fs::write(jars.join("complete"), VERSION).map_err(TargetError::io(in_cache))?;
    Ok(jars)
}
