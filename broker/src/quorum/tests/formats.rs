//! Bytes: the tables at the head of each format, and every damage.

use logic::metadata::Image;
use openraft::{CommittedLeaderId, EntryPayload};
use proptest::prelude::*;

use super::*;
use crate::quorum::codec::*;
use crate::quorum::raft::{Entry, LogId, Membership, Vote};
use crate::quorum::record::{FILE_HEADER_BYTES, Kind, Replayed, Tail, file_header, replay};
use crate::quorum::sealed::{HEADER_BYTES, Seal, seal, unseal};

const SEAL: Seal = Seal { magic: *b"12345678", version: 7 };

#[test]
fn a_sealed_file_is_as_its_table_says() {
    let file = seal(SEAL, b"body");
    assert_eq!(file.len(), HEADER_BYTES + 4);
    assert_eq!(file[..8], *b"12345678");
    assert_eq!(file[8..12], [7, 0, 0, 0]);
    assert_eq!(file[12..16], crc32fast::hash(b"\x04\0\0\0\0\0\0\0body").to_le_bytes());
    assert_eq!(file[16..24], 4_u64.to_le_bytes());
    assert_eq!(file[24..], *b"body");
    assert_eq!(unseal(SEAL, &file), Ok(&b"body"[..]));
    let newer = Seal { version: 6, ..SEAL };
    assert_eq!(unseal(newer, &file), Err(SealError::Version { found: 7, readable: 6 }));
    let other = Seal { magic: *b"abcdefgh", ..SEAL };
    assert_eq!(unseal(other, &file), Err(SealError::Foreign));
}

#[test]
fn a_log_file_is_as_its_table_says() {
    let salt = 0x1234_5678;
    let mut tail = Tail::empty(salt);
    let mut file = file_header(salt).to_vec();
    assert_eq!(file, *b"IOLITEQL\x01\0\0\0\x78\x56\x34\x12");
    tail.push(Kind::Vote, b"payload", &mut file);
    tail.mark_synced();
    tail.push(Kind::Purge, b"", &mut file);
    assert_eq!(file.len(), FILE_HEADER_BYTES + 48 + 40);
    let first = &file[FILE_HEADER_BYTES..];
    let checksum = |bytes: &[u8]| {
        let mut hasher = crc32fast::Hasher::new_with_initial(salt);
        hasher.update(bytes);
        hasher.finalize().to_le_bytes()
    };
    assert_eq!(first[..4], *b"IOqr");
    assert_eq!(first[4..8], checksum(&first[8..47]));
    assert_eq!(first[8..12], 7_u32.to_le_bytes());
    assert_eq!(first[12..16], [1, 0, 0, 0]);
    assert_eq!(first[16..24], 1_u64.to_le_bytes());
    assert_eq!(first[24..32], 0_u64.to_le_bytes());
    assert_eq!(first[32..36], salt.to_le_bytes());
    assert_eq!(first[36..40], [0; 4]);
    assert_eq!(first[40..48], *b"payload\0");
    let second = &first[48..];
    assert_eq!(second[12], 4);
    assert_eq!(second[16..24], 2_u64.to_le_bytes());
    assert_eq!(second[24..32], 1_u64.to_le_bytes());
    assert_eq!(second[32..36], first[4..8]);
    let Replayed { records, tail: replayed } = replay(&file).unwrap();
    assert_eq!(records, [(Kind::Vote, &b"payload"[..]), (Kind::Purge, &b""[..])]);
    assert_eq!(replayed.size_bytes, file.len() as u64);
}

#[test]
fn payloads_are_as_their_table_says() {
    let id = LogId::new(CommittedLeaderId::new(5, 6), 7);
    let words = |words: &[u64]| -> Vec<u8> { words.iter().flat_map(|word| word.to_le_bytes()).collect() };
    assert_eq!(encode_log_id(&id), words(&[5, 6, 7]));
    assert_eq!(encode_index(9), words(&[9]));
    assert_eq!(encode_vote(&Vote::new_committed(5, 6)), [words(&[5, 6]), vec![1]].concat());
    let blank = Entry { log_id: id, payload: EntryPayload::Blank };
    assert_eq!(encode_entry(&blank), words(&[5, 6, 7, 0]));
    let command = Entry { log_id: id, payload: EntryPayload::Normal(Arc::new(delete(1))) };
    assert_eq!(encode_entry(&command)[..32], words(&[5, 6, 7, 1]));
    let membership = Membership::new(vec![BTreeSet::from([3])], BTreeSet::from([3, 4]));
    let membership = Entry { log_id: id, payload: EntryPayload::Membership(membership) };
    assert_eq!(encode_entry(&membership)[..32], words(&[5, 6, 7, 2]));
    for entry in [blank, command, membership] {
        assert_eq!(decode_entry(&encode_entry(&entry)).unwrap(), entry);
    }
    for vote in [Vote::new(5, 6), Vote::new_committed(5, 6)] {
        assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
    }
    assert_eq!(decode_log_id(&encode_log_id(&id)).unwrap(), id);
}

#[test]
fn snapshots_survive_bytes() {
    let mut image = Image::default();
    image.apply(4, &registration(1));
    image.apply(9, &create(0..3, 2));
    let id = LogId::new(CommittedLeaderId::new(2, 3), 8);
    let voters = vec![BTreeSet::from([3]), BTreeSet::from([3, 4])];
    let membership =
        openraft::StoredMembership::new(Some(id), Membership::new(voters, BTreeSet::from([3, 4, 5])));
    let content = SnapshotContent { last: Some(id), membership: membership.clone(), image: image.clone() };
    let decoded = decode_snapshot(&encode_snapshot(&content)).unwrap();
    assert_eq!((decoded.last, decoded.membership, decoded.image), (Some(id), membership, image));
}

