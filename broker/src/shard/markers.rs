//! The ends of transactions, on their way from a coordinator to the partitions that took part.

use std::rc::Rc;

use logic::producer::{MarkerError, Teller, TransactionMarker};
use logic::transaction::{End, MarkerAnswer, Markers};
use protocol::records::ControlKind;
use protocol::types::{PartitionIndex, PartitionKey};

use super::Shard;
use super::coordinator_log::wait_for;
use super::internal_topics::GROUPS_TOPIC;
use super::messages::{Answer, Question};
use super::partition::MarkRefusal;
use super::transactions::Led;
use crate::runtime::join_all;

/// A partition that markers go to, as the coordinator names it.
type Place = (Box<str>, PartitionIndex);

/// Has markers written, and tells their coordinator what became of each.
pub(super) async fn deliver(shard: Rc<Shard>, led: Rc<Led>, markers: Markers) {
    let image = shard.image();
    let mut by_owner: Vec<(usize, Vec<PartitionKey>, Vec<Place>)> = Vec::new();
    for (topic_name, partition) in markers.partitions.iter() {
        let topic = image.topic(topic_name).filter(|topic| topic.partition(partition).is_some());
        let Some(topic) = topic else {
            led.marker_answered(&shard, &markers, (topic_name, partition), MarkerAnswer::Gone);
            continue;
        };
        let key = PartitionKey { topic_id: topic.id, partition };
        let place = (topic_name.into(), partition);
        let owner = shard.owner_of(key);
        match by_owner.iter_mut().find(|(known, ..)| *known == owner) {
            Some((_, keys, places)) => {
                keys.push(key);
                places.push(place);
            }
            None => by_owner.push((owner, vec![key], vec![place])),
        }
    }
    let marker = TransactionMarker {
        producer_id: markers.producer.id,
        epoch: markers.producer.epoch,
        kind: match markers.end {
            End::Commit => ControlKind::Commit,
            End::Abort => ControlKind::Abort,
        },
        coordinator_epoch: markers.coordinator_epoch,
        version: markers.version,
        told_by: if led.is_running() { Teller::Leader } else { Teller::Sender },
    };
    let asked = by_owner.into_iter().map(|(owner, keys, places)| {
        let (shard, led, markers) = (&shard, &led, &markers);
        async move {
            let outcomes = match shard.ask(owner, Question::Mark { marker, keys }).await {
                Answer::Marked(outcomes) => outcomes,
                _ => unreachable!("markers are answered as such"),
            };
            for ((topic, partition), outcome) in places.iter().zip(&outcomes) {
                led.marker_answered(shard, markers, (topic, *partition), answer(outcome));
            }
        }
    });
    join_all(asked).await;
}

fn answer(outcome: &Result<(), MarkRefusal>) -> MarkerAnswer {
    match outcome {
        Ok(()) => MarkerAnswer::Written,
        Err(MarkRefusal::Marker(MarkerError::StaleEpoch { .. })) => MarkerAnswer::StaleProducer,
        Err(MarkRefusal::Marker(MarkerError::StaleCoordinator { .. })) => MarkerAnswer::StaleCoordinator,
        // A partition that is gone for good is gone from the metadata when it is asked for again.
        Err(MarkRefusal::Unknown | MarkRefusal::Unavailable) => MarkerAnswer::Retry,
    }
}

impl Shard {
    /// Writes a marker in partitions of this shard, and waits until it is committed in each.
    pub(super) async fn mark_all(
        &self,
        marker: TransactionMarker,
        keys: Vec<PartitionKey>,
    ) -> Vec<Result<(), MarkRefusal>> {
        join_all(keys.into_iter().map(|key| self.mark(marker, key))).await
    }

    async fn mark(&self, marker: TransactionMarker, key: PartitionKey) -> Result<(), MarkRefusal> {
        let partition = self.partitions.get(key).ok_or(MarkRefusal::Unknown)?;
        let end = partition.append_marker(&self.store, self.now(), &marker)?;
        wait_for(self, &partition, end).await.map_err(|_| MarkRefusal::Unavailable)?;
        if *partition.topic_name == *GROUPS_TOPIC {
            self.groups.end_transaction(key, marker.producer_id, marker.kind == ControlKind::Commit);
        }
        Ok(())
    }
}
