//! Produce (key 0): append batches.
//!
//! The batches of this shard's partitions are appended before the handler returns, in the order of the request; those of
//! other shards leave as one message a shard, which keeps their order too. The reply is made when the last of them is
//! committed, or at the request's timeout.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use logic::admission::AdmissionError;
use logic::metadata::{Image, Topic};
use logic::producer::ProducerBatch;
use logic::replica::Acks;
use protocol::api::ApiKey;
use protocol::batch::BatchHeader;
use protocol::error::KafkaError;
use protocol::messages::produce::{
    BatchIndexAndErrorMessage, LeaderIdAndEpoch, PartitionProduceData, PartitionProduceResponse,
    ProduceRequest, ProduceResponse, TopicProduceData, TopicProduceResponse,
};
use protocol::types::{BrokerId, LeaderEpoch, Offset, PartitionIndex, PartitionKey, Timestamp, TopicId};
use smallvec::{SmallVec, smallvec};

use super::errors::{produce_refusal, told};
use super::reply::Reply;
use super::submit::{Place, repeated};
use super::verify::{self, Batch, Support, Verified};
use crate::limits::FRAME_BYTES_PER_APPENDED_BYTE_MAX;
use crate::net::reply_budget::Room;
use crate::shard::Shard;
use crate::shard::inflow::Sent;
use crate::shard::internal_topics::is_internal;
use crate::shard::messages::{ProduceItem, ProduceItems, ProduceOutcome, ProduceOutcomes, ProduceTerms};
use crate::shard::prepare::BatchRefusal;
use crate::shard::produce::{Listener, ProduceCall, ProduceRefusal};

/// The first version that names topics by id.
const TOPIC_ID_VERSION_MIN: i16 = 13;
/// From this version on clients know an error after which they abort.
const ABORTABLE_VERSION_MIN: i16 = 11;
/// From this version on a partition joins a transaction by being written to (KIP-890).
const ADDS_PARTITIONS_VERSION_MIN: i16 = 12;

/// What the answer says about one partition.
struct Line {
    partition: PartitionIndex,
    outcome: Result<Done, KafkaError>,
    message: Option<String>,
    /// What is wrong with single records, by their index in the batch.
    record_errors: Vec<(i32, String)>,
}

/// What a successful line says.
#[derive(Clone, Copy)]
struct Done {
    base_offset: Offset,
    append_time: Timestamp,
    log_start: Offset,
}

/// One topic of the answer, owning its name: the request's frame is let go when its batches are.
struct Section {
    name: Box<str>,
    id: TopicId,
    lines: SmallVec<[Line; 1]>,
}

type Sections = SmallVec<[Section; 1]>;

/// Takes the request; the answer follows by itself, and until then what it takes in memory is `held`. Returns what was sent to
/// which shard.
pub fn handle(
    shard: &Rc<Shard>,
    frame: &Bytes,
    request: &ProduceRequest<'_>,
    verified: &[Verified],
    held: Option<Room>,
    reply: Reply,
) -> Sent {
    let mut sections = skeleton(request);
    let Some(acks) = Acks::from_wire(request.acks) else {
        fail_all(&mut sections, KafkaError::InvalidRequiredAcks);
        answer(sections, reply);
        return Sent::default();
    };
    if request.transactional_id.is_none() && batches(request).any(|header| header.is_transactional()) {
        fail_all(&mut sections, KafkaError::TransactionalIdAuthorizationFailed);
        answer_unless_silent(sections, acks, reply);
        return Sent::default();
    }
    let items = sort_out(shard, frame, (request, reply.version()), verified, &mut sections);
    let count = items.iter().map(|(_, items)| items.len()).sum();
    if count == 0 {
        answer_unless_silent(sections, acks, reply);
        return Sent::default();
    }
    let mut sent = Sent::default();
    for (owner, items) in &items {
        sent.add(*owner, items.iter().map(|item| item.records.len()).sum());
    }
    let now = shard.now();
    let deadline = Timestamp(now.get().saturating_add(i64::from(request.timeout_ms.max(0))));
    let terms = ProduceTerms { version: reply.version(), acks, deadline };
    let listener: Box<dyn FnOnce(ProduceOutcomes)> = Box::new(move |outcomes| {
        for outcome in outcomes {
            note(&mut sections, outcome);
        }
        drop(held);
        answer_unless_silent(sections, acks, reply);
    });
    let call = ProduceCall::new(count, Listener::Client(listener));
    for (owner, items) in items {
        shard.produce(owner, now, &call, terms, items);
    }
    sent
}

