//! Offsets that are committed with a transaction: what was read counts as read if what was made of it is there.

use std::collections::BTreeMap;

use protocol::messages::add_offsets_to_txn::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse};
use protocol::messages::txn_offset_commit::{
    TxnOffsetCommitRequest, TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
    TxnOffsetCommitResponse,
};
use protocol::types::{LeaderEpoch, Offset};

use super::Transaction;
use crate::admin::Partition;
use crate::consumer::Fetched;
use crate::error::{ClientError, TransactionError};
use crate::group::{Group, GroupConsumer, Membership, ends_of};

/// The last version of TxnOffsetCommit before which the group must have been added.
const COMMIT_VERSION_MAX: i16 = 4;

impl Transaction<'_> {
    /// Commits offsets of a group with the transaction: of each partition the next to be read. For who assigns its
    /// partitions itself; a member of the group says [`send_offsets_after`](Self::send_offsets_after).
    ///
    /// # Errors
    /// The group has members, the producer is fenced, or no broker answers: the transaction can't be committed any more.
    pub async fn send_offsets(
        &self,
        group: &Group,
        offsets: &[(Partition, Offset)],
    ) -> Result<(), TransactionError> {
        let sent = self.add_offsets(group, Membership::NONE, offsets).await;
        self.or_fail(sent.map_err(TransactionError::of))
    }

    /// Commits, with the transaction, the offsets after these pieces, which the member was handed. Where the transaction
    /// fails, the pieces are still at hand to be worked on again.
    ///
    /// # Errors
    /// A piece is of a partition that the member has lost since ([`TransactionError::NotAssigned`]): its new owner reads it
    /// again, and it must not be worked on any more. Otherwise see [`send_offsets`](Self::send_offsets).
    pub async fn send_offsets_after<'f>(
        &self,
        member: &GroupConsumer,
        pieces: impl IntoIterator<Item = &'f Fetched>,
    ) -> Result<(), TransactionError> {
        let pieces: Vec<&Fetched> = pieces.into_iter().collect();
        let offsets = ends_of(pieces.iter().copied());
        let attempt = async |group: &Group, membership: Membership<'_>| {
            if let Some(lost) = pieces.iter().find(|piece| !member.still_has(piece)) {
                return Ok(Err(TransactionError::NotAssigned(lost.place())));
            }
            self.add_offsets(group, membership, &offsets).await.map(Ok)
        };
        let sent = member.as_member(attempt).await;
        self.or_fail(sent.map_err(TransactionError::of).flatten())
    }

    /// What fails here fails the transaction.
    fn or_fail(&self, outcome: Result<(), TransactionError>) -> Result<(), TransactionError> {
        outcome.inspect_err(|error| self.producer.transactions().fail(error.clone()))
    }

    async fn add_offsets(
        &self,
        group: &Group,
        member: Membership<'_>,
        offsets: &[(Partition, Offset)],
    ) -> Result<(), ClientError> {
        if offsets.is_empty() {
            return Ok(());
        }
        let transactions = self.producer.transactions();
        transactions.is_told_to_brokers();
        let name = group.name().to_owned();
        if !transactions.joins_by_writing() && !transactions.groups.borrow().contains(&name) {
            self.add_group(&name).await?;
            transactions.groups.borrow_mut().push(name);
        }
        self.commit_offsets(group, member, offsets).await
    }

    /// Adds a group to the transaction, with brokers for which committing its offsets does not.
    async fn add_group(&self, group_id: &str) -> Result<(), ClientError> {
        let (sender, transactions) = (self.producer.sender(), self.producer.transactions());
        let (producer_id, producer_epoch) = sender.identity();
        let transactional_id = transactions.id();
        let request = AddOffsetsToTxnRequest { transactional_id, producer_id, producer_epoch, group_id };
        let doing = format!("add group {group_id} to a transaction of {transactional_id}");
        transactions
            .until_done(&doing, async |connection| {
                let answer = connection.call(&request).await?;
                let response: AddOffsetsToTxnResponse = answer.decode()?;
                sender.client().check(&doing, response.error_code, None)
            })
            .await
    }

    async fn commit_offsets(
        &self,
        group: &Group,
        member: Membership<'_>,
        offsets: &[(Partition, Offset)],
    ) -> Result<(), ClientError> {
        let (sender, transactions) = (self.producer.sender(), self.producer.transactions());
        let (producer_id, producer_epoch) = sender.identity();
        let mut topics: BTreeMap<&str, Vec<TxnOffsetCommitRequestPartition<'_>>> = BTreeMap::new();
        for (partition, offset) in offsets {
            topics.entry(&partition.topic).or_default().push(TxnOffsetCommitRequestPartition {
                partition_index: partition.index,
                committed_offset: *offset,
                committed_leader_epoch: LeaderEpoch::UNKNOWN,
                committed_metadata: None,
            });
        }
        let topic = |(name, partitions)| TxnOffsetCommitRequestTopic { name, partitions };
        let request = TxnOffsetCommitRequest {
            transactional_id: transactions.id(),
            group_id: group.name(),
            producer_id,
            producer_epoch,
            generation_id_or_member_epoch: member.epoch,
            member_id: member.member_id,
            group_instance_id: None,
            topics: topics.into_iter().map(topic).collect(),
        };
        let version_max = if transactions.joins_by_writing() { i16::MAX } else { COMMIT_VERSION_MAX };
        let doing = format!("commit offsets of group {} in a transaction", group.name());
        group
            .coordinator()
            .until_done(&doing, async |connection| {
                let answer = connection.call_up_to(version_max, &request).await?;
                let response: TxnOffsetCommitResponse<'_> = answer.decode()?;
                let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
                partitions.try_for_each(|one| sender.client().check(&doing, one.error_code, None))
            })
            .await
    }
}
