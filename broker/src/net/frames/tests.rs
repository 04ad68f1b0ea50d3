//! Frames however the bytes are cut, and what is refused.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use futures_lite::future::block_on;
use proptest::prelude::*;

use super::{FrameError, FrameReader, Scratch};
use crate::net::budget::Budget;
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
        Budget::new(1 << 20),
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
