//! From the command line to what a session needs: workload, cores, directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::cli::{LoadArgs, TargetArgs};
use crate::machine::Disk;
use crate::pace::Pace;
use crate::target::LocalOptions;
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
        stream.backlog_bytes = arguments.backlog_bytes.unwrap_or(stream.backlog_bytes);
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
) -> LocalOptions {
    let cores = placement.broker_cores.clone();
    let shards = arguments.shards.or_else(|| u16::try_from(cores.as_ref()?.len()).ok());
    LocalOptions {
        directory: directory.to_owned(),
        cores,
        shards,
        settings: settings.to_vec(),
        memory_bytes: arguments.memory_mib << 20,
        iolite_binary: arguments.iolite_binary.clone(),
        kafka_jars: arguments.kafka_jars.clone(),
    }
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
    fn what_can_not_be_is_refused() {
        refused(&["--rate", "1e15"], "records a second");
        refused(&["--acks", "2"], "--acks 2");
        refused(&["--value-bytes", "3"], "value_bytes");
        refused(&["--workload", "nothing-like-it"], "there is no workload");
        refused(&["--duration", "0"], "nothing would be measured");
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
