//! From the command line to what a session needs: workload, cores, directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::{Flush, LoadArgs, TargetArgs};
use crate::machine::Disk;
use crate::pace::Pace;
use crate::target::{Kind, LocalOptions};
use crate::workload::{self, Acks, ValueBytes, Workload};

/// Where broker and load run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub broker_cores: Option<Vec<usize>>,
    /// One thread for each.
    pub load_cores: Vec<Option<usize>>,
}

/// The workload with what the command line changes.
pub fn workload(arguments: &LoadArgs) -> anyhow::Result<Workload> {
    let mut workload = workload::find(&arguments.workload)?;
    for stream in &mut workload.streams {
        stream.producers = arguments.producers.unwrap_or(stream.producers);
        stream.partitions = arguments.partitions.unwrap_or(stream.partitions);
        // With a limit for all of it, the page cache is a part of what a broker was given.
        let memory_bytes = arguments.target.limit_mib.unwrap_or(arguments.target.memory_mib) << 20;
        let beyond_memory = u64::from(stream.backlog_memories).saturating_mul(memory_bytes);
        stream.backlog_bytes = arguments.backlog_bytes.unwrap_or(stream.backlog_bytes.max(beyond_memory));
        if let Some(bytes) = arguments.value_bytes {
            stream.record.value_bytes = ValueBytes::Fixed(bytes);
        }
        if let Some(acks) = &arguments.acks {
            stream.acks = match acks.as_str() {
                "0" => Acks::None,
                "1" => Acks::Leader,
                "all" | "-1" => Acks::All,
                other => bail!("--acks {other}: it can be 0, 1 or all"),
            };
        }
        if let Some(flush) = arguments.flush.config() {
            stream.topic_config.insert("flush.messages".into(), flush.into());
        }
    }
    if let Some(rate) = arguments.rate {
        workload = workload.paced(Pace::PerSecond(rate));
    } else if let Some(in_flight) = arguments.in_flight {
        workload = workload.paced(Pace::InFlight(in_flight));
    }
    workload.check()?;
    if arguments.duration.is_zero() {
        bail!("--duration 0: nothing would be measured");
    }
    Ok(workload)
}

/// Whether these brokers can be asked for what the command line says of all.
pub fn check(arguments: &LoadArgs, kinds: &[Kind]) -> anyhow::Result<()> {
    if arguments.flush != Flush::Default && kinds.contains(&Kind::Tansu) {
        bail!("--flush: tansu has its records in its memory, where they are neither synced nor relaxed");
    }
    let TargetArgs { memory_mib, limit_mib, .. } = arguments.target;
    let is_running = |kind: &Kind| matches!(kind, Kind::Running(_));
    match limit_mib {
        Some(_) if kinds.iter().all(is_running) => {
            bail!("--limit-mib: it is for brokers that are started here, and none is")
        }
        Some(limit) if limit <= memory_mib => {
            bail!("--limit-mib {limit}: a broker needs more than its --memory-mib, which is {memory_mib}")
        }
        _ => Ok(()),
    }
}

/// The broker on the first half of the cores, the load on the last quarter: at least one core each, never the same.
pub fn placement(arguments: &TargetArgs) -> Placement {
    let machine = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let threads = (machine / 4).max(1);
    if arguments.unpinned || machine < 2 {
        return Placement { broker_cores: None, load_cores: vec![None; threads] };
    }
    let chosen = |given: &Option<crate::cli::Cores>, default: std::ops::Range<usize>| {
        given.as_ref().map_or_else(|| default.collect(), |cores| cores.0.clone())
    };
    let broker: Vec<usize> = chosen(&arguments.broker_cores, 0..(machine / 2).max(1));
    let load: Vec<usize> = chosen(&arguments.load_cores, machine - threads..machine);
    Placement { broker_cores: Some(broker), load_cores: load.into_iter().map(Some).collect() }
}

