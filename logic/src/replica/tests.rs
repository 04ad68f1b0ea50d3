//! What a replica promises, as scripts.

use super::script::check;
use super::*;
use protocol::types::{Offset, Timestamp};

#[test]
fn alone_a_batch_is_committed_when_synced() {
    check(
        "1 leads 1 of 1 isr 1
         1 append 5 all
         1 append 1 one
         1 sealed 6
         1 synced 5
         1 synced 6",
        "1: nothing moved
         1: at 0 in 1 nothing moved
         1: at 5 in 1 nothing moved
         1: nothing moved
         1: acked 5 committed 5 readable 5
         1: acked 6 committed 6 readable 6",
    );
}

#[test]
fn relaxed_a_batch_is_committed_when_appended_and_read_when_sealed() {
    check(
        "1 leads 1 of 1 isr 1 relaxed
         1 append 5 all
         1 fetch 0
         1 sealed 5
         1 synced 5",
        "1: nothing moved
         1: at 0 in 1 acked 5 committed 5
         1: reads 0 to 0, hw 5
         1: readable 5
         1: nothing moved",
    );
}

#[test]
fn what_was_acked_stays_acked_when_flushing_becomes_strict() {
    check(
        "1 leads 1 of 1 isr 1 relaxed
         1 append 5 all
         1 strict
         1 append 5 all
         1 synced 5
         1 synced 10
         1 append 5 all
         1 relaxed",
        "1: nothing moved
         1: at 0 in 1 acked 5 committed 5
         1: nothing moved
         1: at 5 in 1 nothing moved
         1: readable 5
         1: acked 10 committed 10 readable 10
         1: at 10 in 1 nothing moved
         1: acked 15 committed 15",
    );
}

#[test]
fn nothing_is_appended_before_the_epoch_is_durable() {
    check(
        "1 append 1 all
         1 elected 1 of 1 isr 1
         1 append 1 one
         1 fetch 0
         1 durable 0
         1 append 1 none
         1 durable 1
         1 append 1 one",
        "1: refused: not the leader; the leader is None
         1: nothing moved
         1: refused: leader epoch 1 is not durable yet
         1: reads 0 to 0, hw 0
         1: refused: leader epoch 1 is not durable yet
         1: at 0 in 1 nothing moved",
    );
}

#[test]
fn a_leadership_needs_an_epoch_newer_than_any_in_the_log() {
    check(
        "1 leads 4 of 1 isr 1
         1 append 3 all
         1 synced 3
         1 restarts at 3
         1 leads 4 of 1 isr 1
         1 leads 3 of 1 isr 1
         1 leads 5 of 1 isr 1
         1 leads 5 of 1 isr 1
         1 is",
        "1: nothing moved
         1: at 0 in 4 nothing moved
         1: acked 3 committed 3 readable 3
         1: refused: fenced: the epoch here is 4
         1: refused: fenced: the epoch here is 4
         1: committed 3 readable 3
         1: refused: fenced: the epoch here is 5
         1: 0..3 synced 3 hw 3 epochs 4@0 5@3",
    );
}

#[test]
fn epochs_without_records_leave_no_trace() {
    check(
        "1 leads 1 of 1 isr 1
         1 restarts at 0
         1 leads 2 of 1 isr 1
         1 restarts at 0
         1 leads 7 of 1 isr 1
         1 append 1 one
         1 is",
        "1: nothing moved
         1: nothing moved
         1: nothing moved
         1: at 0 in 7 nothing moved
         1: 0..1 synced 0 hw 0 epochs 7@0",
    );
}

#[test]
fn three_replicas_commit_what_all_in_sync_have() {
    check(
        "1 leads 1 of 1,2,3 isr 1,2,3
         2 follows 1 in 1
         3 follows 1 in 1
         2 settles with 1
         3 settles with 1
         1 append 10 all
         1 synced 10
         2 copies 1 to 10
         1 hears 2
         3 copies 1 to 4
         1 hears 3
         3 copies 1 to 10
         1 hears 3
         2 told 1
         2 is",
        "1: nothing moved
         2: settled
         3: settled
         1: at 0 in 1 nothing moved
         1: acked 10
         2: acked 10
         1: nothing moved
         3: acked 4
         1: committed 4 readable 4
         3: acked 10
         1: committed 10 readable 10
         2: committed 10 readable 10
         2: 0..10 synced 10 hw 10 epochs 1@0",
    );
}

