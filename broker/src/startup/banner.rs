//! The few lines on standard output that say a broker is ready. Programs read them: their form is fixed and tested.

use std::fmt;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use super::Filesystem;
use crate::config::Endpoint;

/// What the lines say.
#[derive(Debug)]
pub struct Banner<'a> {
    /// From the start of the process to now.
    pub ready_after: Duration,
    /// Where clients connect.
    pub kafka: SocketAddr,
    /// Where clients are told to connect.
    pub advertised: &'a Endpoint,
    /// Where the admin port is.
    pub admin: Option<SocketAddr>,
    /// The data directory as the operator named it.
    pub data_directory: &'a Path,
    /// What it stands on.
    pub filesystem: &'a Filesystem,
    /// After how many records a topic that says nothing of its own is synced; 1: before each acknowledgement.
    pub flush_messages: i64,
}

impl fmt::Display for Banner<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = env!("CARGO_PKG_VERSION");
        let seconds = self.ready_after.as_secs_f64();
        writeln!(formatter, "iolite-broker {version} ready in {seconds:.2} s")?;
        writeln!(formatter, "  kafka    {}", self.kafka)?;
        let advertised = self.advertised.to_string();
        if advertised != self.kafka.to_string() {
            writeln!(formatter, "  clients  are told {advertised}")?;
        }
        match self.admin {
            Some(admin) => writeln!(formatter, "  admin    http://{admin}")?,
            None => writeln!(formatter, "  admin    none")?,
        }
        writeln!(formatter, "  data     {} ({})", self.data_directory.display(), self.filesystem.name)?;
        writeln!(formatter, "  ack      {}", self.meaning_of_an_ack())?;
        write!(formatter, "  try      echo hello | kcat -b {advertised} -P -t greetings")
    }
}

impl Banner<'_> {
    fn meaning_of_an_ack(&self) -> &'static str {
        match (self.filesystem.is_volatile, self.flush_messages) {
            (true, _) => "in memory only: this filesystem keeps nothing over a restart of the machine",
            (false, 1) => "the record is on stable media, synced before its producer hears yes",
            (false, _) => "from memory, synced later (log.flush.interval.messages): a power cut may lose it",
        }
    }
}
