//! FindCoordinator (key 10): refused for every key, since no broker coordinates groups or transactions yet.
//!
//! It is on offer because librdkafka before 2.11 takes a broker without it for one without lz4. Which error: clients ask
//! again for ever after COORDINATOR_NOT_AVAILABLE, and give up after INVALID_REQUEST, which Java explains as "the message
//! was sent to an incompatible broker"; the sentence beside it says what is missing. One client goes on asking even so:
//! librdkafka (versions up to 3) for a transactional id, unless it hears TRANSACTIONAL_ID_AUTHORIZATION_FAILED.

use std::sync::atomic::{AtomicBool, Ordering};

use protocol::api::ApiKey;
use protocol::error::{ErrorCode, KafkaError};
use protocol::messages::find_coordinator::{Coordinator, FindCoordinatorRequest, FindCoordinatorResponse};
use protocol::types::BrokerId;

use super::errors::told;
use super::reply::Reply;

/// What a key may be.
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

/// From this version on keys come in a list.
const LIST_VERSION_MIN: i16 = 4;

/// Answers.
pub fn handle(request: &FindCoordinatorRequest<'_>, reply: Reply) {
    static TOLD: AtomicBool = AtomicBool::new(false);
    let (error, reason) = refusal(request.key_type, reply.version());
    if !TOLD.swap(true, Ordering::Relaxed) {
        tracing::warn!(reason, "a client looked for a coordinator");
    }
    let version = reply.version();
    reply.send(&response(request, told(ApiKey::FindCoordinator, error), reason, version));
}

fn refusal(key_type: i8, version: i16) -> (KafkaError, &'static str) {
    match key_type {
        GROUP => (
            KafkaError::InvalidRequest,
            "This broker does not coordinate groups yet: assign partitions instead of subscribing.",
        ),
        TRANSACTION if version < LIST_VERSION_MIN => {
            (KafkaError::TransactionalIdAuthorizationFailed, NO_TRANSACTIONS)
        }
        TRANSACTION => (KafkaError::InvalidRequest, NO_TRANSACTIONS),
        SHARE => (KafkaError::InvalidRequest, "This broker does not coordinate share groups."),
        _ => (KafkaError::InvalidRequest, "This broker does not know this type of coordinator."),
    }
}

const NO_TRANSACTIONS: &str =
    "This broker does not coordinate transactions yet: leave transactional.id unset.";

fn response<'a>(
    request: &FindCoordinatorRequest<'a>,
    error_code: ErrorCode,
    reason: &'a str,
    version: i16,
) -> FindCoordinatorResponse<'a> {
    let nobody = BrokerId(-1);
    let is_list = version >= LIST_VERSION_MIN;
    let coordinator = |key: &&'a str| Coordinator {
        key,
        node_id: nobody,
        host: "",
        port: -1,
        error_code,
        error_message: Some(reason),
    };
    let coordinators = request.coordinator_keys.iter().map(coordinator).collect();
    FindCoordinatorResponse {
        throttle_time_ms: 0,
        error_code: if is_list { ErrorCode::NONE } else { error_code },
        error_message: (!is_list).then_some(reason),
        node_id: if is_list { BrokerId::default() } else { nobody },
        host: "",
        port: if is_list { 0 } else { -1 },
        coordinators,
    }
}

#[cfg(test)]
mod tests;
