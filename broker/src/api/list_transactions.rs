//! ListTransactions (key 66): the transactional ids that this broker coordinates.

use std::rc::Rc;
use std::sync::Arc;

use logic::transaction::TransactionState as State;
use protocol::api::ApiKey;
use protocol::error::KafkaError;
use protocol::messages::list_transactions::{
    ListTransactionsRequest, ListTransactionsResponse, TransactionState,
};
use regex::RegexBuilder;

use super::errors::told;
use super::reply::Reply;
use super::transact::{ask_all, transaction_refusal};
use crate::limits::PATTERN_BYTES_MAX;
use crate::shard::Shard;
use crate::shard::messages::{ListRequest, ListedTransaction, TransactionReply};

/// Answers.
pub async fn handle(shard: &Rc<Shard>, request: &ListTransactionsRequest<'_>, reply: Reply) {
    let unknown: Vec<&str> = unknown_states(request);
    let outcome = match wanted(request) {
        Ok(wanted) => list(shard, wanted).await,
        Err(error) => Err(error),
    };
    reply.send(&response(unknown, &outcome));
}

fn unknown_states<'a>(request: &ListTransactionsRequest<'a>) -> Vec<&'a str> {
    request.state_filters.iter().copied().filter(|name| State::from_name(name).is_none()).collect()
}

fn wanted(request: &ListTransactionsRequest<'_>) -> Result<ListRequest, KafkaError> {
    let states = request.state_filters.iter().filter_map(|name| State::from_name(name)).collect();
    let pattern = request.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
    // The whole id has to fit the pattern.
    let compile =
        |pattern: &str| RegexBuilder::new(&format!("^(?:{pattern})$")).size_limit(PATTERN_BYTES_MAX).build();
    Ok(ListRequest {
        states: (!request.state_filters.is_empty()).then_some(states),
        producer_ids: request.producer_id_filters.clone(),
        open_longer_than_ms: Some(request.duration_filter).filter(|duration| *duration >= 0),
        pattern: pattern.map(compile).transpose().map_err(|_| KafkaError::InvalidRegularExpression)?,
    })
}

async fn list(shard: &Rc<Shard>, wanted: ListRequest) -> Result<Vec<ListedTransaction>, KafkaError> {
    let mut listed = Vec::new();
    for answer in ask_all(shard, &Arc::new(wanted)).await {
        match answer {
            Ok(TransactionReply::Listed(lines)) => listed.extend(lines),
            Ok(_) => unreachable!("a list is answered as such"),
            Err(refusal) => match transaction_refusal(refusal, KafkaError::ProducerFenced) {
                // Another broker is asked for those.
                KafkaError::NotCoordinator => {}
                error => return Err(error),
            },
        }
    }
    Ok(listed)
}

fn response<'a>(
    unknown_state_filters: Vec<&'a str>,
    outcome: &'a Result<Vec<ListedTransaction>, KafkaError>,
) -> ListTransactionsResponse<'a> {
    let line = |listed: &'a ListedTransaction| TransactionState {
        transactional_id: &listed.id,
        producer_id: listed.producer_id,
        transaction_state: listed.state.name(),
    };
    let error = outcome.as_ref().err().copied().unwrap_or(KafkaError::None);
    ListTransactionsResponse {
        throttle_time_ms: 0,
        error_code: told(ApiKey::ListTransactions, error),
        unknown_state_filters,
        transaction_states: outcome.as_deref().unwrap_or_default().iter().map(line).collect(),
    }
}

#[cfg(test)]
mod tests {
    use protocol::types::ProducerId;

    use super::*;
    use crate::api::testing::in_every_version;

    fn request(pattern: Option<&'static str>) -> ListTransactionsRequest<'static> {
        ListTransactionsRequest {
            state_filters: vec!["Ongoing", "Asleep"],
            producer_id_filters: Vec::new(),
            duration_filter: -1,
            transactional_id_pattern: pattern,
        }
    }

    #[test]
    fn the_answer_goes_into_every_version() {
        let line =
            ListedTransaction { id: "payments".into(), producer_id: ProducerId(3), state: State::Ongoing };
        let outcome = Ok(vec![line]);
        in_every_version!(
            ListTransactionsResponse<'_>,
            |_version| response(unknown_states(&request(None)), &outcome),
            |_version, read| {
                assert_eq!(read.unknown_state_filters, ["Asleep"]);
                assert_eq!(read.transaction_states[0].transaction_state, "Ongoing");
            }
        );
    }

    #[test]
    fn a_pattern_is_matched_by_the_whole_id_and_a_broken_one_is_refused() {
        let found = wanted(&request(Some("pay.*|x"))).expect("a pattern").pattern.expect("asked for");
        assert!(found.is_match("payments"));
        assert!(!found.is_match("repay"));
        assert_eq!(wanted(&request(Some("("))).err(), Some(KafkaError::InvalidRegularExpression));
        let none = wanted(&request(None)).expect("no pattern");
        assert_eq!(none.states, Some(vec![State::Ongoing]));
        assert!(none.pattern.is_none());
    }
}
