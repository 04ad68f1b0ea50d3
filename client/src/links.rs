//! Connections to the brokers of a cluster, one to each, made when first needed and again when they have ended.
//!
//! A broker answers a connection's requests in order, so who waits long (a fetch) must not share one with who is in a
//! hurry: each producer, each consumer and the client itself have links of their own. Failed attempts are spaced out.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use protocol::types::BrokerId;
use rustc_hash::FxHashMap;

use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::error::{ClientError, ConnectionError};
use executor::{Signal, sleep};

/// One connection to each broker.
pub(crate) struct Links {
    cluster: Rc<Cluster>,
    by_broker: RefCell<FxHashMap<BrokerId, Rc<Link>>>,
}

/// The way to one broker.
#[derive(Default)]
struct Link {
    connection: RefCell<Option<Connection>>,
    connecting: Cell<bool>,
    /// Raised when an attempt has ended.
    attempted: Signal,
    failures: Cell<u32>,
    failure: RefCell<Option<(Instant, ConnectionError)>>,
}

/// The one attempt to connect that is under way; it is over when this goes, finished or given up.
struct Attempt<'a>(&'a Link);

impl<'a> Attempt<'a> {
    fn begin(link: &'a Link) -> Option<Self> {
        (!link.connecting.replace(true)).then_some(Self(link))
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        self.0.connecting.set(false);
        self.0.attempted.raise();
    }
}

impl Links {
    pub(crate) fn new(cluster: Rc<Cluster>) -> Self {
        Self { cluster, by_broker: RefCell::default() }
    }

    /// The connection to a broker, if it is open.
    pub(crate) fn open(&self, broker: BrokerId) -> Option<Connection> {
        self.link(broker).open()
    }

    /// The connection to a broker; connects if there is none. Who comes while another connects, waits for that attempt.
    pub(crate) async fn connect(&self, broker: BrokerId) -> Result<Connection, ClientError> {
        let link = self.link(broker);
        if link.connecting.get() {
            link.attempted.next().wait().await;
        }
        if let Some(connection) = link.open() {
            return Ok(connection);
        }
        let Some(_turn) = Attempt::begin(&link) else {
            // Another of those that waited was faster, and this one reports what the last attempt came to.
            let failure = link.failure.borrow().clone();
            return Err(failure.map_or(ClientError::UnknownBroker(broker), |(_, error)| error.into()));
        };
        self.attempt(broker, &link).await
    }

    async fn attempt(&self, broker: BrokerId, link: &Link) -> Result<Connection, ClientError> {
        let earlier = link.failure.borrow().as_ref().map(|(at, _)| *at);
        if let Some(at) = earlier {
            let pause = self.cluster.backoff(link.failures.get());
            sleep((at + pause).saturating_duration_since(Instant::now())).await;
        }
        let (host, port) = self.cluster.address_of(broker).ok_or(ClientError::UnknownBroker(broker))?;
        match Connection::open_at(&host, port, self.cluster.connection_options()).await {
            Ok(connection) => {
                link.connection.replace(Some(connection.clone()));
                link.failure.replace(None);
                link.failures.set(0);
                Ok(connection)
            }
            Err(error) => {
                link.failures.set(link.failures.get().saturating_add(1));
                link.failure.replace(Some((Instant::now(), error.clone())));
                Err(error.into())
            }
        }
    }

    /// Closes all connections.
    pub(crate) fn close(&self) {
        for link in self.by_broker.borrow().values() {
            if let Some(connection) = link.connection.take() {
                connection.close();
            }
        }
    }

    fn link(&self, broker: BrokerId) -> Rc<Link> {
        Rc::clone(self.by_broker.borrow_mut().entry(broker).or_default())
    }
}

impl Link {
    fn open(&self) -> Option<Connection> {
        self.connection.borrow().as_ref().filter(|connection| connection.ended().is_none()).cloned()
    }
}

/// How long to wait after so many failures in a row: doubling from `first` to `most`.
pub(crate) fn backoff(first: Duration, most: Duration, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    first.saturating_mul(1 << doublings).min(most)
}
