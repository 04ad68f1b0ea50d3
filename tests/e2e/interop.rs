//! Clients among themselves: what one wrote, every other reads.

use e2e::broker;
use e2e::driver::{Client, Driver, Produce};
use e2e::records::{Maker, Record, awkward};
use e2e::{unique, wire};

use crate::suite::{assert_same, placed, wanted};

/// One topic for each compression, one partition for each writer.
#[test]
fn every_client_reads_what_every_client_wrote() {
    let broker = broker::shared();
    let clients: Vec<Client> = Client::ALL.into_iter().filter(|client| !client.left_out()).collect();
    let mut drivers: Vec<Driver> =
        clients.iter().map(|client| Driver::start(*client, broker.kafka())).collect();
    let mut make = Maker::new(9);
    for compression in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = unique(&format!("interop-{compression}"));
        let count = i32::try_from(clients.len()).expect("a few clients");
        wire::create_topic(broker.kafka(), &topic, count, &[("retention.ms", "-1")]);
        let mut all = Vec::new();
        for (partition, driver) in (0..).zip(&mut drivers) {
            if !driver.client().compressions().contains(&compression) {
                continue;
            }
            let mut records = awkward(driver.client());
            records.extend((0..20).map(|_| make.record(partition, 5_000)));
            records.iter_mut().for_each(|record| record.partition = partition);
            driver
                .produce(&topic, Produce { compression, ..Produce::default() }, &records)
                .expect("produced");
            all.extend(records);
        }
        let expected: Vec<Record> = placed(&all);
        for driver in &mut drivers {
            if driver.client().compressions().contains(&compression) {
                let read = driver.consume(&topic, &wanted(&expected)).expect("read");
                assert_same(compression, driver.client(), &expected, &read);
            }
        }
    }
}
