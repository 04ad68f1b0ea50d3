//! Order, draining, and closing.

use std::collections::VecDeque;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::{Replies, Ticket};
use crate::net::budget::Budget;

fn ticket(replies: &Rc<Replies>) -> Ticket {
    let budget = Budget::new(1_000);
    let grant = futures_lite::future::block_on(budget.take(1));
    replies.ticket(grant)
}

fn reply(text: &'static str) -> Vec<Bytes> {
    vec![Bytes::from_static(text.as_bytes())]
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
    let replies = Replies::new();
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
    let replies = Replies::new();
    let (first, second) = (ticket(&replies), ticket(&replies));
    second.answer(reply("b"));
    first.answer_nothing();
    assert_eq!(leaving(&replies).as_deref(), Some("b"));
}

#[test]
fn an_abandoned_request_closes_the_connection() {
    let replies = Replies::new();
    let first = ticket(&replies);
    let second = ticket(&replies);
    drop(first);
    assert!(replies.is_closed());
    second.answer(reply("late"));
    assert_eq!(leaving(&replies), None);
}

#[test]
fn the_reader_waits_until_replies_have_left() {
    let replies = Replies::new();
    let context = Context::from_waker(Waker::noop());
    let only = ticket(&replies);
    assert!(replies.poll_below(1, &context).is_pending());
    only.answer(reply("a"));
    assert!(replies.poll_below(1, &context).is_pending(), "answered is not yet taken by the writer");
    assert!(leaving(&replies).is_some());
    assert!(replies.poll_below(1, &context).is_ready());
}
