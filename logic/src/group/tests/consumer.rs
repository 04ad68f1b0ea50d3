//! Consumer groups (KIP-848): one short story for each transition, and a table of bad requests.

use super::script::{Script, check, check_with};
use super::*;

#[test]
fn the_first_member_gets_everything() {
    check(
        "topic t 3
         1 member g a 0 topics=t,missing
         2 member g a 1
         3 members g
         4 list
         5 describe g
         restart
         6 members g
         7 member g a 1 owned=t/0,t/1,t/2",
        "1* a epoch 1 owns t/0 t/1 t/2
         2* a epoch 1
         3* Stable epoch 1 target 1 uniform a@1:t/0,t/1,t/2
         4* groups g:consumer:Stable:consumer
         5* GroupNotFound
         6* Stable epoch 1 target 1 uniform a@1:t/0,t/1,t/2
         7* a epoch 1",
    );
}

#[test]
fn a_second_member_waits_for_what_the_first_gives_back() {
    check(
        "topic t 4
         1 member g a 0 topics=t
         2 member g b 0 topics=t
         3 members g
         4 member g a 1 owned=t/0,t/1,t/2,t/3
         5 member g b 2
         6 member g a 1 owned=t/0,t/1,t/2
         7 member g a 1 owned=t/0,t/1
         8 member g b 2
         9 members g",
        "1* a epoch 1 owns t/0 t/1 t/2 t/3
         2* b epoch 2 owns
         3* Reconciling epoch 2 target 2 uniform a@1:t/0,t/1,t/2,t/3->t/0,t/1 b@2:->t/2,t/3
         4* a epoch 1 owns t/0 t/1
         5* b epoch 2
         6* a epoch 1
         7* a epoch 2
         8* b epoch 2 owns t/2 t/3
         9* Stable epoch 2 target 2 uniform a@2:t/0,t/1 b@2:t/2,t/3",
    );
}

#[test]
fn what_a_member_leaves_goes_to_the_others() {
    check(
        "topic t 2
         1 member g a 0 topics=t
         2 member g b 0 topics=t
         3 member g a 1 owned=t/0
         4 member g b 2
         5 member g b -1
         6 member g a 2
         7 member g a -1
         8 members g
         9 member g a 3
         10 member g a 0 topics=t",
        "1* a epoch 1 owns t/0 t/1
         2* b epoch 2 owns
         3* a epoch 2 owns t/0
         4* b epoch 2 owns t/1
         5* b epoch -1
         6* a epoch 3 owns t/0 t/1
         7* a epoch -1
         8* Empty epoch 4 target 3 uniform
         9* UnknownMember
         10* a epoch 5 owns t/0 t/1",
    );
}

#[test]
fn a_silent_member_is_fenced() {
    check(
        "topic t 2
         1 member g a 0 topics=t
         2 member g b 0 topics=t
         at 40000
         3 member g b 2
         at 44999
         4 member g a 1 owned=t/0
         at 84999
         5 member g b 2
         at 89999
         6 members g
         7 member g a 2",
        "1* a epoch 1 owns t/0 t/1
         2* b epoch 2 owns
         3* b epoch 2
         4* a epoch 2 owns t/0
         5* b epoch 2 owns t/1
         6* Assigning epoch 3 target 2 uniform b@2:t/1
         7* UnknownMember",
    );
}

#[test]
fn configs_of_a_group_hold_from_the_next_heartbeat_on() {
    check(
        "topic t 1
         1 member g a 0 topics=t
         2 member h b 0 topics=t
         config g consumer.session.timeout.ms=50000 consumer.heartbeat.interval.ms=6000
         at 1000
         3 member g a 1
         4 member h b 1
         at 46000
         5 members h
         at 50999
         6 member g a 1
         restart
         at 100998
         7 member g a 1
         config g
         8 member g a 1
         at 145998
         9 members g",
        "1* a epoch 1 owns t/0
         2* b epoch 1 owns t/0
         3* a epoch 1 every 6000 ms
         4* b epoch 1
         5* Empty epoch 2 target 1 uniform
         6* a epoch 1 every 6000 ms
         7* a epoch 1 every 6000 ms
         8* a epoch 1
         9* Empty epoch 2 target 1 uniform",
    );
}

#[test]
fn who_gives_nothing_back_in_time_is_fenced() {
    check(
        "topic t 2
         1 member g a 0 topics=t rebalance=20000
         2 member g b 0 topics=t
         3 member g a 1
         at 19999
         4 member g a 1 owned=t/0,t/1
         at 20000
         5 member g a 1
         6 member g b 2",
        "1* a epoch 1 owns t/0 t/1
         2* b epoch 2 owns
         3* a epoch 1 owns t/0
         4* a epoch 1
         5* UnknownMember
         6* b epoch 3 owns t/0 t/1",
    );
}

