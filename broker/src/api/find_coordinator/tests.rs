use super::*;
use crate::api::testing::in_every_version;

fn request(key_type: i8, version: i16) -> FindCoordinatorRequest<'static> {
    if version >= LIST_VERSION_MIN {
        FindCoordinatorRequest { key: "", key_type, coordinator_keys: vec!["one", "two"] }
    } else {
        FindCoordinatorRequest { key: "one", key_type, coordinator_keys: Vec::new() }
    }
}

#[test]
fn no_client_is_told_to_ask_again() {
    for version in ApiKey::FindCoordinator.versions() {
        for key_type in [GROUP, TRANSACTION, SHARE, 9] {
            let (error, reason) = refusal(key_type, version);
            assert!(!error.retriable(), "{error} for type {key_type} in version {version}");
            assert!(!reason.is_empty());
        }
    }
}

#[test]
fn the_answer_goes_into_every_version() {
    let made = |version| {
        let (error, reason) = refusal(TRANSACTION, version);
        response(&request(TRANSACTION, version), error.into(), reason, version)
    };
    in_every_version!(FindCoordinatorResponse<'_>, |version| made(version), |version, read| {
        if version >= LIST_VERSION_MIN {
            let keys: Vec<&str> = read.coordinators.iter().map(|coordinator| coordinator.key).collect();
            assert_eq!(keys, ["one", "two"]);
            assert!(
                read.coordinators.iter().all(|found| found.error_code == KafkaError::InvalidRequest.into())
            );
            assert!(read.coordinators.iter().all(|found| found.error_message == Some(NO_TRANSACTIONS)));
        } else {
            assert_eq!(read.error_code, KafkaError::TransactionalIdAuthorizationFailed.into());
            assert_eq!(read.error_message, (version >= 1).then_some(NO_TRANSACTIONS));
            assert_eq!(read.node_id, BrokerId(-1));
        }
    });
}
