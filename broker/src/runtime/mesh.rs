//! The mesh: a bounded lock-free queue from each shard to each other one.
//!
//! Sending never waits, so that a shard that serves its inbox can always reply: what does not fit in the queue waits
//! in an outbox of the sender, whose length is bounded by the requests that the sender admits, since each message is
//! a request that is open here or the answer to one that is open there.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use glommio::GlommioError;
use glommio::channels::shared_channel::{
    self, ConnectedReceiver, ConnectedSender, SharedReceiver, SharedSender,
};

use super::{Signal, join_all, spawn};
use crate::limits::MESH_QUEUE_MESSAGES_MAX;

/// One shard's ends of the queues, before it runs: made for all shards at once, then sent to each.
pub struct MeshJoin<M: Send + 'static> {
    senders: Vec<Option<SharedSender<M>>>,
    receivers: Vec<Option<SharedReceiver<M>>>,
}

/// Sends to the other shards. Lives on its shard.
pub struct Mesh<M: Send + 'static> {
    peers: Vec<Option<Rc<Peer<M>>>>,
}

/// Receives from one other shard.
pub struct MeshReceiver<M: Send + 'static> {
    /// The shard that sends.
    pub from: usize,
    receiver: ConnectedReceiver<M>,
}

struct Peer<M: Send + 'static> {
    sender: ConnectedSender<M>,
    outbox: RefCell<VecDeque<M>>,
    /// Something waits in the outbox, or has left it and waits for room in the queue.
    draining: Cell<bool>,
    filled: Signal,
}

impl<M: Send + 'static> MeshJoin<M> {
    /// The ends for `count` shards, by index.
    #[must_use]
    pub fn all(count: usize) -> Vec<Self> {
        let mut joins: Vec<Self> = (0..count)
            .map(|_| Self {
                senders: (0..count).map(|_| None).collect(),
                receivers: (0..count).map(|_| None).collect(),
            })
            .collect();
        for from in 0..count {
            for to in (0..count).filter(|to| *to != from) {
                let (sender, receiver) = shared_channel::new_bounded(MESH_QUEUE_MESSAGES_MAX);
                joins[from].senders[to] = Some(sender);
                joins[to].receivers[from] = Some(receiver);
            }
        }
        joins
    }

    /// Connects, on the shard's own thread, once all shards do so. All ends at the same time: each waits for its other.
    pub async fn connect(self) -> (Mesh<M>, Vec<MeshReceiver<M>>) {
        let senders = join_all(self.senders.into_iter().map(|sender| async {
            match sender {
                Some(sender) => Some(Peer::start(sender.connect().await)),
                None => None,
            }
        }));
        let receivers = join_all(self.receivers.into_iter().enumerate().map(|(from, receiver)| async move {
            match receiver {
                Some(receiver) => Some(MeshReceiver { from, receiver: receiver.connect().await }),
                None => None,
            }
        }));
        let (peers, receivers) = futures_lite::future::zip(senders, receivers).await;
        (Mesh { peers }, receivers.into_iter().flatten().collect())
    }
}

impl<M: Send + 'static> Mesh<M> {
    /// Sends to shard `to`, which is not this one. Messages to one shard arrive in order.
    pub fn send(&self, to: usize, message: M) {
        let peer = self.peers[to].as_ref().expect("a shard does not send to itself");
        peer.send(message);
    }

    /// How many shards there are, this one included.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        self.peers.len()
    }
}

impl<M: Send + 'static> MeshReceiver<M> {
    /// The next message; `None` once the sender has gone.
    pub async fn receive(&self) -> Option<M> {
        self.receiver.recv().await
    }
}

impl<M: Send + 'static> Peer<M> {
    fn start(sender: ConnectedSender<M>) -> Rc<Self> {
        let peer = Rc::new(Self {
            sender,
            outbox: RefCell::default(),
            draining: Cell::new(false),
            filled: Signal::default(),
        });
        spawn(Rc::clone(&peer).drain());
        peer
    }

    fn send(&self, message: M) {
        if self.draining.get() {
            self.outbox.borrow_mut().push_back(message);
            return;
        }
        match self.sender.try_send(message) {
            Ok(()) | Err(GlommioError::Closed(_)) => {}
            Err(GlommioError::WouldBlock(glommio::ResourceType::Channel(message))) => {
                self.outbox.borrow_mut().push_back(message);
                self.draining.set(true);
                self.filled.raise();
            }
            Err(error) => panic!("the mesh failed: {error}"),
        }
    }

    /// Moves the outbox into the queue as that empties. No message goes past one that waits.
    async fn drain(self: Rc<Self>) {
        loop {
            self.filled.next().wait().await;
            while let Some(message) = self.next() {
                if self.sender.send(message).await.is_err() {
                    return;
                }
            }
            self.draining.set(false);
        }
    }

    fn next(&self) -> Option<M> {
        self.outbox.borrow_mut().pop_front()
    }
}