#[test]
fn topics_that_come_grow_and_go_are_noticed() {
    check(
        "topic t 1
         1 member g a 0 topics=t,u
         topic v 9
         2 member g a 1
         topic u 1
         3 member g a 1
         topic t 2
         4 member g a 2
         drop u
         5 member g a 3 owned=t/0,t/1,u/0
         6 member g a 3 owned=t/0,t/1",
        "1* a epoch 1 owns t/0
         2* a epoch 1
         3* a epoch 2 owns t/0 u/0
         4* a epoch 3 owns t/0 t/1 u/0
         5* a epoch 3 owns t/0 t/1
         6* a epoch 4",
    );
}

#[test]
fn a_changed_subscription_gives_back_at_once() {
    check(
        "topic t 1
         topic u 1
         1 member g a 0 topics=t
         2 member g a 1 topics=u
         3 member g a 1 owned=-
         4 members g",
        "1* a epoch 1 owns t/0
         2* a epoch 1 owns
         3* a epoch 2 owns u/0
         4* Stable epoch 2 target 2 uniform a@2:u/0",
    );
}

#[test]
fn an_expression_subscribes_to_what_matches_all_of_its_name() {
    check(
        "topic t 1
         topic u 1
         1 member g a 0 regex=[ts]
         2 member g b 0 regex=(
         topic s 1
         3 member g a 1
         at 10000
         4 member g a 1
         restart
         5 members g
         6 member g a 2 regex=a|u
         7 member g a 2 owned=-
         8 member g a 3 topics=s
         9 member g a 4 regex= owned=s/0",
        "1* a epoch 1 owns t/0
         2* InvalidRegularExpression
         3* a epoch 1
         4* a epoch 2 owns s/0 t/0
         5* Stable epoch 2 target 2 uniform a@2:s/0,t/0
         6* a epoch 2 owns
         7* a epoch 3 owns u/0
         8* a epoch 4 owns s/0 u/0
         9* a epoch 5 owns s/0",
    );
}

#[test]
fn a_static_member_that_is_back_soon_keeps_what_it_had() {
    check(
        "topic t 2
         1 member g a 0 topics=t static=one
         2 member g b 0 topics=t static=one
         3 member g a -2 static=one
         4 members g
         5 member g b 0 topics=t static=one
         6 member g a 1 static=one
         7 member g b 1 static=one
         8 members g
         9 member g b -2 static=one
         at 45000
         10 members g",
        "1* a epoch 1 owns t/0 t/1
         2* UnreleasedInstance
         3* a epoch -2
         4* Reconciling epoch 1 target 1 uniform a@-2:t/0,t/1
         5* b epoch 1 owns t/0 t/1
         6* FencedInstance
         7* b epoch 1
         8* Stable epoch 1 target 1 uniform b@1:t/0,t/1
         9* b epoch -2
         10* Empty epoch 2 target 1 uniform",
    );
}

#[test]
fn the_assignor_that_most_ask_for_is_used() {
    check(
        "topic t 2
         topic u 2
         1 member g a 0 topics=t,u assignor=range
         2 member g b 0 topics=t,u
         3 member g a 1 owned=t/0,u/0
         4 member g b 2
         5 member g a 2 assignor=best",
        "1* a epoch 1 owns t/0 t/1 u/0 u/1
         2* b epoch 2 owns
         3* a epoch 2 owns t/0 u/0
         4* b epoch 2 owns t/1 u/1
         5* UnsupportedAssignor",
    );
}

#[test]
fn an_answer_that_was_lost_is_made_up_for() {
    check(
        "topic t 2
         1 member g a 0 topics=t
         topic t 3
         2 member g a 1
         3 member g a 1
         4 member g a 1 owned=t/0,t/1
         5 member g a 1 owned=t/0,t/7
         6 member g a 3
         7 member g a 0 topics=t",
        "1* a epoch 1 owns t/0 t/1
         2* a epoch 2 owns t/0 t/1 t/2
         3* FencedMemberEpoch
         4* a epoch 2
         5* FencedMemberEpoch
         6* FencedMemberEpoch
         7* a epoch 2 owns t/0 t/1 t/2",
    );
}

#[test]
fn members_commit_and_fetch_with_their_epoch() {
    check(
        "topic t 2
         1 member g a 0 topics=t
         2 commit g a 1 t/0=5
         topic t 3
         3 member g a 1
         4 commit g a 1 t/0=6 t/1=7
         5 commit g a 1 t/2=8
         6 commit g a 3 t/0=9
         7 commit g - -1 t/0=9
         8 commit g b 1 t/0=9
         13 commit g a 3 t/0=9 version=8
         9 txn 7 g - -1 t/0=9
         10 fetch g all
         11 forget g t/0
         12 delete g",
        "1* a epoch 1 owns t/0 t/1
         log g t/0=5
         2* ok
         3* a epoch 2 owns t/0 t/1 t/2
         log g t/0=6
         log g t/1=7
         4* ok ok
         5* StaleMemberEpoch
         6* StaleMemberEpoch
         7* UnknownMember
         8* UnknownMember
         13* StaleMemberEpoch
         log g t/0=9
         9* ok
         10* offsets t/0=6 t/1=7
         11* SubscribedToTopic
         12* NonEmptyGroup",
    );
}

#[test]
fn an_empty_group_becomes_one_of_the_other_kind_and_keeps_its_offsets() {
    check(
        "topic t 1
         1 commit g - -1 t/0=5
         2 member g a 0 topics=t
         4 leave g a
         5 join g x range version=0
         6 member g a 0 topics=t
         at 3000
         7 fetch g all
         restart
         8 fetch g all
         9 list
         10 delete g
         11 list",
        "log g t/0=5
         1* ok
         log g gone
         2* a epoch 1 owns t/0
         4* ok
         log g of consumers gone
         log g generation 0 - []
         6* GroupNotFound
         5 x#1 joined generation 1 range led by x#1 of x#1
         7* offsets t/0=5
         8* offsets t/0=5
         9* groups g:classic:Empty:
         log g t/0 gone
         log g gone
         10* ok
         11* groups",
    );
}

#[test]
fn a_full_group_takes_nobody_else() {
    let settings = GroupSettings { consumer_members_max: 1, ..GroupSettings::default() };
    check_with(
        settings,
        "topic t 1
         1 member g a 0 topics=t
         2 member g b 0 topics=t
         3 member g a 0 topics=t",
        "1* a epoch 1 owns t/0
         2* GroupFull
         3* a epoch 1 owns t/0",
    );
}

#[test]
fn an_assignment_that_no_record_holds_leaves_the_one_before() {
    let settings = GroupSettings { record_bytes_max: 300, ..GroupSettings::default() };
    check_with(
        settings,
        "topic t 3
         topic u 50
         1 member g a 0 topics=t
         2 member g a 1 topics=t,u
         3 members g
         4 member g a 1 topics=t
         5 members g",
        "1* a epoch 1 owns t/0 t/1 t/2
         2* RecordTooLarge
         3* Assigning epoch 2 target 1 uniform a@1:t/0,t/1,t/2
         4* a epoch 3
         5* Stable epoch 3 target 3 uniform a@3:t/0,t/1,t/2",
    );
}

#[test]
fn each_bad_heartbeat_is_refused_and_changes_nothing() {
    let cases = [
        ("member g - 1", "InvalidRequest(\"MemberId can't be empty.\")"),
        ("member g - -1", "InvalidRequest(\"MemberId can't be empty.\")"),
        (
            "member g a 0 topics=t rebalance=-1",
            "InvalidRequest(\"RebalanceTimeoutMs must be provided in first request.\")",
        ),
        (
            "member g a 0 topics=t owned=t/0",
            "InvalidRequest(\"TopicPartitions must be empty when (re-)joining.\")",
        ),
        (
            "member g a 0",
            "InvalidRequest(\"Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.\")",
        ),
        ("member g a -2", "InvalidRequest(\"InstanceId can't be null.\")"),
        ("member g a -3", "InvalidRequest(\"MemberEpoch is invalid.\")"),
        ("member g a 1 static=", "InvalidRequest(\"InstanceId can't be empty.\")"),
        ("member g a 1 rack=", "InvalidRequest(\"RackId can't be empty.\")"),
        ("member g a 2", "FencedMemberEpoch"),
        ("member g b 1", "UnknownMember"),
        ("member g b -1", "UnknownMember"),
        ("member g b -2 static=one", "UnknownMember"),
        ("member g a 1 static=one", "UnknownMember"),
        ("member new a 1", "GroupNotFound"),
        ("member new a -1", "GroupNotFound"),
        ("member g b 0 regex=a{", "InvalidRegularExpression"),
        ("member g b 0 regex=)(", "InvalidRegularExpression"),
        ("member g b 0 regex=(((((a{99}){99}){99}){99}){99})", "InvalidRegularExpression"),
        ("members new", "GroupNotFound"),
        ("beat g a 1", "UnknownMember"),
        ("sync g a 1", "UnknownMember"),
        ("join g x range version=0", "InconsistentProtocol"),
        ("join g x - meta=t", "InconsistentProtocol"),
        ("join g x range meta=t type=connect", "InconsistentProtocol"),
        ("join g x range meta=t", "MemberIdRequired x#1"),
        ("join g x#7 range meta=t static=one", "UnknownMember x#7"),
    ];
    for (request, expected) in cases {
        let mut run = Script::new(GroupSettings::default());
        run.run("topic t 1");
        run.run("1 member g a 0 topics=t");
        let before = run.run("2 members g");
        let (records, memory) = (run.log.len(), run.coordinator.memory_bytes());
        let answer = run.run(&format!("10 {request}"));
        assert_eq!(answer.trim_start_matches("10").trim_start_matches('*').trim(), expected, "{request}");
        assert_eq!(run.run("2 members g"), before, "{request}");
        assert_eq!((run.log.len(), run.coordinator.memory_bytes()), (records, memory), "{request}");
    }
}
