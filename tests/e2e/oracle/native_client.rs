//! The project's own client is held to Apache Kafka as well: what works with our broker alone is no client of Kafka's.

#[test]
fn it_reads_what_it_wrote() {
    crate::native_client::round_trips();
}

#[test]
fn its_transactions_are_seen_when_they_are_committed() {
    crate::native_transactions::commits_and_aborts();
}

#[test]
fn its_transactions_take_offsets_along() {
    crate::native_transactions::offsets_go_along();
}
