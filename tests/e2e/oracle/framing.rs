//! Frames that are no requests: both brokers close the connection, or both answer.

use e2e::wire::{Connection, encode_request, topic_name};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{ApiVersionsRequest, MetadataRequest, ProduceRequest};

use super::{Case, Side, compare};

/// Sends bytes as they are; the answer is a frame (its first ten bytes shown) or the end.
fn raw(side: &mut Side, bytes: &[u8]) -> String {
    if side.connection.send_bytes(bytes).is_err() {
        return "closed".to_owned();
    }
    side.connection.finish_sending();
    match side.connection.receive() {
        Ok(frame) => format!("{:02x?}", &frame[..frame.len().min(10)]),
        Err(_) => "closed".to_owned(),
    }
}

fn framed(side: &mut Side, body: &[u8]) -> String {
    let length = u32::try_from(body.len()).expect("a short frame").to_be_bytes();
    raw(side, &[&length, body].concat())
}

/// A request header v1 (no tagged fields) and a body.
fn request(key: i16, version: i16, body: &[u8]) -> Vec<u8> {
    let correlation = 0x0102_0304_i32;
    [&key.to_be_bytes()[..], &version.to_be_bytes(), &correlation.to_be_bytes(), &[0xff, 0xff], body].concat()
}

fn metadata(side: &Side) -> Vec<u8> {
    let topic = MetadataRequestTopic::default().with_name(Some(topic_name(&side.topic)));
    encode_request(5, 8, &MetadataRequest::default().with_topics(Some(vec![topic]))).to_vec()
}

const FRAMES: &[Case] = &[
    ("length 0", |side| raw(side, &[0; 4])),
    ("length -1", |side| raw(side, &[0xff; 4])),
    ("length 2 GiB - 1", |side| raw(side, &[0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0])),
    ("length 101 MiB", |side| raw(side, &[0x06, 0x50, 0, 0, 0, 3, 0, 0])),
    ("one byte", |side| framed(side, &[0])),
    ("a header cut short", |side| framed(side, &[0, 3, 0, 0, 0])),
    ("HTTP", |side| raw(side, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")),
    ("TLS", |side| raw(side, &[0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3])),
    ("API 999", |side| framed(side, &request(999, 0, &[]))),
    ("API -1", |side| framed(side, &request(-1, 0, &[]))),
    ("API 4, removed", |side| framed(side, &request(4, 0, &[]))),
    ("API 7, removed", |side| framed(side, &request(7, 0, &[]))),
    ("API 62, the controller's", |side| framed(side, &request(62, 0, &[]))),
    ("Metadata v99", |side| framed(side, &request(3, 99, &[]))),
    ("Metadata v-1", |side| framed(side, &request(3, -1, &[]))),
    ("Fetch v3", |side| framed(side, &request(1, 3, &[0; 40]))),
    ("ListOffsets v0", |side| framed(side, &request(2, 0, &[0; 12]))),
    ("Produce v2", |side| framed(side, &request(0, 2, &[0; 10]))),
    ("ApiVersions v99", |side| framed(side, &request(18, 99, &[0]))),
    ("ApiVersions v-1", |side| framed(side, &request(18, -1, &[]))),
    ("ApiVersions v0 with more bytes", |side| {
        let answer = framed(side, &request(18, 0, &[1, 2, 3]));
        answer.split(',').take(6).collect()
    }),
    ("Metadata with more bytes", |side| {
        let mut body = metadata(side);
        body.push(0);
        let answer = framed(side, &body);
        answer.split(',').take(4).collect()
    }),
    ("Metadata cut short", |side| {
        let body = metadata(side);
        framed(side, &body[..body.len() - 4])
    }),
    ("Metadata of two thousand million topics", |side| {
        framed(side, &request(3, 1, &[0x7f, 0xff, 0xff, 0xff]))
    }),
    ("Metadata of -2 topics", |side| framed(side, &request(3, 1, &[0xff, 0xff, 0xff, 0xfe]))),
    ("a topic's name of negative length", |side| framed(side, &request(3, 1, &[0, 0, 0, 1, 0xff, 0xf0]))),
    ("a topic's name that is not UTF-8", |side| {
        let answer = framed(side, &request(3, 1, &[0, 0, 0, 1, 0, 2, 0xff, 0xfe]));
        answer.split(',').take(4).collect()
    }),
    ("a client id of negative length", |side| framed(side, &[0, 3, 0, 1, 0, 0, 0, 1, 0xff, 0xf0])),
    ("a varint without end", |side| {
        framed(side, &[0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])
    }),
    ("tagged fields that overrun", |side| framed(side, &[0, 3, 0, 12, 0, 0, 0, 1, 0xff, 0xff, 1, 9, 99])),
    ("SASL where there is none", |side| framed(side, &request(17, 1, &[0, 5, b'P', b'L', b'A', b'I', b'N']))),
];

#[test]
fn frames_are_refused_as_kafka_does() {
    compare("frames", FRAMES);
}

/// Answers come in the order of the requests, also when one with acks=0 (no answer) lies between.
#[test]
fn pipelined_requests_are_answered_in_order() {
    compare(
        "pipeline",
        &[("seven at once", |side| {
            let mut bytes = Vec::new();
            for correlation in 1..=7 {
                let body = if correlation == 4 {
                    encode_request(correlation, 9, &ProduceRequest::default().with_acks(0).with_timeout_ms(1))
                } else {
                    encode_request(correlation, 3, &ApiVersionsRequest::default())
                };
                bytes.extend_from_slice(&u32::try_from(body.len()).expect("short").to_be_bytes());
                bytes.extend_from_slice(&body);
            }
            side.connection.send_bytes(&bytes).expect("sent");
            let mut order = Vec::new();
            while order.len() < 6 {
                let frame = side.connection.receive().expect("an answer");
                order.push(frame[3]);
            }
            format!("{order:?}")
        })],
    );
}

/// Whatever happened to other connections, a new one is served.
#[test]
fn one_byte_at_a_time_is_a_request_too() {
    compare(
        "slow",
        &[("byte by byte", |side| {
            let body = metadata(side);
            let length = u32::try_from(body.len()).expect("short").to_be_bytes();
            for byte in length.iter().chain(&body) {
                side.connection.send_bytes(&[*byte]).expect("sent");
            }
            let answered = side.connection.receive().expect("an answer");
            let other =
                Connection::open(side.broker.kafka()).call(3, &ApiVersionsRequest::default()).error_code;
            format!("{}, {other}", answered[3])
        })],
    );
}
