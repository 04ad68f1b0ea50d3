//! Bad input: the error for each, and that nothing has changed.

use super::script::Script;
use super::*;

/// What is there before each case: group g in generation 1 with a, b and the static member `one`, group e with an offset.
const BEFORE: [&str; 9] = [
    "1 commit e - -1 t/0=1",
    "2 join g a range version=0 meta=t",
    "3 join g b range version=0 meta=t",
    "4 join g c range static=one meta=t",
    "at 6000",
    "5 sync g a#1 1 a#1=x b#2=y one#3=z",
    "6 sync g b#2 1",
    "7 sync g one#3 1",
    "8 commit g a#1 1 t/0=9",
];

/// A request, its answer.
const CASES: [(&str, &str); 45] = [
    ("join g a range session=5999", "InvalidSessionTimeout"),
    ("join g a range session=1800001", "InvalidSessionTimeout"),
    ("join g a -", "InconsistentProtocol"),
    ("join g a rr", "InconsistentProtocol"),
    ("join g a range type=connect", "InconsistentProtocol"),
    ("join new a range type=", "InconsistentProtocol"),
    ("join new a -", "InconsistentProtocol"),
    ("join new a#1 range", "UnknownMember a#1"),
    ("join g x#99 range", "UnknownMember x#99"),
    ("join g a range static=", "InvalidRequest(\"a static member's name is not empty\")"),
    ("join g a#1 range static=two", "UnknownMember a#1"),
    ("join g a#1 range static=one", "FencedInstance a#1"),
    ("join g a#1 rr", "InconsistentProtocol a#1"),
    ("join e a#1 -", "InconsistentProtocol a#1"),
    ("join e a#1 range", "UnknownMember a#1"),
    ("sync new a#1 1", "UnknownMember"),
    ("sync e a#1 1", "UnknownMember"),
    ("sync g x#99 1", "UnknownMember"),
    ("sync g a#1 2", "IllegalGeneration"),
    ("sync g a#1 0", "IllegalGeneration"),
    ("sync g a#1 1 static=one", "FencedInstance"),
    ("sync g a#1 1 static=two", "UnknownMember"),
    ("sync g a#1 1 type=connect", "InconsistentProtocol"),
    ("sync g a#1 1 protocol=rr", "InconsistentProtocol"),
    ("beat new a#1 1", "UnknownMember"),
    ("beat e a#1 1", "UnknownMember"),
    ("beat g x#99 1", "UnknownMember"),
    ("beat g a#1 2", "IllegalGeneration"),
    ("beat g a#1 1 static=one", "FencedInstance"),
    ("beat g - 1 static=one", "FencedInstance"),
    ("leave new a#1", "UnknownMember"),
    ("leave g x#99", "UnknownMember"),
    ("leave g @two", "UnknownMember"),
    ("leave g -", "UnknownMember"),
    ("commit new a#1 1 t/0=1", "GroupNotFound"),
    ("commit g a#1 2 t/0=1", "IllegalGeneration"),
    ("commit g a#1 -1 t/0=1", "IllegalGeneration"),
    ("commit g x#99 1 t/0=1", "UnknownMember"),
    ("commit g - -1 t/0=1", "UnknownMember"),
    ("commit g b#2 1 t/0=1 static=one", "FencedInstance"),
    ("commit e a#1 1 t/0=1", "UnknownMember"),
    ("txn 7 g a#1 2 t/0=1", "IllegalGeneration"),
    ("forget new t/0", "GroupNotFound"),
    ("delete new", "GroupNotFound"),
    ("describe new", "GroupNotFound"),
];

#[test]
fn each_bad_request_is_refused_and_changes_nothing() {
    for (request, expected) in CASES {
        let mut run = Script::new(GroupSettings::default());
        for line in BEFORE {
            run.run(line);
        }
        let state = |run: &mut Script| {
            ["9 list", "9 describe g", "9 fetch g all", "9 fetch e all"].map(|line| run.run(line))
        };
        let before = state(&mut run);
        let (records, memory) = (run.log.len(), run.coordinator.memory_bytes());
        let answer = run.run(&format!("10 {request}"));
        assert_eq!(answer.trim_start_matches("10").trim_start_matches('*').trim(), expected, "{request}");
        assert_eq!(state(&mut run), before, "{request}");
        assert_eq!((run.log.len(), run.coordinator.memory_bytes()), (records, memory), "{request}");
    }
}

#[test]
fn an_empty_group_id_is_refused_where_kafka_refuses_it() {
    let mut run = Script::new(GroupSettings::default());
    let group = Name::default;
    let member = MemberName::default;
    let asked = [
        Request::Sync(Sync {
            group: group(),
            member: member(),
            generation: 0,
            protocol_type: None,
            protocol_name: None,
            assignments: vec![],
        }),
        Request::Heartbeat(Heartbeat { group: group(), member: member(), generation: 0 }),
        Request::Leave(Leave { group: group(), members: vec![] }),
        Request::DeleteOffsets(DeleteOffsets { group: group(), topics: vec![] }),
    ];
    for request in asked {
        let answer = run.ask(Ticket(1), request);
        assert!(answer.contains("InvalidGroupId"), "{answer}");
    }
    let commit = Commit {
        group: group(),
        member: member(),
        generation: -1,
        tells_epoch: true,
        retention_ms: None,
        topics: vec![],
    };
    assert_eq!(run.ask(Ticket(1), Request::Commit(commit)), "1* \n", "old consumers commit without a group");
}

#[test]
fn names_that_no_record_holds_are_refused() {
    let mut run = Script::new(GroupSettings::default());
    let long = "x".repeat(40_000);
    assert!(run.run(&format!("1 join {long} a range")).contains("InvalidGroupId"));
    assert!(run.run(&format!("1 join g a range static={long}")).contains("InvalidRequest"));
    assert!(run.run(&format!("1 commit {long} - -1 t/0=1")).contains("InvalidGroupId"));
    let answer = run.run(&format!("1 join g {} range", "\u{20ac}".repeat(200)));
    assert!(answer.contains("MemberIdRequired"), "a long client id is shortened: {answer}");
}

#[test]
fn records_that_make_no_sense_are_passed_over() {
    let mut coordinator = Coordinator::new(GroupSettings::default());
    let key = b"\0\x02\0\x01g";
    assert!(matches!(coordinator.replay(None, b"\0", None), Err(ReplayError::Record(_))));
    assert!(matches!(coordinator.replay(None, key, Some(b"\0\x09")), Err(ReplayError::Record(_))));
    assert_eq!(coordinator.replay(None, b"\0\x0b\0\x01g", Some(b"?")), Ok(()), "a share group's");
    let twice = b"\0\0\0\x08consumer\0\0\0\x05\0\x05range\0\x01m\0\0\0\x02\
        \0\x01m\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01m\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    assert!(matches!(coordinator.replay(None, key, Some(twice)), Err(ReplayError::Content(_))));
    assert_eq!(coordinator.replay(None, key, None), Ok(()), "a tombstone of nothing");
    assert_eq!((coordinator.group_count(), coordinator.memory_bytes()), (0, 0));
}
