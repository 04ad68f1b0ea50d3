//! Makes Kafka's batches of the native ones that a fetch has read, for a client that did not say that it reads those.
//!
//! A thread beside the shard's does it, one piece after the other, so that neither the shard nor others who need that thread wait
//! for long; only little is done in passing. What was read is cut where it has become larger than the client wants, or
//! where it is work enough for one answer: the client goes on from there. One batch comes in any case.

use bytes::Bytes;
use logic::fetch::Share;
use protocol::batch::{Batch, BatchIter, Encoding};
use protocol::compression::Compression;
use protocol::limits::NATIVE_BODY_BYTES_MAX;
use protocol::native;

use super::Line;
use crate::limits::{TRANSCODED_BODIES_BYTES_MAX, TRANSCODED_IN_PASSING_BYTES_MAX, TRANSCODED_PIECE_BYTES};
use crate::runtime::run_blocking;
use crate::shard::messages::{PartitionError, ReadDone};
use crate::shard::questions::take;

/// Whether there may be something to transcode.
pub fn is_needed(lines: &[Line]) -> bool {
    lines.iter().any(|line| matches!(&line.outcome, Some(Ok(done)) if done.has_native))
}

/// Transcodes what was read for all partitions, of which the client takes `bytes_max` together.
pub async fn transcode(lines: &mut [Line], bytes_max: usize) {
    let mut share = Share::new(bytes_max);
    let mut body_bytes_left = TRANSCODED_BODIES_BYTES_MAX;
    let mut in_passing_bytes_left = TRANSCODED_IN_PASSING_BYTES_MAX;
    for line in lines {
        let (Ok(item), Some(outcome)) = (line.asked, line.outcome.take()) else { continue };
        let outcome = match outcome {
            Ok(done) if done.has_native => {
                let bytes_left = share.limit(item.bytes_max);
                let mut budget = Budget { bytes_left, body_bytes_left, is_first: bytes_left > 0 };
                let transcoded = transcode_partition(done, &mut budget, &mut in_passing_bytes_left).await;
                body_bytes_left = budget.body_bytes_left;
                transcoded
            }
            other => other,
        };
        line.outcome = Some(take(&mut share, item.bytes_max, outcome));
    }
}

/// What is left of what an answer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Budget {
    /// Bytes of the partition's batches.
    bytes_left: usize,
    /// Bytes of bodies, decompressed, of the whole answer.
    body_bytes_left: usize,
    /// Whether the next batch comes however large it is.
    is_first: bool,
}

impl Budget {
    /// Whether a batch goes into the answer.
    fn take(&mut self, bytes: usize, body_bytes: usize) -> bool {
        let fits = bytes <= self.bytes_left && body_bytes <= self.body_bytes_left;
        if !fits && !self.is_first {
            return false;
        }
        self.is_first = false;
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
        self.body_bytes_left = self.body_bytes_left.saturating_sub(body_bytes);
        true
    }
}

async fn transcode_partition(
    mut done: ReadDone,
    budget: &mut Budget,
    in_passing_bytes_left: &mut usize,
) -> Result<ReadDone, PartitionError> {
    let chunks = std::mem::take(&mut done.chunks);
    done.bytes = 0;
    for piece in chunks.iter().flat_map(pieces) {
        let given = *budget;
        let made = if piece.is_done_in_passing(in_passing_bytes_left) {
            make(&piece, given)
        } else {
            run_blocking(move || make(&piece, given)).await
        };
        *budget = made.budget;
        if !made.batches.is_empty() {
            done.bytes += made.batches.len();
            done.chunks.push(made.batches);
        }
        match made.end {
            End::Reached => {}
            End::BudgetSpent => break,
            // What lies before is served; who asks for what lies behind hears of it.
            End::Bad(_) if done.bytes > 0 => break,
            End::Bad(reason) => return Err(PartitionError::Batch(reason)),
        }
    }
    Ok(done)
}

/// What it takes to transcode a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effort {
    /// All of it is Kafka's already.
    None,
    /// It is small, and nothing in it is compressed.
    Little,
    Much,
}

/// Whole batches that are looked at together.
struct Piece {
    batches: Bytes,
    effort: Effort,
}

impl Piece {
    /// Whether the shard does it itself: where it is little, as long as all that is little is not much.
    fn is_done_in_passing(&self, bytes_left: &mut usize) -> bool {
        let bytes = match self.effort {
            Effort::None => 0,
            Effort::Little => self.batches.len(),
            Effort::Much => return false,
        };
        let left = bytes_left.checked_sub(bytes);
        *bytes_left = left.unwrap_or(*bytes_left);
        left.is_some()
    }
}

/// Cuts a chunk.
fn pieces(chunk: &Bytes) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let (mut start, mut end) = (0, 0);
    let mut effort = Effort::None;
    for batch in BatchIter::new(chunk).map_while(Result::ok) {
        let bytes = batch.bytes().len();
        if end > start && end - start + bytes > TRANSCODED_PIECE_BYTES {
            pieces.push(Piece { batches: chunk.slice(start..end), effort });
            (start, effort) = (end, Effort::None);
        }
        end += bytes;
        if is_native(batch) {
            let is_little = effort != Effort::Much
                && end - start <= TRANSCODED_IN_PASSING_BYTES_MAX
                && batch.header().compression() == Some(Compression::None);
            effort = if is_little { Effort::Little } else { Effort::Much };
        }
    }
    // What is no batch, which can't be, is met when the last piece is made.
    pieces.push(Piece { batches: chunk.slice(start..), effort });
    pieces
}

fn is_native(batch: Batch<'_>) -> bool {
    batch.header().encoding() == Some(Encoding::Native)
}

/// What a piece has become.
struct Made {
    batches: Bytes,
    budget: Budget,
    end: End,
}

/// How far that goes.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// To the end.
    Reached,
    /// No further than the budget.
    BudgetSpent,
    /// To a batch that can't be read.
    Bad(String),
}

/// Transcodes as much of a piece as the budget allows.
fn make(piece: &Piece, mut budget: Budget) -> Made {
    let mut transcoded = Vec::new();
    let mut kept_bytes = 0;
    let mut end = End::Reached;
    for batch in BatchIter::new(&piece.batches) {
        let fits = batch.map_err(|error| error.to_string()).and_then(|batch| {
            if !is_native(batch) {
                let fits = budget.take(batch.bytes().len(), 0);
                if fits && piece.effort != Effort::None {
                    transcoded.extend_from_slice(batch.bytes());
                } else if fits {
                    kept_bytes += batch.bytes().len();
                }
                return Ok(fits);
            }
            let body = batch.records(NATIVE_BODY_BYTES_MAX).map_err(|error| error.to_string())?;
            let made = native::transcode(batch.header(), &body).map_err(|error| error.to_string())?;
            let fits = budget.take(made.len(), body.len());
            if fits {
                transcoded.extend_from_slice(&made);
            }
            Ok(fits)
        });
        end = match fits {
            Ok(true) => continue,
            Ok(false) => End::BudgetSpent,
            Err(reason) => End::Bad(reason),
        };
        break;
    }
    // What needs no work is not copied.
    let batches = match piece.effort {
        Effort::None => piece.batches.slice(..kept_bytes),
        Effort::Little | Effort::Much => transcoded.into(),
    };
    Made { batches, budget, end }
}

#[cfg(test)]
mod tests;
