//! When members were put out of their groups without their knowing, by the history that groups keep of themselves.
//!
//! A member that hears nothing for its session's time is put out, and what it had is given to others: that is right, and what the
//! member believes until it hears counts for nothing. It is wrong before that time is up. A broker that has just been started
//! gives everybody a whole session.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::judge::Span;
use crate::group_records::GroupRecord;

/// `session.timeout.ms` of the classic groups, `group.consumer.session.timeout.ms` of the others.
pub const SESSION_MS: u64 = 6_000;

// What records are about, by Kafka's numbers.
const CLASSIC_GROUP: u16 = 2;
const CONSUMER_GROUP_MEMBER: u16 = 5;

/// Nanoseconds by the machine's clock.
const NS_IN_MS: u64 = 1_000_000;

/// The moments at which a group's members were its members no longer, by their ids: one may come back by the same.
pub type Departures = BTreeMap<String, Vec<u64>>;

/// All of a group.
pub fn departures(records: &[GroupRecord], group: &str) -> Departures {
    let mut departures = Departures::new();
    let mut classic_members = BTreeSet::new();
    for record in records {
        let (about, at_ns) = (&record.about, record.at_ms * NS_IN_MS);
        match record.kind {
            CLASSIC_GROUP if about["group"] == group => {
                let now = record.value.as_ref().map(|value| members(&value["data"])).unwrap_or_default();
                for gone in classic_members.difference(&now) {
                    departures.entry(String::clone(gone)).or_default().push(at_ns);
                }
                classic_members = now;
            }
            CONSUMER_GROUP_MEMBER if about["groupId"] == group && record.value.is_none() => {
                departures.entry(text(&about["memberId"])).or_default().push(at_ns);
            }
            _ => {}
        }
    }
    departures
}

fn members(group: &Value) -> BTreeSet<String> {
    let members = group["members"].as_array().expect("a list, empty at least");
    members.iter().map(|member| text(&member["memberId"])).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_else(|| panic!("{value}: an id")).to_owned()
}

/// Lets ownership end where the group ended it, and says how often that was. `started_ns` are the moments at which brokers were
/// started, in order.
pub fn cut(spans: &mut [Vec<Span>], departures: &Departures, started_ns: &[u64]) -> usize {
    let mut count = 0;
    for span in spans.iter_mut().flatten() {
        let mut moments = departures.get(&span.member).into_iter().flatten().copied();
        // One that leaves says so in the millisecond in which it is recorded, or before.
        let is_within = |gone: &u64| (span.from_ns..span.until_ns).contains(&(gone + NS_IN_MS));
        let Some(gone_ns) = moments.find(is_within) else { continue };
        let started_before = started_ns.iter().rfind(|started| **started < gone_ns);
        let lived_ns = gone_ns - started_before.expect("a broker put it out");
        assert!(lived_ns >= SESSION_MS * NS_IN_MS, "put out {lived_ns} ns after the start: {span:?}");
        span.until_ns = gone_ns.max(span.from_ns);
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::judge::shared;
    use super::*;

    fn span(member: &str, from_ms: u64, until_ms: u64) -> Vec<Span> {
        let (from_ns, until_ns) = (from_ms * NS_IN_MS, until_ms * NS_IN_MS);
        vec![Span { member: member.to_owned(), partition: 0, from_ns, until_ns, is_lost: false }]
    }

    #[test]
    fn members_depart_when_their_group_says_so() {
        let record = |at_ms, kind, about, value| GroupRecord { at_ms, kind, about, value };
        let classic = |at_ms, members: &[&str]| {
            let members: Vec<Value> = members.iter().map(|id| json!({ "memberId": id })).collect();
            let value = json!({ "data": { "members": members } });
            record(at_ms, CLASSIC_GROUP, json!({ "group": "one" }), Some(value))
        };
        let member = |at_ms, id, value| {
            record(at_ms, CONSUMER_GROUP_MEMBER, json!({ "groupId": "two", "memberId": id }), value)
        };
        let records = [
            classic(1, &["a", "b"]),
            classic(2, &["b", "c"]),
            member(3, "d", Some(json!({}))),
            member(4, "d", None),
            record(5, CLASSIC_GROUP, json!({ "group": "one" }), None),
            member(6, "d", Some(json!({}))),
            member(7, "d", None),
        ];
        let at_ms = |group| -> Vec<(String, u64)> {
            let flat = |(id, at_ns): (String, Vec<u64>)| {
                at_ns.into_iter().map(move |at| (id.clone(), at / NS_IN_MS))
            };
            departures(&records, group).into_iter().flat_map(flat).collect()
        };
        let expected =
            |of: &[(&str, u64)]| of.iter().map(|(id, at)| ((*id).to_owned(), *at)).collect::<Vec<_>>();
        assert_eq!(at_ms("one"), expected(&[("a", 2), ("b", 5), ("c", 5)]));
        assert_eq!(at_ms("two"), expected(&[("d", 4), ("d", 7)]), "it came back");
        assert_eq!(at_ms("three"), []);
    }

    fn out_at_ms(moments: &[u64]) -> Departures {
        Departures::from([("out".to_owned(), moments.iter().map(|at_ms| at_ms * NS_IN_MS).collect())])
    }

    #[test]
    fn what_is_owned_after_coming_back_is_owned() {
        let mut spans =
            [[span("out", 1, 9_000), span("out", 10_000, 20_000)].concat(), span("next", 15_000, 30_000)];
        assert_eq!(cut(&mut spans, &out_at_ms(&[9_000, 20_000]), &[0]), 0, "it knew");
        assert!(shared(&spans).is_some());
    }

    #[test]
    fn who_was_put_out_owned_nothing_from_then_on() {
        let mut spans = [span("out", 1, 20_000), span("next", 10_000, 30_000)];
        assert!(shared(&spans).is_some());
        let departures = out_at_ms(&[9_000, 20_000]);
        assert_eq!(cut(&mut spans, &departures, &[0, 3_000 * NS_IN_MS, 25_000 * NS_IN_MS]), 1);
        assert_eq!(shared(&spans), None);
    }

    #[test]
    #[should_panic(expected = "put out 5999000000 ns after the start")]
    fn nobody_is_put_out_before_a_session_is_over() {
        let departures = out_at_ms(&[9_000]);
        cut(&mut [span("out", 1, 20_000)], &departures, &[0, 3_001 * NS_IN_MS]);
    }
}
