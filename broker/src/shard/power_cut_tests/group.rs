//! The group's part in the power cuts: a partition of the groups' topic with its coordinator, in which transactions commit offsets.
//!
//! As a shard does it: what the coordinator wants written is appended at once, under the producer's stamp, and a marker counts when
//! it is synced.

use logic::group::{
    Answer, CommitPartition, CommitTopic, Coordinator, FetchOffsets, GroupSettings, MemberName,
    Reply as GroupReply, Request, Ticket, TopicPartitions, TransactionalCommit, When,
};
use protocol::types::LeaderEpoch;

use super::super::coordinator_log::{self, stamp, visit_records};
use super::super::groups;
use super::*;

const GROUP: &str = "group";
/// What the group reads.
const INPUT: &str = "input";
const BATCH_BYTES_MAX: usize = 100_000;

/// The coordinator as its log has it.
pub(super) fn load(store: &ShardStore<MemoryDisk>) -> Coordinator {
    let mut coordinator = Coordinator::new(GroupSettings::default());
    for batch in batches(store, GROUPS).values() {
        let visited = visit_records(batch, &mut |header, record| {
            groups::replay(&mut coordinator, header, record).expect("its own record");
        });
        visited.expect("as it was built");
    }
    assert!(coordinator.start(Timestamp(0)).records.is_empty());
    coordinator
}

impl Client<'_> {
    /// TxnOffsetCommit: it is acknowledged when this returns.
    pub(super) fn commit_offset(&mut self, offset: Offset) -> Result<(), StoreError> {
        let producer = self.producer;
        self.verify(GROUPS, &stamp((producer.id, producer.epoch), 1))?;
        let partition = CommitPartition {
            partition: PartitionIndex(0),
            offset,
            leader_epoch: LeaderEpoch::UNKNOWN,
            metadata: "".into(),
        };
        let topic = CommitTopic { topic: INPUT.into(), topic_id: TopicId::ZERO, partitions: vec![partition] };
        let commit = TransactionalCommit {
            group: GROUP.into(),
            producer_id: producer.id,
            producer_epoch: producer.epoch,
            member: MemberName::default(),
            generation: -1,
            topics: vec![topic],
        };
        let life = &mut *self.life;
        let (now, ticket) = (Timestamp(life.now), Ticket(0));
        let effects = life.groups.handle(now, ticket, Request::CommitInTransaction(commit));
        let records = effects.records.iter().map(|record| (&record.key, record.value.as_ref()));
        let batches = coordinator_log::batches(now, BATCH_BYTES_MAX, records, effects.transaction);
        let [batch] = &batches[..] else { panic!("one record is one batch: {batches:?}") };
        let stamp = batch.producer.expect("it is the transaction's");
        let at = AppendedAt { base_offset: life.end(GROUPS), timestamp: now };
        life.tables.0.borrow_mut()[GROUPS].0.record(now, &stamp, at);
        life.append(GROUPS, batch.records.to_vec())?;
        let reply = GroupReply::Commit(Ok(vec![vec![Ok(())]]));
        assert_eq!(effects.answers, [Answer { ticket, reply, when: When::Committed }]);
        Ok(())
    }
}

impl Life {
    /// Where the group is, for one who does not put up with offsets that are still open; -1 for nowhere.
    pub(super) fn committed_offset(&mut self) -> Offset {
        let wanted = TopicPartitions {
            topic: INPUT.into(),
            topic_id: TopicId::ZERO,
            partitions: vec![PartitionIndex(0)],
        };
        let fetch = FetchOffsets {
            group: GROUP.into(),
            member: None,
            topics: Some(vec![wanted]),
            require_stable: true,
        };
        let request = Request::FetchOffsets(fetch);
        let effects = self.groups.handle(Timestamp(self.now), Ticket(0), request);
        let [Answer { reply: GroupReply::FetchOffsets(Ok(topics)), .. }] = &effects.answers[..] else {
            panic!("{effects:?}")
        };
        let found = &topics[0].partitions[0];
        assert_eq!(found.error, None);
        found.offset
    }
}
