//! Telling the shards what has changed: every change to every shard, in order, one at a time.

use std::sync::Arc;

use tokio::sync::{mpsc, oneshot, watch};

use crate::quorum::Change;
use crate::shard::start::ControlMessage;

/// Passes changes on until there are no more; `everywhere` says which was the last that every shard has applied. Ends
/// early when a shard has gone: the broker stops then.
pub async fn publish(
    mut changes: mpsc::Receiver<Change>,
    shards: Vec<mpsc::Sender<ControlMessage>>,
    everywhere: watch::Sender<u64>,
) {
    while let Some(change) = changes.recv().await {
        let mut waiting = Vec::with_capacity(shards.len());
        for shard in &shards {
            let (applied, answer) = oneshot::channel();
            let (image, delta) = (Arc::clone(&change.image), Arc::clone(&change.delta));
            if shard.send(ControlMessage::Changed { image, delta, applied }).await.is_err() {
                return;
            }
            waiting.push(answer);
        }
        for answer in waiting {
            if answer.await.is_err() {
                return;
            }
        }
        everywhere.send_replace(change.image.sequence());
    }
}
