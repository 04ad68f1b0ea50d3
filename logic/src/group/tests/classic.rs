//! Membership: one short story for each transition.

use super::script::{check, check_with};
use super::*;
use protocol::types::PartitionIndex;

/// Member a leads generation 1 of g, and b is in it.
const TWO_MEMBERS: &str = "
    1 join g a range version=0
    2 join g b range version=0
    at 6000
    3 sync g a#1 1 a#1=x b#2=y
    4 sync g b#2 1";

fn quick() -> GroupSettings {
    GroupSettings { initial_rebalance_delay_ms: 0, ..GroupSettings::default() }
}

#[test]
fn a_group_belongs_to_the_partition_that_java_says() {
    // "my-group".hashCode() is -1906497762 in Java, "aaaaaaaaaa".hashCode() is -799347552. The crab is two UTF-16
    // units: 0xd83e * 31 + 0xdd80.
    assert_eq!(partition_of_group("a", 50), PartitionIndex(47));
    assert_eq!(partition_of_group("my-group", 50), PartitionIndex(12));
    assert_eq!(partition_of_group("aaaaaaaaaa", 50), PartitionIndex(2));
    assert_eq!(partition_of_group("\u{1f980}", 50), PartitionIndex(2));
}

#[test]
fn a_new_member_is_told_its_id_and_comes_back_with_it() {
    check(
        "1 join g a range
         2 join g a#1 range
         at 2999
         3 list
         at 3000
         4 sync g a#1 1 a#1=x
         5 beat g a#1 1",
        "log g generation 0 - []
         1 MemberIdRequired a#1
         3* groups g:classic:PreparingRebalance:consumer
         2 a#1 joined generation 1 range led by a#1 of a#1
         log g generation 1 range [a#1=x]
         4* assigned x
         5 ok",
    );
}

#[test]
fn the_first_rebalance_waits_as_long_as_members_keep_coming() {
    check(
        "1 join g a range version=0
         at 2000
         2 join g b range version=0
         at 5999
         3 join g c range version=0
         at 8999
         at 9000",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2,c#3
         2 b#2 joined generation 1 range led by a#1
         3 c#3 joined generation 1 range led by a#1",
    );
    check(
        "1 join g a range version=0 rebalance=5000
         at 2000
         2 join g b range version=0 rebalance=5000
         at 4000
         3 join g c range version=0
         at 5000",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2,c#3
         2 b#2 joined generation 1 range led by a#1
         3 c#3 joined generation 1 range led by a#1",
    );
}

#[test]
fn the_leaders_assignment_reaches_all_when_it_is_in_the_log() {
    check(
        "1 join g a range version=0
         2 join g b range version=0
         at 6000
         3 sync g b#2 1
         4 sync g a#1 1 a#1=x b#2=y
         5 sync g b#2 1
         6 describe g",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2
         2 b#2 joined generation 1 range led by a#1
         log g generation 1 range [a#1=x b#2=y]
         4* assigned x
         3* assigned y
         5* assigned y
         6* Stable consumer range [a#1:?:x b#2:?:y]",
    );
}

#[test]
fn who_is_left_out_by_the_leader_gets_nothing() {
    check(
        "1 join g a range version=0
         2 join g b range version=0
         at 6000
         3 sync g b#2 1
         4 sync g a#1 1 a#1=x",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2
         2 b#2 joined generation 1 range led by a#1
         log g generation 1 range [a#1=x b#2=]
         4* assigned x
         3* assigned",
    );
}

#[track_caller]
fn check_two(script: &str, expected: &str) {
    let before = "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2
         2 b#2 joined generation 1 range led by a#1
         log g generation 1 range [a#1=x b#2=y]
         3* assigned x
         4* assigned y\n";
    check(&format!("{TWO_MEMBERS}\n{script}"), &format!("{before}{expected}"));
}

#[test]
fn a_third_member_makes_the_others_join_again() {
    check_two(
        "5 join g c range version=0
         6 beat g a#1 1
         7 commit g b#2 1 t/0=5
         8 join g a#1 range
         9 sync g b#2 1
         10 join g b#2 range
         11 beat g a#1 1
         12 commit g a#1 2 t/0=5
         13 sync g a#1 2 a#1=x b#2=y c#3=z
         14 commit g a#1 2 t/0=6",
        "6 RebalanceInProgress
         log g t/0=5
         7* ok
         9 RebalanceInProgress
         8 a#1 joined generation 2 range led by a#1 of a#1,b#2,c#3
         10 b#2 joined generation 2 range led by a#1
         5 c#3 joined generation 2 range led by a#1
         11 IllegalGeneration
         12* RebalanceInProgress
         log g generation 2 range [a#1=x b#2=y c#3=z]
         13* assigned x
         log g t/0=6
         14* ok",
    );
}

#[test]
fn a_rebalance_leaves_out_who_does_not_join_in_time() {
    check_two(
        "5 join g c range version=0
         at 11000
         6 beat g a#1 1
         7 beat g b#2 1
         8 join g b#2 range
         at 18000
         9 beat g a#1 1
         at 27000
         10 beat g a#1 1
         at 36000
         11 beat g a#1 1
         at 45000
         12 beat g a#1 1
         at 54000
         13 beat g a#1 1
         at 63000
         14 beat g a#1 1
         at 65999
         at 66000
         15 beat g a#1 1",
        "6 RebalanceInProgress
         7 RebalanceInProgress
         9 RebalanceInProgress
         10 RebalanceInProgress
         11 RebalanceInProgress
         12 RebalanceInProgress
         13 RebalanceInProgress
         14 RebalanceInProgress
         8 b#2 joined generation 2 range led by b#2 of b#2,c#3
         5 c#3 joined generation 2 range led by b#2
         15 UnknownMember",
    );
}

#[test]
fn a_silent_member_is_out_after_its_session_timeout() {
    check_two(
        "at 15999
         5 beat g a#1 1
         at 16000
         6 describe g
         7 join g a#1 range
         8 beat g b#2 1",
        "5 ok
         6* PreparingRebalance consumer  [a#1::x]
         7 a#1 joined generation 2 range led by a#1 of a#1
         8 UnknownMember",
    );
}

#[test]
fn the_last_to_leave_leaves_an_empty_group() {
    check_two(
        "5 leave g b#2
         6 beat g a#1 1
         7 leave g a#1
         8 list state=empty
         9 list state=stable
         10 list type=Classic
         11 list type=consumer",
        "5* ok
         6 RebalanceInProgress
         log g generation 2 - []
         7* ok
         8* groups g:classic:Empty:consumer
         9* groups
         10* groups g:classic:Empty:consumer
         11* groups",
    );
}

#[test]
fn a_leave_while_the_leader_assigns_refuses_the_syncs() {
    check(
        "1 join g a range version=0
         2 join g b range version=0
         at 6000
         3 sync g b#2 1
         4 leave g a#1
         5 join g b#2 range",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2
         2 b#2 joined generation 1 range led by a#1
         3 RebalanceInProgress
         4* ok
         5 b#2 joined generation 2 range led by b#2 of b#2",
    );
}

#[test]
fn who_does_not_sync_in_time_is_out() {
    check(
        "1 join g a range version=0 session=100000
         2 join g b range version=0 session=100000
         at 6000
         3 sync g a#1 1 a#1=x b#2=y
         at 65999
         4 beat g b#2 1
         at 66000
         5 beat g b#2 1
         6 beat g a#1 1",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2
         2 b#2 joined generation 1 range led by a#1
         log g generation 1 range [a#1=x b#2=y]
         3* assigned x
         4 ok
         5 UnknownMember
         6 RebalanceInProgress",
    );
}

#[test]
fn a_follower_that_joins_again_unchanged_is_told_the_generation() {
    check_two(
        "5 join g b#2 range
         6 join g b#2 range,rr
         7 join g a#1 range",
        "5 b#2 joined generation 1 range led by a#1
         7 a#1 joined generation 2 range led by a#1 of a#1,b#2
         6 b#2 joined generation 2 range led by a#1",
    );
}

#[test]
fn a_leader_that_joins_a_stable_group_rebalances_it() {
    check_two(
        "5 join g a#1 range
         6 beat g b#2 1",
        "6 RebalanceInProgress",
    );
}

#[test]
fn the_assignor_with_most_votes_among_those_that_all_support_is_chosen() {
    check(
        "1 join g a x,range,rr version=0
         2 join g b rr,range version=0
         3 join g c rr,range,y version=0
         4 join g d z version=0
         at 9000",
        "log g generation 0 - []
         4 InconsistentProtocol
         1 a#1 joined generation 1 rr led by a#1 of a#1,b#2,c#3
         2 b#2 joined generation 1 rr led by a#1
         3 c#3 joined generation 1 rr led by a#1",
    );
}

#[test]
fn a_static_member_that_was_restarted_keeps_its_assignment_without_a_rebalance() {
    let script = |version: u8| {
        format!(
            "1 join g a range static=one
             2 join g b range version=0
             at 6000
             3 sync g one#1 1 one#1=x b#2=y
             4 sync g b#2 1
             5 join g a range static=one version={version}
             6 sync g one#3 1
             7 beat g one#1 1 static=one
             8 beat g one#3 1 static=one
             9 beat g b#2 1"
        )
    };
    let expected = |rejoined: &str| {
        format!(
            "log g generation 0 - []
             2 b#2 joined generation 1 range led by one#1
             1 one#1 joined generation 1 range led by one#1 of b#2,one#1
             log g generation 1 range [b#2=y one#1=x]
             3* assigned x
             4* assigned y
             log g generation 1 range [b#2=y one#3=x]
             5* one#3 joined generation 1 range led by {rejoined}
             6* assigned x
             7 FencedInstance
             8 ok
             9 ok"
        )
    };
    check(&script(5), &expected("one#1"));
    check(&script(9), &expected("one#3 of b#2,one#3 skip"));
}

#[test]
fn a_static_member_that_is_restarted_in_a_rebalance_fences_its_former_self() {
    check(
        "1 join g a range static=one
         2 join g a range static=one
         at 6000
         3 sync g one#2 1
         at 3001
         4 join g a range static=one
         at 6000",
        "log g generation 0 - []
         1 FencedInstance one#1
         2 one#2 joined generation 1 range led by one#2 of one#2
         log g generation 1 range [one#2=]
         3* assigned
         log g generation 1 range [one#3=]
         4* one#3 joined generation 1 range led by one#2",
    );
}

#[test]
fn a_static_member_leaves_by_name_and_outlives_rebalances() {
    check_with(
        quick(),
        "1 join g a range static=one session=30000
         at 1
         2 sync g one#1 1 one#1=x
         3 join g b range version=0
         at 20000
         4 beat g one#1 1
         at 40000
         5 beat g one#1 1
         at 60002
         6 beat g one#1 2
         7 leave g @two @one",
        "log g generation 0 - []
         1 one#1 joined generation 1 range led by one#1 of one#1
         log g generation 1 range [one#1=x]
         2* assigned x
         4 RebalanceInProgress
         5 RebalanceInProgress
         3 b#2 joined generation 2 range led by b#2 of b#2,one#1
         6 ok
         7* UnknownMember ok",
    );
}

#[test]
fn a_group_takes_no_more_members_than_it_may_have() {
    let settings = GroupSettings { members_max: 2, ..quick() };
    check_with(
        settings,
        "1 join g a range version=0
         at 1
         2 join g b range version=0
         3 join g a#1 range
         4 join g c range version=0
         5 sync g a#1 2 a#1=x
         6 join g c range version=0
         7 join g b#2 range",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1
         3 a#1 joined generation 2 range led by a#1 of a#1,b#2
         2 b#2 joined generation 2 range led by a#1
         4 GroupFull
         log g generation 2 range [a#1=x b#2=]
         5* assigned x
         6 GroupFull
         7 b#2 joined generation 2 range led by a#1",
    );
}

#[test]
fn an_id_that_nobody_joins_with_holds_the_others_up_for_a_session() {
    check_with(
        quick(),
        "1 join g a range version=0
         at 1
         9 sync g a#1 1
         2 join g b range session=6000
         3 join g a#1 range
         at 6000
         at 6001
         4 join g b#2 range",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1
         log g generation 1 range [a#1=]
         9* assigned
         2 MemberIdRequired b#2
         3 a#1 joined generation 2 range led by a#1 of a#1
         4 UnknownMember b#2",
    );
}

#[test]
fn a_member_that_never_heard_of_its_generation_is_out_after_five_minutes() {
    check_with(
        quick(),
        "1 join g a range version=0 rebalance=900000 session=600000
         at 1
         2 join g b range version=0 rebalance=900000
         at 300000
         at 300001
         3 join g a#1 range",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1
         2 UnknownMember
         3 a#1 joined generation 2 range led by a#1 of a#1",
    );
}

#[test]
fn a_repeated_request_answers_the_one_before() {
    check(
        "1 join g a range version=0
         2 join g b range version=0
         3 join g b#2 range
         at 6000
         4 sync g b#2 1
         5 sync g b#2 1
         6 sync g a#1 1 b#2=y",
        "log g generation 0 - []
         2 RebalanceInProgress b#2
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2
         3 b#2 joined generation 1 range led by a#1
         4 RebalanceInProgress
         log g generation 1 range [a#1= b#2=y]
         6* assigned
         5* assigned y",
    );
}

#[test]
fn a_group_that_is_too_large_for_a_record_does_not_become_stable() {
    let settings = GroupSettings { record_bytes_max: 150, ..GroupSettings::default() };
    check_with(
        settings,
        "1 join g a range version=0
         at 3000
         2 sync g a#1 1 a#1=a-long-assignment-that-does-not-fit
         3 beat g a#1 1",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1
         2 RecordTooLarge
         3 RebalanceInProgress",
    );
}

#[test]
fn a_restart_tells_who_waits_and_keeps_the_generation() {
    check_two(
        "5 join g c range version=0
         6 commit g b#2 1 t/0=5
         restart
         7 beat g a#1 1
         8 beat g b#2 1
         9 fetch g t/0
         10 describe g
         at 15999
         11 describe g
         at 16000
         12 describe g",
        "log g t/0=5
         6* ok
         5 NotCoordinator c#3
         7 ok
         8 ok
         9* offsets t/0=5
         10* Stable consumer range [a#1:?:x b#2:?:y]
         11* Stable consumer range [a#1:?:x b#2:?:y]
         log g generation 2 - []
         12* Empty consumer  []",
    );
}

#[test]
fn a_group_that_is_larger_than_allowed_after_a_restart_rebalances() {
    let settings = GroupSettings::default();
    let mut run = super::script::Script::new(settings);
    for line in TWO_MEMBERS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        run.run(line);
    }
    run.settings.members_max = 1;
    run.run("restart");
    assert_eq!(run.run("5 join g a#1 range"), "");
    assert_eq!(
        run.run("6 join g b#2 range"),
        "5 a#1 joined generation 2 range led by a#1 of a#1\n6 GroupFull\n"
    );
}
