//! No reply to a produce leaves before its frame, and all frames before it, are on stable media: seen by the kernel.
//!
//! kill -9 proves no sync, for the kernel keeps what was written. Here the kernel's trace says when requests to the disk
//! were complete, when its cache was flushed, and when bytes were put into sockets. Every record of a load has a mark of
//! its own, which is looked up in the journal afterwards: so it is known in which frame, and by that on which sectors of
//! the device, the record that a reply is about was written. Each reply's first byte must come later in the trace than the
//! completion of those sectors' writes and of a flush that began after them, for that frame and all before it. This holds
//! whatever method and depth the broker drives the device by; each of them is tried. A topic that is not synced before its
//! ack shows, by the same judgement, that replies which leave too early are seen.

mod kernel;
mod media;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::thread;

use e2e::batch::Batch;
use e2e::broker::{Broker, Options, Target};
use e2e::wire::{self, Connection, decode_response, encode_request, topic_name};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ApiVersionsRequest, ProduceRequest};

use kernel::{Device, Event, Tracer};
use media::{Frame, Media};

const VERSION: i16 = 9;
const CONNECTIONS: usize = 4;
const IN_FLIGHT: usize = 6;
const PARTITIONS: i32 = 3;
const REQUESTS: usize = 120;
/// Some small, some large enough that several frames are under way at once.
const VALUE_BYTES: [usize; 4] = [100, 40_000, 1_000, 250_000];

/// A reply as its reader saw it.
struct Answered {
    tag: String,
    /// Counted on its connection, from the first reply: where it began.
    begin: u64,
}

/// One connection's replies, in order.
struct Conversation {
    mark: String,
    answered: Vec<Answered>,
}

#[test]
fn no_reply_leaves_before_its_frame_is_on_stable_media() {
    for method in ["dsync", "write-then-sync"] {
        for depth in ["1", "2", "4"] {
            let judged = run(method, depth, "1");
            assert_eq!(judged.early, Vec::<String>::new(), "{method}, depth {depth}");
            println!("{method}, depth {depth}: {} replies after {} frames", judged.replies, judged.frames);
        }
    }
}

/// Without this, the test above could be one that sees nothing.
#[test]
fn a_reply_that_leaves_too_early_is_seen() {
    let judged = run("write-then-sync", "2", "1000000");
    assert!(judged.early.len() > judged.replies / 10, "{} of {} seen", judged.early.len(), judged.replies);
}

struct Judged {
    replies: usize,
    frames: usize,
    /// Replies that left too early.
    early: Vec<String>,
}

/// Runs a load in a trace and judges every reply.
fn run(method: &str, depth: &str, flush_messages: &str) -> Judged {
    let set = |key: &str, value: &str| (key.to_owned(), value.to_owned());
    let configs = vec![set("journal.sync.method", method), set("journal.max.frames.in.flight", depth)];
    let broker = Broker::start(Target::Iolite, &Options { shards: 2, configs, ..Options::default() });
    wire::create_topic(broker.kafka(), "traced", PARTITIONS, &[("flush.messages", flush_messages)]);
    let data = broker.topics_directory().parent().expect("the data directory").to_owned();
    let device = Device::of(&data);
    let tracer = Tracer::start();
    let conversations: Vec<Conversation> = thread::scope(|scope| {
        let open = |number| begin(&tracer, broker.kafka(), number);
        let connections: Vec<_> = (0..CONNECTIONS).map(open).collect();
        let threads: Vec<_> = connections
            .into_iter()
            .enumerate()
            .map(|(number, connection)| scope.spawn(move || produce(connection, number)))
            .collect();
        threads.into_iter().map(|thread| thread.join().expect("the load goes through")).collect()
    });
    let threads = threads_of(broker.process().id());
    let (status, directory) = broker.stop();
    assert!(status.success(), "{status}");
    let events = tracer.finish();
    let judged = judge(&events, &conversations, &threads, &media::frames(&data, &device), &device);
    drop(directory);
    judged
}

/// A process's threads.
fn threads_of(process: u32) -> BTreeSet<u32> {
    let tasks = fs::read_dir(format!("/proc/{process}/task")).expect("the broker runs");
    tasks.filter_map(|task| task.ok()?.file_name().to_str()?.parse().ok()).collect()
}

/// Opens a connection and lets its first reply follow a mark, by which its socket is known in the trace.
fn begin(tracer: &Tracer, address: SocketAddr, number: usize) -> (Connection, u64) {
    let mut connection = Connection::open(address);
    tracer.mark(&mark_of(number));
    connection.send(&encode_request(0, 0, &ApiVersionsRequest::default())).expect("the broker lives");
    let reply = connection.receive().expect("the broker answers");
    (connection, 4 + reply.len() as u64)
}

fn mark_of(number: usize) -> String {
    format!("connection {number}")
}

