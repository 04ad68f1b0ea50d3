//! Committed offsets: by members, by nobody, in transactions; fetched, deleted, expired.

use super::script::{check, check_with};
use super::*;

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

#[test]
fn anybody_commits_for_a_group_without_members() {
    check(
        "1 commit g - -1 t/0=5 t/1=6
         2 fetch g t/1 t/2
         3 fetch g all
         4 list
         5 describe g
         restart
         6 fetch g all",
        "log g t/0=5
         log g t/1=6
         1* ok ok
         2* offsets t/1=6 t/2=-1
         3* offsets t/0=5 t/1=6
         4* groups g:classic:Empty:
         5* Empty   []
         6* offsets t/0=5 t/1=6",
    );
}

#[test]
fn an_unknown_group_has_committed_nothing() {
    check("1 fetch g t/0\n 2 fetch g all", "1* offsets t/0=-1\n 2* offsets");
}

#[test]
fn metadata_that_is_too_long_refuses_its_offset_alone() {
    let settings = GroupSettings { offset_metadata_bytes_max: 3, ..GroupSettings::default() };
    check_with(
        settings,
        "1 commit g - -1 t/0=5 metadata=four
         2 commit g - -1 t/0=6 metadata=abc",
        "1* OffsetMetadataTooLarge
         log g t/0=6
         2* ok",
    );
}

#[test]
fn topics_with_offsets_are_named_after_a_restart_so_that_gone_ones_can_be_told_of() {
    check(
        "1 commit g - -1 t/0=5 t/1=6 u/0=1
         2 txn 7 h - -1 v/0=5
         restart
         committed-topics
         3 topics-deleted t v
         committed-topics
         4 fetch g all",
        "log g t/0=5
         log g t/1=6
         log g u/0=1
         1* ok ok ok
         log h v/0=5
         2* ok
         t
         u
         v
         log g t/0 gone
         log g t/1 gone
         log h v/0 gone
         3* done
         u
         4* offsets u/0=1",
    );
}

#[test]
fn a_transactions_offsets_count_when_it_commits() {
    check(
        "1 commit g - -1 t/0=1
         2 txn 7 g - -1 t/0=5 t/1=6
         3 fetch g t/0 t/1
         4 fetch g t/0 t/1 t/2 stable
         restart
         5 fetch g all stable
         marker 7 commit
         6 fetch g all stable",
        "log g t/0=1
         1* ok
         log g t/0=5
         log g t/1=6
         2* ok ok
         3* offsets t/0=1 t/1=-1
         4* offsets t/0=-1 UnstableOffset t/1=-1 UnstableOffset t/2=-1
         5* offsets t/0=-1 UnstableOffset
         6* offsets t/0=5 t/1=6",
    );
}

#[test]
fn an_aborted_transactions_offsets_never_count() {
    check(
        "1 txn 7 g - -1 t/0=5
         2 txn 8 g - -1 t/0=6
         marker 7 abort
         3 fetch g t/0 stable
         marker 8 abort
         4 fetch g t/0 stable
         marker 9 commit",
        "log g t/0=5
         1* ok
         log g t/0=6
         2* ok
         3* offsets t/0=-1 UnstableOffset
         4* offsets t/0=-1",
    );
}

#[test]
fn of_a_transaction_and_a_plain_commit_the_later_record_counts() {
    check(
        "1 txn 7 g - -1 t/0=5 t/1=5
         2 commit g - -1 t/0=6
         marker 7 commit
         3 fetch g all
         restart
         4 fetch g all",
        "log g t/0=5
         log g t/1=5
         1* ok ok
         log g t/0=6
         2* ok
         3* offsets t/0=6 t/1=5
         4* offsets t/0=6 t/1=5",
    );
}