/// Leaves one line of each partition that is named again and again, without a batch: it is refused, once. Apache Kafka's broker
/// takes the last batch and forgets the others without a word.
pub fn refuse_repeated(request: &mut ProduceRequest<'_>) {
    if partitions(request).nth(1).is_none() {
        return;
    }
    let topics = request.topic_data.iter();
    let mut repeated = repeated(topics.flat_map(|topic| {
        topic.partition_data.iter().map(|partition| (topic.name, topic.topic_id, partition.index))
    }));
    for topic in &mut request.topic_data {
        topic.partition_data.retain_mut(|partition| {
            match repeated.next((topic.name, topic.topic_id, partition.index)) {
                Place::Only => true,
                Place::FirstOfSeveral => {
                    partition.records = None;
                    true
                }
                Place::Again => false,
            }
        });
    }
}

/// Has the coordinator asked for the batches of a transaction, before any of them is appended: one answer for each
/// partition of the request, in its order. None for a request without a transactional id.
pub async fn verify(shard: &Rc<Shard>, request: &ProduceRequest<'_>, version: i16) -> Vec<Verified> {
    let Some(transactional_id) = request.transactional_id else { return Vec::new() };
    let support = match version {
        ADDS_PARTITIONS_VERSION_MIN.. => Support::AddsPartitions,
        ABORTABLE_VERSION_MIN.. => Support::Abortable,
        _ => Support::Classic,
    };
    let image = shard.image();
    let (mut verified, mut places, mut batches) = (Vec::new(), Vec::new(), Vec::new());
    for data in &request.topic_data {
        let topic = find_topic(&image, data, version).ok();
        for partition in &data.partition_data {
            let batch = header(partition).and_then(ProducerBatch::of).filter(|batch| batch.is_transactional);
            let key = topic.and_then(|topic| known_partition(topic, partition.index));
            if let (Some(topic), Some(key), Some(batch)) = (topic, key, batch) {
                places.push(verified.len());
                batches.push(Batch { topic: &topic.name, key, batch });
            }
            // Whatever else there is: it is appended, or refused, as it is.
            verified.push(Ok(None));
        }
    }
    let answers = verify::verify(shard, transactional_id, support, &batches).await;
    for (place, answer) in places.into_iter().zip(answers) {
        verified[place] = answer;
    }
    verified
}

/// The headers of a request's batches, as far as it has any.
fn batches<'r>(request: &'r ProduceRequest<'_>) -> impl Iterator<Item = &'r BatchHeader> {
    partitions(request).filter_map(header)
}

fn partitions<'r, 'a>(request: &'r ProduceRequest<'a>) -> impl Iterator<Item = &'r PartitionProduceData<'a>> {
    request.topic_data.iter().flat_map(|topic| &topic.partition_data)
}

fn payload<'r>(data: &'r PartitionProduceData<'_>) -> Option<&'r [u8]> {
    data.records.as_ref()?.borrowed()
}

fn header<'r>(data: &'r PartitionProduceData<'_>) -> Option<&'r BatchHeader> {
    let header = BatchHeader::from_prefix(payload(data)?)?;
    header.encoding().map(|_| header)
}

/// The answer's shape: every topic and partition of the request, in its order.
fn skeleton(request: &ProduceRequest<'_>) -> Sections {
    let line = |partition| Line {
        partition,
        outcome: Err(KafkaError::UnknownServerError),
        message: None,
        record_errors: Vec::new(),
    };
    request
        .topic_data
        .iter()
        .map(|topic| Section {
            name: topic.name.into(),
            id: topic.topic_id,
            lines: topic.partition_data.iter().map(|data| line(data.index)).collect(),
        })
        .collect()
}

/// The batches of each shard; what can't be appended is noted in the answer.
fn sort_out(
    shard: &Shard,
    frame: &Bytes,
    (request, version): (&ProduceRequest<'_>, i16),
    verified: &[Verified],
    sections: &mut Sections,
) -> SmallVec<[(usize, ProduceItems); 1]> {
    let image = shard.image();
    // What is appended lives on after the request: a few bytes must not keep a large frame, which nobody pays for then.
    let appended_bytes: usize = partitions(request).filter_map(payload).map(<[u8]>::len).sum();
    let is_mostly_other = appended_bytes < frame.len() / FRAME_BYTES_PER_APPENDED_BYTE_MAX;
    let mut sorted: SmallVec<[(usize, ProduceItems); 1]> = SmallVec::new();
    let mut place = 0_u32;
    for (data, section) in request.topic_data.iter().zip(sections.iter_mut()) {
        let topic = find_topic(&image, data, version);
        for (partition, line) in data.partition_data.iter().zip(section.lines.iter_mut()) {
            let here = place;
            place += 1;
            let guard = verified.get(here as usize).copied().unwrap_or(Ok(None));
            let found = topic.and_then(|topic| {
                if is_internal(&topic.name) {
                    return Err(KafkaError::InvalidTopicException);
                }
                known_partition(topic, partition.index).ok_or(KafkaError::UnknownTopicOrPartition)
            });
            let (key, guard) = match found.and_then(|key| Ok((key, guard?))) {
                Ok(found) => found,
                Err(error) => {
                    line.outcome = Err(error);
                    continue;
                }
            };
            // A null payload is an empty one: both hold no batch, which is refused below like any malformed payload.
            let records = match payload(partition).unwrap_or_default() {
                [] => Bytes::new(),
                records if is_mostly_other => Bytes::copy_from_slice(records),
                records => frame.slice_ref(records),
            };
            let owner = shard.owner_of(key);
            let item = ProduceItem { place: here, key, records, guard };
            match sorted.iter_mut().find(|(shard, _)| *shard == owner) {
                Some((_, items)) => items.push(item),
                None => sorted.push((owner, smallvec![item])),
            }
        }
    }
    sorted
}

fn find_topic<'i>(
    image: &'i Image,
    data: &TopicProduceData<'_>,
    version: i16,
) -> Result<&'i Arc<Topic>, KafkaError> {
    if version >= TOPIC_ID_VERSION_MIN {
        image.topic_by_id(data.topic_id).ok_or(KafkaError::UnknownTopicId)
    } else {
        image.topic(data.name).ok_or(KafkaError::UnknownTopicOrPartition)
    }
}

