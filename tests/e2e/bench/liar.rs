//! A broker that lies: Iolite behind a go-between that its clients take for it, and that tells one thing otherwise.
//!
//! Records are lied about on their way to readers: a batch's base offset lies outside of its checksum, so that whole batches
//! can go, come twice or change places. Every frame that is not lied about passes as it is.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use bytes::{Bytes, BytesMut};
use e2e::broker::{Broker, Options, Target};
use kafka_protocol::messages::{FetchResponse, ProduceResponse, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion};

pub const PRODUCE: i16 = 0;
pub const FETCH: i16 = 1;
pub const CREATE_TOPICS: i16 = 19;
pub const DELETE_TOPICS: i16 = 20;
/// Of a batch: its length behind offset and length, and the difference between its first and its last offset.
const LENGTH_AT: usize = 8;
const LENGTH_END: usize = 12;
const LAST_DELTA_AT: usize = 23;

/// What is told otherwise, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// Nothing: the go-between itself does no harm.
    None,
    /// A batch is left out.
    Loses,
    /// A batch comes in another's place again.
    Repeats,
    /// Two batches change places.
    Reorders,
    /// A batch is acknowledged with an offset that is another's.
    Renumbers,
    /// A batch is acknowledged without an offset.
    Withholds,
}

/// The broker, and where it is reached by way of the go-between.
pub struct Liar {
    pub broker: Broker,
    pub address: SocketAddr,
    has_lied: Arc<AtomicBool>,
    history: History,
}

/// The APIs that were called, in order, those of all connections together; one that was called many times in a row stands there once.
type History = Arc<Mutex<Vec<i16>>>;

impl Liar {
    /// Starts both.
    pub fn start(lie: Lie) -> Self {
        Self::with(lie, &[])
    }

    /// Starts both, the broker with these configs.
    pub fn with(lie: Lie, configs: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it has an address");
        let advertised = ("advertised.listeners".to_owned(), format!("PLAINTEXT://{address}"));
        let given = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let configs = given.chain([advertised]).collect();
        let options = Options { shards: 1, configs, ..Options::default() };
        let broker = Broker::start(Target::Iolite, &options);
        let (behind, has_lied) = (broker.kafka(), Arc::new(AtomicBool::new(lie == Lie::None)));
        let teller = Teller { lie, has_lied: Arc::clone(&has_lied) };
        let history = History::default();
        let noted = Arc::clone(&history);
        thread::spawn(move || {
            for client in listener.incoming() {
                let (client, teller) = (client.expect("a client"), teller.clone());
                // A broker that is gone already is told by the closed connection.
                let Ok(broker) = TcpStream::connect(behind) else { continue };
                go_between(client, broker, teller, Arc::clone(&noted));
            }
        });
        Self { broker, address, has_lied, history }
    }

    /// Which of these APIs were called so far, in order, each once where it was called many times in a row.
    pub fn called(&self, apis: &[i16]) -> Vec<i16> {
        let mut called = self.history.lock().expect("nobody panics").clone();
        called.retain(|api| apis.contains(api));
        called.dedup();
        called
    }

    /// Whether there was an occasion.
    pub fn has_lied(&self) -> bool {
        self.has_lied.load(Ordering::Relaxed)
    }
}

/// What was asked, by correlation id: API and version.
type Asked = Arc<Mutex<HashMap<i32, (i16, i16)>>>;

fn go_between(client: TcpStream, broker: TcpStream, teller: Teller, history: History) {
    let asked = Asked::default();
    let (mut from_client, mut to_broker) = (share(&client), share(&broker));
    let noted = Arc::clone(&asked);
    thread::spawn(move || {
        while let Ok(frame) = read_frame(&mut from_client) {
            let number = |at: usize| i16::from_be_bytes([frame[at], frame[at + 1]]);
            let correlation = i32::from_be_bytes(frame[4..8].try_into().expect("four bytes"));
            noted.lock().expect("nobody panics").insert(correlation, (number(0), number(2)));
            let mut history = history.lock().expect("nobody panics");
            if history.last() != Some(&number(0)) {
                history.push(number(0));
            }
            drop(history);
            if write_frame(&mut to_broker, &frame).is_err() {
                break;
            }
        }
        // Either side may be gone already.
        let _gone = to_broker.shutdown(Shutdown::Both);
    });
    let (mut from_broker, mut to_client) = (broker, client);
    thread::spawn(move || {
        while let Ok(frame) = read_frame(&mut from_broker) {
            let correlation = i32::from_be_bytes(frame[..4].try_into().expect("four bytes"));
            let (api, version) =
                asked.lock().expect("nobody panics").remove(&correlation).expect("it was asked");
            let told = teller.tell(api, version, frame);
            if write_frame(&mut to_client, &told).is_err() {
                break;
            }
        }
        let _gone = to_client.shutdown(Shutdown::Both);
    });
}

