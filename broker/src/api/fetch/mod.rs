//! Fetch (key 1): read batches.
//!
//! Answered at once where enough is in this shard's memory; otherwise a task reads from all shards concerned, waits for
//! more where that is wanted, and reads again. Batches go from where they are to the socket as they are, but for native
//! ones to a client that did not say that it reads those: it gets Kafka's, made of them. Which partitions
//! a request is about, and which of them its answer mentions, is the fetch session's to say (KIP-227).

mod answer;
mod reading;
mod transcoding;

use std::rc::Rc;

use logic::fetch::{Opened, PartitionHandle, PartitionRequest, SessionError, SessionRequest, TopicKey};
use logic::metadata::{Image, Topic};
use protocol::error::KafkaError;
use protocol::messages::fetch::FetchRequest;
use protocol::types::{BrokerId, PartitionIndex, PartitionKey, TopicId};

use super::once::each_once;
use super::reply::Reply;
use crate::net::connection::Connection;
use crate::runtime::{either, spawn};
use crate::shard::Shard;
use crate::shard::messages::{Isolation, ReadItem, ReadOutcome};
use reading::Reading;

/// The first version that names topics by id.
const TOPIC_ID_VERSION_MIN: i16 = 13;

/// A fetch under way, with all that the answer needs of its request.
struct Call {
    opened: Opened,
    isolation: Isolation,
    reading: Reading,
}

/// One partition of a fetch.
struct Line {
    /// As the client names it: the name is empty where it uses ids, the id is zero where it uses names.
    topic_name: Rc<str>,
    topic_id: TopicId,
    partition: PartitionIndex,
    handle: Option<PartitionHandle>,
    asked: Result<ReadItem, KafkaError>,
    outcome: Option<ReadOutcome>,
}

/// Takes the request; the answer follows by itself. Returns the shard that all of it is about, if it is one.
pub fn handle(
    shard: &Rc<Shard>,
    connection: &Rc<Connection>,
    request: &FetchRequest<'_>,
    reply: Reply,
) -> Option<usize> {
    let mut call = match open(shard, request, reply.version()) {
        Ok(call) => call,
        Err(error) => {
            answer::refuse(session_error(error), reply);
            return None;
        }
    };
    let owner = call.reading.only_owner(shard);
    if let Some(room) = reply.ticket().room_now(call.reading.wanted_bytes())
        && call.reading.read_now(shard, &room)
        && call.reading.is_done(shard.now())
        && !call.reading.needs_transcoding()
    {
        drop(room);
        answer::send(call, shard, reply);
        return owner;
    }
    let (shard, long_poll) = (Rc::clone(shard), connection.long_poll());
    spawn(async move {
        let _long_poll = long_poll;
        let replies = Rc::clone(reply.ticket().replies());
        let mut room = None;
        let read = async {
            room = Some(call.reading.read_until_done(&shard, reply.ticket()).await);
            call.reading.transcode().await;
        };
        if either(read, replies.closing.next().wait()).await {
            // The answer is charged for as it is, at once.
            drop(room);
            answer::send(call, &shard, reply);
        }
    });
    owner
}

/// Opens the request's session, or goes on with it, and lists what is to be read.
fn open(shard: &Shard, request: &FetchRequest<'_>, version: i16) -> Result<Call, SessionError> {
    let uses_topic_ids = version >= TOPIC_ID_VERSION_MIN;
    let key = |name, id| if uses_topic_ids { TopicKey::Id(id) } else { TopicKey::Name(name) };
    let partitions = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |partition| {
            let wanted = PartitionRequest {
                partition: partition.partition,
                fetch_offset: partition.fetch_offset,
                bytes_max: partition.partition_max_bytes,
                leader_epoch: partition.current_leader_epoch,
                last_fetched_epoch: partition.last_fetched_epoch,
                follower_log_start: partition.log_start_offset,
            };
            (key(topic.topic, topic.topic_id), wanted)
        })
    });
    let asked: Vec<(TopicKey<'_>, PartitionRequest)> =
        each_once(partitions, |(topic, wanted)| (*topic, wanted.partition));
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        topic.partitions.iter().map(move |partition| (key(topic.topic, topic.topic_id), *partition))
    });
    let session = SessionRequest {
        session_id: request.session_id,
        session_epoch: request.session_epoch,
        uses_topic_ids,
        is_follower: request.replica_id.max(request.replica_state.replica_id) > BrokerId(-1),
    };
    let mut sessions = shard.sessions.borrow_mut();
    let opened = sessions.open(shard.now(), session, asked.iter().copied(), forgotten)?;
    let image = shard.image();
    let isolation = Isolation::of_request(request.isolation_level);
    let lines = match opened {
        Opened::Sessionless => {
            Lines::new(&image, isolation).collect(asked.iter().map(|(topic, wanted)| (*topic, *wanted, None)))
        }
        Opened::Session { id, epoch } => {
            let session = sessions.session(id, epoch)?;
            Lines::new(&image, isolation).collect(
                session.partitions().map(|place| (place.topic.key(), place.request, Some(place.handle))),
            )
        }
    };
    let reading = Reading::new(request, lines, isolation, shard);
    Ok(Call { opened, isolation, reading })
}

/// Makes lines; neighbours of one topic share its name.
struct Lines<'i> {
    image: &'i Image,
    isolation: Isolation,
    last_name: Rc<str>,
}

impl<'i> Lines<'i> {
    fn new(image: &'i Image, isolation: Isolation) -> Self {
        Self { image, isolation, last_name: Rc::from("") }
    }

    fn collect<'a>(
        mut self,
        wanted: impl Iterator<Item = (TopicKey<'a>, PartitionRequest, Option<PartitionHandle>)>,
    ) -> Vec<Line> {
        wanted.map(|(topic, request, handle)| self.line(topic, request, handle)).collect()
    }

    fn line(
        &mut self,
        topic: TopicKey<'_>,
        request: PartitionRequest,
        handle: Option<PartitionHandle>,
    ) -> Line {
        let (name, topic_id, found, unknown) = match topic {
            TopicKey::Name(name) => {
                (name, TopicId::ZERO, self.image.topic(name), KafkaError::UnknownTopicOrPartition)
            }
            TopicKey::Id(id) => ("", id, self.image.topic_by_id(id), KafkaError::UnknownTopicId),
        };
        if *self.last_name != *name {
            self.last_name = Rc::from(name);
        }
        let asked = found.ok_or(unknown).and_then(|topic| read_item(topic, request, self.isolation));
        let topic_name = Rc::clone(&self.last_name);
        Line { topic_name, topic_id, partition: request.partition, handle, asked, outcome: None }
    }
}

fn read_item(topic: &Topic, request: PartitionRequest, isolation: Isolation) -> Result<ReadItem, KafkaError> {
    topic.partition(request.partition).ok_or(KafkaError::UnknownTopicOrPartition)?;
    Ok(ReadItem {
        key: PartitionKey { topic_id: topic.id, partition: request.partition },
        from: request.fetch_offset,
        epoch: request.leader_epoch,
        last_fetched_epoch: request.last_fetched_epoch,
        bytes_max: usize::try_from(request.bytes_max).unwrap_or(0),
        isolation,
    })
}

fn session_error(error: SessionError) -> KafkaError {
    match error {
        SessionError::NotFound { .. } => KafkaError::FetchSessionIdNotFound,
        SessionError::InvalidEpoch { .. } => KafkaError::InvalidFetchSessionEpoch,
        SessionError::TopicIdMismatch { .. } => KafkaError::FetchSessionTopicIdError,
    }
}
