//! Order, draining, and closing.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use smallvec::smallvec;

use super::{Replies, Reply, Ticket};
use crate::limits::REPLY_BYTES_PER_CONNECTION_MAX;
use crate::net::budget::{Budget, BudgetLimits};
use crate::net::reply_budget::ReplyBudget;

fn ticket(replies: &Rc<Replies>) -> Ticket {
    let limits = BudgetLimits { requests_bytes: 1_000, frame_bytes_max: 1_000, replies_bytes: 0 };
    replies.ticket(Budget::new(limits).frame(1))
}

fn reply(text: &'static str) -> Reply {
    smallvec![Bytes::from_static(text.as_bytes())]
}

/// What may leave now, joined.
fn leaving(replies: &Replies) -> Option<String> {
    let mut out = VecDeque::new();
    match replies.poll_next(&Context::from_waker(Waker::noop()), &mut out, &mut Vec::new()) {
        Poll::Ready(Some(())) => Some(out.iter().map(|part| String::from_utf8_lossy(part)).collect()),
        Poll::Ready(None) | Poll::Pending => None,
    }
}

#[test]
fn replies_leave_in_the_order_of_requests() {
    let replies = Replies::new(&ReplyBudget::new(1 << 30));
    let (first, second, third) = (ticket(&replies), ticket(&replies), ticket(&replies));
    second.answer(reply("b"));
    assert_eq!(leaving(&replies), None);
    first.answer(reply("a"));
    assert_eq!(leaving(&replies).as_deref(), Some("ab"));
    third.answer(reply("c"));
    assert_eq!(leaving(&replies).as_deref(), Some("c"));
    assert_eq!(replies.open_count(), 0);
}

#[test]
fn a_request_without_reply_holds_up_nobody() {
    let replies = Replies::new(&ReplyBudget::new(1 << 30));
    let (first, second) = (ticket(&replies), ticket(&replies));
    second.answer(reply("b"));
    first.answer_nothing();
    assert_eq!(leaving(&replies).as_deref(), Some("b"));
}

#[test]
fn an_abandoned_request_closes_the_connection() {
    let replies = Replies::new(&ReplyBudget::new(1 << 30));
    let first = ticket(&replies);
    let second = ticket(&replies);
    drop(first);
    assert!(replies.is_closed());
    second.answer(reply("late"));
    assert_eq!(leaving(&replies), None);
}

#[test]
fn the_reader_waits_until_replies_have_left() {
    let replies = Replies::new(&ReplyBudget::new(1 << 30));
    let context = Context::from_waker(Waker::noop());
    let only = ticket(&replies);
    assert!(replies.poll_below(1, &context).is_pending());
    only.answer(reply("a"));
    assert!(replies.poll_below(1, &context).is_pending(), "answered is not yet taken by the writer");
    assert!(leaving(&replies).is_some());
    assert!(replies.poll_below(1, &context).is_ready());
}

#[test]
fn a_reply_counts_until_it_is_written() {
    let budget = ReplyBudget::new(1 << 30);
    let replies = Replies::new(&budget);
    ticket(&replies).answer(reply("abc"));
    assert_eq!((replies.unsent_bytes(), budget.used_bytes()), (3, 3));
    let mut departures = Vec::new();
    let context = Context::from_waker(Waker::noop());
    assert!(replies.poll_next(&context, &mut VecDeque::new(), &mut departures).is_ready());
    assert_eq!((replies.unsent_bytes(), budget.used_bytes()), (3, 3));
    replies.settle(&mut departures, std::time::Instant::now());
    assert_eq!((replies.unsent_bytes(), budget.used_bytes()), (0, 0));
}

#[test]
fn a_request_s_memory_is_free_once_it_is_answered() {
    let limits = BudgetLimits { requests_bytes: 1_000, frame_bytes_max: 1_000, replies_bytes: 0 };
    let budget = Budget::new(limits);
    let replies = Replies::new(&budget.replies);
    let tickets: Vec<Ticket> = (0..2)
        .map(|_| {
            let mut grant = budget.frame(100);
            assert!(grant.grow_now(100));
            replies.ticket(grant)
        })
        .collect();
    assert_eq!(budget.used_bytes(), 200);
    let mut tickets = tickets.into_iter();
    tickets.next_back().expect("the second").answer(reply("b"));
    assert_eq!(budget.used_bytes(), 100, "although its reply waits for the one before");
    replies.close();
    assert_eq!(
        (budget.used_bytes(), budget.replies.used_bytes()),
        (0, 0),
        "a closed connection holds nothing"
    );
    drop(tickets);
}

#[test]
fn a_connection_whose_replies_pile_up_is_not_read_on() {
    let replies = Replies::new(&ReplyBudget::new(1 << 30));
    let context = Context::from_waker(Waker::noop());
    let waiting = ticket(&replies);
    ticket(&replies).answer(smallvec![Bytes::from(vec![0; REPLY_BYTES_PER_CONNECTION_MAX])]);
    assert!(replies.poll_below(100, &context).is_pending());
    let third = ticket(&replies);
    assert!(third.room_now(1).is_none(), "nor is more read for it");
    assert!(waiting.room_now(1).is_some(), "but for the reply that all others wait for");
}

#[test]
fn who_waits_for_room_waits_to_be_the_first() {
    let budget = ReplyBudget::new(100);
    let replies = Replies::new(&budget);
    let others = budget.charge(80);
    let (first, second) = (ticket(&replies), ticket(&replies));
    let mut room = std::pin::pin!(second.room(20));
    let mut context = Context::from_waker(Waker::noop());
    assert!(std::future::Future::poll(room.as_mut(), &mut context).is_pending());
    assert!(!budget.is_short(), "it waits for its connection, not in the shard's queue");
    first.answer(reply("a"));
    assert!(leaving(&replies).is_some());
    assert!(std::future::Future::poll(room.as_mut(), &mut context).is_ready());
    drop(others);
}
