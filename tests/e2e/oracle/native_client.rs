//! The project's own client is held to Apache Kafka as well: what works with our broker alone is no client of Kafka's.

use e2e::broker;

#[test]
fn it_reads_what_it_wrote() {
    crate::native_client::round_trips();
}

#[test]
fn its_transactions_are_seen_when_they_are_committed() {
    crate::native_transactions::commits_and_aborts(broker::shared().kafka());
}

#[test]
fn its_transactions_take_offsets_along() {
    crate::native_transactions::offsets_go_along(broker::shared().kafka());
}

#[test]
fn its_transactions_go_by_the_first_protocol_where_the_broker_does() {
    crate::native_transactions::go_by_the_first_protocol();
}
