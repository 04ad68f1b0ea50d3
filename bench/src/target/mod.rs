//! What is measured: a broker that the tool starts itself on a directory of its own, or one that runs already.
//!
//! A started broker is bound to its cores, writes its output to a log beside its data, and is stopped and cleared away
//! when the target is dropped.

mod disclosed;
mod group;
mod iolite;
mod kafka;
mod metrics;
mod process;
mod tansu;
mod usage;

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::time::Instant;

use serde::{Deserialize, Serialize};

use disclosed::Disclosed;
use group::MemoryGroup;
pub use kafka::jars as kafka_jars;
use metrics::Metrics;
pub use process::Process;
pub use usage::{BrokerSide, Counters, of_machine};

/// Which broker, and how to get at it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// This project's, started here.
    Iolite,
    /// Apache Kafka, started here.
    Kafka,
    /// Tansu, started here.
    Tansu,
    /// One that runs already: `HOST:PORT[,HOST:PORT...]`.
    Running(String),
}

/// How brokers are started.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Where their directories are made.
    pub directory: PathBuf,
    /// The cores they are bound to; none leaves it to the kernel.
    pub cores: Option<Vec<usize>>,
    pub shards: Option<u16>,
    /// `KEY=VALUE`, as behind `--set` (Iolite) or as a property (Kafka).
    pub settings: Vec<String>,
    /// Memory that each may use, where it has a setting for that: Iolite's `memory.bytes`, Kafka's heap.
    pub memory_bytes: u64,
    /// All the memory of each, page cache included, by a control group.
    pub limit_bytes: Option<u64>,
    pub iolite_binary: Option<PathBuf>,
    pub kafka_jars: Option<PathBuf>,
    pub tansu_binary: Option<PathBuf>,
    /// Where one that runs already has its metrics.
    pub admin: Option<String>,
}

/// What a report says of a broker.
#[derive(Clone, Debug, Default, Deserialize, Serialize, PartialEq)]
pub struct Facts {
    /// "iolite-broker 0.1.0".
    pub version: String,
    pub bootstrap: String,
    /// How it was started; none where it ran already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// From exec until it said it was ready.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start_seconds: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idle_memory_bytes: Option<u64>,
    /// Budgets, flags and limits that it ran with.
    #[serde(default, skip_serializing_if = "Disclosed::is_empty")]
    pub disclosed: Disclosed,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// A broker that answers.
pub struct Target {
    pub facts: Facts,
    /// The broker that is asked first.
    pub address: SocketAddr,
    /// The size of its journals together, where it is known.
    pub journal_bytes: Option<u64>,
    process: Option<Process>,
    metrics: Option<Metrics>,
}

/// Why there is no broker.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// The address is none.
    #[error("{bootstrap:?} is no HOST:PORT: {reason}")]
    Address { bootstrap: String, reason: String },
    /// Nobody listens.
    #[error("no broker answers at {bootstrap} (is it running, and is the port its Kafka port?)")]
    Unreachable { bootstrap: String, source: std::io::Error },
    /// Its metrics, which somebody asked for, are not to be had.
    #[error(
        "the broker's side can't be read from {admin}: {reason} (--admin names where the broker has its /metrics, as HOST:PORT or \
         http://HOST:PORT)"
    )]
    Metrics { admin: String, reason: String },
    /// The binary is missing.
    #[error("{0}")]
    Missing(String),
    /// It did not start.
    #[error("{name} did not start ({reason}); its last lines:\n{log}")]
    NotStarted { name: &'static str, reason: String, log: String },
    /// A file or process could not be made.
    #[error("{what}")]
    Io { what: String, source: std::io::Error },
}

impl TargetError {
    fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }
}

impl Target {
    /// Starts it, or finds it.
    pub fn open(kind: &Kind, options: &LocalOptions) -> Result<Self, TargetError> {
        match kind {
            Kind::Iolite => iolite::start(options),
            Kind::Kafka => kafka::start(options),
            Kind::Tansu => tansu::start(options),
            Kind::Running(bootstrap) => find(bootstrap, options.admin.as_deref()),
        }
    }

