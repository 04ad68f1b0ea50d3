use super::*;
use crate::api::testing::{BROKER, in_every_version, make_topic, one_broker};

fn request(key_type: i8, version: i16) -> FindCoordinatorRequest<'static> {
    if version >= LIST_VERSION_MIN {
        FindCoordinatorRequest { key: "", key_type, coordinator_keys: vec!["one", "two"] }
    } else {
        FindCoordinatorRequest { key: "one", key_type, coordinator_keys: Vec::new() }
    }
}

#[test]
fn nobody_is_told_to_ask_again_for_what_is_not_there() {
    for version in ApiKey::FindCoordinator.versions() {
        assert_eq!(refusal(GROUP, version), None);
        for key_type in [TRANSACTION, SHARE, 9] {
            let (error, reason) = refusal(key_type, version).expect("not here");
            assert!(!error.retriable(), "{error} for type {key_type} in version {version}");
            assert!(!reason.is_empty());
        }
    }
}

#[test]
fn a_group_is_where_its_partition_is_led() {
    let mut image = one_broker();
    let found = find_group(&image, "g").map_err(|(error, _)| error);
    assert_eq!(found, Err(KafkaError::CoordinatorNotAvailable));
    make_topic(&mut image, GROUPS_TOPIC, 1, 50);
    assert_eq!(find_group(&image, "g").map(|endpoint| endpoint.id), Ok(BROKER));
}

#[test]
fn the_answer_goes_into_every_version() {
    let mut image = one_broker();
    make_topic(&mut image, GROUPS_TOPIC, 1, 50);
    in_every_version!(
        FindCoordinatorResponse<'_>,
        |version| response(&request(GROUP, version), |key| find_group(&image, key), version),
        |version, read| {
            if version >= LIST_VERSION_MIN {
                let keys: Vec<&str> = read.coordinators.iter().map(|found| found.key).collect();
                assert_eq!(keys, ["one", "two"]);
                assert!(read.coordinators.iter().all(|found| found.node_id == BROKER));
            } else {
                assert_eq!((read.error_code, read.node_id), (ErrorCode::NONE, BROKER));
            }
        }
    );
    let refused = |version| refusal(TRANSACTION, version).expect("not here");
    in_every_version!(
        FindCoordinatorResponse<'_>,
        |version| response(&request(TRANSACTION, version), |_| Err(refused(version)), version),
        |version, read| {
            if version >= LIST_VERSION_MIN {
                let is_refused = |found: &Coordinator<'_>| {
                    found.error_code == KafkaError::InvalidRequest.into()
                        && found.error_message == Some(NO_TRANSACTIONS)
                };
                assert!(read.coordinators.iter().all(is_refused));
            } else {
                assert_eq!(read.error_code, KafkaError::TransactionalIdAuthorizationFailed.into());
                assert_eq!(read.error_message, (version >= 1).then_some(NO_TRANSACTIONS));
                assert_eq!(read.node_id, BrokerId(-1));
            }
        }
    );
}
