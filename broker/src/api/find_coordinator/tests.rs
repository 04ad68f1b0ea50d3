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
    for key_type in [SHARE, 9] {
        let (error, reason) = kind(key_type).err().expect("not here");
        assert!(!error.retriable(), "{error} for type {key_type}");
        assert!(!reason.is_empty());
    }
}

#[test]
fn a_coordinator_is_where_its_partition_is_led() {
    for (key_type, topic) in [(GROUP, GROUPS_TOPIC), (TRANSACTION, TRANSACTIONS_TOPIC)] {
        let kind = kind(key_type).expect("coordinated");
        let mut image = one_broker();
        let found = find_leader(&image, kind, "one").map_err(|(error, _)| error);
        assert_eq!(found, Err(KafkaError::CoordinatorNotAvailable));
        make_topic(&mut image, topic, 1, 50);
        assert_eq!(find_leader(&image, kind, "one").map(|endpoint| endpoint.id), Ok(BROKER));
    }
}

#[test]
fn the_answer_goes_into_every_version() {
    let mut image = one_broker();
    make_topic(&mut image, GROUPS_TOPIC, 1, 50);
    let groups = kind(GROUP).expect("coordinated");
    in_every_version!(
        FindCoordinatorResponse<'_>,
        |version| response(&request(GROUP, version), |key| find_leader(&image, groups, key), version),
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
    let refusal = kind(SHARE).err().expect("not here");
    in_every_version!(
        FindCoordinatorResponse<'_>,
        |version| response(&request(SHARE, version), |_| Err(refusal), version),
        |version, read| {
            if version >= LIST_VERSION_MIN {
                let is_refused = |found: &Coordinator<'_>| {
                    found.error_code == KafkaError::InvalidRequest.into()
                        && found.error_message == Some(refusal.1)
                };
                assert!(read.coordinators.iter().all(is_refused));
            } else {
                assert_eq!(read.error_code, KafkaError::InvalidRequest.into());
                assert_eq!(read.error_message, (version >= 1).then_some(refusal.1));
                assert_eq!(read.node_id, BrokerId(-1));
            }
        }
    );
}
