//! Reading back what was written, and holding it against what was acknowledged.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use client::{At, Client, executor};

use super::cluster::{Layout, connect, unless_interrupted};
use super::course::{Course, Found, Halt, Position};
use super::thread::{ANSWER_BYTES_MAX, LoadError};
use crate::verify::{Faults, Lane, Reading};

/// After so long without a record, none is coming.
const IDLE_TIME_MAX: Duration = Duration::from_secs(20);
/// Between two looks at where partitions end that are still to grow.
const END_LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How often they are looked at without having grown before that is all there is: as long as for a record that does not come.
const END_LOOKS_IN_VAIN_MAX: u32 = 200;

/// What reading back a whole stream has shown.
#[derive(Debug, Default)]
pub struct Audit {
    pub records: u64,
    /// Oldest records that are gone.
    pub deleted: u64,
    /// Older ones that are there and were left out: there were too many.
    pub left_out: u64,
    pub faults: Faults,
}

/// Reads a stream to its end and holds it against what was acknowledged: from its start, or, where it has more than
/// `records_max` records, its newest. Of topics that are compacted, what is left must be in order, each record once.
pub async fn audit(
    layout: &Layout,
    run: u32,
    sent: &HashMap<Lane, u64>,
    is_compacted: bool,
    records_max: u64,
) -> Result<Audit, LoadError> {
    unless_interrupted(async {
        let client = connect(&layout.bootstrap, None).await?;
        let ends = settled_ends(&client, layout, sent).await?;
        let begins = layout.offsets(&client.admin(), At::Earliest).await?;
        let starts = newest(&begins, &ends, records_max);
        let numbers = (0_u32..).zip(&starts);
        let from_middle: HashSet<u32> = numbers.filter(|(_, start)| **start > 0).map(|(at, _)| at).collect();
        let left_out: i64 = starts.iter().zip(&begins).map(|(start, begin)| start - begin).sum();
        let reading = Reading::from_middle(run, from_middle).of_compacted(is_compacted);
        let reading = read_back(&client, layout, (&starts, &ends), reading).await?;
        let deleted = u64::try_from(begins.iter().sum::<i64>()).unwrap_or_default();
        let left_out = u64::try_from(left_out).unwrap_or_default();
        Ok(Audit { records: reading.records, deleted, left_out, faults: reading.finish(sent) })
    })
    .await
}

/// Reads all partitions from `starts` to `ends`.
async fn read_back(
    client: &Client,
    layout: &Layout,
    (starts, ends): (&[i64], &[i64]),
    mut reading: Reading,
) -> Result<Reading, LoadError> {
    let position = |(start, end): (&i64, &i64)| Position { begin: *start, next: *start, end: *end };
    let positions: BTreeMap<usize, Position> = starts.iter().zip(ends).map(position).enumerate().collect();
    let mut course = Course::begin(client, layout, positions, ANSWER_BYTES_MAX).await?;
    let mut last_came_at = Instant::now();
    while !course.is_at_end() {
        match course.next(IDLE_TIME_MAX).await {
            Ok(Some(fetched)) => {
                let mut found_any = false;
                let note = |found: Found| {
                    found_any = true;
                    reading.note(found.partition, found.stamp);
                };
                course.walk(&fetched, || 0, note)?;
                if found_any {
                    last_came_at = Instant::now();
                }
            }
            Ok(None) => {}
            // Older records go on being deleted: it goes on where the partition begins now.
            Err(Halt::Deleted { partition, .. }) => {
                let begin = course.offsets(At::Earliest).await?[partition];
                course.go_to(partition, begin.max(course.positions()[&partition].next)).await?;
                reading.jump(u32::try_from(partition).expect("a bounded number of partitions"));
            }
            Err(halt @ Halt::Failed(_)) => return Err(halt.into()),
        }
        if last_came_at.elapsed() >= IDLE_TIME_MAX {
            return Err(LoadError("records that the broker says it has don't come".into()));
        }
    }
    Ok(reading)
}

/// Where the partitions end once what was sent is there. Without acks a broker may have taken records that it does not
/// show yet, since they are still to be committed: it is waited for as long as the ends move.
async fn settled_ends(
    client: &Client,
    layout: &Layout,
    sent: &HashMap<Lane, u64>,
) -> Result<Vec<i64>, LoadError> {
    let admin = client.admin();
    let wanted = i64::try_from(sent.values().sum::<u64>()).unwrap_or(i64::MAX);
    let mut ends = layout.offsets(&admin, At::Latest).await?;
    let mut looks_in_vain = 0;
    while ends.iter().sum::<i64>() < wanted && looks_in_vain < END_LOOKS_IN_VAIN_MAX {
        executor::sleep(END_LOOK_INTERVAL).await;
        let now = layout.offsets(&admin, At::Latest).await?;
        looks_in_vain = if now == ends { looks_in_vain + 1 } else { 0 };
        ends = now;
    }
    Ok(ends)
}

/// Where to begin in each partition so that about `records_max` are read, of each partition the same share.
fn newest(begins: &[i64], ends: &[i64], records_max: u64) -> Vec<i64> {
    let there: i128 = begins.iter().zip(ends).map(|(begin, end)| i128::from((end - begin).max(0))).sum();
    let kept = i128::from(records_max).min(there);
    let start = |(begin, end): (&i64, &i64)| {
        let own = i128::from((end - begin).max(0));
        let skipped = own * (there - kept) / there.max(1);
        begin + i64::try_from(skipped).expect("it is at most what the partition has")
    };
    begins.iter().zip(ends).map(start).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_audit_begins_at_the_start_unless_there_is_too_much() {
        assert_eq!(newest(&[5, 0], &[105, 300], 400), [5, 0]);
        assert_eq!(newest(&[5, 0], &[105, 300], 100), [80, 225], "a quarter of each, the newest");
        assert_eq!(newest(&[7], &[7], 0), [7], "nothing is there");
    }
}
