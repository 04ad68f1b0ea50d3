use super::*;
use crate::api::testing::in_every_version;

fn ask(
    transactional_id: Option<&str>,
    producer_id: i64,
    producer_epoch: i16,
) -> Result<Option<Producer>, KafkaError> {
    check(&InitProducerIdRequest {
        transactional_id,
        transaction_timeout_ms: 60_000,
        producer_id: ProducerId(producer_id),
        producer_epoch: ProducerEpoch(producer_epoch),
    })
}

#[test]
fn an_idempotent_producer_begins_or_begins_anew() {
    assert_eq!(ask(None, -1, -1), Ok(None));
    assert_eq!(ask(None, 7, 3), Ok(Some(producer(ProducerId(7), ProducerEpoch(3)))));
}

#[test]
fn an_id_without_an_epoch_makes_no_sense() {
    assert_eq!(ask(None, 7, -1), Err(KafkaError::InvalidRequest));
    assert_eq!(ask(None, -1, 3), Err(KafkaError::InvalidRequest));
}

#[test]
fn a_transactional_id_has_a_name() {
    assert_eq!(ask(Some("mine"), -1, -1), Ok(None));
    assert_eq!(ask(Some(""), -1, -1), Err(KafkaError::InvalidRequest));
}

#[test]
fn the_answer_goes_into_every_version() {
    in_every_version!(
        InitProducerIdResponse,
        |_version| response(Ok(producer(ProducerId(7), ProducerEpoch(2)))),
        |_version, read| {
            assert_eq!((read.producer_id, read.producer_epoch), (ProducerId(7), ProducerEpoch(2)));
        }
    );
    let refused = Err(KafkaError::InvalidRequest);
    in_every_version!(InitProducerIdResponse, |_version| response(refused), |_version, read| {
        assert_eq!(read.error_code, KafkaError::InvalidRequest.into());
        assert_eq!((read.producer_id, read.producer_epoch), (ProducerId::NONE, ProducerEpoch::NONE));
    });
}
