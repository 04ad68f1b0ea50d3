//! Entries, votes and snapshots of the quorum as bytes: the payloads of the log's records and of the snapshot file.
//!
//! | record | payload |
//! | --- | --- |
//! | vote | term 8, node 8, committed 1 |
//! | entry | log id 24 (term 8, node 8, index 8), kind 1 (0 blank, 1 command, 2 membership), zero 7, body |
//! | truncate | first void index 8 |
//! | purge | log id 24 |
//!
//! An entry's body is a FlatBuffer: `iolite.metadata.Command` or `iolite.quorum.Membership`; a blank has none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use flatbuffers::{FlatBufferBuilder, InvalidFlatbuffer, VerifierOptions, WIPOffset};
use logic::metadata::Image;
use logic::metadata::codec::{self, DecodeError};
use openraft::{CommittedLeaderId, EmptyNode, EntryPayload};
use protocol::generated::quorum as schema;

use super::raft::{Entry, LogId, Membership, StoredMembership, Vote};

/// Why a payload whose checksum holds means nothing.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The fixed part is cut short or has values that don't exist.
    #[error("a {0} record is malformed")]
    Malformed(&'static str),
    /// The command or image.
    #[error(transparent)]
    Metadata(#[from] DecodeError),
    /// The membership or snapshot.
    #[error("the buffer is damaged: {0}")]
    Buffer(#[from] InvalidFlatbuffer),
}

const ENTRY_HEADER_BYTES: usize = 32;
const BLANK: u8 = 0;
const COMMAND: u8 = 1;
const MEMBERSHIP: u8 = 2;

pub(super) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(17);
    bytes.extend_from_slice(&vote.leader_id.term.to_le_bytes());
    bytes.extend_from_slice(&vote.leader_id.node_id.to_le_bytes());
    bytes.push(u8::from(vote.committed));
    bytes
}

pub(super) fn decode_vote(bytes: &[u8]) -> Result<Vote, PayloadError> {
    let mut fields = Fields { bytes, of: "vote" };
    let (term, node) = (fields.u64()?, fields.u64()?);
    match fields.bytes {
        [0] => Ok(Vote::new(term, node)),
        [1] => Ok(Vote::new_committed(term, node)),
        _ => Err(PayloadError::Malformed("vote")),
    }
}

pub(super) fn encode_log_id(id: &LogId) -> Vec<u8> {
    [id.leader_id.term, id.leader_id.node_id, id.index].into_iter().flat_map(u64::to_le_bytes).collect()
}

pub(super) fn decode_log_id(bytes: &[u8]) -> Result<LogId, PayloadError> {
    let mut fields = Fields { bytes, of: "purge" };
    let id = fields.log_id()?;
    fields.end()?;
    Ok(id)
}

pub(super) fn encode_index(index: u64) -> Vec<u8> {
    index.to_le_bytes().to_vec()
}

pub(super) fn decode_index(bytes: &[u8]) -> Result<u64, PayloadError> {
    let mut fields = Fields { bytes, of: "truncate" };
    let index = fields.u64()?;
    fields.end()?;
    Ok(index)
}

pub(super) fn encode_entry(entry: &Entry) -> Vec<u8> {
    let (kind, body) = match &entry.payload {
        EntryPayload::Blank => (BLANK, Vec::new()),
        EntryPayload::Normal(command) => (COMMAND, codec::encode_command(command)),
        EntryPayload::Membership(membership) => (MEMBERSHIP, encode_membership(membership)),
    };
    let mut bytes = encode_log_id(&entry.log_id);
    bytes.extend_from_slice(&[kind, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(bytes.len(), ENTRY_HEADER_BYTES);
    bytes.extend_from_slice(&body);
    bytes
}

pub(super) fn decode_entry(bytes: &[u8]) -> Result<Entry, PayloadError> {
    let mut fields = Fields { bytes, of: "entry" };
    let log_id = fields.log_id()?;
    let kind = fields.u64()?;
    let body = fields.bytes;
    let payload = match u8::try_from(kind) {
        Ok(BLANK) if body.is_empty() => EntryPayload::Blank,
        Ok(COMMAND) => EntryPayload::Normal(Arc::new(codec::decode_command(body)?)),
        Ok(MEMBERSHIP) => {
            let root = flatbuffers::root_with_opts::<schema::Membership<'_>>(&options(), body)?;
            EntryPayload::Membership(decode_membership(root))
        }
        _ => return Err(PayloadError::Malformed("entry")),
    };
    Ok(Entry { log_id, payload })
}

/// Takes fixed fields off a payload.
struct Fields<'a> {
    bytes: &'a [u8],
    of: &'static str,
}

impl Fields<'_> {
    fn u64(&mut self) -> Result<u64, PayloadError> {
        let (field, rest) = self.bytes.split_first_chunk::<8>().ok_or(PayloadError::Malformed(self.of))?;
        self.bytes = rest;
        Ok(u64::from_le_bytes(*field))
    }

    fn log_id(&mut self) -> Result<LogId, PayloadError> {
        let leader = CommittedLeaderId::new(self.u64()?, self.u64()?);
        Ok(LogId::new(leader, self.u64()?))
    }

    fn end(self) -> Result<(), PayloadError> {
        if self.bytes.is_empty() { Ok(()) } else { Err(PayloadError::Malformed(self.of)) }
    }
}

fn options() -> VerifierOptions {
    VerifierOptions { max_apparent_size: 1 << 31, ..VerifierOptions::default() }
}

fn encode_membership(membership: &Membership) -> Vec<u8> {
    let mut builder = FlatBufferBuilder::new();
    let root = build_membership(&mut builder, membership);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

fn build_membership<'a>(
    builder: &mut FlatBufferBuilder<'a>,
    membership: &Membership,
) -> WIPOffset<schema::Membership<'a>> {
    let voters: Vec<_> = membership
        .get_joint_config()
        .iter()
        .map(|set| {
            let nodes = Some(builder.create_vector_from_iter(set.iter().copied()));
            schema::Voters::create(builder, &schema::VotersArgs { nodes })
        })
        .collect();
    let voters = Some(builder.create_vector(&voters));
    let nodes: Vec<u64> = membership.nodes().map(|(id, _)| *id).collect();
    let nodes = Some(builder.create_vector(&nodes));
    schema::Membership::create(builder, &schema::MembershipArgs { voters, nodes })
}