/// The directory for brokers that are started: a disk unless memory is allowed.
pub fn directory(arguments: &TargetArgs) -> anyhow::Result<(PathBuf, Disk)> {
    let look = |path: &Path| {
        Disk::of(path).with_context(|| format!("the directory {} can't be used", path.display()))
    };
    if let Some(given) = &arguments.directory {
        let disk = look(given)?;
        if disk.is_memory() && !arguments.allow_tmpfs {
            bail!(
                "{} is in memory ({}), where a synced write means nothing; name a directory on a disk (--directory) or say \
                 --allow-tmpfs",
                given.display(),
                disk.filesystem
            );
        }
        return Ok((given.clone(), disk));
    }
    let temporary = std::env::temp_dir();
    let disk = look(&temporary)?;
    if !disk.is_memory() || arguments.allow_tmpfs {
        return Ok((temporary, disk));
    }
    let here = std::env::current_dir().context("the current directory")?;
    let disk = look(&here)?;
    if disk.is_memory() {
        bail!(
            "neither {} nor {} is on a disk; name a directory that is (--directory)",
            temporary.display(),
            here.display()
        );
    }
    Ok((here, disk))
}

/// How brokers are started.
pub fn local(
    arguments: &TargetArgs,
    directory: &Path,
    placement: &Placement,
    settings: &[String],
    admin: Option<String>,
) -> LocalOptions {
    let cores = placement.broker_cores.clone();
    let shards = arguments.shards.or_else(|| u16::try_from(cores.as_ref()?.len()).ok());
    LocalOptions {
        directory: directory.to_owned(),
        cores,
        shards,
        settings: settings.to_vec(),
        memory_bytes: arguments.memory_mib << 20,
        limit_bytes: arguments.limit_mib.map(|mib| mib << 20),
        iolite_binary: arguments.iolite_binary.clone(),
        kafka_jars: arguments.kafka_jars.clone(),
        tansu_binary: arguments.tansu_binary.clone(),
        admin,
    }
}