#[test]
fn the_leaders_own_sync_counts_as_well() {
    check(
        "1 leads 1 of 1,2 isr 1,2
         2 follows 1 in 1
         2 settles with 1
         1 append 2 all
         2 copies 1 to 2
         1 hears 2
         1 synced 2",
        "1: nothing moved
         2: settled
         1: at 0 in 1 nothing moved
         2: acked 2
         1: nothing moved
         1: acked 2 committed 2 readable 2",
    );
}

#[test]
fn a_follower_that_leaves_no_longer_holds_back_the_high_watermark() {
    check(
        "1 leads 1 of 1,2,3 isr 1,2,3
         1 append 5 all
         1 synced 5
         2 follows 1 in 1
         2 settles with 1
         2 copies 1 to 5
         1 hears 2
         1 isr 1,2 of 1,2,3",
        "1: nothing moved
         1: at 0 in 1 nothing moved
         1: acked 5
         2: settled
         2: acked 5
         1: nothing moved
         1: committed 5 readable 5",
    );
}

#[test]
fn too_few_in_sync_refuse_acks_all_only_and_commit_nothing() {
    check(
        "1 leads 1 of 1,2,3 isr 1,2 min 2
         1 append 5 all
         1 isr 1 of 1,2,3
         1 append 1 all
         1 append 1 one
         1 synced 6
         2 follows 1 in 1
         2 settles with 1
         2 copies 1 to 6
         1 hears 2
         1 isr 1,2 of 1,2,3",
        "1: nothing moved
         1: at 0 in 1 nothing moved
         1: nothing moved
         1: refused: 1 replicas in sync, 2 required
         1: at 5 in 1 nothing moved
         1: acked 6
         2: settled
         2: acked 6
         1: nothing moved
         1: committed 6 readable 6",
    );
}

#[test]
fn min_insync_replicas_never_asks_for_more_than_there_are() {
    check(
        "1 leads 1 of 1 isr 1 min 3
         1 append 1 all
         1 synced 1",
        "1: nothing moved
         1: at 0 in 1 nothing moved
         1: acked 1 committed 1 readable 1",
    );
}

#[test]
fn a_slow_follower_is_proposed_to_leave_and_a_quick_one_to_join() {
    check(
        "at 1000
         1 leads 1 of 1,2,3 isr 1,2
         2 follows 1 in 1
         3 follows 1 in 1
         2 settles with 1
         3 settles with 1
         1 append 5 one
         1 synced 5
         1 plan 100
         at 1101
         3 copies 1 to 5
         1 hears 3
         1 plan 100
         1 plan 100
         1 isr 1,3 of 1,2,3
         1 plan 100",
        "1: nothing moved
         2: settled
         3: settled
         1: at 0 in 1 nothing moved
         1: acked 5
         1: no change
         3: acked 5
         1: nothing moved
         1: proposes 1,3 in 1
         1: no change
         1: committed 5 readable 5
         1: no change",
    );
}

#[test]
fn a_replica_that_joins_holds_back_the_high_watermark_until_the_answer() {
    check(
        "1 leads 1 of 1,2 isr 1
         2 follows 1 in 1
         2 settles with 1
         1 append 5 all
         1 synced 5
         2 copies 1 to 5
         1 hears 2
         1 plan 100
         1 append 5 all
         1 synced 10
         1 refused",
        "1: nothing moved
         2: settled
         1: at 0 in 1 nothing moved
         1: acked 5 committed 5 readable 5
         2: acked 5
         1: nothing moved
         1: proposes 1,2 in 1
         1: at 5 in 1 nothing moved
         1: acked 10
         1: committed 10 readable 10",
    );
}

#[test]
fn a_replica_always_a_little_behind_a_busy_leader_can_join() {
    check(
        "at 1000
         1 leads 1 of 1,2 isr 1
         2 follows 1 in 1
         2 settles with 1
         1 append 5 all
         1 synced 5
         2 copies 1 to 4
         1 hears 2
         1 append 5 all
         1 synced 10
         2 copies 1 to 9
         at 1010
         1 hears 2
         1 plan 100
         1 append 5 all
         1 synced 15
         2 copies 1 to 14
         1 hears 2
         1 plan 100",
        "1: nothing moved
         2: settled
         1: at 0 in 1 nothing moved
         1: acked 5 committed 5 readable 5
         2: acked 4
         1: nothing moved
         1: at 5 in 1 nothing moved
         1: acked 10 committed 10 readable 10
         2: acked 9
         1: nothing moved
         1: no change
         1: at 10 in 1 nothing moved
         1: acked 15
         2: acked 14
         1: committed 14 readable 14
         1: proposes 1,2 in 1",
    );
}

