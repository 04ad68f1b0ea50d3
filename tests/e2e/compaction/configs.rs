//! The configs that compaction goes by, each as clients see it work: which records stay, which go, where segments end.

use super::world::{COMPACT, DAY, EAGER, HOUR, MINUTE, ROLLS_EACH_SECOND, World, now};

/// No share of dirty records is worth a round.
const NEVER_DIRTY_ENOUGH: (&str, &str) = ("min.cleanable.dirty.ratio", "1.0");
const COMPACT_AND_DELETE: (&str, &str) = ("cleanup.policy", "compact,delete");

#[test]
fn a_record_is_compacted_away_once_it_is_older_than_the_lag_and_not_before() {
    let mut world = World::start();
    world.create("lagging", &[COMPACT, EAGER, ROLLS_EACH_SECOND, ("min.compaction.lag.ms", "3600000")]);
    let (long_ago, now) = (now() - DAY, now());
    let records = [
        ("a", Some("1"), long_ago),
        ("a", Some("2"), long_ago + MINUTE),
        ("a", Some("3"), now - 3 * MINUTE),
        ("a", Some("4"), now - 2 * MINUTE),
        ("b", Some("5"), now - MINUTE),
    ];
    world.write("lagging", &records);
    let mut world = world.restart();
    // The young ones are neither removed nor make old ones go.
    world.await_records("lagging", &["1 a=2", "2 a=3", "3 a=4", "4 b=5"]);
    // They were read just now, and what is kept of that must go with them.
    world.alter("lagging", "min.compaction.lag.ms", "0");
    world.await_records("lagging", &["3 a=4", "4 b=5"]);
}

/// What is dirty is never enough here: only the time that it has waited counts.
#[test]
fn a_record_that_has_waited_for_longer_than_the_lag_is_compacted_however_little_is_dirty() {
    let mut world = World::start();
    let patient = [COMPACT, NEVER_DIRTY_ENOUGH, ROLLS_EACH_SECOND, ("max.compaction.lag.ms", "3600000")];
    world.create("overdue", &patient);
    world.create("in-time", &patient);
    world.create("eager", &[COMPACT, EAGER, ROLLS_EACH_SECOND]);
    let (long_ago, recent) = (now() - DAY, now() - 10 * MINUTE);
    let since = |start| {
        [("a", Some("1"), start), ("a", Some("2"), start + MINUTE), ("b", Some("3"), start + 2 * MINUTE)]
    };
    world.write("overdue", &since(long_ago));
    world.write("in-time", &since(recent));
    world.write("eager", &since(recent));
    let mut world = world.restart();
    world.await_records("overdue", &["1 a=2", "2 b=3"]);
    world.await_records("eager", &["1 a=2", "2 b=3"]);

    // The one of which most is dirty goes first: "in-time" is passed over by now, or "eager" would not have its turn.
    world.write("eager", &[("a", Some("4"), recent + 3 * MINUTE), ("c", Some("5"), recent + 4 * MINUTE)]);
    let mut world = world.restart();
    world.await_records("eager", &["2 b=3", "3 a=4", "4 c=5"]);
    assert_eq!(world.read("in-time"), ["0 a=1", "1 a=2", "2 b=3"]);
    world.alter("in-time", "max.compaction.lag.ms", "1000");
    world.await_records("in-time", &["1 a=2", "2 b=3"]);
}

/// A tombstone outlives the round that meets it first by the time that the topic gives it, whatever time it claims itself.
#[test]
fn a_tombstone_stays_for_its_retention_and_goes_then() {
    let mut world = World::start();
    for (topic, retention_ms) in [("keeps", "86400000"), ("drops", "0")] {
        world.create(topic, &[COMPACT, EAGER, ROLLS_EACH_SECOND, ("delete.retention.ms", retention_ms)]);
    }
    let start = now() - 2 * DAY;
    let records = [
        ("a", Some("1"), start),
        ("a", None, start + MINUTE),
        ("b", Some("2"), start + 2 * MINUTE),
        ("b", Some("3"), start + 3 * MINUTE),
    ];
    for topic in ["keeps", "drops"] {
        world.write(topic, &records);
    }
    let mut world = world.restart();
    for topic in ["keeps", "drops"] {
        world.await_records(topic, &["1 a=NULL", "2 b=2", "3 b=3"]);
        world.write(topic, &[("b", Some("4"), start + 4 * MINUTE), ("c", Some("5"), start + 5 * MINUTE)]);
    }
    let world = world.restart();
    world.await_records("keeps", &["1 a=NULL", "4 b=4", "5 c=5"]);
    world.await_records("drops", &["4 b=4", "5 c=5"]);
}

#[test]
fn a_segment_is_closed_and_compacted_when_its_records_span_more_time_than_the_topic_allows() {
    let mut world = World::start();
    world.create("by-time", &[COMPACT, EAGER, ("segment.ms", "3600000")]);
    let start = now() - DAY;
    world.write(
        "by-time",
        &[("a", Some("1"), start), ("a", Some("2"), start + HOUR / 2), ("a", Some("3"), start + HOUR)],
    );
    let mut world = world.restart();
    assert_eq!(world.segments("by-time"), [0]);
    assert_eq!(world.read("by-time"), ["0 a=1", "1 a=2", "2 a=3"], "what is written to is not compacted");
    world.write("by-time", &[("b", Some("4"), start + HOUR + 1), ("b", Some("5"), start + HOUR + 2)]);
    let world = world.restart();
    assert_eq!(world.segments("by-time"), [0, 3]);
    world.await_records("by-time", &["2 a=3", "3 b=4", "4 b=5"]);
}

#[test]
fn old_segments_of_a_topic_that_is_compacted_and_deleted_go_whole_and_the_rest_is_compacted() {
    let mut world = World::start();
    let retained = ("retention.ms", "43200000");
    for (topic, policy) in [("both", COMPACT_AND_DELETE), ("compacted", COMPACT)] {
        world.create(topic, &[policy, EAGER, ROLLS_EACH_SECOND, retained]);
    }
    let (long_ago, recent) = (now() - DAY, now() - HOUR);
    for topic in ["both", "compacted"] {
        world.write(
            topic,
            &[("gone", Some("1"), long_ago), ("a", Some("2"), long_ago + MINUTE), ("a", Some("3"), recent)],
        );
    }
    let mut world = world.restart();
    // The last value of a key goes, too, when it is old.
    world.await_records("both", &["2 a=3"]);
    assert_eq!(world.start_offset("both"), 2);
    for topic in ["both", "compacted"] {
        world.write(
            topic,
            &[
                ("a", Some("4"), recent + MINUTE),
                ("b", Some("5"), recent + 2 * MINUTE),
                ("c", Some("6"), recent + 50 * MINUTE),
            ],
        );
    }
    let mut world = world.restart();
    world.await_records("both", &["3 a=4", "4 b=5", "5 c=6"]);
    world.await_records("compacted", &["0 gone=1", "3 a=4", "4 b=5", "5 c=6"]);
    assert_eq!(world.start_offset("compacted"), 0);
    // What was compacted is deleted as anything else is.
    world.alter("both", "retention.ms", "1800000");
    world.await_records("both", &["5 c=6"]);
    assert_eq!(world.start_offset("both"), 5);
}
