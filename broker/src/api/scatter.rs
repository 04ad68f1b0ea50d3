//! Questions about many partitions: each goes to the shard that owns it, all shards at the same time.

use std::rc::Rc;

use protocol::types::PartitionKey;

use crate::runtime::join_all;
use crate::shard::Shard;
use crate::shard::messages::{Answer, Question};

/// Asks about every item; the answers stand in the order of the items.
pub async fn scatter<T, R>(
    shard: &Rc<Shard>,
    items: impl IntoIterator<Item = (PartitionKey, T)>,
    question: impl Fn(Vec<T>) -> Question,
    answers: impl Fn(Answer) -> Vec<R>,
) -> Vec<R> {
    let mut groups: Vec<(usize, Vec<usize>, Vec<T>)> = Vec::with_capacity(1);
    let mut count = 0;
    for (place, (key, item)) in items.into_iter().enumerate() {
        let owner = shard.owner_of(key);
        count += 1;
        match groups.iter_mut().find(|(shard, ..)| *shard == owner) {
            Some((_, places, items)) => {
                places.push(place);
                items.push(item);
            }
            None => groups.push((owner, vec![place], vec![item])),
        }
    }
    let asked = groups.into_iter().map(|(owner, places, items)| {
        let answer = shard.ask(owner, question(items));
        async move { (places, answer.await) }
    });
    let mut gathered: Vec<Option<R>> = (0..count).map(|_| None).collect();
    for (places, answer) in join_all(asked).await {
        let answers = answers(answer);
        assert_eq!(answers.len(), places.len(), "each item has an answer");
        for (place, answer) in places.into_iter().zip(answers) {
            gathered[place] = Some(answer);
        }
    }
    gathered.into_iter().map(|answer| answer.expect("each item has an answer")).collect()
}
