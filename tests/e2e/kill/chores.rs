//! What an operator does while the producers produce: deletes records, deletes topics and makes them again.

use std::net::SocketAddr;

use e2e::broker::Target;
use e2e::wire::{Closed, Connection, text, topic_name};
use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, MetadataRequest,
};
use rand::Rng;
use rand::rngs::SmallRng;

use super::load::uuid;
use super::world::{Fate, PLANS, Plan, World};

const TIMEOUT_MS: i32 = 30_000;

/// Does chores, each after some more acknowledgements, until the broker is gone or the world says to stop.
pub fn run(address: SocketAddr, world: &World, deletes_records: bool, random: &mut SmallRng) {
    let Ok(mut connection) = Connection::try_open(address) else { return };
    loop {
        let trimmed = plan_of(Fate::Trimmed);
        let churned = plan_of(Fate::Churned);
        let done = if deletes_records && random.random_ratio(3, 4) {
            let partition = random.random_range(0..PLANS[trimmed].partitions);
            delete_records(&mut connection, world, trimmed, partition, random)
        } else {
            delete_topic(&mut connection, world, churned)
                .and_then(|()| create_topic(&mut connection, world, churned))
        };
        if done.is_err() || world.lock().stopping {
            return;
        }
    }
}

fn plan_of(fate: Fate) -> usize {
    PLANS.iter().position(|plan| plan.fate == fate).expect("every fate has a plan")
}

/// Makes a topic and takes it into the books.
pub fn create_topic(connection: &mut Connection, world: &World, plan: usize) -> Result<(), Closed> {
    let Plan { name, partitions, configs, .. } = PLANS[plan];
    let configs = configs.iter().map(|(key, value)| {
        CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
    });
    let topic = CreatableTopic::default()
        .with_name(topic_name(name))
        .with_num_partitions(partitions)
        .with_replication_factor(-1)
        .with_configs(configs.collect());
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
    let answer = connection.try_call(7, &request)?;
    let made = &answer.topics[0];
    match made.error_code {
        0 => world.lock().adopt(plan, made.topic_id.into_bytes()),
        code => world.wrong(format!("CreateTopics of {name}: error {code} ({:?})", made.error_message)),
    }
    Ok(())
}

fn delete_topic(connection: &mut Connection, world: &World, plan: usize) -> Result<(), Closed> {
    if let Some(topic) = world.lock().topics.get_mut(&plan) {
        topic.doomed = true;
    }
    let topic = DeleteTopicState::default().with_name(Some(topic_name(PLANS[plan].name)));
    let request = DeleteTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
    let answer = connection.try_call(6, &request)?;
    match answer.responses[0].error_code {
        0 => world.lock().bury(plan),
        code => world.wrong(format!("DeleteTopics of {}: error {code}", PLANS[plan].name)),
    }
    Ok(())
}

fn delete_records(
    connection: &mut Connection,
    world: &World,
    plan: usize,
    partition: i32,
    random: &mut SmallRng,
) -> Result<(), Closed> {
    let (incarnation, before) = {
        let mut state = world.lock();
        let incarnation = state.topics[&plan].incarnation;
        let ledger = state.ledgers.get_mut(&(incarnation, partition)).expect("it is on the books");
        let Some(last) = ledger.last_acked() else { return Ok(()) };
        let before = last - random.random_range(0..=last.min(400));
        ledger.ask_deletion(before);
        (incarnation, before)
    };
    let wanted = DeleteRecordsPartition::default().with_partition_index(partition).with_offset(before);
    let topic =
        DeleteRecordsTopic::default().with_name(topic_name(PLANS[plan].name)).with_partitions(vec![wanted]);
    let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(TIMEOUT_MS);
    let answer = connection.try_call(2, &request)?;
    let answer = &answer.topics[0].partitions[0];
    if answer.error_code != 0 || answer.low_watermark < before {
        let (code, low) = (answer.error_code, answer.low_watermark);
        world.wrong(format!("DeleteRecords before {before}: error {code}, low watermark {low}"));
    }
    // Apache Kafka writes a log's start down once a minute: after kill -9 deleted records come back. Ours stay deleted.
    if Target::chosen() == Target::Iolite {
        let mut state = world.lock();
        let ledger = state.ledgers.get_mut(&(incarnation, partition)).expect("it is on the books");
        ledger.ack_deletion(answer.low_watermark);
    }
    Ok(())
}

/// After a restart: which of the topics whose making or deletion was cut short are there?
pub fn take_stock(connection: &mut Connection, world: &World) {
    let names =
        PLANS.iter().map(|plan| MetadataRequestTopic::default().with_name(Some(topic_name(plan.name))));
    let request =
        MetadataRequest::default().with_topics(Some(names.collect())).with_allow_auto_topic_creation(false);
    let answer = connection.call(12, &request);
    for (plan, told) in answer.topics.iter().enumerate() {
        assert_eq!(
            told.name.as_ref().map(|name| name.0.as_str()),
            Some(PLANS[plan].name),
            "in the order asked"
        );
        let known = world.lock().topics.get(&plan).copied();
        let there = (told.error_code == 0).then(|| told.topic_id.into_bytes());
        let churned = PLANS[plan].fate == Fate::Churned;
        match (known, there) {
            (Some(topic), Some(id)) if topic.id == id => {}
            (Some(topic), None) if topic.doomed => world.lock().bury(plan),
            (None, None) => {}
            // Its making was cut short, but it was made.
            (None, Some(id)) if churned => world.lock().adopt(plan, id),
            (known, there) => world.wrong(format!(
                "topic {}: on the books {known:?}, on the broker {:?} (error {})",
                PLANS[plan].name,
                there.map(uuid),
                told.error_code
            )),
        }
        if let Some(topic) = world.lock().topics.get_mut(&plan) {
            topic.doomed = false;
        }
    }
    for plan in 0..PLANS.len() {
        let missing = !world.lock().topics.contains_key(&plan);
        if missing {
            create_topic(connection, world, plan).expect("the broker lives");
        }
    }
}
