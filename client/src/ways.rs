//! The ways of a task to the brokers that lead partitions: connections of its own, and asking who leads now.
//!
//! Neither holds the task up: what it takes is done beside it, and [`Ways::work`] is raised when something has come of it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use protocol::types::BrokerId;
use rustc_hash::FxHashSet;

use crate::cluster::Cluster;
use crate::connection::Connection;
use crate::links::Links;
use executor::Signal;

/// The ways of one task.
pub(crate) struct Ways {
    cluster: Rc<Cluster>,
    links: Links,
    /// Brokers that are being connected to.
    connecting: RefCell<FxHashSet<BrokerId>>,
    refreshing: Cell<bool>,
    /// Raised when there may be something to do for the task.
    pub work: Signal,
}

impl Ways {
    pub(crate) fn new(cluster: &Rc<Cluster>) -> Rc<Self> {
        Rc::new(Self {
            cluster: Rc::clone(cluster),
            links: Links::new(Rc::clone(cluster)),
            connecting: RefCell::default(),
            refreshing: Cell::new(false),
            work: Signal::default(),
        })
    }

    /// The connection to a broker, if it is open.
    pub(crate) fn open(&self, broker: BrokerId) -> Option<Connection> {
        self.links.open(broker)
    }

    /// The connection to a broker, if it is open. If not, it is being made from now on.
    pub(crate) fn to(self: &Rc<Self>, broker: BrokerId) -> Option<Connection> {
        let open = self.links.open(broker);
        if open.is_none() && self.connecting.borrow_mut().insert(broker) {
            let ways = Rc::clone(self);
            let connecting = async move {
                let outcome = ways.links.connect(broker).await;
                ways.connecting.borrow_mut().remove(&broker);
                if outcome.is_err() {
                    ways.refresh();
                }
                ways.work.raise();
            };
            glommio::spawn_local(connecting).detach();
        }
        open
    }

    /// Asks where the leaders are, but not again and again.
    pub(crate) fn refresh(self: &Rc<Self>) {
        if self.refreshing.replace(true) {
            return;
        }
        let ways = Rc::clone(self);
        let refreshing = async move {
            // A failure is no news: what waits is tried again in any case.
            let _known = ways.cluster.refresh(ways.cluster.generation()).await;
            ways.work.raise();
            executor::sleep(ways.cluster.backoff(1)).await;
            ways.refreshing.set(false);
        };
        glommio::spawn_local(refreshing).detach();
    }

    /// Closes all connections.
    pub(crate) fn close(&self) {
        self.links.close();
    }
}