fn decode_membership(membership: schema::Membership<'_>) -> Membership {
    let voters: Vec<BTreeSet<u64>> =
        membership.voters().iter().map(|set| set.nodes().iter().collect()).collect();
    let nodes: BTreeMap<u64, EmptyNode> =
        membership.nodes().iter().map(|id| (id, EmptyNode::new())).collect();
    Membership::new(voters, nodes)
}

/// What a snapshot holds.
#[derive(Clone, Debug)]
pub(super) struct SnapshotContent {
    /// The last entry that was applied to it.
    pub last: Option<LogId>,
    /// The membership as of that entry.
    pub membership: StoredMembership,
    /// The metadata as of that entry.
    pub image: Image,
}

pub(super) fn encode_snapshot(content: &SnapshotContent) -> Vec<u8> {
    let id = |id: &LogId| schema::LogId::new(id.leader_id.term, id.leader_id.node_id, id.index);
    let mut builder = FlatBufferBuilder::new();
    let image = Some(builder.create_vector(&codec::encode_image(&content.image)));
    let membership = Some(build_membership(&mut builder, content.membership.membership()));
    let last = content.last.as_ref().map(id);
    let membership_at = content.membership.log_id().as_ref().map(id);
    let args = schema::SnapshotArgs {
        last: last.as_ref(),
        membership_at: membership_at.as_ref(),
        membership,
        image,
    };
    let root = schema::Snapshot::create(&mut builder, &args);
    builder.finish_minimal(root);
    builder.finished_data().to_vec()
}

pub(super) fn decode_snapshot(bytes: &[u8]) -> Result<SnapshotContent, PayloadError> {
    let id = |id: &schema::LogId| LogId::new(CommittedLeaderId::new(id.term(), id.node()), id.index());
    let root = flatbuffers::root_with_opts::<schema::Snapshot<'_>>(&options(), bytes)?;
    Ok(SnapshotContent {
        last: root.last().map(id),
        membership: StoredMembership::new(root.membership_at().map(id), decode_membership(root.membership())),
        image: codec::decode_image(root.image().bytes())?,
    })
}
