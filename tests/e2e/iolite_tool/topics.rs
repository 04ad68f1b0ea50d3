//! `iolite topics`.

use e2e::broker;
use e2e::{unique, wire};
use kafka_protocol::messages::{MetadataRequest, metadata_request::MetadataRequestTopic};
use serde_json::json;

use super::{FAILED, NOT_FOUND, done, refused, told};

/// How many partitions the topic has, as the broker tells who asks otherwise; none where it is not there.
fn partitions(topic: &str) -> Option<usize> {
    let wanted = MetadataRequestTopic::default().with_name(Some(wire::topic_name(topic)));
    let request =
        MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let response = wire::Connection::open(broker::shared().kafka()).call(9, &request);
    let [topic] = &response.topics[..] else { panic!("one topic was asked for: {response:?}") };
    (topic.error_code == 0).then_some(topic.partitions.len())
}

fn names(listed: &serde_json::Value) -> Vec<&str> {
    let list = listed.as_array().expect("a list");
    list.iter().map(|topic| topic["name"].as_str().expect("a name")).collect()
}

#[test]
fn a_topic_is_made_described_changed_and_deleted() {
    let topic = unique("tool-life");
    let made = told(&["topics", "create", &topic, "--partitions", "3", "--set", "retention.ms=-1"]);
    assert_eq!(made, json!({"topic": topic, "done": "created", "partitions": 3}));
    assert_eq!(partitions(&topic), Some(3));
    let listed = told(&["topics", "list"]);
    assert!(names(&listed).contains(&topic.as_str()) && names(&listed).is_sorted(), "{listed}");

    let described = told(&["topics", "describe", &topic]);
    let one = &described[0];
    let leader = one["partitions"][0]["leader"].as_i64().expect("a leader");
    let partition = |index: i32| {
        let epoch = &one["partitions"][usize::try_from(index).expect("small")]["leader_epoch"];
        assert!(epoch.as_i64().is_some_and(|epoch| epoch >= 0), "{one}");
        json!({
            "partition": index, "leader": leader, "leader_epoch": epoch, "replicas": [leader], "in_sync": [leader],
            "offline": [], "start": 0, "end": 0,
        })
    };
    assert_eq!(one["name"], topic.as_str());
    assert_eq!(one["internal"], false);
    assert_eq!(one["id"].as_str().map(str::len), Some(22), "{one}");
    assert_eq!(one["partitions"], json!([partition(0), partition(1), partition(2)]));
    assert_eq!(one["configs"], json!([{"name": "retention.ms", "value": "-1", "source": "topic"}]));

    let set = ["--set", "max.message.bytes=2000000", "--unset", "retention.ms"];
    let changed = told(&[&["topics", "alter", &topic, "--partitions", "5"][..], &set].concat());
    assert_eq!(changed, json!({"topic": topic, "done": "changed", "partitions": 5}));
    assert_eq!(partitions(&topic), Some(5));
    let described = told(&["topics", "describe", &topic]);
    assert_eq!(described[0]["partitions"].as_array().map(Vec::len), Some(5));
    let configs = &described[0]["configs"];
    assert_eq!(*configs, json!([{"name": "max.message.bytes", "value": "2000000", "source": "topic"}]));
    let all = told(&["topics", "describe", &topic, "--configs"]);
    let all = all[0]["configs"].as_array().expect("configs");
    for entry in [
        json!({"name": "max.message.bytes", "value": "2000000", "source": "topic"}),
        json!({"name": "segment.bytes", "value": "1073741824", "source": "default"}),
    ] {
        assert!(all.contains(&entry), "{entry} in {all:?}");
    }

    assert_eq!(told(&["topics", "delete", &topic]), json!([{"topic": topic, "done": "deleted"}]));
    assert_eq!(partitions(&topic), None);
    let listed = told(&["topics", "list"]);
    assert!(!names(&listed).contains(&topic.as_str()), "{listed}");
}

#[test]
fn people_get_tables() {
    let topic = unique("tool-table");
    assert_eq!(done(&["topics", "create", &topic, "-p", "2"]), [format!("{topic}: created, 2 partitions")]);
    let listed = done(&["topics", "list"]);
    let columns = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(columns(&listed[0]), ["topic", "partitions", "replicas", "id"]);
    let row = listed.iter().map(|line| columns(line)).find(|row| row[0] == topic).expect("the topic's row");
    assert_eq!(row[1..3], ["2", "1"]);
    let described = done(&["topics", "describe", &topic]);
    assert!(described[0].starts_with(&format!("{topic}  id {}  2 partitions", row[3])), "{described:?}");
    assert_eq!(
        columns(&described[1]),
        ["partition", "leader", "epoch", "replicas", "in", "sync", "start", "end"]
    );
    assert_eq!(described.len(), 4, "{described:?}");
    let altered = done(&["topics", "alter", &topic, "--set", "retention.ms=-1"]);
    assert_eq!(altered, [format!("{topic}: changed, 1 value of its configuration, 2 partitions")]);
    assert_eq!(done(&["topics", "describe", &topic])[4..], ["  retention.ms=-1"]);
    assert_eq!(done(&["topics", "delete", &topic]), [format!("{topic}: deleted")]);
}

#[test]
fn what_is_refused_says_why_and_what_to_do() {
    let (topic, missing) = (unique("tool-refused"), unique("tool-missing"));
    done(&["topics", "create", &topic, "--partitions", "2"]);
    let again = ["topics", "create", &topic, "--partitions", "9"];
    refused(&again, FAILED, &[&topic, "--if-not-exists"]);
    let lenient = told(&[&again[..], &["--if-not-exists"]].concat());
    assert_eq!(lenient, json!({"topic": topic, "done": "there already", "partitions": 2}));
    for words in [
        &["topics", "describe", &missing][..],
        &["topics", "alter", &missing, "--partitions", "3"],
        &["topics", "alter", &missing, "--set", "retention.ms=1"],
    ] {
        refused(words, NOT_FOUND, &[&missing, "iolite topics list"]);
    }
    refused(
        &["topics", "create", &missing, "--set", "retention.ms=soon"],
        FAILED,
        &[&missing, "retention.ms"],
    );
    refused(&["topics", "create", &missing, "--set", "no.such.key=1"], FAILED, &[&missing, "no.such.key"]);
    refused(&["topics", "create", "no/name"], FAILED, &["no/name"]);
    assert_eq!(partitions(&missing), None);
    refused(&["topics", "alter", &topic, "--partitions", "2"], FAILED, &["2 partitions already"]);
    refused(&["topics", "alter", &topic, "--set", "retention.ms=soon"], FAILED, &[&topic, "retention.ms"]);
    assert_eq!(told(&["topics", "describe", &topic])[0]["configs"], json!([]));

    // What is deleted before one that is not there is told.
    let finished = super::iolite(&["topics", "delete", &topic, &missing], b"");
    assert_eq!(finished.status.code(), Some(NOT_FOUND), "{finished}");
    assert_eq!(finished.stdout, [format!("{topic}: deleted")]);
    assert!(finished.stderr.len() == 1 && finished.stderr[0].contains(&missing), "{finished}");
    let gone = told(&["topics", "delete", &topic, "--if-exists"]);
    assert_eq!(gone, json!([{"topic": topic, "done": "not there"}]));
}