#[test]
fn a_leader_change_keeps_what_was_committed() {
    check(
        "1 leads 1 of 1,2,3 isr 1,2,3
         2 follows 1 in 1
         3 follows 1 in 1
         2 settles with 1
         3 settles with 1
         1 append 5 all
         1 synced 5
         2 copies 1 to 5
         3 copies 1 to 3
         1 hears 2
         1 hears 3
         2 leads 2 of 1,2,3 isr 2,3
         2 latest
         3 follows 2 in 2
         3 settles with 2
         3 copies 2 to 5
         2 hears 3
         2 latest",
        "1: nothing moved
         2: settled
         3: settled
         1: at 0 in 1 nothing moved
         1: acked 5
         2: acked 5
         3: acked 3
         1: nothing moved
         1: committed 3 readable 3
         2: nothing moved
         2: refused: the high watermark 0 has not reached this leadership's start 5
         3: settled
         3: acked 5
         2: committed 5 readable 5
         2: latest 5",
    );
}

#[test]
fn the_old_leader_cuts_what_nobody_else_had() {
    check(
        "1 leads 1 of 1,2 isr 1,2
         2 follows 1 in 1
         2 settles with 1
         1 append 5 all
         1 synced 5
         2 copies 1 to 3
         1 hears 2
         2 leads 2 of 1,2 isr 2
         2 append 4 all
         2 synced 7
         1 follows 2 in 2
         1 copies 2 to 7
         2 hears 1
         1 settles with 2
         1 copies 2 to 7
         1 is
         2 is",
        "1: nothing moved
         2: settled
         1: at 0 in 1 nothing moved
         1: acked 5
         2: acked 3
         1: committed 3 readable 3
         2: committed 3 readable 3
         2: at 3 in 2 nothing moved
         2: acked 7 committed 7 readable 7
         1: refused: the log has not been compared with the leader's yet
         2: nothing to hear
         1: cut at 3 settled
         1: acked 7
         1: 0..7 synced 7 hw 3 epochs 1@0 2@3
         2: 0..7 synced 7 hw 7 epochs 1@0 2@3",
    );
}

#[test]
fn a_leader_that_lost_unsynced_records_in_a_crash_does_not_reuse_their_offsets_unnoticed() {
    check(
        "1 leads 1 of 1,2 isr 1,2
         2 follows 1 in 1
         2 settles with 1
         1 append 8 one
         1 synced 5
         2 copies 1 to 8
         1 restarts at 5
         1 leads 2 of 1,2 isr 1,2
         1 append 4 all
         1 synced 9
         2 follows 1 in 2
         2 settles with 1
         2 copies 1 to 9
         1 hears 2
         2 is",
        "1: nothing moved
         2: settled
         1: at 0 in 1 nothing moved
         1: acked 5
         2: acked 8
         1: nothing moved
         1: at 5 in 2 nothing moved
         1: acked 9
         2: cut at 5 settled
         2: acked 9
         1: committed 9 readable 9
         2: 0..9 synced 9 hw 0 epochs 1@0 2@5",
    );
}

/// KIP-279: two unclean elections in a row leave both logs with an epoch that the other has never seen.
#[test]
fn epochs_that_the_other_side_never_saw_are_settled_step_by_step() {
    check(
        "1 leads 1 of 1,2 isr 1,2
         2 follows 1 in 1
         2 settles with 1
         1 append 10 one
         1 synced 10
         2 copies 1 to 10
         2 leads 2 of 1,2 isr 2
         2 append 10 one
         2 synced 20
         2 restarts at 20
         1 leads 3 of 1,2 isr 1
         1 append 3 one
         1 synced 13
         1 restarts at 13
         2 leads 4 of 1,2 isr 2
         2 append 5 one
         2 synced 25
         1 follows 2 in 4
         1 settles with 2
         1 copies 2 to 25
         1 is",
        "1: nothing moved
         2: settled
         1: at 0 in 1 nothing moved
         1: acked 10
         2: acked 10
         2: committed 10 readable 10
         2: at 10 in 2 nothing moved
         2: acked 20 committed 20 readable 20
         1: committed 10 readable 10
         1: at 10 in 3 nothing moved
         1: acked 13 committed 13 readable 13
         2: committed 20 readable 20
         2: at 20 in 4 nothing moved
         2: acked 25 committed 25 readable 25
         1: cut at 10 settled
         1: acked 25
         1: 0..25 synced 25 hw 0 epochs 1@0 2@10 4@20",
    );
}

