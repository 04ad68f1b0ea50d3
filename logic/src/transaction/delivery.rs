//! Markers on their way: which partitions have not answered, and which are asked again, until all have.
//!
//! A marker is sent again only after the answer that it was not written: two of them on their way at once could end the
//! transaction that follows, where that has the same epoch.

use super::coordinator::Coordinator;
use super::effects::{Effects, MarkerAnswer, Markers, MarkersId};
use super::partitions::PartitionSet;
use super::state::TransactionState;
use super::transition::End;
use crate::limits::TRANSACTION_RETRY_MS;
use protocol::types::{PartitionIndex, Timestamp};
use std::sync::Arc;

/// The markers of one end.
#[derive(Debug)]
pub(super) struct Delivery {
    id: MarkersId,
    unanswered: PartitionSet,
    /// Those of them that are to be asked again.
    again: PartitionSet,
    again_at: Timestamp,
}

impl Delivery {
    /// When the caller is to be asked again.
    pub(super) fn due(&self) -> Option<Timestamp> {
        (self.unanswered.is_empty() || !self.again.is_empty()).then_some(self.again_at)
    }
}

impl Coordinator {
    /// What became of one marker. Answers to ends that are over, or of another coordinator, change nothing.
    pub fn marker_answered(
        &mut self,
        now: Timestamp,
        markers: MarkersId,
        (topic, partition): (&str, PartitionIndex),
        answer: MarkerAnswer,
    ) -> Effects {
        let mut effects = Effects::default();
        if markers.coordinator_epoch != self.epoch {
            return effects;
        }
        let Some(id) = self.deliveries.get(&markers.number).map(Arc::clone) else { return effects };
        let slot = self.slots.get_mut(&id).expect("a delivery's id stays");
        let delivery = slot.delivery.as_mut().expect("listed");
        assert_eq!(delivery.id, markers);
        match answer {
            MarkerAnswer::Written | MarkerAnswer::Gone | MarkerAnswer::StaleProducer => {
                let was_waiting = delivery.unanswered.remove(topic, partition);
                delivery.again.remove(topic, partition);
                if was_waiting && delivery.unanswered.is_empty() {
                    self.complete(now, &id, &mut effects);
                }
            }
            MarkerAnswer::Retry => {
                if delivery.unanswered.contains(topic, partition) {
                    if delivery.again.is_empty() {
                        delivery.again_at = Timestamp(now.get().saturating_add(TRANSACTION_RETRY_MS));
                    }
                    delivery.again.insert(topic, partition);
                    self.set_timer(&id, None);
                }
            }
            MarkerAnswer::StaleCoordinator => {
                self.end_delivery(&id);
                self.set_timer(&id, None);
            }
        }
        effects
    }

    /// How many ends of transactions wait for markers.
    #[must_use]
    pub fn deliveries_count(&self) -> usize {
        self.deliveries.len()
    }

    /// An end was decided: its markers go out.
    pub(super) fn deliver(&mut self, now: Timestamp, id: &Arc<str>, effects: &mut Effects) {
        let markers = self.next_markers_id();
        let slot = self.slots.get_mut(id).expect("known");
        assert!(slot.delivery.is_none());
        let unanswered = slot.transaction.partitions.clone();
        let is_empty = unanswered.is_empty();
        slot.delivery =
            Some(Delivery { id: markers, unanswered, again: PartitionSet::default(), again_at: now });
        self.deliveries.insert(markers.number, Arc::clone(id));
        if is_empty {
            self.complete(now, id, effects);
        } else {
            let partitions = self.slots[id].transaction.partitions.clone();
            effects.markers.push(self.markers(id, markers, partitions));
            self.set_timer(id, None);
        }
    }

    /// Markers that were not written go out again, or the record that all were.
    pub(super) fn redeliver(&mut self, now: Timestamp, id: &Arc<str>, effects: &mut Effects) {
        let delivery = self.slots.get_mut(id).expect("known").delivery.as_mut().expect("it is due");
        if delivery.unanswered.is_empty() {
            return self.complete(now, id, effects);
        }
        let again = std::mem::take(&mut delivery.again);
        assert!(!again.is_empty());
        let markers = delivery.id;
        effects.markers.push(self.markers(id, markers, again));
        self.set_timer(id, None);
    }

    pub(super) fn end_delivery(&mut self, id: &Arc<str>) {
        let ended = self.slots.get_mut(id).expect("known").delivery.take();
        if let Some(delivery) = ended {
            self.deliveries.remove(&delivery.id.number);
        }
    }

    fn complete(&mut self, now: Timestamp, id: &Arc<str>, effects: &mut Effects) {
        let target = self.slots[id].transaction.complete(now);
        self.append(id, Some(target), None, effects).expect("it has no partitions");
    }

    fn markers(&self, id: &Arc<str>, markers: MarkersId, partitions: PartitionSet) -> Markers {
        let transaction = &self.slots[id].transaction;
        let end = match transaction.state {
            TransactionState::PrepareCommit => End::Commit,
            TransactionState::PrepareAbort => End::Abort,
            other => panic!("no end is decided in {other:?}"),
        };
        let (producer, version) = (transaction.producer, transaction.version);
        Markers { id: markers, producer, end, coordinator_epoch: self.epoch, version, partitions }
    }
}
