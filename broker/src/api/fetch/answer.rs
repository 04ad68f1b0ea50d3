//! The answer to a fetch.

use logic::fetch::{Opened, PartitionOutcome};
use protocol::aborted::AbortedTransaction as Aborted;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::fetch::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch,
    PartitionData, SnapshotId,
};
use protocol::types::{BrokerId, LeaderEpoch, Offset};
use protocol::wire::Payload;

use super::super::errors::{partition_error, told};
use super::super::reply::Reply;
use super::{Call, Line, session_error};
use crate::shard::Shard;
use crate::shard::messages::Isolation;

/// Answers a request whose session can't be gone on with.
pub fn refuse(error: KafkaError, reply: Reply) {
    reply.send(&response(error, 0, Vec::new()));
}

/// Answers with what was read; in a session, with what is news of it.
pub fn send(call: Call, shard: &Shard, reply: Reply) {
    let Call { opened, isolation, reading } = call;
    let session_id = match opened {
        Opened::Sessionless => 0,
        Opened::Session { id, .. } => id,
    };
    let mut told = Vec::with_capacity(reading.lines.len());
    for line in reading.lines {
        match is_told(&opened, &line, shard) {
            Ok(true) => told.push(line),
            Ok(false) => {}
            Err(error) => return refuse(error, reply),
        }
    }
    let mut responses: Vec<FetchableTopicResponse<'_>> = Vec::new();
    for line in &told {
        let data = partition_data(line, isolation);
        match responses.last_mut() {
            Some(last) if last.topic == &*line.topic_name && last.topic_id == line.topic_id => {
                last.partitions.push(data);
            }
            _ => responses.push(FetchableTopicResponse {
                topic: &line.topic_name,
                topic_id: line.topic_id,
                partitions: vec![data],
            }),
        }
    }
    reply.send(&response(KafkaError::None, session_id, responses));
}

/// Whether the answer mentions a partition.
fn is_told(opened: &Opened, line: &Line, shard: &Shard) -> Result<bool, KafkaError> {
    let (Opened::Session { id, epoch }, Some(handle)) = (opened, line.handle) else { return Ok(true) };
    let outcome = match &line.outcome {
        Some(Ok(done)) => PartitionOutcome {
            has_records: done.bytes > 0,
            high_watermark: done.high_watermark,
            log_start: done.log_start,
            must_tell: done.diverging.is_some(),
            is_error: false,
        },
        Some(Err(_)) | None => PartitionOutcome {
            has_records: false,
            high_watermark: Offset(-1),
            log_start: Offset(-1),
            must_tell: true,
            is_error: true,
        },
    };
    shard.sessions.borrow_mut().answer(*id, *epoch, handle, &outcome).map_err(session_error)
}

fn response(
    error: KafkaError,
    session_id: i32,
    responses: Vec<FetchableTopicResponse<'_>>,
) -> FetchResponse<'_> {
    FetchResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::Fetch, error),
        session_id,
        responses,
        node_endpoints: Vec::new(),
    }
}

fn aborted(found: &[Aborted]) -> Vec<AbortedTransaction> {
    let told =
        |one: &Aborted| AbortedTransaction { producer_id: one.producer_id, first_offset: one.first_offset };
    found.iter().map(told).collect()
}

fn partition_data(line: &Line, isolation: Isolation) -> PartitionData<'static> {
    let error = match (&line.asked, &line.outcome) {
        (Err(error), _) => *error,
        (Ok(_), Some(Err(error))) => partition_error(error),
        (Ok(_), Some(Ok(_)) | None) => KafkaError::None,
    };
    let mut data = PartitionData {
        partition_index: line.partition,
        error_code: told(ApiKey::Fetch, error),
        high_watermark: Offset(-1),
        last_stable_offset: Offset(-1),
        log_start_offset: Offset(-1),
        diverging_epoch: EpochEndOffset { epoch: LeaderEpoch::UNKNOWN, end_offset: Offset(-1) },
        current_leader: LeaderIdAndEpoch { leader_id: BrokerId(-1), leader_epoch: LeaderEpoch::UNKNOWN },
        snapshot_id: SnapshotId { end_offset: Offset(-1), epoch: LeaderEpoch::UNKNOWN },
        aborted_transactions: None,
        preferred_read_replica: BrokerId(-1),
        records: Some(Payload::default()),
    };
    if let Some(Ok(done)) = &line.outcome {
        data.high_watermark = done.high_watermark;
        data.last_stable_offset = done.last_stable;
        data.log_start_offset = done.log_start;
        data.aborted_transactions = (isolation == Isolation::Committed).then(|| aborted(&done.aborted));
        data.records = Some(Payload::Chunks(done.chunks.clone()));
        if let Some(end) = done.diverging {
            data.diverging_epoch = EpochEndOffset { epoch: end.epoch, end_offset: end.end };
        }
    }
    data
}