fn known_partition(topic: &Topic, partition: PartitionIndex) -> Option<PartitionKey> {
    topic.partition(partition).map(|_| PartitionKey { topic_id: topic.id, partition })
}

/// Puts an outcome in its line: places count the partitions of the request in order.
fn note(sections: &mut Sections, outcome: ProduceOutcome) {
    let mut place =
        usize::try_from(outcome.place).expect("a request has fewer partitions than there are addresses");
    for section in sections {
        let Some(line) = section.lines.get_mut(place) else {
            place -= section.lines.len();
            continue;
        };
        match outcome.result {
            Ok(produced) => {
                line.outcome = Ok(Done {
                    base_offset: produced.base_offset,
                    append_time: produced.append_time.unwrap_or(Timestamp(-1)),
                    log_start: produced.log_start,
                });
            }
            Err(refusal) => {
                line.outcome = Err(produce_refusal(&refusal));
                line.message = Some(refusal.to_string());
                line.record_errors = record_errors(&refusal, &section.name, line.partition);
            }
        }
        return;
    }
    unreachable!("an outcome has its place in the request");
}

fn fail_all(sections: &mut Sections, error: KafkaError) {
    for line in sections.iter_mut().flat_map(|section| section.lines.iter_mut()) {
        line.outcome = Err(error);
    }
}

/// Answers, unless the client asked for silence. An error then closes the connection, which is all that the client can
/// hear: its metadata is refreshed when it connects again.
fn answer_unless_silent(sections: Sections, acks: Acks, reply: Reply) {
    if acks != Acks::None {
        return answer(sections, reply);
    }
    let failed = sections.iter().flat_map(|section| &section.lines).any(|line| line.outcome.is_err());
    if failed {
        drop(reply);
    } else {
        reply.send_nothing();
    }
}

fn answer(sections: Sections, reply: Reply) {
    let responses = sections
        .iter()
        .map(|section| TopicProduceResponse {
            name: &section.name,
            topic_id: section.id,
            partition_responses: section.lines.iter().map(partition_response).collect(),
        })
        .collect();
    reply.send(&ProduceResponse { responses, throttle_time_ms: 0, node_endpoints: Vec::new() });
}

/// What is wrong with single records (KIP-467), in Kafka's words.
fn record_errors(refusal: &ProduceRefusal, topic: &str, partition: PartitionIndex) -> Vec<(i32, String)> {
    let ProduceRefusal::Batch(BatchRefusal::Admission(AdmissionError::WithoutKey { indexes, .. })) = refusal
    else {
        return Vec::new();
    };
    let words =
        format!("Compacted topic cannot accept message without key in topic partition {topic}-{partition}.");
    indexes.iter().map(|&index| (index, words.clone())).collect()
}

fn record_error((index, words): &(i32, String)) -> BatchIndexAndErrorMessage<'_> {
    BatchIndexAndErrorMessage { batch_index: *index, batch_index_error_message: Some(words) }
}

fn partition_response(line: &Line) -> PartitionProduceResponse<'_> {
    let (error, done) = match line.outcome {
        Ok(done) => (KafkaError::None, done),
        Err(error) => {
            (error, Done { base_offset: Offset(-1), append_time: Timestamp(-1), log_start: Offset(-1) })
        }
    };
    PartitionProduceResponse {
        index: line.partition,
        error_code: told(ApiKey::Produce, error),
        base_offset: done.base_offset,
        log_append_time_ms: done.append_time,
        log_start_offset: done.log_start,
        record_errors: line.record_errors.iter().map(record_error).collect(),
        error_message: line.message.as_deref(),
        current_leader: LeaderIdAndEpoch { leader_id: BrokerId(-1), leader_epoch: LeaderEpoch::UNKNOWN },
    }
}

#[cfg(test)]
mod tests;
