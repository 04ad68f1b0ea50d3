//! The way to a cluster: where it is, how long it may take to answer, and an executor to talk to it on.

use std::time::Duration;

use clap::Args;
use client::{Client, ClientOptions};

use crate::exit::Exit;
use crate::failure::Failure;

/// Which cluster.
#[derive(Clone, Debug, Args)]
pub struct ClusterArgs {
    /// Where to begin: some brokers of the cluster.
    #[arg(
        long,
        short,
        global = true,
        value_name = "HOST:PORT",
        value_delimiter = ',',
        default_value = "127.0.0.1:9092"
    )]
    pub bootstrap: Vec<String>,
    /// Seconds that the cluster may take for one thing asked of it.
    #[arg(long, global = true, value_name = "SECONDS", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub timeout: u64,
}

impl ClusterArgs {
    /// How long the cluster may take for one thing asked of it.
    pub fn timeout(&self) -> Duration {
        Duration::from_secs(self.timeout)
    }

    fn options(&self) -> ClientOptions {
        let timeout = self.timeout();
        let mut options = ClientOptions::new(self.bootstrap.iter().cloned());
        options.call_timeout = timeout;
        options.connection.connect_timeout = timeout;
        options.connection.request_timeout = timeout;
        options.connection.client_id = "iolite".to_owned();
        options
    }

    /// Runs with a client of the cluster, on this thread.
    ///
    /// # Errors
    /// There is no io_uring, no broker answers, or the work itself fails.
    pub fn run<T>(&self, work: impl AsyncFnOnce(Client) -> Result<T, Failure>) -> Result<T, Failure> {
        let main = || async move { work(Client::connect(self.options()).await?).await };
        client::executor::run(None, main).map_err(|error| {
            let what = format!("the kernel gives no io_uring ({error})");
            Failure::new(Exit::Failed, what).or("allow it, and more locked memory (ulimit -l)")
        })?
    }
}
