//! The classic protocol of groups with everything that can be wrong about it; nothing is changed by what is refused.

use std::sync::OnceLock;

use e2e::broker::{self, Broker, Options, Target};

use super::group_script::play;
use super::{Case, compare_on};

/// A broker whose groups do not wait for more members when they begin. Apache Kafka's is set up like that anyway.
fn broker() -> &'static Broker {
    static BROKER: OnceLock<Broker> = OnceLock::new();
    let start = || {
        let configs = vec![("group.initial.rebalance.delay.ms".to_owned(), "0".to_owned())];
        Broker::start(Target::Iolite, &Options { configs, ..Options::default() })
    };
    match Target::chosen() {
        Target::Kafka => broker::shared(),
        Target::Iolite => BROKER.get_or_init(start),
    }
}

const JOINS: &[Case] = &[
    ("a good one", |side| play(side, "old a v=3; csync a 1 give=a; cbeat a 1; look; list")),
    ("with the id that it is told", |side| play(side, "old a; old a; csync a 1 give=a; look")),
    ("no group id", |side| play(side, "old a v=3 group=; old a group=; old a v=3 group= id=who")),
    ("a session that is too short", |side| {
        play(side, "old a v=3 session=5999; look; old a v=3 session=6000; csync a 1 give=a; look")
    }),
    ("a session that is too long", |side| {
        play(side, "old a v=3 session=1800001; look; old a v=3 session=1800000; csync a 1 give=a; look")
    }),
    ("a session of nothing", |side| play(side, "old a v=3 session=0; old a v=3 session=-1; look")),
    ("a session out of bounds, of a member", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; old a v=3 session=5999; old a v=3 session=1800001; look; cbeat a 1",
        )
    }),
    ("an unknown member of no group", |side| {
        play(side, "old a v=3 id=who; old a id=who; old a id=who static=i; look")
    }),
    ("an unknown member", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; old b v=3 id=who; old b id=who; old b id=who static=i; look; cbeat a 1",
        )
    }),
    ("an unknown member of an empty group", |side| {
        play(
            side,
            "old a v=3; leave a; look; old a v=3; old b id=who; look; old c v=3; csync c 3 give=c; look",
        )
    }),
    ("no protocols", |side| play(side, "old a v=3 protocol=; old a protocol=; look")),
    ("no type", |side| play(side, "old a v=3 type=; old a type=; look")),
    ("no protocols of a member", |side| {
        play(side, "old a v=3; csync a 1 give=a; old a v=3 protocol=; old a v=3 type=; look; cbeat a 1")
    }),
    ("no protocols in an empty group", |side| {
        play(side, "old a v=3; leave a; old b v=3 protocol=; old b v=3 type=; look")
    }),
    ("another type", |side| {
        play(side, "old a v=3; csync a 1 give=a; old b v=3 type=connect; old b type=connect; look; cbeat a 1")
    }),
    ("no assignor in common", |side| {
        play(
            side,
            "old a v=3 protocol=range,sticky; csync a 1 give=a; old b v=3 protocol=roundrobin; old b protocol=roundrobin; \
             look; cbeat a 1",
        )
    }),
    ("another type in an empty group", |side| {
        play(side, "old a v=3; csync a 1; leave a; old b v=3 type=connect; look")
    }),
    ("other assignors of the only member", |side| {
        play(side, "old a v=3; csync a 1 give=a; old a v=3 protocol=roundrobin; cbeat a 1; look")
    }),
    ("an empty name of a static member", |side| {
        play(side, "old a static=; old a v=3; csync a 1 give=a; look")
    }),
    ("a static member's name of somebody else", |side| {
        play(
            side,
            "old a static=i; csync a 1 give=a static=i; old b static=j id=who; old b static=i id=who; look; \
             cbeat a 1 static=i",
        )
    }),
    ("a fenced instance", |side| {
        play(
            side,
            "old a static=i; csync a 1 give=a static=i; commit a 1 static=i; old b static=i; look; old a static=i; \
             csync a 1 static=i; cbeat a 1 static=i; commit a 1 static=i offset=7; leave a static=i; look; cbeat b 1 static=i; \
             cbeat a 1; csync a 1; commit a 1 offset=7; leave a; look",
        )
    }),
];

