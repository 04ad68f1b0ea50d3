//! Frames however the bytes are cut, and what is refused.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::BytesMut;
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::{FrameError, FrameReader, Intake, Scratch};
use crate::net::budget::{Budget, BudgetLimits};
use crate::net::stream::{ByteStream, MovedSocket};

/// Delivers the given pieces, one a read at most, then ends.
struct Pieces(VecDeque<Vec<u8>>);

impl ByteStream for Pieces {
    fn poll_read(&mut self, _: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let Some(mut piece) = self.0.pop_front() else { return Poll::Ready(Ok(0)) };
        let rest = piece.split_off(piece.len().min(buffer.len()));
        if !rest.is_empty() {
            self.0.push_front(rest);
        }
        buffer[..piece.len()].copy_from_slice(&piece);
        Poll::Ready(Ok(piece.len()))
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn shut_down(&self) {}

    fn detach(&mut self) -> Option<MovedSocket> {
        None
    }
}

fn reader(pieces: Vec<Vec<u8>>) -> FrameReader {
    let pieces = pieces.into_iter().filter(|piece| !piece.is_empty()).collect();
    let stream: Box<dyn ByteStream> = Box::new(Pieces(pieces));
    FrameReader::new(
        Rc::new(RefCell::new(stream)),
        Scratch::new(),
        Budget::new(BudgetLimits {
            requests_bytes: 1 << 20,
            frame_bytes_max: 1 << 20,
            replies_bytes: 1 << 20,
        }),
        1 << 20,
        BytesMut::new(),
    )
}

fn framed(payload: &[u8]) -> Vec<u8> {
    let length = i32::try_from(payload.len()).expect("test frames are small");
    [&length.to_be_bytes()[..], payload].concat()
}

#[test]
fn a_length_out_of_bounds_is_refused_before_any_of_it_is_read() {
    for length in [-1_i32, i32::MIN, i32::MAX, (1 << 20) + 1] {
        let mut reader = reader(vec![length.to_be_bytes().to_vec()]);
        match block_on(reader.next()) {
            Err(FrameError::Length(refused)) => assert_eq!(refused, length),
            other => panic!("{:?}", other.map(|(frame, _)| frame)),
        }
    }
}

#[test]
fn the_end_within_a_frame_is_the_end() {
    let mut reader = reader(vec![vec![0, 0, 0, 9, 1, 2]]);
    assert!(matches!(block_on(reader.next()), Err(FrameError::Ended)));
}

/// Pieces, then silence for ever.
struct Silent(Pieces);

impl ByteStream for Silent {
    fn poll_read(&mut self, context: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        if self.0.0.is_empty() { Poll::Pending } else { self.0.poll_read(context, buffer) }
    }

    fn poll_write(&mut self, _: &mut Context<'_>, _: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(0))
    }

    fn shut_down(&self) {}

    fn detach(&mut self) -> Option<MovedSocket> {
        None
    }
}

/// The reader of a client that announces so much, sends so much of it, and falls silent.
fn silent(budget: &Rc<Budget>, announced: i32, sent: usize) -> FrameReader {
    let pieces = VecDeque::from([[&announced.to_be_bytes()[..], &vec![7; sent]].concat()]);
    let stream: Box<dyn ByteStream> = Box::new(Silent(Pieces(pieces)));
    let stream = Rc::new(RefCell::new(stream));
    FrameReader::new(stream, Scratch::new(), Rc::clone(budget), 100 << 20, BytesMut::new())
}

/// A hundred clients announce 90 MiB each and send little: they hold what they sent, as much again, and in good times a
/// little more; others are served.
#[test]
fn what_is_announced_is_not_paid_for() {
    let limits =
        BudgetLimits { requests_bytes: 16 << 20, frame_bytes_max: 100 << 20, replies_bytes: 1 << 20 };
    let budget = Budget::new(limits);
    let mut readers: Vec<FrameReader> = (0..100).map(|_| silent(&budget, 90 << 20, 10_000)).collect();
    let mut waiting: Vec<_> = readers.iter_mut().map(|reader| Box::pin(reader.next())).collect();
    for next in &mut waiting {
        assert!(next.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert!(!budget.is_short(), "nobody waits for memory, {} B are used", budget.used_bytes());
    let mut other = silent(&budget, 500_000, 500_000);
    assert_eq!(block_on(other.next()).expect("served").0.len(), 500_000);
    assert!(budget.used_bytes() <= (5 << 20) + 100 * 20_008, "{} B", budget.used_bytes());
    drop(waiting);
}

/// What a sweep sees of a frame that comes slowly, or waits for memory.
#[test]
fn the_reader_says_what_it_waits_for() {
    let limits = BudgetLimits { requests_bytes: 1 << 20, frame_bytes_max: 1 << 20, replies_bytes: 1 << 20 };
    let budget = Budget::new(limits);
    let mut context = Context::from_waker(Waker::noop());
    let mut slow = silent(&budget, 100_000, 50_000);
    let intake = Rc::clone(&slow.intake);
    assert!(Box::pin(slow.next()).as_mut().poll(&mut context).is_pending());
    assert!(matches!(intake.get(), Intake::Receiving(_)));
    let mut held = budget.frame(20_000);
    assert!(held.grow_now(1 << 19) && !held.grow_now(1 << 20));
    let mut kept_waiting = silent(&budget, 30_000, 30_000);
    let intake = Rc::clone(&kept_waiting.intake);
    let mut more = budget.frame(20_000);
    assert!(more.grow_now((1 << 20) - budget.used_bytes()));
    let mut next = Box::pin(kept_waiting.next());
    assert!(next.as_mut().poll(&mut context).is_pending());
    assert_eq!(intake.get(), Intake::Waiting);
    drop(held);
    assert!(next.as_mut().poll(&mut context).is_ready());
    assert_eq!(intake.get(), Intake::Idle);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut(
        sizes in prop::collection::vec(0_usize..200_000, 1..8),
        cuts in prop::collection::vec(1_usize..100_000, 0..40),
    ) {
        let payloads: Vec<Vec<u8>> = sizes
            .iter()
            .enumerate()
            .map(|(index, size)| vec![u8::try_from(index).expect("few frames"); *size])
            .collect();
        let mut wire: Vec<u8> = payloads.iter().flat_map(|payload| framed(payload)).collect();
        let mut pieces = Vec::new();
        for cut in cuts {
            let rest = wire.split_off(cut.min(wire.len()));
            pieces.push(std::mem::replace(&mut wire, rest));
        }
        pieces.push(wire);
        let mut reader = reader(pieces);
        for payload in payloads {
            let (frame, grant) = block_on(reader.next()).expect("a whole frame");
            prop_assert_eq!(&frame[..], &payload[..]);
            drop(grant);
        }
        prop_assert!(matches!(block_on(reader.next()), Err(FrameError::Ended)));
    }
}

#[test]
fn what_is_given_back_is_what_came() {
    let mut bytes = framed(b"first");
    bytes.extend_from_slice(&framed(b"second"));
    bytes.extend_from_slice(b"\0\0\0");
    let mut reader = reader(vec![bytes.clone()]);
    let (frame, _grant) = block_on(reader.next()).expect("a whole frame came");
    assert_eq!(reader.give_back(&frame), bytes);
}
