//! What comes in from other shards. Serving the inbox never waits: appends are synchronous, questions get a task.

use std::rc::Rc;

use super::Shard;
use super::messages::Message;
use super::produce::{Listener, ProduceCall};
use super::serving;
use crate::api::Api;
use crate::runtime::{MeshReceiver, spawn};

/// Serves the messages of one other shard, in order, until it goes.
pub async fn serve(shard: Rc<Shard>, api: Rc<Api>, receiver: MeshReceiver<Message>) {
    while let Some(message) = receiver.receive().await {
        take(&shard, &api, receiver.from, message);
    }
}

fn take(shard: &Rc<Shard>, api: &Rc<Api>, from: usize, message: Message) {
    match message {
        Message::Ask { call, question } => {
            let shard = Rc::clone(shard);
            spawn(async move {
                let answer = shard.answer(question).await;
                shard.mesh.send(from, Message::Answer { call, answer });
            });
        }
        Message::Answer { call, answer } => shard.calls.answer(call, answer),
        Message::Produce { call, terms, items } => {
            let call = ProduceCall::new(items.len(), Listener::Shard { from, call });
            shard.produce_here(shard.now(), &call, terms, items);
        }
        Message::Produced { call, outcomes } => {
            let open =
                shard.produces.borrow_mut().remove(&call).expect("a shard answers what it was asked, once");
            for outcome in outcomes {
                shard.note(&open, outcome);
            }
        }
        Message::TakeOver { socket, received } => {
            serving::take(shard, api, socket, received, shard.config.seats.take_over());
        }
    }
}
