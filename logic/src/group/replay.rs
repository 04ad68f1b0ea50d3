//! The log read again: each record changes the coordinator as it did when it was written.

use super::Name;
use super::classic::ClassicGroup;
use super::consumer::{Change, ConsumerGroup};
use super::coordinator::{Coordinator, Entry};
use super::kind::Group;
use super::offsets::{Committed, Place};
use protocol::coordinator::{GroupMetadataValue, Key, OffsetCommitValue, RecordError, Value};
use protocol::types::ProducerId;
use thiserror::Error;

/// Why a record can't be replayed. It is passed over: the coordinator is as before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ReplayError {
    /// The key or the value is not what Kafka's schemas say.
    #[error("a record that can't be read: {0}")]
    Record(#[from] RecordError),
    /// The record says what can't be.
    #[error("a record that can't be: {0}")]
    Content(&'static str),
}

impl Coordinator {
    /// Replays a record of the partition. `transaction` is the producer of a transactional batch.
    ///
    /// # Errors
    /// [`ReplayError`] where the record can't be read. A key of a kind that is not known here is passed over silently,
    /// as Kafka does.
    pub fn replay(
        &mut self,
        transaction: Option<ProducerId>,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), ReplayError> {
        match Key::decode(key)? {
            Key::Offset { group, topic, partition } => {
                let place = Place { group: group.into(), topic: topic.into(), partition };
                match value {
                    Some(value) => {
                        let committed = Committed::of_record(&OffsetCommitValue::decode(value)?);
                        self.make_group(None, &place.group);
                        self.apply_commit(place, committed, transaction);
                    }
                    None => self.apply_removal(&place),
                }
            }
            Key::ClassicGroup { group } => self.replay_group(&group.into(), value)?,
            Key::Unknown(_) => {}
            key => {
                let change = Change::of_record(&key, value)?;
                let (group, change) = change.expect("every other key is a consumer group's");
                self.replay_change(&group.into(), change);
            }
        }
        Ok(())
    }

    fn replay_group(&mut self, id: &Name, value: Option<&[u8]>) -> Result<(), ReplayError> {
        let value = value.map(GroupMetadataValue::decode).transpose()?;
        let is_gone = value.is_none();
        let group = match value {
            Some(value) => ClassicGroup::from_record(id, &value).map_err(ReplayError::Content)?,
            None => ClassicGroup::new(None, id.clone()),
        };
        // Only a compacted log has offsets that outlive their group: they are nobody's then.
        let offsets = self.take_replayed(id).map(|entry| entry.offsets).unwrap_or_default();
        if is_gone && offsets.is_empty() {
            return Ok(());
        }
        self.put_group(id, Entry { group: Group::Classic(group), offsets });
        Ok(())
    }

    fn replay_change(&mut self, id: &Name, change: Change) {
        let is_consumer = matches!(self.groups.get(id), Some(Entry { group: Group::Consumer(_), .. }));
        if change.is_removal() && !is_consumer {
            return;
        }
        let mut entry = match self.take_replayed(id) {
            Some(entry) if is_consumer => entry,
            // A group changes its kind while it has no members, or its members are told of anew.
            before => Entry {
                group: Group::Consumer(ConsumerGroup::new(id.clone())),
                offsets: before.map(|entry| entry.offsets).unwrap_or_default(),
            },
        };
        if change == Change::Epoch(None) {
            if entry.offsets.is_empty() {
                return;
            }
            entry.group = Group::Classic(ClassicGroup::new(None, id.clone()));
        } else if let Group::Consumer(group) = &mut entry.group {
            group.apply(change);
        }
        self.put_group(id, entry);
    }

    /// Takes a group out: nobody waits for it and no timer is armed while the log is read.
    fn take_replayed(&mut self, id: &Name) -> Option<Entry> {
        let entry = self.groups.remove(id)?;
        self.memory_bytes -= entry.memory_bytes();
        Some(entry)
    }
}
