//! Who gets room, how much, and in which order.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use super::{ReplyBudget, Room};
use crate::limits::REPLY_ROOM_BYTES_MIN;

const MIB: usize = 1 << 20;

fn context() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn bytes(room: Option<&Room>) -> Option<usize> {
    room.map(Room::bytes)
}

#[test]
fn a_fetch_gets_a_part_and_less_where_there_is_less() {
    let budget = ReplyBudget::new(40 * MIB);
    let first = budget.room_now(60 * MIB, true);
    assert_eq!(bytes(first.as_ref()), Some(10 * MIB));
    let _others = budget.charge(26 * MIB);
    assert_eq!(bytes(budget.room_now(6 * MIB, true).as_ref()), Some(4 * MIB));
    let _rest = budget.charge(4 * MIB);
    assert_eq!(bytes(budget.room_now(6 * MIB, true).as_ref()), None);
    drop(first);
    assert_eq!(budget.used_bytes(), 30 * MIB);
}

#[test]
fn the_more_wait_the_less_each_gets() {
    let budget = ReplyBudget::new(40 * MIB);
    let all = budget.charge(40 * MIB);
    let mut waiting: Vec<_> = (0..20).map(|_| Box::pin(budget.room(60 * MIB))).collect();
    assert!(waiting.iter_mut().all(|room| room.as_mut().poll(&mut context()).is_pending()));
    drop(all);
    let Poll::Ready(first) = waiting[0].as_mut().poll(&mut context()) else { panic!("it is next") };
    assert_eq!(first.bytes(), 2 * MIB);
}

#[test]
fn a_reply_that_can_t_leave_yet_uses_half_at_most() {
    let budget = ReplyBudget::new(40 * MIB);
    let _early = budget.charge(15 * MIB);
    let early = budget.room_now(20 * MIB, false);
    assert_eq!(bytes(early.as_ref()), Some(5 * MIB));
    assert_eq!(bytes(budget.room_now(MIB, false).as_ref()), None);
    assert_eq!(bytes(budget.room_now(MIB, true).as_ref()), Some(MIB));
}

#[test]
fn a_small_remainder_is_not_worth_a_read_unless_no_more_is_wanted() {
    let budget = ReplyBudget::new(10 * MIB);
    let _most = budget.charge(10 * MIB - REPLY_ROOM_BYTES_MIN + 1);
    assert_eq!(bytes(budget.room_now(2 * MIB, true).as_ref()), None);
    assert_eq!(bytes(budget.room_now(1000, true).as_ref()), Some(1000));
}

#[test]
fn room_is_given_in_the_order_of_asking() {
    let budget = ReplyBudget::new(4 * MIB);
    let all = budget.charge(4 * MIB);
    let (mut elder, mut younger) = (pin!(budget.room(4 * MIB)), pin!(budget.room(1000)));
    assert!(elder.as_mut().poll(&mut context()).is_pending());
    assert!(younger.as_mut().poll(&mut context()).is_pending());
    assert!(budget.is_short());
    drop(all);
    assert!(younger.as_mut().poll(&mut context()).is_pending(), "the elder is first");
    assert!(budget.room_now(1000, true).is_none(), "who comes now waits behind both");
    assert!(elder.as_mut().poll(&mut context()).is_ready());
    assert!(!budget.is_short() || younger.as_mut().poll(&mut context()).is_ready());
}

#[test]
fn what_is_there_is_charged_whatever_the_limit_says() {
    let budget = ReplyBudget::new(MIB);
    let rooms: Vec<Room> = (0..3).map(|_| budget.charge(MIB)).collect();
    assert_eq!(budget.used_bytes(), 3 * MIB);
    drop(rooms);
    assert_eq!(budget.used_bytes(), 0);
}

#[test]
fn a_request_whose_reply_is_charged_without_a_question_waits_while_replies_hold_all_there_is() {
    let budget = ReplyBudget::new(10 * MIB);
    let most = budget.charge(10 * MIB - 1);
    assert!(pin!(budget.some_room()).poll(&mut context()).is_ready());
    let last = budget.charge(5 * MIB);
    let mut waiting: Vec<_> = (0..2).map(|_| Box::pin(budget.some_room())).collect();
    assert!(waiting.iter_mut().all(|room| room.as_mut().poll(&mut context()).is_pending()));
    assert!(budget.is_short(), "clients that take nothing are in others' way");
    drop(last);
    assert!(waiting[1].as_mut().poll(&mut context()).is_pending(), "who came first goes first");
    assert!(waiting[0].as_mut().poll(&mut context()).is_ready());
    assert!(waiting[1].as_mut().poll(&mut context()).is_ready());
    drop(most);
    assert_eq!(budget.used_bytes(), 0);
}