#[test]
fn offsets_go_when_they_are_deleted() {
    check(
        "1 commit g - -1 t/0=5 t/1=6 u/0=7
         2 txn 7 g - -1 t/2=8
         3 forget g t/0 t/2 t/3
         marker 7 commit
         4 fetch g all
         5 topics-deleted t
         6 fetch g all
         7 delete g
         8 fetch g all
         9 list
         restart
         10 list",
        "log g t/0=5
         log g t/1=6
         log g u/0=7
         1* ok ok ok
         log g t/2=8
         2* ok
         log g t/0 gone
         log g t/2 gone
         3* ok ok ok
         4* offsets t/1=6 u/0=7
         log g t/1 gone
         5* done
         6* offsets u/0=7
         log g u/0 gone
         log g gone
         7* ok
         8* offsets
         9* groups
         10* groups",
    );
}

#[test]
fn offsets_of_topics_that_members_read_stay() {
    check(
        "1 join g a range version=0 meta=t
         at 3000
         2 sync g a#1 1
         3 commit g a#1 1 t/0=5 u/0=6
         4 forget g t/0 u/0
         5 delete g",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1
         log g generation 1 range [a#1=]
         2* assigned
         log g t/0=5
         log g u/0=6
         3* ok ok
         log g u/0 gone
         4* SubscribedToTopic ok
         5* NonEmptyGroup",
    );
}

#[test]
fn what_nobody_commits_again_expires() {
    let week = 7 * DAY_MS;
    check(
        &format!(
            "1 commit g - -1 t/0=5
             at {DAY_MS}
             2 commit g - -1 t/1=6
             at {week}
             3 fetch g all
             at {}
             4 list",
            8 * DAY_MS
        ),
        "log g t/0=5
         1* ok
         log g t/1=6
         2* ok
         log g t/0 gone
         3* offsets t/1=6
         log g t/1 gone
         log g gone
         4* groups",
    );
}

#[test]
fn a_client_may_say_how_long_its_offsets_are_kept() {
    check(
        "1 commit g - -1 t/0=5 retention=700000
         at 1199999
         2 fetch g all
         restart
         at 1200000
         3 fetch g all
         at 1799999
         4 fetch g all",
        "log g t/0=5
         1* ok
         2* offsets t/0=5
         3* offsets t/0=5
         log g t/0 gone
         log g gone
         4* offsets",
    );
}

#[test]
fn retention_counts_from_when_the_group_became_empty() {
    let settings = GroupSettings { offsets_retention_ms: 3_600_000, ..GroupSettings::default() };
    check_with(
        settings,
        "1 join g a range version=0 session=1500000 meta=t
         at 3000
         2 sync g a#1 1
         3 commit g a#1 1 t/0=5 u/0=5
         at 1500000
         4 beat g a#1 1
         at 2900000
         5 beat g a#1 1
         at 4199999
         6 beat g a#1 1
         at 5000000
         7 fetch g all
         8 leave g a#1
         at 8599999
         9 fetch g all
         at 9000000
         10 list",
        "log g generation 0 - []
         1 a#1 joined generation 1 range led by a#1 of a#1
         log g generation 1 range [a#1=]
         2* assigned
         log g t/0=5
         log g u/0=5
         3* ok ok
         4 ok
         5 ok
         6 ok
         log g u/0 gone
         7* offsets t/0=5
         log g generation 2 - []
         8* ok
         9* offsets t/0=5
         log g t/0 gone
         log g gone
         10* groups",
    );
}

#[test]
fn a_coordinator_without_memory_takes_nothing_new() {
    let settings = GroupSettings { memory_bytes_max: 700, ..GroupSettings::default() };
    check_with(
        settings,
        "1 commit g - -1 t/0=5
         2 commit g - -1 t/1=5 t/2=5
         3 commit g - -1 t/0=6
         4 commit h - -1 t/0=5
         5 join h a range
         6 delete g
         7 commit h - -1 t/0=5",
        "log g t/0=5
         1* ok
         log g t/1=5
         2* ok OutOfMemory
         log g t/0=6
         3* ok
         4* OutOfMemory
         5 OutOfMemory
         log g t/0 gone
         log g t/1 gone
         log g gone
         6* ok
         log h t/0=5
         7* ok",
    );
}