/// Where each of these brokers has its metrics, as far as the command line says so.
pub fn admins(arguments: &TargetArgs, kinds: &[Kind]) -> anyhow::Result<Vec<Option<String>>> {
    let running = |kind: &Kind| match kind {
        Kind::Running(bootstrap) => Some(bootstrap.clone()),
        Kind::Iolite | Kind::Kafka | Kind::Tansu => None,
    };
    let all: Vec<String> = kinds.iter().filter_map(running).collect();
    let mut found = vec![None; kinds.len()];
    for given in &arguments.admin {
        let named = all.iter().find_map(|bootstrap| {
            let admin = given.strip_prefix(bootstrap.as_str())?.strip_prefix('=')?;
            Some((bootstrap, admin))
        });
        let (bootstrap, admin) = match (named, all.as_slice()) {
            (Some(named), _) => named,
            (None, [only]) => (only, given.as_str()),
            (None, []) => bail!(
                "--admin {given}: it is for a broker that runs already, and none is named (--bootstrap HOST:PORT)"
            ),
            (None, _) => bail!(
                "--admin {given}: several brokers run already; say whose it is: --admin {}=HOST:PORT",
                all[0]
            ),
        };
        let place = kinds.iter().position(|kind| running(kind).as_ref() == Some(bootstrap));
        found[place.expect("it is one of them")] = Some(admin.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Mode};

    fn arguments(words: &[&str]) -> LoadArgs {
        let all = ["iolite-bench", "produce"].iter().chain(words);
        match Cli::try_parse_from(all).expect("the words fit").mode {
            Mode::Produce(arguments) => arguments,
            other => panic!("{other:?}"),
        }
    }

    fn refused(words: &[&str], part: &str) {
        let error = workload(&arguments(words)).expect_err("it must be refused").to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_the_command_line_says_goes_before_the_file() {
        let words =
            ["--rate", "500", "--partitions", "3", "--value-bytes", "77", "--acks", "1", "--flush", "synced"];
        let stream = workload(&arguments(&words)).expect("it fits").streams.remove(0);
        assert_eq!((stream.rate, stream.partitions, stream.acks), (Some(500.0), 3, Acks::Leader));
        assert_eq!(stream.record.value_bytes, ValueBytes::Fixed(77));
        assert_eq!(stream.topic_config["flush.messages"], "1");
    }

    #[test]
    fn a_backlog_is_twice_the_memory_that_the_broker_has() {
        let backlog = |words: &[&str]| {
            let all = [&["--workload", "backlog"], words].concat();
            workload(&arguments(&all)).expect("it fits").streams[0].backlog_bytes
        };
        assert_eq!(backlog(&["--memory-mib", "4096"]), 8 << 30);
        assert_eq!(backlog(&["--limit-mib", "3072"]), 6 << 30);
        assert_eq!(backlog(&["--memory-mib", "64"]), 2 << 30, "its own size at least");
        assert_eq!(backlog(&["--memory-mib", "4096", "--backlog-bytes", "5"]), 5, "unless told otherwise");
    }

    #[test]
    fn what_can_not_be_is_refused() {
        refused(&["--rate", "1e15"], "records a second");
        refused(&["--acks", "2"], "--acks 2");
        refused(&["--value-bytes", "3"], "value_bytes");
        refused(&["--workload", "nothing-like-it"], "there is no workload");
        refused(&["--duration", "0"], "nothing would be measured");
    }

    #[test]
    fn metrics_belong_to_the_broker_that_runs() {
        let running = |text: &str| Kind::Running(text.into());
        let check = |words: &[&str], kinds: &[Kind]| {
            admins(&arguments(words).target, kinds).map_err(|error| error.to_string())
        };
        let [one, two] = ["one:1", "two:2"].map(running);
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(check(&["--admin", "x:9"], &[Kind::Iolite, one.clone()]), Ok(vec![None, some("x:9")]));
        let both = [one, two];
        assert_eq!(
            check(&["--admin", "two:2=http://x:9/m?a=b"], &both),
            Ok(vec![None, some("http://x:9/m?a=b")])
        );
        assert_eq!(check(&[], &both), Ok(vec![None, None]));
        assert!(check(&["--admin", "x:9"], &both).is_err_and(|why| why.contains("--admin one:1=HOST:PORT")));
        assert!(check(&["--admin", "x:9"], &[Kind::Iolite]).is_err_and(|why| why.contains("none is named")));
    }

    #[test]
    fn what_brokers_can_not_be_asked_for_is_refused() {
        let refused = |words: &[&str], kind: Kind, part: &str| {
            let error = check(&arguments(words), &[kind]).expect_err("it must be refused").to_string();
            assert!(error.contains(part), "{error}");
        };
        let taken = |words: &[&str], kind: Kind| check(&arguments(words), &[kind]).expect("it fits");
        refused(&["--flush", "synced"], Kind::Tansu, "neither synced nor relaxed");
        taken(&["--flush", "synced"], Kind::Kafka);
        taken(&[], Kind::Tansu);
        refused(&["--limit-mib", "2048"], Kind::Running("host:1".into()), "started here");
        refused(&["--limit-mib", "1024"], Kind::Iolite, "more than its --memory-mib, which is 1024");
        taken(&["--limit-mib", "512", "--memory-mib", "256"], Kind::Iolite);
    }

    #[test]
    fn broker_and_load_have_cores_of_their_own() {
        let placement = placement(&arguments(&[]).target);
        let broker = placement.broker_cores.unwrap_or_default();
        assert!(!placement.load_cores.iter().flatten().any(|core| broker.contains(core)));
        assert!(!placement.load_cores.is_empty());
    }

    #[test]
    fn memory_is_no_disk() {
        let mut target = arguments(&[]).target;
        target.directory = Some("/dev/shm".into());
        if let Err(error) = directory(&target) {
            assert!(error.to_string().contains("--allow-tmpfs"), "{error}");
            target.allow_tmpfs = true;
            assert!(directory(&target).is_ok());
        } else {
            let disk = Disk::of(Path::new("/dev/shm")).expect("it is there");
            assert!(!disk.is_memory(), "tmpfs was accepted");
        }
    }
}
