//! The project's own client is held to Apache Kafka as well: what works with our broker alone is no client of Kafka's.

#[test]
fn it_reads_what_it_wrote() {
    crate::native_client::round_trips();
}