#[test]
fn an_empty_leader_after_an_unclean_election_empties_its_followers() {
    check(
        "1 leads 5 of 1,2 isr 1
         1 append 2 one
         1 synced 2
         1 restarts at 2
         1 follows 2 in 6
         2 leads 6 of 1,2 isr 2
         1 settles with 2
         1 is",
        "1: nothing moved
         1: at 0 in 5 nothing moved
         1: acked 2 committed 2 readable 2
         2: nothing moved
         1: cut at 0 settled
         1: 0..0 synced 0 hw 0 epochs",
    );
}

#[test]
fn a_log_wholly_past_what_is_shared_starts_again() {
    check(
        "1 leads 3 of 1,2 isr 1
         1 append 9 one
         1 synced 9
         1 start 8
         2 leads 6 of 1,2 isr 2
         2 append 4 one
         1 follows 2 in 6
         1 settles with 2
         1 is",
        "1: nothing moved
         1: at 0 in 3 nothing moved
         1: acked 9 committed 9 readable 9
         1: nothing moved
         2: nothing moved
         2: at 0 in 6 nothing moved
         1: restarted at 0
         1: 0..0 synced 0 hw 0 epochs",
    );
}

#[test]
fn reports_of_other_leaderships_and_strangers_are_refused() {
    check(
        "1 leads 1 of 1,2 isr 1,2
         2 follows 1 in 1
         1 hears 2
         2 settles with 1
         1 hears 2
         1 leads 2 of 1,2 isr 1,2
         1 hears 2
         3 leads 3 of 2,3 isr 2,3
         2 follows 3 in 3
         2 settles with 3
         1 hears 2
         4 follows 1 in 2
         4 settles with 1
         1 hears 4",
        "1: nothing moved
         1: nothing to hear
         2: settled
         1: nothing moved
         1: nothing moved
         1: refused: fenced: the epoch here is 2
         3: nothing moved
         2: settled
         1: refused: unknown epoch: the epoch here is 2
         4: settled
         1: refused: broker 4 is not a replica of this partition",
    );
}

#[test]
fn a_leader_answers_no_follower_before_its_epoch_is_durable() {
    check(
        "1 elected 1 of 1,2 isr 1,2
         2 follows 1 in 1
         2 settles with 1
         1 durable 1
         2 settles with 1",
        "1: nothing moved
         2: refused: leader epoch 1 is not durable yet
         2: settled",
    );
}

#[test]
fn an_older_leadership_cannot_come_back() {
    check(
        "1 follows 2 in 5
         1 follows 3 in 4
         1 leads 5 of 1,2 isr 1
         1 leads 6 of 1,2 isr 1
         1 follows 2 in 6
         1 append 1 one
         1 follows 2 in 7
         1 append 1 one",
        "1: refused: fenced: the epoch here is 5
         1: refused: fenced: the epoch here is 5
         1: nothing moved
         1: refused: fenced: the epoch here is 6
         1: at 0 in 6 nothing moved
         1: refused: not the leader; the leader is Some(BrokerId(2))",
    );
}

#[test]
fn a_fetch_reads_what_is_committed_and_is_refused_outside_the_log() {
    check(
        "1 leads 2 of 1 isr 1
         1 append 9 one
         1 synced 4
         1 start 2
         1 fetch 2
         1 fetch 4
         1 fetch 7
         1 fetch 9
         1 fetch 10
         1 fetch 1
         1 fetch 2 epoch 2
         1 fetch 2 epoch 1
         1 fetch 2 epoch 3
         2 fetch 0",
        "1: nothing moved
         1: at 0 in 2 nothing moved
         1: acked 4 committed 4 readable 4
         1: nothing moved
         1: reads 2 to 4, hw 4
         1: reads 4 to 4, hw 4
         1: reads 7 to 4, hw 4
         1: reads 9 to 4, hw 4
         1: refused: offset out of range: the log holds 2 to 9
         1: refused: offset out of range: the log holds 2 to 9
         1: reads 2 to 4, hw 4
         1: refused: fenced: the epoch here is 2
         1: refused: unknown epoch: the epoch here is 2
         2: refused: not the leader; the leader is None",
    );
}

