//! CreatePartitions (key 37): topics grow, each for itself. Answered once every shard has applied it.

use std::rc::Rc;

use logic::metadata::{Command, MorePartitions, Response};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic, CreatePartitionsTopicResult,
};

use super::errors::{Refused, told_of};
use super::reply::Reply;
use super::submit::{Place, Wish, repeated, submit};
use crate::shard::Shard;
use crate::shard::internal_topics::is_internal;

/// One topic of the answer.
struct Line<'a> {
    name: &'a str,
    outcome: Result<(), Refused>,
}

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &CreatePartitionsRequest<'_>, reply: Reply) {
    let (lines, wanted) = plan(request);
    let wish = Wish::of(request.validate_only, request.timeout_ms);
    let outcomes = match wanted.len() {
        0 => Ok(Response::CreatePartitions(Vec::new())),
        _ => submit(shard, Command::CreatePartitions(wanted), wish).await,
    };
    reply.send(&response(&gather(lines, outcomes)));
}

/// What is to be asked of the metadata, for the lines that are not refused already.
fn plan<'a>(request: &CreatePartitionsRequest<'a>) -> (Vec<Line<'a>>, Vec<MorePartitions>) {
    let mut repeated = repeated(request.topics.iter().map(|topic| topic.name));
    let (mut lines, mut wanted) = (Vec::new(), Vec::new());
    for topic in &request.topics {
        let outcome = match repeated.next(topic.name) {
            Place::Again => continue,
            Place::FirstOfSeveral => Err(Refused::new(KafkaError::InvalidRequest, "Duplicate topic name.")),
            // What a group or a transactional id is kept in goes by the number of partitions.
            Place::Only if is_internal(topic.name) => Err(Refused::new(
                KafkaError::InvalidTopicException,
                "The partitions of a topic of the broker's own are not added to.",
            )),
            Place::Only => {
                wanted.push(more(topic));
                Ok(())
            }
        };
        lines.push(Line { name: topic.name, outcome });
    }
    (lines, wanted)
}

fn more(topic: &CreatePartitionsTopic<'_>) -> MorePartitions {
    MorePartitions {
        topic: topic.name.to_owned(),
        count: topic.count,
        assignments: topic
            .assignments
            .as_ref()
            .map(|assignments| assignments.iter().map(|assignment| assignment.broker_ids.clone()).collect()),
    }
}

/// Brings the metadata's answers to the lines that wait for one.
fn gather<'a>(mut lines: Vec<Line<'a>>, outcomes: Result<Response, KafkaError>) -> Vec<Line<'a>> {
    let waiting = lines.iter_mut().filter(|line| line.outcome.is_ok());
    match outcomes {
        Ok(Response::CreatePartitions(outcomes)) => {
            for (line, outcome) in waiting.zip(outcomes) {
                line.outcome = outcome.map(drop).map_err(|error| Refused::from(&error));
            }
        }
        Ok(other) => unreachable!("CreatePartitions is answered by {other:?}"),
        Err(error) => waiting.for_each(|line| line.outcome = Err(Refused::new(error, error.name()))),
    }
    lines
}

fn response<'a>(lines: &'a [Line<'a>]) -> CreatePartitionsResponse<'a> {
    let result = |line: &'a Line<'a>| CreatePartitionsTopicResult {
        name: line.name,
        error_code: told_of(ApiKey::CreatePartitions, &line.outcome),
        error_message: line.outcome.as_ref().err().map(|refused| refused.message.as_str()),
    };
    CreatePartitionsResponse { throttle_time_ms: 0, results: lines.iter().map(result).collect() }
}

#[cfg(test)]
mod tests;
