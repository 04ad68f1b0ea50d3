//! The suite, for each client.

macro_rules! suite {
    ($module:ident, $client:ident: $($case:ident)*) => {
        mod $module {
            $(
                #[test]
                fn $case() {
                    crate::suite::$case(crate::suite::Bench::new(e2e::driver::Client::$client));
                }
            )*
        }
    };
}

macro_rules! every_client {
    ($($cases:tt)*) => {
        suite!(confluent, Confluent: $($cases)*);
        suite!(kafka_python, KafkaPython: $($cases)*);
        suite!(kafkajs, KafkaJs: $($cases)*);
        suite!(franz_go, FranzGo: $($cases)*);
        suite!(java, Java: $($cases)*);
    };
}

every_client! {
    every_compression
    awkward_records
    sizes_from_one_byte_to_one_mebibyte
    a_hundred_partitions
    every_acks
    reading_from_any_offset
    a_group_goes_on_where_it_was
    waiting_at_the_end
    a_topic_made_by_producing_to_it
    topics
    configs
    offsets_by_time_and_deleted_records
    the_cluster_it_sees
}

suite! {
    native, Native:
    every_compression
    awkward_records
    sizes_from_one_byte_to_one_mebibyte
    a_hundred_partitions
    every_acks
    reading_from_any_offset
    a_group_goes_on_where_it_was
    waiting_at_the_end
}
