//! DeleteTopics (key 20): topics go, by name or by id, each for itself. Answered once no shard serves them any more.

use std::rc::Rc;

use logic::metadata::{Command, Image, Response, TopicReference};
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::delete_topics::{DeletableTopicResult, DeleteTopicsRequest, DeleteTopicsResponse};
use protocol::types::TopicId;

use super::errors::{Refused, told_of};
use super::reply::Reply;
use super::submit::{Place, Wish, repeated, submit};
use crate::shard::Shard;

/// From this version on topics stand in a list of their own, with ids.
const IDS_VERSION_MIN: i16 = 6;
/// From this version on clients know that deletion may be disabled.
const DISABLED_VERSION_MIN: i16 = 3;

/// One topic of the answer.
#[derive(Debug)]
struct Line {
    name: Option<String>,
    id: TopicId,
    outcome: Result<(), Refused>,
}

/// A topic as the request names it.
#[derive(Clone, Copy)]
struct Asked<'a> {
    name: Option<&'a str>,
    id: TopicId,
}

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &DeleteTopicsRequest<'_>, reply: Reply) {
    let asked = asked(request, reply.version());
    if !shard.config.delete_topics {
        let lines = disabled(&asked, reply.version());
        return reply.send(&response(&lines));
    }
    let (lines, references) = plan(&asked, &shard.image());
    let wish = Wish::Change { timeout_ms: request.timeout_ms };
    let outcomes = match references.len() {
        0 => Ok(Response::DeleteTopics(Vec::new())),
        _ => submit(shard, Command::DeleteTopics(references), wish).await,
    };
    reply.send(&response(&gather(lines, outcomes)));
}

fn asked<'a>(request: &DeleteTopicsRequest<'a>, version: i16) -> Vec<Asked<'a>> {
    if version >= IDS_VERSION_MIN {
        request.topics.iter().map(|topic| Asked { name: topic.name, id: topic.topic_id }).collect()
    } else {
        request.topic_names.iter().map(|name| Asked { name: Some(name), id: TopicId::ZERO }).collect()
    }
}

fn disabled(asked: &[Asked<'_>], version: i16) -> Vec<Line> {
    let error = if version >= DISABLED_VERSION_MIN {
        KafkaError::TopicDeletionDisabled
    } else {
        KafkaError::InvalidRequest
    };
    asked.iter().map(|asked| asked.refused(error, "Topic deletion is disabled.")).collect()
}

impl Asked<'_> {
    fn line(&self, outcome: Result<(), Refused>) -> Line {
        Line { name: self.name.map(str::to_owned), id: self.id, outcome }
    }

    fn refused(&self, error: KafkaError, reason: &str) -> Line {
        self.line(Err(Refused::new(error, reason)))
    }
}

/// What is to be asked of the metadata, for the lines that are not refused already. A name and an id may mean one topic:
/// it counts as named twice.
fn plan(asked: &[Asked<'_>], image: &Image) -> (Vec<Line>, Vec<TopicReference>) {
    let keys: Vec<(TopicId, Option<&str>)> = asked
        .iter()
        .map(|asked| match asked.name {
            Some(name) if asked.id == TopicId::ZERO => {
                image.topic(name).map_or((TopicId::ZERO, Some(name)), |topic| (topic.id, None))
            }
            _ => (asked.id, None),
        })
        .collect();
    let mut repeated = repeated(keys.iter().copied());
    let (mut lines, mut references) = (Vec::new(), Vec::new());
    for (asked, key) in asked.iter().zip(keys) {
        let reference = match (asked.name, asked.id) {
            (None, TopicId::ZERO) => Err("Neither topic name nor id were specified."),
            (None, id) => Ok(TopicReference::Id(id)),
            (Some(name), TopicId::ZERO) => Ok(TopicReference::Name(name.to_owned())),
            (Some(_), _) => Err("You may not specify both topic name and topic id."),
        };
        let line = match (reference, repeated.next(key)) {
            (Err(reason), _) => asked.refused(KafkaError::InvalidRequest, reason),
            (Ok(_), Place::Again) => continue,
            (Ok(TopicReference::Name(_)), Place::FirstOfSeveral) => {
                asked.refused(KafkaError::InvalidRequest, "Duplicate topic name.")
            }
            (Ok(TopicReference::Id(_)), Place::FirstOfSeveral) => {
                asked.refused(KafkaError::InvalidRequest, "Duplicate topic id.")
            }
            (Ok(reference), Place::Only) => {
                references.push(reference);
                asked.line(Ok(()))
            }
        };
        lines.push(line);
    }
    (lines, references)
}

/// Brings the metadata's answers to the lines that wait for one; what is gone is told with name and id.
fn gather(mut lines: Vec<Line>, outcomes: Result<Response, KafkaError>) -> Vec<Line> {
    let waiting = lines.iter_mut().filter(|line| line.outcome.is_ok());
    match outcomes {
        Ok(Response::DeleteTopics(outcomes)) => {
            for (line, outcome) in waiting.zip(outcomes) {
                line.outcome = match outcome {
                    Ok(topic) => {
                        line.name = Some(topic.name.to_string());
                        line.id = topic.id;
                        Ok(())
                    }
                    Err(error) => Err(Refused::from(&error)),
                };
            }
        }
        Ok(other) => unreachable!("DeleteTopics is answered by {other:?}"),
        Err(error) => waiting.for_each(|line| line.outcome = Err(Refused::new(error, error.name()))),
    }
    lines
}

fn response(lines: &[Line]) -> DeleteTopicsResponse<'_> {
    DeleteTopicsResponse { throttle_time_ms: 0, responses: lines.iter().map(result).collect() }
}

fn result(line: &Line) -> DeletableTopicResult<'_> {
    DeletableTopicResult {
        name: line.name.as_deref(),
        topic_id: line.id,
        error_code: told_of(ApiKey::DeleteTopics, &line.outcome),
        error_message: line.outcome.as_ref().err().map(|refused| refused.message.as_str()),
    }
}

#[cfg(test)]
mod tests;