const MEMBERS: &[Case] = &[
    ("no group id", |side| {
        play(
            side,
            "csync a 1 group=; csync a 1 group= v=2; cbeat a 1 group=; leave a group=; leave a group= v=2; look",
        )
    }),
    ("no such group", |side| {
        play(
            side,
            "csync a 1; csync a 1 v=2; cbeat a 1; cbeat a 1 v=0; leave a; leave a v=2; leave a,b; leave - static=i; look",
        )
    }),
    ("a member that there is not", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; csync x 1; csync - 1; cbeat x 1; cbeat - 1; leave x; leave x v=2; leave -; \
             look; cbeat a 1",
        )
    }),
    ("a generation that is over", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; commit a 1; old a v=3; csync a 1 give=a; cbeat a 1; commit a 1 offset=7; look; \
             csync a 2 give=a; csync a 1; cbeat a 1; cbeat a 1 v=0; commit a 1 offset=7; look; cbeat a 2",
        )
    }),
    ("a generation to come", |side| {
        play(
            side,
            "old a v=3; csync a 2 give=a; csync a 1; csync a 2; cbeat a 2; commit a 2; cbeat a -1; csync a -1; \
             commit a -1; look; cbeat a 1",
        )
    }),
    ("other protocols than the group's", |side| {
        play(
            side,
            "old a v=3; csync a 1 protocol=roundrobin give=a; csync a 1 type=connect give=a; csync a 1 give=a; \
             csync a 1 protocol=roundrobin; csync a 1 type=connect; csync a 1 protocol=roundrobin v=4; look; cbeat a 1",
        )
    }),
    ("before the assignment", |side| play(side, "old a v=3; cbeat a 1; commit a 1; csync a 1 give=a; look")),
    ("while the group gathers", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; begin b v=3; rebalancing a 1; csync a 1 give=a; cbeat a 0; cbeat x 1; csync x 1; \
             commit a 1; commit a 0 offset=7; commit x 1 offset=7; commit - -1 offset=7; delete; look; old a v=3; end b; \
             csync a 2 give=a,b; csync b 2; cbeat b 1; cbeat b 2; look",
        )
    }),
    ("an assignment by one who does not lead", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; begin b v=3; rebalancing a 1; old a v=3; end b; csync a 2 give=a; csync b 2 give=b,a; \
             csync a 2; look",
        )
    }),
    ("the leader leaves while the group gathers", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; begin b v=3; rebalancing a 1; leave a; end b; csync a 2; cbeat b 2; csync b 2 give=b; look",
        )
    }),
    ("leaves again", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; leave a; look; leave a; leave a v=2; cbeat a 1; csync a 1; look",
        )
    }),
    ("leaves with somebody", |side| play(side, "old a v=3; csync a 1 give=a; leave x,a,a; look")),
    ("leaves by a name that nobody has", |side| {
        play(
            side,
            "old a static=i; csync a 1 give=a static=i; leave - static=j; leave a static=j; leave x static=i; \
             csync a 1 static=j; cbeat a 1 static=j; cbeat x 1 static=i; look; cbeat a 1 static=i; leave - static=i; look",
        )
    }),
    ("was told an id and does not come back", |side| {
        play(side, "old a; cbeat a 0; cbeat a -1; csync a 0; commit a 0; leave a; old a; look")
    }),
];

const OFFSETS: &[Case] = &[
    ("of nobody", |side| play(side, "commit - -1; look; list; cdescribe v=5; fetch - -1 partition=0,1,9")),
    ("no group id", |side| {
        play(
            side,
            "commit - -1 group=; commit a 1 group=; fetch - -1 group=; forget group=; delete group=; cdescribe group=; cdescribe group= v=5",
        )
    }),
    ("no such group", |side| {
        play(
            side,
            "commit a 5; commit a 5 v=8; commit a 5 v=2; commit - 5; fetch - -1; fetch a 5; forget; delete; cdescribe; \
             cdescribe v=5; look; list",
        )
    }),
    ("by strangers", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; commit a 1; commit - -1 offset=7; commit x 1 offset=7; commit x -1 offset=7; \
             commit - 1 offset=7; commit x 1 offset=7 v=6; look",
        )
    }),
    ("of a generation of an empty group", |side| {
        play(
            side,
            "commit - -1; commit a 0; commit a 1; commit - 0; commit a 1 v=8; commit a -1 offset=2; look",
        )
    }),
    ("after the last has left", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; commit a 1; leave a; commit a 1 offset=7; look; commit - -1 offset=3; look",
        )
    }),
    ("a note that is too long", |side| {
        play(side, "commit - -1 note=4097; look; commit - -1 note=4096; commit - -1 note=4097 offset=7; look")
    }),
    ("a note that is too long, of a member", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; commit a 1 note=5; commit a 1 note=4097 offset=7 partition=0,1; \
             commit a 1 note=4097 offset=7 v=2; look",
        )
    }),
    ("a partition that there is not", |side| {
        play(
            side,
            "commit - -1 partition=9; look; commit - -1 partition=0,9,-1; commit - -1 partition=9 note=4097; look",
        )
    }),
    ("a partition that there is not, of a member", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; commit a 1 partition=0,9; commit a 0 partition=0,9 offset=7; \
             commit x 1 partition=9; look",
        )
    }),
    ("a topic that there is not", |side| {
        play(
            side,
            "commit - -1 topic=nobody-made-this; commit - -1 topic=no/slashes; look; list; \
             fetch - -1 topic=nobody-made-this; commit - -1; forget topic=nobody-made-this; look",
        )
    }),
    ("below 0", |side| play(side, "commit - -1 offset=-1; commit - -1 partition=1 offset=-7; look")),
    ("forgotten", |side| {
        play(
            side,
            "commit - -1 partition=0,1; forget partition=9; forget partition=-1; look; forget partition=0,9; look; forget; look",
        )
    }),
    ("forgotten while they are read", |side| {
        play(
            side,
            "old a v=3; csync a 1 give=a; commit a 1; forget; forget partition=1; forget topic=nobody-made-this; delete; \
             look; leave a; forget; look; delete; look; delete",
        )
    }),
    ("forgotten while another kind of group has members", |side| {
        play(
            side,
            "old a v=3 type=connect; csync a 1 type=connect give=a; commit a 1; forget; delete; look; leave a; forget; look; delete",
        )
    }),
    ("of a group that is deleted", |side| {
        play(side, "commit - -1; delete; look; list; fetch - -1; delete; forget; commit - -1 offset=3; look")
    }),
];

#[test]
fn joins_are_refused_as_kafka_does() {
    compare_on(broker(), "classic-joins", JOINS);
}

#[test]
fn members_are_refused_as_kafka_does() {
    compare_on(broker(), "classic-members", MEMBERS);
}

#[test]
fn offsets_are_refused_as_kafka_does() {
    compare_on(broker(), "classic-offsets", OFFSETS);
}
