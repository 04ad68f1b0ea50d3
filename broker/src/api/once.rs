//! What a request asks for again is answered once: a few bytes that name something large must not be worth more the more
//! often they come.

use std::hash::Hash;

use rustc_hash::FxHashSet;

/// The items without those whose key has come before, in their order.
pub fn each_once<T, K: Eq + Hash>(items: impl IntoIterator<Item = T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut items: Vec<T> = items.into_iter().collect();
    if items.len() > 1 {
        let mut seen = FxHashSet::default();
        items.retain(|item| seen.insert(key(item)));
    }
    items
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_each_stays_in_its_place() {
        assert_eq!(each_once(["b", "a", "b", "c", "a"], |name| *name), ["b", "a", "c"]);
    }
}