    /// What it has used so far, where it is local or has `/metrics`.
    pub fn counters(&self) -> Counters {
        let mut counters = Counters::default();
        if let Some(process) = &self.process {
            counters.of_process(process.id());
        }
        // A broker that does not tell, or not now, is measured from outside alone.
        match self.metrics.as_ref().map(Metrics::read) {
            Some(Ok(page)) => counters.of_metrics(&page),
            Some(Err(_)) => counters.is_unread = true,
            None => {}
        }
        counters
    }

    /// Takes down what it runs with, as far as it tells now: some of it only once it has been at work.
    pub fn disclose(&mut self) {
        if let Some(process) = &self.process {
            self.facts.disclosed.extend(disclosed::of_process(process.id()));
            self.facts.disclosed.extend(process.group().map(MemoryGroup::disclosed).unwrap_or_default());
        }
        if let Some(Ok(page)) = self.metrics.as_ref().map(Metrics::read) {
            self.facts.disclosed.extend(disclosed::of_metrics(&page));
        }
    }

    /// Whether it is at work on this machine.
    pub fn is_here(&self) -> bool {
        self.process.is_some() || self.address.ip().is_loopback()
    }

    /// Reads of a broker that runs already what it tells of itself.
    fn look_at(&mut self, admin: &str) -> Result<(), TargetError> {
        let refused = |reason: String| TargetError::Metrics { admin: admin.to_owned(), reason };
        let metrics = Metrics::named(admin).map_err(refused)?;
        let page = metrics.read().map_err(refused)?;
        let mut counters = Counters::default();
        counters.of_metrics(&page);
        if counters == Counters::default() {
            return Err(refused("what is told there says nothing of a broker".into()));
        }
        if let Some(version) = metrics::label(&page, "iolite_build_info", "version") {
            self.facts.version = format!("iolite-broker {version} (it ran already)");
        }
        self.journal_bytes = counters.journal_max_bytes.filter(|bytes| *bytes > 0);
        self.facts.notes.push(format!("its side is told by {}", metrics.url()));
        self.metrics = Some(metrics);
        Ok(())
    }

    /// How it ended, with its last lines, if it is local and has ended.
    pub fn ended(&mut self) -> Option<String> {
        let process = self.process.as_mut()?;
        let status = process.ended()?;
        Some(format!(
            "the broker ended in the middle of the run ({}); its last lines:\n{}",
            process.told_of_end(status),
            process.tail()
        ))
    }

    fn started(
        version: String,
        address: SocketAddr,
        admin: Option<SocketAddr>,
        process: Process,
        began: Instant,
    ) -> Self {
        let facts = Facts {
            version,
            bootstrap: address.to_string(),
            command: Some(process.command().to_owned()),
            start_seconds: Some(began.elapsed().as_secs_f64()),
            ..Facts::default()
        };
        let metrics = admin.map(Metrics::at);
        let mut target = Self { facts, address, journal_bytes: None, process: Some(process), metrics };
        target.facts.idle_memory_bytes = target.counters().resident_bytes;
        target
    }
}

fn find(bootstrap: &str, admin: Option<&str>) -> Result<Target, TargetError> {
    let no_address = |reason: String| TargetError::Address { bootstrap: bootstrap.to_owned(), reason };
    let mut refused = None;
    for one in bootstrap.split(',').map(str::trim) {
        let addresses = one.to_socket_addrs().map_err(|error| no_address(error.to_string()))?;
        for address in addresses {
            match std::net::TcpStream::connect_timeout(&address, std::time::Duration::from_secs(5)) {
                Ok(_) => {
                    let facts = Facts {
                        version: "unknown (it ran already)".into(),
                        bootstrap: bootstrap.to_owned(),
                        ..Facts::default()
                    };
                    let mut target =
                        Target { facts, address, journal_bytes: None, process: None, metrics: None };
                    if let Some(admin) = admin {
                        target.look_at(admin)?;
                    }
                    return Ok(target);
                }
                Err(error) => refused = Some(error),
            }
        }
    }
    match refused {
        Some(source) => Err(TargetError::Unreachable { bootstrap: bootstrap.to_owned(), source }),
        None => Err(no_address("the name has no address".into())),
    }
}

#[cfg(test)]
mod tests;