/// A log of records with these payloads; `synced` says after which of them a sync took place.
fn log_of(payloads: &[Vec<u8>], synced: &[bool]) -> (Vec<u8>, Vec<usize>) {
    let salt = 99;
    let mut tail = Tail::empty(salt);
    let mut file = file_header(salt).to_vec();
    let mut ends = Vec::new();
    for (payload, synced) in payloads.iter().zip(synced) {
        tail.push(Kind::Entry, payload, &mut file);
        ends.push(file.len());
        if *synced {
            tail.mark_synced();
        }
    }
    (file, ends)
}

fn payloads() -> impl Strategy<Value = (Vec<Vec<u8>>, Vec<bool>)> {
    let record = (prop::collection::vec(any::<u8>(), 0..40), any::<bool>());
    prop::collection::vec(record, 1..10).prop_map(|records| records.into_iter().unzip())
}

proptest! {
    #[test]
    fn a_log_that_is_cut_short_keeps_its_whole_records((payloads, synced) in payloads(), cut in any::<prop::sample::Index>()) {
        let (file, ends) = log_of(&payloads, &synced);
        let cut = FILE_HEADER_BYTES + cut.index(file.len() - FILE_HEADER_BYTES + 1);
        let whole = ends.iter().filter(|end| **end <= cut).count();
        let Replayed { records, tail } = replay(&file[..cut]).unwrap();
        prop_assert_eq!(records.len(), whole);
        prop_assert_eq!(tail.size_bytes, ends[..whole].last().map_or(FILE_HEADER_BYTES, |end| *end) as u64);
    }

    #[test]
    fn damage_is_found_and_told_from_a_torn_end(
        (payloads, synced) in payloads(), at in any::<prop::sample::Index>(), flip in 1_u8..,
    ) {
        let (mut file, ends) = log_of(&payloads, &synced);
        let at = FILE_HEADER_BYTES + at.index(file.len() - FILE_HEADER_BYTES);
        file[at] ^= flip;
        let damaged = ends.iter().filter(|end| **end <= at).count();
        // A later record knows of every sync before it was written.
        let known_synced = synced[damaged..payloads.len() - 1].iter().any(|synced| *synced);
        match replay(&file) {
            Ok(Replayed { records, .. }) => {
                prop_assert!(!known_synced);
                prop_assert_eq!(records.len(), damaged);
            }
            Err(LogError::Rotten { position }) => {
                prop_assert!(known_synced);
                prop_assert_eq!(position, ends[..damaged].last().map_or(FILE_HEADER_BYTES, |end| *end) as u64);
            }
            Err(other) => prop_assert!(false, "{}", other),
        }
    }

    #[test]
    fn sealed_files_find_every_damage(body in prop::collection::vec(any::<u8>(), 0..60), at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let mut file = seal(SEAL, &body);
        prop_assert_eq!(unseal(SEAL, &file), Ok(&body[..]));
        let at = at.index(file.len());
        file[at] ^= flip;
        prop_assert!(unseal(SEAL, &file).is_err());
        prop_assert!(unseal(SEAL, &file[..at]).is_err());
    }

    #[test]
    fn damaged_payloads_are_errors_never_crashes(at in any::<prop::sample::Index>(), flip in 1_u8..) {
        let id = LogId::new(CommittedLeaderId::new(5, 6), 7);
        let membership = Membership::new(vec![BTreeSet::from([3])], BTreeSet::from([3, 4]));
        for payload in [EntryPayload::Normal(Arc::new(create(0..2, 1))), EntryPayload::Membership(membership)] {
            let mut bytes = encode_entry(&Entry { log_id: id, payload });
            let at = at.index(bytes.len());
            bytes[at] ^= flip;
            drop(decode_entry(&bytes));
            drop(decode_entry(&bytes[..at]));
        }
    }
}

#[test]
fn an_identity_is_kept_and_errors_are_told_apart() {
    let directory = tempfile::tempdir().unwrap();
    assert_eq!(Identity::read(directory.path()).unwrap(), None);
    assert_eq!(Identity::read(&directory.path().join("missing")).unwrap(), None);
    let identity = Identity::new(BrokerId(4), 2);
    assert_eq!(identity.cluster_id.len(), 22);
    identity.write(directory.path()).unwrap();
    assert_eq!(Identity::read(directory.path()).unwrap(), Some(identity.clone()));
    let changed = Identity { shard_count: 4, ..identity };
    changed.write(directory.path()).unwrap();
    assert_eq!(Identity::read(directory.path()).unwrap(), Some(changed));

    let path = directory.path().join(IDENTITY_FILE);
    let sound = std::fs::read(&path).unwrap();
    let read_after = |change: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = sound.clone();
        change(&mut bytes);
        std::fs::write(&path, bytes).unwrap();
        match Identity::read(directory.path()).unwrap_err() {
            IdentityError::Seal(error) => error,
            other => panic!("{other}"),
        }
    };
    assert_eq!(read_after(&|bytes| bytes[8] = 2), SealError::Version { found: 2, readable: 1 });
    assert_eq!(read_after(&|bytes| bytes[0] = b'x'), SealError::Foreign);
    assert_eq!(read_after(&|bytes| bytes.truncate(3)), SealError::Foreign);
    assert_eq!(read_after(&|bytes| *bytes.last_mut().unwrap() ^= 1), SealError::Damaged);
}

#[test]
fn a_cluster_id_is_kafkas_base64() {
    assert_eq!(cluster_id_of([0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
    assert_eq!(cluster_id_of([255; 16]), "_____________________w");
    assert_eq!(cluster_id_of(*b"for a cluster id"), "Zm9yIGEgY2x1c3RlciBpZA");
}