fn share(stream: &TcpStream) -> TcpStream {
    stream.set_nodelay(true).expect("a socket");
    stream.try_clone().expect("a socket can be shared")
}

fn read_frame(stream: &mut TcpStream) -> io::Result<Bytes> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).expect("a 64-bit machine")];
    stream.read_exact(&mut frame)?;
    Ok(frame.into())
}

fn write_frame(stream: &mut TcpStream, frame: &[u8]) -> io::Result<()> {
    let length = u32::try_from(frame.len()).expect("a frame is shorter than 4 GiB");
    stream.write_all(&[&length.to_be_bytes(), frame].concat())
}

#[derive(Clone)]
struct Teller {
    lie: Lie,
    has_lied: Arc<AtomicBool>,
}

impl Teller {
    /// The frame as the client gets it.
    fn tell(&self, api: i16, version: i16, frame: Bytes) -> Bytes {
        if self.has_lied.load(Ordering::Relaxed) {
            return frame;
        }
        let lied = match (self.lie, api) {
            (Lie::Renumbers, PRODUCE) => rewrite(&frame, version, renumber),
            (Lie::Withholds, PRODUCE) => rewrite(&frame, version, withhold),
            (Lie::Loses | Lie::Repeats | Lie::Reorders, FETCH) => {
                rewrite(&frame, version, |answer| self.misplace(answer))
            }
            _ => None,
        };
        match lied {
            Some(lied) => {
                self.has_lied.store(true, Ordering::Relaxed);
                lied
            }
            None => frame,
        }
    }

    /// Lies about the first partition that there is something to lie about.
    fn misplace(&self, answer: &mut FetchResponse) -> bool {
        let partitions = answer.responses.iter_mut().flat_map(|topic| &mut topic.partitions);
        for partition in partitions {
            let Some(records) = &partition.records else { continue };
            let mut batches = batches(records);
            if batches.len() < 3 {
                continue;
            }
            match self.lie {
                Lie::Loses => drop(batches.remove(1)),
                Lie::Repeats => {
                    let place = base_offset(&batches[1]);
                    batches[1] = placed(&batches[0], place);
                }
                Lie::Reorders => {
                    let first = base_offset(&batches[0]);
                    let earlier = placed(&batches[1], first);
                    let later = placed(&batches[0], first + i64::from(last_delta(&earlier)) + 1);
                    (batches[0], batches[1]) = (earlier, later);
                }
                Lie::None | Lie::Renumbers | Lie::Withholds => unreachable!("not about records"),
            }
            partition.records = Some(batches.concat().into());
            return true;
        }
        false
    }
}

/// Says of a batch that is not the partition's first that it is.
fn renumber(answer: &mut ProduceResponse) -> bool {
    let mut partitions = answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses);
    let later = partitions.find(|partition| partition.base_offset > 0);
    later.map(|partition| partition.base_offset = 0).is_some()
}

/// Says of a batch that it is appended, but not where.
fn withhold(answer: &mut ProduceResponse) -> bool {
    let mut partitions = answer.responses.iter_mut().flat_map(|topic| &mut topic.partition_responses);
    partitions.next().map(|partition| partition.base_offset = -1).is_some()
}

/// Decodes a response, changes it, and encodes it; none where nothing was changed.
fn rewrite<R: Decodable + Encodable + HeaderVersion>(
    frame: &Bytes,
    version: i16,
    change: impl FnOnce(&mut R) -> bool,
) -> Option<Bytes> {
    let mut bytes = frame.clone();
    let header = ResponseHeader::decode(&mut bytes, R::header_version(version)).expect("a header");
    let mut answer = R::decode(&mut bytes, version).expect("a response");
    if !change(&mut answer) {
        return None;
    }
    let mut frame = BytesMut::new();
    header.encode(&mut frame, R::header_version(version)).expect("the header encodes");
    answer.encode(&mut frame, version).expect("the response encodes");
    Some(frame.freeze())
}

/// The whole batches of a partition.
fn batches(records: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    let mut rest = records;
    while let Some(length) = rest.get(LENGTH_AT..LENGTH_END) {
        let length = u32::from_be_bytes(length.try_into().expect("four bytes"));
        let end = LENGTH_END + usize::try_from(length).expect("a 64-bit machine");
        let Some(batch) = rest.get(..end) else { break };
        found.push(batch.to_vec());
        rest = &rest[end..];
    }
    found
}

fn base_offset(batch: &[u8]) -> i64 {
    i64::from_be_bytes(batch[..LENGTH_AT].try_into().expect("eight bytes"))
}

fn last_delta(batch: &[u8]) -> i32 {
    i32::from_be_bytes(batch[LAST_DELTA_AT..LAST_DELTA_AT + 4].try_into().expect("four bytes"))
}

/// The same batch at another offset.
fn placed(batch: &[u8], offset: i64) -> Vec<u8> {
    [&offset.to_be_bytes(), &batch[LENGTH_AT..]].concat()
}
