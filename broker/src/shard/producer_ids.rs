//! Ids for idempotent producers. Each shard has blocks of its own from the metadata quorum and asks for the next one
//! before the last is used up, so that a producer seldom waits for the quorum.
//!
//! Invariant: an id is handed out once. Blocks never overlap (the metadata counts them), a shard alone takes from its
//! blocks, and what is left of them when it stops is never used.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use logic::metadata::{Command, ProducerIdBlock, Response};
use protocol::types::ProducerId;

use super::Shard;
use crate::limits::PRODUCER_IDS_LEFT_MIN;
use crate::runtime::{Signal, spawn};

/// The blocks of one shard.
#[derive(Default)]
pub struct ProducerIds {
    blocks: RefCell<VecDeque<ProducerIdBlock>>,
    /// A block is on its way.
    asked: Cell<bool>,
    /// A block has come, or will not come.
    answered: Signal,
}

impl ProducerIds {
    /// The next id, where there is one.
    fn take(&self) -> Option<ProducerId> {
        let mut blocks = self.blocks.borrow_mut();
        let block = blocks.front_mut()?;
        let id = block.first;
        block.first = ProducerId(id.get() + 1);
        block.count -= 1;
        if block.count == 0 {
            blocks.pop_front();
        }
        Some(id)
    }

    fn add(&self, block: ProducerIdBlock) {
        assert!(block.count > 0, "a block has ids");
        self.blocks.borrow_mut().push_back(block);
    }

    fn left(&self) -> i64 {
        self.blocks.borrow().iter().map(|block| block.count).sum()
    }
}

impl Shard {
    /// An id that no producer has had; none where the metadata quorum gives none.
    pub async fn next_producer_id(self: &Rc<Self>) -> Option<ProducerId> {
        let answered = self.producer_ids.answered.next();
        if self.producer_ids.left() <= PRODUCER_IDS_LEFT_MIN && !self.producer_ids.asked.replace(true) {
            let shard = Rc::clone(self);
            spawn(async move { shard.fetch_producer_ids().await });
        }
        if let Some(id) = self.producer_ids.take() {
            return Some(id);
        }
        answered.wait().await;
        self.producer_ids.take()
    }

    async fn fetch_producer_ids(&self) {
        match self.allocate_producer_ids().await {
            Ok(block) => self.producer_ids.add(block),
            Err(reason) => tracing::warn!(reason, "no ids for idempotent producers"),
        }
        self.producer_ids.asked.set(false);
        self.producer_ids.answered.raise();
    }

    async fn allocate_producer_ids(&self) -> Result<ProducerIdBlock, String> {
        let image = self.image();
        let broker = image.broker(self.broker_id).expect("a broker that serves has registered");
        let command = Command::AllocateProducerIds { broker: self.broker_id, broker_epoch: broker.epoch };
        match self.submit(command).await {
            Ok(Response::AllocateProducerIds(Ok(block))) => Ok(block),
            Ok(Response::AllocateProducerIds(Err(error))) => Err(error.to_string()),
            Ok(other) => unreachable!("producer ids are answered by {other:?}"),
            Err(error) => Err(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(first: i64, count: i64) -> ProducerIdBlock {
        ProducerIdBlock { first: ProducerId(first), count }
    }

    #[test]
    fn ids_come_in_order_and_each_once() {
        let ids = ProducerIds::default();
        ids.add(block(10, 2));
        ids.add(block(90, 1));
        assert_eq!(ids.left(), 3);
        let taken: Vec<i64> = std::iter::from_fn(|| ids.take()).map(ProducerId::get).collect();
        assert_eq!(taken, [10, 11, 90]);
        assert_eq!(ids.left(), 0);
    }

    #[test]
    fn the_next_block_is_asked_for_before_the_last_id_is_gone() {
        const { assert!(PRODUCER_IDS_LEFT_MIN > 0) };
        const { assert!(PRODUCER_IDS_LEFT_MIN < logic::limits::PRODUCER_ID_BLOCK_COUNT) };
    }
}
