//! Consumer groups of both protocols, request by request: errors, epochs, and how much each member owns.

use super::group_script::play;
use super::{Case, compare};

const HEARTBEATS: &[Case] = &[
    ("alone", |side| {
        play(side, "join a; beat a 1; beat a 1 owned=0,1 topics=yes rebalance=9; describe; list")
    }),
    ("two", |side| {
        play(
            side,
            "join a; join b; beat a 1; beat b 2; beat a 1 owned=0; beat a 2; beat b 2; describe; beat b -1; beat a 2",
        )
    }),
    ("lost answer", |side| {
        play(side, "join a; join b; beat a 1 owned=0; beat a 1 owned=0; beat a 1; beat a 1 owned=0,1")
    }),
    ("rejoin", |side| play(side, "join a; join a; beat a 1; join b; join a; describe")),
    ("everything given back at once", |side| {
        play(side, "join a; join b; beat a 1 owned=-; beat b 2; describe")
    }),
    ("no topics", |side| {
        play(side, "join a topics=no; describe; beat a 1 topics=yes; beat a 1 topics=no; beat a 2 owned=-")
    }),
    ("leave and come back", |side| {
        play(side, "join a; beat a -1; describe; cdescribe; list; join a; beat a 2")
    }),
    ("static", |side| {
        play(
            side,
            "join a static=i; join b static=i; beat a -2 static=i; describe; join b static=i; beat a 1 static=i; \
             beat b 1 static=i; beat b 1; beat b -1; describe",
        )
    }),
    ("static leaves", |side| play(side, "join a static=i; beat b -1 static=i; beat a -1 static=i; describe")),
    ("static unknown", |side| play(side, "join a; beat a 1 static=i; beat b 1 static=i; beat b -2 static=i")),
    ("assignors", |side| {
        play(
            side,
            "join a assignor=range; describe; join b assignor=uniform; describe; beat b 2 assignor=best",
        )
    }),
];

const REFUSALS: &[Case] = &[
    ("no group", |side| play(side, "join a group=")),
    ("unknown group", |side| {
        play(side, "beat a 1; beat a -1; beat a -2 static=i; describe; cdescribe; cdescribe v=5; list")
    }),
    ("no member", |side| play(side, "join - v=1; beat - 1; beat - -1")),
    ("no member in version 0", |side| play(side, "join - v=0; describe; beat - 1 v=0")),
    ("no rebalance timeout", |side| play(side, "join a rebalance=none")),
    ("joins and owns", |side| play(side, "join a owned=0")),
    ("joins and does not say", |side| play(side, "join a owned=none")),
    ("joins without topics", |side| play(side, "join a topics=none")),
    ("joins with a bad pattern", |side| play(side, "join a topics=none regex=a(")),
    ("empty words", |side| {
        play(side, "join a static=; join a rack=; join a assignor=; join a topics=none regex=")
    }),
    ("epochs that there are not", |side| {
        play(side, "join a; beat a -3; beat a -2; beat a 2; beat a 7; beat b 1; beat b -1")
    }),
    ("unknown assignor", |side| play(side, "join a assignor=best; describe")),
];

const OFFSETS: &[Case] = &[
    ("by members", |side| {
        play(
            side,
            "join a; commit a 1; commit a 0; commit a 2; commit b 1; commit - -1; fetch a 1; fetch a 2",
        )
    }),
    ("by nobody", |side| {
        play(side, "commit - -1; join a; fetch - -1; fetch b 1; beat a -1; commit - -1; fetch b 1; list")
    }),
    ("old version", |side| {
        play(side, "join a; commit a 1 v=8; commit a 2 v=8; commit b 1 v=8; commit b 1 v=5")
    }),
    ("no group", |side| play(side, "commit a 1; commit a 1 v=8; fetch a 1; fetch - -1")),
    ("deletion", |side| {
        play(side, "join a; commit a 1; forget; delete; beat a -1; forget; delete; list; describe")
    }),
];

const MIXED: &[Case] = &[
    ("an old member in a new group", |side| {
        play(
            side,
            "join a; old c; old c; csync c 2; cbeat c 2; describe; beat a 1 owned=0,1; beat a 1 owned=0; cbeat c 2; old c; \
             csync c 2; cbeat c 2; describe; list; leave c; describe",
        )
    }),
    ("it is refused", |side| {
        play(
            side,
            "join a; old c type=connect; old c protocol=range; old c; old d protocol=roundrobin v=3; old d meta=none v=3; csync c 1; \
             csync c 2 protocol=roundrobin; csync a 1; cbeat a 1; cbeat c 1; cbeat x 2; commit c 1; commit c 2; fetch c 1; leave x",
        )
    }),
    ("a new member in an old group", |side| {
        play(
            side,
            "old c v=3; csync c 1; join a; list; cbeat c 1; csync c 1; commit c 1; old c; csync c 2; cbeat c 2; beat a 2; describe; \
             beat a -1; list; cbeat c 2; commit c 2; old c",
        )
    }),
    ("a new member in an empty old group", |side| {
        play(side, "old c v=3; leave c; list; join a; list; beat a -1; old c v=3; list")
    }),
    ("a new member in another kind of group", |side| play(side, "old c v=3 type=connect; join a; describe")),
    ("static", |side| {
        play(
            side,
            "old c static=i; csync c 1 static=i; join a static=i; describe; cbeat c 1 static=i; old d static=i; list; \
             beat a 2 static=i; cbeat d 2 static=i",
        )
    }),
];

#[test]
fn heartbeats_are_answered_as_kafka_does() {
    compare("heartbeats", HEARTBEATS);
}

#[test]
fn heartbeats_are_refused_as_kafka_does() {
    compare("refusals", REFUSALS);
}

#[test]
fn offsets_of_consumer_groups_are_kept_as_kafka_does() {
    compare("group-offsets", OFFSETS);
}

#[test]
fn groups_of_both_protocols_are_kept_as_kafka_does() {
    compare("mixed-groups", MIXED);
}
