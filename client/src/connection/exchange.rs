//! A request that waits, the answer that comes, and who is told of it.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::Bytes;
use protocol::api::ApiKey;
use protocol::frame::read_response_header;
use protocol::messages::Response;
use protocol::wire::Reader;

use crate::error::ConnectionError;
use crate::limits::DECODED_BYTES_MAX;

/// A request that was queued and is not answered.
pub(super) struct Exchange {
    pub correlation_id: i32,
    pub api: ApiKey,
    pub version: i16,
    /// When its answer is overdue.
    pub due: Instant,
    pub slot: Rc<ReplySlot>,
}

/// Where the answer is put.
#[derive(Default)]
pub(super) struct ReplySlot {
    outcome: RefCell<Option<Result<Answer, ConnectionError>>>,
    waker: Cell<Option<Waker>>,
}

impl ReplySlot {
    pub(super) fn fill(&self, outcome: Result<Answer, ConnectionError>) {
        self.outcome.replace(Some(outcome));
        if let Some(waker) = self.waker.take() {
            waker.wake();
        }
    }
}

/// Waits for the answer to one request. Dropped early, the answer is thrown away when it comes.
#[must_use = "the answer comes only to who waits for it"]
pub struct Reply {
    slot: Rc<ReplySlot>,
}

impl Reply {
    pub(super) fn new(slot: Rc<ReplySlot>) -> Self {
        Self { slot }
    }
}

impl Future for Reply {
    type Output = Result<Answer, ConnectionError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        if let Some(outcome) = self.slot.outcome.take() {
            return Poll::Ready(outcome);
        }
        self.slot.waker.set(Some(context.waker().clone()));
        Poll::Pending
    }
}

/// An answer as it came; what is decoded borrows from it.
#[derive(Clone, Debug)]
pub struct Answer {
    address: SocketAddr,
    api: ApiKey,
    version: i16,
    frame: Bytes,
    body_at: usize,
}

impl Answer {
    pub(super) fn new(
        address: SocketAddr,
        api: ApiKey,
        version: i16,
        frame: Bytes,
    ) -> Result<Self, ConnectionError> {
        let mut reader = Reader::new(&frame, 0);
        read_response_header(&mut reader, api, version).map_err(|reason| ConnectionError::Malformed {
            address,
            api,
            reason,
        })?;
        let body_at = frame.len() - reader.rest().len();
        Ok(Self { address, api, version, frame, body_at })
    }

    /// The version that it is in.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// The body's bytes, in the memory that they were received into.
    #[must_use]
    pub fn body(&self) -> Bytes {
        self.frame.slice(self.body_at..)
    }

    /// Reads the body.
    ///
    /// # Errors
    /// It is not what it should be.
    ///
    /// # Panics
    /// `R` is the answer to another request.
    pub fn decode<'a, R: Response<'a>>(&'a self) -> Result<R, ConnectionError> {
        assert_eq!(R::API, self.api, "an answer is read as what was asked");
        self.decode_in(self.version)
    }

    /// Reads the body in another version than was asked for: what ApiVersions alone may be answered in.
    pub(super) fn decode_in<'a, R: Response<'a>>(&'a self, version: i16) -> Result<R, ConnectionError> {
        let malformed = |reason| ConnectionError::Malformed { address: self.address, api: self.api, reason };
        R::decode(&self.frame[self.body_at..], version, DECODED_BYTES_MAX).map_err(malformed)
    }
}
