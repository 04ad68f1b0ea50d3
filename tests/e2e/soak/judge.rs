//! Who owned which partition when, as members say it, and whether two ever owned one at a time.
//!
//! Members stamp what they say with the machine's clock: before they give a partition away, and after they got it. So two spans
//! that overlap are two members that both believed to own a partition. A member that was out of the group for long before it
//! knew says that it *lost* its partitions, or ends with an error: what it believed until then counts for nothing. One that
//! waits in a call, or dies in it, may never say so: `departures` knows until when it really was a member.

use std::collections::{BTreeMap, BTreeSet};

/// One member's ownership of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Span {
    /// By which id the group knew it.
    pub member: String,
    pub partition: i32,
    pub from_ns: u64,
    pub until_ns: u64,
    pub is_lost: bool,
}

/// What a member says of its partitions.
#[derive(Debug, Default)]
pub struct Ownership {
    /// With the member's id and since when.
    open: BTreeMap<i32, (String, u64)>,
    spans: Vec<Span>,
}

impl Ownership {
    /// What these lines say; others may stand between them.
    pub fn read(lines: &[String]) -> Self {
        let mut ownership = Self::default();
        for line in lines {
            let mut words = line.split_whitespace();
            let (Some("at"), Some(at), Some(what)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let at_ns = at.parse().expect("a time");
            let list = words.next().unwrap_or_default();
            let partitions = || list.split(',').filter_map(|number| number.parse().ok());
            match what {
                "assigned" => {
                    let member = words.next().unwrap_or_default();
                    partitions().for_each(|partition| ownership.begin(partition, member, at_ns));
                }
                "revoked" => partitions().for_each(|partition| ownership.end(partition, at_ns, false)),
                "lost" => partitions().for_each(|partition| ownership.end(partition, at_ns, true)),
                // With a reason where it could not go on.
                "ended" => ownership.end_all(at_ns, !list.is_empty()),
                other => panic!("a member says {other:?}"),
            }
        }
        ownership
    }

    fn begin(&mut self, partition: i32, member: &str, at_ns: u64) {
        let before = self.open.insert(partition, (member.to_owned(), at_ns));
        assert!(before.is_none(), "it is given partition {partition} twice");
    }

    fn end(&mut self, partition: i32, until_ns: u64, is_lost: bool) {
        // What it says while it leaves comes after its end.
        if let Some((member, from_ns)) = self.open.remove(&partition) {
            self.spans.push(Span { member, partition, from_ns, until_ns, is_lost });
        }
    }

    /// It owned nothing from then on; or from before, without knowing.
    pub fn end_all(&mut self, until_ns: u64, is_lost: bool) {
        while let Some((partition, _)) = self.open.first_key_value() {
            self.end(*partition, until_ns, is_lost);
        }
    }

    /// What it owns now.
    pub fn owned(&self) -> BTreeSet<i32> {
        self.open.keys().copied().collect()
    }

    /// All that it owned, up to now.
    pub fn into_spans(mut self) -> Vec<Span> {
        self.end_all(u64::MAX, false);
        self.spans
    }
}

/// Two spans of different members with one partition at one time, if there are such.
pub fn shared(members: &[Vec<Span>]) -> Option<(Span, Span)> {
    let mut all: Vec<(usize, &Span)> = members
        .iter()
        .enumerate()
        .flat_map(|(member, spans)| spans.iter().map(move |span| (member, span)))
        .filter(|(_, span)| !span.is_lost)
        .collect();
    all.sort_by_key(|(_, span)| (span.partition, span.from_ns));
    let mut open: Option<(usize, &Span)> = None;
    for (member, span) in all {
        if let Some((owner, before)) = open
            && before.partition == span.partition
            && before.until_ns > span.from_ns
        {
            if owner != member {
                return Some((before.clone(), span.clone()));
            }
            if before.until_ns > span.until_ns {
                continue;
            }
        }
        open = Some((member, span));
    }
    None
}

#[test]
fn members_that_overlap_are_found_and_others_are_not() {
    let of = |lines: &[&str]| {
        let lines: Vec<String> = lines.iter().map(|line| (*line).to_owned()).collect();
        Ownership::read(&lines)
    };
    let first = ["at 10 assigned 0,1", "noise", "at 20 revoked 1"];
    assert_eq!(of(&first).owned(), BTreeSet::from([0]));
    let check = |second: &[&str], expected: Option<i32>| {
        let members = [of(&first).into_spans(), of(second).into_spans()];
        assert_eq!(shared(&members).map(|(span, _)| span.partition), expected, "{second:?}");
    };
    check(&["at 20 assigned 1"], None);
    check(&["at 19 assigned 1"], Some(1));
    check(&["at 1 assigned 1", "at 11 revoked 1"], Some(1));
    check(&["at 1 assigned 1", "at 11 lost 1"], None);
    check(&["at 1 assigned 0,1", "at 9 ended", "at 30 revoked 0,1"], None);
    check(&["at 1 assigned 0,1", "at 9 revoked 0", "at 30 ended"], Some(1));
    check(&["at 1 assigned 0,1", "at 9 revoked 0", "at 30 ended KafkaError{FATAL}"], None);
    check(&["at 100 assigned 0"], Some(0));
    check(&["at 100 assigned 2"], None);
}