fn produce((mut connection, greeted): (Connection, u64), number: usize) -> Conversation {
    let mut conversation = Conversation { mark: mark_of(number), answered: Vec::new() };
    let (mut waiting, mut received) = (VecDeque::new(), greeted);
    for index in 0..REQUESTS {
        if waiting.len() == IN_FLIGHT {
            take_reply(&mut connection, &mut waiting, &mut received, &mut conversation);
        }
        let tag = format!("<trace {number}/{index}>");
        let mut value = tag.clone().into_bytes();
        value.resize(VALUE_BYTES[(index + number) % VALUE_BYTES.len()], b'.');
        let correlation = i32::try_from(index + 1).expect("a short load");
        let partition = i32::try_from(index).expect("a short load") % PARTITIONS;
        let batch = Batch::of_values(1_700_000_000_000, &[value]).encode();
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch.into()));
        let topic =
            TopicProduceData::default().with_name(topic_name("traced")).with_partition_data(vec![data]);
        let acks = if index % 3 == 0 { 1 } else { -1 };
        let request =
            ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![topic]);
        connection.send(&encode_request(correlation, VERSION, &request)).expect("the broker lives");
        waiting.push_back((correlation, tag));
    }
    while !waiting.is_empty() {
        take_reply(&mut connection, &mut waiting, &mut received, &mut conversation);
    }
    conversation
}

fn take_reply(
    connection: &mut Connection,
    waiting: &mut VecDeque<(i32, String)>,
    received: &mut u64,
    conversation: &mut Conversation,
) {
    let (correlation, tag) = waiting.pop_front().expect("an answer follows a request");
    let reply = connection.receive().expect("the broker answers");
    conversation.answered.push(Answered { tag, begin: *received });
    *received += 4 + reply.len() as u64;
    let answer = decode_response::<ProduceRequest>(reply, correlation, VERSION);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, 0);
}

fn judge(
    events: &[Event],
    conversations: &[Conversation],
    threads: &BTreeSet<u32>,
    frames: &[Frame],
    device: &Device,
) -> Judged {
    let media = Media::from_trace(events, device);
    let holders = holders(conversations, frames);
    // Frames of the start were written before the trace began.
    let mut first: BTreeMap<u16, (u64, u64)> = BTreeMap::new();
    for frame in holders.values() {
        let order = first.entry(frame.shard).or_insert(frame.order);
        *order = (*order).min(frame.order);
    }
    let stable = media::stable_prefixes(frames, &media, &first);
    let mut judged = Judged { replies: 0, frames: stable.len(), early: Vec::new() };
    for conversation in conversations {
        let sends = sends(events, &conversation.mark, threads);
        for answered in &conversation.answered {
            let frame = holders[answered.tag.as_str()];
            let left = sends.iter().find(|(_, end)| *end > answered.begin).map(|(place, _)| *place);
            let left = left.unwrap_or_else(|| panic!("{}: its reply is not in the trace", answered.tag));
            judged.replies += 1;
            match stable[&(frame.shard, frame.order)] {
                Some(from) if from <= left => {}
                other => judged.early.push(format!(
                    "{}: left at {left}, frame {:?} of shard {} stable from {other:?}",
                    answered.tag, frame.order, frame.shard
                )),
            }
        }
    }
    assert_eq!(judged.replies, CONNECTIONS * REQUESTS, "every reply is judged");
    judged
}

/// Which frame holds the record of each reply.
fn holders<'a>(conversations: &'a [Conversation], frames: &'a [Frame]) -> BTreeMap<&'a str, &'a Frame> {
    let mut holders = BTreeMap::new();
    for frame in frames {
        for tag in tags(&frame.bytes) {
            let before = holders.insert(tag, frame);
            assert!(before.is_none(), "{tag} was journalled once");
        }
    }
    for answered in conversations.iter().flat_map(|conversation| &conversation.answered) {
        assert!(holders.contains_key(answered.tag.as_str()), "{} is not in the journal", answered.tag);
    }
    holders
}

fn tags(bytes: &[u8]) -> impl Iterator<Item = &str> {
    let begins = bytes.windows(7).enumerate().filter(|(_, window)| window == b"<trace ").map(|(at, _)| at);
    begins.filter_map(|at| {
        let end = at + bytes[at..].iter().position(|byte| *byte == b'>')?;
        std::str::from_utf8(&bytes[at..=end]).ok()
    })
}

/// What the broker sent on the connection of a mark: the place in the trace where the thread entered the call that sent,
/// and how many bytes had been sent after it.
fn sends(events: &[Event], mark: &str, threads: &BTreeSet<u32>) -> Vec<(usize, u64)> {
    let marked = events.iter().position(|event| matches!(event, Event::Mark(text) if text == mark));
    let from = marked.unwrap_or_else(|| panic!("{mark} is in the trace"));
    // Behind the mark the broker answers one question, and nothing else.
    let socket = events[from..].iter().find_map(|event| match event {
        Event::Sent { thread, socket, bytes } if *bytes > 0 && threads.contains(thread) => Some(socket),
        _ => None,
    });
    let socket = socket.expect("the broker answers");
    let mut entered: BTreeMap<u32, usize> = BTreeMap::new();
    let (mut sends, mut sum) = (Vec::new(), 0);
    for (place, event) in events.iter().enumerate() {
        match event {
            Event::Enter { thread } => drop(entered.insert(*thread, place)),
            Event::Sent { thread, socket: to, bytes } => {
                let began = entered.remove(thread).unwrap_or(place);
                if to == socket && place > from && *bytes > 0 {
                    sum += bytes;
                    sends.push((began, sum));
                }
            }
            Event::Mark(_) | Event::Block { .. } => {}
        }
    }
    sends
}
