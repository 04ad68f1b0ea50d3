//! What brokers answer, and what becomes of batches by it.

use std::rc::Rc;

use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::describe_producers::{
    DescribeProducersRequest, DescribeProducersResponse, TopicRequest,
};
use protocol::messages::produce::{PartitionProduceResponse, ProduceResponse};
use protocol::records::ProducerStamp;
use protocol::types::{Offset, PartitionIndex, TopicId};

use super::{Group, Sender};
use crate::connection::Answer;
use crate::error::{ClientError, ConnectionError, ProduceError};
use crate::limits::CONCURRENT_TRANSACTIONS_PAUSE;
use crate::producer::batch::{Acked, Batch};
use crate::producer::queue::{Told, Verdict};
use crate::producer::topic::PartitionState;
use crate::producer::{FailedBatch, batch_options, now};

impl Sender {
    /// A request was answered, or will never be.
    pub(super) fn settle(self: &Rc<Self>, mut group: Group, outcome: Result<Answer, ConnectionError>) {
        if let Ok(answer) = &outcome {
            match answer.decode::<ProduceResponse<'_>>() {
                Ok(response) => self.settle_answered(&mut group, &response),
                // Who answers so is not to be trusted with the next request.
                Err(_) => group.connection.close(),
            }
        }
        let mut any_unknown = false;
        for (partition, batch) in group.batches {
            if let Some(mut batch) = batch {
                any_unknown = true;
                let verdict =
                    partition.queue.borrow_mut().judge(&mut batch, Some(KafkaError::NetworkException));
                assert_eq!(verdict, Verdict::Again);
                self.again(&partition, batch, None);
            }
            self.list(&partition);
        }
        if any_unknown {
            self.ways.refresh();
        }
        self.ways.work.raise();
    }

    fn settle_answered(self: &Rc<Self>, group: &mut Group, response: &ProduceResponse<'_>) {
        let mut cursor = 0;
        for topic in &response.responses {
            for answer in &topic.partition_responses {
                let Some(place) = find(&group.batches, cursor, (topic.name, topic.topic_id), answer.index)
                else {
                    continue;
                };
                cursor = place + 1;
                let (partition, batch) = &mut group.batches[place];
                if let Some(batch) = batch.take() {
                    let partition = Rc::clone(partition);
                    self.settle_batch(&partition, batch, answer);
                }
            }
        }
    }

    fn settle_batch(
        self: &Rc<Self>,
        partition: &Rc<PartitionState>,
        mut batch: Batch,
        answer: &PartitionProduceResponse<'_>,
    ) {
        let error = answer.error_code.into_result().err();
        let verdict = partition.queue.borrow_mut().judge(&mut batch, error);
        match verdict {
            Verdict::Appended => {
                let offset =
                    Some(answer.base_offset).filter(|offset| error.is_none() && *offset >= Offset(0));
                let append_time = Some(answer.log_append_time_ms).filter(|time| time.0 >= 0);
                self.decide(partition, batch, Ok(Acked { partition: partition.index, offset, append_time }));
            }
            Verdict::Again => {
                self.again(partition, batch, error);
                if error != Some(KafkaError::ConcurrentTransactions) {
                    self.ways.refresh();
                }
            }
            Verdict::Failed => {
                let error = error.expect("a batch fails by an error");
                let message = answer.error_message.map(Into::into);
                self.decide(partition, batch, Err(ProduceError::Refused { error, message }));
            }
            Verdict::TooLarge => self.part(partition, batch),
            Verdict::Unclear => self.clear_up(partition, batch),
        }
    }

    /// An attempt was in vain.
    fn tell_failed(&self, partition: &PartitionState, batch: &Batch, reason: Option<KafkaError>) {
        let Some(listener) = &self.options.listener else { return };
        listener.failed(&FailedBatch {
            topic: &partition.topic.name,
            partition: partition.index,
            tokens: &batch.tokens,
            attempt: batch.attempts,
            reason,
        });
    }

    /// A batch has to be sent again, for this reason if the broker gave one.
    fn again(&self, partition: &PartitionState, batch: Batch, error: Option<KafkaError>) {
        self.tell_failed(partition, &batch, error);
        if self.has_ended.get() {
            return self.decide(partition, batch, Err(ProduceError::Closed));
        }
        if self.is_aborting() {
            return self.decide(partition, batch, Err(ProduceError::Aborted));
        }
        let pause = match error {
            Some(KafkaError::ConcurrentTransactions) => CONCURRENT_TRANSACTIONS_PAUSE,
            _ => self.client.cluster().backoff(batch.attempts),
        };
        partition.queue.borrow_mut().put_back(batch, now() + pause);
    }

    /// A batch was too large for the broker: it goes on in two parts.
    fn part(&self, partition: &PartitionState, batch: Batch) {
        self.tell_failed(partition, &batch, Some(KafkaError::MessageTooLarge));
        if self.has_ended.get() {
            return self.decide(partition, batch, Err(ProduceError::Closed));
        }
        if self.is_aborting() {
            return self.decide(partition, batch, Err(ProduceError::Aborted));
        }
        let (front, back) = batch.part(batch_options(&self.options));
        *self.undecided.borrow_mut().get_mut(&back.number).expect("it is not decided") += 1;
        let mut queue = partition.queue.borrow_mut();
        queue.put_back(back, now());
        queue.put_back(front, now());
    }

    /// Asks the leader whether it has a batch that it refused as out of order.
    fn clear_up(self: &Rc<Self>, partition: &Rc<PartitionState>, batch: Batch) {
        let (sender, partition) = (Rc::clone(self), Rc::clone(partition));
        let asking = async move {
            // Where nobody answers, the batch is sent again, refused again, and the leader asked again.
            let told = sender.told_of(&partition, batch.stamp).await.unwrap_or(Told::Nothing);
            let verdict = partition.queue.borrow_mut().clear_up(&batch, told);
            match verdict {
                Verdict::Appended => {
                    let acked = Acked { partition: partition.index, offset: None, append_time: None };
                    sender.decide(&partition, batch, Ok(acked));
                }
                Verdict::Again => sender.again(&partition, batch, None),
                Verdict::Failed | Verdict::TooLarge | Verdict::Unclear => {
                    sender.decide(&partition, batch, Err(ProduceError::Unclear));
                }
            }
            sender.list(&partition);
        };
        glommio::spawn_local(asking).detach();
    }

    /// How far the leader has come with this producer.
    async fn told_of(&self, partition: &PartitionState, stamp: ProducerStamp) -> Result<Told, ClientError> {
        let cluster = self.client.cluster();
        let Some(leader) = partition.leader(cluster) else { return Ok(Told::Nothing) };
        let connection = self.client.connection(leader).await?;
        if connection.version(ApiKey::DescribeProducers).is_err() {
            return Ok(Told::Never);
        }
        let topic = TopicRequest { name: &partition.topic.name, partition_indexes: vec![partition.index] };
        let answer = connection.call(&DescribeProducersRequest { topics: vec![topic] }).await?;
        let response: DescribeProducersResponse<'_> = answer.decode()?;
        let mut partitions = response.topics.iter().flat_map(|topic| &topic.partitions);
        let Some(told) = partitions.find(|told| told.partition_index == partition.index) else {
            return Ok(Told::Nothing);
        };
        match told.error_code.into_result() {
            Ok(()) => {}
            Err(error) if error.retriable() => return Ok(Told::Nothing),
            Err(_) => return Ok(Told::Never),
        }
        let last = told.active_producers.iter().find(|producer| {
            producer.producer_id == stamp.id && producer.producer_epoch == i32::from(stamp.epoch.0)
        });
        let sequence = last.map(|producer| producer.last_sequence);
        Ok(Told::Last(sequence.filter(|sequence| sequence.0 >= 0)))
    }
}

/// Where a partition's batch is, looked for from `cursor` on: answers come in the order of the request as a rule.
fn find(
    batches: &[(Rc<PartitionState>, Option<Batch>)],
    cursor: usize,
    (name, id): (&str, TopicId),
    index: PartitionIndex,
) -> Option<usize> {
    let is_it = |place: &usize| {
        let partition = &batches[*place].0;
        // An answer names the topic in old versions and gives its id in new ones.
        partition.index == index
            && (if name.is_empty() { partition.topic.id() == id } else { *partition.topic.name == *name })
    };
    (cursor..batches.len()).chain(0..cursor.min(batches.len())).find(is_it)
}
