//! Frames as bytes: the headers of each kind, and what is refused.

use proptest::prelude::*;

use super::*;
use crate::messages::Message;
use crate::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use crate::messages::list_offsets::ListOffsetsResponse;
use crate::types::BrokerId;

fn request(api: ApiKey, version: i16) -> Vec<u8> {
    let header = RequestHeader { api, version, correlation_id: 7, client_id: Some("kcat") };
    let mut writer = Writer::new();
    let mut chunks = Vec::<Bytes>::new();
    header.write(&mut writer);
    writer.finish(&mut chunks).expect("a header can be written");
    chunks.concat()
}

#[test]
fn a_request_header_ends_after_the_client_id() {
    assert_eq!(request(ApiKey::Produce, 8), b"\0\0\0\x08\0\0\0\x07\0\x04kcat");
}

#[test]
fn a_flexible_request_header_keeps_the_short_client_id_and_adds_tags() {
    assert_eq!(request(ApiKey::Produce, 9), b"\0\0\0\x09\0\0\0\x07\0\x04kcat\0");
}

#[test]
fn a_request_header_reads_back_in_every_version() {
    for &api in ApiKey::ALL {
        for version in api.versions() {
            let bytes = request(api, version);
            let mut reader = Reader::new(&bytes, 0);
            let header = RequestHeader::read(&mut reader).expect("the header was written here");
            assert_eq!(header, RequestHeader { api, version, correlation_id: 7, client_id: Some("kcat") });
            assert_eq!(reader.finish(), Ok(()));
        }
    }
}

#[test]
fn unknown_tags_of_a_request_header_are_skipped() {
    let bytes = b"\0\x12\0\x03\0\0\0\x07\xff\xff\x02\x00\x01x\x05\x02yzbody";
    let mut reader = Reader::new(bytes, 0);
    let header = RequestHeader::read(&mut reader).expect("the tags are skipped");
    assert_eq!(header.client_id, None);
    assert_eq!(reader.rest(), b"body");
}

#[test]
fn an_unknown_api_is_told_from_an_unknown_version() {
    let read = |bytes: &[u8]| RequestHeader::read(&mut Reader::new(bytes, 0)).expect_err("no such request");
    assert_eq!(read(b"\x03\xe7\0\0\0\0\0\x07\xff\xff"), HeaderError::UnknownApi { key: 999 });
    assert_eq!(
        read(b"\0\x12\0\x63\0\0\0\x07\xff\xff"),
        HeaderError::UnsupportedVersion { api: ApiKey::ApiVersions, version: 99, correlation_id: 7 }
    );
    assert_eq!(read(b"\0\x12\0"), HeaderError::Malformed(DecodeError::Truncated { needed: 2, remaining: 1 }));
}

#[test]
fn a_frame_size_is_held_against_the_limit() {
    assert_eq!(frame_size([0, 0, 0, 8], 100), Ok(8));
    assert_eq!(frame_size([0, 0, 0, 100], 100), Ok(100));
    assert_eq!(frame_size([0, 0, 0, 101], 100), Err(FrameError::TooLarge { size: 101, size_max: 100 }));
    assert_eq!(frame_size([0, 0, 0, 7], 100), Err(FrameError::TooSmall(7)));
    assert_eq!(frame_size([0xff; 4], 100), Err(FrameError::TooSmall(-1)));
}

fn response<'a, M: Response<'a>>(body: &M, version: i16) -> Vec<u8> {
    let mut chunks = Vec::<Bytes>::new();
    let bytes = write_response(&mut Writer::new(), 7, version, body, &mut chunks).expect("it can be written");
    let frame = chunks.concat();
    assert_eq!(frame.len(), bytes);
    frame
}

#[test]
fn a_response_header_has_tags_in_flexible_versions() {
    let body = ListOffsetsResponse::default();
    assert_eq!(response(&body, 5), b"\0\0\0\x0c\0\0\0\x07\0\0\0\0\0\0\0\0");
    assert_eq!(response(&body, 6), b"\0\0\0\x0b\0\0\0\x07\0\0\0\0\0\x01\0");
}

#[test]
fn an_api_versions_response_header_never_has_tags() {
    let body = ApiVersionsResponse::default();
    assert_eq!(response(&body, 3), b"\0\0\0\x0c\0\0\0\x07\0\0\x01\0\0\0\0\0");
    let frame = response(&body, 3);
    let mut reader = Reader::new(&frame[SIZE_BYTES..], 1024);
    assert_eq!(read_response_header(&mut reader, ApiKey::ApiVersions, 3), Ok(7));
    assert_eq!(ApiVersionsResponse::decode(reader.rest(), 3, 1024), Ok(body));
}

#[test]
fn a_request_is_framed() {
    let body = ApiVersionsRequest {
        client_software_name: "x",
        client_software_version: "1",
        cluster_id: None,
        node_id: BrokerId(-1),
    };
    let mut chunks = Vec::<Bytes>::new();
    write_request(&mut Writer::new(), 1, 3, None, &body, &mut chunks).expect("it can be written");
    assert_eq!(chunks.concat(), b"\0\0\0\x10\0\x12\0\x03\0\0\0\x01\xff\xff\0\x02x\x021\0");
}

proptest! {
    /// Whatever the bytes, reading a header ends, and reads no further than the frame.
    #[test]
    fn a_hostile_header_is_read_or_refused(
        key in 0_i16..80,
        version in 0_i16..20,
        tail in prop::collection::vec(any::<u8>(), 0..40),
    ) {
        let frame = [&key.to_be_bytes()[..], &version.to_be_bytes(), &tail].concat();
        let mut reader = Reader::new(&frame, 0);
        if let Ok(header) = RequestHeader::read(&mut reader) {
            prop_assert_eq!(header.api.key(), key);
            prop_assert!(header.api.supports(header.version));
            prop_assert!(reader.rest().len() + RequestHeader::FIXED_BYTES < frame.len());
        }
    }
}
