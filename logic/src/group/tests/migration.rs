//! Groups that change their kind while they have members: members of both protocols in one group.

use super::script::{check, check_with};
use super::*;

/// A classic group: its one member owns all of topic t, and has committed.
const CLASSIC: &str = "topic t 2
    1 join g a range version=0 meta=t
    at 3000
    2 sync g a#1 1 a#1=t/0,t/1
    3 commit g a#1 1 t/0=5";

const CLASSIC_ANSWERS: &str = "log g generation 0 - []
    1 a#1 joined generation 1 range led by a#1 of a#1
    log g generation 1 range [a#1=t/0,t/1]
    2* assigned t/0,t/1
    log g t/0=5
    3* ok";

fn check_after_classic(script: &str, expected: &str) {
    check(&format!("{CLASSIC}\n{script}"), &format!("{CLASSIC_ANSWERS}\n{expected}"));
}

#[test]
fn a_classic_group_becomes_a_consumer_group_with_the_first_new_consumer() {
    check_after_classic(
        "4 member g b 0 topics=t
         5 members g
         6 beat g a#1 1
         7 sync g a#1 1
         8 join g a#1 range meta=t
         9 sync g a#1 2
         10 beat g a#1 2
         11 member g b 2
         12 commit g a#1 1 t/0=6
         13 commit g a#1 2 t/0=6
         14 list
         restart
         15 beat g a#1 2
         16 member g b 2
         17 fetch g all
         18 members g",
        "log g gone
         4* b epoch 2 owns
         5* Reconciling epoch 2 target 2 uniform a#1(classic)@1:t/0,t/1->t/0 b@2:->t/1
         6 RebalanceInProgress
         7 RebalanceInProgress
         8* a#1 joined generation 2 range led by
         9* assigned t/0
         10 ok
         11* b epoch 2 owns t/1
         12* IllegalGeneration
         log g t/0=6
         13* ok
         14* groups g:consumer:Stable:consumer
         15 ok
         16* b epoch 2
         17* offsets t/0=6
         18* Stable epoch 2 target 2 uniform a#1(classic)@2:t/0 b@2:t/1",
    );
}

#[test]
fn it_becomes_a_classic_group_again_when_the_last_new_consumer_has_left() {
    check_after_classic(
        "4 member g b 0 topics=t
         5 join g a#1 range meta=t
         6 sync g a#1 2
         7 member g b 2
         8 member g b -1
         9 commit g a#1 2 t/0=7
         10 beat g a#1 2
         restart
         11 beat g a#1 2
         12 join g a#1 range meta=t
         13 sync g a#1 3 a#1=t/0,t/1
         14 list
         15 fetch g all",
        "log g gone
         4* b epoch 2 owns
         5* a#1 joined generation 2 range led by
         6* assigned t/0
         7* b epoch 2 owns t/1
         log g of consumers gone
         log g generation 2 range [a#1=t/0]
         8* b epoch -1
         log g t/0=7
         9* ok
         10 RebalanceInProgress
         11 ok
         12 a#1 joined generation 3 range led by a#1 of a#1
         log g generation 3 range [a#1=t/0,t/1]
         13* assigned t/0,t/1
         14* groups g:classic:Stable:consumer
         15* offsets t/0=7",
    );
}

#[test]
fn who_gives_back_while_it_reads_on_joins_twice() {
    check_after_classic(
        "4 member g b 0 topics=t
         5 join g a#1 range meta=t owned=t/0,t/1
         6 sync g a#1 1
         7 beat g a#1 1
         8 member g b 2
         9 join g a#1 range meta=t owned=t/0
         10 sync g a#1 2
         11 member g b 2",
        "log g gone
         4* b epoch 2 owns
         5* a#1 joined generation 1 range led by
         6* assigned t/0
         7 RebalanceInProgress
         8* b epoch 2
         9* a#1 joined generation 2 range led by
         10* assigned t/0
         11* b epoch 2 owns t/1",
    );
}

#[test]
fn who_waits_for_what_others_own_joins_again_when_it_is_free() {
    check(
        "topic t 2
         1 member g b 0 topics=t
         2 join g a range meta=t
         3 join g a#1 range meta=t
         4 sync g a#1 2
         5 beat g a#1 2
         6 member g b 1 owned=t/0,t/1
         7 member g b 1 owned=t/0
         8 beat g a#1 2
         9 join g a#1 range meta=t
         10 sync g a#1 2
         11 beat g a#1 2
         12 members g",
        "1* b epoch 1 owns t/0 t/1
         2* MemberIdRequired a#1
         3* a#1 joined generation 2 range led by
         4* assigned
         5 ok
         6* b epoch 1 owns t/0
         7* b epoch 2
         8 RebalanceInProgress
         9* a#1 joined generation 2 range led by
         10* assigned t/1
         11 ok
         12* Stable epoch 2 target 2 uniform a#1(classic)@2:t/1 b@2:t/0",
    );
}

#[test]
fn a_classic_member_that_does_not_sync_or_join_in_time_is_out() {
    check(
        "topic t 2
         1 member g b 0 topics=t
         2 join g a range version=0 meta=t session=40000 rebalance=20000
         at 20000
         3 beat g a#1 2
         4 join g a range version=0 meta=t session=40000 rebalance=20000
         5 sync g a#2 4
         6 member g b 1
         7 member g b 1 owned=t/0
         8 beat g a#2 4
         at 30000
         9 beat g a#2 4
         at 40000
         10 beat g a#2 4",
        "1* b epoch 1 owns t/0 t/1
         2* a#1 joined generation 2 range led by
         3 UnknownMember
         4* a#2 joined generation 4 range led by
         5* assigned
         6* b epoch 1 owns t/0
         7* b epoch 4
         8 RebalanceInProgress
         9 RebalanceInProgress
         10 UnknownMember",
    );
}

#[test]
fn a_silent_classic_member_is_out_after_its_own_session_timeout() {
    check_after_classic(
        "4 member g b 0 topics=t
         at 13000
         5 members g
         6 beat g a#1 1",
        "log g gone
         4* b epoch 2 owns
         5* Assigning epoch 3 target 2 uniform b@2:->t/1
         6 UnknownMember",
    );
}

#[test]
fn who_waits_in_a_rebalance_is_told_to_join_the_consumer_group() {
    check(
        "topic t 2
         1 join g a range version=0 meta=t
         2 member g b 0 topics=t
         3 join g a#1 range meta=t
         4 sync g a#1 1
         5 members g",
        "log g generation 0 - []
         log g gone
         1 RebalanceInProgress a#1
         2* b epoch 1 owns t/1
         3* a#1 joined generation 1 range led by
         4* assigned t/0
         5* Stable epoch 1 target 1 uniform a#1(classic)@1:t/0 b@1:t/1",
    );
}

#[test]
fn a_static_member_changes_its_protocol_and_keeps_what_it_owns() {
    check(
        "topic t 2
         1 join g a range version=0 meta=t static=one
         at 3000
         2 sync g one#1 1 one#1=t/0,t/1 static=one
         3 member g b 0 topics=t static=one
         4 members g
         5 beat g one#1 1 static=one
         6 join g a range meta=t static=one
         7 beat g one#2 1 static=one
         8 sync g one#2 1 static=one
         9 list",
        "log g generation 0 - []
         1 one#1 joined generation 1 range led by one#1 of one#1
         log g generation 1 range [one#1=t/0,t/1]
         2* assigned t/0,t/1
         log g gone
         3* b epoch 1 owns t/0 t/1
         4* Stable epoch 1 target 1 uniform b@1:t/0,t/1
         5 FencedInstance
         log g of consumers gone
         log g generation 1 range [one#2=t/0,t/1]
         6* one#2 joined generation 1 range led by
         7 ok
         8* assigned t/0,t/1
         9* groups g:classic:Stable:consumer",
    );
}

#[test]
fn a_group_that_has_not_come_to_its_target_rebalances_when_it_becomes_classic() {
    check(
        "topic t 2
         1 member g b 0 topics=t static=one
         2 join g c range version=0 meta=t
         3 join g d range meta=t static=one
         4 list
         5 beat g c#1 2",
        "1* b epoch 1 owns t/0 t/1
         2* c#1 joined generation 2 range led by
         log g of consumers gone
         log g generation 2 range [c#1=t/1 one#2=t/0]
         3* one#2 joined generation 2 range led by
         4* groups g:classic:PreparingRebalance:consumer
         5 RebalanceInProgress",
    );
}

#[test]
fn the_policy_decides_which_groups_change() {
    let with = |policy| GroupSettings { consumer_migration: policy, ..GroupSettings::default() };
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Downgrade] {
        let script = format!("{CLASSIC}\n4 member g b 0 topics=t\n5 beat g a#1 1");
        check_with(with(policy), &script, &format!("{CLASSIC_ANSWERS}\n4* GroupNotFound\n5 ok"));
    }
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Upgrade] {
        check_with(
            with(policy),
            "topic t 1
             1 member g b 0 topics=t
             2 join g a range version=0 meta=t
             3 member g b -1
             4 list
             5 members g",
            "1* b epoch 1 owns t/0
             2* a#1 joined generation 2 range led by
             3* b epoch -1
             4* groups g:consumer:Assigning:consumer
             5* Assigning epoch 3 target 2 uniform a#1(classic)@2:",
        );
    }
}

#[test]
fn what_can_not_be_understood_stays_classic() {
    for (subscription, assignment) in [("", "a#1=t/0"), (" meta=t", "a#1=?"), (" type=connect", "a#1=t/0")] {
        check(
            &format!(
                "topic t 2
                 1 join g a range version=0{subscription}
                 at 3000
                 2 sync g a#1 1 {assignment}
                 3 member g b 0 topics=t"
            ),
            &format!(
                "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1
                 log g generation 1 range [{assignment}]
                 2* assigned {}
                 3* GroupNotFound",
                &assignment["a#1=".len()..]
            ),
        );
    }
}

#[test]
fn two_that_own_the_same_stay_in_a_classic_group() {
    check(
        "topic t 2
         1 join g a range version=0 meta=t
         2 join g b range version=0 meta=t
         at 6000
         3 sync g b#2 1
         4 sync g a#1 1 a#1=t/0 b#2=t/0
         5 member g c 0 topics=t",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1,b#2
         2 b#2 joined generation 1 range led by a#1
         log g generation 1 range [a#1=t/0 b#2=t/0]
         4* assigned t/0
         3* assigned t/0
         5* GroupNotFound",
    );
}

#[test]
fn each_bad_request_of_a_classic_member_is_refused() {
    check_after_classic(
        "4 member g b 0 topics=t
         5 join g a#1 range meta=t
         6 sync g a#1 1
         7 sync g a#1 2 type=connect
         8 sync g a#1 2 protocol=rr
         9 sync g b 2
         10 sync g x#9 2
         11 beat g a#1 1
         12 beat g x#9 2
         13 beat g a#1 2 static=one
         14 join g c rr version=0 meta=t
         15 join g a#1 rr,range meta=t
         16 sync g a#1 2 protocol=rr",
        "log g gone
         4* b epoch 2 owns
         5* a#1 joined generation 2 range led by
         6 IllegalGeneration
         7 InconsistentProtocol
         8 InconsistentProtocol
         9 UnknownMember
         10 UnknownMember
         11 IllegalGeneration
         12 UnknownMember
         13 UnknownMember
         14* InconsistentProtocol
         15* a#1 joined generation 2 rr led by
         16* assigned t/0",
    );
}