#[test]
fn a_reader_with_another_history_is_told_where_it_diverges() {
    check(
        "1 leads 2 of 1 isr 1
         1 append 4 one
         1 synced 4
         1 restarts at 4
         1 leads 5 of 1 isr 1
         1 append 4 one
         1 fetch 4 last 2
         1 fetch 5 last 2
         1 fetch 3 last 3
         1 fetch 5 last 5
         1 fetch 5 last 6
         1 end-of 1
         1 end-of 2
         1 end-of 4
         1 end-of 5
         1 end-of 6",
        "1: nothing moved
         1: at 0 in 2 nothing moved
         1: acked 4 committed 4 readable 4
         1: committed 4 readable 4
         1: at 4 in 5 nothing moved
         1: reads 4 to 4, hw 4
         1: diverges: 2 ends at 4
         1: diverges: 2 ends at 4
         1: reads 5 to 4, hw 4
         1: refused: offset out of range: the log holds 0 to 8
         1: 1 ends at 0
         1: 2 ends at 4
         1: 2 ends at 4
         1: 5 ends at 8
         1: unknown",
    );
}

#[test]
fn records_are_deleted_up_to_the_high_watermark_at_most() {
    check(
        "1 leads 1 of 1 isr 1
         1 append 6 one
         1 synced 4
         1 delete 5
         1 delete -2
         1 delete 3
         1 start 3
         1 delete 2
         1 delete all
         1 start 4
         1 fetch 3
         1 is",
        "1: nothing moved
         1: at 0 in 1 nothing moved
         1: acked 4 committed 4 readable 4
         1: refused: offset out of range: the log holds 0 to 4
         1: refused: offset out of range: the log holds 0 to 4
         1: start at 3
         1: nothing moved
         1: start at 3
         1: start at 4
         1: nothing moved
         1: refused: offset out of range: the log holds 4 to 6
         1: 4..6 synced 4 hw 4 epochs 1@4",
    );
}

#[test]
fn a_followers_log_start_can_pass_what_it_knew_to_be_committed() {
    check(
        "1 leads 1 of 1,2 isr 1,2
         2 follows 1 in 1
         2 settles with 1
         1 append 6 one
         1 synced 6
         2 copies 1 to 6
         2 start 5
         2 is",
        "1: nothing moved
         2: settled
         1: at 0 in 1 nothing moved
         1: acked 6
         2: acked 6
         2: committed 5 readable 5
         2: 5..6 synced 6 hw 5 epochs 1@5",
    );
}

#[test]
fn waiters_leave_in_order_of_what_they_wait_for() {
    let mut waiters = Waiters::default();
    waiters.push(Offset(5), Timestamp(10), "a");
    waiters.push(Offset(9), Timestamp(30), "b");
    waiters.push(Offset(5), Timestamp(20), "a again");
    assert_eq!(waiters.pop_due(Offset(4)), None);
    assert_eq!(waiters.pop_due(Offset(5)), Some("a"));
    assert_eq!(waiters.next_deadline(), Some(Timestamp(20)));
    assert_eq!(waiters.pop_due(Offset(5)), Some("a again"));
    assert_eq!(waiters.pop_due(Offset(5)), None);
    let mut expired = Vec::new();
    waiters.push(Offset(12), Timestamp(29), "c");
    waiters.expire(Timestamp(28), &mut expired);
    assert!(expired.is_empty());
    waiters.expire(Timestamp(29), &mut expired);
    assert_eq!(expired, ["c"]);
    assert_eq!(waiters.len(), 1);
    assert_eq!(waiters.pop_any(), Some("b"));
    assert!(waiters.is_empty());
}

#[test]
fn acks_are_minus_one_zero_and_one() {
    let known: Vec<_> = (-3..=3).map(Acks::from_wire).collect();
    assert_eq!(known, [None, None, Some(Acks::All), Some(Acks::None), Some(Acks::Leader), None, None]);
}
