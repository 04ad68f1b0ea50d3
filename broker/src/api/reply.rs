//! The way back: a response becomes a frame and takes its place among the connection's replies.

use std::rc::Rc;

use protocol::frame::write_response;
use protocol::messages::Response;

use crate::net::replies::{Reply as Frame, Ticket};
use crate::shard::Shard;

/// The right to answer one request, with what its answer's header needs.
pub struct Reply {
    shard: Rc<Shard>,
    ticket: Ticket,
    correlation_id: i32,
    version: i16,
}

impl Reply {
    /// The reply to a request of the given version.
    #[must_use]
    pub fn new(shard: Rc<Shard>, ticket: Ticket, correlation_id: i32, version: i16) -> Self {
        Self { shard, ticket, correlation_id, version }
    }

    /// The request's version, which the answer has too.
    #[must_use]
    pub fn version(&self) -> i16 {
        self.version
    }

    /// The request's place among those of its connection.
    #[must_use]
    pub fn ticket(&self) -> &Ticket {
        &self.ticket
    }

    /// Answers. A response that its version can't carry is the broker's mistake: it is logged, and the connection is
    /// closed, since the client can't go on without an answer.
    pub fn send<'a, R: Response<'a>>(self, response: &R) {
        let version = self.version;
        self.send_as(response, version);
    }

    /// Answers in another version than the request's (ApiVersions alone does that).
    pub fn send_as<'a, R: Response<'a>>(self, response: &R, version: i16) {
        let mut chunks = Frame::new();
        let written = {
            let mut writer = self.shard.writer.borrow_mut();
            write_response(&mut writer, self.correlation_id, version, response, &mut chunks)
        };
        match written {
            Ok(_) => self.ticket.answer(chunks),
            Err(error) => {
                tracing::error!(api = R::API.name(), version, %error, "a response can't be encoded")
            }
        }
    }

    /// The client wants no answer.
    pub fn send_nothing(self) {
        self.ticket.answer_nothing();
    }
}
